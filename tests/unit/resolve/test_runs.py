"""Runs of usual rows are decided at once, and nobody can tell by what comes of it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cdcd.model import ABSENT, Op, Relation, Row, Rows
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.echoes import Echoes
from cdcd.resolve.golden import GoldenRecords
from cdcd.resolve.mapping import RowMapper
from cdcd.resolve.run_reading import RunReader
from unit.small_line import SmallLine

TEXT = """
[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
not-owner = { fields = { note = "hold" } }
[entities.product.fields]
sku = { type = "text(20)" , owner = "erp" }
name = { type = "text(4)", owner = "erp" }
status = { type = "enum(active,retired)", owner = "erp" }
stock = { type = "integer", owner = "erp" }
note = { type = "text", owner = "erp" }
attrs = { type = "json", owner = "erp" }
body = { type = "text", owner = "shop" }
[entities.product.in.erp]
table = "item"
columns = { body = "web", sku = "code", name = "name", stock = "stock", status = "state", note = "note", attrs = "attrs" }
[entities.product.in.shop]
table = "products"
columns = { sku = "sku", body = "body", name = "title", status = "status", stock = "stock", attrs = "attrs" }
"""
ITEM = {
    "id": "integer",
    "code": "text(20)",
    "name": "text(50)",
    "state": "text(10)",
    "stock": "integer",
    "note": "text",
    "attrs": "json",
    "web": "text",
}
PRODUCTS = {
    "id": "integer",
    "sku": "text(20)",
    "title": "text(50)",
    "status": "text(10)",
    "stock": "integer",
    "attrs": "json",
    "body": "text",
}
TABLES = {"erp": {"item": ITEM}, "shop": {"products": PRODUCTS}}
STATE = ("outbox", "trail", "trail_keys", "crosswalk", "conflicts", "held", "waiting")


def relation(app: Any, table: str, key: int) -> Relation:
    """The table as its log describes it, with the business key or an id of its own for its identity."""
    found = app.relations[table]
    return Relation(table, found.columns, found.types, (key,))


def some_row(rng: random.Random, columns: dict[str, str], number: int, oddity: float) -> Row:
    odd = rng.random() < oddity
    attrs = rng.choice(['{"b": 1.50, "a": []}', '{"a": [], "b": 1.5}', None])
    row: dict[str, Any] = dict.fromkeys(columns) | {"id": number, "stock": rng.randint(0, 2), "attrs": attrs}
    key = f"P{number}" if not odd or rng.random() < 0.7 else rng.choice([None, f"P{number + 1}"])
    for column, kind in columns.items():
        if column in ("code", "sku"):
            row[column] = key
        elif column in ("state", "status"):
            row[column] = "unheard" if odd and rng.random() < 0.3 else rng.choice(["active", "retired"])
        elif kind.startswith("text"):
            row[column] = ABSENT if odd and rng.random() < 0.3 else rng.choice(["a", "b", None])
    return [row[column] for column in columns]


def play(line: SmallLine, seed: int, key: int, oddity: float) -> None:
    """Transactions of both systems, and of ours, that repeat records, break rights and hold rows that cannot be read."""
    rng = random.Random(seed)
    for _ in range(40):
        system, table, columns = rng.choice([("erp", "item", ITEM), ("shop", "products", PRODUCTS)])
        app = line.apps[system]
        shape = relation(app, table, key)
        if rng.random() < 0.4:
            small_transactions(rng, app, shape, columns, oddity)
            continue
        runs = []
        for _ in range(rng.randint(1, 3)):
            op = rng.choice(
                [Op.INSERT, Op.UPDATE, Op.UPDATE, Op.DELETE] if rng.random() < 0.4 else [Op.INSERT, Op.UPDATE]
            )
            first = rng.randint(0, 30)
            numbers = [first + rng.randint(0, 9) if rng.random() < oddity else first + n for n in range(8)]
            rows = [some_row(rng, columns, number, oddity / 8) for number in numbers]
            runs.append(Rows(shape, op, rows, [None] * 8 if op == Op.UPDATE else None))
        mark = None
        if rng.random() < 0.4:
            mark = (app.through, line.newest_unit(system))
            app.through = mark[1]
        app._append(runs, mark)
        if rng.random() < 0.5:
            line.resolver.step()
    line.resolve()


def small_transactions(rng: random.Random, app: Any, shape: Relation, columns: dict[str, str], oddity: float) -> None:
    """Several that change rows of one table, of which each may be particular."""
    for _ in range(rng.randint(1, 12)):
        numbers = [rng.randint(0, 40) for _ in range(rng.randint(1, 4))]
        rows = [some_row(rng, columns, number, oddity / 16) for number in numbers]
        app._append([Rows(shape, Op.UPDATE, rows)], None)


def golden(line: SmallLine) -> Any:
    """All records, with who has shown them, wherever that is stored."""
    product = line.plan.entities["product"]
    return GoldenRecords(line.state, {product.number: len(product.fields)}).page(product.number, b"", 1_000)


def outcome(line: SmallLine) -> Any:
    return golden(line), [line.dump(table) for table in STATE], line.resolver.counts, line.resolver.happened


@pytest.mark.parametrize("oddity", [0.0, 0.3])
@pytest.mark.parametrize("key", [0, 1], ids=["rows with ids of their own", "rows with the record's key"])
@pytest.mark.parametrize("seed", range(3))
def test_what_comes_of_runs_is_what_comes_of_their_rows_one_by_one(make_line, monkeypatch, seed, key, oddity):
    at_once, one_by_one = make_line(TEXT, TABLES), make_line(TEXT, TABLES)
    play(at_once, seed, key, oddity)
    monkeypatch.setattr(RunReader, "take", lambda *_arguments: False)
    monkeypatch.setattr(RunReader, "series", lambda *_arguments: None)
    play(one_by_one, seed, key, oddity)
    assert outcome(at_once) == outcome(one_by_one)
    assert golden(at_once)


def watched(make_line: Any, monkeypatch: pytest.MonkeyPatch, key: int) -> Any:
    """A line with four products of the ERP, their table, their rows, and a list that grows with each run that is mapped."""
    line = make_line(TEXT, TABLES)
    item = relation(line.apps["erp"], "item", key)
    made = [[n, f"P{n}", "a", "active", 1, "n", "{}", None] for n in range(4)]
    line.apps["erp"].log(Rows(item, Op.INSERT, made))
    line.resolve()
    mapped: list[int] = []
    map_run = RowMapper.map_run
    monkeypatch.setattr(RowMapper, "map_run", lambda *arguments: mapped.append(1) or map_run(*arguments))
    return line, item, made, mapped


@pytest.mark.parametrize("key", [0, 1], ids=["rows with ids of their own", "rows with the record's key"])
def test_small_transactions_that_follow_one_another_are_read_together_and_told_one_by_one(make_line, monkeypatch, key):
    line, item, made, mapped = watched(make_line, monkeypatch, key)
    units = line.newest_unit("shop")
    for stock in range(2, 7):
        line.apps["erp"].log(Rows(item, Op.UPDATE, [[*row[:4], stock, *row[5:]] for row in made]))
    line.resolve()
    assert len(mapped) == 1
    assert line.newest_unit("shop") == units + 5
    assert line.counted("erp", "product") == {"created": 4, "written": 20}


def test_a_particular_row_among_small_transactions_is_read_by_itself_and_the_rest_together(make_line, monkeypatch):
    line, item, made, mapped = watched(make_line, monkeypatch, 1)
    for stock in range(2, 7):
        web = "not theirs" if stock == 4 else None
        line.apps["erp"].log(Rows(item, Op.UPDATE, [[*row[:4], stock, *row[5:7], web] for row in made]))
    line.resolve()
    assert len(mapped) == 1
    assert line.counted("erp", "product") == {"created": 4, "written": 20, "revert": 4}


@pytest.mark.parametrize("rows", [10, 100])
def test_new_records_changes_by_their_owner_and_echoes_are_judged_without_a_call_for_each(make_line, monkeypatch, rows):
    line = make_line(TEXT, TABLES)
    calls = []
    for judge, name in ((EntityDecider, "changed"), (EntityDecider, "judge"), (EntityDecider, "tell"), (Echoes, "row")):
        monkeypatch.setattr(judge, name, lambda *_arguments, name=name: calls.append(name))
    item, products = relation(line.apps["erp"], "item", 1), relation(line.apps["shop"], "products", 1)
    made = [[n, f"P{n}", "a", "active", 1, "n", "{}", None] for n in range(rows)]
    shown = [[n, f"P{n}", "a", "active", 1, "{}", None] for n in range(rows)]
    line.apps["erp"].log(Rows(item, Op.INSERT, made))
    line.resolve()
    line.apps["shop"]._append([Rows(products, Op.INSERT, shown)], (0, line.newest_unit("shop")))
    line.apps["erp"].log(Rows(item, Op.UPDATE, [[*row[:2], "b", *row[3:]] for row in made], [None] * rows))
    line.resolve()
    assert line.counted("erp", "product") == {"created": rows, "written": rows}
    assert line.counted("shop", "product") == {"echo": rows}
    assert calls == []


def test_a_new_record_that_a_system_with_fewer_fields_shows_is_not_written_anew(make_line):
    line = make_line(TEXT, TABLES)
    item, products = relation(line.apps["erp"], "item", 1), relation(line.apps["shop"], "products", 1)
    made = [[n, f"P{n}", "a", "active", 1, "n", "{}", None] for n in range(5)]
    line.apps["erp"].log(Rows(item, Op.INSERT, made))
    line.resolve()
    written = line.dump("golden")
    shown = [[n, f"P{n}", "b" if n == 4 else "a", "active", 1, "{}", None] for n in range(5)]
    line.apps["shop"]._append([Rows(products, Op.INSERT, shown)], (0, line.newest_unit("shop")))
    line.resolve()
    assert [record.present for _, record in golden(line)] == [0b11] * 5
    changed = [before != after for before, after in zip(written, line.dump("golden"), strict=True)]
    assert changed == [False] * 4 + [True]

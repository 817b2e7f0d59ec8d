"""Folding by way of the disk: the tables are left as by folding in memory, and every write can be found again."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from cdcd.folding import spill
from cdcd.folding.fold import Folder
from cdcd.folding.large import LargeFold
from cdcd.folding.spill import Spill
from cdcd.model import ABSENT, ColumnShape, Op, Relation, TableShape, WriteKind
from cdcd.outbox import RecordWrite, Unit
from cdcd.parking.parked import ParkedRecords
from cdcd.resolve.keys import encode_key
from unit.small_line import plan_of

FULL, UPDATE, DELETE = RecordWrite.FULL, RecordWrite.UPDATE, RecordWrite.DELETE
PLAN = plan_of("""
[entities.product]
key = ["sku"]
fields = { sku = { type = "text", owner = "erp" }, name = { type = "text", owner = "erp" } }
in.erp = { table = "item", columns = { sku = "code", name = "name" } }
in.shop = { table = "products", columns = { sku = "sku", name = "title" } }
[entities.price]
key = ["sku"]
fields = { sku = { type = "text", owner = "erp" }, product = { type = "ref(product)", owner = "erp" } }
in.erp = { table = "price", columns = { sku = "code", product = "item_id" } }
in.shop = { table = "prices", columns = { sku = "sku", product = "product_id" } }
[[replicate]]
from = "erp"
to = "shop"
tables = ["carrier", "tag"]
""")
ROW = (ColumnShape("id", "integer"), ColumnShape("name", "text(10)"), ColumnShape("note", "text"))
SHAPES = {
    "products": TableShape("products", (ColumnShape("sku", "text"), ColumnShape("title", "text(10)")), ("sku",), ()),
    "prices": TableShape("prices", (ColumnShape("sku", "text"), ColumnShape("product_id", "text")), ("sku",), ()),
    "carrier": TableShape("carrier", ROW, ("id",), ()),
    "tag": TableShape("tag", ROW, ("id",), ()),
}
RELATION = Relation("any", ("id", "name", "note"), ("integer", "text", "text"), (0,))


@pytest.fixture
def parked(tmp_path):
    parked = ParkedRecords(tmp_path / "parked.db", durable=False)
    yield parked
    parked.close()


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(spill, "PAGE_ITEMS", 3)


def folder():
    return Folder(PLAN, "shop", SHAPES, lambda _number: RELATION)


class Large:
    """A large fold of some items, and what it found unwritable."""

    def __init__(self, directory, parked, items, partial=True):
        self.unwritable = []
        self.spill = Spill(directory / "test.spill")
        self.fold = LargeFold(folder(), self.spill, parked, self.unwritable.extend)
        for start in range(0, len(items), 4):
            self.fold.add(Unit(1, 5, items[start : start + 4], partial))

    def groups(self, *, deletes_first=False):
        return self.fold.ordered(deletes_first=deletes_first)


def product(number, kind, name=None):
    values = [] if kind == DELETE else [f"P{number}", name] if kind == FULL else [name]
    return [0, int(kind), encode_key([f"P{number}"]), {FULL: 3, UPDATE: 2, DELETE: 0}[kind], values, 0, []]


def copied(route, op, *rows, olds=None):
    return [-1 - route, int(op), 1, [list(row) for row in rows], olds]


def applied(tables, groups):
    """What the writes leave in `tables`: by table and key, values by column."""
    for group in groups:
        write, rows = group.write, tables.setdefault(group.write.table, {})
        if write.kind is WriteKind.CLEAR:
            rows.clear()
        for row in write.rows:
            values = dict(zip(write.columns, row, strict=False))
            if write.kind is WriteKind.DELETE:
                rows.pop(row[0], None)
            elif write.kind is WriteKind.REKEY and row[0] in rows:
                assert row[1] not in rows, "the new key is taken"
                rows[row[1]] = rows.pop(row[0]) | {"id": row[1]}
            elif write.kind is WriteKind.UPSERT or row[0] in rows:
                rows[row[0]] = rows.get(row[0], {}) | values
    return tables


def random_items(chance):
    items = []
    copies = {0: dict.fromkeys(range(4)), 1: dict.fromkeys(range(4))}
    for _ in range(chance.randrange(5, 60)):
        if chance.random() < 0.4:
            name = chance.choice(["a", "b", "much too long for this"])
            items.append(product(chance.randrange(6), chance.choice([FULL, UPDATE, UPDATE, DELETE]), name))
        else:
            items.append(random_copied(chance, copies))
    return items


def random_copied(chance, copies):
    route = chance.randrange(2)
    there = copies[route]
    unused = next(n for n in range(100) if n not in there)
    text = [chance.choice("abc"), chance.choice(["x", "y", ABSENT])]
    what = chance.random()
    if not there or what < 0.3:
        there[unused] = None
        return copied(route, Op.INSERT, [unused, text[0], "new"])
    if what < 0.34:
        there.clear()
        return copied(route, Op.TRUNCATE)
    number = chance.choice(sorted(there))
    if what < 0.5:
        del there[number]
        return copied(route, Op.DELETE, [number, ABSENT, ABSENT])
    if what < 0.75:
        del there[number]
        there[unused] = None
        return copied(route, Op.UPDATE, [unused, *text], olds=[[number, ABSENT, ABSENT]])
    return copied(route, Op.UPDATE, [number, *text], olds=[None])


def before():
    """The target before the unit: what the sources' copies had too."""
    rows = {n: {"id": n, "name": "old", "note": f"long {n}"} for n in range(4)}
    products = {f"P{n}": {"sku": f"P{n}", "title": "old"} for n in range(0, 6, 2)}
    return {"carrier": dict(rows), "tag": {n: dict(row) for n, row in rows.items()}, "products": products}


def in_memory(items, parked):
    folded, waiting = folder().fold([Unit(1, 5, items, True)], parked)
    tables = applied(before(), folded.ordered(deletes_first=False).between(0))
    return tables, sorted((u.subject, u.kept) for u in folded.unwritable), sorted(waiting), sorted(folded.cleared)


@pytest.mark.parametrize("seed", range(30))
def test_the_tables_are_left_as_by_folding_in_memory(tmp_path, parked, seed):
    chance = random.Random(seed)
    items = random_items(chance)
    if chance.random() < 0.5:
        parked.park([((0, encode_key([f"P{n}"])), None) for n in range(3)], 1, "refused", "why")
    tables, unwritable, waiting, cleared = in_memory(items, parked)
    large = Large(tmp_path, parked, items)
    assert applied(before(), large.groups().between(0)) == tables
    assert sorted((u.subject, u.kept) for u in large.unwritable) == unwritable
    assert large.fold.count_waiting() == len(waiting)
    assert sorted(large.fold.cleared) == cleared


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("deletes_first", [False, True])
def test_every_write_is_found_again_by_its_number_and_told_unwritable_once(tmp_path, parked, seed, deletes_first):
    large = Large(tmp_path, parked, random_items(random.Random(seed)))
    groups = large.groups(deletes_first=deletes_first)
    found = [(g.write.kind, g.write.rows, list(g.subjects)) for g in groups.between(0)]
    unwritable = len(large.unwritable)
    for number, expected in enumerate(found):
        group = groups.at(number)
        assert (group.write.kind, group.write.rows, list(group.subjects)) == expected
    for first in range(0, len(found), 3):
        assert [g.write.rows for g in groups.between(first, first + 2)] == [
            rows for _, rows, _ in found[first : first + 2]
        ]
    assert len(large.unwritable) == unwritable


def test_records_are_written_in_dependency_order_and_deleted_in_reverse_or_first(tmp_path, parked):
    items = []
    for number in range(8):
        items.append([1, int(FULL), encode_key([f"X{number}"]), 3, [f"X{number}", encode_key(["P1"])], 0, []])
        items.append(product(number, FULL, "n"))
    items += [product(number, DELETE) for number in range(5)]
    items += [[1, int(DELETE), encode_key([f"X{number}"]), 0, [], 0, []] for number in range(5)]
    large = Large(tmp_path, parked, items)

    def order(*, deletes_first):
        found = [(g.write.kind.name, g.write.table) for g in large.groups(deletes_first=deletes_first).between(0)]
        return list(dict.fromkeys(found))

    changes, deletes = [("UPSERT", "products"), ("UPSERT", "prices")], [("DELETE", "prices"), ("DELETE", "products")]
    assert order(deletes_first=False) == changes + deletes
    assert order(deletes_first=True) == deletes + changes


def test_deletes_of_all_copies_come_before_their_other_rows_the_last_table_first(tmp_path, parked):
    items = [copied(route, Op.INSERT, [route, "a", "b"]) for route in (0, 1)]
    items += [copied(route, Op.DELETE, [9, ABSENT, ABSENT]) for route in (0, 1)]
    large = Large(tmp_path, parked, items)
    assert [(g.write.kind.name, g.write.table) for g in large.groups().between(0)] == [
        ("DELETE", "tag"),
        ("DELETE", "carrier"),
        ("UPSERT", "carrier"),
        ("UPSERT", "tag"),
    ]


def test_what_a_unit_is_put_aside_in_leaves_nothing_behind(tmp_path, parked):
    large = Large(tmp_path, parked, [product(1, FULL, "n")])
    assert not (tmp_path / "test.spill").exists()
    assert len(list(large.groups().between(0))) == 1
    large.spill.close()


def test_only_a_page_of_a_unit_is_held_at_once(tmp_path, parked, monkeypatch):
    monkeypatch.setattr(spill, "PAGE_ITEMS", 4_000)
    monkeypatch.setattr(spill, "PAGE_BYTES", 200_000)
    large = Large(tmp_path, parked, [])
    tracemalloc.start()
    for start in range(0, 2_500, 100):
        rows = [[number, "n", f"{number:04}" * 500] for number in range(start, start + 100)]
        large.fold.add(Unit(1, 5, [copied(0, Op.INSERT, *rows)], partial=False))
    size_bytes = sum(len(row[2]) for group in large.groups().between(0) for row in group.write.rows)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size_bytes == 5_000_000
    assert peak_bytes < 2_000_000

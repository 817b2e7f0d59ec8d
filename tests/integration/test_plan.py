"""`cdcd plan` beside a running daemon: what another configuration would do, found without writing anything anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

WEIGHT = (
    (
        'name = { type = "text(200)", owner = "erp" }',
        'name = { type = "text(200)", owner = "erp" }\ngrams = { type = "integer", owner = "erp" }',
    ),
    ('columns = { sku = "code", ', 'columns = { sku = "code", grams = "grams", '),
    ('columns = { sku = "sku", ', 'columns = { sku = "sku", grams = "weight", '),
)
SCALED = '{ column = "cents", scale = 100 }'
SHELF = """
[entities.shelf]
key = ["code"]
create = ["erp"]
[entities.shelf.fields]
code = { type = "text(64)" }
room = { type = "text(20)", owner = "erp" }
[entities.shelf.in.erp]
table = "shelf"
columns = { code = "code", room = "room" }
[entities.shelf.in.shop]
table = "shelves"
columns = { code = "code", room = "room" }
"""


TEXTS = (
    ('description = { type = "text", owner = "shop" }', 'description = { type = "text", owner = "erp" }'),
    ('table = "item"', 'table = "item"\nparts.text = { table = "item_text", parent = "item_id" }'),
    ('description = "web_text"', 'description = "text.content"'),
)


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mariadb: MySqlFamilyServer
) -> Iterator[Line]:
    """A daemon at work on two hundred products, of which one is behind in the shop; further columns and tables lie ready."""
    made = Line(tmp_path_factory.mktemp("plan"), postgres, mariadb)
    made.erp(
        "ALTER TABLE item ADD grams integer; CREATE TABLE shelf (id serial PRIMARY KEY, code text UNIQUE, room text)"
    )
    made.erp("CREATE TABLE item_text (id serial PRIMARY KEY, item_id bigint UNIQUE, content text)")
    made.shop("ALTER TABLE products ADD weight smallint")
    made.shop("CREATE TABLE shelves (id int AUTO_INCREMENT PRIMARY KEY, code varchar(64) UNIQUE, room varchar(3))")
    made.erp(
        "INSERT INTO item (code, name, list_price, grams) SELECT 'S' || g, 'n' || g, g, g FROM generate_series(1, 200) g"
    )
    made.erp("INSERT INTO shelf (code, room) VALUES ('A', 'r1'), ('B', 'r2'), ('C', 'too long')")
    made.shop("INSERT INTO shelves (code, room) VALUES ('B', 'old')")
    made.erp("INSERT INTO item_text (item_id, content) SELECT id, 'about ' || code FROM item WHERE id <= 3")
    try:
        made.start()
        made.wait_in_step()
        made.erp("UPDATE item SET name = 'm' || id WHERE id <= 20")
        made.wait_in_step()
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def changed(line: Line, *changes: tuple[str, str], more: str = "") -> Path:
    """Another configuration of the same daemon."""
    text = line.config.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = line.config.with_name("new.toml")
    path.write_text(text + more)
    line.grant(path)
    return path


def plan(line: Line, config: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = line.cli("plan", "--config", str(config), "--json", *arguments)
    answer = json.loads(done.stdout)
    assert answer["error"] is None, done.stderr
    return done.returncode, answer["result"]


def tallied(result: dict[str, Any]) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {(c["target"], c["entity"]): (c["creates"], c["updates"], c["deletes"]) for c in result["changes"]}


def test_the_same_configuration_would_change_nothing(line: Line):
    code, result = plan(line, line.config)
    assert (code, result["changes"], result["copied_anew"], result["refusals"]) == (0, [], {}, [])
    assert result["replayed"] > 0


def test_a_new_field_is_read_from_the_live_tables_and_shown_before_and_after(line: Line):
    code, result = plan(line, changed(line, *WEIGHT))
    assert code == 10
    assert result["copied_anew"] == {
        "product": [
            "product has the new field grams",
        ]
    }
    assert tallied(result) == {("shop", "product"): (0, 200, 0)}
    checked = line.cli("check", "--config", str(line.config.with_name("new.toml")), "--json")
    found = json.loads(checked.stdout)["result"]["findings"]
    assert [f["message"] for f in found if f["code"] == "copied-anew"] == [
        "will be copied anew at the start, while changes flow: product has the new field grams"
    ]
    grams = result["changes"][0]["fields"]["grams"]
    assert grams["count"] == 200
    assert grams["samples"][0][1:] == [None, int(grams["samples"][0][0][0][1:])]


@pytest.mark.parametrize("schedule", ["realtime", "0 2 * * *"])
def test_a_new_entity_is_shown_as_creates_updates_and_what_would_be_parked(line: Line, schedule: str):
    deliver = f'[entities.shelf.in.shop.deliver]\nschedule = "{schedule}"\n'
    code, result = plan(line, changed(line, more=SHELF + deliver))
    assert code == 10
    assert result["copied_anew"] == {"shelf": ["shelf is new"]}
    assert tallied(result) == {("shop", "shelf"): (1, 1, 0)}
    change = result["changes"][0]
    assert change["created"] == [["A"]]
    assert change["fields"]["room"]["samples"] == [[["B"], "old", "r2"]]
    assert [(r["entity"], r["count"], r["samples"]) for r in result["refusals"]] == [("shelf", 1, [["C"]])]


def test_a_field_that_comes_from_a_part_is_read_with_its_part(line: Line):
    _, result = plan(line, changed(line, *TEXTS))
    assert {(read["system"], read["table"]) for read in result["read"]} == {
        ("erp", "public.item"),
        ("erp", "public.item_text"),
        ("shop", "products"),
    }
    assert tallied(result) == {("shop", "product"): (0, 3, 0)}
    assert [["S1"], None, "about S1"] in result["changes"][0]["fields"]["description"]["samples"]


def test_a_plain_copy_is_shown_by_rows_and_columns(line: Line):
    copy = (
        '[[replicate]]\nfrom = "erp"\nto = "shop"\ntables = ["public.shelf"]\nrename = { "public.shelf" = "shelves" }\n'
    )
    _, result = plan(line, changed(line, more=copy))
    assert tallied(result) == {("shop", "erp:public.shelf"): (1, 1, 0)}
    assert result["changes"][0]["created"] == [[2]]
    assert result["changes"][0]["fields"]["shelves.room"]["samples"] == [[[1], "old", "r1"]]
    assert [refusal["count"] for refusal in result["refusals"]] == [1]


def test_another_transform_changes_what_the_target_would_hold(line: Line):
    _, result = plan(line, changed(line, ("scale = 100", "scale = 1000")))
    assert tallied(result) == {("shop", "product"): (0, 200, 0)}
    sample = result["changes"][0]["fields"]["price"]["samples"][0]
    assert sample[2] == 10 * sample[1]


def test_fewer_rows_than_there_are_say_so_and_delete_nothing(line: Line):
    _, result = plan(line, changed(line, *WEIGHT), "--rows", "50", "--last", "0")
    assert tallied(result) == {("shop", "product"): (0, 50, 0)}
    assert any("only the first 50 rows" in limit for limit in result["limits"])


def test_what_does_not_fit_and_another_key_are_told(line: Line):
    _, result = plan(line, changed(line, ('name = { type = "text(200)"', 'name = { type = "text(3)"')))
    assert ("erp", "product", 101) in {(t["system"], t["entity"], t["count"]) for t in result["unread"]}
    _, result = plan(
        line, changed(line, ('price = { type = "decimal(14,2)"', 'price = { type = "uuid"'), (SCALED, '"cents"'))
    )
    assert [tally["entity"] for tally in result["suspended"]] == ["product"]
    assert {warning["system"] for warning in result["warnings"]} == {"erp", "shop"}
    done = line.cli("plan", "--config", str(changed(line, ('key = ["sku"]', 'key = ["sku", "name"]'))))
    assert done.returncode == 3
    assert "[key-changed]" in done.stderr


def test_a_terminal_gets_it_in_words(line: Line):
    done = line.cli("plan", "--config", str(changed(line, more=SHELF)))
    assert done.returncode == 10
    assert "shop: shelf: +1 ~1 -0" in done.stdout
    assert "B: old -> r2" in done.stdout
    assert done.stdout.rstrip().endswith("nothing was written")


def test_nothing_is_written_in_either_database_or_in_the_state_directory(line: Line, postgres: PostgresServer):
    """By the servers' own logs: PostgreSQL's statements, MariaDB's binary log; the state byte for byte."""
    assert line.end() == 0
    line.erp(f"ALTER DATABASE {line.name} SET log_statement = 'mod'")

    def files() -> dict[str, str]:
        found = [path for path in line.directory.path.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def place() -> Any:
        return line.shop("SHOW BINARY LOGS")  # every server has this one

    configurations = (line.config, changed(line, *WEIGHT, more=SHELF))
    before, logged, at = files(), len(postgres.log), place()
    assert before
    for config in configurations:
        plan(line, config)
    assert files() == before
    assert place() == at
    assert "statement:" not in postgres.log[logged:]
    assert [path.name for path in line.config.parent.iterdir() if path.name.startswith("cdcd-plan-")] == []


def test_the_daemon_copies_anew_by_itself_what_the_plan_said(line: Line):
    """Started with the other configuration, it does what was foretold."""
    line.config.write_text(changed(line, *WEIGHT, more=SHELF.replace("room varchar(3)", "")).read_text())
    line.start()

    def done() -> bool:
        weights = line.shop("SELECT count(*) FROM products WHERE weight = substr(sku, 2)")
        return weights == [(200,)] and ("B", "r2") in line.shop("SELECT code, room FROM shelves")

    wait_until(done, "all records have the new field, and the new entity is live")
    assert "copied anew subject=product" in line.log.read_text()
    assert plan(line, line.config)[1]["copied_anew"] == {}

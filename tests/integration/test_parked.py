"""Parked records in the hands of an operator: `cdcd parked` against a daemon between PostgreSQL and MariaDB."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

MORE = """
[entities.product.in.shop.deliver]
parked-max = 3
[[replicate]]
from = "erp"
to = "shop"
tables = ["carrier"]
"""
CARRIER = "CREATE TABLE carrier (id integer PRIMARY KEY, name text, note text)"
CARRIERS = "CREATE TABLE carrier (id integer PRIMARY KEY, name varchar(10), note text) CHARACTER SET utf8mb4"


class Office(Line):
    """A line with an operator at it."""

    def parked(self, *arguments: str, code: int = 0) -> Any:
        done = self.cli("parked", *arguments, "--json")
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def wait_for_parked(self, *skus: str) -> None:
        def reached() -> bool:
            records = self.parked("list", "--entity", "product")["result"]["records"]
            return sorted(record["key"][0] for record in records) == sorted(skus)

        wait_until(reached, f"parked are {skus}")

    def refuses(self) -> bool:
        """Whether the shop refuses rude titles now."""
        at = "constraint_schema = database() AND constraint_name = 'decent'"
        return bool(self.shop(f"SELECT 1 FROM information_schema.table_constraints WHERE {at}"))

    def tolerate(self) -> None:
        if self.refuses():
            self.shop("ALTER TABLE products DROP CONSTRAINT decent")

    def set_editor(self, directory: Path, old: str, new: str) -> None:
        """Whoever edits replaces `old` by `new`."""
        script = directory / "editor"
        script.write_text(f"#!/bin/sh\nsed -i 's/{old}/{new}/' \"$1\"\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        self.environment["EDITOR"] = self.environment["VISUAL"] = str(script)


@pytest.fixture(scope="module")
def office(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mariadb: MySqlFamilyServer
) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"), postgres, mariadb, more=MORE)
    made.erp(CARRIER)
    made.shop(CARRIERS)
    made.start()
    try:
        made.wait_for_states()
        yield made
        assert made.end() == 0
    finally:
        made.dispose()
        made.drop_slot()


@pytest.fixture
def line(office: Office) -> Iterator[Office]:
    """The shop refuses rude titles; afterwards, nothing is left that any test has parked."""
    if not office.refuses():
        office.shop("ALTER TABLE products ADD CONSTRAINT decent CHECK (title <> 'rude')")
    yield office
    office.tolerate()
    office.erp("DELETE FROM item; DELETE FROM carrier")
    office.wait_in_step()
    office.wait_for_parked()


def test_what_a_target_refuses_is_listed_shown_and_tried_again(line: Office):
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('A', 'rude', 1), ('B', 'fine', 2)")
    line.wait_for_parked("A")
    found = line.parked("list")["result"]
    assert [(r["entity"], r["key"], r["system"], r["code"]) for r in found["records"]] == [
        ("product", ["A"], "shop", "check")
    ]
    assert found["groups"] == [{"system": "shop", "entity": "product", "code": "check", "count": 1}]
    assert line.parked("list", "--reason", "row-missing")["result"]["count"] == 0
    shown = line.cli("parked", "show", "product", "A")
    assert shown.returncode == 0
    assert "decent" in shown.stdout
    (record,) = line.parked("show", "product", "A")["result"]
    assert {f["field"]: (f["column"], f["value"], f["owner"]) for f in record["fields"]} == {
        "sku": ("sku", "A", "the key"),
        "name": ("title", "rude", "erp"),
        "price": ("cents", "1.00", "erp"),
        "description": ("body", None, "shop"),
    }
    assert record["writes"][0]["values"] == {"sku": "A", "title": "rude", "cents": 100, "body": None}
    again = line.parked("retry", "product", "A", code=1)
    assert again["result"]["refused"] == 1
    assert line.parked("retry", "--all", "--dry-run")["result"]["count"] == 1
    line.tolerate()
    assert line.parked("retry", "product", "A")["result"]["delivered"] == 1
    line.wait_in_step()
    assert line.parked("list")["result"]["count"] == 0
    assert line.cli("parked", "show", "product", "A").returncode == 2
    assert "rude" not in line.log.read_text()


def test_an_edit_corrects_the_truth_and_keeps_the_original(line: Office, tmp_path: Path):
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('BIG', 'b', 99999999999)")
    line.wait_for_parked("BIG")
    (record,) = line.parked("show", "product", "BIG")["result"]
    assert "integer" in record["misfit"]
    line.set_editor(tmp_path, "99999999999.00", "88888888888.00")
    refused = line.parked("edit", "product", "BIG", "--yes", code=2)
    assert "integer" in refused["error"]["cause"]
    line.set_editor(tmp_path, "99999999999.00", "5.00")
    assert line.parked("edit", "product", "BIG", "--dry-run")["result"]["changed"] == {"price": "5.00"}
    assert line.parked("edit", "product", "BIG", code=1)["error"]["code"] == "confirmation"
    done = line.parked("edit", "product", "BIG", "--yes")
    assert done["result"]["delivered"] == 1
    line.wait_in_step()
    assert line.erp("SELECT list_price::text FROM item WHERE code = 'BIG'") == [("5.00",)]
    kept = json.loads(line.cli("conflicts", "show", "product", "BIG", "--json").stdout)["result"]
    assert [(c["kind"], c["field"], c["value"]) for c in kept] == [("edited", "price", "99999999999.00")]
    assert line.cli("conflicts", "accept", "product", "BIG", "price", "--kept").returncode == 0
    line.wait_for_parked("BIG")
    assert "corrected by a person" in line.cli("history", "product", "BIG").stdout


def test_a_discarded_record_is_let_go_and_its_later_changes_flow(line: Office):
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('A', 'a', 1)")
    line.wait_in_step()
    line.erp("UPDATE item SET name = 'rude'")
    line.wait_for_parked("A")
    assert line.parked("discard", "product", "A", code=1)["error"]["code"] == "confirmation"
    assert line.parked("discard", "product", "A", "--yes")["result"]["discarded"] == 1
    assert line.parked("list")["result"]["count"] == 0
    assert line.shop("SELECT title FROM products") == [("a",)]
    assert "discarded by an operator" in line.cli("history", "product", "A").stdout
    line.erp("UPDATE item SET list_price = 7")
    wait_until(lambda: line.shop("SELECT cents, title FROM products") == [(700, "a")], "the price flows")
    line.erp("UPDATE item SET name = 'polite'")
    line.wait_in_step()


def test_a_row_of_a_plain_copy_is_edited_and_its_original_kept(line: Office, tmp_path: Path):
    line.erp("INSERT INTO carrier VALUES (1, 'much too long a name', 'n'), (2, 'short', NULL)")
    wait_until(lambda: line.parked("list")["result"]["count"] == 1, "the row is parked")
    (listed,) = line.parked("list", "--entity", "erp:carrier")["result"]["records"]
    assert (listed["key"], listed["code"]) == ([1], "value-refused")
    (record,) = line.parked("show", "erp:carrier", "1")["result"]
    assert [f["value"] for f in record["fields"]] == [1, "much too long a name", "n"]
    line.set_editor(tmp_path, "much too long a name", "better")
    assert line.parked("edit", "erp:carrier", "1", "--yes")["result"]["delivered"] == 1
    assert line.shop("SELECT name, note FROM carrier WHERE id = 1") == [("better", "n")]


def test_too_many_refused_records_pause_their_entity_and_resume_tries_them(line: Office):
    line.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'rude', g FROM generate_series(1, 5) g")
    line.erp("INSERT INTO carrier VALUES (2, 'short', NULL)")
    wait_until(lambda: "parked-max" in line.log.read_text(), "product is paused")
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('T', 'fine', 1)")
    line.erp("INSERT INTO carrier VALUES (3, 'later', NULL)")
    wait_until(lambda: line.shop("SELECT count(*) FROM carrier") == [(2,)], "other things flow")
    assert line.shop("SELECT sku FROM products") == []
    line.tolerate()
    assert line.cli("resume", "product").returncode == 0
    line.wait_in_step()
    assert line.parked("list")["result"]["count"] == 0


def test_what_was_on_its_way_to_an_entity_when_it_was_paused_is_told_afterwards(line: Office):
    assert line.cli("pause", "shop").returncode == 0
    line.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 300) g")
    line.erp(
        "UPDATE item SET name = 'm'; INSERT INTO carrier VALUES (7, 'c', NULL); DELETE FROM item WHERE code = 'S1'"
    )
    line.wait_for(lambda s: s.systems["shop"].deliver.lag_events > 600, "it is on its way")
    assert line.cli("pause", "product").returncode == 0
    assert line.cli("resume", "shop").returncode == 0
    wait_until(lambda: line.shop("SELECT id FROM carrier") == [(7,)], "other things flow")
    line.wait_for(lambda s: not s.systems["shop"].deliver.lag_events, "all is put aside")
    assert line.shop("SELECT count(*) FROM products") == [(0,)]
    assert line.cli("resume", "product").returncode == 0
    line.wait_in_step()
    assert line.shop("SELECT count(*) FROM products WHERE title = 'm'") == [(299,)]


def test_without_a_daemon_wishes_are_noted_and_carried_out_at_the_next_start(line: Office):
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('A', 'rude', 1), ('B', 'rude', 2)")
    line.wait_for_parked("A", "B")
    assert line.end() == 0
    assert line.parked("list")["result"]["count"] == 2
    assert line.parked("discard", "product", "A", "--yes")["result"]["open"] == 1
    line.start()
    line.wait_for_parked("B")
    line.tolerate()
    line.erp("UPDATE item SET name = 'nice'")
    assert line.parked("retry", "--all", "--yes")["result"]["count"] >= 1, "A, too, if its change came before"
    line.wait_in_step()

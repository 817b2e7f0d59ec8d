"""The whole line over columns with transforms: both systems end with what their columns can say, and nothing is fought over."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdcd import config as configuration
from cdcd import config_rules
from cdcd.journal import Command
from cdcd.model import ColumnShape
from cdcd.testing.simulator import Simulation
from cdcd_memory import MemoryOptions, MemoryServer, adapter

CONFIG = """
[daemon]
name = "acme"
state-dir = "/nowhere"
[systems]
erp = { adapter = "memory" }
shop = { adapter = "memory" }
[entities.person]
key = ["number"]
create = ["erp", "shop"]
[entities.person.fields]
number = { type = "text" }
name = { type = "text", owner = "erp" }
email = { type = "text", owner = "shop" }
weight = { type = "decimal(12,6)", owner = "erp" }
limit = { type = "decimal(12,4)", owner = "erp" }
currency = { type = "text(3)", owner = "erp" }
kind = { type = "text", owner = "erp" }
note = { type = "text", owner = "shop" }
[entities.person.in.erp]
table = "party"
columns = { number = "code", name = "name", weight = "weight", limit = "limit", currency = "currency", kind = "kind", note = "note", email = "email" }
[entities.person.in.shop]
table = "users"
[entities.person.in.shop.columns]
number = { column = "ref", template = "ERP-{}" }
name = { join = { columns = ["first", "last"], missing = "empty" }, trim = true }
email = { column = "email", case = "lower" }
weight = { column = "grams", steps = [{ round = { digits = 0 } }, { unit = "0.001" }] }
limit = { column = "minor", minor-units = "currency" }
currency = "currency"
kind = { column = "kind", map = { 1 = "private", 2 = "company" }, write = { club = "2" }, map-null = "unknown" }
note = { column = "note", nulls = [""] }
"""
TEXT_COLUMNS = ("name", "currency", "kind", "note", "email")
PARTY = [ColumnShape("code", "text", nullable=False), *(ColumnShape(name, "text") for name in TEXT_COLUMNS)]
PARTY += [ColumnShape("weight", "decimal(12,6)"), ColumnShape("limit", "decimal(12,4)")]
USERS = [ColumnShape("id", "integer", nullable=False, has_default=True), ColumnShape("ref", "text", nullable=False)]
USERS += [ColumnShape(name, "text", nullable=False) for name in ("first", "last", "note")]
USERS += [ColumnShape("email", "text"), ColumnShape("currency", "text"), ColumnShape("kind", "integer")]
USERS += [ColumnShape("grams", "integer"), ColumnShape("minor", "integer")]
ADA = {
    "code": "7",
    "name": " Ada King Lovelace ",
    "email": None,
    "weight": "61.123456",
    "limit": "12.3400",
    "currency": "EUR",
    "kind": "club",
    "note": None,
}


class Line:
    def __init__(self, directory: Path) -> None:
        self.erp, self.shop = MemoryServer(f"{directory}/erp"), MemoryServer(f"{directory}/shop")
        self.erp.create_table("party", PARTY, ("code",))
        self.shop.create_table("users", USERS, ("id",), ("ref",))
        servers = {"erp": self.erp, "shop": self.shop}
        config: Any = configuration.convert(tomllib.loads(CONFIG), configuration.Config, "x.toml", "")
        config_rules.check(config, "x.toml")
        adapters: Any = {name: (adapter, MemoryOptions(server.name)) for name, server in servers.items()}
        self.simulation = Simulation(config, adapters, directory, Random(0))

    def party(self) -> list[dict[str, Any]]:
        return self._rows(self.erp, "party")

    def users(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name != "id"} for row in self._rows(self.shop, "users")]

    def entries(self) -> tuple[int, int]:
        """How much both logs hold: what does not grow was not written."""
        return len(self.erp.entries), len(self.shop.entries)

    @staticmethod
    def _rows(server: MemoryServer, table: str) -> list[dict[str, Any]]:
        names = [column.name for column in server.tables[table].shape.columns]
        return [dict(zip(names, row, strict=True)) for row in server.tables[table].rows.values()]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    line.erp.transaction([("insert", "party", ADA)])
    line.simulation.settle()
    yield line
    line.simulation.close()


USER = {
    "ref": "ERP-7",
    "first": "Ada King",
    "last": "Lovelace",
    "note": "",
    "email": None,
    "currency": "EUR",
    "kind": 2,
    "grams": 61123,
    "minor": 1234,
}


def test_a_record_arrives_as_its_columns_say_and_its_owner_keeps_the_true_values(line):
    assert line.users() == [USER]
    assert line.party() == [ADA]


def test_a_change_by_the_shop_in_a_field_of_its_own_comes_back_as_its_column_says(line):
    line.shop.transaction([("update", "users", {"ref": "ERP-7"}, {"email": "Ada@Example.org", "note": "hello"})])
    line.simulation.settle()
    assert line.party() == [{**ADA, "email": "ada@example.org", "note": "hello"}]
    assert line.users() == [{**USER, "email": "Ada@Example.org", "note": "hello"}]
    line.shop.transaction([("update", "users", {"ref": "ERP-7"}, {"note": ""})])
    line.simulation.settle()
    assert line.party() == [{**ADA, "email": "ada@example.org"}]


def test_a_change_by_the_shop_of_what_the_erp_owns_is_put_back_as_the_column_says(line):
    changes = {"first": "Augusta", "grams": 1, "minor": 5, "kind": 1}
    line.shop.transaction([("update", "users", {"ref": "ERP-7"}, changes)])
    line.simulation.settle()
    assert line.users() == [USER]
    assert line.party() == [ADA]


def test_a_currency_that_changes_counts_the_amount_anew(line):
    line.erp.transaction([("update", "party", {"code": "7"}, {"currency": "KWD"})])
    line.simulation.settle()
    assert line.users() == [{**USER, "currency": "KWD", "minor": 12340}]


def test_what_is_in_step_is_written_no_more_also_by_a_resync(line):
    before = line.entries()
    line.simulation.command(Command("resync", {"entity": "person"}), line.simulation.entity_tables("person"))
    line.simulation.settle()
    assert line.entries() == before


def test_a_person_that_the_shop_creates_is_read_as_its_columns_say(line):
    user = {**USER, "ref": "ERP-8", "first": "", "last": "Plato", "kind": None, "currency": "JPY", "minor": 5}
    line.shop.transaction([("insert", "users", user)])
    line.simulation.settle()
    created = next(row for row in line.party() if row["code"] == "8")
    assert created["name"] == "Plato"
    assert (created["kind"], created["limit"], created["note"]) == ("unknown", "5.0000", None)
    assert [row for row in line.users() if row["ref"] == "ERP-8"] == [user]

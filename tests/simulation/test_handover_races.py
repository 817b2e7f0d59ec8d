"""An order moves to fulfilment while both sides change it: in both orders of the logs, with our writes on their way.

The whole line over servers in memory. However it goes, both sides come to rest equal, and what lost is kept.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdcd import config as configuration
from cdcd import config_rules, conflicts
from cdcd.model import ColumnShape
from cdcd.state import State
from cdcd.testing.simulator import Simulation, impatient_retries
from cdcd_memory import MemoryOptions, MemoryServer, adapter

CONFIG = """
[daemon]
name = "race"
state-dir = "/nowhere"
[entities.order]
key = ["number"]
create = ["shop"]
delete = ["shop"]
[entities.order.fields]
number = { type = "text(20)" }
status = { type = "enum(new,picking,shipped)" }
total = { type = "decimal(12,2)" }
tracking = { type = "text(20)", owner = "erp" }
[[entities.order.ownership]]
when = "record.status == 'new'"
owner = "shop"
[[entities.order.ownership]]
when = "record.status in ['picking', 'shipped']"
owner = "erp"
""" + "".join(
    f"""
[entities.order.in.{system}]
table = "orders"
columns = {{ number = "number", status = "status", total = "total", tracking = "tracking" }}
"""
    for system in ("erp", "shop")
)
COLUMNS = [
    ColumnShape("id", "integer", nullable=False, has_default=True),
    ColumnShape("number", "text(20)", nullable=False),
    ColumnShape("status", "text(10)"),
    ColumnShape("total", "decimal(12,2)"),
    ColumnShape("tracking", "text(20)"),
]
ORDERS_OF_LOGS = [("shop", "erp"), ("erp", "shop")]


class Race:
    """Order O1 in both systems, and a line that reads and writes when it is told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now_us = 1_000_000
        self.servers = {s: MemoryServer(f"{s}-{id(self)}", clock_us=self._clock) for s in ("erp", "shop")}
        for server in self.servers.values():
            server.create_table("orders", COLUMNS, ("id",), ("number",))
        self.servers["shop"].transaction(
            [("insert", "orders", {"number": "O1", "status": "new", "total": "9.00", "tracking": None})]
        )
        raw = tomllib.loads(CONFIG) | {"systems": {name: {"adapter": "memory"} for name in self.servers}}
        config: Any = configuration.convert(raw, configuration.Config, "race.toml", "")
        config_rules.check(config, "race.toml")
        adapters = {name: (adapter, MemoryOptions(server.name)) for name, server in self.servers.items()}
        self.line = Simulation(config, adapters, directory, Random(1))
        self.line.settle()

    def _clock(self) -> int:
        self.now_us += 1000
        return self.now_us

    def change(self, system: str, **values: Any) -> None:
        self.servers[system].transaction([("update", "orders", {"number": "O1"}, values)])

    def capture(self, *systems: str) -> None:
        """Journal what the logs hold, in this order."""
        for system in systems:
            while self.line._step(f"capture:{system}"):
                pass

    def resolve(self) -> None:
        while self.line._step("resolve"):
            pass

    def deliver(self, system: str) -> None:
        while self.line._step(f"deliver:{system}"):
            pass

    def at_rest(self) -> dict[str, Any]:
        """What both sides hold in the end."""
        self.line.settle()
        rows = [
            dict(zip([c.name for c in COLUMNS][1:], row[1:], strict=True))
            for server in self.servers.values()
            for row in server.tables["orders"].rows.values()
        ]
        assert len(rows) == 2
        assert rows[0] == rows[1]
        return rows[0]

    def kept(self) -> list[tuple[str, str, Any]]:
        state = State(self.directory / "state.db", durable=False)
        try:
            return [(("erp", "shop")[c.system], c.kind, c.value) for c in conflicts.listed(state.connection)]
        finally:
            state.close()


@pytest.fixture
def race(tmp_path: Path) -> Iterator[Race]:
    with impatient_retries():
        race = Race(tmp_path)
        yield race
        race.line.close()


@pytest.mark.parametrize("logs", ORDERS_OF_LOGS)
def test_a_change_by_the_new_owner_counts_if_it_is_journalled_after_the_hand_over(race: Race, logs) -> None:
    race.change("shop", status="picking")
    race.change("erp", total="8.00")
    race.capture(*logs)
    accepted = logs == ("shop", "erp")
    assert race.at_rest() == {
        "number": "O1",
        "status": "picking",
        "total": "8.00" if accepted else "9.00",
        "tracking": None,
    }
    assert race.kept() == ([] if accepted else [("erp", "reverted", "8.00")])


@pytest.mark.parametrize("logs", ORDERS_OF_LOGS)
def test_a_late_change_by_the_former_owner_is_put_back_and_kept(race: Race, logs) -> None:
    race.change("shop", status="picking")
    race.change("shop", total="7.00")
    race.change("erp", tracking="T1")
    race.capture(*logs)
    assert race.at_rest() == {"number": "O1", "status": "picking", "total": "9.00", "tracking": "T1"}
    assert race.kept() == [("shop", "reverted", "7.00")]


@pytest.mark.parametrize("logs", ORDERS_OF_LOGS)
def test_the_hand_over_itself_takes_the_last_change_of_the_former_owner_with_it(race: Race, logs) -> None:
    race.change("shop", status="picking", total="7.00")
    race.change("erp", tracking="T1")
    race.capture(*logs)
    assert race.at_rest() == {"number": "O1", "status": "picking", "total": "7.00", "tracking": "T1"}
    assert race.kept() == []


@pytest.mark.parametrize("logs", ORDERS_OF_LOGS)
def test_a_write_decided_before_the_hand_over_does_not_undo_what_the_new_owner_did_after_it(race: Race, logs) -> None:
    race.change("shop", total="8.00")
    race.capture("shop")
    race.resolve()  # the ERP is to be told 8.00 …
    race.change("shop", status="picking")
    race.capture("shop")
    race.resolve()
    race.change("erp", status="shipped", total="5.00")  # … and does this before that arrives
    race.capture("erp")
    race.resolve()
    race.deliver(logs[0])
    race.deliver(logs[1])
    race.capture(*logs)
    assert race.at_rest() == {"number": "O1", "status": "shipped", "total": "5.00", "tracking": None}


@pytest.mark.parametrize("logs", ORDERS_OF_LOGS)
def test_both_hand_over_at_once(race: Race, logs) -> None:
    race.change("shop", status="picking", total="6.00")
    race.change("erp", status="shipped", total="5.00")
    race.capture(*logs)
    found = race.at_rest()
    if logs == ("shop", "erp"):
        assert (found["status"], found["total"]) == ("shipped", "5.00")
        assert race.kept() == []
    else:
        assert (found["status"], found["total"]) == ("picking", "6.00")
        assert sorted(value for _, _, value in race.kept()) == ["5.00", "shipped"]


@pytest.mark.parametrize("logs", ORDERS_OF_LOGS)
def test_ownership_that_comes_back_meets_a_late_change_of_the_one_who_gave_it(race: Race, logs) -> None:
    race.change("shop", status="picking")
    race.at_rest()
    race.change("erp", status="new")
    race.change("erp", total="1.00")
    race.change("shop", total="2.00")
    race.capture(*logs)
    found = race.at_rest()
    assert found["total"] == ("2.00" if logs == ("erp", "shop") else "9.00")
    lost = [("erp", "reverted", "1.00")]
    assert race.kept() == (lost if logs == ("erp", "shop") else [("shop", "reverted", "2.00"), *lost])


def test_a_deletion_by_the_former_owner_still_counts_where_it_alone_may_delete(race: Race) -> None:
    race.change("shop", status="picking")
    race.change("erp", total="5.00")
    race.servers["shop"].transaction([("delete", "orders", {"number": "O1"})])
    race.capture("shop", "erp")
    race.line.settle()
    assert [server.tables["orders"].rows for server in race.servers.values()] == [{}, {}]

"""Fields that systems share, under random work, interleavings and crashes: nothing is lost, and the latest counts."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdcd import config as configuration
from cdcd import config_rules
from cdcd.journal import Command
from cdcd.model import ColumnShape
from cdcd.testing.simulator import Simulation, impatient_retries
from cdcd_memory import MemoryOptions, MemoryServer, adapter
from scenario import SwitchableFaults

SEEDS = int(os.environ.get("CDCD_SEEDS", "200")) // 4
SYSTEMS = ("erp", "shop", "till")
ITEMS = ("A", "B", "C", "D")
CONFIG = """
[daemon]
name = "sim"
state-dir = "/nowhere"
[entities.item]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
[entities.item.fields]
sku = { type = "text(20)", owner = "erp" }
stock = { type = "integer", owner = "sum" }
weight = { type = "decimal(12,2)", owner = "sum", between = ["erp", "shop"] }
note = { type = "text(40)", owner = "latest" }
name = { type = "text(40)", owner = "erp" }
""" + "".join(
    f"""
[entities.item.in.{system}]
table = "item"
columns = {{ sku = "sku", stock = "stock", weight = "weight", note = "note", name = "name" }}
"""
    for system in SYSTEMS
)
COLUMNS = [
    ColumnShape("id", "integer", nullable=False, has_default=True),
    ColumnShape("sku", "text(20)", nullable=False),
    ColumnShape("stock", "integer"),
    ColumnShape("weight", "decimal(12,2)"),
    ColumnShape("note", "text(40)"),
    ColumnShape("name", "text(40)"),
]


class Warehouse:
    """Three servers with the same items, and what must be true in the end."""

    def __init__(self, random: Random, faults: Any) -> None:
        self.random = random
        self.now_us = 1_000_000
        self.servers = {
            name: MemoryServer(f"{name}-{id(self)}", prune=name == "erp", clock_us=self._clock, faults=faults)
            for name in SYSTEMS
        }
        self.adapters = {name: (adapter, MemoryOptions(server.name)) for name, server in self.servers.items()}
        self.stock = dict.fromkeys(ITEMS, 100)
        self.cents = dict.fromkeys(ITEMS, 500)
        self.notes: dict[str, str] = dict.fromkeys(ITEMS, "0")
        self.number = 0
        for name, server in self.servers.items():
            server.create_table("item", COLUMNS, ("id",), ("sku",))
            for sku in ITEMS:
                there = {"sku": sku, "stock": 100 if name == "erp" else 7, "weight": "5.00", "note": "0", "name": "n"}
                if name == "erp" or random.random() < 0.5:
                    server.transaction([("insert", "item", there)])

    def _clock(self) -> int:
        self.now_us += 1000
        return self.now_us

    def row(self, system: str, sku: str) -> dict[str, Any] | None:
        table = self.servers[system].tables["item"]
        found = table.find(("sku",), (sku,))
        return None if found is None else dict(zip([c.name for c in COLUMNS], found, strict=True))

    def act(self, *, deletes: bool) -> None:
        """Somebody books or writes something somewhere, or deletes it where that is not allowed."""
        system, sku = self.random.choice(SYSTEMS), self.random.choice(ITEMS)
        row = self.row(system, sku)
        if row is None:
            return
        changes: dict[str, Any] = {}
        if self.random.random() < 0.7:
            pieces = self.random.choice([-3, -1, 1, 10])
            changes["stock"] = row["stock"] + pieces
            self.stock[sku] += pieces
        if system != "till" and self.random.random() < 0.3:
            cents = self.random.choice([-10, 5])
            changes["weight"] = f"{(round(float(row['weight']) * 100) + cents) / 100:.2f}"
            self.cents[sku] += cents
        if self.random.random() < 0.4:
            self.number += 1
            changes["note"] = self.notes[sku] = f"{system} {self.number}"
        if system != "erp" and self.random.random() < 0.1:
            changes["name"] = "not mine"
        if changes:
            self.servers[system].transaction([("update", "item", {"sku": sku}, changes)])
        elif system != "erp" and deletes:
            self.servers[system].transaction([("delete", "item", {"sku": sku})])

    def check(self) -> None:
        for system in SYSTEMS:
            for sku in ITEMS:
                row = self.row(system, sku)
                assert row is not None, (system, sku)
                found = (row["stock"], row["weight"], row["note"], row["name"])
                wanted = (self.stock[sku], f"{self.cents[sku] / 100:.2f}", self.notes[sku], "n")
                assert found == wanted, (system, sku)


def play(seed: int, directory: Path, *, commands: float) -> None:
    """With resyncs nobody deletes: the memory server's copies are newer than its log, so a row's sale could follow its end."""
    random = Random(seed)
    faults = SwitchableFaults(random, 0.02)
    faults.off = True
    warehouse = Warehouse(random, faults)
    raw = tomllib.loads(CONFIG) | {"systems": {name: {"adapter": "memory"} for name in SYSTEMS}}
    config: Any = configuration.convert(raw, configuration.Config, "sim.toml", "")
    config_rules.check(config, "sim.toml")
    simulation = Simulation(config, warehouse.adapters, directory, random, faults=faults)
    try:
        with impatient_retries():
            simulation.settle()
            faults.off = False
            for _ in range(60):
                warehouse.act(deletes=not commands)
                if random.random() < commands:
                    simulation.command(Command("resync", {"entity": "item"}), simulation.entity_tables("item"))
                for _ in range(random.randint(0, 12)):
                    simulation.step()
            faults.off = True
            simulation.settle()
        warehouse.check()
    finally:
        simulation.close()


def test_a_difference_that_a_target_refuses_is_written_once_as_soon_as_it_fits(tmp_path: Path) -> None:
    random = Random(1)
    warehouse = Warehouse(random, lambda _point: None)
    small = [ColumnShape("stock", "integer(0,150)") if c.name == "stock" else c for c in COLUMNS]
    warehouse.servers["till"].create_table("item", small, ("id",), ("sku",))
    raw = tomllib.loads(CONFIG) | {"systems": {name: {"adapter": "memory"} for name in SYSTEMS}}
    config: Any = configuration.convert(raw, configuration.Config, "sim.toml", "")
    simulation = Simulation(config, warehouse.adapters, tmp_path, random)
    try:
        with impatient_retries():
            simulation.settle()
            for system, pieces in (("erp", 100), ("shop", -7), ("erp", 3)):
                row = warehouse.row(system, "A")
                assert row is not None
                change = {"stock": row["stock"] + pieces}
                warehouse.servers[system].transaction([("update", "item", {"sku": "A"}, change)])
                warehouse.stock["A"] += pieces
                for _ in range(300):
                    simulation.step()
            assert simulation.parked() == 1
            warehouse.servers["shop"].transaction([("update", "item", {"sku": "A"}, {"stock": 120})])
            warehouse.stock["A"] = 120
            for _ in range(300):
                simulation.step()
            simulation.settle()
        assert simulation.parked() == 0
        warehouse.check()
    finally:
        simulation.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_difference_counts_once_and_the_latest_change_counts_everywhere(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path, commands=0.0)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_a_resync_at_any_moment_changes_no_total(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path, commands=0.05)

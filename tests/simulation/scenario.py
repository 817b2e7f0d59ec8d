"""One seeded run of the company through the line, with the verdict at its end."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from cdcd.journal import Command
from cdcd.testing.faults import Crash, RandomFaults
from cdcd.testing.simulator import CORE_POINTS, Simulation, impatient_retries
from company import Company, load_config
from verdict import check


def play(
    seed: int,
    directory: Path,
    *,
    actions: int = 60,
    crash_probability: float = 0.02,
    commands: float = 0.0,
    **kinds: Any,
) -> Simulation:
    random = Random(seed)
    faults = SwitchableFaults(random, crash_probability)
    company = Company(random, faults=faults)
    for _ in range(random.randint(0, 15)):
        company.act()
    simulation = Simulation(load_config(), company.adapters, directory, random, faults=faults, **kinds)
    try:
        with impatient_retries():
            for _ in range(actions):
                company.act()
                if random.random() < commands:
                    give_command(simulation, random)
                for _ in range(random.randint(0, 12)):
                    simulation.step()
            faults.off = True
            simulation.settle()
            heads = {name: server.head for name, server in company.servers.items()}
            simulation.settle()
        assert heads == {name: server.head for name, server in company.servers.items()}, (
            "something was written after quiet"
        )
        assert simulation.parked() == 0, "records are still parked"
        check(company, directory)
    finally:
        simulation.close()
    return simulation


def give_command(simulation: Simulation, random: Random) -> None:
    """What an operator may ask at any moment: a resync of an entity, or a rewind of a system."""
    if random.random() < 0.5:
        entity = random.choice(["product", "customer", "order"])
        simulation.command(Command("resync", {"entity": entity}), simulation.entity_tables(entity))
    else:
        simulation.command(Command("rewind", {"system": random.choice(["erp", "shop"]), "since_us": 0}), [])


class SwitchableFaults:
    """Crashes at every point, until switched off for the verdict."""

    def __init__(self, random: Random, probability: float) -> None:
        self.off = False
        self._random = random
        self._probability = probability
        self._servers = RandomFaults(random, probability)

    def __call__(self, point: str) -> None:
        if self.off:
            return
        if point in CORE_POINTS:
            if self._random.random() < self._probability:
                raise Crash(point)
        else:
            self._servers(point)

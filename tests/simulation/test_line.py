"""Seeds drive the whole line through random work, interleavings and crashes; at rest everything must be right."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from company import Company, load_config
from verdict import check

from cdcd.testing.faults import Crash, Fault, RandomFaults
from cdcd.testing.simulator import CORE_POINTS, Simulation, impatient_retries

SEEDS = int(os.environ.get("CDCD_SEEDS", "200"))


def play(seed: int, directory: Path, *, actions: int = 60, crash_probability: float = 0.02, **kinds: Any) -> Simulation:
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
                for _ in range(random.randint(0, 12)):
                    simulation.step()
            faults.off = True
            simulation.settle()
            heads = {name: server.head for name, server in company.servers.items()}
            simulation.settle()
        assert heads == {name: server.head for name, server in company.servers.items()}, "something was written after quiet"
        assert simulation.parked() == 0, "records are still parked"
        check(company, directory)
    finally:
        simulation.close()
    return simulation


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


@pytest.mark.parametrize("seed", range(SEEDS))
def test_at_rest_every_field_equals_its_owners_last_value(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path)

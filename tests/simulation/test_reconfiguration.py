"""A configuration that grows while both systems are at work: what it reads anew comes into step by itself.

The line begins with products that have neither price nor status, and knows no orders. At some moment it is started again
with the whole configuration, crashes included. At rest every field equals its owner's last value, also of records that
nobody has touched since.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import Random

import pytest

from cdcd import config as configuration
from cdcd import config_rules
from cdcd.testing.simulator import Simulation, impatient_retries
from company import CONFIG, Company, load_config
from scenario import SwitchableFaults
from verdict import check

SEEDS = 40


def smaller_config(random: Random) -> configuration.Config:
    """The company's configuration without orders, and without some fields of products, or without products."""
    raw = tomllib.loads(CONFIG)
    del raw["entities"]["order"]
    product = raw["entities"]["product"]
    if random.random() < 0.3:
        del raw["entities"]["product"]
    else:
        for field in random.sample(["price", "status", "description", "name"], random.randint(1, 3)):
            for columns in (product["fields"], *(side["columns"] for side in product["in"].values())):
                del columns[field]
    config: configuration.Config = configuration.convert(raw, configuration.Config, "sim.toml", "")
    config_rules.check(config, "sim.toml")
    return config


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_a_larger_configuration_adds_comes_into_step_by_itself(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    faults = SwitchableFaults(random, 0.02)
    company = Company(random, faults=faults)
    for _ in range(random.randint(0, 15)):
        random.choice([company.new_product, company.act])()
    simulation = Simulation(smaller_config(random), company.adapters, tmp_path, random, faults=faults)
    try:
        with impatient_retries():
            for grown_at in (True, False):
                for _ in range(random.randint(5, 40)):
                    random.choice([company.new_product, company.act, company.act])()
                    for _ in range(random.randint(0, 12)):
                        simulation.step()
                if grown_at:
                    simulation.reconfigure(load_config())
            faults.off = True
            simulation.settle()
        assert simulation.parked() == 0, "records are still parked"
        check(company, tmp_path)
    finally:
        simulation.close()

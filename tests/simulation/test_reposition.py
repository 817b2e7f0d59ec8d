"""Seeds take a system's place in its log away at any moment: what happened in the gap is found, and both sides agree."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from cdcd.adapter import RowFilter
from cdcd.backfills import NewCopy
from cdcd.journal import Command, Journal
from cdcd.model import CHECKPOINT_TABLE
from cdcd.testing.simulator import Simulation, impatient_retries
from company import Company, load_config
from scenario import SwitchableFaults
from verdict import customers, differences, lines, orders, products, unmatched

SEEDS = int(os.environ.get("CDCD_SEEDS", "200")) // 10


def reposition(simulation: Simulation, company: Company, system: str) -> None:
    """As `cdcd reposition` does it, after a gap that no log shows."""
    simulation.stop(f"capture:{system}")
    for _ in range(5):
        company.act()
        simulation.step_of(f"deliver:{system}")
    tables = [need.table for need in simulation.plan().tables(system) if need.captured]
    own = RowFilter(columns=("daemon", "system"), keys=((simulation.config.daemon.name, system),))
    copies = [NewCopy(system, CHECKPOINT_TABLE, filter=own), *(NewCopy(system, table) for table in tables)]
    journal = Journal(simulation.directory / "journal.db", durable=False)
    journal.command(Command("repositioned", {"system": system}), copies, from_now=system)
    journal.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_gaps_in_their_logs_both_systems_agree(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    faults = SwitchableFaults(random, 0.02)
    company = Company(random, faults=faults)
    simulation = Simulation(load_config(), company.adapters, tmp_path, random, faults=faults)
    try:
        with impatient_retries():
            for _ in range(60):
                company.act()
                if random.random() < 0.05:
                    reposition(simulation, company, random.choice(["erp", "shop"]))
                for _ in range(random.randint(0, 12)):
                    simulation.step()
            faults.off = True
            simulation.settle()
        reported = unmatched(tmp_path)
        for read in (products, customers, orders, lines):
            erp, shop = read(company, "erp"), read(company, "shop")  # type: ignore[operator]
            shop = {key: fields for key, fields in shop.items() if key not in reported or key in erp}
            assert erp == shop, f"{read.__name__} differ: {differences(erp, shop)}"
    finally:
        simulation.close()

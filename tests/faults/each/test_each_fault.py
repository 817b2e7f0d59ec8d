"""Every fault alone, while both sides write, with the verdict after it. `pytest tests/faults/each -k half_open` runs some of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from faults.injections import FAULTS, Fault
from faults.rig import Rig
from faults.run import alone


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(per_second=300) as rig:
        rig.writers.say("go")
        rig.begin()
        yield rig


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: re.sub(r"\W+", "_", fault.name))
def test_a_fault_loses_nothing_and_duplicates_nothing(rig: Rig, fault: Fault) -> None:
    lacking = fault.lacking(rig)
    if lacking:
        pytest.skip(lacking)
    verdict = alone(rig, fault, seed=1)
    assert verdict.right, verdict

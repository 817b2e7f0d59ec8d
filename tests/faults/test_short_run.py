"""A short piece of `make test-faults`: a daemon that dies at every failpoint, from its very first start on."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from cdcd import failpoints
from faults import document
from faults.injections import AT_FIRST_START, FAULTS, PROVOKED
from faults.rig import Rig

STARTING_ALL_ANEW = {
    "supervisor.before-trim",
    "supervisor.after-trim",
    "supervisor.before-verb",
    "journal.before-command",
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(per_second=200) as rig:
        yield rig


def test_a_daemon_that_dies_at_every_step_loses_nothing_and_duplicates_nothing(rig: Rig) -> None:
    """A new supervisor takes its time: only one of its places is among them."""
    rig.writers.say("go")
    names = [name for name in failpoints.NAMES if name not in STARTING_ALL_ANEW]
    for name in names:
        (rig.armed / name).touch()
    rig.daemon.begin()
    rig.wait_for(lambda: not any((rig.armed / name).exists() for name in AT_FIRST_START), "a first start")
    rig.wait_begun()
    left = [name for name in names if (rig.armed / name).exists()]
    for provoke in dict.fromkeys(PROVOKED[name] for name in left if name in PROVOKED):
        provoke(rig, Random(1))
    rig.wait_for(lambda: not any(rig.armed.iterdir()), "all places are reached")
    verdict = rig.settle()
    assert verdict.right, verdict


@pytest.mark.parametrize(
    "name", ["cut connections erp", "half open shop lost by client", "crash server shop", "failing sync supervisor"]
)
def test_a_fault_loses_nothing_and_duplicates_nothing(rig: Rig, name: str) -> None:
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    lacking = fault.lacking(rig)
    if lacking:
        pytest.skip(lacking)
    fault.inject(rig, Random(1))
    rig.pass_mark()


def test_after_all_of_it_both_sides_hold_what_was_committed(rig: Rig) -> None:
    verdict = rig.settle()
    assert verdict.right, verdict


def test_the_page_has_a_row_for_every_fault() -> None:
    assert document.named() == set(document.names())

"""Seeds make up schemas, rules and schedules over three systems; at rest everything must be as the judge says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kept_connections import Bench
from play import play_seed
from shrink import CASES, failure, load_case

SEEDS = int(os.environ.get("CDCD_SEEDS", "3000"))
SEEDS_PER_TEST = 50


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    kept = Bench()
    yield kept
    kept.close()


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_at_rest_every_system_has_what_the_owners_wrote(first: int, bench: Bench) -> None:
    for seed in range(first, min(first + SEEDS_PER_TEST, SEEDS)):
        try:
            play_seed(seed, bench)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}\n  python tests/simulation/shrink.py {seed}") from error


@pytest.mark.parametrize("case", sorted(CASES.glob("*.case")), ids=lambda path: path.stem)
def test_what_failed_once_does_not_fail_again(case: Path, bench: Bench) -> None:
    found = failure(bench, *load_case(case))
    assert found is None, found[0]

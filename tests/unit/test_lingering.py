"""A batch waits for more where that spares the target work and nobody feels it, and not otherwise."""

from __future__ import annotations

import pytest

from cdcd.lingering import LAG_SHARE, MAX_SECONDS, QUIET_SECONDS, WORTH_CHANGES, Linger
from cdcd.outbox import StoredUnits

NOON_US = 1_790_000_000_000_000
LEAST, MOST = QUIET_SECONDS


def batch(*writes: int, late_seconds: float = 60.0) -> list[StoredUnits]:
    committed_at_us = NOON_US - int(late_seconds * 1e6)
    return [StoredUnits(number, number, False, count, committed_at_us, b"") for number, count in enumerate(writes, 1)]


@pytest.fixture
def linger() -> Linger:
    """Of a target whose last batch folded well."""
    linger = Linger()
    linger.folded(5_000, 900)
    return linger


def test_before_the_first_batch_nothing_is_waited_for():
    assert Linger().left_seconds(batch(5_000), 0.0, NOON_US) == 0


@pytest.mark.parametrize(("changes", "rows"), [(5_000, 4_000), (WORTH_CHANGES - 1, 1), (0, 0)])
def test_after_a_batch_that_hardly_folds_or_is_small_nothing_is_waited_for(linger: Linger, changes: int, rows: int):
    linger.folded(changes, rows)
    assert linger.left_seconds(batch(5_000), 0.0, NOON_US) == 0
    assert linger.full_reads == 1


def test_after_a_batch_that_folds_well_the_next_one_waits_and_may_be_larger(linger: Linger):
    assert linger.left_seconds(batch(5_000), 0.0, NOON_US) > 0
    assert linger.full_reads > 1


def test_nothing_there_is_nothing_to_wait_with(linger: Linger):
    assert linger.left_seconds([], 0.0, NOON_US) == 0


def test_changes_that_are_hardly_late_hardly_wait(linger: Linger):
    assert linger.left_seconds(batch(5_000, late_seconds=0.2), 0.0, NOON_US) == pytest.approx(LAG_SHARE * 0.2)


def test_a_source_whose_clock_is_ahead_has_nobody_wait(linger: Linger):
    assert linger.left_seconds(batch(5_000, late_seconds=-3_600), 0.0, NOON_US) == 0


def test_while_more_keeps_arriving_a_batch_waits_but_not_for_ever(linger: Linger):
    changes, now = 1_000, 100.0
    while left := linger.left_seconds(batch(changes), now, NOON_US):
        changes, now = changes + 1_000, now + min(left, LEAST / 2)
    assert now == pytest.approx(100.0 + MAX_SECONDS)


def test_when_nothing_more_arrives_a_batch_goes_soon(linger: Linger):
    left = linger.left_seconds(batch(5_000), 0.0, NOON_US)
    assert LEAST <= left < MAX_SECONDS
    assert linger.left_seconds(batch(5_000), left, NOON_US) == 0


def test_where_nothing_more_is_journalled_a_batch_goes_sooner(linger: Linger):
    for round_s in range(0, 100, 10):  # it has learnt to be patient
        left = linger.left_seconds(batch(5_000), float(round_s), NOON_US)
        assert linger.left_seconds(batch(5_000), round_s + left, NOON_US) == 0
        linger.folded(5_000, 900)
    assert linger.left_seconds(batch(5_000), 200.0, NOON_US, more_is_journalled=False) == pytest.approx(LEAST)
    assert linger.left_seconds(batch(5_000), 200.0, NOON_US) == pytest.approx(MOST)


def test_what_arrives_slowly_is_waited_for_longer_the_next_time(linger: Linger):
    before = linger.left_seconds(batch(5_000), 0.0, NOON_US)
    assert linger.left_seconds(batch(5_000), before, NOON_US) == 0
    linger.folded(5_000, 900)
    assert linger.left_seconds(batch(5_000), 10.0, NOON_US) == pytest.approx(2 * before)


def test_the_patience_for_more_has_a_limit(linger: Linger):
    for round_s in range(0, 100, 10):
        left = linger.left_seconds(batch(5_000), float(round_s), NOON_US)
        assert left <= MOST
        assert linger.left_seconds(batch(5_000), round_s + left, NOON_US) == 0
        linger.folded(5_000, 900)

"""How fast a verification reads, and whether it goes on."""

import pytest

from cdcd.verifying.pace import LOOK_SECONDS, Cancelled, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def test_no_more_rows_are_read_than_the_rate_allows():
    clock = Clock()
    pace = Pace(1_000, lambda: "go-on", clock, clock.sleep)
    for _ in range(5):
        pace(2_000)
    assert clock.slept == pytest.approx(10.0)


def test_what_was_slow_is_not_made_up_for():
    clock = Clock()
    pace = Pace(1_000, lambda: "go-on", clock, clock.sleep)
    clock.now += 3600
    pace(2_000)
    assert clock.slept == pytest.approx(2.0)


def test_a_pause_is_waited_for_and_a_cancellation_ends_it():
    clock = Clock()
    wishes = iter(["pause", "pause", "pause", "go-on", "cancel"])
    pace = Pace(1_000_000, lambda: next(wishes), clock, clock.sleep)
    pace.look()
    assert clock.slept == pytest.approx(3 * LOOK_SECONDS)
    pace.look()  # just asked: not asked again
    clock.now += LOOK_SECONDS
    with pytest.raises(Cancelled):
        pace.look()


def test_a_long_wait_hears_of_a_cancellation():
    clock = Clock()
    pace = Pace(10, lambda: "cancel" if clock.now > 105 else "go-on", clock, clock.sleep)
    with pytest.raises(Cancelled):
        pace(1_000)
    assert clock.now < 107

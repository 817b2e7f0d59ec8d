"""What is costly to count is counted seldom."""

import pytest

from cdcd import costly_count
from cdcd.costly_count import CostlyCount


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(costly_count, "time", made)
    return made


def test_what_has_not_changed_is_not_counted_again(clock: Clock):
    counted: list[int] = []
    count = CostlyCount(lambda: counted.append(1) or len(counted))  # type: ignore[func-returns-value]
    assert [count.value("a"), count.value("a"), count.value("b"), count.value("b")] == [1, 1, 2, 2]


def test_a_count_that_takes_long_is_made_for_a_fiftieth_of_the_time(clock: Clock):
    counted = 0

    def slow() -> int:
        nonlocal counted
        counted += 1
        clock.now += 0.1
        return counted

    count = CostlyCount(slow)
    for version in range(1000):
        count.value(version)
        clock.now += 0.1
    assert 15 <= counted <= 25
    clock.now += 10
    assert count.value(-1) == counted

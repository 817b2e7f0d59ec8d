"""How long things take, counted in fixed buckets: cheap enough to be observed for every batch, bounded for every report."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from cdcd.report import Counter

BUCKETS_SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
"""Upper bounds, inclusive; what takes longer than the last one is counted beyond it."""
_BOUNDS: Final = (*(f"{seconds:g}" for seconds in BUCKETS_SECONDS), "+Inf")
_SUM: Final = "sum_us"


class Durations:
    """A histogram that only grows."""

    def __init__(self) -> None:
        self._counts = [0] * len(_BOUNDS)
        self._sum_us = 0

    def observe(self, seconds: float) -> None:
        """Something took so long."""
        self._counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self._sum_us += int(seconds * 1e6)

    def counters(self, name: str, *labels: str) -> list[Counter]:
        """As a worker reports it: one counter for each bucket that is not empty, and one of the microseconds together."""
        counted = zip((*_BOUNDS, _SUM), (*self._counts, self._sum_us), strict=True)
        return [Counter(name, (*labels, what), count) for what, count in counted if count]


class Histogram:
    """Reported counters of one histogram and one set of labels, put together again."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, counter: Counter) -> None:
        """One of the counters that `Durations.counters` has made; several workers' are added up."""
        what = counter.labels[-1]
        self._counts[what] = self._counts.get(what, 0) + counter.value

    @property
    def sum_seconds(self) -> float:
        """How long everything took together."""
        return self._counts.get(_SUM, 0) / 1e6

    def cumulative(self) -> list[tuple[str, float]]:
        """How many took at most so long, by upper bound; the last one is how many there were."""
        found: list[tuple[str, float]] = []
        total = 0
        for bound in _BOUNDS:
            total += self._counts.get(bound, 0)
            found.append((bound, float(total)))
        return found


def histograms(counters: Iterable[Counter]) -> dict[tuple[str, ...], Histogram]:
    """By labels, what all these counters of one name say."""
    found: dict[tuple[str, ...], Histogram] = {}
    for counter in counters:
        found.setdefault(counter.labels[:-1], Histogram()).add(counter)
    return found

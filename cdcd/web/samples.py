"""The last half hour of a daemon in figures: taken by the supervisor every few seconds, drawn on the status page.

Memory is bounded: so many samples of each series, eight bytes each, however long the daemon runs.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Iterator
from typing import Final

import msgspec

from cdcd.status import DaemonStatus

SAMPLE_SECONDS: Final = 5.0
SAMPLES_MAX: Final = 360
RATE_SECONDS: Final = 60.0
"""A rate is an average over so long."""
_ROWS_READ: Final = ("captured_changes", "copied_rows")
_TOO_SOON_US: Final = int(SAMPLE_SECONDS * 0.6e6)


class History(msgspec.Struct, frozen=True):
    """Series of figures, all at the moments `at_us`. NaN: not known then.

    Named by role and figure: "deliver:shop.lag_seconds", "capture:erp.rows" (a total), "resolve.lag_events".
    """

    at_us: tuple[int, ...] = ()
    series: dict[str, tuple[float, ...]] = {}

    def values(self, name: str) -> tuple[float, ...]:
        """A series, empty where there is none."""
        return self.series.get(name, ())

    def per_second(self, name: str) -> float | None:
        """How fast a total has grown lately, None where that cannot be told."""
        values = self.values(name)
        if len(values) < 2:
            return None
        since_us = self.at_us[-1] - RATE_SECONDS * 1e6
        first = next((i for i, at in enumerate(self.at_us[:-1]) if at >= since_us), len(values) - 2)
        rows, elapsed_us = values[-1] - values[first], self.at_us[-1] - self.at_us[first]
        return None if math.isnan(rows) or rows < 0 or elapsed_us <= 0 else rows * 1e6 / elapsed_us


class Samples:
    """One thread takes samples, any thread reads them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_us = array("q")
        self._series: dict[str, array[float]] = {}

    def take(self, status: DaemonStatus) -> None:
        """Add a sample, unless the last one is only just over."""
        with self._lock:
            elapsed_us = status.at_us - self._at_us[-1] if self._at_us else _TOO_SOON_US
            if elapsed_us < 0:  # the clock was put back
                self._at_us, self._series = array("q"), {}
            elif elapsed_us < _TOO_SOON_US:
                return
            self._add(status.at_us, dict(_figures(status)))

    def _add(self, at_us: int, figures: dict[str, float]) -> None:
        for name in self._series.keys() - figures.keys():
            del self._series[name]
        for name in figures.keys() - self._series.keys():
            self._series[name] = array("d", [math.nan]) * len(self._at_us)
        self._at_us.append(at_us)
        for name, value in figures.items():
            self._series[name].append(value)
        if len(self._at_us) > SAMPLES_MAX:
            del self._at_us[0]
            for series in self._series.values():
                del series[0]

    def history(self) -> History:
        """All that is kept."""
        with self._lock:
            return History(tuple(self._at_us), {name: tuple(series) for name, series in self._series.items()})


def _figures(status: DaemonStatus) -> Iterator[tuple[str, float]]:
    rows = _rows(status)
    yield "resolve.lag_seconds", status.resolve.lag_seconds
    yield "resolve.rows", rows.get("resolve", 0)
    yield "journal.size_bytes", status.journal.size_bytes
    for name, system in status.systems.items():
        if system.capture is not None:
            yield f"capture:{name}.lag_seconds", system.capture.lag_seconds
            yield f"capture:{name}.rows", rows.get(f"capture:{name}", 0)
        if system.deliver is not None:
            yield f"deliver:{name}.lag_seconds", system.deliver.end_to_end_lag_seconds
            yield f"deliver:{name}.rows", rows.get(f"deliver:{name}", 0)


def _rows(status: DaemonStatus) -> dict[str, int]:
    """Rows since the daemon started, by role."""
    found: dict[str, int] = {}
    for counter in status.counters:
        if counter.name in _ROWS_READ:
            role = f"capture:{counter.labels[0]}"
        elif counter.name == "delivered_writes":
            role = f"deliver:{counter.labels[0]}"
        elif counter.name == "resolved_changes":
            role = "resolve"
        else:
            continue
        found[role] = found.get(role, 0) + counter.value
    return found

"""SOAK: 500 transactions a second for a long time; whether the memory of cdcd's processes stays what it is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from bench import latency
from bench.line import Line, role
from bench.measuring import family, memory_bytes
from bench.results import MB
from bench.sides import AnySide

_FIRST: Final = 200_000_000
_SAMPLE_SECONDS: Final = 5.0
_WARM_UP_MINUTES: Final = 2


class Memory(NamedTuple):
    """Of all processes together, by minute: the highest of it, and how fast it grows; and the highest of each process."""

    peak_bytes: int
    growth_bytes_per_hour: float
    peaks: dict[str, int]


def measure(daemon: Line, source: AnySide, database: str, minutes: int, say: Callable[[str], None]) -> Memory:
    """Says the memory of each process every minute."""
    daemon.start()
    daemon.wait_until_arrived()
    writer = latency.application(source, database, _FIRST, minutes * 60.0)
    by_minute: list[dict[str, int]] = []
    try:
        for minute in range(1, minutes + 1):
            by_minute.append(_minute(daemon))
            say(f"minute {minute}: {_shown(by_minute[-1])}")
            if writer.poll():
                raise RuntimeError("the application has failed: see what it wrote above")
    finally:
        writer.kill()  # on a busy machine it is late
        writer.communicate()
    ((written,),) = source.run(database, f"SELECT count(*) FROM orders WHERE id >= {_FIRST}")
    say(f"{written / minutes / 60:.0f} transactions a second")
    daemon.wait_until_arrived()
    daemon.stop()
    totals = [sum(sizes.values()) for sizes in by_minute]
    names = {name for sizes in by_minute for name in sizes}
    peaks = {name: max(sizes.get(name, 0) for sizes in by_minute) for name in names}
    return Memory(max(totals), growth_bytes_per_hour(totals), peaks)


def growth_bytes_per_hour(totals: Sequence[int]) -> float:
    """The slope of a line through the minutes after the warm-up, 0 where there are not two of them."""
    counted = totals[_WARM_UP_MINUTES:]
    if len(counted) < 2:
        return 0.0
    return statistics.linear_regression(range(len(counted)), counted).slope * 60


def _minute(daemon: Line) -> dict[str, int]:
    """The highest memory of each process within a minute from now."""
    highest: dict[str, int] = {}
    ends_at = time.monotonic() + 60
    while (left := ends_at - time.monotonic()) > 0:
        time.sleep(min(left, _SAMPLE_SECONDS))
        if found := daemon.trouble():
            raise RuntimeError(found)
        for pid in family(daemon.pid):
            name = role(pid)
            highest[name] = max(highest.get(name, 0), memory_bytes(pid))
    return highest


def _shown(sizes: dict[str, int]) -> str:
    each = ", ".join(f"{name} {size / MB:.1f}" for name, size in sorted(sizes.items()))
    return f"{sum(sizes.values()) / MB:.1f} MB ({each})"

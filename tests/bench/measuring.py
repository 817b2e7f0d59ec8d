"""What a measurement costs: wall time, CPU seconds and memory of processes, as the kernel counts them (proc(5))."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

from cdcd.testing import watchdog

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_SECONDS: Final = 0.1
_FAMILY_SECONDS: Final = 1.0
_NEWS: Final = 1.02


class Cost(NamedTuple):
    """What something took.

    `wall_seconds` are all of it, `startup_seconds` those before its first change, `cpu_seconds` (by who used them) those
    after it. The memory is the peak of the proportional memory (PSS) of all processes of the replicator together.
    """

    wall_seconds: float
    cpu_seconds: dict[str, float]
    memory_bytes: int
    memory_by_process: dict[str, int]
    startup_seconds: float = 0.0

    def rate(self, changes: int) -> float:
        """Changes a second, from the first one on."""
        return changes / (self.wall_seconds - self.startup_seconds)


NOTHING: Final = Cost(0.0, {}, 0, {})


def family(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *watchdog.descendants(pid)]


def cpu_seconds(pid: int) -> float:
    """Used so far by a process, those below it, and those that have ended and were waited for."""
    total = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text("ascii").rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / _TICKS_PER_SECOND


def memory_bytes(pid: int) -> int:
    """Proportional set size: pages that several processes share count once in their sum. 0 when it has ended.

    The kernel walks all its pages for that, 3 ms for 80 MB, and holds up the process meanwhile where it maps memory.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def resident_bytes(pid: int) -> int:
    """Pages in memory, shared ones too: a counter, which costs nothing to read. 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


class Meter:
    """Measures from `__enter__` to `stop`. `parties` are processes with all below them; `of` is the one whose memory counts."""

    def __init__(self, parties: Mapping[str, int], of: str, name: Callable[[int], str] = str) -> None:
        self._parties = parties
        self._of = of
        self._name = name
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._peak_bytes = 0
        self._peaks: dict[str, int] = {}
        self._startup_seconds = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        self._look_at_cpu()
        self._thread.start()
        self._started_at = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """End the sampling, whatever happened."""
        self._end.set()
        self._thread.join()

    def begin(self) -> None:
        """The first change is there: what was before is start-up, whose CPU does not count."""
        self._startup_seconds = time.monotonic() - self._started_at
        self._look_at_cpu()

    def stop(self) -> Cost:
        """What it took until now."""
        wall_seconds = time.monotonic() - self._started_at
        used = {party: cpu_seconds(pid) - self._cpu_before[party] for party, pid in self._parties.items()}
        self._end.set()
        self._thread.join()
        if self._of in self._parties:
            self._weigh(family(self._parties[self._of]))
        return Cost(wall_seconds, used, self._peak_bytes, dict(self._peaks), self._startup_seconds)

    def _look_at_cpu(self) -> None:
        self._cpu_before = {party: cpu_seconds(pid) for party, pid in self._parties.items()}

    def _sample(self) -> None:
        """Weigh the family whenever it has grown beyond all before: often at first, then hardly ever."""
        if self._of not in self._parties:
            return
        highest_bytes, looked_at, members = 0.0, float("-inf"), []
        while not self._end.wait(_SAMPLE_SECONDS):
            if time.monotonic() - looked_at > _FAMILY_SECONDS:
                looked_at, members = time.monotonic(), family(self._parties[self._of])
            resident = sum(map(resident_bytes, members))
            if resident > highest_bytes * _NEWS:
                highest_bytes = resident
                self._weigh(members)

    def _weigh(self, members: list[int]) -> None:
        sizes = {member: memory_bytes(member) for member in members}
        self._peak_bytes = max(self._peak_bytes, sum(sizes.values()))
        for member, size in sizes.items():
            name = self._name(member)
            self._peaks[name] = max(self._peaks.get(name, 0), size)

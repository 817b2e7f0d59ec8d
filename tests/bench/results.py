"""What a benchmark has found: kept as JSON, shown as a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

MB = 10**6
OURS = "cdcd"
_SERVERS = ("source", "target")
_HEADINGS = (
    "line",
    "work",
    "system",
    "rows/s",
    "cdcd is",
    "seconds",
    "of it start",
    "CPU s per million (own)",
    "memory MB",
    "p50 / p99 ms",
    "earlier",
)
_TEXTS = 3
"""So many of the headings stand over text; over the others stand numbers."""


class Result(msgspec.Struct, frozen=True):
    """One measurement. What was not measured is 0; `difference` is "" where both ends are equal.

    `rows_per_second` counts row changes, and `cpu_seconds` (by who used them) are, from the first change on;
    `startup_seconds` are those of `wall_seconds` that were before it. `core_share` is of one core.
    """

    line: str
    workload: str
    system: str
    scale: float
    run: int
    rows_per_second: float = 0.0
    wall_seconds: float = 0.0
    startup_seconds: float = 0.0
    changes: int = 0
    cpu_seconds: dict[str, float] = {}
    core_share: float = 0.0
    memory_bytes: int = 0
    memory_by_process: dict[str, int] = {}
    memory_growth_bytes_per_hour: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    difference: str = ""


def save(results: Iterable[Result], path: Path) -> None:
    """For a later `--compare`."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(results))) + b"\n")


def load(path: Path) -> list[Result]:
    """What `save` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result])


def pairs(results: Iterable[Result], line: str, workload: str, peer: str) -> list[tuple[Result, Result]]:
    """Ours and the peer's of the same run, the first with the first.

    Two lines from the same source measure its capture twice in a run.
    """
    ours: dict[int, list[Result]] = {}
    theirs: dict[int, list[Result]] = {}
    for result in results:
        if (result.line, result.workload) == (line, workload) and result.system in (OURS, peer):
            side = ours if result.system == OURS else theirs
            side.setdefault(result.run, []).append(result)
    return [pair for run in ours for pair in zip(ours[run], theirs.get(run, []), strict=False)]


def ratio(results: Iterable[Result], line: str, workload: str, peer: str) -> float:
    """How many times as fast as the peer we are, as the median over runs; 0 where one of both was not measured."""
    found = pairs(results, line, workload, peer)
    return median(
        ours.rows_per_second / theirs.rows_per_second
        for ours, theirs in found
        if ours.rows_per_second and theirs.rows_per_second
    )


def median(values: Iterable[float]) -> float:
    """0 of nothing."""
    found = list(values)
    return statistics.median(found) if found else 0.0


def show(results: list[Result], earlier: list[Result], console: Console) -> None:
    """The table: medians over runs, how many times as fast as each peer cdcd is, and how it was earlier."""
    if not results:
        return
    table = Table(title="median of the runs; rates and CPU from the first change on")
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if number < _TEXTS else "right")
    for key, group in _groups(results).items():
        table.add_row(*key, *cells(key, group, results, earlier))
    console.print(table)
    for result in results:
        if result.difference:
            console.print(f"[red]{result.line} {result.workload} {result.system}: not equal: {result.difference}")
    _show_memory(results, console)


def cells(key: tuple[str, str, str], group: list[Result], results: list[Result], earlier: list[Result]) -> list[str]:
    """A row of the table without its key (line, workload, system). "" stands for what was not measured."""
    rate = median(r.rows_per_second for r in group)
    before = median(r.rows_per_second for r in earlier if (r.line, r.workload, r.system) == key)
    times = ratio(results, *key) if key[2] != OURS else 0.0
    return [
        f"{rate:,.0f}" if rate else "",
        f"{times:.2f} x" if times else "",
        _number(median(r.wall_seconds for r in group), 1),
        _number(median(r.startup_seconds for r in group), 1),
        _cpu(group),
        _number(max(r.memory_bytes for r in group) / MB, 0),
        _latency(group),
        f"{rate / before:.2f} x" if rate and before else "",
    ]


def _groups(results: list[Result]) -> dict[tuple[str, str, str], list[Result]]:
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.line, result.workload, result.system), []).append(result)
    return groups


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value else ""


def _latency(group: list[Result]) -> str:
    if not group[0].p99_ms:
        return ""
    waits = median(r.p50_ms for r in group), median(r.p99_ms for r in group)
    return " / ".join([f"{wait:.1f}" if wait >= 1 else f"{wait:.2f}" for wait in waits])


def _cpu(group: list[Result]) -> str:
    """All CPU seconds per million changes, and those that were not the servers'; of an idle daemon, its share of a core."""
    if group[0].core_share:
        return f"{median(r.core_share for r in group):.2%} of a core"
    measured = [r for r in group if r.cpu_seconds and _changes(r)]
    if not measured:
        return ""
    every = median(sum(r.cpu_seconds.values()) / _changes(r) for r in measured)
    own = median(sum(s for who, s in r.cpu_seconds.items() if who not in _SERVERS) / _changes(r) for r in measured)
    return f"{every * 1e6:.1f}" + (f" ({own * 1e6:.1f})" if own else "")


def _changes(result: Result) -> float:
    """Results of before 2026-11-22 do not say it; their rate is of the whole time."""
    return result.changes or result.rows_per_second * result.wall_seconds


def _show_memory(results: list[Result], console: Console) -> None:
    peaks: dict[str, int] = {}
    for result in results:
        for process, size in result.memory_by_process.items() if result.system == OURS else ():
            peaks[process] = max(peaks.get(process, 0), size)
    if peaks:
        shown = ", ".join(f"{process} {size / MB:.0f}" for process, size in sorted(peaks.items()))
        console.print(f"highest proportional memory of a process of cdcd, MB: {shown}")

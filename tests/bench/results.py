"""What a benchmark has found: kept as JSON, shown as a table of ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

MIB = 2**20


class Result(msgspec.Struct, frozen=True):
    """One measurement. `rows_per_second` counts row changes; what was not measured is 0. `difference` is "" where both ends are equal."""

    line: str
    workload: str
    system: str
    scale: float
    run: int
    rows_per_second: float = 0.0
    wall_seconds: float = 0.0
    cpu_seconds: dict[str, float] = {}
    memory_bytes: int = 0
    memory_by_process: dict[str, int] = {}
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    difference: str = ""


class Target(msgspec.Struct, frozen=True):
    """cdcd is to be at least `ratio` times as fast as `peer` in this line and workload, in the same run."""

    line: str
    workload: str
    peer: str
    ratio: float


TARGETS = (
    Target("pg > journal", "W1", "pg_recvlogical", 0.7),
    Target("my > journal", "W1", "mysql-replication", 6),
    Target("pg > pg", "W1", "PostgreSQL subscription", 0.6),
    Target("pg > pg", "W2", "PostgreSQL subscription", 0.6),
    Target("pg > pg", "W3", "PostgreSQL subscription", 1.5),
    Target("my > my", "W2", "MariaDB replica", 0.6),
    Target("my > my", "W3", "MariaDB replica", 1.5),
    Target("pg > my", "W1", "multi-row upserts", 0.6),
    Target("pg > pg entity", "W1", "cdcd one-way", 0.5),
    Target("pg > pg entity", "W3", "cdcd one-way", 0.5),
    Target("my > pg entity", "W1", "cdcd one-way", 0.5),
    Target("my > pg entity", "W3", "cdcd one-way", 0.5),
)


def save(results: Iterable[Result], path: Path) -> None:
    """For a later `--compare`."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(results))) + b"\n")


def load(path: Path) -> list[Result]:
    """What `save` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result])


def show(results: list[Result], earlier: list[Result], console: Console) -> None:
    """The table: medians over runs, ratios of the same run, and how it was earlier."""
    table = Table(title="rows/s: median of the runs")
    for heading in (
        "line",
        "work",
        "system",
        "rows/s",
        "ratio to peer",
        "wanted",
        "CPU s per million",
        "memory MiB",
        "p50/p99 ms",
        "earlier",
    ):
        table.add_column(heading, justify="left" if heading in ("line", "work", "system") else "right")
    for key, group in _groups(results).items():
        table.add_row(*key, *_cells(key, group, results, earlier))
    console.print(table)
    for result in results:
        if result.difference:
            console.print(f"[red]{result.line} {result.workload} {result.system}: not equal: {result.difference}")
    _show_memory(results, console)


def _groups(results: list[Result]) -> dict[tuple[str, str, str], list[Result]]:
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.line, result.workload, result.system), []).append(result)
    return groups


def _cells(key: tuple[str, str, str], group: list[Result], results: list[Result], earlier: list[Result]) -> list[str]:
    rate = _median(r.rows_per_second for r in group)
    before = _median(r.rows_per_second for r in earlier if (r.line, r.workload, r.system) == key)
    ratio, wanted = _ratio(key, results)
    changes = _median(r.rows_per_second * r.wall_seconds for r in group)
    cpu = _median(sum(r.cpu_seconds.values()) for r in group)
    memory = max(r.memory_bytes for r in group)
    latency = (
        f"{_median(r.p50_ms for r in group):.1f} / {_median(r.p99_ms for r in group):.1f}" if group[0].p99_ms else ""
    )
    return [
        f"{rate:,.0f}" if rate else "",
        ratio,
        wanted,
        f"{cpu / changes * 1e6:.1f}" if changes and cpu else "",
        f"{memory / MIB:.0f}" if memory else "",
        latency,
        f"{rate / before:.2f} x" if rate and before else "",
    ]


def _ratio(key: tuple[str, str, str], results: list[Result]) -> tuple[str, str]:
    """The median over runs of ours to the peer's in the same run, and what is wanted."""
    line, workload, system = key
    wanted = next((t for t in TARGETS if (t.line, t.workload) == (line, workload)), None)
    if wanted is None or system != "cdcd":
        return "", ""
    rates = {(r.system, r.run): r.rows_per_second for r in results if (r.line, r.workload) == (line, workload)}
    pairs = [
        rate / rates[(wanted.peer, run)]
        for (name, run), rate in rates.items()
        if name == system and rates.get((wanted.peer, run))
    ]
    if not pairs:
        return "", f"≥ {wanted.ratio:g} x {wanted.peer}"
    found = statistics.median(pairs)
    mark = "" if found >= wanted.ratio else " !"
    return f"{found:.2f} x{mark}", f"≥ {wanted.ratio:g} x {wanted.peer}"


def _show_memory(results: list[Result], console: Console) -> None:
    peaks: dict[str, int] = {}
    for result in results:
        for process, size in result.memory_by_process.items():
            peaks[process] = max(peaks.get(process, 0), size)
    if peaks:
        shown = ", ".join(f"{process} {size / MIB:.0f}" for process, size in sorted(peaks.items()))
        console.print(f"highest proportional memory of a process, MiB: {shown}")


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.median(found) if found else 0.0

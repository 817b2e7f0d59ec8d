"""What is wanted of cdcd, and whether a run has shown it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from bench.results import MB, OURS, Result, median, pairs

Quantity = Literal["rows/s", "MB", "MB more an hour", "ms p50", "ms p99", "share of a core", "s", "s at scale 1"]


class Target(msgspec.Struct, frozen=True):
    """cdcd's `quantity` is to be on the right side of `limit` in a line and a workload; "" means in each.

    With a `peer`, what counts is how many times the peer's it is, in the same run. Rates are to be at least that, all
    others at most.
    """

    line: str
    workload: str
    quantity: Quantity
    limit: float
    peer: str = ""

    @property
    def wanted(self) -> str:
        """For people."""
        sign = "≥" if self.quantity == "rows/s" else "≤"
        amount = f"{self.limit:.2%}" if self.quantity == "share of a core" else f"{self.limit:,.3g}"
        amount = f"{self.limit:,.0f}" if self.limit >= 1000 else amount
        return f"{sign} {amount} x {self.peer}'s" if self.peer else f"{sign} {amount}"


class Verdict(NamedTuple):
    """One target in one line. `found` is None when the peer was not there to compare with."""

    line: str
    workload: str
    target: Target
    found: float | None

    @property
    def is_met(self) -> bool:
        """Whether it is shown."""
        if self.found is None:
            return False
        if self.target.quantity == "rows/s":
            return self.found >= self.target.limit
        return self.found <= self.target.limit


def _beside(line: str, peer: str, ratios: dict[str, float]) -> tuple[Target, ...]:
    return tuple(Target(line, work, "rows/s", limit, peer) for work, limit in ratios.items())


TARGETS: Final = (
    Target("my > journal", "W1", "rows/s", 100_000),
    *_beside("my > journal", "mysql-replication", {"W1": 6}),
    *_beside("pg > journal", "pg_recvlogical", {"W1": 0.7}),
    *_beside("pg > pg", "PostgreSQL subscription", {"W1": 0.6, "W2": 0.6, "W3": 1.5}),
    *_beside("my > pg", "pg_chameleon", {"W1": 10, "W2": 10, "W3": 10}),
    *_beside("my > pg", "Debezium", {"W1": 5, "W2": 5, "W3": 5}),
    *(Target("my > pg", work, "MB", 1 / 3, "Debezium") for work in ("W1", "W2", "W3")),
    *_beside("pg > my", "multi-row upserts", {"W1": 0.6}),
    *_beside("my > my", "MariaDB replica", {"W2": 0.6, "W3": 1.5}),
    *_beside("pg > pg entity", "cdcd one-way", {"W1": 0.5, "W3": 0.5}),
    *_beside("my > pg entity", "cdcd one-way", {"W1": 0.5, "W3": 0.5}),
    Target("", "INIT", "s at scale 1", 30),
    Target("", "W5", "ms p50", 5),
    Target("", "W5", "ms p99", 20),
    Target("", "", "MB", 250),
    Target("", "SOAK", "MB more an hour", 5),
    Target("", "IDLE", "share of a core", 0.005),
    *(Target("", f"GROWTH {work}", "rows/s", 0.9, "cdcd small") for work in ("W1", "W3")),
    Target("", "RESTART", "s", 3),
)
_VALUES: Final[dict[Quantity, Callable[[Result], float]]] = {
    "rows/s": lambda r: r.rows_per_second,
    "MB": lambda r: r.memory_bytes / MB,
    "MB more an hour": lambda r: r.memory_growth_bytes_per_hour / MB,
    "ms p50": lambda r: r.p50_ms,
    "ms p99": lambda r: r.p99_ms,
    "share of a core": lambda r: r.core_share,
    "s": lambda r: r.wall_seconds,
    # what starts the processes does not grow with the work
    "s at scale 1": lambda r: r.startup_seconds + (r.wall_seconds - r.startup_seconds) / r.scale,
}
_MAY_BE_NOTHING: Final = ("MB more an hour", "share of a core")


def verdicts(results: list[Result], targets: Iterable[Target] = TARGETS) -> list[Verdict]:
    """Each target in each line where cdcd was measured in its workload, as the median over runs; memory as the highest."""
    found = []
    for target in targets:
        ours: dict[str, list[Result]] = {}
        for result in results:
            if result.system == OURS and target.line in ("", result.line) and _is_of(target, result):
                ours.setdefault(result.line, []).append(result)
        found += [_verdict(target, line, of_line, results) for line, of_line in ours.items()]
    return found


def show(results: list[Result], console: Console) -> None:
    """A row for every target that was looked at; `!` where it is not met."""
    table = Table(title="targets")
    for heading in ("line", "work", "wanted", "", "found", ""):
        table.add_column(heading, justify="right" if heading in ("wanted", "found") else "left")
    for verdict in verdicts(results):
        shown = "no such peer" if verdict.found is None else _shown(verdict)
        mark = "" if verdict.is_met or verdict.found is None else "!"
        table.add_row(verdict.line, verdict.workload, verdict.target.wanted, verdict.target.quantity, shown, mark)
    if table.row_count:
        console.print(table)


def _is_of(target: Target, result: Result) -> bool:
    if target.workload and result.workload != target.workload:
        return False
    return bool(_VALUES[target.quantity](result)) or target.quantity in _MAY_BE_NOTHING


def _verdict(target: Target, line: str, ours: list[Result], results: list[Result]) -> Verdict:
    value = _VALUES[target.quantity]
    if target.peer:
        of_both = pairs(results, line, target.workload, target.peer)
        compared = [value(one) / value(other) for one, other in of_both if value(one) and value(other)]
        return Verdict(line, target.workload, target, median(compared) if compared else None)
    if target.quantity == "MB":
        highest = max(ours, key=value)
        return Verdict(line, highest.workload, target, value(highest))
    return Verdict(line, target.workload, target, median(map(value, ours)))


def _shown(verdict: Verdict) -> str:
    assert verdict.found is not None
    if verdict.target.peer:
        return f"{verdict.found:.2f} x"
    if verdict.target.quantity == "share of a core":
        return f"{verdict.found:.2%}"
    return f"{verdict.found:,.0f}" if verdict.found >= 100 else f"{verdict.found:.1f}"

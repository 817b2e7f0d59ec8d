"""GROWTH: what a long journal and a configuration of a thousand tables cost, beside a small daemon on the same backlog.

The journal is filled by a capture of what a real application would write, in transactions of ten changes; 10 million changes
at scale 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from bench import workloads
from bench.line import Line, role
from bench.measuring import Cost, Meter
from bench.results import OURS
from bench.sides import AnySide, difference, place_marker, wait_for_marker
from cdcd.storage import connected

TABLES: Final = 1000
CHANGES: Final = 10_000_000
SMALL: Final = "cdcd small"
_WORK: Final = ("W1", "W3", "W3", "W3")
"""W3 more than once, the two in turn: what else the machine has to do falls on both. Products can be new only once."""
_ROWS: Final = 10
_TRANSACTIONS_PER_ROUND_TRIP: Final = 100
MORE_TABLES: Final = tuple(f"more_{number:04d}" for number in range(TABLES - len(workloads.TABLES)))


class Growth:
    """One line, with databases of its own."""

    def __init__(
        self, source: AnySide, target: AnySide, name: str, scale: float, directory: Path, say: Callable[[str], None]
    ) -> None:
        self._source, self._target, self._name, self._scale, self._say = source, target, name, scale, say
        self._directory = directory
        self._marker = 0

    def measure(self) -> Iterator[tuple[str, str, int, Cost, str]]:
        """The workload, the system, how many changes, what it took, in what both ends differ."""
        self._source.create(self._name)
        self._more_tables(self._source, self._name)
        daemons = {SMALL: self._daemon("small", ()), OURS: self._daemon("large", MORE_TABLES)}
        self._fill(daemons)
        for work in _WORK:
            changes = workloads.changes(work, self._scale)
            self._source.play(self._name, workloads.transactions(work, self._scale))
            self._place_marker()
            for system, daemon in daemons.items():
                self._say(f"GROWTH {work}, {system}")
                cost = daemon.drain(self._marker)
                daemon.finish()
                found = difference(self._source, self._name, self._target, daemon.target_database)
                yield f"GROWTH {work}", system, changes, cost, found
        for system, daemon in daemons.items():
            cost = self._restart(daemon)
            self._say(f"RESTART, {system}: {cost.cpu_seconds[OURS]:.2f} s CPU")
            yield "RESTART", system, 0, cost, ""

    def _more_tables(self, side: AnySide, database: str) -> None:
        side.play(database, ([f"CREATE TABLE {name} (id int PRIMARY KEY, n int NOT NULL)"] for name in MORE_TABLES))

    def _daemon(self, size: str, more_tables: tuple[str, ...]) -> Line:
        """A daemon that has copied its tables, and is stopped."""
        database = f"{self._name}_{size}"
        self._target.create(database)
        if more_tables:
            self._more_tables(self._target, database)
        place = self._directory / database
        line = Line(place, "copy", self._source, self._name, self._target, database, more_tables=more_tables)
        line.start()
        line.finish()
        return line

    def _fill(self, daemons: dict[str, Line]) -> None:
        """The large one journals and delivers it all; the small one, to which it is nothing, comes to the same place."""
        self._say(f"GROWTH: {CHANGES * self._scale:,.0f} changes are played")
        daemons[OURS].start()
        self._source.play(self._name, _filling(int(CHANGES * self._scale)))
        self._place_marker()
        for daemon in daemons.values():
            if daemon is not daemons[OURS]:
                daemon.start()
            daemon.finish()
        for system, daemon in daemons.items():
            entries, changes = _journalled(daemon.state / "journal.db")
            self._say(f"GROWTH: {system} has {changes:,} changes in {entries:,} entries of its journal")

    def _place_marker(self) -> None:
        self._marker += 1
        place_marker(self._source, self._name, self._marker)
        for side in (self._source, self._target):
            side.settle()

    def _restart(self, daemon: Line) -> Cost:
        """From the start of its process until a change that was committed meanwhile is in the target."""
        self._place_marker()
        daemon.start()
        with Meter(daemon.parties(), OURS, role) as meter:
            wait_for_marker(self._target, daemon.target_database, self._marker, daemon.trouble)
            cost = meter.stop()
        daemon.finish()
        return cost


def _filling(changes: int) -> Iterator[list[str]]:
    """Ten rows in each table, then updates of them, one table after the other; many transactions in a round trip."""
    rows = ",".join(f"({number}, 0)" for number in range(_ROWS))
    yield [f"INSERT INTO {name} VALUES {rows}" for name in MORE_TABLES]
    statements: list[str] = []
    for number in range(len(MORE_TABLES), changes // _ROWS):
        statements += (f"UPDATE {MORE_TABLES[number % len(MORE_TABLES)]} SET n = n + 1", "COMMIT", "BEGIN")
        if len(statements) >= 3 * _TRANSACTIONS_PER_ROUND_TRIP:
            yield statements
            statements = []
    yield statements


def _journalled(path: Path) -> tuple[int, int]:
    with closing(connected(path, None, options="mode=ro")) as connection:
        entries, changes = connection.execute("SELECT count(*), coalesce(sum(changes), 0) FROM entries").fetchone()
    return int(entries), int(changes)

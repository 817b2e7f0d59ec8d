"""How much waits in a target's outbox, without going through all of it each time: asked every second, for days perhaps."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import msgspec

from cdcd.state import State

MARK_ROWS: Final = 256


class Waiting(msgspec.Struct, frozen=True):
    """What a target has not applied: writes, bytes, and the commit time of the oldest (None: nothing waits)."""

    writes: int = 0
    size_bytes: int = 0
    oldest_us: int | None = None


class _Mark(NamedTuple):
    """An outbox row, and what there was through it since we began to count."""

    row_id: int
    through: int
    writes: int
    size_bytes: int


class OutboxBacklog:
    """Counts one target's outbox as it grows; only the rows around the place that is applied are looked at again."""

    def __init__(self, state: State, target: str) -> None:
        self._connection = state.connection
        self._target = target
        self._begin(0)

    def _begin(self, applied_unit: int) -> None:
        self._applied_unit = applied_unit
        self._passed_id = 0
        """Of the last mark that is applied."""
        self._marks: deque[_Mark] = deque()
        self._last = _Mark(0, 0, 0, 0)
        self._unmarked = 0

    def look(self, applied_unit: int) -> Waiting:
        """What waits beyond that unit. Rows that are applied may go at any time, others stay."""
        if applied_unit < self._applied_unit:  # the target was put back
            self._begin(applied_unit)
        self._applied_unit = applied_unit
        self._count_new()
        while self._marks and self._marks[0].through <= applied_unit:
            self._passed_id = self._marks.popleft().row_id
        mark = self._marks[0] if self._marks else self._last
        writes, size_bytes, oldest_us = self._between(self._passed_id, mark.row_id)
        beyond = self._last.writes - mark.writes, self._last.size_bytes - mark.size_bytes
        return Waiting(writes + beyond[0], size_bytes + beyond[1], oldest_us)

    def _count_new(self) -> None:
        row_id, _, writes, size_bytes = self._last
        rows = self._connection.execute(
            "SELECT id, through, writes, length(body) FROM outbox WHERE target=? AND id>? AND through>? ORDER BY id",
            (self._target, row_id, self._applied_unit),
        )
        for row_id, through, row_writes, row_bytes in rows:
            writes += row_writes
            size_bytes += row_bytes
            self._last = _Mark(row_id, through, writes, size_bytes)
            self._unmarked += 1
            if self._unmarked >= MARK_ROWS:
                self._marks.append(self._last)
                self._unmarked = 0

    def _between(self, after_id: int, last_id: int) -> tuple[int, int, int | None]:
        """Writes, bytes and the first commit time of the rows that wait behind `after_id`, to `last_id`."""
        rows = self._connection.execute(
            "SELECT writes, length(body), committed_at_us FROM outbox WHERE target=? AND id>? AND id<=? AND through>?"
            " ORDER BY id",
            (self._target, after_id, last_id, self._applied_unit),
        ).fetchall()
        oldest_us = rows[0][2] if rows else None
        return sum(row[0] for row in rows), sum(row[1] for row in rows), oldest_us

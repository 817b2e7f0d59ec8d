"""What waits for one target, as its deliverer takes it: a batch's worth of stored units after another, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from cdcd import outbox
from cdcd.outbox import StoredUnits
from cdcd.state import State

LARGE_WRITES: Final = 20_000
LARGE_BYTES: Final = 16 * 2**20
"""A unit of more, as it is stored, is not held in memory as a whole (Invariant 11)."""


class Backlog:
    """Reads the outbox of one target; changes nothing there."""

    def __init__(self, system: str, state: State) -> None:
        self._system = system
        self._state = state
        self._row = 0
        self._ahead: list[StoredUnits] = []
        self._is_at_end = False
        self.full_reads = 1
        """A batch of as much as so many reads bring at most is enough for one transaction."""

    def take(self, applied_unit: int, rows_max: int | None = None) -> list[StoredUnits]:
        """Rows with units beyond `applied_unit`, up to a batch's worth; those of one unit are taken together.

        `rows_max` is how many writes are wanted. Of a large unit only the first rows are given, alone: the last of them
        says that there are more.
        """
        taken: list[StoredUnits] = []
        size_bytes = writes = whole = 0
        self._is_at_end = False
        while not taken or taken[-1].more or not self._is_batch(size_bytes, writes, rows_max):
            row = self._next(applied_unit)
            if row is None:
                assert not taken or not taken[-1].more, "a part of an outbox unit is missing"
                break
            taken.append(row)
            whole = whole if row.more else len(taken)
            size_bytes += len(row.body)
            writes += row.writes
            if row.more and (writes >= LARGE_WRITES or size_bytes >= LARGE_BYTES):
                self.put_back(taken[whole:] if whole else [])
                return taken[:whole] if whole else taken
        return taken

    def _next(self, applied_unit: int) -> StoredUnits | None:
        if not self._ahead and not self._is_at_end:
            self._ahead = outbox.read(self._state, self._system, self._row, applied_unit)
            self._row = self._ahead[-1].id if self._ahead else self._row
            self._is_at_end = outbox.is_through(self._ahead)
        return self._ahead.pop(0) if self._ahead else None

    @property
    def is_drained(self) -> bool:
        """Whether everything has been taken that there was when it was read last."""
        return self._is_at_end and not self._ahead

    def put_back(self, rows: Sequence[StoredUnits]) -> None:
        """These were taken last and are not done with: they come next."""
        self._ahead[:0] = rows

    def forget(self, after_row: int = 0) -> None:
        """Read anew what is not applied of the rows behind this one."""
        self._row = after_row
        self._ahead = []
        self._is_at_end = False

    def unit_from(self, first: StoredUnits, applied_unit: int) -> Iterator[StoredUnits]:
        """All rows of a large unit, read again from its first one. The last one may hold other units too."""
        row_id, more = first.id - 1, True
        while more:
            rows = outbox.read(self._state, self._system, row_id, applied_unit)
            assert rows, "a part of an outbox unit is missing"
            for row in rows:
                row_id, more = row.id, row.more
                yield row
                if not more:
                    return

    def row(self, row_id: int) -> StoredUnits:
        """A row again, of which nothing is applied yet."""
        return outbox.read_row(self._state, row_id)

    def is_full(self, rows: Sequence[StoredUnits]) -> bool:
        """Whether these are a batch to which no more would be taken: enough, or a part of one unit that is large."""
        return bool(rows) and (rows[-1].more or self._is_batch(sum([len(row.body) for row in rows]), 0, None))

    def _is_batch(self, size_bytes: int, writes: int, rows_max: int | None) -> bool:
        return size_bytes >= self.full_reads * outbox.READ_BYTES or (rows_max is not None and writes >= rows_max)

"""Small transactions that follow one another and change rows of one table: read together, decided one after the other.

Most of what a transaction of ten rows costs is not its rows' but its own: decoding, mapping and looking up are called for
each. A series does those once for some hundred rows. What is decided, told and noted, and in which order, is what
comes of the entries one by one. Measured: a tenth fewer instructions in all of resolve with ten rows a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from cdcd.journal import Entry, Journal, Kind
from cdcd.model import Op
from cdcd.resolve.moment import Moment
from cdcd.resolve.runs import ChangedRun
from cdcd.stored_rows import StoredRows

SERIES_ROWS: Final = 128
"""So many have their values in the processor's cache still when they are decided: with 1,000 nothing was won."""
SMALL_CHANGES: Final = 32
"""Rows of an entry beyond which its own cost is little."""
_ONE_RUN: Final = 0x91
"""The first byte of a packed array of one."""

Stretch: TypeAlias = list[tuple[Entry, StoredRows | None]]
"""Entries that follow one another, each with its rows if these were looked at. Several of them may be a series."""


def stretches(journal: Journal, entries: Sequence[Entry]) -> Iterator[Stretch]:
    """All entries in order, with those together that may be a series."""
    stretch: Stretch = []
    count = 0
    for entry in entries:
        run = _only_run(journal, entry)
        if stretch and (count + entry.changes > SERIES_ROWS or not _is_next(*stretch[0], entry, run)):
            yield stretch
            stretch, count = [], 0
        stretch.append((entry, run))
        count += entry.changes
    if stretch:
        yield stretch


def _only_run(journal: Journal, entry: Entry) -> StoredRows | None:
    """The rows of a small transaction of an application, if they are of one table and one kind."""
    body = entry.body
    if entry.kind != Kind.LOG or not body or body[0] != _ONE_RUN or entry.changes > SMALL_CHANGES:
        return None
    if entry.mark is not None or entry.stage is not None:
        return None
    (run,) = journal.split(body)
    return run


def _is_next(first: Entry, first_run: StoredRows | None, entry: Entry, run: StoredRows | None) -> bool:
    """Whether both change rows of one table that keep their keys."""
    if run is None or first_run is None or run.op != Op.UPDATE or first_run.op != Op.UPDATE:
        return False
    if run.has_olds or first_run.has_olds:
        return False
    return entry.source == first.source and run.relation_number == first_run.relation_number


class Series:
    """Entries whose rows are mapped."""

    def __init__(
        self,
        run: ChangedRun,
        keys: Sequence[bytes],
        values: Sequence[list[Any]],
        counts: Sequence[int],
    ) -> None:
        """`keys` and `values` are of all rows, of which `counts` belong to each entry."""
        self._run = run
        self._keys = keys
        self._values = values
        self._counts = iter(counts)
        self._at = 0

    def take(self, moment: Moment) -> None:
        """Decide about the rows of the next entry."""
        start = self._at
        end = self._at = start + next(self._counts)
        self._run.take(moment, self._keys[start:end], self._values[start:end], Op.UPDATE)

    def end(self) -> int:
        """Hand on what was collected, before anything that is not of the series; return how many rows were taken."""
        self._run.end()
        return self._at

"""Units handed to the folders of their records and rows: what follows one another in one table is added together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec

from cdcd import printed
from cdcd.folding.copies import CopyFolder
from cdcd.folding.records import RecordFolder
from cdcd.model import Op, Relation, Row
from cdcd.outbox import CHANGES, Item, Unit
from cdcd.parking.parked import ParkedRecords, Subject

_Kind: TypeAlias = tuple[int, int, bool, type]
"""Operation and relation of copied rows, whether some value in them may be ABSENT, and what they are: a list, or bytes."""
_TOGETHER_ROWS: Final = 250
"""So many rows as they were printed are given values at once: they are still in the processor's cache, and few calls are made."""


class _Run(msgspec.Struct):
    """Copied rows of one table that follow one another and are of one kind. `printed_count` of them have no values yet."""

    kind: _Kind
    parts: list[Any]
    printed_count: int = 0


class Adding:
    """Adds the units of one batch. `waiting` are the parked subjects that a change was left out for, `copied` the copies told."""

    def __init__(
        self,
        records: Mapping[int, RecordFolder],
        copies: Mapping[int, CopyFolder],
        relation: Callable[[int], Relation],
        parked: ParkedRecords | None,
    ) -> None:
        self.waiting: list[Subject] = []
        self.copied: set[int] = set()
        self._records = records
        self._gathered = [record for record in records.values() if record.is_gathered]
        self._copies = copies
        self._relation = relation
        self._parked = parked
        self._told: dict[int, list[Item]] = {number: [] for number in records}
        self._runs: dict[int, _Run] = {}

    def add(self, unit: Unit) -> None:
        """Add a unit; some of it only with `finish`."""
        told, partial = self._told, unit.partial
        for item in unit.items:
            number = item[0]
            if number < 0:
                self._copied(item, partial=partial)
            elif number in told:
                told[number].append(item)
        for gathered in self._gathered:
            gathered.note_commit_time(unit.committed_at_us)
            self._flush_told(gathered.entity.number)

    def _copied(self, item: Item, *, partial: bool) -> None:
        number, op, relation, rows, olds = item
        copy = self._copies.get(number)
        if copy is None:
            return
        self.copied.add(number)
        kind = (op, relation, partial, type(rows))
        run = self._runs.get(number)
        plain = op != Op.TRUNCATE and (olds is None or olds.count(None) == len(olds))
        if run is not None and not (plain and run.kind == kind):
            self._flush_run(number)
            run = None
        if plain:
            self._add_run(number, run or _Run(kind, []), rows)
        elif op == Op.TRUNCATE:
            copy.clear()
        else:
            copy.add(op, self._relation(relation), rows, olds, partial=partial, parked=self._parked)

    def _add_run(self, number: int, run: _Run, rows: list[Row] | bytes) -> None:
        self._runs[number] = run
        run.parts.append(rows)
        if isinstance(rows, bytes):
            run.printed_count += printed.row_count(rows)
            if run.printed_count >= _TOGETHER_ROWS:
                self._flush_run(number)

    def _flush_run(self, number: int) -> None:
        run = self._runs.pop(number)
        op, relation, partial, _ = run.kind
        parts = run.parts
        if run.printed_count:
            rows: list[Row] | bytes = printed.joined(parts)
        else:
            rows = parts[0] if len(parts) == 1 else [*chain.from_iterable(parts)]
        self._copies[number].add(op, self._relation(relation), rows, None, partial=partial, parked=self._parked)

    def _flush_told(self, number: int) -> None:
        items, record = self._told[number], self._records[number]
        if not items:
            return
        self._told[number] = []
        if not self._parked:
            record.add_all(items)
            return
        for item in items:
            if waits(item, record, self._parked):
                self.waiting.append((number, item[2]))
            else:
                record.add(item)

    def finish(self) -> None:
        """Add what is left."""
        for number in [*self._runs]:
            self._flush_run(number)
        for number in self._told:
            self._flush_told(number)


def waits(item: Item, folder: RecordFolder, parked: ParkedRecords | None) -> bool:
    """Whether a change of a parked record must wait behind it: unless `folder` holds one that tells the whole record."""
    subject = (item[0], item[2])
    assert parked is not None
    return item[1] in CHANGES and subject in parked and not folder.tells_whole(item[2])

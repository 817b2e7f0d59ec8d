"""Units handed to the folders of their records and rows: what follows one another in one table is added together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import TypeAlias

from cdcd.folding.copies import CopyFolder
from cdcd.folding.records import RecordFolder
from cdcd.model import Op, Relation, Row
from cdcd.outbox import CHANGES, Item, Unit
from cdcd.parking.parked import ParkedRecords, Subject

_Kind: TypeAlias = tuple[int, int, bool]
"""Operation and relation of copied rows, and whether some value in them may be ABSENT."""


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
        self._runs: dict[int, tuple[_Kind, list[list[Row]]]] = {}

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
        kind = (op, relation, partial)
        run = self._runs.get(number)
        plain = op != Op.TRUNCATE and (olds is None or olds.count(None) == len(olds))
        if plain and run is not None and run[0] == kind:
            run[1].append(rows)
            return
        if run is not None:
            self._flush_run(number)
        if plain:
            self._runs[number] = kind, [rows]
        elif op == Op.TRUNCATE:
            copy.clear()
        else:
            copy.add(op, self._relation(relation), rows, olds, partial=partial, parked=self._parked)

    def _flush_run(self, number: int) -> None:
        (op, relation, partial), parts = self._runs.pop(number)
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

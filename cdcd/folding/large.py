"""Folding a unit that is too large for memory: its items go to disk by record, and come back a page of records at a time.

A page is folded by the same folders as a small batch, so a record is written once and in the same order of tables; only
the order of records within a table is that of their keys. The pages can be gone through again, and any write of them
found again by its number. A unit in which no record occurs twice is spared this (see `in_place`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final, Literal

import msgspec

from cdcd.folding.adding import waits
from cdcd.folding.copies import CopyFolder, filled
from cdcd.folding.copy_layout import Layout, RowKey
from cdcd.folding.fold import Folder
from cdcd.folding.folded import Folded, Grouped, Groups, Unwritable
from cdcd.folding.paged import PagedGroups
from cdcd.folding.records import RecordFolder
from cdcd.folding.spill import Page, Spill, Spilled
from cdcd.model import ABSENT, Op, Relation, Row
from cdcd.outbox import CHANGES, Item, RecordWrite, Unit
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.resolve.keys import encode_key
from cdcd.stored_rows import with_values

_WAITING_MAX: Final = 1_000
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode
_TOUCHED: Final = 0
"""In the place of an operation: the row that had this key has got another one."""
_Part = Literal["clear", "moves", "removed", "changes", "last", "deletes"]


class _Section(msgspec.Struct):
    """Where items of a folder are in the spill, and what there is among them. Of a copy one for each stage."""

    folder: RecordFolder | CopyFolder
    number: int
    moves: int
    has_deletes: bool = False
    move_count: int = 0


class LargeFold:
    """Folds one unit. Add all of it, then go through what is `ordered`."""

    def __init__(
        self, folder: Folder, spill: Spill, parked: ParkedRecords, unwritable: Callable[[Sequence[Unwritable]], None]
    ) -> None:
        """`unwritable` is called with what cannot be written, when its page is folded first."""
        self.cleared: list[int] = []
        self._spill = spill
        self._parked = parked
        self._unwritable = unwritable
        self._relation = folder.relation
        self._section_count = 0
        self._item_count = 0
        self._waiting: list[Subject] = []
        self._waited = 0
        self._told: set[tuple[int, bytes | None]] = set()
        self._records = {number: (self._section(record), record) for number, record in folder.records.items()}
        self._copies = {
            number: _CopySpiller(copy, self._section, spill, parked) for number, copy in folder.copies.items()
        }

    def _section(self, folder: RecordFolder | CopyFolder) -> _Section:
        self._section_count += 2
        return _Section(folder, self._section_count, self._section_count + 1)

    # ---- adding ------------------------------------------------------------------------------------------------

    def add(self, unit: Unit) -> None:
        """Put a part of the unit aside."""
        spilled: list[Spilled] = []
        for _, record in self._records.values():
            record.note_commit_time(unit.committed_at_us)
        for item in unit.items:
            if item[0] < 0:
                self._spill.add(spilled)
                spilled.clear()
                self._add_copied(item, partial=unit.partial)
                continue
            known = self._records.get(item[0])
            if known is not None and item[1] == RecordWrite.REKEY:
                self._spill.add(spilled)
                spilled.clear()
                self._rename(known[0], item)
            elif known is not None and not self._must_wait(known[0], known[1], item, spilled):
                section = known[0]
                self._item_count += 1
                section.has_deletes = section.has_deletes or item[1] == RecordWrite.DELETE
                spilled.append((section.number, item[2], self._item_count, _encode(item)))
        self._spill.add(spilled)

    def _rename(self, section: _Section, item: Item) -> None:
        """Renames come first, in their order, with the deletes of what has the keys; what was said before goes along."""
        old, new = encode_key(item[4]), item[2]
        in_the_way = [_decode(body) for body in self._spill.of_key(section.number, new)][-1:]
        self._spill.drop_key(section.number, new)
        whole = any(_decode(body)[1] == RecordWrite.FULL for body in self._spill.of_key(section.number, old))
        self._spill.move(section.number, old, new)
        first = [found for found in in_the_way if found[1] == RecordWrite.DELETE]
        for move in (*first, [*item[:5], int(whole), []]):
            section.move_count += 1
            self._spill.add([(section.moves, section.move_count.to_bytes(8, "big"), 0, _encode(move))])

    def _must_wait(self, section: _Section, record: RecordFolder, item: Item, spilled: list[Spilled]) -> bool:
        if not len(self._parked) or item[1] not in CHANGES or (item[0], item[2]) not in self._parked:
            return False
        self._spill.add(spilled)
        spilled.clear()
        for body in self._spill.of_key(section.number, item[2]):
            record.add(_decode(body))
        must_wait = waits(item, record, self._parked)
        record.take(Folded())
        if must_wait:
            self._waiting.append((item[0], item[2]))
            if len(self._waiting) >= _WAITING_MAX:
                self.count_waiting()
        return must_wait

    def count_waiting(self) -> int:
        """Note what waits behind parked records; return how many changes that were in all."""
        self._parked.wait_behind(self._waiting)
        self._waited += len(self._waiting)
        self._waiting.clear()
        return self._waited

    def _add_copied(self, item: Item, *, partial: bool) -> None:
        number, op, relation, rows, olds = item
        copy = self._copies.get(number)
        if copy is None:
            return
        if op == Op.TRUNCATE:
            copy.clear()
            self.cleared = [*(n for n in self.cleared if n != number), number]
        elif rows:
            shape = self._relation(relation)
            copy.add(op, relation, shape, with_values(shape, rows)[0], olds, partial=partial)

    # ---- the writes --------------------------------------------------------------------------------------------

    @property
    def has_deletes(self) -> bool:
        """Whether it can be tried in another order."""
        return any(section.has_deletes for section, _ in self._records.values())

    def ordered(self, *, deletes_first: bool) -> Groups:
        """All writes in order."""
        copies = list(self._copies.items())
        steps: list[tuple[_Section, _Part]] = []
        steps += [(copy.sections[0], "clear") for number, copy in reversed(copies) if number in self.cleared]
        steps += [
            (copy.sections[0], "removed")
            for _, copy in reversed(copies)
            if not copy.in_order and copy.sections[0].has_deletes
        ]
        for _, copy in copies:
            for section in copy.sections:
                parts: tuple[_Part, ...] = ("moves", "removed", "changes") if copy.in_order else ("changes",)
                steps += [(section, part) for part in parts]
        records = [section for section, _ in self._records.values()]
        for section in records:
            steps += [(section, "moves"), (section, "changes")] if section.move_count else [(section, "changes")]
        steps += [(section, "last") for section, record in self._records.values() if record.has_late]
        deletes: list[tuple[_Section, _Part]] = [(s, "deletes") for s in reversed(records) if s.has_deletes]
        return PagedGroups(deletes + steps if deletes_first else steps + deletes, self.pages, self.groups)

    def pages(self, step: tuple[_Section, _Part], after: bytes | None) -> Iterator[Page]:
        """The pages of one step."""
        section, part = step
        if part == "clear":
            return iter([Page(after)])
        return self._spill.pages(section.moves if part == "moves" else section.number, after)

    def groups(self, step: tuple[_Section, _Part], page: Page) -> list[Grouped]:
        """The writes of one page."""
        section, part = step
        folder = section.folder
        if isinstance(folder, RecordFolder):
            folded = self._folded_records(folder, part, page)
        elif part == "clear":
            return [folder.clearing()]
        elif part == "moves":
            return folder.moving([self._move(folder, body) for _, body in page.items])
        else:
            folded = self._folded_copies(folder, page)
        if folded.unwritable and (section.number, page.after) not in self._told:
            self._told.add((section.number, page.after))
            self._unwritable(folded.unwritable)
        found: list[Grouped] = folded.changes if part == "moves" else getattr(folded, part)
        return found

    def _folded_records(self, folder: RecordFolder, part: _Part, page: Page) -> Folded:
        """Changes are told by the key that the record has at last."""
        for key, body in page.items:
            item = _decode(body)
            folder.add(item if part == "moves" else [*item[:2], key, *item[3:]])
        folded = Folded()
        folder.take(folded)
        if part == "moves":
            folded.changes = folded.deletes + folded.changes
        return folded

    def _folded_copies(self, folder: CopyFolder, page: Page) -> Folded:
        """Rows of one kind and shape that follow one another are folded together."""
        run: list[Row] = []
        kind: tuple[int, int] | None = None
        for _, body in page.items:
            op, number, row, origin = _decode(body)
            if op == _TOUCHED:
                continue
            if kind != (op, number) or origin is not None:
                self._add_run(folder, kind, run)
                kind, run = (op, number), []
            run.append(row)
            if origin is not None:
                folder.note_origin(folder.table.layout(self._relation(number)).key_of(row), _key(origin))
        self._add_run(folder, kind, run)
        folded = Folded()
        folder.take(folded, self._parked)
        return folded

    def _add_run(self, folder: CopyFolder, kind: tuple[int, int] | None, run: list[Row]) -> None:
        if kind is not None and run:
            partial = kind[0] == Op.UPDATE and any(ABSENT in row for row in run)
            folder.add(kind[0], self._relation(kind[1]), run, None, partial=partial)

    def _move(self, folder: CopyFolder, body: bytes) -> tuple[Layout, RowKey, RowKey]:
        number, old_key, key = _decode(body)
        return folder.table.layout(self._relation(number)), _key(old_key), _key(key)


class _CopySpiller:
    """Puts the rows of one plain copy aside: what `CopyFolder.add` does to what is pending in memory."""

    def __init__(
        self, folder: CopyFolder, section: Callable[[CopyFolder], _Section], spill: Spill, parked: ParkedRecords
    ) -> None:
        self.sections = [section(folder)]
        self._folder = folder
        self._section = section
        self._spill = spill
        self._parked = parked
        self._count = 0

    @property
    def in_order(self) -> bool:
        """Whether keys are changed, so that deletes cannot simply come first."""
        return len(self.sections) > 1 or self.sections[0].move_count > 0

    def clear(self) -> None:
        """The source's table was emptied."""
        self._spill.drop([number for section in self.sections for number in (section.number, section.moves)])
        self.sections = [self._section(self._folder)]

    def add(
        self, op: int, number: int, relation: Relation, rows: list[Row], olds: list[Row | None] | None, *, partial: bool
    ) -> None:
        """Put a run of rows aside."""
        layout = self._folder.table.layout(relation)
        section = self.sections[-1]
        if op == Op.DELETE:
            self._folder.check_keys(layout, rows, partial=partial)
            section.has_deletes = True
        if olds is None or olds.count(None) == len(olds):
            self._put(op, number, layout, rows)
            return
        for row, old in zip(rows, olds, strict=True):
            if old is not None:
                self._folder.check_keys(layout, [old], partial=True)
            if old is None or layout.key_of(old) == layout.key_of(row):
                self._put(op, number, layout, [row])
            else:
                self._put_moved(op, number, layout, row, old)

    def _put(self, op: int, number: int, layout: Layout, rows: list[Row], origin: Any = None) -> None:
        first, self._count = self._count, self._count + len(rows)
        key_of, single = layout.key_of, layout.single
        self._spill.add(
            (section, encode_key((key,) if single else key), at, _encode((op, number, row, origin)))
            for section, at, key, row in zip(
                repeat(self.sections[-1].number), range(first, self._count), map(key_of, rows), rows, strict=False
            )
        )

    def _put_moved(self, op: int, number: int, layout: Layout, row: Row, old: Row) -> None:
        """See `CopyFolder`: the old key is deleted and the new one written, where all of the row is known."""
        old_key, key = layout.key_of(old), layout.key_of(row)
        row = self._filled(number, layout, row, old_key)
        row = self._folder.filled_from_parked(layout, row, old_key, self._parked)
        if self._folder.is_whole(layout, row):
            self.sections[-1].has_deletes = True
            self._put(Op.DELETE, number, layout, [old])
            self._put(op, number, layout, [row])
            return
        if layout.misfit is None:
            self._move(number, layout, old_key, key)
            self._put(_TOUCHED, number, layout, [old])
        self._put(op, number, layout, [row], old_key)

    def _filled(self, number: int, layout: Layout, row: Row, key: RowKey) -> Row:
        """The row with what the log left out taken from what was put aside under `key`, in the same shape."""
        for body in reversed(self._aside(layout, key)):
            op, known_number, known, _ = _decode(body)
            if op in (Op.DELETE, _TOUCHED) or known_number != number:
                break
            row = filled(layout.relation, row, dict(zip(layout.relation.columns, known, strict=True)))
        return row

    def _aside(self, layout: Layout, key: RowKey) -> list[bytes]:
        return self._spill.of_key(self.sections[-1].number, encode_key((key,) if layout.single else key))

    def _move(self, number: int, layout: Layout, old_key: RowKey, key: RowKey) -> None:
        if self._aside(layout, old_key) or self._aside(layout, key):
            self.sections.append(self._section(self._folder))
        section = self.sections[-1]
        section.move_count += 1
        at = section.move_count.to_bytes(8, "big")
        self._spill.add([(section.moves, at, 0, _encode((number, old_key, key)))])


def _key(stored: Any) -> RowKey:
    return tuple(stored) if isinstance(stored, list) else stored

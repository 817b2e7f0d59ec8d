"""Differences that are added to totals (`RecordWrite.ADD`): folded by record to one write, `column = column + difference`.

They come after what else is written of the same record, in the same transaction: a row that is new then already has the
total of when it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from cdcd.conversions import Convert, to_column
from cdcd.errors import Refused
from cdcd.folding.folded import Folded, Grouped, PartRows, Unwritable
from cdcd.model import Row, TableShape, TableWrite
from cdcd.numeric import added, is_zero
from cdcd.outbox import Item, RecordWrite
from cdcd.parking.parked import Subject
from cdcd.resolve.masks import mask_of, slots_of
from cdcd.resolve.plan import BindingPlan, EntityPlan
from cdcd.values import ValueRefused, ValueType, parse_type

KeyWriter: TypeAlias = Callable[[], tuple[Callable[[Item], Row], TableWrite]]
"""Gives the function that makes the key columns of a record's row, and an UPDATE that has these columns only."""
_DIGITS_MAX: Final = "1000"


class Additions:
    """The differences of one entity that are pending for one system, of each record those told since it was told whole."""

    def __init__(self, entity: EntityPlan, binding: BindingPlan, shapes: Mapping[str, TableShape]) -> None:
        self._entity = entity
        self._binding = binding
        self._shape = shapes.get(binding.table)
        self._pending: dict[bytes, dict[int, Any]] = {}
        self._converts: dict[int, Convert | None] = {}

    def __bool__(self) -> bool:
        return bool(self._pending)

    def add(self, item: Item) -> None:
        """Add up with what is pending for the record."""
        _, _, key, mask, differences, *_ = item
        known = self._pending.setdefault(key, {})
        for slot, difference in zip(slots_of(mask), differences, strict=True):
            known[slot] = added(known.get(slot), difference, self._entity.fields[slot].type)

    def rename(self, old: bytes, new: bytes) -> None:
        """The record has another key."""
        if old in self._pending:
            self._pending[new] = self._pending.pop(old)

    def drop(self, key: bytes) -> None:
        """The record is to be deleted, or told whole: resolve looks whether its row, if it is there, lacks something then."""
        self._pending.pop(key, None)

    def keys(self) -> Iterable[bytes]:
        """The records with something pending."""
        return self._pending.keys()

    def clear(self) -> None:
        """Nothing is pending any more."""
        self._pending = {}

    def take(self, key_writer: KeyWriter, folded: Folded, first: int) -> None:
        """Move what is pending behind the rows of the same records in `folded.changes`, or into updates of its own.

        The groups of this entity begin at place `first`. What cannot be written is noted in `folded`, and nothing else is
        written of such a record.
        """
        number, pending, self._pending = self._entity.number, self._pending, {}
        try:
            row_of, blank = key_writer()
        except Refused as refused:
            folded.unwritable += [Unwritable((number, key), refused) for key in pending]
            return
        refused_before = {found.subject for found in folded.unwritable}
        rows: dict[int, list[tuple[bytes, Row]]] = {}
        for key, differences in pending.items():
            told = {slot: difference for slot, difference in differences.items() if not is_zero(difference)}
            if not told or (number, key) in refused_before:
                continue
            try:
                row = [*row_of([number, RecordWrite.UPDATE, key, 0, [], 0, []]), *self._columns_of(told)]
            except (ValueRefused, Refused) as refused:
                folded.unwritable.append(Unwritable((number, key), refused))
            else:
                rows.setdefault(mask_of(told), []).append((key, row))
        refused_now = {found.subject for found in folded.unwritable} - refused_before
        folded.changes[first:] = [_without(group, refused_now) for group in folded.changes[first:]]
        for mask, listed in rows.items():
            folded.changes += self._placed(self._write(blank, mask), listed, folded.changes[first:])

    def _placed(self, blank: TableWrite, rows: list[tuple[bytes, Row]], groups: list[Grouped]) -> list[Grouped]:
        """Put rows behind those of the same records; return an update of the others, if there are any."""
        wanted = {key for key, _ in rows}
        homes = {
            subject[1]: (group, place)
            for group in groups
            if not group.write.added
            for place, subject in enumerate(group.subjects)
            if subject[1] in wanted
        }
        parts: dict[int, PartRows] = {}
        left: list[tuple[bytes, Row]] = []
        for key, row in rows:
            if key not in homes:
                left.append((key, row))
                continue
            group, place = homes[key]
            if id(group) not in parts:
                parts[id(group)] = PartRows(msgspec.structs.replace(blank, rows=[]), [])
                group.after = [*group.after, parts[id(group)]]
            parts[id(group)].write.rows.append(row)
            parts[id(group)].numbers.append(place)
        write = msgspec.structs.replace(blank, rows=[row for _, row in left])
        return [Grouped(write, [(self._entity.number, key) for key, _ in left])] if left else []

    def _write(self, blank: TableWrite, mask: int) -> TableWrite:
        columns = tuple(self._binding.column_of(slot) for slot in slots_of(mask))
        return msgspec.structs.replace(blank, columns=(*blank.columns, *columns), rows=[], added=columns)

    def _columns_of(self, told: Mapping[int, Any]) -> list[Any]:
        """The differences as the columns count."""
        found = []
        for slot in slots_of(mask_of(told)):
            if slot not in self._converts:
                self._converts[slot] = self._converter(slot)
            convert = self._converts[slot]
            found.append(told[slot] if convert is None else convert(told[slot]))
        return found

    def _converter(self, slot: int) -> Convert | None:
        """As for a value of the field, but for how large it may be, and that it may be negative. Raises Refused."""
        bound = self._binding.bound(slot)
        column = None if self._shape is None else self._shape.column(bound.column)
        cause = "it is not there"
        if column is not None:
            kind = parse_type(column.type)
            cause = f"it is of type {column.type}"
            if kind.kind in ("integer", "decimal", "float"):
                try:
                    field = self._entity.fields[slot].type
                    return to_column(_boundless(field), _boundless(kind), bound.transform).convert
                except ValueError as error:
                    cause = str(error)
        raise Refused(
            f"nothing can be added to column {bound.column} of {self._binding.table} in {self._binding.system!r}",
            code="target-not-a-number",
            cause=cause,
            remedy="bind the field to a column of numbers, or let one system own it",
        )


def _without(group: Grouped, refused: set[Subject]) -> Grouped:
    if not refused:
        return group
    good = [number for number, subject in enumerate(group.subjects) if subject not in refused]
    return group if len(good) == len(group.subjects) else group.only(good)


def _boundless(kind: ValueType) -> ValueType:
    """The same type of numbers without a limit to how large they are."""
    if kind.kind == "decimal" and kind.number(1) is not None:
        return ValueType("decimal", (_DIGITS_MAX, kind.arguments[1]))
    return kind if kind.kind == "float" else ValueType(kind.kind)

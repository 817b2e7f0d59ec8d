"""From outbox units to table writes: fold each record to one write, group by shape, order by dependency. Pure.

Within a batch a record is written once, with what its last change left. Rows that refer to others come after them;
deletes come last and in reverse, or first where a refused batch is tried the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec

from cdcd.column_groups import has_own_columns
from cdcd.conversions import Convert, to_column
from cdcd.errors import Refused
from cdcd.folding.additions import Additions
from cdcd.folding.copies import CopyFolder
from cdcd.folding.folded import Folded, Grouped, Unwritable
from cdcd.folding.late import late_slots, split
from cdcd.folding.parts import PartsFolder
from cdcd.folding.paths import BindingPaths, value_of
from cdcd.folding.renames import Renames
from cdcd.folding.shapes import PartsCompiler
from cdcd.model import Lookup, Op, Relation, Row, TableShape, TableWrite, WriteKind
from cdcd.outbox import CHANGES, Item, RecordWrite, Unit
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.masks import mask_of, slots_of
from cdcd.resolve.plan import BindingPlan, ColumnPlan, EntityPlan, Plan
from cdcd.values import ValueRefused, parse_type

_KINDS: Final = {
    RecordWrite.FULL: WriteKind.UPSERT,
    RecordWrite.UPDATE: WriteKind.UPDATE,
    RecordWrite.DELETE: WriteKind.DELETE,
}
Shape: TypeAlias = tuple[int, int, int]
"""What distinguishes the items of one entity: kind, mask and initial mask."""
_KEY_ONLY: Final[Shape] = (RecordWrite.UPDATE, 0, 0)


class _Writer(msgspec.Struct, frozen=True):
    """Makes the table write of items of one shape, and the row of each item (which may raise ValueRefused)."""

    group: Callable[[], Grouped]
    row: Callable[[Item], Row]


class _Merged(msgspec.Struct, gc=False):
    """Several items of one record as one, FULL if any of them was.

    A slot that was told is told with its newest value, also where it would be written only to a new row by now: what an
    earlier item was to change must change in a row that exists.
    """

    number: int
    kind: int
    key: bytes
    fields: dict[int, Any]
    only_new: dict[int, Any]

    @classmethod
    def of(cls, item: Item) -> _Merged:
        """An item that others can be folded onto."""
        number, kind, key, mask, values, initial, initial_values = item
        fields = dict(zip(slots_of(mask), values, strict=True))
        return cls(number, kind, key, fields, dict(zip(slots_of(initial), initial_values, strict=True)))

    def fold(self, item: Item) -> None:
        """Fold a later FULL or UPDATE onto this."""
        _, kind, _, mask, values, initial, initial_values = item
        if kind == RecordWrite.FULL:
            self.kind = kind
        for slot, value in zip(slots_of(initial), initial_values, strict=True) if initial else ():
            (self.fields if slot in self.fields else self.only_new)[slot] = value
        slots = slots_of(mask)
        self.fields.update(zip(slots, values, strict=True))
        for slot in slots if self.only_new else ():
            self.only_new.pop(slot, None)

    def item(self) -> Item:
        """The item that says it all."""
        mask, initial = mask_of(self.fields), mask_of(self.only_new)
        values = [self.fields[slot] for slot in slots_of(mask)]
        return [self.number, self.kind, self.key, mask, values, initial, [self.only_new[s] for s in slots_of(initial)]]


class RecordFolder:
    """Folds the records of one entity into writes to one system's table."""

    def __init__(self, plan: Plan, entity: EntityPlan, binding: BindingPlan, shapes: Mapping[str, TableShape]) -> None:
        self.entity = entity
        self._plan = plan
        self._binding = binding
        self._shapes = shapes
        self._pending: dict[bytes, Item | _Merged] = {}
        self._columns = {b.slot: b.column for b in binding.columns if binding.written_mask >> b.slot & 1}
        self._converts: dict[int, Convert] = {}
        self._nulls: dict[int, Any] = {}
        self._lookups: dict[int, Lookup] = {}
        self._parent_lookup: Lookup | None = None
        self._parent_convert: Convert | None = None
        self._writers: dict[Shape, _Writer] = {}
        self._parts: PartsFolder | None = None
        self._committed_at_us = 0
        self._times: dict[bytes, int] = {}
        self._additions = Additions(entity, binding, shapes)
        self._renames = Renames(entity.number, BindingPaths(plan, entity, binding, shapes))
        self._cleared_for: dict[bytes, Item] = {}
        """Deletes of records whose key another one got afterwards."""
        self._late = 0
        self.misfit: Refused | None = None
        """Why no record can be written to the table as it is: they are parked until it fits."""
        try:
            self._compile()
        except Refused as misfit:
            self.misfit = misfit

    def _compile(self) -> None:
        """Compare the binding with the table. Raises Refused where they do not fit."""
        if self._binding.is_gathered or self._binding.new or not has_own_columns(self._binding):
            compiler = PartsCompiler(BindingPaths(self._plan, self.entity, self._binding, self._shapes))
            compiler.check()
            self._parts = PartsFolder(self.entity.number, compiler)
            return
        columns, parent = [b for b in self._binding.columns if b.slot in self._columns], self.entity.parent
        self._converts = {b.slot: c for b in columns if (c := self._converter(b)) is not None}
        self._nulls = {b.slot: null for b in columns if (null := self._null(b)) is not None}
        self._lookups = {b.slot: found for b in columns if (found := self._lookup_for(b)) is not None}
        self._late = late_slots(self._plan, self.entity, self._binding, self._shapes) & self._binding.written_mask
        self._parent_lookup = self._parent()
        self._parent_convert = None if parent is None else self._key_converter(self._plan.entities[parent])

    @property
    def has_late(self) -> bool:
        """Whether references to rows of the same batch are set after all rows are there."""
        return self._late != 0

    @property
    def is_gathered(self) -> bool:
        """Whether records lie in several tables."""
        return self._parts is not None

    def add(self, item: Item) -> None:
        """Fold one item onto what is pending for its record."""
        key = item[2]
        if self._parts is not None:
            self._times[key] = self._committed_at_us
        if item[1] == RecordWrite.ADD:
            self._add_difference(item)
            return
        if item[1] == RecordWrite.REKEY:
            self._rename(item)
            return
        if item[1] not in CHANGES:
            self._additions.drop(key)
        known = self._pending.get(key)
        if known is None or item[1] == RecordWrite.DELETE:
            self._pending[key] = item
            return
        if isinstance(known, list):
            if known[1] == RecordWrite.DELETE:
                if item[1] == RecordWrite.FULL:
                    self._pending[key] = item
                return
            known = self._pending[key] = _Merged.of(known)
        known.fold(item)

    def _rename(self, item: Item) -> None:
        """What is pending of the record is written by its present key: it gets that before."""
        old, new = encode_key(item[4]), item[2]
        in_the_way = self._pending.pop(new, None)
        if isinstance(in_the_way, list) and in_the_way[1] == RecordWrite.DELETE:
            self._cleared_for[new] = in_the_way
        self._renames.add(item)
        self._additions.rename(old, new)
        pending = self._pending.pop(old, None)
        if isinstance(pending, _Merged):
            pending.key = new
            self._pending[new] = pending
        elif pending is not None:
            self._pending[new] = [*pending[:2], new, *pending[3:]]

    def _take_renames(self, folded: Folded) -> None:
        """Renames come first, and before them the deletes of what had the keys that they take."""
        if not self._renames:
            return
        pending, self._pending = self._pending, dict(self._cleared_for)
        cleared = Folded(unwritable=folded.unwritable)
        self._take_pending(cleared)
        self._pending, self._cleared_for = pending, {}
        folded.changes += cleared.deletes
        folded.changes += self._renames.take(folded, self.tells_whole)

    def _add_difference(self, item: Item) -> None:
        pending = self._pending.get(item[2])
        if not (isinstance(pending, list) and pending[1] == RecordWrite.DELETE):
            self._additions.add(item)

    def tells_whole(self, key: bytes) -> bool:
        """Whether what is pending for a record says all of it, so that changes after it need not wait."""
        pending = self._pending.get(key)
        if pending is None:
            return False
        return (pending[1] if isinstance(pending, list) else pending.kind) == RecordWrite.FULL

    def take(self, folded: Folded) -> None:
        """Move what is pending into `folded`, grouped by shape."""
        number = self.entity.number
        if self.misfit is not None:
            told = dict.fromkeys([*self._pending, *self._additions.keys(), *self._renames.keys()])
            folded.unwritable += [Unwritable((number, key), self.misfit) for key in told]
            self._pending = {}
            self._additions.clear()
            self._renames.clear()
            return
        self._take_renames(folded)
        before = len(folded.changes)
        self._take_pending(folded)
        if self._additions:
            self._additions.take(self._key_writer, folded, before)

    def _take_pending(self, folded: Folded) -> None:
        if self._parts is not None:
            self._parts.take(self._items(), folded)
            self._pending, self._times = {}, {}
        else:
            self._take_plain(folded)

    def _key_writer(self) -> tuple[Callable[[Item], Row], TableWrite]:
        """How the row of a record is found."""
        if self._parts is not None:
            return self._parts.key_writer()
        writer = self._writers.get(_KEY_ONLY) or self._writer(_KEY_ONLY)
        return writer.row, writer.group().write

    def _take_plain(self, folded: Folded) -> None:
        late = self._late
        items: list[Item] = []
        afterwards: list[Item] = []
        for pending in self._pending.values():
            item = pending if isinstance(pending, list) else pending.item()
            if late and item[3] & late and item[1] != RecordWrite.DELETE:
                now, later = split(item, late)
                items += [] if now is None else [now]
                afterwards.append(later)
            else:
                items.append(item)
        self._pending = {}
        made = self._groups(items, folded)
        folded.changes += [group for group in made if group.write.kind != WriteKind.DELETE]
        folded.last += self._groups(afterwards, folded)
        folded.deletes[:0] = [group for group in made if group.write.kind == WriteKind.DELETE]

    def _groups(self, items: list[Item], folded: Folded) -> list[Grouped]:
        """Items grouped by shape, one write each."""
        number = self.entity.number
        groups: dict[Shape, tuple[Callable[[Item], Row], Grouped, list[Subject]]] = {}
        for item in items:
            shape = (item[1], item[3], item[5])
            found = groups.get(shape)
            if found is None:
                writer = self._writers.get(shape) or self._writer(shape)
                subjects: list[Subject] = []
                found = groups[shape] = (writer.row, writer.group(), subjects)
                found[1].subjects = subjects
            row_of, group, subjects = found
            try:
                group.write.rows.append(row_of(item))
            except ValueRefused as refused:
                folded.unwritable.append(Unwritable((number, item[2]), refused))
            else:
                subjects.append((number, item[2]))
        return [group for _, group, _ in groups.values() if group.subjects]

    def note_commit_time(self, committed_at_us: int) -> None:
        """When the changes that are added now were committed."""
        self._committed_at_us = committed_at_us

    def _items(self) -> Iterator[tuple[bytes, Item, int]]:
        """What is pending, each with the commit time of its last change."""
        for key, pending in self._pending.items():
            item = pending if isinstance(pending, list) else pending.item()
            yield key, item, self._times.get(key, self._committed_at_us)

    # ---- compiled once per shape -----------------------------------------------------------------------------

    def _writer(self, shape: Shape) -> _Writer:
        """A row is put together from key parts, values and initial values, in that order, then picked by column."""
        kind, mask, initial = shape
        archived = self._binding.instead_of_delete if kind == RecordWrite.DELETE else None
        told = slots_of(mask) if archived is None else tuple(archived)
        new = slots_of(initial)
        parts = self.entity.key_width
        at = {slot: parts + index for index, slot in enumerate((*told, *new))}
        own = len(self.entity.key)
        at.update(zip(self.entity.key, range(parts - own, parts), strict=True))
        writable = [slot for slot in told if slot in self._columns and slot not in self.entity.key]
        only_new = [slot for slot in new if slot in self._columns and slot not in self.entity.key]
        slots = (*self.entity.key, *writable, *only_new)
        ways = [(index, self._converts.get(slot), self._nulls.get(slot)) for index, slot in enumerate(slots)]
        picked: list[Any] = [at[slot] for slot in slots]
        if self._parent_lookup is not None:
            ways = [(0, self._parent_convert, None), *((index + 1, convert, null) for index, convert, null in ways)]
            picked = [0 if parts - own == 1 else slice(0, parts - own), *picked]
        ways = [way for way in ways if way[1:] != (None, None)]
        row = _row_maker(parts, picked, ways, None if archived is None else [*archived.values()])
        write_kind = WriteKind.UPDATE if archived is not None else _KINDS[RecordWrite(kind)]
        writer = _Writer(lambda: self._group(write_kind, writable, only_new, archived is not None), row)
        self._writers[shape] = writer
        return writer

    def _group(self, kind: WriteKind, slots: list[int], only_new: list[int], archived: bool) -> Grouped:
        key = tuple(self._columns[slot] for slot in self.entity.key)
        lookups = [self._lookups[s] for s in (*self.entity.key, *slots, *only_new) if s in self._lookups]
        if self._parent_lookup is not None:
            key = (self._parent_lookup.column, *key)
            lookups.insert(0, self._parent_lookup)
        columns = key + tuple(self._columns[slot] for slot in (*slots, *only_new))
        initial = tuple(self._columns[slot] for slot in only_new)
        is_whole = kind is WriteKind.UPSERT  # told of a record that the target did not have, save by a resync or retry
        write = TableWrite(
            self._binding.table, kind, key, columns, [], initial, tuple(lookups), likely_new=is_whole and not lookups
        )
        return Grouped(write, [], missing_is_fine=archived)

    def _converter(self, bound: ColumnPlan) -> Convert | None:
        field = self.entity.fields[bound.slot]
        if field.refers_to is not None and not bound.holds_key:
            return self._key_converter(self._plan.entities[field.refers_to])
        return self._convert_to(self.entity, self._binding, bound)

    def _null(self, bound: ColumnPlan) -> Any:
        """What a column gets for a field without a value, where that is not NULL."""
        field = self.entity.fields[bound.slot]
        if bound.transform is None or (field.refers_to is not None and not bound.holds_key):
            return None
        column = self._shape(self._binding).column(bound.column)
        assert column is not None
        return to_column(self._plan.plain_type(field.type), parse_type(column.type), bound.transform).null

    def _key_converter(self, other: EntityPlan) -> Convert | None:
        """From a key of `other` to the values of its key columns here, by which a lookup finds the row."""
        binding = other.bindings[self._binding.system]
        if binding.is_gathered:
            value = value_of(BindingPaths(self._plan, other, binding, self._shapes).main())
            return (lambda part: value((part,))) if other.key_width == 1 else value
        converts = [self._convert_to(other, binding, binding.bound(slot)) for slot in other.key]
        if not any(converts):
            return None
        if len(converts) == 1:
            return converts[0]
        return lambda parts: [
            part if convert is None or part is None else convert(part)
            for part, convert in zip(parts, converts, strict=True)
        ]

    def _convert_to(self, entity: EntityPlan, binding: BindingPlan, bound: ColumnPlan) -> Convert | None:
        field = entity.fields[bound.slot]
        column = self._shape(binding).column(bound.column)
        if column is None:
            raise self._unfit(binding, "target-column-missing", f"it has no column {bound.column}", "add it there")
        try:
            return to_column(self._plan.plain_type(field.type), parse_type(column.type), bound.transform).convert
        except ValueError as error:
            remedy = "change the field's type or give the column a transform"
            raise self._unfit(binding, "target-type-mismatch", f"column {bound.column}: {error}", remedy) from error

    def _shape(self, binding: BindingPlan) -> TableShape:
        shape = self._shapes.get(binding.table)
        if shape is None:
            raise self._unfit(binding, "target-table-missing", "there is no such table", "create it")
        return shape

    def _unfit(self, binding: BindingPlan, code: str, cause: str, remedy: str) -> Refused:
        what = f"records of {self.entity.name!r} do not fit {binding.table} in {binding.system!r}"
        return Refused(what, code=code, cause=f"{cause}; {remedy}", remedy=remedy)

    def _lookup_for(self, bound: ColumnPlan) -> Lookup | None:
        other = self.entity.fields[bound.slot].refers_to
        return None if other is None or bound.holds_key else self._lookup(bound.column, self._plan.entities[other])

    def _parent(self) -> Lookup | None:
        if self._binding.parent_column is None:
            return None
        assert self.entity.parent is not None
        return self._lookup(self._binding.parent_column, self._plan.entities[self.entity.parent])

    def _lookup(self, column: str, other: EntityPlan) -> Lookup:
        binding = other.bindings[self._binding.system]
        if binding.is_gathered:
            return BindingPaths(self._plan, other, binding, self._shapes).main().lookup(column)
        shape = self._shape(binding)
        row_id = binding.id_column or (shape.primary_key[0] if len(shape.primary_key) == 1 else None)
        if row_id is None:
            remedy = f'name the column with id = "…" in entities.{other.name}.in.{binding.system}'
            raise self._unfit(binding, "target-id-unknown", "its primary key is not one column", remedy)
        return Lookup(column, binding.table, tuple(binding.column_of(slot) for slot in other.key), row_id)


def _row_maker(
    key_width: int, picked: list[Any], ways: list[tuple[int, Convert | None, Any]], archived: list[Any] | None
) -> Callable[[Item], Row]:
    """The function that makes a row of an item. `picked` are places (a slice: several parts as one list).

    `ways` are places, how values become the columns', and what NULL becomes.
    """
    pick = itemgetter(*picked) if len(picked) > 1 else lambda source: (source[picked[0]],)

    def make(item: Item) -> Row:
        values = item[4] if archived is None else archived
        row = list(pick([*decode_key(item[2], key_width), *values, *item[6]]))
        for at, convert, null in ways:
            value = row[at]
            if value is None:
                row[at] = null
            elif convert is not None:
                row[at] = convert(value)
        return row

    return make


def waits(item: Item, folder: RecordFolder, parked: ParkedRecords | None) -> bool:
    """Whether a change of a parked record must wait behind it: unless `folder` holds one that tells the whole record."""
    subject = (item[0], item[2])
    assert parked is not None
    return item[1] in CHANGES and subject in parked and not folder.tells_whole(item[2])


class Folder:
    """Folds outbox units for one target."""

    def __init__(
        self, plan: Plan, system: str, shapes: Mapping[str, TableShape], relation: Callable[[int], Relation]
    ) -> None:
        """`relation(number)` gives the shape of a plain copy's rows, the same object each time."""
        self.relation = relation
        self.records = {
            entity.number: RecordFolder(plan, entity, entity.bindings[system], shapes)
            for entity in plan.entities.values()
            if system in entity.bindings
        }
        self.gathered = [record for record in self.records.values() if record.is_gathered]
        self.copies = {
            -1 - route.number: CopyFolder(route, shapes.get(route.target_table))
            for route in plan.routes
            if route.target == system
        }

    def fold(self, units: Iterable[Unit], parked: ParkedRecords | None) -> tuple[Folded, list[Subject]]:
        """Fold units into writes. A change of a parked record waits behind it unless it tells the whole record.

        Returns the writes and the parked subjects that a change was left out for.
        """
        waiting: list[Subject] = []
        records = self.records
        some_parked = parked is not None and len(parked) > 0
        for unit in units:
            for gathered in self.gathered:
                gathered.note_commit_time(unit.committed_at_us)
            for item in unit.items:
                number = item[0]
                if number < 0:
                    self._add_copied(item, parked, partial=unit.partial)
                    continue
                folder = records.get(number)
                if folder is None:
                    continue
                if some_parked and waits(item, folder, parked):
                    waiting.append((number, item[2]))
                else:
                    folder.add(item)
        folded = Folded()
        for copy in self.copies.values():
            copy.take(folded, parked)
        for record in records.values():
            record.take(folded)
        return folded, waiting

    def _add_copied(self, item: Item, parked: ParkedRecords | None, *, partial: bool) -> None:
        number, op, relation, rows, olds = item
        copy = self.copies.get(number)
        if copy is not None and op == Op.TRUNCATE:
            copy.clear()
        elif copy is not None:
            copy.add(op, self.relation(relation), rows, olds, partial=partial, parked=parked)

    def retried(self, subject: Subject, kept: bytes) -> list[Grouped]:
        """The writes of a parked row of a plain copy; none when the copy is configured no more.

        Raises ValueRefused or Refused when it still does not fit.
        """
        copy = self.copies.get(subject[0])
        return [] if copy is None else copy.retried(subject, kept)

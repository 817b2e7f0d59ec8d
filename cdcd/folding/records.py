"""The records of one entity folded to table writes: one write each, with what its last change left, grouped by shape. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, Final, TypeAlias

from cdcd.column_groups import has_own_columns
from cdcd.conversions import Convert, to_column
from cdcd.errors import Refused
from cdcd.folding.additions import Additions
from cdcd.folding.folded import Folded, Grouped, Subjects, Unwritable
from cdcd.folding.item_rows import ItemRows, key_of
from cdcd.folding.late import late_slots, split
from cdcd.folding.merging import Merged, covers
from cdcd.folding.parts import PartsFolder
from cdcd.folding.paths import BindingPaths, value_of
from cdcd.folding.renames import Renames
from cdcd.folding.shapes import PartsCompiler
from cdcd.model import Lookup, Row, TableShape, TableWrite, WriteKind
from cdcd.outbox import CHANGES, Item, RecordWrite
from cdcd.resolve.keys import encode_key
from cdcd.resolve.masks import slots_of
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
_FULL, _UPDATE, _DELETE = int(RecordWrite.FULL), int(RecordWrite.UPDATE), int(RecordWrite.DELETE)
_PLAIN: Final = frozenset({_FULL, _UPDATE, _DELETE})
_kind_of: Final = itemgetter(1)
_shape_of: Final = itemgetter(1, 3, 5)


def _folded(known: Item | Merged, item: Item) -> Item | Merged:
    """What is pending of a record after one more of its items."""
    if item[1] == _DELETE:
        return item
    if isinstance(known, list):
        if known[1] == _DELETE:
            return item if item[1] == _FULL else known
        if covers(item, known):
            return item
        known = Merged.of(known)
    known.fold(item)
    return known


class RecordFolder:
    """Folds the records of one entity into writes to one system's table."""

    def __init__(self, plan: Plan, entity: EntityPlan, binding: BindingPlan, shapes: Mapping[str, TableShape]) -> None:
        self.entity = entity
        self._plan = plan
        self._binding = binding
        self._shapes = shapes
        self._pending: dict[bytes, Item | Merged] = {}
        self._columns = {b.slot: b.column for b in binding.columns if binding.written_mask >> b.slot & 1}
        self._converts: dict[int, Convert] = {}
        self._nulls: dict[int, Any] = {}
        self._lookups: dict[int, Lookup] = {}
        self._parent_lookup: Lookup | None = None
        self._parent_convert: Convert | None = None
        self._writers: dict[Shape, ItemRows] = {}
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
        if known is None:
            self._pending[key] = item
        else:
            self._pending[key] = _folded(known, item)

    def add_all(self, items: Sequence[Item]) -> None:
        """Fold items onto what is pending, in order."""
        if self._parts is not None or self._additions or not _PLAIN.issuperset(map(_kind_of, items)):
            for item in items:
                self.add(item)
            return
        keys = [*map(key_of, items)]
        pending = self._pending
        if len(set(keys)) == len(keys) and pending.keys().isdisjoint(keys):
            pending.update(zip(keys, items, strict=True))
            return
        for key, item in zip(keys, items, strict=True):
            known = pending.get(key)
            pending[key] = item if known is None else _folded(known, item)

    def _rename(self, item: Item) -> None:
        """What is pending of the record is written by its present key: it gets that before."""
        old, new = encode_key(item[4]), item[2]
        in_the_way = self._pending.pop(new, None)
        if isinstance(in_the_way, list) and in_the_way[1] == RecordWrite.DELETE:
            self._cleared_for[new] = in_the_way
        self._renames.add(item)
        self._additions.rename(old, new)
        pending = self._pending.pop(old, None)
        if isinstance(pending, Merged):
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
        items = [pending if isinstance(pending, list) else pending.item() for pending in self._pending.values()]
        items, afterwards = self._without_late(items) if self._late else (items, [])
        self._pending = {}
        made = self._groups(items, folded)
        folded.changes += [group for group in made if group.write.kind != WriteKind.DELETE]
        folded.last += self._groups(afterwards, folded)
        folded.deletes[:0] = [group for group in made if group.write.kind == WriteKind.DELETE]

    def _without_late(self, items: list[Item]) -> tuple[list[Item], list[Item]]:
        """The items without the references that are set when all rows are there, and the items that set those."""
        late, now, afterwards = self._late, [], []
        for item in items:
            if item[3] & late and item[1] != RecordWrite.DELETE:
                first, later = split(item, late)
                now += [] if first is None else [first]
                afterwards.append(later)
            else:
                now.append(item)
        return now, afterwards

    def _groups(self, items: list[Item], folded: Folded) -> list[Grouped]:
        """Items grouped by shape, one write each."""
        by_shape: defaultdict[Shape, list[Item]] = defaultdict(list)
        for shape, item in zip(map(_shape_of, items), items, strict=True):
            by_shape[shape].append(item)
        found: list[Grouped] = []
        for shape, alike in by_shape.items():
            writer = self._writers.get(shape) or self._writer(shape)
            good, rows = self._writable(writer, alike, folded)
            if rows:
                group = writer.group()
                group.write.rows = rows
                group.subjects = Subjects(self.entity.number, [*map(key_of, good)], bytes)
                found.append(group)
        return found

    def _writable(self, writer: ItemRows, items: list[Item], folded: Folded) -> tuple[list[Item], list[Row]]:
        """Those of the items that can be written, with their rows; the others go to `folded.unwritable`."""
        with suppress(ValueRefused):
            return items, writer.rows(items)
        good: list[Item] = []
        rows: list[Row] = []
        for item in items:
            try:
                rows.append(writer.row(item))
            except ValueRefused as refused:
                folded.unwritable.append(Unwritable((self.entity.number, item[2]), refused))
            else:
                good.append(item)
        return good, rows

    def note_commit_time(self, committed_at_us: int) -> None:
        """When the changes that are added now were committed."""
        self._committed_at_us = committed_at_us

    def _items(self) -> Iterator[tuple[bytes, Item, int]]:
        """What is pending, each with the commit time of its last change."""
        for key, pending in self._pending.items():
            item = pending if isinstance(pending, list) else pending.item()
            yield key, item, self._times.get(key, self._committed_at_us)

    # ---- compiled once per shape -----------------------------------------------------------------------------

    def _writer(self, shape: Shape) -> ItemRows:
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
        write_kind = WriteKind.UPDATE if archived is not None else _KINDS[RecordWrite(kind)]
        writer = ItemRows(
            lambda: self._group(write_kind, writable, only_new, archived is not None),
            parts,
            tuple(picked),
            tuple(ways),
            None if archived is None else tuple(archived.values()),
        )
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

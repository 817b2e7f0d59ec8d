"""From outbox units to table writes: fold each record to one write, group by shape, order by dependency. Pure.

Within a batch a record is written once, with what its last change left. Rows that refer to others come after them;
deletes come last and in reverse, or first where a refused batch is tried the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cdcd.conversions import Convert, field_to_column
from cdcd.errors import NeedsOperator
from cdcd.model import ABSENT, Lookup, Op, Relation, Row, TableShape, TableWrite, WriteKind
from cdcd.outbox import RecordWrite, Unit
from cdcd.parked import Subject
from cdcd.resolve.decide import slots_of
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.plan import BindingPlan, EntityPlan, Plan, Route
from cdcd.values import ValueRefused, parse_type

class Grouped(msgspec.Struct, gc=False):
    """A table write and the subjects of its rows. `missing_is_fine` for rows that may be gone already (archiving)."""

    write: TableWrite
    subjects: list[Subject]
    missing_is_fine: bool = False


class Folded(msgspec.Struct):
    """A batch ready to be written: upserts and updates in dependency order, deletes in reverse; and what cannot be."""

    changes: list[Grouped] = []
    deletes: list[Grouped] = []
    refused: list[tuple[Subject, ValueRefused]] = []

    def ordered(self, *, deletes_first: bool) -> list[Grouped]:
        """All groups in the order of writing."""
        return self.deletes + self.changes if deletes_first else self.changes + self.deletes


class _Pending(msgspec.Struct, gc=False):
    """One record's folded write."""

    kind: RecordWrite
    fields: dict[int, Any]
    initial: dict[int, Any]


class RecordFolder:
    """Folds the records of one entity into writes to one system's table."""

    def __init__(self, plan: Plan, entity: EntityPlan, binding: BindingPlan, shapes: Mapping[str, TableShape]) -> None:
        self.entity = entity
        self._plan = plan
        self._binding = binding
        self._shape = _shape(shapes, binding.table, binding.system)
        self._shapes = shapes
        self._pending: dict[bytes, _Pending] = {}
        self._columns = {c.slot: c.column for c in binding.columns}
        self._converts = {c.slot: self._converter(c.slot, c.column, c.transform) for c in binding.columns}
        self._lookups = {c.slot: lookup for c in binding.columns if (lookup := self._lookup_for(c.slot, c.column, c.transform))}
        self._parent_lookup = self._parent()
        self._key_columns = tuple(self._columns[slot] for slot in entity.key)
        if binding.parent_column is not None:
            self._key_columns = (binding.parent_column, *self._key_columns)

    def add(self, kind: int, key: bytes, fields: dict[int, Any], initial: dict[int, Any]) -> None:
        """Fold one item onto what is pending for its record."""
        known = self._pending.get(key)
        if known is None or kind == RecordWrite.DELETE or (kind == RecordWrite.FULL and known.kind != RecordWrite.FULL):
            if known is not None and known.kind == RecordWrite.UPDATE and kind == RecordWrite.FULL:
                # What the update was to change must change in an existing row too, to its newest value.
                changed = {slot: initial.pop(slot, value) for slot, value in known.fields.items()}
                fields = {**changed, **fields}
            self._pending[key] = _Pending(RecordWrite(kind), fields, initial)
            return
        known.fields.update(fields)
        known.initial.update(initial)
        for slot in fields:
            known.initial.pop(slot, None)

    def tells_whole(self, key: bytes) -> bool:
        """Whether what is pending for a record says all of it, so that changes after it need not wait."""
        pending = self._pending.get(key)
        return pending is not None and pending.kind == RecordWrite.FULL

    def take(self, folded: Folded) -> None:
        """Move what is pending into `folded`, grouped by shape."""
        groups: dict[tuple[Any, ...], Grouped] = {}
        for key, pending in self._pending.items():
            subject = (self.entity.number, key)
            try:
                shape, row = self._row(key, pending)
            except ValueRefused as refused:
                folded.refused.append((subject, refused))
                continue
            if shape not in groups:
                groups[shape] = self._group(*shape)
            groups[shape].write.rows.append(row)
            groups[shape].subjects.append(subject)
        self._pending = {}
        folded.changes.extend(g for g in groups.values() if g.write.kind != WriteKind.DELETE)
        folded.deletes[:0] = [g for g in groups.values() if g.write.kind == WriteKind.DELETE]

    def _row(self, key: bytes, pending: _Pending) -> tuple[tuple[Any, ...], Row]:
        width = self.entity.key_width
        parts = decode_key(key, width)
        own = len(self.entity.key)
        row: Row = []
        if self._parent_lookup is not None:
            parent: Any = parts[0] if width - own == 1 else parts[: width - own]
            row.append(parent)
        row += [self._column_value(slot, value) for slot, value in zip(self.entity.key, parts[width - own :], strict=True)]
        kind, fields, initial = pending.kind, pending.fields, pending.initial
        if kind == RecordWrite.DELETE:
            if self._binding.archive is None:
                return (kind, (), ()), row
            fields, initial = self._binding.archive, {}
        slots = tuple(slot for slot in fields if slot not in self.entity.key and slot in self._columns)
        only_new = tuple(slot for slot in initial if slot not in self.entity.key and slot in self._columns)
        row += [self._column_value(slot, fields[slot]) for slot in slots]
        row += [self._column_value(slot, initial[slot]) for slot in only_new]
        return (kind, slots, only_new), row

    def _column_value(self, slot: int, value: Any) -> Any:
        convert = self._converts[slot]
        return value if value is None or convert is None else convert(value)

    def _group(self, kind: RecordWrite, slots: tuple[int, ...], initial: tuple[int, ...]) -> Grouped:
        archived = kind == RecordWrite.DELETE and self._binding.archive is not None
        kinds = {RecordWrite.FULL: WriteKind.UPSERT, RecordWrite.UPDATE: WriteKind.UPDATE, RecordWrite.DELETE: WriteKind.DELETE}
        columns = tuple(self._columns[slot] for slot in (*slots, *initial))
        lookups = [self._lookups[slot] for slot in (*self.entity.key, *slots, *initial) if slot in self._lookups]
        if self._parent_lookup is not None:
            lookups.insert(0, self._parent_lookup)
        write = TableWrite(
            self._binding.table,
            WriteKind.UPDATE if archived else kinds[kind],
            self._key_columns,
            self._key_columns + columns,
            [],
            tuple(self._columns[slot] for slot in initial),
            tuple(lookups),
        )
        return Grouped(write, [], missing_is_fine=archived)

    def _converter(self, slot: int, column: str, transform: Any) -> Convert | None:
        field = self.entity.fields[slot]
        shape = self._shape.column(column)
        if shape is None:
            raise NeedsOperator(
                f"entity {self.entity.name!r} cannot be written to {self._binding.system!r}",
                code="schema-changed",
                cause=f"table {self._binding.table} has no column {column}",
                remedy="bring the table or the binding back in line, then 'cdcd resume'",
            )
        if field.refers_to is not None:
            return None
        try:
            return field_to_column(field.type, parse_type(shape.type), transform)
        except ValueError as error:
            raise NeedsOperator(
                f"entity {self.entity.name!r}: field {field.name!r} cannot be written to {self._binding.system!r}",
                code="type-mismatch",
                cause=f"column {self._binding.table}.{column}: {error}",
                remedy="change the field's type or give the column a transform",
            ) from error

    def _lookup_for(self, slot: int, column: str, transform: Any) -> Lookup | None:
        other = self.entity.fields[slot].refers_to
        if other is None or (transform is not None and transform.reference == "key"):
            return None
        return self._lookup(column, self._plan.entities[other])

    def _parent(self) -> Lookup | None:
        if self._binding.parent_column is None:
            return None
        assert self.entity.parent is not None
        return self._lookup(self._binding.parent_column, self._plan.entities[self.entity.parent])

    def _lookup(self, column: str, other: EntityPlan) -> Lookup:
        binding = other.bindings[self._binding.system]
        shape = _shape(self._shapes, binding.table, binding.system)
        row_id = binding.id_column or (shape.primary_key[0] if len(shape.primary_key) == 1 else None)
        if row_id is None:
            raise NeedsOperator(
                f"rows of {binding.table} cannot be referred to in {binding.system!r}",
                code="id-unknown",
                cause="its primary key is not one column",
                remedy=f'name the column with id = "…" in entities.{other.name}.in.{binding.system}',
            )
        return Lookup(column, binding.table, tuple(binding.column_of(slot) for slot in other.key), row_id)


class CopyFolder:
    """Folds the rows of one plain copy into writes to its target table."""

    def __init__(self, route: Route, shapes: Mapping[str, TableShape]) -> None:
        self.route = route
        self._shape = _shape(shapes, route.target_table, route.target)
        self._key = self._shape.primary_key
        self._rows: dict[tuple[Any, ...], tuple[Relation, Row] | None] = {}
        self._writable = {column.name for column in self._shape.columns if not column.generated}
        if not self._key:
            raise NeedsOperator(
                f"table {route.target_table} in {route.target!r} cannot be copied to",
                code="key-missing",
                cause="it has no primary key",
                remedy=f"add a primary key to {route.target_table}",
            )

    def add(self, op: int, relation: Relation, rows: list[Row], olds: list[Row | None] | None) -> None:
        """Fold a run of rows onto what is pending for their keys."""
        at = _places(relation, self._key, self.route)
        pending = self._rows
        for index, row in enumerate(rows):
            key = tuple([row[i] for i in at])
            if op == Op.DELETE:
                pending[key] = None
                continue
            old = olds[index] if olds is not None else None
            if old is not None:
                self._moved(tuple([old[i] for i in at]), key, relation, row)
            else:
                known = pending.get(key)
                pending[key] = (relation, row if known is None else _filled(relation, row, *known))

    def _moved(self, old_key: tuple[Any, ...], key: tuple[Any, ...], relation: Relation, row: Row) -> None:
        known = self._rows.get(old_key)
        if old_key != key:
            self._rows[old_key] = None
        self._rows[key] = (relation, row if known is None else _filled(relation, row, *known))

    def take(self, folded: Folded) -> None:
        """Move what is pending into `folded`: deletes before the rest, so that unique values can move."""
        deletes = self._group(WriteKind.DELETE, self._key)
        groups: dict[tuple[int, tuple[int, ...]], tuple[Grouped, list[int]]] = {}
        for key, pending in self._rows.items():
            subject = (-1 - self.route.number, encode_key(key))
            if pending is None:
                deletes.write.rows.append(list(key))
                deletes.subjects.append(subject)
                continue
            relation, row = pending
            absent = tuple([i for i, value in enumerate(row) if value is ABSENT]) if ABSENT in row else ()
            if (id(relation), absent) not in groups:
                groups[id(relation), absent] = self._row_group(relation, absent)
            group, places = groups[id(relation), absent]
            group.write.rows.append([row[i] for i in places])
            group.subjects.append(subject)
        self._rows = {}
        folded.changes[:0] = [deletes] if deletes.write.rows else []
        folded.changes.extend(group for group, _ in groups.values())

    def _row_group(self, relation: Relation, absent: tuple[int, ...]) -> tuple[Grouped, list[int]]:
        key_places = _places(relation, self._key, self.route)
        others = [
            i
            for i, name in enumerate(relation.columns)
            if i not in key_places and i not in absent and name in self._writable
        ]
        places = [*key_places, *others]
        kind = WriteKind.UPDATE if absent else WriteKind.UPSERT
        return self._group(kind, tuple(relation.columns[i] for i in places)), places

    def _group(self, kind: WriteKind, columns: tuple[str, ...]) -> Grouped:
        return Grouped(TableWrite(self.route.target_table, kind, self._key, columns, []), [])


class Folder:
    """Folds outbox units for one target."""

    def __init__(self, plan: Plan, system: str, shapes: Mapping[str, TableShape], relation: Any) -> None:
        """`relation(number)` gives the shape of a plain copy's rows."""
        self._relation = relation
        self._records = {
            entity.number: RecordFolder(plan, entity, entity.bindings[system], shapes)
            for entity in plan.entities.values()
            if system in entity.bindings
        }
        self._copies = {-1 - route.number: CopyFolder(route, shapes) for route in plan.routes if route.target == system}

    def fold(self, units: Iterable[Unit], parked: Any) -> tuple[Folded, list[Subject]]:
        """Fold units into writes. A change of a `parked` record waits behind it unless it tells the whole record.

        Returns the writes and the parked subjects that a change was left out for.
        """
        waiting: list[Subject] = []
        for unit in units:
            for item in unit.items:
                if item[0] < 0:
                    copy = self._copies.get(item[0])
                    if copy is not None:
                        copy.add(item[1], self._relation(item[2]), item[3], item[4])
                    continue
                number, kind, key, mask, values, initial, initial_values = item
                folder = self._records.get(number)
                if folder is None:
                    continue
                if parked and kind == RecordWrite.UPDATE and (number, key) in parked and not folder.tells_whole(key):
                    waiting.append((number, key))
                    continue
                fields = dict(zip(slots_of(mask), values, strict=True))
                folder.add(kind, key, fields, dict(zip(slots_of(initial), initial_values, strict=True)) if initial else {})
        return self._take(), waiting

    def _take(self) -> Folded:
        folded = Folded()
        for copy in self._copies.values():
            copy.take(folded)
        for record in self._records.values():
            record.take(folded)
        return folded


def _shape(shapes: Mapping[str, TableShape], table: str, system: str) -> TableShape:
    if table not in shapes:
        raise NeedsOperator(
            f"table {table} is missing in {system!r}", code="table-missing", remedy="create it, then 'cdcd resume'"
        )
    return shapes[table]


def _places(relation: Relation, key: tuple[str, ...], route: Route) -> list[int]:
    try:
        return [relation.columns.index(name) for name in key]
    except ValueError:
        raise NeedsOperator(
            f"table {route.source_table} cannot be copied to {route.target!r}",
            code="schema-changed",
            cause=f"it lacks a column of the target's primary key ({', '.join(key)})",
            remedy="give both tables the same primary key",
        ) from None


def _filled(relation: Relation, row: Row, known_relation: Relation, known: Row) -> Row:
    """The row, with values the log did not carry taken from its version earlier in the batch."""
    if ABSENT not in row or known_relation != relation:
        return row
    return [old if new is ABSENT else new for new, old in zip(row, known, strict=True)]


def subgroups(groups: Iterable[Grouped], size: int) -> Iterator[Grouped]:
    """The groups cut into pieces of at most `size` rows."""
    for group in groups:
        write = group.write
        for start in range(0, len(write.rows), size):
            part = msgspec.structs.replace(write, rows=write.rows[start : start + size])
            yield Grouped(part, group.subjects[start : start + size], group.missing_is_fine)

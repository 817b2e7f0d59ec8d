"""From a table's rows to a record's key and values: compiled once per relation and binding, then a few calls a row."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec

from cdcd.conversions import Convert, column_to_field
from cdcd.errors import NeedsOperator
from cdcd.model import ABSENT, Relation, Row
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.plan import BindingPlan, ColumnPlan, EntityPlan, Plan
from cdcd.values import ValueRefused, parse_type

KeyOf: TypeAlias = Callable[[int, bytes], bytes | None]


class UnresolvedReference(ValueRefused):
    """A row refers to row `row_id` of crosswalk `binding`, which no log and no copy has shown yet."""

    default_code = "reference-unknown"

    def __init__(self, what: str, binding: int, row_id: bytes) -> None:
        super().__init__(what)
        self.binding = binding
        self.row_id = row_id


class Mapped(msgspec.Struct, gc=False):
    """A row as a record. `values` by slot, ABSENT where this binding has no column or the log no value."""

    key: bytes
    values: list[Any]


class RowMapper:
    """Maps rows of one relation to records of one binding. `crosswalk` numbers are from `binding_number`."""

    def __init__(self, plan: Plan, entity: EntityPlan, binding: BindingPlan, relation: Relation, key_of: KeyOf) -> None:
        self.entity = entity
        self.binding = binding
        self.number = binding_number(plan, entity, binding.system)
        self._at = {name: index for index, name in enumerate(relation.columns)}
        self._relation = relation
        self._key_of = key_of
        self._check_columns()
        self._width = len(entity.fields)
        self._slots = [column.slot for column in binding.columns]
        self._take = _taker([self._at[column.column] for column in binding.columns])
        self._converts = [(at, c) for at, b in enumerate(binding.columns) if (c := self._converter(plan, b))]
        self._in_order = self._slots == list(range(self._width))
        self._key_slots = entity.key
        self._parent = self._parent_reader(plan)
        self._id = self._id_reader()
        self.has_id = self._id is not None
        referred_to = entity.name in plan.referred_to()
        self.learns = self._id is not None and (referred_to or not self._key_is_identity())

    def _check_columns(self) -> None:
        needed = [column.column for column in self.binding.columns]
        needed += [self.binding.parent_column] if self.binding.parent_column else []
        missing = [name for name in needed if name not in self._at]
        if missing:
            raise NeedsOperator(
                f"entity {self.entity.name!r} cannot be read from {self.binding.system!r} any more",
                code="schema-changed",
                cause=f"table {self.binding.table} has no column {', '.join(missing)} in its log",
                remedy="bring the table or the binding back in line, then 'cdcd resume'",
            )

    def _converter(self, plan: Plan, bound: ColumnPlan) -> Convert | None:
        field = self.entity.fields[bound.slot]
        column_type = parse_type(self._relation.types[self._at[bound.column]])
        if field.refers_to is not None:
            by_key = bound.transform is not None and bound.transform.reference == "key"
            return None if by_key else self._reference(plan, field.refers_to)
        try:
            return column_to_field(column_type, field.type, bound.transform)
        except ValueError as error:
            raise NeedsOperator(
                f"entity {self.entity.name!r}: field {field.name!r} cannot be read from {self.binding.system!r}",
                code="type-mismatch",
                cause=f"column {self.binding.table}.{bound.column}: {error}",
                remedy="change the field's type or give the column a transform",
            ) from error

    def _reference(self, plan: Plan, entity: str) -> Convert:
        """A local id to the key of the record it refers to: a scalar, or a list where the key has several parts."""
        other = plan.entities[entity]
        number, width, key_of = binding_number(plan, other, self.binding.system), other.key_width, self._key_of

        def convert(value: Any) -> Any:
            row_id = encode_key([value])
            key = key_of(number, row_id)
            if key is None:
                raise UnresolvedReference(f"a row of {self.binding.table} refers to an unknown {entity}", number, row_id)
            parts = decode_key(key, width)
            return parts[0] if width == 1 else parts

        return convert

    def _parent_reader(self, plan: Plan) -> Callable[[Row], bytes] | None:
        if self.binding.parent_column is None:
            return None
        assert self.entity.parent is not None
        at = self._at[self.binding.parent_column]
        number = binding_number(plan, plan.entities[self.entity.parent], self.binding.system)
        key_of = self._key_of

        def read(row: Row) -> bytes:
            row_id = encode_key([row[at]])
            key = key_of(number, row_id)
            if key is None:
                raise UnresolvedReference(f"a row of {self.binding.table} has an unknown parent", number, row_id)
            return key

        return read

    def _id_reader(self) -> Callable[[Row], bytes] | None:
        named = self.binding.id_column
        indexes = (self._at[named],) if named is not None else self._relation.identity
        if not indexes:
            return None
        take = _taker(list(indexes))
        return lambda row: encode_key(take(row))

    def _key_is_identity(self) -> bool:
        """Whether the identity columns are the key's columns unconverted: then the crosswalk would say nothing new."""
        if self._parent is not None:
            return False
        converted = {at for at, _ in self._converts}
        places = {slot: at for at, slot in enumerate(self._slots)}
        if any(places[slot] in converted for slot in self._key_slots):
            return False
        return tuple(self._at[self.binding.column_of(slot)] for slot in self._key_slots) == self._relation.identity

    def row_id(self, row: Row) -> bytes:
        """The row's local id as the crosswalk knows it."""
        assert self._id is not None
        return self._id(row)

    def map(self, row: Row) -> Mapped:
        """The record a row holds. Raises ValueRefused when a value, or a reference, has no faithful form."""
        taken = list(self._take(row))
        for at, convert in self._converts:
            value = taken[at]
            if value is not None and value is not ABSENT:
                taken[at] = convert(value)
        if self._in_order:
            values = taken
        else:
            values = [ABSENT] * self._width
            for slot, value in zip(self._slots, taken, strict=True):
                values[slot] = value
        key_parts = [values[slot] for slot in self._key_slots]
        if None in key_parts or ABSENT in key_parts:
            raise ValueRefused(f"a row of {self.binding.table} has no key", code="key-missing", cause="a key column is NULL")
        key = encode_key(key_parts)
        return Mapped(self._parent(row) + key if self._parent else key, values)

    def key_of_deleted(self, row: Row) -> bytes | None:
        """The key of a deleted row: by its id where the log carries no more, else from the row. None if never seen."""
        if self.learns:
            key = self._key_of(self.number, self.row_id(row))
            if key is not None:
                return key
        try:
            return self.map(row).key
        except ValueRefused:
            return None


def binding_number(plan: Plan, entity: EntityPlan, system: str) -> int:
    """The crosswalk's number of an entity's binding in a system: stable, from the vocabulary."""
    return entity.number << 8 | plan.vocabulary.systems.index(system)


def _taker(indexes: list[int]) -> Callable[[Row], Any]:
    """Picks values of a row into a sequence, in C."""
    if len(indexes) == 1:
        index = indexes[0]
        return lambda row: (row[index],)
    return itemgetter(*indexes)

"""From a table's rows to a record's key and values: compiled once per relation and binding, then a few calls a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec

from cdcd.conversions import Convert, StandsIn, between, column_text, stand_in_test, to_field, typed
from cdcd.json_content import KnownJson, canonical_json, canonical_json_of_all
from cdcd.model import ABSENT, Op, Relation, Row
from cdcd.resolve.keys import decode_key, encode_key, encode_part
from cdcd.resolve.masks import mask_of
from cdcd.resolve.plan import BindingPlan, ColumnPlan, EntityPlan, Plan
from cdcd.resolve.suspension import CannotRead
from cdcd.transforms.groups import Amount, Parts, from_minor_units, joined
from cdcd.transforms.step import TEXT
from cdcd.values import ValueRefused, ValueType, parse_type

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

    def __init__(
        self,
        plan: Plan,
        entity: EntityPlan,
        binding: BindingPlan,
        relation: Relation,
        key_of: KeyOf,
        known_json: KnownJson | None = None,
    ) -> None:
        """`known_json` may be shared by all mappers, so that memory is bounded."""
        self._known_json = known_json or KnownJson()
        self.entity = entity
        self.binding = binding
        self.number = binding_number(plan, entity, binding.system)
        self._at = {name: index for index, name in enumerate(relation.columns)}
        self.relation = relation
        self._key_of = key_of
        self._check_columns()
        columns = {b.slot: self._at[b.columns[0]] for b in binding.columns if len(b.columns) == 1}
        places = [columns.get(slot, len(relation.columns)) for slot in range(len(entity.fields))]
        self._take = _taker(places)
        self._is_row = places == list(range(len(relation.columns)))
        self.bound = mask_of([b.slot for b in binding.columns])
        """The slots that have columns here, as bits."""
        self._converts: dict[int, Convert] = {}
        self._nulls: dict[int, Any] = {}
        """What NULL is read as, by slot, where it is not read as NULL."""
        self._constants: dict[int, Any] = {}
        self._joins: list[tuple[int, list[tuple[int, Convert | None]], Callable[[Parts], str | None]]] = []
        """Slots that have several columns: where these are, how each becomes text, and how they are put together."""
        self._amounts: list[tuple[int, int, Amount]] = []
        """Slots of amounts, of their currencies, and how one is read by the other."""
        self.stand_ins: dict[int, StandsIn] = {}
        for bound in binding.columns:
            self._compile(plan, bound)
        self._is_plain = not (self._nulls or self._constants or self._joins or self._amounts)
        self._key_columns = [(columns[slot], self._converts.get(slot)) for slot in entity.key]
        self._parent = self._parent_reader(plan)
        self.maps_runs = self._is_plain and self._parent is None and not binding.is_gathered
        """Whether `map_run` may be called."""
        self._id = self._id_reader()
        self.has_id = self._id is not None
        referred_to = entity.name in plan.referred_to()
        self.learns = self._id is not None and (referred_to or binding.is_gathered or not self._key_is_identity())

    def _check_columns(self) -> None:
        missing = [name for name in self.binding.needed_columns if name not in self._at]
        if missing:
            raise CannotRead(
                self.entity.family,
                f"entity {self.entity.name!r} cannot be read from {self.binding.system!r} any more",
                cause=f"table {self.binding.table} has no column {', '.join(missing)} in its log",
                remedy=self._remedy("bind other columns"),
            )

    def _compile(self, plan: Plan, bound: ColumnPlan) -> None:
        """How a field is read. Raises CannotRead where its column does not convert."""
        field = self.entity.fields[bound.slot]
        if field.refers_to is not None and not bound.holds_key:
            self._converts[bound.slot] = self._reference(plan, field.refers_to)
            return
        try:
            self._compile_value(bound, plan.plain_type(field.type))
        except ValueError as error:
            raise CannotRead(
                self.entity.family,
                f"entity {self.entity.name!r}: field {field.name!r} cannot be read from {self.binding.system!r}",
                code="type-mismatch",
                cause=f"column {self.binding.table}.{bound.column}: {error}",
                remedy=self._remedy("change the field's type or give the column a transform"),
            ) from error

    def _compile_value(self, bound: ColumnPlan, field: ValueType) -> None:
        slot, transform = bound.slot, bound.transform
        if transform is not None and transform.constant is not None:
            self._constants[slot] = typed(column_text(transform.constant), field)
            return
        types = [parse_type(self.relation.types[self._at[name]]) for name in bound.columns]
        if bound.currency is not None:
            self._amounts.append((slot, bound.currency, from_minor_units(types[0], field)))
            return
        if transform is not None and transform.join is not None:
            places = [(self._at[name], between(kind, TEXT)) for name, kind in zip(bound.columns, types, strict=True)]
            self._joins.append((slot, places, joined(transform.join)))
            types = [TEXT]
        way = to_field(types[0], field, transform)
        if way.convert is not None:
            self._converts[slot] = way.convert
        if way.null is not None:
            self._nulls[slot] = way.null
        test = stand_in_test(field, types[0], transform)
        if test is not None:
            self.stand_ins[slot] = test

    def _remedy(self, change: str) -> str:
        return (
            f"{change} in the configuration and restart the daemon, which then goes on where it stopped; or put the table"
            f" back as it was and run 'cdcd resync {self.entity.family}'"
        )

    def _reference(self, plan: Plan, entity: str) -> Convert:
        """A local id to the key of the record it refers to: a scalar, or a list where the key has several parts."""
        other = plan.entities[entity]
        number, width, key_of = binding_number(plan, other, self.binding.system), other.key_width, self._key_of

        def convert(value: Any) -> Any:
            row_id = encode_key([value])
            key = key_of(number, row_id)
            if key is None:
                raise UnresolvedReference(
                    f"a row of {self.binding.table} refers to an unknown {entity}", number, row_id
                )
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
        indexes = (self._at[named],) if named is not None else self.relation.identity
        if not indexes:
            return None
        take = _taker(list(indexes))
        return lambda row: encode_key(take(row))

    def _key_is_identity(self) -> bool:
        """Whether the identity columns are the key's columns unconverted: then the crosswalk would say nothing new."""
        if self._parent is not None:
            return False
        if any(convert for _, convert in self._key_columns):
            return False
        return tuple(at for at, _ in self._key_columns) == self.relation.identity

    def row_id(self, row: Row) -> bytes:
        """The row's local id as the crosswalk knows it."""
        assert self._id is not None
        return self._id(row)

    def map(self, row: Row) -> Mapped:
        """The record a row holds. Raises ValueRefused when a value, or a reference, has no faithful form."""
        values = list(self._take([*row, ABSENT]))
        if self._is_plain:
            for slot, convert in self._converts.items():  # as `_convert`, without a call for each row
                value = values[slot]
                if value is not None and value is not ABSENT:
                    values[slot] = convert(value)
        else:
            self._make(row, values)
        return Mapped(self._record_key(row, [values[slot] for slot in self.entity.key]), values)

    def map_run(self, rows: Sequence[Row], op: Op) -> tuple[list[bytes], list[list[Any]]]:
        """The keys and values of rows, none of which holds ABSENT, as `map` makes them. Raises as that does."""
        if self._is_row:
            values = [row.copy() for row in rows]
        else:
            take = self._take
            values = [list(take([*row, ABSENT])) for row in rows]
        for slot, convert in self._converts.items():
            some = [made for made in values if made[slot] is not None]
            if convert is canonical_json:
                of_all = self._known_json.canonical if op == Op.UPDATE else canonical_json_of_all
                texts: list[Any] = [made[slot] for made in some]
                for made, form in zip(some, of_all(texts), strict=True):
                    made[slot] = form
            else:
                for made in some:
                    made[slot] = convert(made[slot])
        return self._keys(values), values

    def _keys(self, values: Sequence[list[Any]]) -> list[bytes]:
        slots = self.entity.key
        if len(slots) == 1:
            (slot,) = slots
            parts = [made[slot] for made in values]
            if None in parts:
                raise self._no_key()
            return [encode_part(part) for part in parts]
        several = [*map(itemgetter(*slots), values)]
        if any(None in parts for parts in several):
            raise self._no_key()
        return [encode_key(parts) for parts in several]

    def _convert(self, values: list[Any]) -> None:
        for slot, convert in self._converts.items():
            value = values[slot]
            if value is not None and value is not ABSENT:
                values[slot] = convert(value)

    def _make(self, row: Row, values: list[Any]) -> None:
        """The values of fields that are more than their column's, converted."""
        self._put_together(row, values)
        nulls = [slot for slot in self._nulls if values[slot] is None]
        self._convert(values)
        for slot in nulls:
            values[slot] = self._nulls[slot]
        for slot, constant in self._constants.items():
            values[slot] = constant
        for slot, currency, amount in self._amounts:
            value = values[slot]
            if value is not None and value is not ABSENT:
                values[slot] = amount(value, values[currency])

    def _put_together(self, row: Row, values: list[Any]) -> None:
        for slot, places, join in self._joins:
            parts = [row[at] for at, _ in places]
            if any(part is ABSENT for part in parts):
                values[slot] = ABSENT
                continue
            values[slot] = join([_converted(part, to_text) for part, (_, to_text) in zip(parts, places, strict=True)])

    def known_key(self, row: Row) -> bytes | None:
        """The key of a row that cannot be read as a whole: deleted, or not understood. None if it cannot be told."""
        if self.learns:
            key = self._key_of(self.number, self.row_id(row))
            if key is not None:
                return key
        try:
            return self._record_key(row, [_converted(row[at], convert) for at, convert in self._key_columns])
        except ValueRefused:
            return None

    def _record_key(self, row: Row, parts: list[Any]) -> bytes:
        for part in parts:
            if part is None or part is ABSENT:
                raise self._no_key()
        key = encode_key(parts)
        return self._parent(row) + key if self._parent else key

    def _no_key(self) -> ValueRefused:
        return ValueRefused(
            f"a row of {self.binding.table} has no key", code="key-missing", cause="a key column is NULL"
        )


def _converted(value: Any, convert: Convert | None) -> Any:
    return value if convert is None or value is None or value is ABSENT else convert(value)


def binding_number(plan: Plan, entity: EntityPlan, system: str) -> int:
    """The crosswalk's number of an entity's binding in a system: stable, from the vocabulary."""
    return entity.number << 8 | plan.vocabulary.systems.index(system)


def entity_of_binding(number: int) -> int:
    """The entity's number in a `binding_number`."""
    return number >> 8


def _taker(indexes: list[int]) -> Callable[[Row], Any]:
    """Picks values of a row into a sequence, in C."""
    if len(indexes) == 1:
        index = indexes[0]
        return lambda row: (row[index],)
    return itemgetter(*indexes)

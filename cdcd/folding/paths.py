"""How the row of a record is found in one system: from its business key, through parts and other records. Pure.

A `Path` says which row of a table is meant, by columns whose values come from what is known of a record (its *source*: a
list that begins with the parts of its key), or which are ids of rows that again have a path. It becomes a `Lookup`, and
the business key that the lookup takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from cdcd.config_columns import Constant
from cdcd.conversions import Convert, column_text, to_column, typed
from cdcd.errors import Refused
from cdcd.model import ColumnShape, Lookup, TableShape, Value, Where
from cdcd.resolve.plan import MAIN, BindingPlan, ColumnPlan, Condition, EntityPlan, PartPlan, Plan
from cdcd.values import ValueType, parse_type

Source: TypeAlias = Sequence[Any]
ValueOf: TypeAlias = Callable[[Source], Any]
"""From a source to a value of a write. May raise ValueRefused."""


class FromSource(msgspec.Struct, frozen=True):
    """The value at a place of the source, as the column holds it; NULL becomes `null`."""

    at: int
    convert: Convert | None
    null: Any = None


class FromReference(msgspec.Struct, frozen=True):
    """The row of another record, whose key of `width` parts is at a place of the source."""

    at: int
    width: int
    path: Path


class Path(msgspec.Struct, frozen=True):
    """The row of `table` whose `keys` have these values, of which `id` is taken. See `Lookup`."""

    table: str
    id: str
    keys: tuple[tuple[str, Step], ...]
    where: tuple[Where, ...] = ()
    first_by: tuple[tuple[str, bool], ...] | None = None

    def lookup(self, column: str) -> Lookup:
        """The lookup by which a column of a write gets the id."""
        nested = tuple(found for name, step in self.keys if (found := lookup_of(name, step)) is not None)
        key = tuple(name for name, _ in self.keys)
        return Lookup(column, self.table, key, self.id, self.where, nested, self.first_by)


Step: TypeAlias = FromSource | FromReference | Path


def lookup_of(column: str, step: Step) -> Lookup | None:
    """The lookup for a column whose value is an id; None where it is in the source itself."""
    if isinstance(step, FromReference):
        return step.path.lookup(column)
    return step.lookup(column) if isinstance(step, Path) else None


def value_of(step: Step) -> ValueOf:
    """The function from a source to what a write has for a column: a value, or the business key for its lookup."""
    if isinstance(step, FromSource):
        return _from_source(step)
    if isinstance(step, FromReference):
        at, width, inner = step.at, step.width, value_of(step.path)
        if width == 1:
            return lambda source: None if source[at] is None else inner((source[at],))
        return lambda source: None if source[at] is None else inner(source[at])
    values = [value_of(key) for _, key in step.keys]
    return values[0] if len(values) == 1 else _listed(values)


def _from_source(step: FromSource) -> ValueOf:
    at, convert, null = step.at, step.convert, step.null
    if convert is None:
        return (lambda source: source[at]) if null is None else lambda s: null if s[at] is None else s[at]
    return lambda source: null if source[at] is None else convert(source[at])


def _listed(values: list[ValueOf]) -> ValueOf:
    """NULL where all parts are."""

    def value(source: Source) -> Any:
        found = [part(source) for part in values]
        return found if not found or any(part is not None for part in found) else None

    return value


class BindingPaths:
    """The paths to the rows of one binding's records. Raises Refused where tables do not fit the configuration."""

    def __init__(
        self, plan: Plan, entity: EntityPlan, binding: BindingPlan, shapes: Mapping[str, TableShape], key_from: int = 0
    ) -> None:
        """`key_from` is where the key's parts begin in a source: elsewhere, where it is a former key."""
        self.entity = entity
        self.binding = binding
        self._plan = plan
        self._shapes = shapes
        own_at = entity.key_width - len(entity.key) + key_from
        self.key_at = {slot: own_at + number for number, slot in enumerate(entity.key)}
        """Where the key's fields are in a source."""

    def of_former_key(self) -> BindingPaths:
        """The paths by the key before, whose parts come after those of the present one. A parent has its present key."""
        return BindingPaths(self._plan, self.entity, self.binding, self._shapes, self.entity.key_width)

    # ---- tables ----------------------------------------------------------------------------------------------

    def shape(self, table: str) -> TableShape:
        """A table as it is now."""
        shape = self._shapes.get(table)
        if shape is None:
            raise self.unfit(table, "target-table-missing", "there is no such table", "create it")
        return shape

    def table_of(self, name: str) -> str:
        """The table of a part, or the main one."""
        return self.binding.table if name == MAIN else self.binding.part(name).table

    def column(self, table: str, column: str) -> ColumnShape:
        """A column of a table."""
        found = self.shape(table).column(column)
        if found is None:
            raise self.unfit(table, "target-column-missing", f"it has no column {column}", "add it there")
        return found

    def id_of(self, name: str) -> str:
        """The id column of a part, or of the main table."""
        given = self.binding.id_column if name == MAIN else self.binding.part(name).id_column
        key = self.shape(self.table_of(name)).primary_key
        if given is None and len(key) != 1:
            where = f".parts.{name}" if name != MAIN else ""
            remedy = f'name the column with id = "…" in entities.{self.entity.name}.in.{self.binding.system}{where}'
            raise self.unfit(self.table_of(name), "target-id-unknown", "its primary key is not one column", remedy)
        return key[0] if given is None else given

    def unfit(self, table: str, code: str, cause: str, remedy: str) -> Refused:
        """Why no record can be written to a table as it is."""
        what = f"records of {self.entity.name!r} do not fit {table} in {self.binding.system!r}"
        return Refused(what, code=code, cause=f"{cause}; {remedy}", remedy=remedy)

    # ---- values ----------------------------------------------------------------------------------------------

    def field_types(self) -> list[ValueType]:
        """The types of the entity's fields, by slot; of references, those of the keys that they hold."""
        return [self._plan.plain_type(field.type) for field in self.entity.fields]

    def constant(self, table: str, column: str, value: Constant | None) -> Value:
        """What the configuration writes, as the column holds it."""
        if value is None:
            return None
        kind = parse_type(self.column(table, column).type)
        if isinstance(value, bool) and kind.kind == "integer":
            return int(value)
        if kind.kind == "boolean" and value in (0, 1):
            return bool(value)
        try:
            found: Value = typed(column_text(value), kind)
        except ValueError as error:
            remedy = "correct the constant in the configuration"
            raise self.unfit(table, "target-type-mismatch", f"column {column}: {error}", remedy) from error
        return found

    def converted(
        self, table: str, column: str, kind: ValueType, at: int, bound: ColumnPlan | None = None
    ) -> FromSource:
        """A value of the source, of that type, as the column holds it."""
        column_type = parse_type(self.column(table, column).type)
        try:
            way = to_column(self._plan.plain_type(kind), column_type, None if bound is None else bound.transform)
        except ValueError as error:
            remedy = "change the field's type or give the column a transform"
            raise self.unfit(table, "target-type-mismatch", f"column {column}: {error}", remedy) from error
        return FromSource(at, way.convert, way.null)

    def field_in(self, table: str, column: str, slot: int, at: int, bound: ColumnPlan | None = None) -> Step:
        """What a column gets of the field whose value is at a place of the source."""
        kind = self.entity.fields[slot].type
        other = self.entity.fields[slot].refers_to
        if other is None or (bound is not None and bound.holds_key):
            return self.converted(table, column, kind, at, bound)
        self.column(table, column)
        return FromReference(at, self._plan.entities[other].key_width, self.of_record(other))

    def of_record(self, entity: str) -> Path:
        """The path to the main row of another entity's records."""
        other = self._plan.entities[entity]
        binding = other.bindings[self.binding.system]
        return BindingPaths(self._plan, other, binding, self._shapes).main()

    def conditions(self, name: str) -> tuple[Where, ...]:
        """What rows of a part, or of the main table, must hold themselves."""
        above = MAIN if name == MAIN else self.binding.part(name).of
        of_above = () if name == MAIN else self._conditions_of(above)
        found = [c for c in self._conditions_of(name) if c.part is None] + [c for c in of_above if c.part == name]
        table = self.table_of(name)
        return tuple(Where(c.column, tuple(self.constant(table, c.column, value) for value in c.values)) for c in found)

    def _conditions_of(self, name: str) -> tuple[Condition, ...]:
        return self.binding.where if name == MAIN else self.binding.part(name).where

    def null_deletes(self, part: PartPlan) -> bool:
        """Whether a row without values is none: said by the part, or because it is a name and a value (EAV)."""
        bound = [column for column in self.binding.columns if not column.is_computed and column.place[0] == part.name]
        is_pair = len(bound) == 1 and bound[0].slot not in self.key_at and bool(part.where)
        return is_pair if part.null is None else part.null == "delete"

    # ---- rows ------------------------------------------------------------------------------------------------

    def main(self) -> Path:
        """The path to a record's main row: by its columns, those of parts, or `cdcd_xref`."""
        table, row_id = self.binding.table, self.id_of(MAIN)
        if self.binding.xref:
            entry = Path(self.binding.xref_table, "id", (("key", self.xref_key()),), (self.xref_where(),))
            return Path(table, row_id, ((row_id, entry),))
        keys, where = self.keys(MAIN), self.conditions(MAIN)
        if len(keys) == 1 and keys[0][0] == row_id and isinstance(keys[0][1], Path) and not where:
            return keys[0][1]  # the row that it is found through says its id
        return Path(table, row_id, keys, where)

    def xref_key(self) -> FromSource:
        """How `cdcd_xref` writes a record's key."""
        (slot,) = self.entity.key
        return self.converted(self.binding.xref_table, "key", self.entity.fields[slot].type, self.key_at[slot])

    def xref_where(self) -> Where:
        """Which entries of `cdcd_xref` are those of the entity."""
        return Where("entity", (self.entity.name,))

    def keys(self, name: str) -> tuple[tuple[str, Step], ...]:
        """The columns of a row that its business key, or what it must hold, gives: its own, and what its parts say."""
        found: list[tuple[str, Step]] = []
        if name == MAIN and self.binding.parent_column is not None:
            assert self.entity.parent is not None
            found.append((self.binding.parent_column, self.of_record(self.entity.parent)))
        table = self.table_of(name)
        for bound in self.key_columns(name):
            column = bound.place[1]
            found += [(column, self.field_in(table, column, bound.slot, self.key_at[bound.slot], bound))]
        for part in self.binding.hanging(name):
            found += self._keys_through(part, name)
        names = [column for column, _ in found]
        if len(names) != len(set(names)):
            remedy = "let one part have the key"
            raise self.unfit(table, "target-key-divided", "its row would be found through several others", remedy)
        return tuple(found)

    def key_columns(self, name: str) -> list[ColumnPlan]:
        """The columns of a part, or of the main table, that hold fields of the business key."""
        return [c for c in self.binding.columns if c.slot in self.key_at and c.place[0] == name]

    def _keys_through(self, part: PartPlan, above: str) -> list[tuple[str, Step]]:
        keys = self.keys(part.name)
        if keys and self._has_key(part):
            if part.at is not None:
                return [(part.at, Path(part.table, self.id_of(part.name), keys, self.conditions(part.name)))]
            assert part.parent is not None
            return [(self.id_of(above), Path(part.table, part.parent, keys, self.conditions(part.name)))]
        if self.is_constant(part):
            assert part.at is not None
            return [(part.at, Path(part.table, self.id_of(part.name), keys, self.conditions(part.name)))]
        return []

    def is_found_through(self, name: str) -> bool:
        """Whether the id of a row is told by a row that hangs on it and has the business key."""
        return any(part.parent is not None and self._has_key(part) for part in self.binding.hanging(name))

    def _has_key(self, part: PartPlan) -> bool:
        return bool(self.key_columns(part.name)) or any(self._has_key(p) for p in self.binding.hanging(part.name))

    def _has_whole_key(self, part: PartPlan) -> bool:
        return self.entity.parent is None and self._key_slots(part) == {*self.entity.key}

    def _key_slots(self, part: PartPlan) -> set[int]:
        own = {bound.slot for bound in self.key_columns(part.name)}
        return own.union(*(self._key_slots(hanging) for hanging in self.binding.hanging(part.name)))

    def is_constant(self, part: PartPlan) -> bool:
        """Whether a part is one and the same row for all records: nothing but what it must hold says which."""
        names = {c.place[0] for c in self.binding.columns if not c.is_computed}
        if part.at is None or part.name in names or part.write != "refer" or not self.conditions(part.name):
            return False
        return all(self.is_constant(hanging) for hanging in self.binding.hanging(part.name) if hanging.at is not None)

    def row(self, name: str) -> Path:
        """The path to the row of a part (or the main row), as it hangs on the main row now."""
        if name == MAIN:
            return self.main()
        part = self.binding.part(name)
        if part.at is not None and self._has_whole_key(part):
            return Path(part.table, self.id_of(name), self.keys(name), self.conditions(name))
        above, row_id = self.row(part.of), self.id_of(part.of)
        if part.at is not None:
            if (above.table, above.id) == (self.table_of(part.of), row_id):
                return msgspec.structs.replace(above, id=part.at)
            return Path(self.table_of(part.of), part.at, ((row_id, above),))
        assert part.parent is not None
        keys: list[tuple[str, Step]] = [(part.parent, above), *self.keys(name)]
        return Path(part.table, self.id_of(name), tuple(keys), self.conditions(name), part.first_by or None)

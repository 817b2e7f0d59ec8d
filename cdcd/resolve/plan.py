"""The configuration compiled once: entities and bindings by number, tables by system, in dependency order.

Child collections become entities of their own here ("order.lines"), whose key starts with their parent's key.
Numbers (entities, field slots, systems, routes) are kept in the state database as a vocabulary that only grows,
so that stored records and outbox units stay readable when the configuration is reordered or extended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdcd.adapter import TableNeed
from cdcd.config import NotOwner, OwnershipRule
from cdcd.config_columns import Column, Constant, FromField, New, NewValue, Split, Unfit
from cdcd.config_parts import FIELD_IN_TEMPLATE
from cdcd.model import XREF_TABLE
from cdcd.values import ValueType

DEAD: Final = ValueType("native", ("dropped",))


class Vocabulary(msgspec.Struct, frozen=True):
    """Names in the order in which they were first seen: their place is their number for ever."""

    systems: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    fields: dict[str, tuple[str, ...]] = {}
    routes: tuple[str, ...] = ()


class FieldPlan(msgspec.Struct, frozen=True):
    """A field of an entity; its place in `EntityPlan.fields` is its slot in stored records."""

    name: str
    type: ValueType
    owner: str | None
    not_owner: NotOwner
    between: tuple[str, ...] = ()
    initial: str | None = None
    sensitive: bool = False

    @property
    def refers_to(self) -> str | None:
        """The entity whose key this field holds."""
        return self.type.arguments[0] if self.type.kind == "ref" else None


MAIN: Final = ""
"""The main row of a binding, where its parts are named."""


class Condition(msgspec.Struct, frozen=True):
    """What a row must hold to count: in `column` one of `values` (None is NULL), or in that of `part`, which hangs on it."""

    part: str | None
    column: str
    values: tuple[Constant | None, ...]


class PartPlan(msgspec.Struct, frozen=True):
    """A further table of a binding. Its rows hang on those of the part `of` (`MAIN`: on the main row).

    Either `at` is the column of that row that holds this row's id, or `parent` is the column here that holds that row's
    id. Ids are in `id_column`, by default the primary key. `first_by` orders rows of which the first counts: columns, and
    whether they descend; the id decides at last.
    """

    name: str
    table: str
    of: str
    at: str | None
    parent: str | None
    id_column: str | None
    where: tuple[Condition, ...]
    first_by: tuple[tuple[str, bool], ...]
    write: Literal["refer", "row", "never"]
    new: dict[str, New]
    null: Literal["set", "delete"] | None = None


Place: TypeAlias = tuple[str, str]
"""A column of a binding's tables: the part (`MAIN` for the main table) and the column."""


def place_of(column: str) -> Place:
    """Where a bound column is: "template.name" in the part template, "code" in the main table."""
    part, _, name = column.rpartition(".")
    return part, name


class ColumnPlan(msgspec.Struct, frozen=True):
    """A bound column: which slot it fills, and the transform between them.

    `column` is its name in the rows that a mapper reads: in a binding with parts "part.column", and a name of its own
    where the value is computed from others. `currency` is the slot of an amount's currency, which says how it is counted.
    """

    slot: int
    column: str
    transform: Column | None
    currency: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it is read from and written to, as a mapper's rows call them; none of a constant."""
        t = self.transform
        if t is None or (t.join is None and t.constant is None):
            return (self.column,)
        return () if t.join is None else tuple(t.join.columns)

    @property
    def splits(self) -> Split | None:
        """Which part of its column the field has, where the column has several."""
        first = None if self.transform is None else next(iter(self.transform.steps), self.transform)
        return None if first is None else first.split

    @property
    def place(self) -> Place:
        """The part and the column; of several, which are in one part, the first."""
        return place_of(self.columns[0]) if self.columns else (MAIN, self.column)

    @property
    def is_computed(self) -> bool:
        """Whether the value comes from several columns or rows, so that it cannot be written."""
        t = self.transform
        return t is not None and bool(t.first or t.sum or t.count)

    @property
    def holds_key(self) -> bool:
        """Whether the column of a reference holds the other record's business key, not its local id."""
        return self.transform is not None and self.transform.reference == "key"


class BindingPlan(msgspec.Struct, frozen=True):
    """Where an entity lives in one system. `parent_column` is set for children: it holds the parent row's id.

    `parts` come after those that they hang on. `archive` are the fields to set instead of deleting, by slot, as canonical values of their fields.
    """

    system: str
    entity: str
    table: str
    columns: tuple[ColumnPlan, ...]
    parent_column: str | None
    id_column: str | None
    archive: dict[int, Any] | None
    ignore_delete: bool
    schedule: str
    where: tuple[Condition, ...] = ()
    new: dict[str, New] = {}
    parts: tuple[PartPlan, ...] = ()
    xref: bool = False
    xref_table: str = ""
    parked_max: str | int = "5%"

    @property
    def instead_of_delete(self) -> dict[int, Any] | None:
        """What is set, by slot, instead of deleting a row: nothing at all where a delete is ignored. None: it is deleted."""
        return {} if self.ignore_delete else self.archive

    @property
    def is_gathered(self) -> bool:
        """Whether a record is put together from rows of several tables, or only some rows of the table are records."""
        return bool(self.parts or self.where or self.xref)

    @property
    def tables(self) -> tuple[str, ...]:
        """All tables whose rows make the records, the main one first."""
        kept = [self.xref_table] if self.xref else []
        return tuple(dict.fromkeys([self.table, *(part.table for part in self.parts), *kept]))

    def as_read(self, key: tuple[int, ...]) -> BindingPlan:
        """The binding as rows are read: where `cdcd_xref` keeps the business key, that is a part like others."""
        if not self.xref:
            return self
        where = (Condition(None, "entity", (self.entity,)),)
        part = PartPlan(XREF_TABLE, self.xref_table, MAIN, None, "id", None, where, (), "never", {})
        kept = (ColumnPlan(key[0], f"{XREF_TABLE}.key", None),)
        return msgspec.structs.replace(self, parts=(*self.parts, part), columns=(*self.columns, *kept), xref=False)

    def part(self, name: str) -> PartPlan:
        """The part of that name."""
        return next(part for part in self.parts if part.name == name)

    def hanging(self, name: str) -> list[PartPlan]:
        """The parts that hang on this one (`MAIN`: on the main row)."""
        return [part for part in self.parts if part.of == name]

    def read_from(self, name: str) -> tuple[str, ...]:
        """The columns of a part's table (`MAIN`: of the main table) that reading needs."""
        own = [column for part, column in self._places() if part == name]
        hung = [part.at for part in self.hanging(name) if part.at is not None]
        if name == MAIN:
            ids = [self.parent_column, self.id_column]
            return tuple(dict.fromkeys([c for c in ids if c is not None] + own + hung))
        part = self.part(name)
        ids = [part.parent, part.id_column, *(column for column, _ in part.first_by)]
        return tuple(dict.fromkeys([c for c in ids if c is not None] + own + hung))

    def _places(self) -> Iterator[Place]:
        """All columns that are bound or looked at, by part."""
        for bound in self.columns:
            transform = bound.transform
            if transform is not None and bound.is_computed:
                yield from map(place_of, (*transform.first, *transform.sum, *transform.minus))
            else:
                yield from map(place_of, bound.columns)
        for name, conditions in ((MAIN, self.where), *((part.name, part.where) for part in self.parts)):
            yield from ((name if c.part is None else c.part, c.column) for c in conditions)

    def bound_mask(self) -> int:
        """The slots this binding has a column for, as bits."""
        return sum(1 << column.slot for column in self.columns)

    def column_of(self, slot: int) -> str:
        """The column bound to a slot."""
        return self.bound(slot).column

    def bound(self, slot: int) -> ColumnPlan:
        """The bound column of a slot."""
        return next(column for column in self.columns if column.slot == slot)

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """The columns without which the rows that a mapper reads cannot be understood."""
        others = [name for name in (self.parent_column, self.id_column) if name is not None]
        return tuple(dict.fromkeys([*others, *(name for column in self.columns for name in column.columns)]))

    @property
    def written_mask(self) -> int:
        """The slots that can be written in this system, as bits."""
        never = {part.name for part in self.parts if part.write == "never"}
        return sum(
            1 << bound.slot
            for bound in self.columns
            if not (bound.transform is not None and bound.transform.is_read_only)
            and never.isdisjoint(place_of(column)[0] for column in bound.columns)
        )

    @property
    def told_together(self) -> tuple[int, ...]:
        """Slots of which none can be written without the others, as bits.

        Parts of one column, amounts and their currency, and what says together which row is referred to.
        """
        groups: list[int] = []
        choosing = [self._choosing(part) for part in self.parts if part.write == "refer"]
        for told in (*map(self._written_with, self.columns), *choosing):
            mask = told
            if mask & (mask - 1):
                met = [group for group in groups if group & mask]
                groups = [group for group in groups if group not in met]
                for group in met:
                    mask |= group
                groups.append(mask)
        return tuple(groups)

    def _written_with(self, bound: ColumnPlan) -> int:
        if bound.splits is not None:
            return sum(1 << other.slot for other in self.columns if other.columns == bound.columns)
        shares = bound.currency is not None and self.bound(bound.currency).columns
        return 1 << bound.slot | (1 << bound.currency if shares and bound.currency is not None else 0)

    def _choosing(self, part: PartPlan) -> int:
        mask = sum(1 << bound.slot for bound in self.columns if not bound.is_computed and bound.place[0] == part.name)
        for hanging in self.hanging(part.name):
            mask |= self._choosing(hanging) if hanging.at is not None else 0
        return mask

    @property
    def fields_of_new(self) -> frozenset[str]:
        """The fields that values of new rows are made of, bound or not."""
        found: set[str] = set()
        for new in (self.new, *(part.new for part in self.parts)):
            for value in new.values():
                if isinstance(value, NewValue):
                    found.update(match[1] for match in FIELD_IN_TEMPLATE.finditer(value.template or ""))
                    found.update(match.field for match in value.where.values() if isinstance(match, FromField))
        return frozenset(found)


class EntityPlan(msgspec.Struct, frozen=True):
    """An entity. `key` are slots; for a child they name it within its parent, whose key comes before them."""

    number: int
    name: str
    fields: tuple[FieldPlan, ...]
    key: tuple[int, ...]
    parent: str | None
    rules: tuple[OwnershipRule, ...]
    create: frozenset[str]
    delete: frozenset[str]
    bindings: dict[str, BindingPlan]
    key_width: int
    restore: frozenset[str] = frozenset()
    publish: frozenset[str] = frozenset()
    subscribe: frozenset[str] = frozenset()
    on_create: NotOwner = "revert"
    on_delete: NotOwner = "revert"
    members_by: str | None = None
    """Of a child collection, the one system that adds and removes children, if the configuration names it."""

    @property
    def family(self) -> str:
        """The entity that it stands and falls with: its parent, or itself."""
        return self.parent or self.name

    @property
    def live_slots(self) -> tuple[int, ...]:
        """Slots of fields that the configuration still has."""
        return tuple(slot for slot, field in enumerate(self.fields) if field.type != DEAD)


class Route(msgspec.Struct, frozen=True):
    """A plain one-way copy of one table, without the columns `leave_out`; `unfit` has policies by column.

    Values of columns in `sensitive` are shown to nobody (see `cdcd.sensitive`).
    """

    number: int
    source: str
    target: str
    source_table: str
    target_table: str
    leave_out: frozenset[str] = frozenset()
    unfit: tuple[tuple[str, Unfit], ...] = ()
    sensitive: frozenset[str] = frozenset()


def root_of(entity: str) -> str:
    """The entity whose child collection this one is, at the top; schedules and pauses are its."""
    return entity.partition(".")[0]


def copies_of(system: str, table: str) -> str:
    """What the plain copies of a table are known by, beside the names of entities."""
    return f"{system}:{table}"


class Plan(msgspec.Struct, frozen=True):
    """The compiled configuration. `entities` are ordered so that what is referred to comes first."""

    daemon: str
    systems: tuple[str, ...]
    entities: dict[str, EntityPlan]
    routes: tuple[Route, ...]
    vocabulary: Vocabulary
    clock_ahead_max_us: int = 10_000_000

    def by_table(self, system: str) -> dict[str, list[BindingPlan]]:
        """The bindings of each main table of a system."""
        found: dict[str, list[BindingPlan]] = {}
        for entity in self.entities.values():
            if system in entity.bindings:
                found.setdefault(entity.bindings[system].table, []).append(entity.bindings[system])
        return found

    def by_any_table(self, system: str) -> dict[str, list[BindingPlan]]:
        """The bindings of each table of a system, by its main table and those of its parts."""
        found: dict[str, list[BindingPlan]] = {}
        for entity in self.entities.values():
            binding = entity.bindings.get(system)
            for table in () if binding is None else binding.tables:
                found.setdefault(table, []).append(entity.bindings[system])
        return found

    def routes_from(self, system: str) -> dict[str, list[Route]]:
        """The plain copies out of each table of a system."""
        found: dict[str, list[Route]] = {}
        for route in self.routes:
            if route.source == system:
                found.setdefault(route.source_table, []).append(route)
        return found

    def families(self) -> dict[str, list[str]]:
        """Entities by the one they stand and fall with."""
        found: dict[str, list[str]] = {}
        for name, entity in self.entities.items():
            found.setdefault(entity.family, []).append(name)
        return found

    def copied(self) -> set[str]:
        """What the plain copies of all tables are known by."""
        return {copies_of(route.source, route.source_table) for route in self.routes}

    def is_source(self, system: str) -> bool:
        """Whether any table of the system is captured."""
        return bool(self.by_table(system)) or bool(self.routes_from(system))

    def is_target(self, system: str) -> bool:
        """Whether anything is ever written to the system."""
        told = any(system in e.bindings and system in e.subscribe for e in self.entities.values())
        return told or any(route.target == system for route in self.routes)

    def told_of(self, system: str) -> dict[int, str]:
        """What the system may be told of, by the number that its deliverer knows it by (see `parking.parked.Subject`)."""
        told = {e.number: e.name for e in self.entities.values() if system in e.bindings}
        copies = {-1 - r.number: copies_of(r.source, r.source_table) for r in self.routes if r.target == system}
        return told | copies

    def xref_table(self, system: str) -> str:
        """The table in a system that keeps business keys, "" where no binding needs it."""
        bindings = (entity.bindings.get(system) for entity in self.entities.values())
        return next((binding.xref_table for binding in bindings if binding is not None and binding.xref), "")

    def tables(self, system: str) -> list[TableNeed]:
        """What is needed of each table of a system, in the order in which tables are first copied."""
        from cdcd.resolve.table_needs import tables  # noqa: PLC0415 - it is made of plans

        return tables(self, system)

    def referred_to(self) -> frozenset[str]:
        """Entities whose rows other rows refer to: by a ref field or as a parent."""
        refs = {field.refers_to for entity in self.entities.values() for field in entity.fields}
        parents = {entity.parent for entity in self.entities.values()}
        return frozenset(name for name in refs | parents if name is not None)

    def in_circles(self) -> frozenset[str]:
        """Entities that refer to others which, perhaps by way of more, refer to them: neither can be told first."""
        refers = {
            name: {field.refers_to for field in entity.fields} - {None, name} for name, entity in self.entities.items()
        }
        found = set()
        for name, referred in refers.items():
            reached: set[str | None] = set()
            ahead = set(referred)
            while ahead:
                reached |= ahead
                ahead = {far for near in ahead if near is not None for far in refers.get(near, ())} - reached
            if name in reached:
                found.add(name)
        return frozenset(found)

    def key_types(self, entity: str) -> tuple[ValueType, ...]:
        """The types of an entity's key, its parent's first; a reference to a key of one part has that part's type."""
        plan = self.entities[entity]
        parent = self.key_types(plan.parent) if plan.parent else ()
        return parent + tuple(self.plain_type(plan.fields[slot].type) for slot in plan.key)

    def plain_type(self, kind: ValueType) -> ValueType:
        """The type itself; of a reference, the type of the key it holds, where that is one value."""
        if kind.kind != "ref":
            return kind
        types = self.key_types(kind.arguments[0])
        return types[0] if len(types) == 1 else kind

    def entities_tables(self, entity: str) -> list[tuple[str, str]]:
        """The (system, table) pairs an entity and its children live in, parents first."""
        names = [name for name, plan in self.entities.items() if entity in (name, plan.parent)]
        tables = [(s, table) for name in names for s, b in self.entities[name].bindings.items() for table in b.tables]
        return list(dict.fromkeys(tables))

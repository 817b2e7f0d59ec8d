"""The configuration compiled once: entities and bindings by number, tables by system, in dependency order.

Child collections become entities of their own here ("order.lines"), whose key starts with their parent's key.
Numbers (entities, field slots, systems, routes) are kept in the state database as a vocabulary that only grows,
so that stored records and outbox units stay readable when the configuration is reordered or extended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from cdcd.adapter import TableNeed
from cdcd.config import (
    Binding,
    ChildBinding,
    Column,
    Config,
    Entity,
    Field,
    NotOwner,
    OnDeleteArchive,
    OwnershipRule,
    Unfit,
)
from cdcd.conversions import column_text, typed
from cdcd.errors import ConfigError
from cdcd.values import ValueType, parse_type

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

    @property
    def refers_to(self) -> str | None:
        """The entity whose key this field holds."""
        return self.type.arguments[0] if self.type.kind == "ref" else None


class ColumnPlan(msgspec.Struct, frozen=True):
    """A bound column: which slot it fills, and the transform between them."""

    slot: int
    column: str
    transform: Column | None

    @property
    def holds_key(self) -> bool:
        """Whether the column of a reference holds the other record's business key, not its local id."""
        return self.transform is not None and self.transform.reference == "key"


class BindingPlan(msgspec.Struct, frozen=True):
    """Where an entity lives in one system. `parent_column` is set for children: it holds the parent row's id.

    `archive` are the fields to set instead of deleting, by slot, as canonical values of their fields.
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
        """The columns without which rows cannot be read."""
        others = [name for name in (self.parent_column, self.id_column) if name is not None]
        return tuple(dict.fromkeys([*others, *(column.column for column in self.columns)]))


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

    @property
    def family(self) -> str:
        """The entity that it stands and falls with: its parent, or itself."""
        return self.parent or self.name

    @property
    def live_slots(self) -> tuple[int, ...]:
        """Slots of fields that the configuration still has."""
        return tuple(slot for slot, field in enumerate(self.fields) if field.type != DEAD)


class Route(msgspec.Struct, frozen=True):
    """A plain one-way copy of one table, without the columns `leave_out`; `unfit` has policies by column."""

    number: int
    source: str
    target: str
    source_table: str
    target_table: str
    leave_out: frozenset[str] = frozenset()
    unfit: tuple[tuple[str, Unfit], ...] = ()


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

    def by_table(self, system: str) -> dict[str, list[BindingPlan]]:
        """The bindings of each table of a system."""
        found: dict[str, list[BindingPlan]] = {}
        for entity in self.entities.values():
            if system in entity.bindings:
                found.setdefault(entity.bindings[system].table, []).append(entity.bindings[system])
        return found

    def routes_from(self, system: str) -> dict[str, list[Route]]:
        """The plain copies out of each table of a system."""
        found: dict[str, list[Route]] = {}
        for route in self.routes:
            if route.source == system:
                found.setdefault(route.source_table, []).append(route)
        return found

    def is_source(self, system: str) -> bool:
        """Whether any table of the system is captured."""
        return bool(self.by_table(system)) or bool(self.routes_from(system))

    def is_target(self, system: str) -> bool:
        """Whether anything is ever written to the system."""
        return bool(self.by_table(system)) or any(route.target == system for route in self.routes)

    def tables(self, system: str) -> list[TableNeed]:
        """What is needed of each table of a system, in the order in which tables are first copied."""
        needs: dict[str, TableNeed] = {}
        for need in self._needs(system):
            known = needs.get(need.table)
            needs[need.table] = need if known is None else _merge(known, need)
        return list(needs.values())

    def _needs(self, system: str) -> Iterator[TableNeed]:
        for entity in self.entities.values():
            binding = entity.bindings.get(system)
            if binding is not None:
                parent = () if binding.parent_column is None else (binding.parent_column,)
                key = parent + tuple(binding.column_of(slot) for slot in entity.key)
                yield TableNeed(binding.table, key, binding.needed_columns, captured=True, written=True)
        for route in self.routes:
            if route.source == system:
                yield TableNeed(route.source_table, captured=True, written=False)
            if route.target == system:
                yield TableNeed(route.target_table, captured=False, written=True)

    def referred_to(self) -> frozenset[str]:
        """Entities whose rows other rows refer to: by a ref field or as a parent."""
        refs = {field.refers_to for entity in self.entities.values() for field in entity.fields}
        parents = {entity.parent for entity in self.entities.values()}
        return frozenset(name for name in refs | parents if name is not None)

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
        return [(s, b.table) for name in names for s, b in self.entities[name].bindings.items()]


def _merge(one: TableNeed, other: TableNeed) -> TableNeed:
    columns = tuple(dict.fromkeys(one.columns + other.columns)) if one.columns and other.columns else ()
    return TableNeed(
        one.table, one.key or other.key, columns, one.captured or other.captured, one.written or other.written
    )


def build(config: Config, table_name: Callable[[str, str], str], known: Vocabulary | None = None) -> Plan:
    """Compile `config`. `table_name(system, table)` spells a table in full; `known` keeps earlier numbers."""
    known = known or Vocabulary()
    flat = dict(_flatten(config))
    order = _dependency_order(flat)
    routes = list(_routes(config, table_name))
    fields = {name: _extend(known.fields.get(name, ()), spec.fields) for name, spec in flat.items()}
    vocabulary = Vocabulary(
        _extend(known.systems, config.systems),
        _extend(known.entities, order),
        {**known.fields, **fields},
        _extend(known.routes, [_route_name(*route) for route in routes]),
    )
    entities: dict[str, EntityPlan] = {}
    for name in order:
        entities[name] = _entity_plan(name, flat[name], vocabulary, entities, table_name)
    for entity in entities.values():
        _check_references(entity, entities)
    left_out = _left_out(config, table_name)
    numbered = tuple(
        Route(
            vocabulary.routes.index(_route_name(*route)),
            *route,
            left_out.get((route[0], route[1], route[2]), frozenset()),
            tuple(_unfit_columns(config, route, table_name)),
        )
        for route in routes
    )
    return Plan(config.daemon.name, tuple(config.systems), entities, numbered, vocabulary)


class _Flat(msgspec.Struct, frozen=True):
    """An entity or child collection before numbering."""

    entity: Entity
    key: list[str]
    fields: dict[str, Field]
    parent: str | None
    bindings: dict[str, Binding | ChildBinding]


def _flatten(config: Config) -> Iterator[tuple[str, _Flat]]:
    for name, entity in config.entities.items():
        yield name, _Flat(entity, entity.key, entity.fields, None, dict(entity.bindings))
        for child_name, child in entity.children.items():
            bindings: dict[str, Binding | ChildBinding] = {
                system: binding.children[child_name]
                for system, binding in entity.bindings.items()
                if child_name in binding.children
            }
            yield f"{name}.{child_name}", _Flat(entity, child.key, child.fields, name, bindings)


def _dependency_order(flat: Mapping[str, _Flat]) -> list[str]:
    """Entities so that parents and referred-to ones come first; a circle of references keeps configuration order."""
    ordered: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in ordered or name in path:
            return
        spec = flat[name]
        wanted = [spec.parent] if spec.parent else []
        wanted += [t.arguments[0] for f in spec.fields.values() if (t := parse_type(f.type)).kind == "ref"]
        for other in wanted:
            visit(other, (*path, name))
        ordered[name] = None

    for name in flat:
        visit(name, ())
    return list(ordered)


def _check_references(entity: EntityPlan, entities: Mapping[str, EntityPlan]) -> None:
    """What is referred to by a local id must live in the same system, under a key that finds it there."""
    for binding in entity.bindings.values():
        at = f"entities.{entity.name}.in.{binding.system}"
        if entity.parent is not None:
            _check_referred_to(f"{at}.parent", entities[entity.parent], binding.system)
        for column in binding.columns:
            field = entity.fields[column.slot]
            if field.refers_to is None:
                continue
            other = entities[field.refers_to]
            if not column.holds_key:
                _check_referred_to(f"{at}.columns.{field.name}", other, binding.system)
            elif other.key_width != 1:
                raise ConfigError(
                    f"{at}.columns.{field.name}: one column cannot hold the key of {other.name!r}, which has several parts",
                    remedy='use reference = "id"',
                    code="config-rule",
                )


def _check_referred_to(at: str, other: EntityPlan, system: str) -> None:
    binding = other.bindings.get(system)
    if binding is None:
        raise ConfigError(
            f"{at}: refers to {other.name!r}, which does not live in {system!r}",
            remedy=f'bind {other.name!r} in {system!r}, or use reference = "key"',
            code="config-rule",
        )
    if any(other.fields[slot].refers_to and not binding.bound(slot).holds_key for slot in other.key):
        raise ConfigError(
            f"{at}: refers to {other.name!r}, whose key is itself a reference by id",
            remedy=f"give {other.name!r} a key of plain fields",
            code="config-rule",
        )


def _extend(known: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*known, *names]))


def _entity_plan(
    name: str,
    spec: _Flat,
    vocabulary: Vocabulary,
    done: Mapping[str, EntityPlan],
    table_name: Callable[[str, str], str],
) -> EntityPlan:
    slots = {field: slot for slot, field in enumerate(vocabulary.fields[name])}
    policy = spec.entity.not_owner
    fields = tuple(
        FieldPlan(
            field,
            parse_type(spec.fields[field].type),
            spec.fields[field].owner,
            policy.fields.get(field, policy.default),
        )
        if field in spec.fields
        else FieldPlan(field, DEAD, None, "ignore")
        for field in slots
    )
    bindings = {
        system: _binding_plan(system, name, binding, fields, table_name) for system, binding in spec.bindings.items()
    }
    parent_width = done[spec.parent].key_width if spec.parent else 0
    return EntityPlan(
        number=vocabulary.entities.index(name),
        name=name,
        fields=fields,
        key=tuple(slots[field] for field in spec.key),
        parent=spec.parent,
        rules=tuple(spec.entity.ownership),
        create=frozenset(spec.entity.create),
        delete=frozenset(spec.entity.delete),
        bindings=bindings,
        key_width=parent_width + len(spec.key),
    )


def _binding_plan(
    system: str,
    entity: str,
    binding: Binding | ChildBinding,
    fields: tuple[FieldPlan, ...],
    table_name: Callable[[str, str], str],
) -> BindingPlan:
    slots = {field.name: slot for slot, field in enumerate(fields)}
    named = dict(binding.columns)
    if isinstance(binding, Binding):
        named.update({field: column for field, column in binding.key.items() if field not in named})
    columns = tuple(
        ColumnPlan(slots[field], spec, None) if isinstance(spec, str) else ColumnPlan(slots[field], spec.column, spec)
        for field, spec in named.items()
    )
    table = table_name(system, binding.table)
    if isinstance(binding, ChildBinding):
        return BindingPlan(system, entity, table, columns, binding.parent, None, None, ignore_delete=False, schedule="")
    archived = binding.on_delete.archive if isinstance(binding.on_delete, OnDeleteArchive) else None
    return BindingPlan(
        system,
        entity,
        table,
        columns,
        None,
        binding.id,
        None if archived is None else _archive(system, entity, {slots[f]: v for f, v in archived.items()}, fields),
        ignore_delete=binding.on_delete == "ignore",
        schedule=binding.deliver.schedule,
    )


def _archive(
    system: str, entity: str, values: Mapping[int, str | int | bool], fields: tuple[FieldPlan, ...]
) -> dict[int, Any]:
    """What the configuration writes there, as values of the fields: never text where a number belongs."""
    try:
        return {slot: typed(column_text(value), fields[slot].type) for slot, value in values.items()}
    except ValueError as error:
        at = f"entities.{entity}.in.{system}.on-delete.archive"
        raise ConfigError(f"{at}: {error}", remedy="correct the file", code="config-rule") from error


def _routes(config: Config, table_name: Callable[[str, str], str]) -> Iterator[tuple[str, str, str, str]]:
    for copy in config.replicate:
        for table in copy.tables:
            target = copy.rename.get(table, table.rpartition(".")[2])
            if not target:
                raise ConfigError(f"replicate: table {table!r} has no name in {copy.target!r}", code="config-rule")
            yield copy.source, copy.target, table_name(copy.source, table), table_name(copy.target, target)


def _left_out(config: Config, table_name: Callable[[str, str], str]) -> dict[tuple[str, str, str], frozenset[str]]:
    """By source, target and table: the columns that are not copied."""
    found: dict[tuple[str, str, str], frozenset[str]] = {}
    for copy in config.replicate:
        for left_out in copy.leave_out:
            table, _, column = left_out.rpartition(".")
            at = (copy.source, copy.target, table_name(copy.source, table))
            found[at] = found.get(at, frozenset()) | {column}
    return found


def _unfit_columns(
    config: Config, route: tuple[str, str, str, str], table_name: Callable[[str, str], str]
) -> Iterator[tuple[str, Unfit]]:
    """The columns of a copy that have a policy for values that do not fit."""
    source, target, source_table, _ = route
    for copy in config.replicate:
        for named, policy in copy.unfit.items():
            table, _, column = named.rpartition(".")
            if (copy.source, copy.target, table_name(source, table)) == (source, target, source_table):
                yield column, policy


def _route_name(source: str, target: str, source_table: str, target_table: str) -> str:
    return f"{source}:{source_table}>{target}:{target_table}"

"""The configuration compiled to a `Plan`: numbers given, tables spelled in full, entities put in dependency order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cdcd import config_ownership
from cdcd.config import Binding, ChildBinding, Config, Entity, Field, OnDeleteArchive, Replicate, parse_duration
from cdcd.config_columns import Unfit
from cdcd.conversions import column_text, typed
from cdcd.errors import ConfigError
from cdcd.model import XREF_TABLE
from cdcd.resolve.plan import DEAD, BindingPlan, ColumnPlan, EntityPlan, FieldPlan, Plan, Route, Vocabulary
from cdcd.resolve.plan_parts import conditions_of, name_of, new_values, parts_of
from cdcd.values import parse_type


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
    left_out = _columns_of_copies(config, table_name, lambda copy: copy.leave_out)
    sensitive = _columns_of_copies(config, table_name, lambda copy: copy.sensitive)
    numbered = tuple(
        Route(
            vocabulary.routes.index(_route_name(*route)),
            *route,
            left_out.get((route[0], route[1], route[2]), frozenset()),
            tuple(_unfit_columns(config, route, table_name)),
            sensitive.get((route[0], route[1], route[2]), frozenset()),
        )
        for route in routes
    )
    ahead_max_us = int(parse_duration(config.daemon.clock_ahead_max) * 1e6)
    return Plan(config.daemon.name, tuple(config.systems), entities, numbered, vocabulary, ahead_max_us)


class _Flat(msgspec.Struct, frozen=True):
    """An entity or child collection before numbering."""

    entity: Entity
    key: list[str]
    fields: dict[str, Field]
    parent: str | None
    bindings: dict[str, Binding | ChildBinding]
    members_by: str | None = None


def _flatten(config: Config) -> Iterator[tuple[str, _Flat]]:
    for name, entity in config.entities.items():
        yield name, _Flat(entity, entity.key, entity.fields, None, dict(entity.bindings))
        for child_name, child in entity.children.items():
            bindings: dict[str, Binding | ChildBinding] = {
                system: binding.children[child_name]
                for system, binding in entity.bindings.items()
                if child_name in binding.children
            }
            yield f"{name}.{child_name}", _Flat(entity, child.key, child.fields, name, bindings, child.owner)


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
    entity = spec.entity
    policy = entity.not_owner
    fields = tuple(
        FieldPlan(
            field,
            parse_type(spec.fields[field].type),
            spec.fields[field].owner,
            policy.fields.get(field, policy.default),
            *_shared(field, spec),
            sensitive=spec.fields[field].sensitive,
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
        rules=tuple(entity.ownership),
        create=frozenset(entity.create),
        delete=frozenset(entity.delete),
        bindings=bindings,
        key_width=parent_width + len(spec.key),
        restore=frozenset([*entity.create, *entity.delete] if entity.restore is None else entity.restore),
        publish=frozenset(bindings if entity.publish is None else entity.publish),
        subscribe=frozenset(bindings if entity.subscribe is None else entity.subscribe),
        on_create=policy.create or fields[slots[spec.key[0]]].not_owner,
        on_delete=policy.delete or fields[slots[spec.key[0]]].not_owner,
        members_by=spec.members_by,
    )


def _shared(name: str, spec: _Flat) -> tuple[tuple[str, ...], str | None]:
    """The systems that share a field, and the one whose value is true at first."""
    field = spec.fields[name]
    if field.owner not in config_ownership.SHARED:
        return (), None
    bound = [system for system, binding in spec.bindings.items() if config_ownership.binds(binding, name)]
    between = tuple(field.between or bound)
    first = between if field.owner == "latest" else (*spec.entity.create, *between)
    return between, field.initial or next((system for system in first if system in bound), None)


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
        ColumnPlan(slots[field], spec, None)
        if isinstance(spec, str)
        else ColumnPlan(
            slots[field], name_of(spec), spec, None if spec.minor_units is None else slots[spec.minor_units]
        )
        for field, spec in named.items()
    )
    table = table_name(system, binding.table)

    def full(name: str) -> str:
        return table_name(system, name)

    where, parts = conditions_of(binding.where), parts_of(binding.parts, full)
    new = new_values(binding.new, full)
    if isinstance(binding, ChildBinding):
        return BindingPlan(
            system,
            entity,
            table,
            columns,
            binding.parent,
            None,
            None,
            ignore_delete=False,
            schedule="",
            where=where,
            new=new,
            parts=parts,
        )
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
        where=where,
        new=new,
        parts=parts,
        xref=binding.xref,
        xref_table=full(XREF_TABLE) if binding.xref else "",
        parked_max=binding.deliver.parked_max,
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


def _columns_of_copies(
    config: Config, table_name: Callable[[str, str], str], listed: Callable[[Replicate], list[str]]
) -> dict[tuple[str, str, str], frozenset[str]]:
    """By source, target and table: the columns that are `listed` of it, as "table.column"."""
    found: dict[tuple[str, str, str], frozenset[str]] = {}
    for copy in config.replicate:
        for named in listed(copy):
            table, _, column = named.rpartition(".")
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

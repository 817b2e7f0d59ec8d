"""What a changed configuration asks of the tables: which entities and plain copies must be read anew, and why. Pure.

Rows that were read before a binding had a column, a table or a transform say nothing about it. So resolve remembers how
each entity was read, compares at its start, and has what differs copied again while changes flow. Who owns a field,
how rows are written and what fields are called in other systems do not matter for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from cdcd.errors import NeedsOperator
from cdcd.resolve.plan import DEAD, BindingPlan, EntityPlan, Plan, copies_of
from cdcd.values import parse_type

_NOT_READ_PARTS = ("write", "new")


class BindingReading(msgspec.Struct, frozen=True):
    """How records of an entity are read from one system. Everything is text, to be compared and nothing else."""

    table: str
    columns: dict[str, str]
    parts: dict[str, str]
    rows: str


class EntityReading(msgspec.Struct, frozen=True):
    """How an entity is read. `family` is the entity that it is copied with."""

    family: str
    key: tuple[str, ...]
    types: dict[str, str]
    bindings: dict[str, BindingReading]


class Readings(msgspec.Struct, frozen=True):
    """How everything was read; plain copies by what they are known by, and by target and table."""

    entities: dict[str, EntityReading] = {}
    copies: dict[str, dict[str, str]] = {}


class Recopy(msgspec.Struct, frozen=True):
    """An entity with its children, or the plain copies of a table (`copies_of`), to be read anew, and why.

    `new` are the entities among them that were never read.
    """

    subject: str
    reasons: tuple[str, ...]
    new: tuple[str, ...] = ()
    is_copy: bool = False


def readings(plan: Plan) -> Readings:
    """How `plan` reads everything."""
    copies: dict[str, dict[str, str]] = {}
    for route in plan.routes:
        how = _text([sorted(route.leave_out), route.unfit])
        copies.setdefault(copies_of(route.source, route.source_table), {})[f"{route.target}:{route.target_table}"] = how
    return Readings({name: _entity_reading(entity) for name, entity in plan.entities.items()}, copies)


def _entity_reading(entity: EntityPlan) -> EntityReading:
    names = [field.name for field in entity.fields]
    return EntityReading(
        entity.family,
        tuple(names[slot] for slot in entity.key),
        {field.name: str(field.type) for field in entity.fields if field.type != DEAD},
        {system: _binding_reading(binding, names) for system, binding in entity.bindings.items()},
    )


def _binding_reading(binding: BindingPlan, names: list[str]) -> BindingReading:
    parts = {part.name: msgspec.to_builtins(part) for part in binding.parts}
    for part in parts.values():
        for key in _NOT_READ_PARTS:
            part.pop(key, None)
    return BindingReading(
        binding.table,
        {names[bound.slot]: _text([bound.column, bound.transform]) for bound in binding.columns},
        {name: _text(part) for name, part in parts.items()},
        _text([binding.parent_column, binding.id_column, binding.where, binding.xref]),
    )


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def recopies(before: Readings, now: Readings) -> list[Recopy]:
    """What must be read anew. Raises NeedsOperator where an entity has got another key."""
    reasons: dict[str, list[str]] = {}
    new: dict[str, list[str]] = {}
    for name, entity in now.entities.items():
        known = before.entities.get(name)
        found = [f"{name} is new"] if known is None else list(_entity_reasons(name, known, entity))
        if found:
            reasons.setdefault(entity.family, []).extend(found)
        if known is None:
            new.setdefault(entity.family, []).append(name)
    entities = [Recopy(family, tuple(why), tuple(new.get(family, ()))) for family, why in reasons.items()]
    return [*entities, *_copies(before.copies, now.copies)]


def _entity_reasons(name: str, before: EntityReading, now: EntityReading) -> Iterator[str]:
    _check_key(name, before, now)
    for field, kind in now.types.items():
        if field not in before.types:
            yield f"{name} has the new field {field}"
        elif before.types[field] != kind:
            yield f"{name}.{field} was a {before.types[field]} and is a {kind}"
    for system, binding in now.bindings.items():
        known = before.bindings.get(system)
        if known is None:
            yield f"{name} is new in {system}"
        else:
            yield from _binding_reasons(f"{name} in {system}", known, binding, set(before.types))


def _check_key(name: str, before: EntityReading, now: EntityReading) -> None:
    """Records are stored by their key: with another one they would all be deleted and made anew in every system."""
    if before.key == now.key and all(_same_form(before.types[field], now.types[field]) for field in now.key):
        return
    raise NeedsOperator(
        f"the key of entity {name!r} is not what it was",
        code="key-changed",
        cause=f"records are kept by {', '.join(before.key)}, the configuration says {', '.join(now.key)}",
        remedy="put the key (its fields and their types) back, or give the entity another name: it is then copied as a new one",
    )


def _same_form(before: str, now: str) -> bool:
    """Whether keys of one type are written like those of the other: a longer text and a larger range are."""
    one, other = parse_type(before), parse_type(now)
    return one == other or (one.kind == other.kind and one.kind in ("text", "integer", "enum"))


def _binding_reasons(
    at: str, before: BindingReading, now: BindingReading, known_fields: Iterable[str]
) -> Iterator[str]:
    if before.table != now.table:
        yield f"{at} has moved from {before.table} to {now.table}"
    for field, column in now.columns.items():
        if field in known_fields and before.columns.get(field) != column:
            yield f"{at} has another column for {field}" if field in before.columns else f"{at} has {field} now"
    for part, how in now.parts.items():
        if before.parts.get(part) != how:
            yield f"{at} has another part {part}" if part in before.parts else f"{at} has the new part {part}"
    if before.rows != now.rows:
        yield f"{at} takes other rows of {now.table}, or names them otherwise"


def _copies(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> Iterator[Recopy]:
    """Tables that are copied to a new place, or with other columns. A table that was not copied before has no copy yet."""
    for subject, targets in now.items():
        known = before.get(subject, {})
        why = [
            f"{subject} is copied to {target} with other columns"
            if target in known
            else f"{subject} is copied to {target}"
            for target, how in targets.items()
            if known.get(target) != how
        ]
        if why:
            yield Recopy(subject, tuple(why), is_copy=True)


def moved_bindings(before: Readings, now: Readings) -> list[tuple[str, str]]:
    """(entity, system) pairs that have another table: ids of rows of the former one mean nothing any more."""
    return [
        (name, system)
        for name, entity in now.entities.items()
        for system, binding in entity.bindings.items()
        if name in before.entities
        and system in before.entities[name].bindings
        and before.entities[name].bindings[system].table != binding.table
    ]

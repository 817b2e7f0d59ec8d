"""Makes up a world from a seed: entities, owners, rights, policies, and different tables for all of it in each system."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import msgspec

from values import PLAIN_TYPES
from world import STATUS, Column, Entity, Field, OnDelete, Place, Policy, World

SYSTEMS: Final = ("erp", "shop", "web")
NAMES: Final = ("party", "item", "deal", "visit")


def make_world(random: Random) -> World:
    """A world of up to four entities over three systems."""
    entities: dict[str, Entity] = {}
    for name in NAMES[: random.choice((1, 1, 2, 2, 3, 4))]:
        entity = _entity(random, name, entities)
        entities[name] = entity
        if random.random() < 0.35:
            child = _child(random, entity, entities)
            entities[child.name] = child
    referred_to = {field.refers_to for entity in entities.values() for field in entity.fields.values()}
    for entity in [e for e in entities.values() if e.parent is None]:
        family = [member for member in entities.values() if entity.name in (member.name, member.parent)]
        whole = bool({member.name for member in family} & referred_to) or random.random() > 0.25
        heard, told = _publicity(random, entity, family, whole=whole)
        for member in family:
            here = [tuple(system for system in some if system in member.places) for some in (heard, told)]
            entities[member.name] = msgspec.structs.replace(member, publish=here[0], subscribe=here[1])
    return World(SYSTEMS, entities, random.choice(SYSTEMS) if random.random() < 0.3 else "")


def _publicity(
    random: Random, entity: Entity, family: list[Entity], *, whole: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which systems are heard, those with any right in any case; and which are told."""
    if whole or random.random() < 0.5:
        speaking = tuple(entity.places)
    else:
        owners = {field.owner for member in family for field in member.fields.values()}
        rights = {*owners, *entity.states.values(), *entity.create, *entity.delete}
        speaking = tuple(system for system in entity.places if system in rights or random.random() < 0.4)
    told = tuple(system for system in entity.places if whole or random.random() < 0.7)
    return speaking, told or tuple(entity.places)


def _entity(random: Random, name: str, known: dict[str, Entity]) -> Entity:
    systems = SYSTEMS if random.random() < 0.75 else tuple(sorted(random.sample(SYSTEMS, 2)))
    states = _states(random, systems) if random.random() < 0.45 else {}
    fields = {field.name: field for field in _key(random)}
    key = tuple(fields)
    if states:
        fields[STATUS] = Field(STATUS, f"enum({','.join(_members(states))})", None, _policy(random))
    _add_fields(random, fields, systems, known, "", ruled=bool(states))
    owned = {system: owner for system, owner in states.items() if owner}
    return Entity(
        name,
        None,
        key,
        fields,
        _places(random, name, systems, fields, key, owned),
        owned,
        tuple(sorted(random.sample(systems, random.randint(1, len(systems))))),
        tuple(sorted(random.sample(systems, random.randint(0, len(systems))))),
        _policy(random),
        _policy(random),
        _policy(random),
    )


def _child(random: Random, parent: Entity, known: dict[str, Entity]) -> Entity:
    name = f"{parent.name}.lines"
    systems = tuple(parent.places)
    if len(systems) == 3 and random.random() < 0.2:
        systems = tuple(sorted(random.sample(systems, 2)))
    fields = {"line": Field("line", "integer", None, parent.not_owner)}
    everywhere = set(parent.states.values()) <= set(systems)
    _add_fields(random, fields, systems, known, "line_", ruled=bool(parent.states) and everywhere)
    places = _places(random, name.replace(".", "_"), systems, fields, ("line",), parent.states)
    places = {s: Place(p.table, p.columns, "parent_id") for s, p in places.items()}
    rights = parent.create, parent.delete, parent.not_owner, parent.on_create, parent.on_delete
    fields = {name: Field(name, field.type, field.owner, parent.not_owner) for name, field in fields.items()}
    return Entity(name, parent.name, ("line",), fields, places, {}, *rights)


def _key(random: Random) -> list[Field]:
    first = random.choice(("text(20)", "text(20)", "integer", "uuid"))
    found = [Field("code", first, None)]
    if random.random() < 0.25:
        found.append(Field("region", random.choice(("integer", "text(20)")), None))
    return found


def _members(states: dict[str, str]) -> list[str]:
    return list(states)


def _states(random: Random, systems: tuple[str, ...]) -> dict[str, str]:
    """Members of the status, and who owns a record that has it ("" for nobody)."""
    members = ("new", "paid", "sent", "done")[: random.randint(2, 4)]
    found = {member: random.choice((*systems, *systems, *systems, "")) for member in members}
    return found if any(found.values()) else {**found, members[0]: systems[0]}


def _policy(random: Random) -> Policy:
    policies: tuple[Policy, ...] = ("revert", "revert", "revert", "ignore", "hold")
    return random.choice(policies)


def _add_fields(
    random: Random,
    fields: dict[str, Field],
    systems: tuple[str, ...],
    known: dict[str, Entity],
    prefix: str,
    *,
    ruled: bool,
) -> None:
    for number in range(random.randint(1, 4)):
        owner = None if ruled and random.random() < 0.7 else random.choice(systems)
        kind = _kind(random, known, systems)
        if random.random() < 0.15:
            owner, kind = _shared(random, kind)
        name = f"{prefix}{kind[:3]}{number}"
        fields[name] = Field(name, kind, owner, _policy(random))


def _shared(random: Random, kind: str) -> tuple[str, str]:
    """A field that all systems share, and its type: only numbers add up."""
    if random.random() < 0.4:
        return "latest", kind
    return "sum", random.choice(("integer", "decimal(9,2)"))


def _kind(random: Random, known: dict[str, Entity], systems: tuple[str, ...]) -> str:
    others = [e.name for e in known.values() if e.parent is None and set(systems) <= set(e.places)]
    if others and random.random() < 0.4:
        return f"ref({random.choice(others)})"
    if random.random() < 0.15:
        return "enum(red,green,blue)"
    return PLAIN_TYPES[random.choice(list(PLAIN_TYPES))]


def _places(
    random: Random,
    name: str,
    systems: tuple[str, ...],
    fields: dict[str, Field],
    key: tuple[str, ...],
    states: dict[str, str],
) -> dict[str, Place]:
    """A table in each system, with columns for most fields: always for the key, for its owners and for the status."""
    found = {}
    for system in systems:
        columns = {}
        for field in fields.values():
            owners = set(states.values()) if field.owner is None else {field.owner}
            if field.name in (*key, STATUS) or field.is_shared or system in owners or random.random() < 0.85:
                columns[field.name] = _column(random, system, field)
        on_delete, archive = _deletion(random, fields, key, columns)
        found[system] = Place(f"{name}_{system[0]}", columns, None, on_delete, archive)
    return found


def _column(random: Random, system: str, field: Field) -> Column:
    name = random.choice((field.name, f"{system}_{field.name}"))
    if field.refers_to is not None:
        return Column(name, "integer")
    if field.type.startswith("decimal") and random.random() < 0.3:
        return Column(name, "integer", {}, 100)
    if field.type.startswith("enum"):
        members = field.type[5:-1].split(",")
        if random.random() < 0.4:
            return Column(name, "integer", {member: place * 10 for place, member in enumerate(members)})
        return Column(name, "text(10)")
    return Column(name, field.type)


def _deletion(
    random: Random, fields: dict[str, Field], key: tuple[str, ...], columns: dict[str, Column]
) -> tuple[OnDelete, dict[str, Any]]:
    """What a deleted record leaves in a system."""
    drawn = random.random()
    if drawn < 0.7:
        return "delete", {}
    if drawn < 0.85:
        return "ignore", {}
    plain = [f for f in fields.values() if f.name in columns and f.name not in key]
    booleans = [field.name for field in plain if field.type == "boolean"]
    enums = [field for field in plain if field.type.startswith("enum")]
    if booleans:
        return "archive", {booleans[0]: False}
    return ("archive", {enums[0].name: enums[0].type[5:-1].split(",")[-1]}) if enums else ("ignore", {})

"""Worlds: systems, entities, owners and tables as plain data, and the configuration that describes them to the line."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdcd import config as configuration
from cdcd import config_rules
from cdcd.model import ColumnShape
from cdcd_memory import MemoryServer

Key: TypeAlias = tuple[Any, ...]
Policy: TypeAlias = Literal["revert", "ignore", "hold"]
OnDelete: TypeAlias = Literal["delete", "ignore", "archive"]
STATUS: Final = "status"
"""The field by whose value ownership moves, in entities where it does."""


class Field(msgspec.Struct, frozen=True):
    """A field of an entity. Without an owner, the record's state says who owns it."""

    name: str
    type: str
    owner: str | None
    policy: Policy = "revert"

    @property
    def refers_to(self) -> str | None:
        """The entity whose key it holds."""
        return self.type[4:-1] if self.type.startswith("ref(") else None

    @property
    def is_shared(self) -> bool:
        """Whether several systems have it together."""
        return self.owner in ("latest", "sum")


class Column(msgspec.Struct, frozen=True):
    """A column that a field is bound to, and the column's value for each of the field's, or how often it is multiplied."""

    name: str
    type: str
    map: dict[str, Any] = {}
    scale: int = 0


class Place(msgspec.Struct, frozen=True):
    """Where an entity lives in one system."""

    table: str
    columns: dict[str, Column]
    parent: str | None = None
    on_delete: OnDelete = "delete"
    archive: dict[str, Any] = {}
    schedule: str = "realtime"


class Entity(msgspec.Struct, frozen=True):
    """An entity, or a child collection ("order.lines"). `states` says who owns a record with that status."""

    name: str
    parent: str | None
    key: tuple[str, ...]
    fields: dict[str, Field]
    places: dict[str, Place]
    states: dict[str, str] = {}
    create: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    not_owner: Policy = "revert"
    on_create: Policy = "revert"
    on_delete: Policy = "revert"
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    @property
    def looks_back(self) -> bool:
        """Whether owners move, or share."""
        return bool(self.states) or any(field.is_shared for field in self.fields.values())


class World(msgspec.Struct, frozen=True):
    """Everything that a seed has made up. Entities come after those that they refer to, children after their parents."""

    systems: tuple[str, ...]
    entities: dict[str, Entity]
    picky: str = ""
    """A system that refuses rows in which a text is `values.POISON`, until it is cured."""

    def child_of(self, name: str) -> Entity | None:
        """The child collection of an entity."""
        return next((entity for entity in self.entities.values() if entity.parent == name), None)

    def judged_by(self, entity: Entity) -> Entity:
        """The entity whose state decides about records of this one."""
        return entity if entity.parent is None else self.entities[entity.parent]

    def is_referred_to(self, name: str) -> bool:
        """Whether rows of other entities hold ids of this one's."""
        return any(name in (field.refers_to for field in e.fields.values()) for e in self.entities.values())

    def at(self, system: str, table: str) -> Entity:
        """The entity whose rows a table has."""
        return next(e for e in self.entities.values() if system in e.places and e.places[system].table == table)


# ---- as the line is told ---------------------------------------------------------------------------------------------


def configuration_of(world: World, order: list[str] | None = None) -> configuration.Config:
    """The configuration, with entities, fields and systems in some order: it must not matter."""
    names = order or list(world.entities)
    entities = {name: _entity(world, world.entities[name]) for name in names if world.entities[name].parent is None}
    systems = {name: {"adapter": "memory"} for name in world.systems}
    raw = {"daemon": {"name": "sim", "state-dir": "/nowhere"}, "systems": systems, "entities": entities}
    config: configuration.Config = configuration.convert(raw, configuration.Config, "world.toml", "")
    config_rules.check(config, "world.toml")
    return config


def _entity(world: World, entity: Entity) -> dict[str, Any]:
    child = world.child_of(entity.name)
    inner = "" if child is None else child.name.partition(".")[2]
    policies = {f.name: f.policy for f in entity.fields.values() if f.name not in entity.key}
    owners: dict[str, list[str]] = {}
    for member, owner in entity.states.items():
        owners.setdefault(owner, []).append(member)
    found: dict[str, Any] = {
        "key": list(entity.key),
        "create": list(entity.create),
        "delete": list(entity.delete),
        "fields": {field.name: _field(field) for field in entity.fields.values()},
        "publish": list(entity.publish),
        "subscribe": list(entity.subscribe),
        "ownership": [{"when": f"record.{STATUS} in {members!r}", "owner": owner} for owner, members in owners.items()],
        "not-owner": {
            "default": entity.not_owner,
            "fields": policies,
            "create": entity.on_create,
            "delete": entity.on_delete,
        },
        "in": {system: _place(place) for system, place in entity.places.items()},
    }
    if child is not None:
        fields = {field.name: _field(field) for field in child.fields.values()}
        found["children"] = {inner: {"key": list(child.key), "fields": fields}}
        for system, place in child.places.items():
            found["in"][system]["children"] = {inner: _place(place)}
    return found


def _field(field: Field) -> dict[str, Any]:
    return {"type": field.type} if field.owner is None else {"type": field.type, "owner": field.owner}


def _place(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {"table": place.table, "columns": {f: _column(c) for f, c in place.columns.items()}}
    if place.parent is not None:
        return {**found, "parent": place.parent}
    on_delete = {"archive": place.archive} if place.on_delete == "archive" else place.on_delete
    return {**found, "on-delete": on_delete, "deliver": {"schedule": place.schedule}}


def _column(column: Column) -> str | dict[str, Any]:
    if column.scale:
        return {"column": column.name, "scale": column.scale}
    if column.map:
        return {"column": column.name, "map": {_spelled(value): member for member, value in column.map.items()}}
    return column.name


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---- as the servers have it ------------------------------------------------------------------------------------------


def create_tables(world: World, system: str, server: MemoryServer, first_id: int) -> list[tuple[str, str, str]]:
    """Make the tables of a system, and return their foreign keys: a column of a table, and the table it refers to.

    Ids of different systems differ, so that nothing can take one for another.
    """
    foreign_keys: list[tuple[str, str, str]] = []
    for entity in world.entities.values():
        place = entity.places.get(system)
        if place is None:
            continue
        own = () if place.parent is None else (place.parent,)
        shapes = [ColumnShape("id", "integer", nullable=False, has_default=True)]
        shapes += [ColumnShape(name, "integer") for name in own]
        shapes += [ColumnShape(column.name, column.type) for column in place.columns.values()]
        key = (*own, *(place.columns[name].name for name in entity.key))
        server.create_table(place.table, shapes, ("id",), key)
        server.tables[place.table].next_number = first_id
        if entity.parent is not None:
            foreign_keys.append((place.table, "parent_id", world.entities[entity.parent].places[system].table))
        for name, column in place.columns.items():
            other = entity.fields[name].refers_to
            if other is not None:
                foreign_keys.append((place.table, column.name, world.entities[other].places[system].table))
    return foreign_keys


def to_column(column: Column, value: Any) -> Any:
    """The column's value for a field's."""
    if value is None:
        return None
    if column.scale:
        return int(Decimal(value) * column.scale)
    return column.map[value] if column.map else value


def to_field(field: Field, column: Column, value: Any) -> Any:
    """The field's value for a column's. Of JSON only the content counts."""
    if value is None:
        return None
    if column.scale:
        return f"{Decimal(value) / column.scale:.2f}"
    if column.map:
        return next(member for member, spelled in column.map.items() if spelled == value)
    return json.dumps(json.loads(value), sort_keys=True) if field.type == "json" else value

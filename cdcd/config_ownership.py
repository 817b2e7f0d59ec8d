"""What must fit together where ownership is configured: rights are given to systems that can have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from cdcd import config as c
from cdcd import config_columns as cc
from cdcd.values import parse_type

SHARED: Final = ("latest", "sum")
"""Owners that are no system: the field is shared by several."""


def binds(binding: c.Binding | c.ChildBinding, field: str) -> bool:
    """Whether the binding has a column for the field."""
    return field in binding.columns or (isinstance(binding, c.Binding) and field in binding.key)


def problems(config: c.Config) -> Iterator[str]:
    """What does not fit, each with the way out."""
    for name in SHARED:
        if name in config.systems:
            yield f"systems.{name}: a system cannot be called so; owner = {name!r} means a shared field"
    try:
        c.parse_duration(config.daemon.clock_ahead_max)
    except ValueError as error:
        yield f"daemon.clock-ahead-max: {error}"
    for name, entity in config.entities.items():
        yield from _entity(f"entities.{name}", entity)


def _entity(at: str, entity: c.Entity) -> Iterator[str]:
    for right in ("restore", "publish", "subscribe"):
        for system in getattr(entity, right) or ():
            if system not in entity.bindings:
                yield f"{at}.{right}: {system!r} is no system of this entity; known: {', '.join(entity.bindings)}"
    for key in ("publish", "subscribe"):
        if getattr(entity, key) == []:
            yield f"{at}.{key}: empty; name the systems, or leave it out for all"
    yield from _silent(at, entity)
    yield from _fields(at, entity.fields, entity.key, entity.bindings)
    for child_name, child in entity.children.items():
        bindings = {s: b.children[child_name] for s, b in entity.bindings.items() if child_name in b.children}
        yield from _fields(f"{at}.children.{child_name}", child.fields, child.key, bindings)
        if child.owner is not None and child.owner not in bindings:
            known = ", ".join(bindings) or "none"
            yield f"{at}.children.{child_name}.owner: {child.owner!r} does not have the collection; known: {known}"


def _silent(at: str, entity: c.Entity) -> Iterator[str]:
    """Whoever owns, creates, deletes or restores must be heard."""
    heard = set(entity.bindings if entity.publish is None else entity.publish)
    named: list[tuple[str, Iterable[str]]] = [
        ("create", entity.create),
        ("delete", entity.delete),
        ("restore", entity.restore or ()),
        *((f"ownership[{index}].owner", (rule.owner,)) for index, rule in enumerate(entity.ownership)),
    ]
    for prefix, fields in (
        ("", entity.fields),
        *((f"children.{n}.", child.fields) for n, child in entity.children.items()),
    ):
        for name, field in fields.items():
            owners = [] if field.owner is None or field.owner in SHARED else [field.owner]
            named.append((f"{prefix}fields.{name}", [*owners, *field.between]))
    for where, systems in named:
        for system in systems:
            if system in entity.bindings and system not in heard:
                yield f"{at}.{where}: {system!r} is not heard; add it to {at}.publish"


def _fields(
    at: str, fields: dict[str, c.Field], key: list[str], bindings: dict[str, c.Binding] | dict[str, c.ChildBinding]
) -> Iterator[str]:
    for name, field in fields.items():
        here = f"{at}.fields.{name}"
        if field.owner not in SHARED:
            if field.between or field.initial:
                yield f'{here}: between and initial belong to owner = "latest" or "sum"'
            continue
        bound = [system for system, binding in bindings.items() if binds(binding, name)]
        for system in [*field.between, *([field.initial] if field.initial else [])]:
            if system not in bound:
                yield f"{here}: {system!r} has no column for it; known: {', '.join(bound) or 'none'}"
        if name in key:
            yield f"{here}.owner: a key field cannot be shared; it names the record"
        if field.owner == "sum":
            yield from _sum(here, field, [b for b in bindings.values() if binds(b, name)], name)


def _sum(at: str, field: c.Field, bindings: list[c.Binding | c.ChildBinding], name: str) -> Iterator[str]:
    """Only what can be added exactly, in a row of its own, adds up."""
    try:
        kind = parse_type(field.type)
    except ValueError:
        return  # reported where it stands
    if kind.kind not in ("integer", "decimal"):
        yield f"{at}.type: only integer and decimal fields add up, not {field.type}"
    for binding in bindings:
        column = binding.columns.get(name)
        spelled = column.column if isinstance(column, cc.Column) else column or ""
        if isinstance(column, cc.Column) and column != cc.Column(column=column.column, scale=column.scale):
            yield f"{at}: a total is written as a difference, so its column may have a scale, but no other transform"
        elif spelled.partition(".")[0] in binding.parts:
            yield f"{at}: a total must be in the main table, not in a part"

"""What must fit together where a binding has several tables: parts, conditions, values of new rows, computed fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cdcd import config as c
from cdcd import config_columns as cc

FIELD_IN_TEMPLATE = re.compile(r"\{(\w+)(?::(\w+))?\}")
"""A field of the record in a template, and the form it is to have."""
_SOURCES = ("column", "first", "sum", "count")


def problems(at: str, fields: Iterable[str], key: list[str], binding: c.Binding | c.ChildBinding) -> Iterator[str]:
    """Everything that does not fit in the binding of an entity, or of a child collection, with these fields."""
    for name, part in binding.parts.items():
        yield from _part(f"{at}.parts.{name}", name, part, binding.parts)
        yield from _new(f"{at}.parts.{name}.new", part.new, fields)
    yield from _conditions(f"{at}.where", cc.Part(""), None, binding)
    for name, part in binding.parts.items():
        yield from _conditions(f"{at}.parts.{name}.where", part, name, binding)
    yield from _new(f"{at}.new", binding.new, fields)
    for field, column in binding.columns.items():
        yield from _column(f"{at}.columns.{field}", column, binding.parts, is_key=field in key)
    if not isinstance(binding, c.ChildBinding) and binding.xref:
        if len(key) != 1:
            yield f"{at}.xref: cdcd_xref keeps keys of one field, this one has {len(key)}"
        bound = [field for field in key if field in binding.columns or field in binding.key]
        if bound:
            yield f"{at}.xref: key field {bound[0]!r} is bound to a column, so cdcd_xref has nothing to keep; leave one out"


def read_only_fields(binding: c.Binding | c.ChildBinding) -> list[str]:
    """The fields that are never written in this system."""
    never = {name for name, part in binding.parts.items() if part.write == "never"}
    return [
        field
        for field, column in binding.columns.items()
        if (isinstance(column, cc.Column) and column.is_read_only)
        or not never.isdisjoint(map(part_of, _filled(column)))
    ]


def _filled(column: str | cc.Column) -> list[str]:
    if isinstance(column, str):
        return [column]
    return [column.column] if column.join is None else column.join.columns


def part_of(column: str) -> str:
    """The part in "part.column", "" for the main table."""
    return column.rpartition(".")[0]


def _part(at: str, name: str, part: cc.Part, parts: Mapping[str, cc.Part]) -> Iterator[str]:
    if (part.at is None) == (part.parent is None):
        yield f"{at}: name one of at (the column above that holds this row's id) and parent (the column here that holds the id above)"
    if part.of is not None and part.of not in parts:
        yield f"{at}.of: unknown part {part.of!r}; known: {', '.join(parts)}"
    elif _hangs_on_itself(name, parts):
        yield f"{at}.of: the parts hang on one another in a circle"
    if part.first_by and part.at is not None:
        yield f"{at}.first-by: a row that is referred to is one; first-by orders the rows of a part with parent"
    if part.write == "refer" and part.at is None:
        yield f'{at}.write: "refer" chooses which row is referred to, which needs at; use "row" or "never"'
    if part.null is not None and (part.parent is None or part.write == "never"):
        yield f"{at}.null: says what becomes of a row that is made for each record, which needs parent"
    if part.new and part.write in ("refer", "never"):
        yield f'{at}.new: no row is made here; write is "{part.write}"'


def _hangs_on_itself(name: str, parts: Mapping[str, cc.Part]) -> bool:
    seen = {name}
    above = parts[name].of
    while above is not None and above in parts:
        if above in seen:
            return True
        seen.add(above)
        above = parts[above].of
    return False


def _conditions(at: str, part: cc.Part, name: str | None, binding: c.Binding | c.ChildBinding) -> Iterator[str]:
    where = binding.where if name is None else part.where
    for column, match in where.items():
        other = part_of(column)
        if other and (other not in binding.parts or binding.parts[other].of != name):
            hanging = [n for n, p in binding.parts.items() if p.of == name]
            yield f"{at}: {column!r} is in no part that hangs here; known: {', '.join(hanging) or 'none'}"
        if isinstance(match, list) and not match:
            yield f"{at}.{column}: an empty list matches nothing"


def _new(at: str, new: Mapping[str, cc.New], fields: Iterable[str]) -> Iterator[str]:
    for column, value in new.items():
        if not isinstance(value, cc.NewValue):
            continue
        given = [n for n in ("commit_time", "template", "id_of") if getattr(value, n) is not None]
        if len(given) != 1:
            yield f"{at}.{column}: give one of commit-time, template, id-of"
        if value.commit_time is not None:
            yield from zone(f"{at}.{column}.commit-time", value.commit_time)
        named = [match[1] for match in FIELD_IN_TEMPLATE.finditer(value.template or "")]
        named += [match.field for match in value.where.values() if isinstance(match, cc.FromField)]
        known = list(fields)
        yield from (
            f"{at}.{column}: unknown field {field!r}; known: {', '.join(known)}"
            for field in named
            if field not in known
        )


def zone(at: str, name: str) -> Iterator[str]:
    """A time zone must be known here."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        yield f"{at}: unknown zone {name!r}; use an IANA name such as Europe/Berlin"


def _column(at: str, column: str | cc.Column, parts: Mapping[str, cc.Part], *, is_key: bool) -> Iterator[str]:
    if isinstance(column, str):
        yield from _known_part(at, column, parts)
        return
    computed = [name for name in _SOURCES[1:] if getattr(column, name)]
    if len(computed) > 1 or (computed and column.column):
        yield f"{at}: give one of {', '.join(_SOURCES)}"
    if computed and is_key:
        yield f"{at}.{computed[0]}: a key cannot be computed"
    if column.minus and not column.sum:
        yield f"{at}.minus: says what is taken from a sum; give sum too"
    for named in (*_filled(column), *column.first, *column.sum, *column.minus):
        yield from _known_part(at, named, parts)
    for named in (*column.sum, *column.minus):
        if part_of(named) in parts and parts[part_of(named)].parent is None:
            yield f"{at}: {named!r} is in one row; sum adds up the rows of a part with parent"
    if column.count is not None and column.count not in parts:
        yield f"{at}.count: unknown part {column.count!r}; known: {', '.join(parts) or 'none'}"


def _known_part(at: str, column: str, parts: Mapping[str, cc.Part]) -> Iterator[str]:
    part = part_of(column)
    if part and part not in parts:
        yield f"{at}: unknown part {part!r} in {column!r}; known: {', '.join(parts) or 'none'}"

"""What must hold of a binding's transforms: each is one that exists, has a way back, and brings values back as they were."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cdcd import config as c
from cdcd import config_columns as cc
from cdcd.transforms import chain, maps, numbers, round_trip
from cdcd.transforms.texts import compile_format
from cdcd.type_pairs import column_text, typed
from cdcd.values import ValueType, parse_type

_OF_A_MAP: Final = ("map_null", "default", "write", "write_default")
_SOURCES: Final = ("column", "first", "sum", "count", "join", "constant")
_COMPLEMENT: Final = {
    "before-first": "after-first",
    "after-first": "before-first",
    "before-last": "after-last",
    "after-last": "before-last",
}
Columns = Mapping[str, str | cc.Column]


def problems(at: str, fields: Mapping[str, c.Field], key: list[str], columns: Columns) -> Iterator[str]:
    """Everything that does not fit in the columns of a binding of an entity, or of a child collection."""
    types = dict(_types(fields))
    for field, column in columns.items():
        if isinstance(column, str) or field not in types:
            continue
        found = [*_shape(f"{at}.{field}", column), *_sources(f"{at}.{field}", column)]
        found = found or list(_values(f"{at}.{field}", field, types[field], column))
        found += _of_key(f"{at}.{field}", column, types[field]) if field in key else ()
        yield from found or _round_trip(f"{at}.{field}", types[field], column)
    yield from _groups(at, fields, frozenset(key), columns)


def _types(fields: Mapping[str, c.Field]) -> Iterator[tuple[str, ValueType]]:
    """The types of fields; one that does not parse is reported where it stands."""
    for name, field in fields.items():
        try:
            yield name, parse_type(field.type)
        except ValueError:
            continue


# ---- one column ----------------------------------------------------------------------------------------------------


def _stated(at: str, column: cc.Column) -> Iterator[tuple[str, cc.Transform]]:
    yield at, column
    yield from ((f"{at}.steps[{index}]", step) for index, step in enumerate(column.steps))


def _shape(at: str, column: cc.Column) -> Iterator[str]:
    """One transform each, its companions only with it, and in a place where it can stand."""
    for where, step in _stated(at, column):
        yield from _shape_of_step(where, step, is_step=step is not column)
    if column.steps and chain.kinds(column):
        yield f"{at}: has steps and a transform beside them; make it one of the steps"
    steps = chain.steps_of(column)
    if any(step.split is not None or step.member is not None for step in steps[1:]):
        yield f"{at}.steps: split and member look into the column, so they come first"
    if column.minor_units is not None and steps:
        yield f"{at}.minor-units: takes no other transform beside it"


def _shape_of_step(at: str, step: cc.Transform, *, is_step: bool) -> Iterator[str]:
    kinds = chain.kinds(step)
    if len(kinds) > 1:
        stated = ", ".join(map(_key, kinds))
        yield f"{at}: has several transforms ({stated}), which need an order: steps = [{{ … }}, {{ … }}]"
    if not kinds and is_step:
        yield f"{at}: has no transform; known: {', '.join(map(_key, chain.KINDS))}"
    for companion in _OF_A_MAP:
        if getattr(step, companion) not in (None, {}) and "map" not in kinds:
            yield f"{at}.{_key(companion)}: says something about a map, and there is none here"
    if step.doubled_hour != "refuse" and step.time_zone is None:
        yield f"{at}.doubled-hour: says something about a time-zone, and there is none here"


def _key(name: str) -> str:
    return name.replace("_", "-")


def _sources(at: str, column: cc.Column) -> Iterator[str]:
    given = [name for name in _SOURCES if getattr(column, name) not in ("", [], None)]
    if not given:
        yield f'{at}: says no column; add column = "…", or one of {", ".join(_SOURCES[1:])}'
    if len(given) > 1 and {"join", "constant"} & {*given}:
        yield f"{at}: gives {' and '.join(given)}; give one of {', '.join(_SOURCES)}"
    if column.constant is not None and chain.steps_of(column):
        yield f"{at}.constant: is the field's value as it stands; leave the transforms out"
    if column.unfit != "park" and (
        {"join", "constant"} & {*given} or column.minor_units is not None or _is_split(column)
    ):
        yield f"{at}.unfit: says what stands in a column of its own; this field has none"
    if column.join is not None and any(s.split is not None or s.member is not None for s in chain.steps_of(column)):
        yield f"{at}.join: puts columns together, split and member take one apart; use one of them"


def _of_key(at: str, column: cc.Column, kind: ValueType) -> Iterator[str]:
    """The row of a record is found by its key, so a key's column holds it exactly and alone."""
    steps = chain.steps_of(column)
    if column.constant is not None or column.join is not None or column.minor_units is not None:
        yield f"{at}: a key is in one column of its own, by which its row is found"
    elif any(step.split is not None or step.member is not None for step in steps):
        yield f"{at}: a key is a column's whole content, by which its row is found"
    elif steps:
        try:
            is_lossy = chain.is_lossy(steps, round_trip.ideal_type(kind, column), kind)
        except ValueError:
            return  # said of the values
        if is_lossy:
            yield f"{at}: a key must come back as it was, or two records could get the same; use only exact transforms"


def _values(at: str, field: str, kind: ValueType, column: cc.Column) -> Iterator[str]:
    """What a transform states must be values of the types on both sides."""
    if column.constant is not None:
        try:
            typed(column_text(column.constant), kind)
        except ValueError as error:
            yield f"{at}.constant: {error}"
    if column.minor_units is not None and kind.kind not in ("decimal", "integer"):
        yield f"{at}.minor-units: only numbers have smallest units, {field!r} is {kind}"
    steps = list(chain.steps_of(column))
    is_alone = not steps and column.constant is None and column.join is None and column.minor_units is None
    if not is_alone and kind.kind == "ref" and column.reference == "id":
        yield f'{at}: the id of another row takes no transform; if the column holds its key, say reference = "key"'
    for where, step in _stated(at, column):
        if step.map is not None and not column.is_read_only:
            yield from _way_back(where, step)
        yield from _values_of_step(where, field, kind, step, is_outmost=bool(steps) and step is steps[-1])


def _values_of_step(at: str, field: str, kind: ValueType, step: cc.Transform, *, is_outmost: bool) -> Iterator[str]:
    if step.map is not None and is_outmost:
        yield from _members(at, kind, step)
    if step.scale is not None and is_outmost and kind.kind != "decimal":
        yield f"{at}.scale: only decimal fields scale, {field!r} is {kind}"
    if step.template is not None and step.template.count("{}") != 1:
        yield f'{at}.template: needs one {{}} where the field\'s text is, as in "SHOP-{{}}"'
    if step.unit is not None:
        try:
            numbers.factor(step.unit)
        except ValueError as error:
            yield f"{at}.unit: {error}"
    if step.format is not None:
        try:
            compile_format(step.format)
        except ValueError as error:
            yield f"{at}.format: {error}"
    if step.time_zone is not None:
        try:
            ZoneInfo(step.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            yield f"{at}.time-zone: unknown zone {step.time_zone!r}; use an IANA name such as Europe/Berlin"


def _way_back(at: str, step: cc.Transform) -> Iterator[str]:
    try:
        written = maps.ways_back(step)
    except ValueError as error:
        yield f"{at}.map: {error}"
    else:
        default = None if step.default is None else column_text(step.default)
        if default is not None and default not in written and step.write_default is None:
            way = f"write = {{ {default} = … }}, or a write-default"
            yield f"{at}.default: nothing is written for {default!r}; add {way}"


def _members(at: str, kind: ValueType, step: cc.Transform) -> Iterator[str]:
    if kind.kind == "enum":
        for value in (value for value in maps.named_values(step) if value not in kind.arguments):
            yield _unknown(f"{at}.map", "member of the enum", value, kind.arguments)


def _unknown(at: str, what: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return f"{at}: unknown {what} {name!r}; {hint}"


def _round_trip(at: str, kind: ValueType, column: cc.Column) -> Iterator[str]:
    if not chain.steps_of(column) and column.join is None:
        return
    if kind.kind == "ref":  # its values have the type of the key it holds
        kind = ValueType("text")
    stated = ", ".join(_key(name) for step in chain.steps_of(column) for name in chain.kinds(step))
    try:
        for loss in dict.fromkeys(round_trip.losses(kind, column)):
            yield f"{at}: {loss} ({stated}, field of type {kind}); change the transforms, or say what is lost: round, truncate, trim, …"
    except ValueError as error:
        yield f"{at}: {error}"


# ---- several columns and fields together -----------------------------------------------------------------------------


def _groups(at: str, fields: Mapping[str, c.Field], key: frozenset[str], columns: Columns) -> Iterator[str]:
    bound: dict[str, list[str]] = {}
    for field, column in columns.items():
        names = _columns_of(column)
        if len({name.rpartition(".")[0] for name in names}) > 1:
            yield f"{at}.{field}.join: the columns are in several tables; join columns of one"
        for name in names:
            bound.setdefault(name, []).append(field)
    for name, named in bound.items():
        if any(_is_split(columns[field]) for field in named):
            yield from _split_column(at, name, named, fields, columns)
    for field, column in columns.items():
        if isinstance(column, cc.Column) and column.minor_units is not None:
            yield from _amount(f"{at}.{field}.minor-units", field, column.minor_units, fields, key, columns)


def columns_bound_twice(at: str, system: str, fields: Mapping[str, c.Field], columns: Columns) -> Iterator[str]:
    """A column has one value: two fields read it only where nobody but their own system says what they are."""
    bound: dict[str, list[str]] = {}
    for field, column in columns.items():
        for name in () if _is_split(column) else _columns_of(column):
            bound.setdefault(name, []).append(field)
    for name, named in bound.items():
        if len(named) > 1 and any(field not in fields or fields[field].owner != system for field in named):
            yield (
                f"{at}: column {name!r} is bound to the fields {', '.join(named)}; use split, bind it once, or make"
                f" {system!r} the owner of them all"
            )


def _columns_of(column: str | cc.Column) -> list[str]:
    """The columns that a field fills."""
    if isinstance(column, str):
        return [column]
    if column.join is not None:
        return column.join.columns
    return [] if column.is_read_only or not column.column else [column.column]


def _is_split(column: str | cc.Column) -> bool:
    return isinstance(column, cc.Column) and any(step.split is not None for step in chain.steps_of(column))


def _split_column(
    at: str, name: str, named: list[str], fields: Mapping[str, c.Field], columns: Columns
) -> Iterator[str]:
    """Two fields that make the column whole, told together and so owned together."""
    specs = [steps[0].split for f in named if isinstance(columns[f], cc.Column) and (steps := _steps(columns[f]))]
    if (
        len(named) != 2
        or len(specs) != 2
        or specs[0] is None
        or specs[1] is None
        or specs[0].by != specs[1].by
        or specs[0].take != _COMPLEMENT[specs[1].take]
    ):
        yield (
            f"{at}: column {name!r} is split, so two fields take its two parts with the same by: before-first and"
            " after-first, or before-last and after-last"
        )
    yield from _same_owner(at, f"share column {name!r}", named, fields)


def _steps(column: str | cc.Column) -> tuple[cc.Transform, ...]:
    return chain.steps_of(column) if isinstance(column, cc.Column) else ()


def _amount(
    at: str, field: str, currency: str, fields: Mapping[str, c.Field], key: frozenset[str], columns: Columns
) -> Iterator[str]:
    if currency not in fields:
        yield _unknown(at, "field", currency, fields)
    elif currency not in columns:
        yield f'{at}: {currency!r} is not bound here; bind it to a column, or give it as {{ constant = "EUR" }}'
    elif not fields[currency].type.startswith(("text", "enum")):
        yield f"{at}: {currency!r} is {fields[currency].type}, a currency is a text of three letters"
    elif not _is_constant(columns[currency]) and currency not in key:
        yield from _same_owner(at, "are an amount and its currency", [field, currency], fields)


def _is_constant(column: str | cc.Column) -> bool:
    return isinstance(column, cc.Column) and column.constant is not None


def _same_owner(at: str, why: str, named: list[str], fields: Mapping[str, c.Field]) -> Iterator[str]:
    owners = {fields[field].owner for field in named if field in fields}
    if len(owners) > 1:
        shown = ", ".join(f"{field} {fields[field].owner!r}" for field in named)
        yield f"{at}: {' and '.join(named)} {why}, so they need the same owner; they have {shown}"

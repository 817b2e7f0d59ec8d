"""What a new row gets in columns that no field fills: constants, the commit time, texts from fields, ids of other rows. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from cdcd.config_columns import FromField, New, NewValue
from cdcd.config_parts import FIELD_IN_TEMPLATE
from cdcd.conversions import between, column_text
from cdcd.folding.paths import BindingPaths, Path, Source, Step, ValueOf, value_of
from cdcd.model import Lookup, Where
from cdcd.values import ValueType, parse_type

_SECOND_DIGITS: Final = 6
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")


def new_value(
    paths: BindingPaths, table: str, column: str, new: New, at: Mapping[int, int]
) -> tuple[ValueOf, Lookup | None]:
    """The value of a column of a new row, and its lookup where it is an id.

    `at` says where in a source the fields are that a record is told with; at its end is the commit time in microseconds.
    Raises Refused where the value needs a field that is not told, or does not fit the column.
    """
    if not isinstance(new, NewValue):
        constant = paths.constant(table, column, new)
        return (lambda _source: constant), None
    if new.commit_time is not None:
        return _commit_time(paths, table, column, new.commit_time), None
    if new.template is not None:
        return _text(paths, table, column, new.template, at), None
    path = _id_of(paths, new, at)
    paths.column(table, column)
    return value_of(path), path.lookup(column)


def place_of_field(paths: BindingPaths, table: str, name: str, at: Mapping[int, int]) -> tuple[int, int]:
    """Slot of a field, and its place in a source. Raises Refused where it is not told."""
    slot = next(slot for slot, field in enumerate(paths.entity.fields) if field.name == name)
    if slot not in at:
        remedy = (
            f"it is written once all of the record is told; bind {name!r} in {paths.binding.system!r} if it never is"
        )
        raise paths.unfit(table, "target-field-untold", f"a new row needs field {name!r}", remedy)
    return slot, at[slot]


def _id_of(paths: BindingPaths, new: NewValue, at: Mapping[int, int]) -> Path:
    table = new.id_of
    assert table is not None
    key = paths.shape(table).primary_key
    if new.id is None and len(key) != 1:
        raise paths.unfit(table, "target-id-unknown", "its primary key is not one column", 'name it with id = "…"')
    keys: list[tuple[str, Step]] = []
    where: list[Where] = []
    for column, match in new.where.items():
        if isinstance(match, FromField):
            slot, place = place_of_field(paths, table, match.field, at)
            keys.append((column, paths.field_in(table, column, slot, place)))
        else:
            where.append(Where(column, (paths.constant(table, column, match),)))
    order = tuple((name.removeprefix("-"), name.startswith("-")) for name in new.first_by)
    return Path(table, key[0] if new.id is None else new.id, tuple(keys), tuple(where), order or None)


def _commit_time(paths: BindingPaths, table: str, column: str, zone: str) -> ValueOf:
    """With as many digits of a second as the column has: it is a stamp of ours, not a value that anybody wrote."""
    kind = parse_type(paths.column(table, column).type)
    if kind.kind == "date":
        zone_of_day = ZoneInfo(zone)
        return lambda source: str(datetime.fromtimestamp(source[-1] // 10**6, zone_of_day).date())
    stated = kind.number(0) if kind.kind in ("datetime", "instant", "time") else None
    digits = _SECOND_DIGITS if stated is None else min(stated, _SECOND_DIGITS)
    is_instant = kind.kind == "instant"
    try:
        fit = between(ValueType("instant" if is_instant else "datetime"), kind)
    except ValueError as error:
        raise paths.unfit(
            table, "target-type-mismatch", f"column {column}: {error}", "give it another value"
        ) from error
    place = UTC if is_instant else ZoneInfo(zone)

    def value(source: Source) -> Any:
        seconds, fraction = divmod(source[-1], 10**6)
        text = datetime.fromtimestamp(seconds, place).strftime("%Y-%m-%d %H:%M:%S")
        shown = f"{fraction:06d}"[:digits].rstrip("0")
        text = f"{text}{'.' if shown else ''}{shown}{'Z' if is_instant else ''}"
        return text if fit is None else fit(text)

    return value


def _text(paths: BindingPaths, table: str, column: str, template: str, at: Mapping[int, int]) -> ValueOf:
    pieces: list[str | Callable[[Source], str]] = []
    end = 0
    for match in FIELD_IN_TEMPLATE.finditer(template):
        _, place = place_of_field(paths, table, match[1], at)
        pieces += [template[end : match.start()], _field_text(place, _form(paths, table, match[2]))]
        end = match.end()
    pieces.append(template[end:])
    fit = value_of(paths.converted(table, column, ValueType("text"), 0))

    def value(source: Source) -> Any:
        return fit(("".join(piece if isinstance(piece, str) else piece(source) for piece in pieces),))

    return value


def _field_text(at: int, form: Callable[[str], str]) -> Callable[[Source], str]:
    return lambda source: "" if source[at] is None else form(column_text(source[at]))


def _form(paths: BindingPaths, table: str, name: str | None) -> Callable[[str], str]:
    forms: dict[str | None, Callable[[str], str]] = {None: str, "slug": slug, "lower": str.lower, "upper": str.upper}
    if name not in forms:
        known = ", ".join(str(form) for form in forms if form)
        raise paths.unfit(table, "target-template-form", f"unknown form {name!r} in a template", f"use one of {known}")
    return forms[name]


def slug(text: str) -> str:
    """Lower-case letters without accents, digits, and hyphens between them."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return _NO_WORD.sub("-", plain).strip("-")

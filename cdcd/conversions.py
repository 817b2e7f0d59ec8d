"""Conversions between canonical types, each exact or refused (Invariant 7), composed once per column.

`between` gives the function from one type's values to another's, or None when every value passes unchanged.
`column_to_field` and `field_to_column` put a binding's transforms (map, scale, time zone) around it. JSON becomes
canonical where it enters a record, so that records can be compared; from there on it stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from cdcd import numeric, temporal
from cdcd.config import Column, Unfit, UnfitValue
from cdcd.json_content import canonical_json, json_of_doubles
from cdcd.model import ABSENT
from cdcd.temporal import both as _then
from cdcd.values import ValueRefused, ValueType
from cdcd.values import misfit as _refuse

_EXACT: Final = Context(prec=200, traps=[Inexact, InvalidOperation])
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Convert: TypeAlias = temporal.Convert
StandsIn: TypeAlias = Callable[[Any, Any], bool]
"""Whether a column's value stands in for the true one, which does not fit the column."""


def column_to_field(column_type: ValueType, field: ValueType, column: Column | None) -> Convert | None:
    """The function from a column's canonical value to the field's. Raises ValueError when no exact one exists.

    Where the column has a policy for values that do not fit, it never refuses one.
    """
    convert = _to_field(column_type, field, column)
    if column is None or column.unfit == "park" or (convert := convert or _finite(field)) is None:
        return convert
    return _with_stand_in(convert, _stand_in(column.unfit, field))


def field_to_column(field: ValueType, column_type: ValueType, column: Column | None) -> Convert | None:
    """The function from a field's value to what the column can hold. Raises ValueError when no exact one exists.

    Where the column has a policy for values that do not fit, it never refuses one.
    """
    convert = _to_column(field, column_type, column)
    if column is None or column.unfit == "park" or (convert := convert or _finite(column_type)) is None:
        return convert
    stand_in = _stand_in(column.unfit, field)
    try:
        return _with_stand_in(convert, None if stand_in is None else convert(stand_in))
    except ValueRefused as refused:
        raise ValueError(f"the value of 'unfit' is no {column_type}: {refused.cause}") from refused


def column_to_column(source: ValueType, target: ValueType, unfit: Unfit) -> Convert | None:
    """The function from a column's values to those of its copy. Raises ValueError when no exact one exists."""
    convert = between(source, target)
    if unfit == "park" or (convert := convert or _finite(target)) is None:
        return convert
    return _with_stand_in(convert, _stand_in(unfit, target))


def stand_in_test(field: ValueType, column_type: ValueType, column: Column | None) -> StandsIn | None:
    """Whether a column's value (as a field's) is only what its policy wrote in place of the field's true value.

    None where the column has no such policy, or takes every value. So what a policy writes is read back as no change.
    """
    if column is None or column.unfit == "park":
        return None
    convert = _to_column(field, column_type, column) or _finite(column_type)
    if convert is None:
        return None
    stand_in, refuses = _stand_in(column.unfit, field), _refusing(convert)
    return lambda value, true: value == stand_in and true is not None and true is not ABSENT and refuses(true)


def _finite(target: ValueType) -> Convert | None:
    """Between equal decimal types nothing is looked at: a NaN, which only PostgreSQL has, is the target's to refuse.

    Where something is to stand in for it, it is found here.
    """
    return numeric.fit_decimal(target, target) if target.kind == "decimal" and target.arguments else None


def _stand_in(unfit: Unfit, kind: ValueType) -> Any:
    """What a policy puts in the place of a value."""
    return typed(column_text(unfit.value), kind) if isinstance(unfit, UnfitValue) else None


def _with_stand_in(convert: Convert, stand_in: Any) -> Convert:
    def convert_or_replace(value: Any) -> Any:
        try:
            return convert(value)
        except ValueRefused:
            return stand_in

    return convert_or_replace


def _refusing(convert: Convert) -> Callable[[Any], bool]:
    def refuses(value: Any) -> bool:
        try:
            convert(value)
        except ValueRefused:
            return True
        return False

    return refuses


def _to_field(column_type: ValueType, field: ValueType, column: Column | None) -> Convert | None:
    if column is not None and column.map is not None:
        return _map(column.map, field)
    if column is not None and column.scale is not None:
        decimal_like = column_type.kind in ("integer", "decimal")
        number = None if decimal_like else between(column_type, ValueType("decimal"))
        return _then(number, _unscale(field, column.scale))
    if column is not None and column.time_zone is not None:
        local = _then(between(column_type, ValueType("datetime")), temporal.to_instant(ZoneInfo(column.time_zone)))
        return _then(local, between(ValueType("instant"), field))
    if column_type.kind == field.kind == "json":
        return canonical_json
    if column_type.kind == field.kind == "float":
        return _then(numeric.same_float(column_type, field), numeric.unique_float)
    return between(column_type, field)


def _to_column(field: ValueType, column_type: ValueType, column: Column | None) -> Convert | None:
    if column is not None and column.map is not None:
        return _unmap(column.map, field, column_type)
    if column is not None and column.scale is not None:
        return _then(_scale(column.scale), between(ValueType("decimal"), column_type))
    if column is not None and column.time_zone is not None:
        utc = _then(between(field, ValueType("instant")), temporal.from_instant(ZoneInfo(column.time_zone)))
        return _then(utc, between(ValueType("datetime"), column_type))
    convert = between(field, column_type)
    return _then(float, convert) if field.kind == "float" else convert


def between(source: ValueType, target: ValueType) -> Convert | None:
    """The exact conversion from one canonical type to another; None when values pass as they are."""
    if source.kind == "ref" or target.kind == "ref":
        return None
    make = _CONVERSIONS.get((source.kind, target.kind))
    if make is None:
        native = source.kind == "native" or target.kind == "native"
        why = "only the same type of the same server reads it" if native else "not without loss"
        raise ValueError(f"a {source} does not convert to a {target}: {why}")
    convert = make(source, target)
    return _then(_decoded, convert) if source.has("raw") and target.kind != "text" else convert


# ---- text, bytes, members --------------------------------------------------------------------------------


def _length(source: ValueType, target: ValueType) -> Convert | None:
    limit, stated = target.number(0), source.number(0)
    if limit is None or (source.kind == target.kind and stated is not None and stated <= limit):
        return None
    unit = "bytes" if target.kind == "bytes" else "characters"

    def check(value: Any) -> Any:
        if len(value) > limit:
            raise _refuse(target, f"it has {len(value)} {unit}, the limit is {limit}")
        return value

    return check


def _text(source: ValueType, target: ValueType) -> Convert | None:
    check: Convert | None = _decoded if source.has("raw") and not target.has("raw") else None
    if target.has("padded") and not source.has("padded"):
        check = _then(check, _unpadded)
    return _then(check, _length(source, target))


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        raise _refuse("text", "its bytes are no characters of the column's character set")
    return value


def _unpadded(value: str) -> str:
    if value.endswith(" "):
        raise _refuse("char", "it ends in a space, which a column of fixed length does not keep")
    return value


def _members(source: ValueType, target: ValueType) -> Convert | None:
    allowed = frozenset(target.arguments)
    if source.kind == "enum" and set(source.arguments) <= allowed:
        return None

    def check(value: Any) -> Any:
        if value not in allowed:
            raise _refuse(target, "it is none of the members")
        return value

    return check


def _text_to_uuid(_source: ValueType, target: ValueType) -> Convert:
    """Text that has the canonical form already: only one form of a value is equal to itself."""

    def check(value: Any) -> Any:
        if _UUID.fullmatch(value) is None:
            raise _refuse(target, "the text has another form")
        return value

    return check


def _as_text(_source: ValueType, target: ValueType) -> Convert | None:
    """A value in the text of its own form, whose length is not stated."""
    return _text(ValueType("text"), target)


def _number_as_text(_source: ValueType, target: ValueType) -> Convert | None:
    return _then(str, _length(ValueType("integer"), target))


# ---- json, native types ----------------------------------------------------------------------------------------------


def _to_json(_source: ValueType, _target: ValueType) -> Convert:
    return canonical_json


def _same_json(source: ValueType, target: ValueType) -> Convert | None:
    return json_of_doubles if target.has("double") and not source.has("double") else None


def _same_native(source: ValueType, target: ValueType) -> None:
    """Only what the same type has printed is read as it was meant: interval(0) would round an interval."""
    if source != target:
        raise ValueError(f"a {source} is read by no other type, and {target} is one")


# ---- transforms ------------------------------------------------------------------------------------------


def column_text(value: Any) -> str:
    """How a column's value is written as a key of a `map`: true, false, numbers and text as they are."""
    if value is True:
        return "true"
    return "false" if value is False else str(value)


def _map(mapping: dict[str, str], field: ValueType) -> Convert:
    values = {column: typed(value, field) for column, value in mapping.items()}

    def convert(value: Any) -> Any:
        try:
            return values[column_text(value)]
        except KeyError:
            raise ValueRefused("a column value is not in the binding's map", remedy="add it to the map") from None

    return convert


def _unmap(mapping: dict[str, str], field: ValueType, column_type: ValueType) -> Convert:
    columns = {typed(value, field): typed(column, column_type) for column, value in mapping.items()}

    def convert(value: Any) -> Any:
        try:
            return columns[value]
        except KeyError:
            raise ValueRefused("a field value is not in the binding's map", remedy="add it to the map") from None

    return convert


def typed(text: str, kind: ValueType) -> Any:
    """The canonical value of that type that the configuration writes as `text`. Raises ValueError."""
    if kind.kind == "boolean":
        if text not in ("true", "false"):
            raise ValueError(f"{text!r} is no boolean: write true or false")
        return text == "true"
    convert = between(ValueType("text"), kind)
    try:
        return convert(text) if convert else text
    except ValueRefused as refused:
        raise ValueError(f"{text!r} is no {kind}: {refused.cause}") from refused


def _scale(scale: int) -> Convert:
    factor = Decimal(scale)

    def convert(text: str) -> str:
        try:
            return numeric.strip_zeros(numeric.decimal_text(_EXACT.multiply(Decimal(text), factor)))
        except (Inexact, InvalidOperation):
            raise _refuse("decimal", "it has too many digits to be scaled") from None

    return convert


def _unscale(field: ValueType, scale: int) -> Convert:
    divisor = Decimal(scale)
    fit = numeric.fit_decimal(ValueType("decimal"), field)

    def convert(value: Any) -> Any:
        try:
            return fit(numeric.decimal_text(_EXACT.divide(Decimal(value), divisor)))
        except (Inexact, InvalidOperation):
            raise _refuse(field, f"it does not divide by {scale} exactly") from None

    return convert


def _unchanged(_source: ValueType, _target: ValueType) -> None:
    return None


_CONVERSIONS: Final[dict[tuple[str, str], Callable[[ValueType, ValueType], Convert | None]]] = {
    ("boolean", "boolean"): _unchanged,
    ("boolean", "integer"): lambda _s, _t: int,
    ("integer", "boolean"): numeric.integer_to_boolean,
    ("integer", "integer"): numeric.integer_range,
    ("integer", "decimal"): numeric.integer_to_decimal,
    ("integer", "text"): _number_as_text,
    ("integer", "float"): numeric.integer_to_float,
    ("decimal", "decimal"): numeric.same_decimal,
    ("decimal", "integer"): numeric.decimal_to_integer,
    ("decimal", "text"): _as_text,
    ("decimal", "float"): numeric.decimal_to_float,
    ("float", "float"): numeric.same_float,
    ("float", "decimal"): numeric.float_to_decimal,
    ("text", "text"): _text,
    ("text", "enum"): _members,
    ("text", "integer"): numeric.text_to_number,
    ("text", "decimal"): numeric.text_to_number,
    ("text", "uuid"): _text_to_uuid,
    ("text", "json"): _to_json,
    ("text", "date"): temporal.from_text,
    ("text", "time"): temporal.from_text,
    ("text", "datetime"): temporal.from_text,
    ("text", "instant"): temporal.from_text,
    ("enum", "enum"): _members,
    ("enum", "text"): _as_text,
    ("bytes", "bytes"): _length,
    ("uuid", "uuid"): _unchanged,
    ("uuid", "text"): _as_text,
    ("json", "json"): _same_json,
    ("json", "text"): _as_text,
    ("date", "date"): temporal.fit,
    ("date", "text"): _as_text,
    ("date", "datetime"): temporal.date_to_datetime,
    ("datetime", "date"): temporal.datetime_to_date,
    ("datetime", "datetime"): temporal.fit,
    ("datetime", "text"): _as_text,
    ("instant", "instant"): temporal.fit,
    ("instant", "text"): _as_text,
    ("time", "time"): temporal.fit,
    ("time", "text"): _as_text,
    ("native", "native"): _same_native,
    ("native", "text"): _as_text,
}

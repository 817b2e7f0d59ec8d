"""Conversions between canonical types, each exact or refused (Invariant 7). Pure.

`between` gives the function from one type's values to another's, or None when every value passes unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from cdcd import numeric, temporal
from cdcd.json_content import canonical_json, json_of_doubles
from cdcd.temporal import Convert
from cdcd.temporal import both as _then
from cdcd.values import ValueRefused, ValueType
from cdcd.values import misfit as _refuse

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
            raise _refuse(target, f"it is too long, the limit is {limit} {unit}")
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


# ---- what the configuration writes as text ---------------------------------------------------------------------------


def column_text(value: Any) -> str:
    """How a column's value is written as a key of a `map`: true, false, numbers and text as they are."""
    if value is True:
        return "true"
    return "false" if value is False else str(value)


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


# ---- which types convert ---------------------------------------------------------------------------------------------


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

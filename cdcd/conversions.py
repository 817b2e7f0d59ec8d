"""Conversions between canonical types, each exact or refused (Invariant 7), composed once per column.

`between` gives the function from one type's values to another's, or None when every value passes unchanged.
`column_to_field` and `field_to_column` put a binding's transforms (map, scale, time zone) around it. JSON becomes
canonical where it enters a record, so that records can be compared; from there on it stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from cdcd.config import Column
from cdcd.values import ValueRefused, ValueType

Convert: TypeAlias = Callable[[Any], Any]

_EXACT: Final = Context(prec=200, traps=[Inexact, InvalidOperation])
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE: Final = r"\d{4,}-\d\d-\d\d"
_CLOCK: Final = r"\d\d:\d\d(\.\d*[1-9])?"
_TIMES: Final = {
    "date": re.compile(_DATE, re.ASCII),
    "time": re.compile(rf"-?\d{{2,}}:{_CLOCK}", re.ASCII),
    "datetime": re.compile(rf"{_DATE} \d\d:{_CLOCK}", re.ASCII),
    "instant": re.compile(rf"{_DATE} \d\d:{_CLOCK}Z", re.ASCII),
}
_INTEGER_LIMITS: Final = (-(2**63), 2**64 - 1)
"""What a canonical integer can be (see `cdcd.values`), stated by its type or not."""
_json_decoder: Final = msgspec.json.Decoder(float_hook=Decimal)
_json_encoder: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")


def column_to_field(column_type: ValueType, field: ValueType, transform: Column | None) -> Convert | None:
    """The function from a column's canonical value to the field's. Raises ValueError when no exact one exists."""
    if transform is not None and transform.map is not None:
        return _map(transform.map, field)
    if transform is not None and transform.scale is not None:
        decimal_like = column_type.kind in ("integer", "decimal")
        number = None if decimal_like else between(column_type, ValueType("decimal"))
        return _then(number, _unscale(field, transform.scale))
    if transform is not None and transform.time_zone is not None:
        to_instant = _then(_to_instant(ZoneInfo(transform.time_zone)), between(ValueType("instant"), field))
        return _then(between(column_type, ValueType("datetime")), to_instant)
    if column_type.kind == field.kind == "json":
        return canonical_json
    return between(column_type, field)


def field_to_column(field: ValueType, column_type: ValueType, transform: Column | None) -> Convert | None:
    """The function from a field's value to what the column can hold. Raises ValueError when no exact one exists."""
    if transform is not None and transform.map is not None:
        return _unmap(transform.map, field, column_type)
    if transform is not None and transform.scale is not None:
        return _then(_scale(transform.scale), between(ValueType("decimal"), column_type))
    if transform is not None and transform.time_zone is not None:
        return _then(_from_instant(ZoneInfo(transform.time_zone)), between(ValueType("datetime"), column_type))
    return between(field, column_type)


def between(source: ValueType, target: ValueType) -> Convert | None:
    """The exact conversion from one canonical type to another; None when values pass as they are."""
    if source.kind == "ref" or target.kind == "ref":
        return None
    make = _CONVERSIONS.get((source.kind, target.kind))
    if make is None:
        raise ValueError(f"a {source} does not convert to a {target} without loss")
    return make(source, target)


def _then(first: Convert | None, second: Convert | None) -> Convert | None:
    if first is None or second is None:
        return first or second
    return lambda value: second(first(value))


def _refuse(target: object, why: str) -> ValueRefused:
    return ValueRefused(f"a value does not fit {target}", cause=why, remedy="widen the column or correct the value")


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


def _members(source: ValueType, target: ValueType) -> Convert | None:
    allowed = frozenset(target.arguments)
    if source.kind == "enum" and set(source.arguments) <= allowed:
        return None

    def check(value: Any) -> Any:
        if value not in allowed:
            raise _refuse(target, "it is none of the members")
        return value

    return check


def _matching(pattern: re.Pattern[str]) -> Callable[[ValueType, ValueType], Convert | None]:
    """Text that has the canonical form of another type already: only one form of a value is equal to itself."""

    def make(_source: ValueType, target: ValueType) -> Convert | None:
        def check(value: Any) -> Any:
            if pattern.fullmatch(value) is None:
                raise _refuse(target, "the text has another form")
            return value

        return _then(check, _fraction_digits(target))

    return make


def _as_text(source: ValueType, target: ValueType) -> Convert | None:
    return _length(ValueType(source.kind), target)


def _number_as_text(_source: ValueType, target: ValueType) -> Convert | None:
    return _then(str, _length(ValueType("integer"), target))


# ---- numbers ---------------------------------------------------------------------------------------------


def _integer_limits(kind: ValueType) -> tuple[int, int]:
    low, high = kind.number(0), kind.number(1)
    return _INTEGER_LIMITS if low is None or high is None else (low, high)


def _integer_range(source: ValueType, target: ValueType) -> Convert | None:
    low, high = _integer_limits(target)
    if source.kind == "integer":
        source_low, source_high = _integer_limits(source)
        if low <= source_low and source_high <= high:
            return None

    def check(value: Any) -> Any:
        if not low <= value <= high:
            raise _refuse(target, f"it lies outside {low} to {high}")
        return value

    return check


def decimal_text(value: Decimal) -> str:
    """Plain notation without exponent; trailing zeros as the decimal has them."""
    return format(value, "f")


def _fit_decimal(_source: ValueType, target: ValueType) -> Convert:
    """Decimal text to decimal text with exactly the target's scale."""
    precision, scale = target.number(0), target.number(1)
    if precision is None or scale is None:
        return _strip_zeros
    if scale < 0:
        return _fit_rounded_decimal(precision, -scale, target)

    def fit(text: str) -> str:
        whole, _, fraction = text.partition(".")
        if len(fraction) > scale:
            if fraction[scale:].strip("0"):
                raise _refuse(target, f"it has more than {scale} digits after the point")
            fraction = fraction[:scale]
        digits = whole.removeprefix("-")
        fraction = fraction.ljust(scale, "0")
        if len((digits + fraction).lstrip("0")) > precision or not digits.isdigit():
            raise _refuse(target, f"it is no number of at most {precision} digits, {scale} of them after the point")
        exact = f"{whole}.{fraction}" if scale else whole
        return exact.removeprefix("-") if not exact.strip("-0.") else exact

    return fit


def _fit_rounded_decimal(precision: int, zeros: int, target: ValueType) -> Convert:
    """For a negative scale (PostgreSQL's numeric(3,-2)): whole numbers that end in that many zeros."""

    def fit(text: str) -> str:
        exact = _strip_zeros(text)
        digits = exact.removeprefix("-")
        if not digits.isdigit() or len(digits) > precision + zeros or digits[-zeros:].strip("0"):
            raise _refuse(target, f"it is no number of {precision} digits and {zeros} zeros")
        return exact

    return fit


def _strip_zeros(text: str) -> str:
    stripped = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if stripped == "-0" else stripped


def _same_decimal(source: ValueType, target: ValueType) -> Convert | None:
    return None if source == target else _fit_decimal(source, target)


def _integer_to_decimal(source: ValueType, target: ValueType) -> Convert:
    fit = _fit_decimal(source, target)
    return lambda value: fit(str(value))


def _decimal_to_integer(source: ValueType, target: ValueType) -> Convert:
    check = _integer_range(source, target)

    def convert(text: str) -> Any:
        whole, _, fraction = text.partition(".")
        if fraction.strip("0") or not _INTEGER.fullmatch(whole):
            raise _refuse(target, "it is no whole number of at most 20 digits")
        return check(int(whole)) if check else int(whole)

    return convert


def _float_to_decimal(source: ValueType, target: ValueType) -> Convert:
    fit = _fit_decimal(source, target)

    def convert(value: float) -> Any:
        if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is the one not equal to itself
            raise _refuse(target, "it is not finite")
        return fit(decimal_text(Decimal(repr(value))))

    return convert


def _integer_to_float(_source: ValueType, target: ValueType) -> Convert:
    def convert(value: int) -> float:
        converted = float(value)
        if int(converted) != value:
            raise _refuse(target, "no floating-point number is exactly the same")
        return converted

    return convert


def _decimal_to_float(_source: ValueType, target: ValueType) -> Convert:
    def convert(text: str) -> float:
        value = float(text)
        if Decimal(repr(value)) != Decimal(text):
            raise _refuse(target, "no floating-point number reads back the same")
        return value

    return convert


def _text_to_number(source: ValueType, target: ValueType) -> Convert:
    pattern = _INTEGER if target.kind == "integer" else _NUMBER
    after = _integer_range(source, target) if target.kind == "integer" else _fit_decimal(source, target)
    before: Convert = int if target.kind == "integer" else str

    def convert(text: str) -> Any:
        if pattern.fullmatch(text) is None or text == "-0":
            raise _refuse(target, "the text is no plain number")
        value = before(text)
        return after(value) if after else value

    return convert


def _integer_to_boolean(_source: ValueType, target: ValueType) -> Convert:
    def convert(value: int) -> bool:
        if value not in (0, 1):
            raise _refuse(target, "it is neither 0 nor 1")
        return bool(value)

    return convert


# ---- times, json -----------------------------------------------------------------------------------------


def _same_time(source: ValueType, target: ValueType) -> Convert | None:
    digits, stated = target.number(0), source.number(0)
    if digits is not None and stated is not None and stated <= digits:
        return None
    return _fraction_digits(target)


def _fraction_digits(target: ValueType) -> Convert | None:
    """Refuses times with more digits of fraction than the type has; None for types that state no limit."""
    digits = None if target.kind in ("date", "uuid") else target.number(0)
    if digits is None:
        return None

    def check(text: str) -> str:
        _, _, fraction = text.removesuffix("Z").partition(".")
        if len(fraction) > digits:
            raise _refuse(target, f"it has more than {digits} digits of fraction")
        return text

    return check


def _date_to_datetime(_source: ValueType, _target: ValueType) -> Convert:
    return lambda text: f"{text} 00:00:00"


def _datetime_to_date(_source: ValueType, target: ValueType) -> Convert:
    def convert(text: str) -> str:
        date, _, clock = text.partition(" ")
        if clock != "00:00:00":
            raise _refuse(target, "it has a time of day")
        return date

    return convert


def _to_instant(zone: ZoneInfo) -> Convert:
    """Local wall-clock time to UTC. A time that the zone skips or has twice is refused: it names no one moment."""

    def convert(text: str) -> str:
        whole, dot, fraction = text.partition(".")
        local = _wall_clock(whole).replace(tzinfo=zone)
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            raise _refuse("instant", f"the local time is skipped or repeated in {zone.key}")
        return f"{_moved(local, UTC)}{dot}{fraction}Z"

    return convert


def _from_instant(zone: ZoneInfo) -> Convert:
    def convert(text: str) -> str:
        whole, dot, fraction = text.removesuffix("Z").partition(".")
        local = _moved(_wall_clock(whole).replace(tzinfo=UTC), zone)
        return f"{local}{dot}{fraction}"

    return convert


def _wall_clock(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise _refuse("instant", "it is no date of the calendar") from None


def _moved(moment: datetime, zone: tzinfo) -> str:
    """The same moment on another zone's clock, to the second."""
    try:
        return moment.astimezone(zone).replace(tzinfo=None).isoformat(" ")
    except OverflowError:
        raise _refuse("instant", "it lies outside the years 1 to 9999") from None


def canonical_json(text: str) -> str:
    """JSON with sorted keys and no spaces, numbers digit for digit: equal content gives equal text."""
    try:
        return _json_encoder.encode(_json_decoder.decode(text)).decode()
    except (msgspec.DecodeError, InvalidOperation, RecursionError):
        raise _refuse("json", "the text is not valid JSON, nests too deep or has a number without bounds") from None


def _to_json(_source: ValueType, _target: ValueType) -> Convert:
    return canonical_json


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
            return _strip_zeros(decimal_text(_EXACT.multiply(Decimal(text), factor)))
        except (Inexact, InvalidOperation):
            raise _refuse("decimal", "it has too many digits to be scaled") from None

    return convert


def _unscale(field: ValueType, scale: int) -> Convert:
    divisor = Decimal(scale)
    fit = _fit_decimal(ValueType("decimal"), field)

    def convert(value: Any) -> Any:
        try:
            return fit(decimal_text(_EXACT.divide(Decimal(value), divisor)))
        except (Inexact, InvalidOperation):
            raise _refuse(field, f"it does not divide by {scale} exactly") from None

    return convert


def _unchanged(_source: ValueType, _target: ValueType) -> None:
    return None


_CONVERSIONS: Final[dict[tuple[str, str], Callable[[ValueType, ValueType], Convert | None]]] = {
    ("boolean", "boolean"): _unchanged,
    ("boolean", "integer"): lambda _s, _t: int,
    ("integer", "boolean"): _integer_to_boolean,
    ("integer", "integer"): _integer_range,
    ("integer", "decimal"): _integer_to_decimal,
    ("integer", "text"): _number_as_text,
    ("integer", "float"): _integer_to_float,
    ("decimal", "decimal"): _same_decimal,
    ("decimal", "integer"): _decimal_to_integer,
    ("decimal", "text"): _as_text,
    ("decimal", "float"): _decimal_to_float,
    ("float", "float"): _unchanged,
    ("float", "decimal"): _float_to_decimal,
    ("text", "text"): _length,
    ("text", "enum"): _members,
    ("text", "integer"): _text_to_number,
    ("text", "decimal"): _text_to_number,
    ("text", "uuid"): _matching(_UUID),
    ("text", "json"): _to_json,
    ("text", "date"): _matching(_TIMES["date"]),
    ("text", "time"): _matching(_TIMES["time"]),
    ("text", "datetime"): _matching(_TIMES["datetime"]),
    ("text", "instant"): _matching(_TIMES["instant"]),
    ("enum", "enum"): _members,
    ("enum", "text"): _as_text,
    ("bytes", "bytes"): _length,
    ("uuid", "uuid"): _unchanged,
    ("uuid", "text"): _as_text,
    ("json", "json"): _unchanged,
    ("json", "text"): _as_text,
    ("date", "date"): _unchanged,
    ("date", "text"): _as_text,
    ("date", "datetime"): _date_to_datetime,
    ("datetime", "date"): _datetime_to_date,
    ("datetime", "datetime"): _same_time,
    ("datetime", "text"): _as_text,
    ("instant", "instant"): _same_time,
    ("instant", "text"): _as_text,
    ("time", "time"): _same_time,
    ("time", "text"): _as_text,
    ("native", "native"): _unchanged,
    ("native", "text"): _as_text,
}

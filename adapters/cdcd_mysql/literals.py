"""Canonical values as SQL literals, checked against the column they go to. Pure.

The server in strict mode refuses most of what does not fit; what it would change without an error is refused here:
digits it would round away, spaces it would strip, zeros it would pad with, years it would complete, numbers it would
take for the place of a label.
"""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, TypeAlias

import msgspec

from cdcd.model import Value
from cdcd.numeric import nearest_float32, shortest_float32
from cdcd.values import parse_type
from cdcd_mysql.scalars import Memo
from cdcd_mysql.schema import INTEGER_BITS, LiveColumn
from cdcd_mysql.statements import quote_text

Encoder: TypeAlias = Callable[[Value], str]
_DECIMAL: Final = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?")
_FRACTION: Final = r"(?:\.([0-9]{1,6}))?"
_DATE: Final = r"[0-9]{4}-[0-1][0-9]-[0-3][0-9]"
_MOMENT: Final = rf"{_DATE} [0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
TEMPORAL_FORMS: Final[Mapping[str, str]] = {
    "date": _DATE,
    "time": r"-?[0-8]?[0-9]{2}:[0-5][0-9]:[0-5][0-9]",
    "datetime": _MOMENT,
    "timestamp": _MOMENT,
}
"""Regular expressions, without a fraction and without an instant's Z."""
_FORMS: Final = {
    "date": re.compile(TEMPORAL_FORMS["date"]),
    "time": re.compile(TEMPORAL_FORMS["time"] + _FRACTION),
    "datetime": re.compile(TEMPORAL_FORMS["datetime"] + _FRACTION),
    "timestamp": re.compile(TEMPORAL_FORMS["timestamp"] + _FRACTION + "Z"),
}
_RANGES: Final = {
    "date": "dates of the years 0 to 9999",
    "time": "times from -838:59:59 to 838:59:59",
    "datetime": "dates and times of the years 0 to 9999",
    "timestamp": "instants of the years 1970 to 9999",
}
INSTANT_MIN: Final = "1970-01-01 00:00:01"
_ZERO_INSTANT: Final = "0000-00-00 00:00:00"
_DIFFERENCE_MAX: Final = 2**64 - 1
_DIGITS_MAX: Final = 65
_YEARS: Final = frozenset({0, *range(1901, 2156)})
"""The server completes other numbers: 5 would be stored as 2005."""
_BEYOND_BMP: Final = re.compile("[\U00010000-\U0010ffff]")
_KIND: Final[Mapping[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a text",
    bytes: "bytes",
}


class UnfitError(Exception):
    """A value that its column would not keep exactly. Never leaves this adapter; holds no value."""

    def __init__(self, code: str, cause: str, place: int = 0) -> None:
        super().__init__(cause)
        self.code = code
        self.cause = cause
        self.place = place


def of_differences(column: LiveColumn) -> LiveColumn:
    """The column as it takes differences: negative ones too, and as large as any such number may be."""
    if column.data_type in INTEGER_BITS:
        return msgspec.structs.replace(column, type=f"integer({-_DIFFERENCE_MAX},{_DIFFERENCE_MAX})")
    return msgspec.structs.replace(column, precision=_DIGITS_MAX) if column.data_type == "decimal" else column


def literal(column: LiveColumn, value: Value) -> str:
    """One value's literal."""
    return "NULL" if value is None else encoder(column)(value)


def encoder(column: LiveColumn) -> Encoder:
    """The function that writes a column's values, which are not None."""
    make = _ENCODERS.get(column.data_type)
    if make is not None:
        return make(column)
    return _bytes if column.charset is None else _text


def _unfit(value: Value, wanted: str) -> UnfitError:
    return UnfitError("wrong-type", f"it takes {wanted}, not {_KIND.get(type(value), 'a missing value')}")


# ---- numbers ---------------------------------------------------------------------------------------------------------


@cache
def integer_limits(column_type: str) -> tuple[int, int]:
    """The least and the largest number of a canonical type of integers."""
    limits = parse_type(column_type)
    return limits.number(0) or 0, limits.number(1) or 0


def _integer(column: LiveColumn) -> Encoder:
    low, high = integer_limits(column.type)

    def encode(value: Value) -> str:
        if not isinstance(value, int):
            raise _unfit(value, "an integer")
        if not low <= value <= high:
            raise UnfitError("out-of-range", f"it takes integers from {low} to {high}")
        return str(int(value))

    return encode


def _year(_column: LiveColumn) -> Encoder:
    def encode(value: Value) -> str:
        if not isinstance(value, int):
            raise _unfit(value, "a year")
        if value not in _YEARS:
            raise UnfitError("out-of-range", "it takes the years 1901 to 2155, and 0")
        return str(int(value))

    return encode


def _decimal(column: LiveColumn) -> Encoder:
    scale, whole_digits = column.scale, column.precision - column.scale

    def encode(value: Value) -> str:
        text = str(value) if type(value) is int else value
        match = _DECIMAL.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise _unfit(value, "a decimal")
        if match[2] and len(match[2].rstrip("0")) > scale:
            raise UnfitError("too-precise", f"it keeps {scale} digits after the point")
        if len(match[1]) > whole_digits and len(match[1].lstrip("0")) > whole_digits:
            raise UnfitError("out-of-range", f"it keeps {whole_digits} digits before the point")
        return match[0]

    return encode


def _double(column: LiveColumn) -> Encoder:
    rounds_to = column.rounds_to

    def encode(value: Value) -> str:
        number = _finite(column, value)
        if rounds_to is not None and round(number, rounds_to) != number:
            raise UnfitError("too-precise", f"it is rounded to {rounds_to} digits after the point")
        return _float_literal(number)

    return encode


def _float(column: LiveColumn) -> Encoder:
    rounds_to = column.rounds_to

    def compute(number: float) -> str:
        try:
            if shortest_float32(number) != number:
                raise UnfitError("too-precise", "it keeps 24 bits of a number")
        except OverflowError:
            raise UnfitError("out-of-range", "it takes numbers up to 3.4028235e38") from None
        if rounds_to is not None and shortest_float32(round(number, rounds_to)) != number:
            raise UnfitError("too-precise", f"it is rounded to {rounds_to} digits after the point")
        return _float_literal(nearest_float32(number))  # 3.4028235e38 itself is beyond the largest FLOAT

    literals = Memo(compute)
    return lambda value: literals[number] if (number := _finite(column, value)) else _float_literal(number)


def _finite(column: LiveColumn, value: Value) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _unfit(value, "a finite number")
    number = float(value)
    if not number and not column.keeps_negative_zero and math.copysign(1, number) < 0:
        raise UnfitError("bad-value", "this server does not keep the sign of a zero")
    return number


def _float_literal(number: float) -> str:
    text = repr(number)
    return text if "e" in text else f"{text}e0"  # a literal without exponent is a decimal


# ---- dates and times -------------------------------------------------------------------------------------------------


def _temporal(column: LiveColumn) -> Encoder:
    """Zero dates and dates with zero parts are values of these columns; whether a day exists, the server checks."""
    kind, fraction_digits = column.data_type, column.fraction_digits
    form = _FORMS[kind].fullmatch

    def encode(value: Value) -> str:
        match = form(value) if isinstance(value, str) else None
        if match is None:
            raise (
                UnfitError("bad-value", f"it takes {_RANGES[kind]}")
                if isinstance(value, str)
                else _unfit(value, "a date or time")
            )
        if match.lastindex and len(match[1]) > fraction_digits:
            raise UnfitError("too-precise", f"it keeps {fraction_digits} digits of a second's fraction")
        return f"'{match[0]}'"

    return encode


def _timestamp(column: LiveColumn) -> Encoder:
    encode_any, last = _temporal(column), column.instant_max

    def encode(value: Value) -> str:
        text = encode_any(value)[1:-2]
        if not INSTANT_MIN <= text[:19] <= last and text != _ZERO_INSTANT:
            raise UnfitError("out-of-range", f"it takes instants from {INSTANT_MIN} to {last} UTC")
        return f"'{text}'"

    return encode


# ---- text, labels, bytes ---------------------------------------------------------------------------------------------


def _text(value: Value) -> str:
    if isinstance(value, str):
        return quote_text(value)
    if type(value) is int:
        return f"'{value}'"
    raise _unfit(value, "a text")


def _char(column: LiveColumn) -> Encoder:
    if column.charset is None:
        return _bytes

    def encode(value: Value) -> str:
        if isinstance(value, str) and value.endswith(" "):
            raise UnfitError("trailing-space", "a CHAR column does not keep spaces at the end")
        return _text(value)

    return encode


def visible_label(text: str) -> str:
    """A label as information_schema shows it (`LiveColumn.labels`)."""
    return _BEYOND_BMP.sub("?", text)


def _enum(column: LiveColumn) -> Encoder:
    labels = frozenset(column.labels)

    def encode(value: Value) -> str:
        if not isinstance(value, str):
            raise _unfit(value, "a label")
        if visible_label(value) not in labels:
            raise UnfitError("bad-value", "it is none of the labels")
        return quote_text(value)

    return encode


def _set(column: LiveColumn) -> Encoder:
    places = {label: place for place, label in enumerate(column.labels)}

    def encode(value: Value) -> str:
        if not isinstance(value, str):
            raise _unfit(value, "labels")
        found = [places.get(visible_label(label), -1) for label in value.split(",")] if value else []
        if -1 in found:
            raise UnfitError("bad-value", "it has a member that is none of the labels")
        if found != sorted(set(found)):
            raise UnfitError(
                "bad-value", "its members are not in the order of the labels, in which the column keeps them"
            )
        return quote_text(value)

    return encode


def _address(family: int) -> Encoder:
    def encode(value: Value) -> str:
        try:
            same = isinstance(value, str) and socket.inet_ntop(family, socket.inet_pton(family, value)) == value
        except OSError:
            same = False
        if not same or not isinstance(value, str):
            raise UnfitError("bad-value", "it takes addresses, in the form in which the server prints them")
        return quote_text(value)

    return encode


def _binary(column: LiveColumn) -> Encoder:
    size = column.size

    def encode(value: Value) -> str:
        if isinstance(value, bytes) and len(value) < size:
            raise UnfitError("too-short", f"a BINARY column pads to {size} bytes")
        return _bytes(value)

    return encode


def _bytes(value: Value) -> str:
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    raise _unfit(value, "bytes")


_ENCODERS: Final[Mapping[str, Callable[[LiveColumn], Encoder]]] = {
    **dict.fromkeys([*INTEGER_BITS, "bit"], _integer),
    "year": _year,
    "decimal": _decimal,
    "float": _float,
    "double": _double,
    **dict.fromkeys(["date", "time", "datetime"], _temporal),
    "timestamp": _timestamp,
    "char": _char,
    "enum": _enum,
    "set": _set,
    "uuid": lambda _: _text,
    "inet4": lambda _: _address(socket.AF_INET),
    "inet6": lambda _: _address(socket.AF_INET6),
    "binary": _binary,
}

"""Canonical values as SQL literals, checked against the column they go to. Pure.

The server in strict mode refuses most of what does not fit; what it would change without an error is refused here:
digits it would round away, spaces it would strip, zeros it would pad with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from cdcd.model import Value
from cdcd_mysql.schema import INTEGER_BITS, TEMPORAL, LiveColumn
from cdcd_mysql.statements import quote_text

Encoder: TypeAlias = Callable[[Value], str]
_DECIMAL: Final = re.compile(r"-?[0-9]+(?:\.([0-9]+))?")
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


def encode_column(column: LiveColumn, values: Sequence[Value]) -> list[str]:
    """The literals of a column of values. Raises UnfitError with the place of the first that does not fit."""
    encode = encoder(column)
    try:
        return ["NULL" if value is None else encode(value) for value in values]
    except UnfitError:
        pass
    for place, value in enumerate(values):
        try:
            literal(column, value)
        except UnfitError as error:
            raise UnfitError(error.code, f"column {column.name}: {error.cause}", place) from None
    raise AssertionError("a value that did not fit now does")


def literal(column: LiveColumn, value: Value) -> str:
    """One value's literal."""
    return "NULL" if value is None else encoder(column)(value)


def encoder(column: LiveColumn) -> Encoder:
    """The function that writes a column's values, which are not None."""
    kind = column.data_type
    if kind == "decimal":
        return _decimal(column.scale)
    if kind in TEMPORAL:
        return _temporal(column.fraction_digits, is_instant=kind == "timestamp")
    if kind == "binary":
        return _binary(column.size)
    return _ENCODERS.get(kind, _bytes if column.charset is None else _text)


def _unfit(value: Value, wanted: str) -> UnfitError:
    return UnfitError("wrong-type", f"it takes {wanted}, not {_KIND.get(type(value), 'a missing value')}")


def _integer(value: Value) -> str:
    if isinstance(value, int):
        return str(int(value))
    raise _unfit(value, "an integer")


def _decimal(scale: int) -> Encoder:
    def encode(value: Value) -> str:
        if type(value) is int:
            return str(value)
        match = _DECIMAL.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise _unfit(value, "a decimal")
        if match[1] and len(match[1].rstrip("0")) > scale:
            raise UnfitError("too-precise", f"it keeps {scale} digits after the point")
        return match[0]

    return encode


def _float(value: Value) -> str:
    if isinstance(value, (int, float)) and math.isfinite(value):
        text = repr(float(value))
        return text if "e" in text else f"{text}e0"  # a literal without exponent is a decimal
    raise _unfit(value, "a finite number")


def _temporal(fraction_digits: int, *, is_instant: bool) -> Encoder:
    def encode(value: Value) -> str:
        if not isinstance(value, str):
            raise _unfit(value, "a date or time")
        text = value[:-1] if is_instant and value.endswith("Z") else value
        if len(text.partition(".")[2]) > fraction_digits:
            raise UnfitError("too-precise", f"it keeps {fraction_digits} digits of a second's fraction")
        return quote_text(text)

    return encode


def _char(value: Value) -> str:
    if isinstance(value, str) and value.endswith(" "):
        raise UnfitError("trailing-space", "a CHAR column does not keep spaces at the end")
    return _text(value)


def _text(value: Value) -> str:
    if isinstance(value, str):
        return quote_text(value)
    if type(value) is int:
        return f"'{value}'"
    raise _unfit(value, "a text")


def _binary(size: int) -> Encoder:
    def encode(value: Value) -> str:
        if isinstance(value, bytes) and len(value) < size:
            raise UnfitError("too-short", f"a BINARY column pads to {size} bytes")
        return _bytes(value)

    return encode


def _bytes(value: Value) -> str:
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    raise _unfit(value, "bytes")


_ENCODERS: Final[Mapping[str, Encoder]] = {
    **dict.fromkeys([*INTEGER_BITS, "year", "bit"], _integer),
    **dict.fromkeys(["float", "double"], _float),
    **dict.fromkeys(["date", "uuid", "inet6", "inet4"], _text),
    "char": _char,
}

"""From a result set's bytes to canonical values: what the snapshot reads is spelled exactly as the log spells it.

Columns come as the server stores or prints them (character_set_results is NULL: text in its own character set), so
that one decoder serves both. Whole columns are converted at once. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from cdcd.model import Row, Value
from cdcd.numeric import shortest_float32
from cdcd_mysql.charsets import Charset, decode_text
from cdcd_mysql.scalars import trim_fraction
from cdcd_mysql.schema import INTEGER_BITS, LiveColumn
from cdcd_mysql.statements import quote_name

Raw: TypeAlias = Sequence[bytes | None]
Converter: TypeAlias = Callable[[Raw], list[Value]]
_ROUNDED: Final = frozenset({"float", "double"})
"""Types that the server prints rounded to six digits, or to their declared decimals, unless computed with."""


def select_expression(column: LiveColumn) -> str:
    """What to select to get a column's exact value."""
    name = quote_name(column.name)
    return f"{name} * 1e0" if column.data_type in _ROUNDED else name


def converter(column: LiveColumn) -> Converter:
    """A function that converts a column of raw values."""
    if column.charset is not None:
        return _text_converter(column.charset)
    if column.data_type == "decimal" and column.is_zerofill:
        return _each(_plain_decimal)
    return _each(_CONVERSIONS.get(column.data_type, bytes))


def _trimmed(raw: bytes) -> str:
    return trim_fraction(raw.decode())


_CONVERSIONS: Final[Mapping[str, Callable[[bytes], Value]]] = {
    **dict.fromkeys([*INTEGER_BITS, "year"], int),
    **dict.fromkeys(["decimal", "date", "uuid", "inet6", "inet4"], bytes.decode),
    "float": lambda raw: shortest_float32(float(raw)),
    "double": float,
    "bit": lambda raw: int.from_bytes(raw, "big"),
    "time": _trimmed,
    "datetime": _trimmed,
    "timestamp": lambda raw: _trimmed(raw) + "Z",
}


def _each(convert: Callable[[bytes], Any]) -> Converter:
    return lambda column: [None if raw is None else convert(raw) for raw in column]


def _text_converter(charset: Charset) -> Converter:
    decode = charset.decode
    if decode is None:
        return _each(bytes)
    tolerant = _each(lambda raw: decode_text(raw, decode))

    def convert(column: Raw) -> list[Value]:
        try:
            return [None if raw is None else decode(raw) for raw in column]
        except UnicodeDecodeError:
            return tolerant(column)

    return convert


def _plain_decimal(raw: bytes) -> str:
    """A DECIMAL ZEROFILL without the zeros that fill it."""
    text = raw.decode().lstrip("0")
    return text if text[:1].isdigit() else f"0{text}"


def convert_rows(columns: Iterable[LiveColumn], rows: Sequence[Sequence[bytes | None]]) -> list[Row]:
    """Rows of raw values to rows of canonical ones."""
    if not rows:
        return []
    converted = [converter(column)(raw) for column, raw in zip(columns, zip(*rows, strict=True), strict=True)]
    return [list(row) for row in zip(*converted, strict=True)]

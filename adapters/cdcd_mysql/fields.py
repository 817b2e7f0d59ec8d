"""How one column lies in a row of the log, and the Python expression that turns it into its canonical value.

`rows` composes these into one function per table. Format of the values: MySQL source, Field_*::pack (sql/field.cc);
libbinlogevents/include/rows_event.h, class Rows_event. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import msgspec

from cdcd_mysql.charsets import Charset, decode_text
from cdcd_mysql.jsonb import json_text
from cdcd_mysql.scalars import (
    OLD_DATETIME_SIZES,
    OLD_TIME_SIZES,
    OLD_TIMESTAMP_SIZES,
    Memo,
    decimal_decoder,
    decimal_size,
    decode_date,
    decode_float,
    decompress,
    fraction_size,
    fraction_texts,
    old_datetime_decoder,
    old_time_decoder,
    old_timestamp_decoder,
    set_decoder,
    time_decoder,
    trimmed_fraction_texts,
)
from cdcd_mysql.tablemap import FieldType, MappedColumn
from cdcd_mysql.types import HINTED, bit_count, hinted_digits, is_compressed, is_hinted_binary, labels_of

Namespace: TypeAlias = dict[str, object]
_TABLE_DIGITS: Final = 4
PREFIX_CODES: Final[Mapping[int, str]] = {1: "B", 2: "H", 3: "HB", 4: "I"}
"""struct codes of a length before a value, by its bytes; "HB" are two numbers, the high one second."""
_NUMBERS: Final[Mapping[int, tuple[str, str, int]]] = {
    FieldType.TINY: ("b", "B", 1),
    FieldType.SHORT: ("h", "H", 2),
    FieldType.INT24: ("Hb", "HB", 3),
    FieldType.LONG: ("i", "I", 4),
    FieldType.LONGLONG: ("q", "Q", 8),
}


class Field(msgspec.Struct, frozen=True):
    """A column's place in a row.

    `size` is its bytes, or with `prefixed` the bytes of the length before the value. `code` are its struct codes
    (little-endian). `expression` makes the value: of `{v}`, what `code` unpacks ("HB": of `{v}` and `{w}`), or of `{v}`,
    the slice of bytes. `prepare` is a statement that comes before, `names` what both refer to.
    """

    size: int
    code: str
    expression: str
    prefixed: bool = False
    prepare: str = ""
    names: Mapping[str, object] = {}


def field_of(column: MappedColumn, place: int, charset: Charset | None, hint: str, *, tolerant: bool) -> Field:
    """The field of the column at `place`. A `tolerant` one leaves text as bytes where its characters are wrong."""
    kind = column.type
    if kind in _NUMBERS:
        return _number(*_NUMBERS[kind], unsigned=column.unsigned)
    if kind in _FIXED:
        return _FIXED[kind](f"f{place}", column)
    if kind in _OLD_TEMPORAL:
        return _old_temporal(f"f{place}", kind, hinted_digits(hint))
    if kind in (FieldType.ENUM, FieldType.SET):
        return _labelled(column, place, charset)
    return _variable(column, place, charset, hint, tolerant=tolerant)


def _number(signed_code: str, unsigned_code: str, size: int, *, unsigned: bool) -> Field:
    code = unsigned_code if unsigned else signed_code
    return Field(size, code, "{v} | {w} << 16" if len(code) == 2 else "{v}")


def _memo(name: str, size: int, compute: Callable[[bytes], object]) -> Field:
    return Field(size, f"{size}s", name + "[{v}]", names={name: Memo(compute)})


def _decimal(name: str, column: MappedColumn) -> Field:
    """One of up to 18 digits before the point is computed: 0.2 us. A memo takes 0.03 for a value that it holds, else 0.7."""
    precision, scale = column.metadata & 0xFF, column.metadata >> 8
    whole, size = precision - scale, decimal_size(precision, scale)
    if not 0 < whole <= 18 or scale > 9:
        return _memo(name, size, decimal_decoder(precision, scale))
    number = f"d_{name}"
    plain, negative = (_decimal_text(value, whole, scale, name) for value in (number, f"~{number}"))
    return Field(
        size,
        f"{size}s",
        f"({plain} if {number} >= 0 else '-' + {negative})",
        prepare=f"{number} = from_bytes({{v}}, 'big') - {1 << (8 * size - 1)}",
        names={name: fraction_texts(scale)} if 0 < scale <= _TABLE_DIGITS else {},
    )


def _decimal_text(number: str, whole: int, scale: int, table: str) -> str:
    """Expression of the text of a decimal that is not negative: one or two groups of digits before the point, one after it."""
    bits = 8 * decimal_size(scale, scale)
    before = f"({number} >> {bits})"
    if whole > 9:
        before = f"({before} >> 32) * 1000000000 + ({before} & 0xffffffff)"
    if not scale:
        return f"str({before})"
    after = f"{number} & {(1 << bits) - 1}"
    return f"str({before}) + " + (f"{table}[{after}]" if scale <= _TABLE_DIGITS else f"'.%0{scale}d' % ({after})")


def _bit(_name: str, column: MappedColumn) -> Field:
    size = (bit_count(column) + 7) // 8
    return Field(size, f"{size}s", "from_bytes({v}, 'big')")


def _fraction(value: str, fraction_digits: int) -> str:
    """Expression of the text of a fraction: '' or '.5', without trailing zeros. Two digits are a byte."""
    size = fraction_size(fraction_digits)
    if not size:
        return ""
    bits = f"{value} & {(1 << 8 * size) - 1}"
    if size < 3:
        return f" + FRACTIONS_{2 * size}[{bits}]"
    return (
        f" + (MILLISECONDS[us // 1000] + MICROSECONDS[us % 1000] if (us := {bits}) % 1000 else FRACTIONS_3[us // 1000])"
    )


FRACTION_NAMES: Final[Namespace] = {
    "FRACTIONS_2": trimmed_fraction_texts(2),
    "FRACTIONS_3": trimmed_fraction_texts(3),
    "FRACTIONS_4": trimmed_fraction_texts(4),
    "MILLISECONDS": fraction_texts(3),
    "MICROSECONDS": [text[1:] for text in trimmed_fraction_texts(3)],
}


def _datetime(name: str, column: MappedColumn) -> Field:
    fraction_digits = column.metadata
    size, shift = 5 + fraction_size(fraction_digits), 8 * fraction_size(fraction_digits)
    value = f"t_{name}"
    text = (
        f"DATES[{value} >> {17 + shift} & 0x3fffff] + CLOCK_MINUTES[{value} >> {6 + shift} & 0x7ff]"
        f" + SECONDS[{value} >> {shift} & 63]"
    )
    return Field(
        size, f"{size}s", text + _fraction(value, fraction_digits), prepare=f"{value} = from_bytes({{v}}, 'big')"
    )


def _timestamp(name: str, column: MappedColumn) -> Field:
    fraction_digits = column.metadata
    size, shift = 4 + fraction_size(fraction_digits), 8 * fraction_size(fraction_digits)
    value = f"t_{name}"
    seconds = f"({value} >> {shift})"
    text = f"EPOCH_DAYS[{seconds} // 86400] + DAY_MINUTES[{seconds} % 86400 // 60] + SECONDS[{seconds} % 60]"
    text += _fraction(value, fraction_digits)
    return Field(
        size,
        f"{size}s",
        f"({text} + 'Z' if {value} else ZERO_INSTANT)",
        prepare=f"{value} = from_bytes({{v}}, 'big')",
    )


def _time(name: str, column: MappedColumn) -> Field:
    return _memo(name, 3 + fraction_size(column.metadata), time_decoder(column.metadata))


_OLD_TEMPORAL: Final[Mapping[int, tuple[Sequence[int], Callable[[int], Callable[[bytes], str]]]]] = {
    FieldType.TIME: (OLD_TIME_SIZES, old_time_decoder),
    FieldType.DATETIME: (OLD_DATETIME_SIZES, old_datetime_decoder),
    FieldType.TIMESTAMP: (OLD_TIMESTAMP_SIZES, old_timestamp_decoder),
}


def _old_temporal(name: str, kind: int, fraction_digits: int) -> Field:
    sizes, decoder = _OLD_TEMPORAL[kind]
    return _memo(name, sizes[fraction_digits], decoder(fraction_digits))


_FIXED: Final[Mapping[int, Callable[[str, MappedColumn], Field]]] = {
    FieldType.FLOAT: lambda name, _: _memo(name, 4, decode_float),
    FieldType.DOUBLE: lambda _, __: Field(8, "d", "{v}"),
    FieldType.YEAR: lambda _, __: Field(1, "B", "({v} + 1900 if {v} else 0)"),
    FieldType.DATE: lambda name, _: _memo(name, 3, decode_date),
    FieldType.NEWDECIMAL: _decimal,
    FieldType.BIT: _bit,
    FieldType.DATETIME2: _datetime,
    FieldType.TIMESTAMP2: _timestamp,
    FieldType.TIME2: _time,
}


def _labelled(column: MappedColumn, place: int, charset: Charset | None) -> Field:
    size, name = column.size_bytes, f"f{place}"
    labels = labels_of(column, charset)
    if column.type == FieldType.SET:
        return _memo(name, size, set_decoder(labels))
    return Field(size, PREFIX_CODES[size], name + "[{v}]", names={name: ["", *labels]})


_STRINGS: Final = frozenset({FieldType.VARCHAR, FieldType.VAR_STRING, FieldType.STRING, FieldType.VARCHAR_COMPRESSED})


def _variable(column: MappedColumn, place: int, charset: Charset | None, hint: str, *, tolerant: bool) -> Field:
    """Strings, blobs and what looks like them: a length, then the bytes."""
    is_string = column.type in _STRINGS
    size = (1 if column.size_bytes < 256 else 2) if is_string else column.metadata
    name = f"f{place}"
    if column.type == FieldType.JSON:
        return Field(size, PREFIX_CODES[size], name + "({v})", prefixed=True, names={name: json_text})
    if is_compressed(column):
        decoder = charset.decode if charset else None
        plain = partial(_decompressed_text, decoder=decoder, tolerant=tolerant) if decoder else decompress
        return Field(size, PREFIX_CODES[size], name + "({v})", prefixed=True, names={name: plain})
    if is_hinted_binary(column, hint):
        return Field(size, PREFIX_CODES[size], name + "({v})", prefixed=True, names={name: HINTED[hint][1]})
    if charset is None:
        padded = f"{{v}}.ljust({column.size_bytes}, b'\\0')" if column.type == FieldType.STRING else "{v}"
        return Field(size, PREFIX_CODES[size], padded, prefixed=True)
    if tolerant or charset.decode is None:
        decode: Callable[[bytes], object] = partial(decode_text, decoder=charset.decode)
    elif charset.is_utf8:
        return Field(size, PREFIX_CODES[size], "{v}.decode()", prefixed=True)
    else:
        decode = charset.decode
    return Field(size, PREFIX_CODES[size], name + "({v})", prefixed=True, names={name: decode})


def _decompressed_text(raw: bytes, decoder: Callable[[bytes], str], *, tolerant: bool) -> str | bytes:
    plain = decompress(raw)
    return decode_text(plain, decoder) if tolerant else decoder(plain)

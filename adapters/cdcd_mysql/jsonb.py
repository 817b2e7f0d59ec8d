"""Decodes MySQL's binary JSON to the text that MySQL itself prints for it.

Format: MySQL source, sql-common/json_binary.h (value types, offsets, entries); printing: sql-common/json_dom.cc,
wrapper_to_string. Pure. MariaDB has none of this: its JSON is text.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from typing import Final

from cdcd_mysql.scalars import DATES, TIMES, decimal_decoder
from cdcd_mysql.tablemap import FieldType

_DEPTH_MAX: Final = 100
"""The server refuses documents nested deeper."""
_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = range(5)
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING = range(5, 13)
_OPAQUE: Final = 15
_LITERALS: Final = ("null", "true", "false")
_NUMBERS: Final = {_INT16: "<h", _UINT16: "<H", _INT32: "<i", _UINT32: "<I", _INT64: "<q", _UINT64: "<Q"}
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TO_ESCAPE: Final = re.compile(r'["\\\x00-\x1f]')
_POINT_MAX: Final = 15
"""Where the server changes to exponents: my_gcvt's MAX_DECPT_FOR_F_FORMAT (strings/dtoa.cc)."""


def json_text(raw: bytes) -> str:
    """The document's text. Empty bytes are what a NULL becomes in a NOT NULL column: the server prints null."""
    return _value(raw[0], raw, 1, 0) if raw else "null"


def _value(kind: int, data: bytes, place: int, depth: int) -> str:
    if depth > _DEPTH_MAX:
        raise ValueError("JSON nested too deeply")
    if kind <= _LARGE_ARRAY:
        return _container(kind, data, place, depth)
    if kind == _LITERAL:
        return _LITERALS[data[place]]
    if kind in _NUMBERS:
        return str(struct.unpack_from(_NUMBERS[kind], data, place)[0])
    if kind == _DOUBLE:
        return double_text(struct.unpack_from("<d", data, place)[0])
    if kind == _STRING:
        return _quoted(_sized(data, place).decode())
    if kind == _OPAQUE:
        return _opaque(data[place], _sized(data, place + 1))
    raise ValueError(f"JSON value of unknown type {kind}")


def _container(kind: int, data: bytes, start: int, depth: int) -> str:
    """Offsets in a container count from `start`; small ones have two bytes, large ones four."""
    width, code = (2, "<H") if kind in (_SMALL_OBJECT, _SMALL_ARRAY) else (4, "<I")
    offset = struct.Struct(code).unpack_from
    (count,) = offset(data, start)
    is_object = kind in (_SMALL_OBJECT, _LARGE_OBJECT)
    keys_at = start + 2 * width
    values_at = keys_at + (count * (width + 2) if is_object else 0)
    if values_at + count * (1 + width) > len(data):
        raise ValueError("JSON container larger than its document")
    values = [_entry(data, start, values_at + n * (1 + width), width, depth) for n in range(count)]
    if not is_object:
        return "[" + ", ".join(values) + "]"
    keys = [_key(data, start, keys_at + n * (width + 2), width) for n in range(count)]
    return "{" + ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True)) + "}"


def _entry(data: bytes, start: int, place: int, width: int, depth: int) -> str:
    """Type and offset of a value, or the value itself where it fits into the offset's bytes."""
    kind = data[place]
    if kind in (_LITERAL, _INT16, _UINT16) or (width == 4 and kind in (_INT32, _UINT32)):
        return _value(kind, data, place + 1, depth + 1)
    offset = int.from_bytes(data[place + 1 : place + 1 + width], "little")
    return _value(kind, data, start + offset, depth + 1)


def _key(data: bytes, start: int, place: int, width: int) -> str:
    offset = start + int.from_bytes(data[place : place + width], "little")
    size = int.from_bytes(data[place + width : place + width + 2], "little")
    return _quoted(data[offset : offset + size].decode())


def _sized(data: bytes, place: int) -> bytes:
    """Bytes with their size before them, seven bits a byte, the lowest first."""
    size = shift = 0
    while True:
        byte = data[place]
        size |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            break
    if place + size > len(data):
        raise ValueError("JSON string longer than its document")
    return data[place : place + size]


def _quoted(text: str) -> str:
    return '"' + _TO_ESCAPE.sub(lambda match: _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}", text) + '"'


def double_text(number: float) -> str:
    """A double as the server prints it: shortest digits, exponents from 10^15 on, always with a point or exponent."""
    sign, digits, exponent = _digits(number)
    point = exponent + 1  # digits before the point
    if not -_POINT_MAX < point <= _POINT_MAX:
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        return f"{sign}{mantissa}e{exponent}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}"


def _digits(number: float) -> tuple[str, str, int]:
    """Sign, significant digits, and the power of ten of the first."""
    mantissa, _, exponent = f"{number!r}".lower().partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + len(whole) - 1 - (len(whole + fraction) - len(digits) if digits else 0)
    return sign, digits.rstrip("0") or "0", power if digits else 0


def _opaque(kind: int, raw: bytes) -> str:
    if kind == FieldType.NEWDECIMAL:
        return decimal_decoder(raw[0], raw[1])(raw[2:])
    if kind in _TEMPORAL:
        return f'"{_TEMPORAL[kind](int.from_bytes(raw[:8], "little", signed=True))}"'
    return f'"base64:type{kind}:{base64.b64encode(raw).decode()}"'


def _datetime(packed: int) -> str:
    """Bits as in DATETIME, with the microseconds in the low 24 (my_time.cc, TIME_from_longlong_datetime_packed)."""
    seconds, microseconds = packed >> 24, packed & 0xFFFFFF
    return f"{DATES[seconds >> 17 & 0x3FFFFF]}{TIMES[seconds & 0x1FFFF]}.{microseconds:06d}"


def _date(packed: int) -> str:
    return DATES[packed >> 41 & 0x3FFFFF].rstrip()


def _time(packed: int) -> str:
    seconds, microseconds = divmod(abs(packed), 1 << 24)
    return f"{'-' if packed < 0 else ''}{TIMES[seconds & 0x3FFFFF]}.{microseconds:06d}"


_TEMPORAL: Final[dict[int, Callable[[int], str]]] = {
    FieldType.DATE: _date,
    FieldType.TIME: _time,
    FieldType.DATETIME: _datetime,
    FieldType.TIMESTAMP: _datetime,
}

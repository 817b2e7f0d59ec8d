"""Decodes MySQL's binary JSON to the text that MySQL itself prints for it.

Format: MySQL source, sql-common/json_binary.h (value types, offsets, entries); printing: sql-common/json_dom.cc,
wrapper_to_string. Pure. MariaDB has none of this: its JSON is text.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from typing import Final, TypeAlias

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


JsonTree: TypeAlias = "dict[str, JsonTree] | list[JsonTree] | str"
"""Objects, arrays, and the text of everything else."""


def json_text(raw: bytes) -> str:
    """The document's text. Empty bytes are what a NULL becomes in a NOT NULL column: the server prints null."""
    return _Document(raw).text(raw[0], 1, 0) if raw else "null"


def json_tree(raw: bytes) -> JsonTree:
    """The document as a tree, to be changed (`jsondiff`) and then printed by `tree_text`."""
    return _Document(raw).tree(raw[0], 1, 0) if raw else "null"


def tree_text(tree: JsonTree) -> str:
    """The text of a tree. The server orders keys by length, then by bytes."""
    if isinstance(tree, str):
        return tree
    if isinstance(tree, list):
        return "[" + ", ".join(map(tree_text, tree)) + "]"
    keys = sorted(tree, key=lambda key: (len(encoded := key.encode()), encoded))
    return "{" + ", ".join(f"{_quoted(key)}: {tree_text(tree[key])}" for key in keys) + "}"


class _Document:
    """The bytes of one document. No byte of it means two things, so what was read can never exceed its size."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)

    def text(self, kind: int, place: int, depth: int) -> str:
        """The text of the value of type `kind` at `place`."""
        if kind > _LARGE_ARRAY:
            return self._scalar(kind, place)
        keys, entries = self._entries(kind, place, depth)
        values = [self.text(kind, place, depth + 1) for kind, place in entries]
        if keys is None:
            return "[" + ", ".join(values) + "]"
        return "{" + ", ".join(f"{_quoted(key)}: {value}" for key, value in zip(keys, values, strict=True)) + "}"

    def tree(self, kind: int, place: int, depth: int) -> JsonTree:
        """The tree of the value of type `kind` at `place`."""
        if kind > _LARGE_ARRAY:
            return self._scalar(kind, place)
        keys, entries = self._entries(kind, place, depth)
        values = [self.tree(kind, place, depth + 1) for kind, place in entries]
        return values if keys is None else dict(zip(keys, values, strict=True))

    def _scalar(self, kind: int, place: int) -> str:
        data = self._data
        if kind == _LITERAL:
            return _LITERALS[data[place]]
        if kind in _NUMBERS:
            return str(struct.unpack_from(_NUMBERS[kind], data, place)[0])
        if kind == _DOUBLE:
            return double_text(struct.unpack_from("<d", data, place)[0])
        if kind == _STRING:
            return _quoted(self._sized(place).decode())
        if kind == _OPAQUE:
            return _opaque(data[place], self._sized(place + 1))
        raise ValueError(f"JSON value of unknown type {kind}")

    def _entries(self, kind: int, start: int, depth: int) -> tuple[list[str] | None, list[tuple[int, int]]]:
        """Keys (None for an array), and type and place of the values of a container.

        Offsets in a container count from `start`; small ones have two bytes, large ones four.
        """
        if depth >= _DEPTH_MAX:
            raise ValueError("JSON nested too deeply")
        width = 2 if kind in (_SMALL_OBJECT, _SMALL_ARRAY) else 4
        count = int.from_bytes(self._data[start : start + width], "little")
        is_object = kind in (_SMALL_OBJECT, _LARGE_OBJECT)
        keys_at = start + 2 * width
        values_at = keys_at + (count * (width + 2) if is_object else 0)
        self._spend(values_at + count * (1 + width) - start)
        keys = [self._key(start, keys_at + n * (width + 2), width) for n in range(count)] if is_object else None
        return keys, [self._entry(start, values_at + n * (1 + width), width) for n in range(count)]

    def _entry(self, start: int, place: int, width: int) -> tuple[int, int]:
        """Type and place of a value, which is in the entry itself where it fits into the offset's bytes."""
        kind = self._data[place]
        if kind in (_LITERAL, _INT16, _UINT16) or (width == 4 and kind in (_INT32, _UINT32)):
            return kind, place + 1
        return kind, start + int.from_bytes(self._data[place + 1 : place + 1 + width], "little")

    def _key(self, start: int, place: int, width: int) -> str:
        data = self._data
        offset = start + int.from_bytes(data[place : place + width], "little")
        size = int.from_bytes(data[place + width : place + width + 2], "little")
        self._spend(size)
        return data[offset : offset + size].decode()

    def _sized(self, place: int) -> bytes:
        """Bytes with their size before them, seven bits a byte, the lowest first."""
        data = self._data
        size = shift = 0
        while True:
            byte = data[place]
            size |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if not byte & 0x80:
                break
        self._spend(size)
        if place + size > len(data):
            raise ValueError("JSON string longer than its document")
        return data[place : place + size]

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("JSON values that overlap")


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

"""Canonical types of columns (`cdcd.values`), the same whether the log describes them or information_schema does.

Pure. What the log cannot tell apart (MariaDB's JSON is LONGTEXT to it, its UUID is BINARY(16)) comes as a hint: the
column's type in the live table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from cdcd.errors import DecodeError
from cdcd_mysql.charsets import Charset, decode_text
from cdcd_mysql.scalars import decode_inet4, decode_inet6, decode_uuid
from cdcd_mysql.tablemap import FieldType, MappedColumn

INTEGER_BITS: Final[Mapping[int, int]] = {
    FieldType.TINY: 8,
    FieldType.SHORT: 16,
    FieldType.INT24: 24,
    FieldType.LONG: 32,
    FieldType.LONGLONG: 64,
}
LOB_SIZES_MAX: Final[Mapping[int, int]] = {1: 255, 2: 65_535, 3: 16_777_215}
"""What a TEXT or BLOB holds, by the bytes of its length; LONGTEXT and LONGBLOB have no limit that matters."""
HINTED: Final = {
    "uuid": ("uuid", decode_uuid, 16),
    "inet6": ("native(inet6)", decode_inet6, 16),
    "inet4": ("native(inet4)", decode_inet4, 4),
}
"""Hint to canonical type, decoder and size, for types that look like BINARY(size) in the log."""
FLOAT: Final = "float(24,finite)"
DOUBLE: Final = "float(53,finite)"
DATE: Final = "date(0001,9999)"
BINARY_JSON: Final = "json(double)"
INSTANT_MAX: Final = "2038-01-19 03:14:07"
INSTANT_MAX_UNSIGNED: Final = "2106-02-07 06:28:15"
"""Where TIMESTAMP ends: MariaDB counts its seconds without sign since 11.5 (MDEV-32188)."""
INSTANT_MIN: Final = "1970-01-01 00:00:01"
_FIXED: Final[Mapping[int, str]] = {
    FieldType.FLOAT: FLOAT,
    FieldType.DOUBLE: DOUBLE,
    FieldType.DATE: DATE,
    FieldType.YEAR: "integer(0,2155)",
    FieldType.JSON: BINARY_JSON,
    FieldType.GEOMETRY: "bytes",
    FieldType.VECTOR: "bytes",
}
TEMPORAL: Final = frozenset({"time", "datetime", "timestamp"})
"""Types with a fraction of a second."""
_TEMPORAL: Final[Mapping[int, str]] = {
    FieldType.TIME2: "time",
    FieldType.DATETIME2: "datetime",
    FieldType.TIMESTAMP2: "timestamp",
}
_OLD_TEMPORAL: Final[Mapping[int, str]] = {
    FieldType.TIME: "time",
    FieldType.DATETIME: "datetime",
    FieldType.TIMESTAMP: "timestamp",
}
"""The formats of before MySQL 5.6. The log does not say their digits of fraction: a hint does."""
_COMPRESSED: Final = frozenset({FieldType.VARCHAR_COMPRESSED, FieldType.BLOB_COMPRESSED})
_SPECIAL_LABEL: Final = re.compile("[,?\U00010000-\U0010ffff]")
"""In brackets a comma would part labels; beyond the BMP information_schema shows every character as a question mark."""


def integer_type(bits: int, *, unsigned: bool) -> str:
    """The integer type of that many bits."""
    low, high = (0, (1 << bits) - 1) if unsigned else (-(1 << bits - 1), (1 << bits - 1) - 1)
    return f"integer({low},{high})"


def sized(kind: str, size: int | None) -> str:
    """`bytes(64)`, or `bytes` where there is no limit."""
    return kind if size is None else f"{kind}({size})"


def text_type(size: int | None, charset: Charset, *, is_padded: bool = False) -> str:
    """`text(10,padded,raw)`: "padded" for CHAR; "raw" where bytes can be stored that are no text of the character set."""
    flags = [str(size)] * (size is not None) + ["padded"] * is_padded + ["raw"] * (not _is_total(charset))
    return f"text({','.join(flags)})" if flags else "text"


@cache
def _is_total(charset: Charset) -> bool:
    """Whether every byte is a character. The servers check little of what is stored (MariaDB takes UTF-8 of surrogates)."""
    return charset.bytes_per_char == 1 and isinstance(decode_text(bytes(range(256)), charset.decode), str)


def temporal_type(data_type: str, fraction_digits: int, instant_max: str = INSTANT_MAX) -> str:
    """The type of a TIME, DATETIME or TIMESTAMP, with what it can hold."""
    if data_type == "time":
        return f"time({fraction_digits},-838,838)"
    if data_type == "datetime":
        return f"datetime({fraction_digits},0001,9999)"
    return f"instant({fraction_digits},{INSTANT_MIN},{instant_max})"


def temporal_hint(data_type: str, fraction_digits: int, instant_max: str) -> str:
    """What the log does not tell of a TIME, DATETIME or TIMESTAMP."""
    return f"{data_type}({fraction_digits},{instant_max})"


def hinted_digits(hint: str) -> int:
    """The digits of a fraction in a `temporal_hint`; 0 without one."""
    return int(hint.partition("(")[2].partition(",")[0] or 0)


def _hinted_instant_max(hint: str) -> str:
    return hint.partition(",")[2].rstrip(")") or INSTANT_MAX


def enum_type(labels: Sequence[str | bytes]) -> str:
    """`enum(a,b)`; a text where a label cannot stand in brackets, or is not known to all who describe the column."""
    texts = [label for label in labels if isinstance(label, str)]
    plain = len(texts) == len(labels) and all(
        text and text == text.strip() and not _SPECIAL_LABEL.search(text) for text in texts
    )
    return f"enum({','.join(texts)})" if plain else _labels_type(max(map(len, labels), default=0), labels)


def set_type(labels: Sequence[str | bytes]) -> str:
    """A SET is the text of its members, joined by commas."""
    return _labels_type(sum(map(len, labels)) + max(len(labels) - 1, 0), labels)


def _labels_type(size: int, labels: Sequence[str | bytes]) -> str:
    return f"text({size})" if all(isinstance(label, str) for label in labels) else f"text({size},raw)"


def log_type(column: MappedColumn, charset: Charset | None, hint: str) -> str:
    """The canonical type of a column of the log. Raises DecodeError for a type that we do not read."""
    kind = column.type
    if kind in INTEGER_BITS or kind == FieldType.BIT:
        return _integer_type(column)
    if kind in _FIXED or kind == FieldType.NEWDECIMAL:
        return _FIXED.get(kind) or f"decimal({column.metadata & 0xFF},{column.metadata >> 8})"
    if kind in _TEMPORAL:
        return temporal_type(_TEMPORAL[kind], column.metadata, _hinted_instant_max(hint))
    if kind in _OLD_TEMPORAL:
        return temporal_type(_OLD_TEMPORAL[kind], hinted_digits(hint), _hinted_instant_max(hint))
    if kind in (FieldType.ENUM, FieldType.SET):
        return (enum_type if kind == FieldType.ENUM else set_type)(labels_of(column, charset))
    if kind in (FieldType.VARCHAR, FieldType.VAR_STRING, FieldType.STRING, FieldType.VARCHAR_COMPRESSED):
        return _string_type(column, charset, hint)
    if kind in (FieldType.BLOB, FieldType.BLOB_COMPRESSED):
        return _lob_type(column.metadata, charset, hint)
    raise DecodeError(
        f"column {column.name} cannot be read",
        cause=f"type {kind} of the log is unknown",
        remedy="give the column another type, or upgrade cdcd",
        code="column-type",
    )


def is_compressed(column: MappedColumn) -> bool:
    """Whether it is one of MariaDB's COMPRESSED columns: every value has a header byte."""
    return column.type in _COMPRESSED


def _integer_type(column: MappedColumn) -> str:
    if column.type == FieldType.BIT:
        return f"integer(0,{(1 << bit_count(column)) - 1})"
    return integer_type(INTEGER_BITS[column.type], unsigned=column.unsigned)


def bit_count(column: MappedColumn) -> int:
    """The n of BIT(n): whole bytes in the high byte of the metadata, bits left over in the low one."""
    return (column.metadata >> 8) * 8 + (column.metadata & 0xFF)


def labels_of(column: MappedColumn, charset: Charset | None) -> list[str | bytes]:
    """The labels of an ENUM or SET as text; bytes where the character set cannot decode one."""
    return [decode_text(label, charset.decode if charset else None) for label in column.labels]


def is_hinted_binary(column: MappedColumn, hint: str) -> bool:
    """Whether the live type `hint` explains this BINARY(n) of the log."""
    return hint in HINTED and column.type == FieldType.STRING and column.size_bytes == HINTED[hint][2]


def _string_type(column: MappedColumn, charset: Charset | None, hint: str) -> str:
    size_bytes = column.size_bytes - 1 if is_compressed(column) else column.size_bytes
    if charset is not None:
        return text_type(size_bytes // charset.bytes_per_char, charset, is_padded=column.type == FieldType.STRING)
    return HINTED[hint][0] if is_hinted_binary(column, hint) else sized("bytes", size_bytes)


def _lob_type(length_size: int, charset: Charset | None, hint: str) -> str:
    if charset is None:
        return sized("bytes", LOB_SIZES_MAX.get(length_size))
    return "json" if hint == "json" else text_type(LOB_SIZES_MAX.get(length_size), charset)

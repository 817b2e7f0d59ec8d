"""Canonical types of columns (`cdcd.values`), the same whether the log describes them or information_schema does.

Pure. What the log cannot tell apart (MariaDB's JSON is LONGTEXT to it, its UUID is BINARY(16)) comes as a hint: the
column's type in the live table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_FIXED: Final[Mapping[int, str]] = {
    FieldType.FLOAT: "float",
    FieldType.DOUBLE: "float",
    FieldType.DATE: "date",
    FieldType.TIME2: "time",
    FieldType.DATETIME2: "datetime",
    FieldType.TIMESTAMP2: "instant",
    FieldType.YEAR: "integer(0,2155)",
    FieldType.JSON: "json",
    FieldType.GEOMETRY: "bytes",
    FieldType.VECTOR: "bytes",
}
_REFUSED: Final[Mapping[int, str]] = {
    FieldType.TIMESTAMP: "the TIMESTAMP format of before MySQL 5.6",
    FieldType.TIME: "the TIME format of before MySQL 5.6",
    FieldType.DATETIME: "the DATETIME format of before MySQL 5.6",
    FieldType.BLOB_COMPRESSED: "column compression",
    FieldType.VARCHAR_COMPRESSED: "column compression",
}


def integer_type(bits: int, *, unsigned: bool) -> str:
    """The integer type of that many bits."""
    low, high = (0, (1 << bits) - 1) if unsigned else (-(1 << bits - 1), (1 << bits - 1) - 1)
    return f"integer({low},{high})"


def sized(kind: str, size: int | None) -> str:
    """`text(64)`, or `text` where there is no limit."""
    return kind if size is None else f"{kind}({size})"


def enum_type(labels: Sequence[str | bytes]) -> str:
    """`enum(a,b)`; a text where a label cannot stand in brackets."""
    texts = [label for label in labels if isinstance(label, str)]
    plain = len(texts) == len(labels) and all(text and text == text.strip() and "," not in text for text in texts)
    return f"enum({','.join(texts)})" if plain else sized("text", max(map(len, labels), default=0))


def set_type(labels: Sequence[str | bytes]) -> str:
    """A SET is the text of its members, joined by commas."""
    return sized("text", sum(map(len, labels)) + max(len(labels) - 1, 0))


def log_type(column: MappedColumn, charset: Charset | None, hint: str) -> str:
    """The canonical type of a column of the log. Raises DecodeError for a type that we do not read."""
    kind = column.type
    if kind in INTEGER_BITS or kind == FieldType.BIT:
        return _integer_type(column)
    if kind in _FIXED or kind == FieldType.NEWDECIMAL:
        return _FIXED.get(kind) or f"decimal({column.metadata & 0xFF},{column.metadata >> 8})"
    if kind in (FieldType.ENUM, FieldType.SET):
        return (enum_type if kind == FieldType.ENUM else set_type)(labels_of(column, charset))
    if kind in (FieldType.VARCHAR, FieldType.VAR_STRING, FieldType.STRING):
        return _string_type(column, charset, hint)
    if kind == FieldType.BLOB:
        return _lob_type(column.metadata, charset, hint)
    cause = f"it uses {_REFUSED[kind]}" if kind in _REFUSED else f"type {kind} of the log is unknown"
    raise DecodeError(
        f"column {column.name} cannot be read",
        cause=cause,
        remedy="rebuild the table (ALTER TABLE … FORCE), or give the column another type",
        code="column-type",
    )


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
    if charset is not None:
        return sized("text", column.size_bytes // charset.bytes_per_char)
    return HINTED[hint][0] if is_hinted_binary(column, hint) else sized("bytes", column.size_bytes)


def _lob_type(length_size: int, charset: Charset | None, hint: str) -> str:
    if charset is None:
        return sized("bytes", LOB_SIZES_MAX.get(length_size))
    return "json" if hint == "json" else sized("text", LOB_SIZES_MAX.get(length_size))

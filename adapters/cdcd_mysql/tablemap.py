"""Decodes TABLE_MAP_EVENT: a table's columns as the log itself describes them, with binlog_row_metadata=FULL.

Format: MySQL source, libbinlogevents/include/rows_event.h, class Table_map_event (fields and the optional metadata
types); MariaDB source, sql/log_event_server.cc, Table_map_log_event::init_metadata_fields. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from cdcd.errors import DecodeError, NotReady
from cdcd_mysql.wire import Reader


class FieldType(enum.IntEnum):
    """Types of columns in the log (MySQL source, include/field_types.h; MariaDB adds the compressed ones)."""

    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    TIME = 11
    DATETIME = 12
    YEAR = 13
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    BLOB_COMPRESSED = 140
    VARCHAR_COMPRESSED = 141
    VECTOR = 242
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    TINY_BLOB = 249
    MEDIUM_BLOB = 250
    LONG_BLOB = 251
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


_METADATA_SIZES: Final[Mapping[int, int]] = {
    FieldType.FLOAT: 1,
    FieldType.DOUBLE: 1,
    FieldType.VARCHAR: 2,
    FieldType.BIT: 2,
    FieldType.TIMESTAMP2: 1,
    FieldType.DATETIME2: 1,
    FieldType.TIME2: 1,
    FieldType.BLOB_COMPRESSED: 1,
    FieldType.VARCHAR_COMPRESSED: 2,
    FieldType.VECTOR: 1,
    FieldType.JSON: 1,
    FieldType.NEWDECIMAL: 2,
    FieldType.ENUM: 2,
    FieldType.SET: 2,
    FieldType.TINY_BLOB: 1,
    FieldType.MEDIUM_BLOB: 1,
    FieldType.LONG_BLOB: 1,
    FieldType.BLOB: 1,
    FieldType.VAR_STRING: 2,
    FieldType.STRING: 2,
    FieldType.GEOMETRY: 1,
}
_NUMERIC: Final = frozenset(
    {
        FieldType.TINY,
        FieldType.SHORT,
        FieldType.INT24,
        FieldType.LONG,
        FieldType.LONGLONG,
        FieldType.NEWDECIMAL,
        FieldType.FLOAT,
        FieldType.DOUBLE,
        FieldType.YEAR,
    }
)
_CHARACTER: Final = frozenset(
    {
        FieldType.STRING,
        FieldType.VAR_STRING,
        FieldType.VARCHAR,
        FieldType.BLOB,
        FieldType.BLOB_COMPRESSED,
        FieldType.VARCHAR_COMPRESSED,
    }
)
_CHARACTER_MARIADB: Final = _CHARACTER | {FieldType.GEOMETRY}
"""MariaDB lists a character set for a geometry too: it is a kind of blob there."""
_LABELLED: Final = frozenset({FieldType.ENUM, FieldType.SET})
_Item = TypeVar("_Item")


class Optional(enum.IntEnum):
    """Types of the optional metadata fields that we use."""

    SIGNEDNESS = 1
    DEFAULT_CHARSET = 2
    COLUMN_CHARSET = 3
    COLUMN_NAME = 4
    SET_STR_VALUE = 5
    ENUM_STR_VALUE = 6
    SIMPLE_PRIMARY_KEY = 8
    PRIMARY_KEY_WITH_PREFIX = 9
    ENUM_AND_SET_DEFAULT_CHARSET = 10
    ENUM_AND_SET_COLUMN_CHARSET = 11


class MappedColumn(msgspec.Struct, frozen=True):
    """A column as TABLE_MAP describes it.

    `type` is the real type (ENUM and SET unpacked from STRING); `metadata` its two bytes, first byte low.
    `collation` is the server's number of it, for columns that have one. `labels` are those of ENUM and SET, still in
    the column's character set.
    """

    name: str
    type: int
    metadata: int
    nullable: bool
    unsigned: bool = False
    collation: int | None = None
    labels: tuple[bytes, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The declared size of a CHAR, VARCHAR, ENUM or SET column."""
        if self.type in (FieldType.ENUM, FieldType.SET):
            return self.metadata >> 8
        if self.type == FieldType.STRING:  # bits 8 and 9 of the size hide, inverted, in the type byte
            return (self.metadata >> 8) | (((self.metadata & 0x30) ^ 0x30) << 4)
        return self.metadata


class TableMap(msgspec.Struct, frozen=True):
    """A table as TABLE_MAP describes it. `primary_key` indexes `columns`; empty when there is none."""

    database: str
    table: str
    columns: tuple[MappedColumn, ...]
    primary_key: tuple[int, ...]


def decode_table_name(body: Reader) -> tuple[str, str]:
    """Database and table at the start of a TABLE_MAP body (what follows table id and flags)."""
    database = body.string().decode()
    body.take(1)
    table = body.string().decode()
    body.take(1)
    return database, table


def decode_table_map(body: Reader, *, is_mariadb: bool) -> TableMap:
    """Decode a TABLE_MAP body. Raises NotReady when the server logged it without column names."""
    database, table = decode_table_name(body)
    count = body.length()
    types = body.take(count)
    metadata = Reader(body.string())
    nullable = body.take((count + 7) // 8)
    columns = [_column(code, metadata, bool(nullable[n // 8] >> n % 8 & 1)) for n, code in enumerate(types)]
    optional = dict(_optional_fields(body))
    if Optional.COLUMN_NAME not in optional:
        raise _no_metadata(f"{database}.{table}")
    columns = _with_names(columns, optional[Optional.COLUMN_NAME])
    columns = _with_signs(columns, optional.get(Optional.SIGNEDNESS))
    character = _CHARACTER_MARIADB if is_mariadb else _CHARACTER
    columns = _with_collations(columns, character, optional, Optional.DEFAULT_CHARSET, Optional.COLUMN_CHARSET)
    columns = _with_collations(
        columns, _LABELLED, optional, Optional.ENUM_AND_SET_DEFAULT_CHARSET, Optional.ENUM_AND_SET_COLUMN_CHARSET
    )
    columns = _with_labels(columns, FieldType.ENUM, optional.get(Optional.ENUM_STR_VALUE))
    columns = _with_labels(columns, FieldType.SET, optional.get(Optional.SET_STR_VALUE))
    return TableMap(database, table, tuple(columns), _primary_key(optional, count))


def _no_metadata(name: str) -> NotReady:
    return NotReady(
        f"the log describes table {name} without its column names",
        cause="it was written with binlog_row_metadata other than FULL",
        remedy="SET GLOBAL binlog_row_metadata = FULL (and in the server's configuration), then run 'cdcd reposition' for this system",
        code="binlog-metadata",
    )


def _column(code: int, metadata: Reader, nullable: bool) -> MappedColumn:
    value = metadata.integer(_METADATA_SIZES.get(code, 0))
    if code == FieldType.STRING and value & 0x30 == 0x30:  # else the byte holds bits of the size, and it is a CHAR
        code = value & 0xFF
    return MappedColumn("", code, value, nullable)


def _optional_fields(body: Reader) -> Iterator[tuple[int, bytes]]:
    while body.left:
        kind = body.integer(1)
        yield kind, body.string()


def _with_names(columns: list[MappedColumn], field: bytes) -> list[MappedColumn]:
    names = Reader(field)
    return [msgspec.structs.replace(column, name=names.string().decode()) for column in columns]


def _with_signs(columns: list[MappedColumn], field: bytes | None) -> list[MappedColumn]:
    """One bit per numeric column, the most significant first."""
    if field is None:
        return columns
    bits = iter(f"{int.from_bytes(field, 'big'):0{8 * len(field)}b}")
    return [
        msgspec.structs.replace(column, unsigned=_next(bits) == "1") if column.type in _NUMERIC else column
        for column in columns
    ]


def _next(items: Iterator[_Item]) -> _Item:
    for item in items:
        return item
    raise DecodeError("TABLE_MAP metadata covers fewer columns than the table has")


def _with_collations(
    columns: list[MappedColumn],
    kinds: frozenset[FieldType],
    optional: Mapping[int, bytes],
    default_field: Optional,
    column_field: Optional,
) -> list[MappedColumn]:
    """The server writes whichever of the two fields is shorter: a default with exceptions, or one per column."""
    if default_field in optional:
        default, *pairs = _lengths(optional[default_field])
        exceptions = dict(zip(pairs[::2], pairs[1::2], strict=True))
        numbers = iter([exceptions.get(place, default) for place in range(len(columns))])
    elif column_field in optional:
        numbers = _lengths(optional[column_field])
    else:
        return columns
    return [
        msgspec.structs.replace(column, collation=_next(numbers)) if column.type in kinds else column
        for column in columns
    ]


def _lengths(field: bytes) -> Iterator[int]:
    reader = Reader(field)
    while reader.left:
        yield reader.length()


def _with_labels(columns: list[MappedColumn], kind: FieldType, field: bytes | None) -> list[MappedColumn]:
    if field is None:
        return columns
    lists = _label_lists(field)
    return [
        msgspec.structs.replace(column, labels=_next(lists)) if column.type == kind else column for column in columns
    ]


def _label_lists(field: bytes) -> Iterator[tuple[bytes, ...]]:
    reader = Reader(field)
    while reader.left:
        yield tuple(reader.string() for _ in range(reader.length()))


def _primary_key(optional: Mapping[int, bytes], count: int) -> tuple[int, ...]:
    indexes: Iterable[int] = ()
    if Optional.SIMPLE_PRIMARY_KEY in optional:
        indexes = _lengths(optional[Optional.SIMPLE_PRIMARY_KEY])
    elif Optional.PRIMARY_KEY_WITH_PREFIX in optional:
        indexes = list(_lengths(optional[Optional.PRIMARY_KEY_WITH_PREFIX]))[::2]
    key = tuple(indexes)
    if any(index >= count for index in key):
        raise DecodeError("TABLE_MAP names a key column that the table has not")
    return key

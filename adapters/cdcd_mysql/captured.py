"""Which tables are read from the log, and what is known of each shape of them that the log has shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from cdcd.errors import DecodeError
from cdcd.model import CHECKPOINT_TABLE, Op, Relation
from cdcd_mysql.charsets import Charset, Decoder, charset
from cdcd_mysql.rows import Reader as RowsReader
from cdcd_mysql.rows import RowDecoder
from cdcd_mysql.tablemap import TableMap, decode_table_map, decode_table_name
from cdcd_mysql.types import log_type
from cdcd_mysql.wire import Reader, encode_length

Hints: TypeAlias = Callable[[str], Mapping[str, str]]
"""Gives, for a table as spelled in the configuration, the live types of columns that the log cannot tell (`types`)."""
_SHAPES_MAX: Final = 4096


class TableName(msgspec.Struct, frozen=True):
    """A table's two names in a server."""

    database: str
    table: str


def table_name(spelled: str, database: str) -> TableName:
    """Of a table as the configuration spells it: "item" is in `database`, "other.item" is not."""
    before, dot, after = spelled.partition(".")
    return TableName(before, after) if dot else TableName(database, spelled)


class Shape(msgspec.Struct, frozen=True):
    """One shape of a captured table, as a TABLE_MAP described it."""

    relation: Relation
    decoder: RowDecoder
    encoded_count: bytes
    """The number of columns as rows events begin with it: a length-encoded integer."""
    bitmap_size: int
    needed_bits: int = 0
    """The columns that an INSERT must have in its row image, as bits of its bitmap."""
    readers: dict[tuple[Op, bytes, bool], RowsReader] = msgspec.field(default_factory=dict)
    """By what rows events of a kind say of their columns, how to read their rows: filled by `rowevents`."""


class ServerCharsets(msgspec.Struct, frozen=True):
    """What TABLE_MAP's numbers mean on one server: `collations` gives the character set of each."""

    is_mariadb: bool
    collations: Mapping[int, str]

    def of(self, collation: int | None) -> Charset | None:
        """The character set; None for binary columns and those without one."""
        if collation is None:
            return None
        name = self.collations.get(collation)
        if name is None:
            raise DecodeError(f"the log uses collation number {collation}, which the server does not list")
        return None if name == "binary" else charset(name)


class CapturedTables:
    """Finds the shape of a captured table by the bytes of its TABLE_MAP, which are parsed once."""

    def __init__(
        self,
        database: str,
        tables: Iterable[str],
        charsets: ServerCharsets,
        hints: Hints,
        *,
        ignore_case: bool,
        needed: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        """`needed` are the columns that are read of a table: all of them where the collection is empty."""
        self._ignore_case = ignore_case
        self._charsets = charsets
        self._hints = hints
        self._needed = needed
        self._spelled = {self._fold(table_name(spelled, database)): spelled for spelled in [CHECKPOINT_TABLE, *tables]}
        self._shapes: dict[bytes, Shape | None] = {}
        names = sorted({name.database.encode() for name in self._spelled})
        self._databases = frozenset(name.lower() for name in names)
        self._mentions = re.compile(
            rb"[`\"]?(?<![\w$])(?:" + b"|".join(map(re.escape, names)) + rb")[`\"]?\s*\.", re.IGNORECASE
        )

    def shape(self, table_map: bytes) -> Shape | None:
        """The shape that a TABLE_MAP (from its names on) describes; None for a table that is not captured."""
        shape = self._shapes.get(table_map)
        if shape is not None or table_map in self._shapes:
            return shape
        if len(self._shapes) >= _SHAPES_MAX:
            self._shapes.clear()
        shape = self._shapes[table_map] = self._decode(table_map)
        return shape

    def spelled(self, name: TableName) -> str | None:
        """How the configuration spells the table; None when it is not captured."""
        return self._spelled.get(self._fold(name))

    def of_database(self, database: str) -> list[str]:
        """The captured tables of a database."""
        folded = self._fold(TableName(database, "")).database
        return [spelled for name, spelled in self._spelled.items() if name.database == folded]

    def folded(self, text: str) -> str:
        """A statement or name in small letters, where the server does not tell them from capitals."""
        return text.lower() if self._ignore_case else text

    def decoder_of(self, collation: int) -> Decoder | None:
        """How to decode text of a collation, by its number; as UTF-8 where that is not known."""
        known = self._charsets.of(collation) if collation in self._charsets.collations else None
        return known.decode if known is not None else None

    def may_concern(self, database: bytes, statement: bytes) -> bool:
        """Whether a statement could touch a captured table: run in its database, or with that named before a dot."""
        return database.lower() in self._databases or self._mentions.search(statement) is not None

    def _fold(self, name: TableName) -> TableName:
        return TableName(name.database.lower(), name.table.lower()) if self._ignore_case else name

    def _decode(self, table_map: bytes) -> Shape | None:
        spelled = self.spelled(TableName(*decode_table_name(Reader(table_map))))
        if spelled is None:
            return None
        table = decode_table_map(Reader(table_map), is_mariadb=self._charsets.is_mariadb)
        shape = make_shape(spelled, table, self._charsets, self._hints(spelled))
        if spelled not in self._needed:
            return shape
        columns = self._needed[spelled] or shape.relation.columns
        bits = sum(1 << place for place, name in enumerate(shape.relation.columns) if name in columns)
        return msgspec.structs.replace(shape, needed_bits=bits)


def make_shape(spelled: str, table: TableMap, charsets: ServerCharsets, hints: Mapping[str, str]) -> Shape:
    """Relation and decoder of a table. Without a primary key its identity is the whole row."""
    columns = table.columns
    sets = [charsets.of(column.collation) for column in columns]
    column_hints = [hints.get(column.name, "") for column in columns]
    identity = table.primary_key or tuple(range(len(columns)))
    try:
        types = tuple(log_type(*facts) for facts in zip(columns, sets, column_hints, strict=True))
    except DecodeError as error:
        raise DecodeError(
            f"table {spelled}: {error.what}", cause=error.cause, remedy=error.remedy, code=error.code
        ) from error
    relation = Relation(spelled, tuple(column.name for column in columns), types, identity)
    decoder = RowDecoder(columns, sets, column_hints, identity)
    return Shape(relation, decoder, encode_length(len(columns)), (len(columns) + 7) // 8)

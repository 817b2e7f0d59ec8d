"""Live tables as information_schema describes them: for the snapshot, for writing, and for what the log cannot tell."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final

import msgspec

from cdcd.model import ColumnShape, TableShape
from cdcd_mysql.captured import TableName, table_name
from cdcd_mysql.charsets import Charset, charset
from cdcd_mysql.definition import json_columns
from cdcd_mysql.session import Server, Session
from cdcd_mysql.statements import quote_table, quote_text
from cdcd_mysql.types import (
    BINARY_JSON,
    DATE,
    DOUBLE,
    FLOAT,
    HINTED,
    INSTANT_MAX,
    INSTANT_MAX_UNSIGNED,
    LOB_SIZES_MAX,
    TEMPORAL,
    enum_type,
    integer_type,
    set_type,
    sized,
    temporal_hint,
    temporal_type,
    text_type,
)

INTEGER_BITS: Final = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_LOB_LENGTH_SIZES: Final = {"tiny": 1, "": 2, "medium": 3, "long": 4}
_LABEL: Final = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPED: Final = re.compile(r"''|\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "0": "\0", "Z": "\x1a"}
_SIMPLE: Final[Mapping[str, str]] = {
    "float": FLOAT,
    "double": DOUBLE,
    "date": DATE,
    "year": "integer(0,2155)",
    **{name: canonical for name, (canonical, _, _) in HINTED.items()},
}
_UNSIGNED_SECONDS_SINCE: Final = (11, 5, 0)
_COLUMNS_SQL: Final = """
SELECT column_name AS name, data_type AS data_type, column_type AS column_type, is_nullable AS is_nullable,
       column_default AS column_default, extra AS extra, character_set_name AS charset,
       collation_name AS collation, character_maximum_length AS size, numeric_precision AS `precision`, numeric_scale AS scale,
       datetime_precision AS fraction, generation_expression AS generation
  FROM information_schema.columns WHERE table_schema = {database} AND table_name = {table} ORDER BY ordinal_position"""
_KEYS_SQL: Final = """
SELECT index_name AS name, {column} AS column_name, sub_part AS prefix
  FROM information_schema.statistics
 WHERE table_schema = {database} AND table_name = {table} AND non_unique = 0 ORDER BY index_name, seq_in_index"""
_TABLE_SQL: Final = """
SELECT engine AS engine, table_type AS kind FROM information_schema.tables
 WHERE table_schema = {database} AND table_name = {table}"""
_MAY_SEE_TRIGGERS_SQL: Final = """
SELECT EXISTS (SELECT 1 FROM information_schema.user_privileges WHERE privilege_type = 'TRIGGER' AND grantee = me.grantee)
    OR EXISTS (SELECT 1 FROM information_schema.schema_privileges
               WHERE privilege_type = 'TRIGGER' AND table_schema = {database} AND grantee = me.grantee)
    OR EXISTS (SELECT 1 FROM information_schema.table_privileges
               WHERE privilege_type = 'TRIGGER' AND table_schema = {database} AND table_name = {table} AND grantee = me.grantee)
    AS may
  FROM (SELECT CONCAT("'", SUBSTRING_INDEX(CURRENT_USER(), '@', 1), "'@'", SUBSTRING_INDEX(CURRENT_USER(), '@', -1), "'")
        AS grantee) AS me"""
_TRIGGERS_SQL: Final = """
SELECT count(*) AS count FROM information_schema.triggers
 WHERE event_object_schema = {database} AND event_object_table = {table} AND event_manipulation = 'INSERT'"""


class LiveColumn(msgspec.Struct, frozen=True):
    """A column. `type` is canonical; `charset` None for binary ones.

    `labels` are those of ENUM and SET, as information_schema shows them: "?" for every character beyond the BMP.
    `rounds_to` are the decimals that a FLOAT(7,4) rounds to. `instant_max` is the last second that a TIMESTAMP takes.
    `is_binary_json`: the server keeps JSON parsed, not as text. `keeps_negative_zero`: a FLOAT or DOUBLE can be -0.0.
    """

    name: str
    data_type: str
    type: str
    nullable: bool
    charset: Charset | None
    collation: str
    has_default: bool
    is_generated: bool
    is_automatic: bool
    fraction_digits: int = 0
    precision: int = 0
    scale: int = 0
    size: int = 0
    is_zerofill: bool = False
    labels: tuple[str, ...] = ()
    rounds_to: int | None = None
    instant_max: str = INSTANT_MAX
    is_binary_json: bool = False
    keeps_negative_zero: bool = True


class LiveTable(msgspec.Struct, frozen=True, dict=True):
    """A table. `unique_keys` are those over whole columns, the primary key first. `kind` is information_schema's table_type.

    `unique_key_names` are the indexes of these keys, in the same order.

    `has_insert_trigger`, too, where MySQL does not show them to us (it does with TRIGGER): there may be one.

    `has_partial_unique_key` says that there are others, over prefixes or expressions. `primary_key` is in key order.
    """

    spelled: str
    name: TableName
    engine: str
    kind: str
    columns: tuple[LiveColumn, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[tuple[str, ...], ...]
    unique_key_names: tuple[str, ...]
    has_partial_unique_key: bool
    has_insert_trigger: bool

    def column(self, name: str) -> LiveColumn | None:
        """The column of that name."""
        return self._columns_by_name.get(name)

    @cached_property
    def _columns_by_name(self) -> dict[str, LiveColumn]:
        return {column.name: column for column in self.columns}

    @cached_property
    def written(self) -> dict[Hashable, Any]:
        """What was found out about writes to it, by their shape (see `jobs.written_columns`): as old as the description."""
        return {}

    @property
    def is_base(self) -> bool:
        """Whether it is a plain table: no view, no sequence, no system-versioned table with hidden history rows."""
        return self.kind == "BASE TABLE"

    @property
    def shape(self) -> TableShape:
        """What the core needs to know of it."""
        columns = tuple(
            ColumnShape(c.name, c.type, c.nullable, c.is_generated, c.has_default or c.is_automatic)
            for c in self.columns
        )
        return TableShape(self.spelled, columns, self.primary_key, self.unique_keys)

    @property
    def hints(self) -> dict[str, str]:
        """Types of columns that the log cannot tell, by column (`types`)."""
        hints = {c.name: c.data_type for c in self.columns if c.data_type == "json" or c.data_type in HINTED}
        timed = [c for c in self.columns if c.data_type in TEMPORAL]
        return hints | {c.name: temporal_hint(c.data_type, c.fraction_digits, c.instant_max) for c in timed}


def read_table(session: Session, server: Server, spelled: str, database: str) -> LiveTable | None:
    """Describe a table; None when there is none of that name."""
    name = table_name(spelled, database)
    facts = {"database": quote_text(name.database), "table": quote_text(name.table)}
    doing = f"describe table {spelled}"

    def ask(sql: str, **more: str) -> list[dict[str, Any]]:
        return session.named_rows(sql.format(**facts, **more), doing)

    table = ask(_TABLE_SQL)
    if not table:
        return None
    is_base = table[0]["kind"] == "BASE TABLE"
    json = json_columns(definition_of(session, name)) if server.is_mariadb and is_base else frozenset()
    columns = tuple(_column(row, json, server) for row in ask(_COLUMNS_SQL))
    expression = "NULL" if server.is_mariadb or server.version < (8, 0, 13) else "expression"
    keys, has_partial = _keys(ask(_KEYS_SQL, column=f"IF({expression} IS NULL, column_name, NULL)"))
    names = tuple(sorted(keys, key=lambda name: name != "PRIMARY"))
    return LiveTable(
        spelled,
        name,
        table[0]["engine"] or "",
        table[0]["kind"],
        columns,
        keys.get("PRIMARY", ()),
        tuple(keys[name] for name in names),
        names,
        has_partial,
        bool(ask(_TRIGGERS_SQL)[0]["count"]) or (not server.is_mariadb and not ask(_MAY_SEE_TRIGGERS_SQL)[0]["may"]),
    )


def definition_of(session: Session, name: TableName) -> str:
    """The statement that makes a table as it is, which every account may see that may read it."""
    return str(session.rows(f"SHOW CREATE TABLE {quote_table(name)}", f"describe table {name.table}")[0][1])


def read_tables(session: Session, server: Server, spelled: Iterable[str], database: str) -> dict[str, LiveTable]:
    """Those of the tables that exist."""
    found = {name: read_table(session, server, name, database) for name in dict.fromkeys(spelled)}
    return {name: table for name, table in found.items() if table is not None}


def _column(row: Mapping[str, Any], json: frozenset[str], server: Server) -> LiveColumn:
    column_type, extra = row["column_type"].lower(), row["extra"].lower()
    is_json = row["data_type"] == "longtext" and row["name"] in json
    data_type = "json" if is_json else row["data_type"].lower()
    labels = tuple(_ESCAPED.sub(_unescaped, label) for label in _LABEL.findall(row["column_type"]))
    found = _charset(data_type, row["charset"])
    unsigned_seconds = server.is_mariadb and server.version >= _UNSIGNED_SECONDS_SINCE
    column = LiveColumn(
        name=row["name"],
        data_type=data_type,
        type="",
        nullable=row["is_nullable"] == "YES",
        charset=found,
        collation=row["collation"] or "",
        has_default=row["column_default"] not in (None, "NULL"),
        is_generated=bool(row["generation"]),
        is_automatic="auto_increment" in extra,
        fraction_digits=row["fraction"] or 0,
        precision=row["precision"] or 0,
        scale=row["scale"] or 0,
        size=row["size"] or 0,
        is_zerofill="zerofill" in column_type,
        labels=labels if data_type in ("enum", "set") else (),
        rounds_to=row["scale"] if data_type in ("float", "double") else None,
        instant_max=INSTANT_MAX_UNSIGNED if unsigned_seconds else INSTANT_MAX,
        is_binary_json=data_type == "json" and not server.is_mariadb,
        keeps_negative_zero=not server.is_mariadb,  # 11.8.6 kept it, 10.11 and 11.8.9 do not
    )
    is_unsigned = "unsigned" in column_type
    return msgspec.structs.replace(column, type=_type(column, is_unsigned=is_unsigned, is_mariadb=server.is_mariadb))


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1]) if match[1] else "'"


def _charset(data_type: str, name: str | None) -> Charset | None:
    if data_type == "json":
        return charset("utf8mb4")
    return None if name in (None, "binary") else charset(str(name))


def _type(column: LiveColumn, *, is_unsigned: bool, is_mariadb: bool) -> str:
    """The same as `types.log_type` says of the column in the log."""
    data_type = column.data_type
    if data_type in INTEGER_BITS:
        return integer_type(INTEGER_BITS[data_type], unsigned=is_unsigned)
    if data_type == "decimal":
        return f"decimal({column.precision},{column.scale})"
    if data_type == "bit":
        return f"integer(0,{(1 << column.precision) - 1})"
    if data_type in TEMPORAL:
        return temporal_type(data_type, column.fraction_digits, column.instant_max)
    if data_type in ("enum", "set"):
        return (enum_type if data_type == "enum" else set_type)(column.labels)
    if data_type == "json":
        return BINARY_JSON if column.is_binary_json else "json"
    if data_type in ("char", "varchar", "binary", "varbinary"):
        return _string_type(column)
    if data_type.endswith(("text", "blob")):
        limit = LOB_SIZES_MAX.get(_LOB_LENGTH_SIZES[data_type[:-4]])
        return sized("bytes", limit) if column.charset is None else text_type(limit, column.charset)
    if data_type == "vector" and is_mariadb:
        return sized("bytes", column.size)  # there it is a kind of VARBINARY
    return _SIMPLE.get(data_type, "bytes")  # geometries and vectors are bytes, in the server's own binary form


def _string_type(column: LiveColumn) -> str:
    if column.charset is None:
        return sized("bytes", column.size)
    return text_type(column.size, column.charset, is_padded=column.data_type == "char")


def _keys(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, tuple[str, ...]], bool]:
    """Unique keys by name; and whether there are some that do not cover whole columns (left out, but the primary)."""
    keys: dict[str, tuple[str, ...]] = {}
    partial: set[str] = set()
    for row in rows:
        if row["column_name"] is None or row["prefix"] is not None:
            partial.add(row["name"])
        keys[row["name"]] = (*keys.get(row["name"], ()), row["column_name"] or "")
    return {name: key for name, key in keys.items() if name == "PRIMARY" or name not in partial}, bool(partial)

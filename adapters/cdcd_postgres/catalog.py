"""What the catalog knows of tables and types."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdcd.adapter import TableNeed
from cdcd.model import ColumnShape, Relation, TableShape
from cdcd_postgres.names import TableName
from cdcd_postgres.pgoutput import Shape
from cdcd_postgres.protocol import StreamRelation
from cdcd_postgres.session import Connection
from cdcd_postgres.types import TypeEntry, Types

_DESCRIBE: Final = """
SELECT json_build_object(
  'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'persistence', c.relpersistence,
  'replica_identity', c.relreplident, 'has_rules', c.relhasrules,
  'row_estimate', greatest(c.reltuples, 0)::bigint,
  'columns', (
    SELECT coalesce(json_agg(json_build_object(
        'name', a.attname, 'type_oid', a.atttypid::bigint, 'modifier', a.atttypmod, 'required', a.attnotnull,
        'generated', a.attgenerated <> '', 'identity', a.attidentity,
        'is_enum', (SELECT t.typtype = 'e' FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid),
        'default', a.atthasdef, 'expression', pg_get_expr(d.adbin, d.adrelid)) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'keys', (
    SELECT coalesce(json_agg(json_build_object(
        'columns', (SELECT json_agg(a.attname ORDER BY k.place)
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
          WHERE k.place <= i.indnkeyatts),
        'primary', i.indisprimary, 'immediate', i.indimmediate, 'replica', i.indisreplident)
      ORDER BY NOT i.indisprimary, i.indexrelid), '[]')
    FROM pg_catalog.pg_index i
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL)
)::text
FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_TYPE: Final = """
SELECT t.typname::text, t.typtype::text, t.typbasetype::bigint, t.typtypmod,
  CASE WHEN starts_with(printed, quoted) THEN substr(printed, length(quoted) + 1) ELSE printed END,
  format_type(t.oid, -1)
FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace,
  format_type(t.oid, nullif($2::int, -1)) AS printed, concat(quote_ident(n.nspname), '.') AS quoted
WHERE t.oid = $1::oid
"""


_LARGE_ROWS: Final = 10_000


class CatalogColumn(msgspec.Struct, frozen=True):
    """A column. `identity` is "a" (always), "d" (by default) or "". `expression` is its default's text."""

    name: str
    type_oid: int
    modifier: int
    required: bool
    generated: bool
    identity: str
    default: bool
    expression: str | None
    is_enum: bool = False

    @property
    def draws_number(self) -> bool:
        """Whether every insert without it takes a number from a sequence."""
        return bool(self.identity) or "nextval(" in (self.expression or "")


class CatalogKey(msgspec.Struct, frozen=True):
    """A unique index over plain columns and all rows. `immediate` ones can arbitrate ON CONFLICT."""

    columns: tuple[str, ...]
    primary: bool
    immediate: bool
    replica: bool


class CatalogTable(msgspec.Struct, frozen=True):
    """A table. `kind`, `persistence` and `replica_identity` are the letters of pg_class; keys begin with the primary one."""

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    replica_identity: str
    columns: tuple[CatalogColumn, ...]
    keys: tuple[CatalogKey, ...]
    has_rules: bool = False
    row_estimate: int = 0

    @property
    def table_name(self) -> TableName:
        """Its name."""
        return TableName(self.schema, self.name)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of the primary key, empty when there is none."""
        return self.keys[0].columns if self.keys and self.keys[0].primary else ()

    @property
    def stored_columns(self) -> tuple[CatalogColumn, ...]:
        """The columns that the log carries: all but generated ones."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that name a row in the log: of the replica identity; for FULL the primary key, or else all."""
        if self.replica_identity == "i":
            return next((key.columns for key in self.keys if key.replica), ())
        return self.primary_key or tuple(column.name for column in self.stored_columns)

    def is_unique(self, columns: Sequence[str]) -> bool:
        """Whether a unique index sees to it that `columns` name one row at most."""
        return any(set(key.columns) <= set(columns) for key in self.keys)

    def keeps_plans(self, key_columns: Sequence[str]) -> bool:
        """Whether the server may keep a plan that finds rows by `key_columns`.

        One made while a table is small reads it whole, and would go on doing so when it has grown.
        """
        return self.row_estimate >= _LARGE_ROWS and self.is_unique(key_columns)

    def draws_numbers_without(self, column_names: Container[str]) -> bool:
        """Whether an insert into `column_names` alone takes a number from a sequence."""
        return any(column.draws_number and column.name not in column_names for column in self.columns)

    def arbitrates(self, key_columns: Sequence[str]) -> bool:
        """Whether a unique index on just these columns tells at once that a row exists."""
        return any(key.immediate and set(key.columns) == set(key_columns) for key in self.keys)


class Catalog:
    """The catalog as one connection sees it. Types are kept: the meaning of an OID does not change."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sql_types: dict[int, str] = {}
        self.types = Types(self._look_up_type)

    def tables(self, names: Sequence[TableName]) -> dict[TableName, CatalogTable]:
        """Those of `names` that exist."""
        if not names:
            return {}
        parameters = [[name.schema for name in names], [name.name for name in names]]
        rows = self._connection.execute(_DESCRIBE, parameters).fetchall()
        found = [msgspec.json.decode(text, type=CatalogTable) for (text,) in rows]
        return {table.table_name: table for table in found}

    def table(self, name: TableName) -> CatalogTable | None:
        """One table, None when it does not exist."""
        return self.tables([name]).get(name)

    def sql_type(self, column: CatalogColumn) -> str:
        """The column's type below its domains, without length or precision: what a text can be cast to without loss.

        An explicit cast to varchar(n) would cut; this leaves it to the assignment, which refuses.
        """
        oid, _ = self.types.base(column.type_oid, column.modifier)
        if oid not in self._sql_types:
            self._look_up_type(oid, -1)
        return self._sql_types[oid]

    def _look_up_type(self, oid: int, modifier: int) -> TypeEntry | None:
        row: tuple[Any, ...] | None = self._connection.execute(_TYPE, [str(oid), str(modifier)]).fetchone()
        if row is None:
            return None
        name, kind, base, base_modifier, printed, self._sql_types[oid] = row
        return TypeEntry(name, kind, base, base_modifier, printed)


class Captured:
    """The tables that a source reads, by their names in the log and as the configuration spells them."""

    def __init__(self, needs: Sequence[TableNeed], names: Mapping[str, TableName]) -> None:
        self.spelled = {names[need.table]: need.table for need in needs if need.captured}

    def shape(self, table: CatalogTable, types: Types) -> Shape:
        """How rows of a table are reported when they are read from the table itself."""
        columns = table.stored_columns
        names = tuple(column.name for column in columns)
        found = [types.column(column.type_oid, column.modifier) for column in columns]
        relation = Relation(
            self.spelled[table.table_name],
            names,
            tuple(found),
            tuple(number for number, name in enumerate(names) if name in table.identity),
        )
        return Shape(relation)

    def stream_shape(self, stream: StreamRelation, catalog: Catalog) -> Shape | None:
        """How rows of a table are reported that come from the log; None when nobody wants them.

        Columns and types are those of the log. Its identity flags say nothing for REPLICA IDENTITY FULL: then the
        catalog's primary key counts, as far as the log has its columns.
        """
        spelled = self.spelled.get(TableName(stream.schema, stream.name))
        if spelled is None:
            return None
        found = [catalog.types.column(column.type_oid, column.modifier) for column in stream.columns]
        whole_olds = True
        identity = tuple(number for number, column in enumerate(stream.columns) if column.in_identity)
        if stream.replica_identity not in ("d", "i") or not identity:
            table = catalog.table(TableName(stream.schema, stream.name))
            key = table.primary_key if table is not None and table.oid == stream.oid else ()
            whole_olds = not key or table is None or table.kind != "p"
            names = [column.name for column in stream.columns]
            identity = (
                tuple(sorted(map(names.index, key))) if key and set(key) <= set(names) else tuple(range(len(names)))
            )
        relation = Relation(
            spelled,
            tuple(column.name for column in stream.columns),
            tuple(found),
            identity,
        )
        return Shape(relation, whole_olds)


def table_shape(table: CatalogTable, types: Types, spelled: str) -> TableShape:
    """A table as the core sees it."""
    columns = tuple(
        ColumnShape(
            column.name,
            types.column(column.type_oid, column.modifier),
            nullable=not column.required,
            generated=column.generated,
            has_default=column.default or bool(column.identity),
        )
        for column in table.columns
    )
    return TableShape(spelled, columns, table.primary_key, tuple(key.columns for key in table.keys))

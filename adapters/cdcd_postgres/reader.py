"""Looks at a PostgreSQL database's tables (`cdcd.reader.Reader`), in read-only transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Final

import psycopg

from cdcd.adapter import RowFilter
from cdcd.errors import NotReady
from cdcd.model import Row
from cdcd.reader import ForeignKey, TableFacts
from cdcd_postgres import session
from cdcd_postgres.catalog import Catalog, CatalogTable, table_shape
from cdcd_postgres.encoding import text_of
from cdcd_postgres.errors import answer_to, filtering, translated
from cdcd_postgres.names import TableName, parse_table, quote_identifier
from cdcd_postgres.options import Options
from cdcd_postgres.rowcode import compile_fetch
from cdcd_postgres.session import Connection
from cdcd_postgres.statements import only, select_chunk, select_rows, try_condition

_KEYS_MAX: Final = 500
_ROW_BYTES_GUESS: Final = 100
"""For the number of rows of a table that was never analyzed."""
_TABLES: Final = f"""
SELECT n.nspname::text, c.relname::text,
  CASE WHEN c.reltuples >= 0 AND c.relpages > 0 THEN c.reltuples::bigint
  ELSE pg_relation_size(c.oid) / {_ROW_BYTES_GUESS} END
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY 1, 2
"""
_FOREIGN_KEYS: Final = """
SELECT n.nspname::text, c.relname::text, rn.nspname::text, rc.relname::text,
  ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k(number, place)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.number ORDER BY k.place),
  ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k(number, place)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.number ORDER BY k.place)
FROM pg_catalog.pg_constraint AS f
JOIN pg_catalog.pg_class AS c ON c.oid = f.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class AS rc ON rc.oid = f.confrelid JOIN pg_catalog.pg_namespace AS rn ON rn.oid = rc.relnamespace
WHERE f.contype = 'f' ORDER BY f.conname
"""


class PostgresReader:
    """See the contract."""

    def __init__(self, system: str, options: Options) -> None:
        self._system = system
        self._options = options
        self._connection: Connection | None = None
        self._catalog: Catalog | None = None
        self._known: dict[str, CatalogTable] = {}

    def catalog(self) -> list[TableFacts]:
        """See the contract."""
        with translated(f"the tables of system '{self._system}' could not be listed"):
            connection = self._connected()
            listed = [(TableName(schema, name), rows) for schema, name, rows in connection.execute(_TABLES).fetchall()]
            catalog = self._catalogue()
            tables = catalog.tables([name for name, _ in listed])
            keys: dict[TableName, list[ForeignKey]] = {}
            for schema, name, other_schema, other, columns, referred in connection.execute(_FOREIGN_KEYS).fetchall():
                found = ForeignKey(tuple(columns), TableName(other_schema, other).spelled, tuple(referred))
                keys.setdefault(TableName(schema, name), []).append(found)
            return [
                TableFacts(table_shape(tables[name], catalog.types, name.spelled), rows, tuple(keys.get(name, ())))
                for name, rows in listed
                if name in tables
            ]

    def sample(self, table: str, columns: Sequence[str], row_limit: int, *, spread: bool = False) -> list[Row]:
        """See the contract."""
        with translated(f"table {table} could not be read"):
            live = self._table(table, columns)
            first = self._select(live, columns, row_limit + 1)
            if len(first) <= row_limit or not spread or not live.primary_key:
                return first[:row_limit]
            last = self._select(live, columns, row_limit // 2, descending=True)
            return first[: row_limit - len(last)] + last[::-1]

    def page(
        self, table: str, columns: Sequence[str], after: Sequence[object] | None, row_limit: int, *, where: str = ""
    ) -> list[Row]:
        """See the contract."""
        with translated(f"table {table} could not be read"):
            live = self._table(table, columns)
            if not live.primary_key:
                raise NotReady(
                    f"table {table} in system '{self._system}' cannot be read in pages",
                    cause="it has no primary key",
                    remedy=f"ALTER TABLE {live.table_name.sql} ADD PRIMARY KEY (…)",
                    code="no-primary-key",
                )
            chosen = RowFilter(where=where) if where else None
            key, is_next = live.primary_key, after is not None
            sql = select_chunk(live, columns, key, after=is_next, row_limit=row_limit, row_filter=chosen)
            parameters = [text_of(part) for part in after or ()]  # type: ignore[arg-type]
            with filtering(table) if where else nullcontext():
                return self._fetch(sql, parameters, live, columns)

    def read_rows(
        self, table: str, columns: Sequence[str], key: Sequence[str], keys: Sequence[Sequence[object]]
    ) -> list[Row]:
        """See the contract."""
        with translated(f"table {table} could not be read"):
            live = self._table(table, (*columns, *key))
            rows: list[Row] = []
            for start in range(0, len(keys), _KEYS_MAX):
                rows += self._rows_of(live, columns, key, keys[start : start + _KEYS_MAX])
            return rows

    def check_filter(self, table: str, condition: str) -> None:
        """See the contract."""
        with translated(f"table {table} could not be read"):
            live = self._table(table, ())
            with filtering(table):
                for written in (f"({condition}\n)", condition):
                    self._connected().execute(try_condition(live, written))

    def _rows_of(
        self, live: CatalogTable, columns: Sequence[str], key: Sequence[str], keys: Sequence[Sequence[object]]
    ) -> list[Row]:
        """A key that the columns cannot hold spoils the query for all: it is looked for by halves."""
        sql = select_rows(live, columns, key, row_count=len(keys))
        parameters: list[str | None] = [text_of(part) for one in keys for part in one]  # type: ignore[arg-type]
        try:
            return self._fetch(sql, parameters, live, columns)
        except psycopg.Error as error:
            if not answer_to(error).from_data:
                raise
        if len(keys) == 1:
            return []
        half = len(keys) // 2
        return [*self._rows_of(live, columns, key, keys[:half]), *self._rows_of(live, columns, key, keys[half:])]

    def _select(
        self, live: CatalogTable, columns: Sequence[str], row_limit: int, *, descending: bool = False
    ) -> list[Row]:
        listed = ", ".join(map(quote_identifier, columns))
        way = " DESC" if descending else ""
        order = ", ".join(f"{quote_identifier(name)}{way}" for name in live.primary_key)
        ordered = f" ORDER BY {order}" if order else ""
        return self._fetch(f"SELECT {listed} FROM {only(live)}{ordered} LIMIT {row_limit:d}", [], live, columns)

    def _fetch(
        self, sql: str, parameters: Iterable[str | None], live: CatalogTable, columns: Sequence[str]
    ) -> list[Row]:
        types = self._catalogue().types
        by_name = {column.name: column for column in live.columns}
        found = [types.column(by_name[name].type_oid, by_name[name].modifier) for name in columns]
        result = self._connected().execute(sql, list(parameters)).pgresult
        assert result is not None
        fetch = compile_fetch(found)
        return [fetch(result.get_value, number) for number in range(result.ntuples)]

    def _table(self, spelled: str, columns: Iterable[str]) -> CatalogTable:
        if spelled not in self._known:
            table = self._catalogue().table(parse_table(spelled))
            if table is None:
                raise _missing(f"there is no table {spelled} in system '{self._system}'", "table-missing")
            self._known[spelled] = table
        names = {column.name for column in self._known[spelled].columns}
        for name in columns:
            if name not in names:
                raise _missing(f"table {spelled} in system '{self._system}' has no column {name}", "column-missing")
        return self._known[spelled]

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = session.connect_reading(self._system, self._options)
            self._connection.execute("SET default_transaction_read_only = on")
        return self._connection

    def _catalogue(self) -> Catalog:
        if self._catalog is None:
            self._catalog = Catalog(self._connected())
        return self._catalog

    def close(self) -> None:
        """See the contract."""
        session.close(self._connection)
        self._connection = self._catalog = None


def _missing(what: str, code: str) -> NotReady:
    return NotReady(what, remedy="create it, or correct the configuration", code=code)

"""Looks at a MySQL or MariaDB database's tables (`cdcd.reader.Reader`), in read-only transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Final

from cdcd.adapter import RowFilter
from cdcd.errors import NotReady, Refused
from cdcd.model import Row, Value
from cdcd.reader import ForeignKey, TableFacts
from cdcd_mysql.errors import filtering, translated
from cdcd_mysql.literals import UnfitError, literal
from cdcd_mysql.options import Options
from cdcd_mysql.resultset import convert_rows, select_expression
from cdcd_mysql.schema import LiveColumn, LiveTable, read_table
from cdcd_mysql.session import Server, Session, inspect, read_only_session
from cdcd_mysql.snapshot import ChunkRequest, chunk_sql
from cdcd_mysql.statements import key_condition, quote_name, quote_table, quote_text, select_sql

_KEYS_MAX: Final = 1000
_TABLES_SQL: Final = """
SELECT table_name AS name, table_rows AS table_rows FROM information_schema.tables
 WHERE table_schema = {database} AND table_type = 'BASE TABLE' ORDER BY table_name"""
_FOREIGN_KEYS_SQL: Final = """
SELECT constraint_name AS name, table_name AS owner, column_name AS column_name,
       referenced_table_schema AS schema_name, referenced_table_name AS referred, referenced_column_name AS referred_column
  FROM information_schema.key_column_usage
 WHERE table_schema = {database} AND referenced_table_name IS NOT NULL
 ORDER BY table_name, constraint_name, ordinal_position"""


class MySqlReader:
    """See the contract. One connection describes, another reads values as the server's bytes."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._describing: Session | None = None
        self._server: Server | None = None
        self._reading: Session | None = None
        self._known: dict[str, LiveTable] = {}

    def catalog(self) -> list[TableFacts]:
        """See the contract."""
        session, _ = self._describer()
        database = quote_text(self._options.database)
        listed = session.named_rows(_TABLES_SQL.format(database=database), "list the tables")
        keys = self._foreign_keys(session, database)
        found = []
        for row in listed:
            name = str(row["name"])
            table = self._look_at(name)
            if table is not None:
                found.append(TableFacts(table.shape, int(row["table_rows"] or 0), tuple(keys.get(name, ()))))
        return found

    def _foreign_keys(self, session: Session, database: str) -> dict[str, list[ForeignKey]]:
        parts: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
        for row in session.named_rows(_FOREIGN_KEYS_SQL.format(database=database), "list the foreign keys"):
            own = row["schema_name"] == self._options.database
            referred = row["referred"] if own else f"{row['schema_name']}.{row['referred']}"
            part = (row["column_name"], referred, row["referred_column"])
            parts.setdefault((row["owner"], row["name"]), []).append(part)
        found: dict[str, list[ForeignKey]] = {}
        for (owner, _), columns in parts.items():
            key = ForeignKey(tuple(c for c, _, _ in columns), columns[0][1], tuple(r for _, _, r in columns))
            found.setdefault(owner, []).append(key)
        return found

    def sample(self, table: str, columns: Sequence[str], row_limit: int, *, spread: bool = False) -> list[Row]:
        """See the contract."""
        live, picked = self._columns(table, columns)
        first = self._select(live, picked, row_limit + 1)
        if len(first) <= row_limit or not spread or not live.primary_key:
            return first[:row_limit]
        last = self._select(live, picked, row_limit // 2, descending=True)
        return first[: row_limit - len(last)] + last[::-1]

    def _select(
        self, live: LiveTable, columns: Sequence[LiveColumn], row_limit: int, *, descending: bool = False
    ) -> list[Row]:
        way = " DESC" if descending else ""
        order = ", ".join(f"{quote_name(name)}{way}" for name in live.primary_key)
        listed = ", ".join(map(select_expression, columns))
        ordered = f" ORDER BY {order}" if order else ""
        return self._rows(f"SELECT {listed} FROM {quote_table(live.name)}{ordered} LIMIT {row_limit:d}", live, columns)

    def page(
        self, table: str, columns: Sequence[str], after: Sequence[object] | None, row_limit: int, *, where: str = ""
    ) -> list[Row]:
        """See the contract."""
        live, picked = self._columns(table, columns)
        last_key: Row | None = None if after is None else list(after)  # type: ignore[arg-type]
        request = ChunkRequest(live, last_key, row_limit, RowFilter(where=where) if where else None)
        session = self._reader()
        with translated(f"read rows of table {live.spelled}"), filtering(table) if where else nullcontext():
            return convert_rows(picked, session.run(chunk_sql(request, picked)).rows)

    def read_rows(
        self, table: str, columns: Sequence[str], key: Sequence[str], keys: Sequence[Sequence[object]]
    ) -> list[Row]:
        """See the contract."""
        live, picked = self._columns(table, columns)
        _, by = self._columns(table, key)
        wanted = [texts for one in keys if (texts := _literals(by, one)) is not None]
        rows: list[Row] = []
        for start in range(0, len(wanted), _KEYS_MAX):
            rows += self._rows_of(live, picked, key, wanted[start : start + _KEYS_MAX])
        return rows

    def check_filter(self, table: str, condition: str) -> None:
        """See the contract."""
        live, _ = self._columns(table, ())
        session = self._reader()
        with translated(f"read rows of table {table}"), filtering(table):
            for written in (f"({condition}\n)", condition):
                session.run(f"SELECT 1 FROM {quote_table(live.name)} WHERE {written}\n LIMIT 0")

    def _rows_of(
        self, live: LiveTable, picked: Sequence[LiveColumn], key: Sequence[str], keys: Sequence[Sequence[str]]
    ) -> list[Row]:
        """Characters that the key's columns cannot have spoil the query for all keys: they are looked for by halves."""
        sql = select_sql(live.name, map(select_expression, picked), key_condition(key, keys))
        try:
            return self._rows(sql, live, picked)
        except Refused:
            if len(keys) == 1:
                return []
        half = len(keys) // 2
        return [*self._rows_of(live, picked, key, keys[:half]), *self._rows_of(live, picked, key, keys[half:])]

    def _rows(self, sql: str, live: LiveTable, columns: Sequence[LiveColumn]) -> list[Row]:
        session = self._reader()
        with translated(f"read rows of table {live.spelled}"):
            return convert_rows(columns, session.run(sql).rows)

    def _columns(self, table: str, columns: Iterable[str]) -> tuple[LiveTable, list[LiveColumn]]:
        live = self._look_at(table)
        if live is None:
            raise _missing(f"there is no table {table} in {self._options.database}", "table-missing")
        found = []
        for name in columns:
            column = live.column(name)
            if column is None:
                raise _missing(f"table {table} in {self._options.database} has no column {name}", "column-missing")
            found.append(column)
        return live, found

    def _look_at(self, table: str) -> LiveTable | None:
        if table not in self._known:
            session, server = self._describer()
            live = read_table(session, server, table, self._options.database)
            if live is None:
                return None
            self._known[table] = live
        return self._known[table]

    def _describer(self) -> tuple[Session, Server]:
        if self._describing is None or self._server is None:
            self._describing = Session(self._options)
            self._server = inspect(self._describing)
        return self._describing, self._server

    def _reader(self) -> Session:
        if self._reading is None:
            _, server = self._describer()
            self._reading = read_only_session(self._options, server)
        return self._reading

    def close(self) -> None:
        """See the contract."""
        for session in (self._describing, self._reading):
            if session is not None:
                session.close()
        self._describing = self._reading = None


def _literals(columns: Sequence[LiveColumn], key: Sequence[object]) -> list[str] | None:
    """None where the key cannot be in these columns at all."""
    values: Sequence[Value] = key  # type: ignore[assignment]
    try:
        return [literal(column, value) for column, value in zip(columns, values, strict=True)]
    except UnfitError:
        return None


def _missing(what: str, code: str) -> NotReady:
    return NotReady(what, remedy="create it, or correct the configuration", code=code)

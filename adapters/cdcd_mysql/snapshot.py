"""Reads chunks of tables beside the stream, and finds the place in the stream where they are true.

A chunk may not be older than any transaction that came before it in the stream. The two servers give that differently.

MariaDB: START TRANSACTION WITH CONSISTENT SNAPSHOT is exact to the log: `binlog_snapshot_file` and `_position` are the
end of the last transaction that the snapshot sees, and it sees all before. The chunk belongs just there: after that
transaction, before the next. If the stream had already carried a later one (it is sent when it is in the log, a moment
before it is visible), the chunk is taken again.

MySQL: a snapshot does not tell its place, and a transaction is sent before it is visible. So, in this order: wait
until everything that the stream has carried is visible (a barrier); read the chunk; ask for the end of the log
("high"). What the chunk sees, and what the stream has not carried yet, is then before high. From the request on, keys
that the stream changes are left out of the chunk: their newer rows are in the stream. When the stream has passed high,
what is left of the chunk is as new as all that came before, and is given out.
The barrier: with GTIDs, WAIT_FOR_EXECUTED_GTID_SET, because a GTID enters gtid_executed after its transaction is
visible. Without, a committed write of our own (table cdcd_barrier): with binlog_order_commits, the default,
transactions become visible in the order of the log, and ours is behind all that the stream had.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Final

import msgspec

from cdcd.adapter import Identity, RowFilter
from cdcd.errors import FilterRefused, NotReady, Unavailable
from cdcd.model import Chunk, Op, Relation, Row, Rows, Value
from cdcd_mysql.captured import TableName
from cdcd_mysql.errors import filtering, translated
from cdcd_mysql.literals import UnfitError, literal, visible_label
from cdcd_mysql.options import Options
from cdcd_mysql.positions import Place, place_of
from cdcd_mysql.resultset import convert_rows, select_expression
from cdcd_mysql.schema import LiveColumn, LiveTable
from cdcd_mysql.session import Server, Session, read_only_session
from cdcd_mysql.statements import greater_than, key_condition, quote_name, quote_table, quote_text

BARRIER_TABLE: Final = "cdcd_barrier"
CREATE_BARRIER_SQL: Final = """CREATE TABLE IF NOT EXISTS {table} (
  name VARCHAR(160) NOT NULL PRIMARY KEY,
  crossed BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"""
_END: Final = "\n"
"""Before the closing bracket: a condition may end in a comment."""
_NO_SUCH_TABLE: Final = 1146


class ChunkRequest(msgspec.Struct, frozen=True):
    """What `Source.request_chunk` was asked for."""

    table: LiveTable
    after_key: Row | None
    row_limit: int
    row_filter: RowFilter | None = None


class TakenChunk:
    """Rows that were read and wait for their place. `is_exact`: they are true just at `place` (MariaDB), not before."""

    def __init__(self, rows: Rows, last_key: Row | None, place: Place, *, done: bool, is_exact: bool) -> None:
        self.place = place
        self.is_exact = is_exact
        self._rows = rows
        self._last_key = last_key
        self._done = done
        identity = rows.relation.identity
        self._by_key = {} if is_exact else {tuple(row[n] for n in identity): row for row in rows.rows}

    def watch(self, relation: Relation, op: Op, rows: list[Row], olds: list[Row | None] | None) -> None:
        """The stream carried these rows: leave out what is of the same keys. `relation` may have another shape.

        Where it has no such key, or rows are lost without being named, the core reads the table anew anyway.
        """
        if relation.table != self._rows.relation.table:
            return
        if op in (Op.TRUNCATE, Op.TABLE_GONE):
            self._by_key.clear()
        names = [self._rows.relation.columns[n] for n in self._rows.relation.identity]
        if not set(names) <= set(relation.columns):
            return
        places = [relation.columns.index(name) for name in names]
        for row in [*rows, *(old for old in olds or () if old is not None)]:
            self._by_key.pop(tuple(row[place] for place in places), None)

    def chunk(self) -> Chunk:
        """What is to be given out."""
        rows = self._rows
        if not self.is_exact:
            rows = Rows(rows.relation, Op.READ, list(self._by_key.values()))
        return Chunk(rows, self._last_key, self._done)


class ChunkReader:
    """A connection of its own for chunks, opened when the first is asked for."""

    def __init__(self, options: Options, identity: Identity, server: Server) -> None:
        self._options = options
        self._identity = identity
        self._server = server
        self._session: Session | None = None
        self._filtering: Session | None = None
        """For what an operator wants read: it can write nothing, and no query takes long."""

    def take(self, request: ChunkRequest, carried_gtids: str) -> TakenChunk:
        """Read a chunk. `carried_gtids` is what the stream has carried or begun to, empty where not known."""
        session = self._session = self._session or Session(
            self._options,
            raw=True,
            settings={"character_set_results": "NULL", "lock_wait_timeout": str(self._options.lock_timeout_seconds)},
        )
        sql = chunk_sql(request)
        table = request.table.spelled
        with translated(f"read a chunk of table {table}"):
            reading = session if request.row_filter is None else self._filtered()
            choosing = nullcontext() if request.row_filter is None else filtering(table)
            if self._server.is_mariadb:
                with choosing:
                    raw, place = _read_snapshot(reading, sql)
            else:
                self._wait_for(session, carried_gtids)
                with choosing:
                    raw = reading.run(sql).rows
                file, offset, *_ = session.run(self._server.log_status_sql).rows[0]
                place = place_of(file.decode(), int(offset))
        return _taken(request, convert_rows(request.table.columns, raw), place, is_exact=self._server.is_mariadb)

    def _filtered(self) -> Session:
        if self._filtering is None:
            self._filtering = read_only_session(self._options, self._server)
        return self._filtering

    def _wait_for(self, session: Session, carried_gtids: str) -> None:
        """Return when all that the stream has carried is visible to `session`."""
        if not self._server.has_gtids or not carried_gtids:
            self._write_barrier(session)
            return
        sql = f"SELECT WAIT_FOR_EXECUTED_GTID_SET({quote_text(carried_gtids)}, {self._options.lock_timeout_seconds})"
        if session.run(sql).rows[0][0] != b"0":
            raise Unavailable(
                "could not take a chunk",
                cause=f"a transaction in the log did not become visible in {self._options.lock_timeout_seconds} seconds",
            )

    def _write_barrier(self, session: Session) -> None:
        table = quote_table(TableName(self._options.database, BARRIER_TABLE))
        count = session.run(
            "SELECT count(*) FROM information_schema.tables"
            f" WHERE table_schema = {quote_text(self._options.database)} AND table_name = '{BARRIER_TABLE}'"
        ).rows[0][0]
        if count == b"0":
            session.run(CREATE_BARRIER_SQL.format(table=table))
        name = quote_text(f"{self._identity.daemon}/{self._identity.system}")
        session.run(f"INSERT INTO {table} VALUES ({name}, 1) ON DUPLICATE KEY UPDATE crossed = crossed + 1")

    def close(self) -> None:
        """Close the connections."""
        for session in (self._session, self._filtering):
            if session is not None:
                session.close()
        self._session = self._filtering = None


def _read_snapshot(session: Session, sql: str) -> tuple[Sequence[Sequence[bytes | None]], Place]:
    """The rows, and the exact place in MariaDB's log of what they were read from."""
    session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    try:
        status = dict(session.run("SHOW STATUS LIKE 'binlog_snapshot_%'").rows)
        rows = session.run(sql).rows
    finally:
        session.run("COMMIT")
    return rows, place_of(status[b"Binlog_snapshot_file"].decode(), int(status[b"Binlog_snapshot_position"]))


def _taken(request: ChunkRequest, rows: list[Row], place: Place, *, is_exact: bool) -> TakenChunk:
    table = request.table
    names = [column.name for column in table.columns]
    identity = tuple(names.index(name) for name in table.primary_key)
    relation = Relation(table.spelled, tuple(names), tuple(column.type for column in table.columns), identity)
    last_key = [rows[-1][n] for n in identity] if rows else None
    done = len(rows) < request.row_limit
    return TakenChunk(Rows(relation, Op.READ, rows), last_key, place, done=done, is_exact=is_exact)


def chunk_sql(request: ChunkRequest, columns: Sequence[LiveColumn] = ()) -> str:
    """The query of a chunk: the next rows in the order of the primary key, with all columns or only some."""
    table = request.table
    key = [column for name in table.primary_key if (column := table.column(name)) is not None]
    if not key or not table.is_base:
        raise NotReady(
            f"table {table.spelled} cannot be read in chunks",
            cause="it has no primary key",
            remedy=f"ALTER TABLE {quote_table(table.name)} ADD PRIMARY KEY (…)",
            code="no-primary-key",
        )
    expressions = [_key_expression(column) for column in key]
    sql = f"SELECT {', '.join(map(select_expression, columns or table.columns))} FROM {quote_table(table.name)}"
    conditions: list[str] = []
    if request.after_key is not None:
        literals = [_key_literal(column, value) for column, value in zip(key, request.after_key, strict=True)]
        conditions.append(greater_than(expressions, literals))
    if request.row_filter is not None:
        conditions.append(_chosen(table, request.row_filter))
    if conditions:
        sql += f" WHERE {' AND '.join(f'({condition}{_END})' for condition in conditions)}"
    return f"{sql} ORDER BY {', '.join(expressions)} LIMIT {int(request.row_limit)}"


def _chosen(table: LiveTable, row_filter: RowFilter) -> str:
    """A filter as a condition. A key that the columns cannot hold has no row."""
    if not row_filter.columns:
        return row_filter.where
    columns = [column for name in row_filter.columns if (column := table.column(name)) is not None]
    if len(columns) < len(row_filter.columns):
        raise FilterRefused(f"rows of table {table.spelled} cannot be chosen like this", cause="a column is gone")
    keys = []
    for values in row_filter.keys:
        with contextlib.suppress(UnfitError):
            keys.append([literal(column, value) for column, value in zip(columns, values, strict=True)])
    return key_condition(row_filter.columns, keys) if keys else "FALSE"


def _key_expression(column: LiveColumn) -> str:
    """What to sort and compare by. ENUM and SET sort by number but compare by label; a FLOAT is compared as double."""
    name = quote_name(column.name)
    if column.data_type in ("enum", "set"):
        return f"{name} + 0"
    return f"{name} * 1e0" if column.data_type == "float" else name


def _key_literal(column: LiveColumn, value: Value) -> str:
    number = _LABEL_NUMBERS.get(column.data_type)
    try:
        if number is not None and isinstance(value, str):
            return str(number(column.labels, value))
        return literal(column, value)
    except UnfitError as error:
        raise NotReady(
            f"column {column.name} cannot be a key for reading in chunks",
            cause=error.cause,
            remedy="correct the row whose key is not valid in its column's type or character set",
            code="key-unfit",
        ) from None


def _enum_number(labels: Sequence[str], value: str) -> int:
    return _label_place(labels, value) + 1 if value else 0


def _set_number(labels: Sequence[str], value: str) -> int:
    return sum(1 << _label_place(labels, member) for member in value.split(",") if member)


def _label_place(labels: Sequence[str], value: str) -> int:
    visible = visible_label(value)
    if labels.count(visible) != 1:
        raise UnfitError("bad-value", "information_schema does not tell its labels apart")
    return labels.index(visible)


_LABEL_NUMBERS: Final[dict[str, Callable[[Sequence[str], str], int]]] = {"enum": _enum_number, "set": _set_number}

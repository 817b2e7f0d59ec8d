"""Reads PostgreSQL's log through a logical replication slot. See `cdcd.adapter.Source` for what is promised."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
import psycopg

from cdcd.adapter import Finding, Identity, SourceStatus, TableNeed
from cdcd.errors import NotReady, PositionLost, Unavailable
from cdcd.model import CHECKPOINT_TABLE, Event, Row
from cdcd_postgres import checks, session, statements
from cdcd_postgres.catalog import Captured, Catalog, CatalogTable
from cdcd_postgres.errors import translated
from cdcd_postgres.names import TableName, parse_table
from cdcd_postgres.options import Options
from cdcd_postgres.pgoutput import Decoder, Shape, StreamRelation
from cdcd_postgres.position import Log, Position, format_lsn, parse_lsn, parse_position
from cdcd_postgres.publication import ensure_publication, read_publication
from cdcd_postgres.session import Connection
from cdcd_postgres.snapshot import ChunkReader
from cdcd_postgres.stream import Stream

_STREAMED_MAX: Final = 10_000
_SLOT_POLL_SECONDS: Final = 0.02


class Slot(msgspec.Struct, frozen=True):
    """A row of pg_replication_slots."""

    plugin: str | None
    database: str | None
    active_pid: int | None
    wal_status: str | None
    restart_lsn: str | None
    confirmed_lsn: str | None
    invalidation: str | None

    @property
    def lost(self) -> bool:
        """Whether the server has given it up: it can never be read again."""
        return self.wal_status == "lost" or self.invalidation is not None


class PostgresSource:
    """See the contract."""

    def __init__(self, identity: Identity, options: Options, tables: Sequence[TableNeed]) -> None:
        self._identity = identity
        self._system = identity.system
        self._options = options
        self._slot = options.slot_name(identity)
        self._publication = options.publication_name(identity)
        needs = [*(need for need in tables if need.captured), TableNeed(CHECKPOINT_TABLE)]
        self._names = {need.table: parse_table(need.table) for need in needs[:-1]}
        self._captured = Captured(needs, {**self._names, CHECKPOINT_TABLE: options.checkpoint_table})
        self._connection: Connection | None = None
        self._replication: Connection | None = None
        self._stream: Stream | None = None
        self._decoder: Decoder | None = None
        self._chunks: ChunkReader | None = None
        self._catalog: Catalog | None = None

    # ---- check and start ---------------------------------------------------------------------------------------------

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        """See the contract."""
        connection = session.connect_reading(self._system, self._options)
        try:
            with translated(f"system '{self._system}' could not be checked"):
                return checks.check_source(connection, self._identity, self._options, tables)
        finally:
            session.close(connection)

    def start(self, after: str | None) -> str:
        """See the contract."""
        assert self._connection is None, "started already"
        try:
            return self._start(after)
        except BaseException:
            self.close()
            raise

    def _start(self, after: str | None) -> str:
        self._connection = session.connect_reading(self._system, self._options)
        self._catalog = Catalog(self._connection)
        with translated(f"system '{self._system}' could not be prepared"):
            self._require_primary(self._connection)
            self._prepare_publication(self._connection, self._catalog, after)
        self._replication = session.connect_replication(self._system, self._options)
        stream = Stream(self._system, self._replication)
        with translated(f"system '{self._system}': the slot could not be used"):
            log, end_lsn = stream.identify()
            start_lsn = self._begin() if after is None else self._resume(log, end_lsn, parse_position(after))
        stream.start(self._slot, start_lsn, self._publication)
        self._stream = stream
        self._decoder = Decoder(log, start_lsn, self._resolve)
        self._chunks = ChunkReader(self._connection, self._captured, self._catalog, self._decoder.streamed)
        return log.token(start_lsn) if after is None else after

    def _require_primary(self, connection: Connection) -> None:
        row = connection.execute(statements.SERVER).fetchone()
        assert row is not None
        version, standby, *_ = row
        if version < checks.VERSION_MIN:
            raise NotReady(
                f"system '{self._system}' is PostgreSQL {version // 10_000}",
                remedy="upgrade to 14 or later",
                code="version",
            )
        if standby:
            raise Unavailable(f"system '{self._system}' is a standby", remedy="name the primary in the dsn")

    def _prepare_publication(self, connection: Connection, catalog: Catalog, after: str | None) -> None:
        """Create or correct it. One that is gone when we want to read on did not publish what was written since."""
        with connection.transaction():
            connection.execute(statements.LOCK_OURS)
            if after is not None and read_publication(connection, self._publication) is None:
                raise self._lost(parse_position(after), f"publication '{self._publication}' was dropped")
            found = catalog.tables(list(self._captured.spelled))
            tables = [self._captured_table(found, name) for name in self._names.values()]
            checkpoint = found.get(self._options.checkpoint_table)
            tables += [checkpoint] if checkpoint is not None else []
            ensure_publication(connection, self._publication, tables, exactly=self._options.publication is None)

    def _captured_table(self, found: dict[TableName, CatalogTable], name: TableName) -> CatalogTable:
        if name not in found:
            raise NotReady(
                f"system '{self._system}' has no table {name.spelled}",
                remedy="correct the table in the configuration, or create it",
                code="table-missing",
            )
        return found[name]

    # ---- slot and position -------------------------------------------------------------------------------------------

    def _begin(self) -> int:
        """From now on. A slot that is there already stays: its log is passed over, not given up, until we confirm."""
        connection = self._ordinary()
        slot = self._free_slot()
        if slot is not None and slot.lost:
            connection.execute(statements.DROP_SLOT, [self._slot])
            slot = None
        if slot is None:
            return self._create_slot(connection)
        row = connection.execute(statements.FLUSH_LSN).fetchone()
        assert row is not None
        return max(parse_lsn(row[0]), parse_lsn(slot.confirmed_lsn or "0/0"))

    def _create_slot(self, connection: Connection) -> int:
        """Create the slot, which waits for all running transactions; return where it begins."""
        try:
            row = connection.execute(statements.CREATE_SLOT, [self._slot]).fetchone()
        except psycopg.errors.QueryCanceled as error:
            oldest = connection.execute(statements.OLDEST_TRANSACTION).fetchone()
            waited = f"; the oldest has run for {oldest[1]} seconds in process {oldest[0]}" if oldest else ""
            raise Unavailable(
                f"slot '{self._slot}' could not be created in {self._options.statement_timeout_seconds} seconds",
                cause=f"the server waits for transactions that have begun before{waited}",
                remedy="wait for it, or end it",
            ) from error
        assert row is not None
        return parse_lsn(row[0])

    def _resume(self, log: Log, end_lsn: int, position: Position) -> int:
        """Continue after `position`, if this server's log and our slot still reach back to it."""
        self._require_same_log(log, end_lsn, position)
        slot = self._free_slot()
        if slot is None:
            raise self._lost(position, f"slot '{self._slot}' does not exist")
        if slot.lost:
            raise self._lost(position, f"slot '{self._slot}' was invalidated ({slot.invalidation or 'wal_removed'})")
        confirmed_lsn = parse_lsn(slot.confirmed_lsn or "0/0")
        if confirmed_lsn > position.lsn:
            raise self._lost(
                position, f"slot '{self._slot}' has been read or made anew up to {format_lsn(confirmed_lsn)}"
            )
        return position.lsn

    def _require_same_log(self, log: Log, end_lsn: int, position: Position) -> None:
        if log.system != position.system:
            raise self._lost(position, "the server has another system identifier: it is another server")
        if log.timeline != position.timeline:
            left_lsn = log.branches_off(position.timeline)
            if left_lsn is None:
                raise self._lost(position, f"timeline {log.timeline} does not descend from {position.timeline}")
            end_lsn = left_lsn
        if end_lsn < position.lsn:
            raise self._lost(
                position,
                f"the server's log ends or branches off at {format_lsn(end_lsn)}, before our position: "
                "it was restored from a backup, or promoted before it had everything",
            )

    def _free_slot(self) -> Slot | None:
        """Our slot once nobody reads it: after a crash the server needs a moment to see that we are gone."""
        deadline = time.monotonic() + self._options.slot_wait_seconds
        while (slot := self._read_slot()) is not None and slot.active_pid is not None:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"slot '{self._slot}' is in use by server process {slot.active_pid}",
                    cause="another daemon of this name runs, or the server has not noticed yet that its client is gone",
                    remedy=f"stop the other daemon, or on the server: SELECT pg_terminate_backend({slot.active_pid});",
                    code="slot-active",
                )
            time.sleep(_SLOT_POLL_SECONDS)
        return slot

    def _read_slot(self) -> Slot | None:
        row: tuple[Any, ...] | None = self._ordinary().execute(statements.SLOT, [self._slot]).fetchone()
        if row is None:
            return None
        slot = Slot(*row)
        database = self._ordinary().info.dbname
        if slot.plugin != "pgoutput" or slot.database != database:
            raise NotReady(
                f"slot '{self._slot}' is not ours",
                cause=f"it has plug-in {slot.plugin} in database {slot.database}",
                remedy="set 'slot' in the system's configuration to another name",
                code="slot-foreign",
            )
        return slot

    def _lost(self, position: Position, cause: str) -> PositionLost:
        return PositionLost(
            f"system '{self._system}' cannot be read on after {format_lsn(position.lsn)}",
            cause=cause,
            remedy="bring the server back that has this log, or run 'cdcd resync' for the entities of this system; "
            "nothing was skipped",
        )

    def _resolve(self, relation: StreamRelation) -> Shape | None:
        assert self._catalog is not None
        with translated(f"system '{self._system}': the catalog could not be read"):
            return self._captured.stream_shape(relation, self._catalog)

    # ---- streaming ---------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """See the contract."""
        assert self._stream is not None, "not started"
        return self._stream.fileno()

    def poll(self) -> Sequence[Event]:
        """See the contract."""
        stream, decoder, chunks = self._stream, self._decoder, self._chunks
        assert stream is not None, "not started"
        assert decoder is not None
        assert chunks is not None
        decoder.tracing = chunks.pending
        events = decoder.feed(stream.receive())
        placed = chunks.place(events) if decoder.tracing else cast("list[Event]", events)
        stream.answer(decoder.received_lsn, asked=decoder.reply_requested)
        decoder.reply_requested = False
        if len(decoder.streamed) > _STREAMED_MAX:
            with translated(f"system '{self._system}': the server's snapshot could not be read"):
                chunks.prune()
        return placed

    def confirm(self, position: str) -> None:
        """See the contract."""
        assert self._stream is not None, "not started"
        self._stream.confirm(parse_position(position).lsn)

    def request_chunk(self, table: str, after_key: Row | None, row_limit: int) -> None:
        """See the contract."""
        assert self._chunks is not None, "not started"
        assert table in self._names, f"table {table} is not captured"
        self._chunks.request(self._names[table], after_key, row_limit)

    def status(self) -> SourceStatus:
        """See the contract. Bytes of write-ahead log; `retained_bytes` is what the slot keeps the server from removing.

        Also notices when a table has been taken out of the publication, which the stream does not tell.
        """
        assert self._decoder is not None, "not started"
        tables = self._names.values()
        parameters = [
            format_lsn(self._decoder.lsn),
            self._slot,
            [table.schema for table in tables],
            [table.name for table in tables],
            self._publication,
        ]
        with translated(f"system '{self._system}' did not tell its position"):
            row = self._ordinary().execute(statements.STATUS, parameters).fetchone()
        assert row is not None
        head, lag_bytes, retained_bytes, unpublished = row
        if unpublished:
            raise self._unpublished(unpublished)
        return SourceStatus(head, lag_bytes, retained_bytes)

    def _unpublished(self, tables: Sequence[str]) -> NotReady:
        return NotReady(
            f"system '{self._system}' does not publish {', '.join(sorted(tables))} any more",
            cause=f"publication '{self._publication}' was changed, or the tables are gone; their changes since are missed",
            remedy="start cdcd again, which publishes what is captured; then run 'cdcd resync' for the entities in it",
            code="publication",
        )

    def close(self) -> None:
        """See the contract."""
        for connection in (self._replication, self._connection):
            session.close(connection)
        self._replication = self._connection = self._stream = self._decoder = self._chunks = None

    def _ordinary(self) -> Connection:
        assert self._connection is not None, "not started"
        return self._connection

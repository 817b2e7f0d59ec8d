"""Reads PostgreSQL's log through a logical replication slot. See `cdcd.adapter.Source` for what is promised."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, cast

from cdcd.adapter import Finding, Identity, LogKeeping, RowFilter, SourceStatus, TableNeed
from cdcd.errors import CdcdError, NotReady, PositionLost, Unavailable
from cdcd.model import CHECKPOINT_TABLE, XREF_TABLE, Event, Op, Row
from cdcd_postgres import checks, session, slots, statements
from cdcd_postgres.catalog import Captured, Catalog, CatalogTable
from cdcd_postgres.errors import translated
from cdcd_postgres.names import TableName, parse_table
from cdcd_postgres.notices import read_notice
from cdcd_postgres.options import Options
from cdcd_postgres.pgoutput import Decoder, Shape
from cdcd_postgres.position import Log, Position, Replay, format_lsn, parse_lsn, parse_place, parse_position
from cdcd_postgres.predecessor import end_predecessor
from cdcd_postgres.protocol import StreamRelation
from cdcd_postgres.publication import ensure_publication, read_publication
from cdcd_postgres.retention import log_keeping, read_kept
from cdcd_postgres.session import Connection
from cdcd_postgres.snapshot import ChunkReader, parse_snapshot
from cdcd_postgres.stream import Stream
from cdcd_postgres.watch import Watch

_STREAMED_MAX: Final = 10_000


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
        self._watch: Watch | None = None
        self._stream_lsn = 0

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
        connection = self._connection = session.connect_reading(self._system, self._options)
        catalog = Catalog(connection)
        with translated(f"system '{self._system}' could not be prepared"):
            self._require_primary(connection)
            end_predecessor(connection, self._identity, "capture")
            self._watch = self._prepare_publication(connection, catalog, after)
            horizon_xid = self._next_xid(connection)
        self._replication = session.connect_replication(self._system, self._options)
        stream = Stream(self._system, self._replication, self._options.silence_seconds)
        replay = None
        with translated(f"system '{self._system}': the slot could not be used"):
            log, end_lsn = stream.identify()
            if after is None:
                start_lsn = stream_lsn = self._begin(connection)
            else:
                position = parse_position(after)
                start_lsn = position.lsn
                stream_lsn, replay = self._resume(connection, log, end_lsn, position)
        stream.start(self._slot, stream_lsn, self._publication)
        self._stream = stream
        self._stream_lsn = stream_lsn
        self._decoder = Decoder(
            log,
            start_lsn,
            lambda relation: self._resolve(relation, catalog),
            read_notice=self._read_notice,
            replay=replay,
            is_utf8=connection.info.parameter_status("server_encoding") != "SQL_ASCII",
        )
        self._chunks = ChunkReader(connection, self._captured, catalog, self._decoder.streamed, horizon_xid)
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

    def _prepare_publication(self, connection: Connection, catalog: Catalog, after: str | None) -> Watch:
        """Create or correct it. One that is gone when we want to read on did not publish what was written since."""
        names = list(self._names.values())
        with connection.transaction():
            connection.execute(statements.LOCK_OURS)
            before = read_publication(connection, self._publication)
            if after is not None and before is None:
                raise self._lost(parse_position(after), f"publication '{self._publication}' was dropped")
            found = catalog.tables(list(self._captured.spelled))
            for name in [name for name in names if name.name == XREF_TABLE and name not in found]:
                for statement in statements.create_xref_table(name):
                    connection.execute(statement)
                found |= catalog.tables([name])
            there = names if after is None else [name for name in names if name in found]
            tables = [self._captured_table(found, name) for name in there]
            checkpoint = found.get(self._options.checkpoint_table)
            tables += [checkpoint] if checkpoint is not None else []
            ensure_publication(connection, self._publication, tables, exactly=self._options.publication is None)
            watch = Watch(self._system, self._slot, self._publication, names)
            watch.begin(connection, before if after is not None else None)
        return watch

    def _next_xid(self, connection: Connection) -> int:
        """All transactions that have begun until now have lower ids."""
        row = connection.execute(statements.SNAPSHOT).fetchone()
        assert row is not None
        return parse_snapshot(row[0]).xmax

    def _captured_table(self, found: dict[TableName, CatalogTable], name: TableName) -> CatalogTable:
        if name not in found:
            raise NotReady(
                f"system '{self._system}' has no table {name.spelled}",
                remedy="correct the table in the configuration, or create it",
                code="table-missing",
            )
        return found[name]

    def earliest(self) -> str | None:
        """See the contract."""
        replication = session.connect_replication(self._system, self._options)
        connection = session.connect_reading(self._system, self._options)
        try:
            with translated(f"system '{self._system}': its slot could not be looked at"):
                log, _ = Stream(self._system, replication, self._options.silence_seconds).identify()
                slot = slots.read_slot(connection, self._slot)
        finally:
            session.close(connection)
            session.close(replication)
        return None if slot is None or slot.lost else log.token(slot.confirmed_lsn)

    # ---- slot and position -------------------------------------------------------------------------------------------

    def _begin(self, connection: Connection) -> int:
        """From now on. A slot that is there already stays: its log is passed over, not given up, until we confirm."""
        slot = self._free_slot(connection)
        if slot is not None and slot.lost:
            slots.drop_slot(connection, self._slot)
            slot = None
        if slot is None:
            return slots.create_slot(connection, self._slot, self._options)
        row = connection.execute(statements.FLUSH_LSN).fetchone()
        assert row is not None
        return max(parse_lsn(row[0]), slot.confirmed_lsn)

    def _resume(self, connection: Connection, log: Log, end_lsn: int, position: Position) -> tuple[int, Replay | None]:
        """Continue after `position`, if this server's log and our slot still reach back to it; return where to stream from.

        What lies between the slot's confirmed place and our position is read again, to see that it is the same.
        """
        self._require_same_log(log, end_lsn, position)
        slot = self._free_slot(connection)
        if slot is None:
            raise self._lost(position, f"slot '{self._slot}' does not exist")
        if slot.lost:
            raise self._lost(position, f"slot '{self._slot}' was invalidated ({slot.invalidation or 'wal_removed'})")
        if slot.confirmed_lsn > position.lsn:
            raise self._lost(
                position, f"slot '{self._slot}' has been read or made anew up to {format_lsn(slot.confirmed_lsn)}"
            )
        if position.commit is None:
            return position.lsn, None
        return slot.confirmed_lsn, Replay(slot.confirmed_lsn, position, lambda cause: self._lost(position, cause))

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

    def _free_slot(self, connection: Connection) -> slots.Slot | None:
        """Our slot once nobody reads it; standbys are told to synchronise it, where the server knows that."""
        slot = slots.free_slot(connection, self._slot, self._options.slot_wait_seconds)
        if slot is not None and slot.failover is False and not slot.lost:
            assert self._replication is not None
            slots.keep_across_failover(self._replication, self._slot)
        return slot

    def _lost(self, position: Position, cause: str) -> PositionLost:
        return PositionLost(
            f"system '{self._system}' cannot be read on after {format_lsn(position.lsn)}",
            cause=cause,
            remedy="bring the server back that has this log; nothing was skipped",
        )

    def _resolve(self, relation: StreamRelation, catalog: Catalog) -> Shape | None:
        with translated(f"system '{self._system}': the catalog could not be read"):
            return self._captured.stream_shape(relation, catalog)

    def _read_notice(self, content: str) -> tuple[Op, str] | None:
        notice = read_notice(content, self._slot)
        spelled = self._captured.spelled.get(notice[1]) if notice is not None else None
        return None if notice is None or spelled is None or spelled == CHECKPOINT_TABLE else (notice[0], spelled)

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
        before_lsn = decoder.lsn
        events = decoder.feed(stream.receive())
        if chunks.copying:
            chunks.notice_moves(decoder.replayed, self._stream_lsn)
            chunks.notice_moves(events, before_lsn)
        decoder.replayed.clear()
        placed = chunks.place(events) if decoder.tracing else cast("list[Event]", events)
        chunks.retry()
        stream.answer(decoder.received_lsn, asked=decoder.reply_requested)
        decoder.reply_requested = False
        if len(decoder.streamed) > _STREAMED_MAX:
            with translated(f"system '{self._system}': the server's snapshot could not be read"):
                chunks.prune()
        return placed

    def confirm(self, position: str) -> None:
        """See the contract."""
        assert self._stream is not None, "not started"
        assert self._chunks is not None
        lsn = parse_position(position).lsn
        self._stream.confirm(lsn if self._chunks.needed_lsn is None else min(lsn, self._chunks.needed_lsn))

    def request_chunk(
        self, table: str, after_key: Row | None, row_limit: int, row_filter: RowFilter | None = None
    ) -> None:
        """See the contract."""
        assert self._chunks is not None, "not started"
        name = self._options.checkpoint_table if table == CHECKPOINT_TABLE else self._names[table]
        self._chunks.request(name, after_key, row_limit, row_filter)

    def estimate(self, table: str) -> int:
        """See the contract."""
        name = self._options.checkpoint_table if table == CHECKPOINT_TABLE else self._names[table]
        with translated(f"system '{self._system}' did not tell the size of a table"):
            row = self._ordinary().execute(statements.ESTIMATE, [name.schema, name.name]).fetchone()
        return int(row[0]) if row is not None else 0

    def status(self) -> SourceStatus:
        """See the contract. Bytes of write-ahead log; `retained_bytes` is what the slot keeps the server from removing.

        Also looks at the catalog for what the stream does not tell. Raises NotReady where changes are missed.
        """
        assert self._decoder is not None, "not started"
        assert self._watch is not None
        parameters = [format_lsn(self._decoder.lsn), self._slot]
        with translated(f"system '{self._system}' did not tell its position"):
            row = self._ordinary().execute(statements.STATUS, parameters).fetchone()
            assert row is not None
            head, lag_bytes, retained_bytes = row
            self._watch.look_again(self._ordinary(), parse_lsn(head), self._decoder.lsn, self._decoder.truncated)
        self._decoder.truncated.clear()
        silent_seconds = 0.0 if self._stream is None else self._stream.silent_seconds
        return SourceStatus(head, lag_bytes, retained_bytes, silent_seconds)

    def log_keeping(self) -> LogKeeping:
        """See the contract. Besides by size, only a slot that is not read may be invalidated for its age (18 and later)."""
        connection = self._connection or session.connect_reading(self._system, self._options)
        try:
            with translated(f"system '{self._system}' did not tell how long it keeps its log"):
                return log_keeping(read_kept(connection, self._slot))
        finally:
            if connection is not self._connection:
                session.close(connection)

    def reached(self, position: str) -> bool:
        """See the contract. A place is an LSN ("0/16B3748")."""
        assert self._decoder is not None, "not started"
        assert self._stream is not None
        has_reached = self._decoder.lsn >= parse_place(position)
        if not has_reached:
            self._stream.ask_again()  # an idle log moves on only when the server tells
        return has_reached

    def close(self) -> None:
        """See the contract."""
        if self._stream is not None:
            with suppress(CdcdError):  # the server has ended the stream: what it was not told is read again, no more
                self._stream.confirm_owed()
        for connection in (self._replication, self._connection):
            session.close(connection)
        self._replication = self._connection = self._stream = self._decoder = self._chunks = self._watch = None

    def _ordinary(self) -> Connection:
        assert self._connection is not None, "not started"
        return self._connection

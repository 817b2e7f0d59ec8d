"""Reads the change log of a MySQL or MariaDB database (`cdcd.adapter.Source`)."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cdcd.adapter import Finding, Identity, LogKeeping, RowFilter, SourceStatus, TableNeed
from cdcd.errors import CdcdError, NotReady, PositionLost, Unavailable
from cdcd.model import Event, Row
from cdcd_mysql import preflight
from cdcd_mysql.assembler import Assembler
from cdcd_mysql.captured import CapturedTables, ServerCharsets, table_name
from cdcd_mysql.dump import DumpRequest
from cdcd_mysql.errors import translated
from cdcd_mysql.keeping import Reading, bytes_after, look, read_files
from cdcd_mysql.options import Options
from cdcd_mysql.own_tables import create_xref_tables
from cdcd_mysql.positions import (
    FIRST_OFFSET,
    OFFSET_MAX,
    LogPosition,
    includes,
    last_sequences,
    parse_position,
    place_of,
    server_id_of,
)
from cdcd_mysql.prepared import forget_places
from cdcd_mysql.recall import Recall, open_transactions
from cdcd_mysql.refusals import behind, other_server, too_far
from cdcd_mysql.schema import LiveTable, read_table
from cdcd_mysql.session import Server, Session, inspect
from cdcd_mysql.snapshot import ChunkReader, ChunkRequest, TakenChunk
from cdcd_mysql.statements import quote_text
from cdcd_mysql.stream import BinlogStream

_HOST_NAME_SIZE_MAX: Final = 60
_UNDECIDED_WAIT_SECONDS: Final = 0.2


class MySqlSource:
    """See the contract. Three connections: the log's, one for questions, one for chunks."""

    def __init__(self, identity: Identity, options: Options, tables: Sequence[TableNeed]) -> None:
        self._identity = identity
        self._options = options
        self._tables = [need.table for need in tables if need.captured]
        self._needed = {n.table: {*n.key, *n.columns} if n.columns else () for n in tables if n.captured}
        self._watch = preflight.LossWatch(identity, options, tables)
        self._session: Session | None = None
        self._server: Server | None = None
        self._stream: BinlogStream | None = None
        self._assembler: Assembler | None = None
        self._recall: Recall | None = None
        self._reader: ChunkReader | None = None
        self._request: ChunkRequest | None = None
        self._taken: TakenChunk | None = None
        self._chunked: LiveTable | None = None
        self._confirmed = ""
        self._bell: _Bell | None = None
        self._failure: CdcdError | None = None

    # ---- checking and asking -------------------------------------------------------------------------------------------

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        """See the contract."""
        session, server = self._connected()
        return preflight.check_source(session, server, self._identity, self._options, tables)

    def status(self) -> SourceStatus:
        """See the contract. `retained_bytes` is what the server's log holds from the confirmed position on."""
        session, server = self._connected()
        self._watch.look(session, server)
        files = read_files(session)
        read, kept = self._assembler and self._assembler.position, self._confirmed_position()
        head, size = files[-1]
        lag_bytes = bytes_after(files, read) if read else 0
        silent_seconds = 0.0 if self._stream is None else self._stream.silent_seconds
        retained_bytes = bytes_after(files, kept) if kept else lag_bytes
        return SourceStatus(f"{head}:{size}", lag_bytes, retained_bytes, silent_seconds)

    def log_keeping(self) -> LogKeeping:
        """See the contract."""
        session, _ = self._connected()
        confirmed = self._confirmed_position()
        reading = None if confirmed is None else Reading(confirmed)
        if self._assembler is not None:
            reading = Reading(self._assembler.position, self._assembler.written_at)
        return look(session, reading)

    def _confirmed_position(self) -> LogPosition | None:
        return parse_position(self._confirmed) if self._confirmed else None

    def _connected(self) -> tuple[Session, Server]:
        if self._session is None:
            self._session = Session(self._options)
        if self._server is None:
            self._server = inspect(self._session)
        return self._session, self._server

    # ---- streaming -----------------------------------------------------------------------------------------------------

    def start(self, after: str | None) -> str:
        """See the contract."""
        session, server = self._connected()
        self._watch.look(session, server, now=True)
        with translated("create our tables"):
            create_xref_tables(session, self._tables, self._options.database)
        if after is None:
            return self._start_now(session, server)
        position = parse_position(after)
        self._confirmed = after
        self._resume(session, server, position)
        return after

    def earliest(self) -> str | None:
        """See the contract. A server keeps its log for nobody in particular."""
        return None

    def _start_now(self, session: Session, server: Server) -> str:
        """Start at the log's end. What is prepared there was written before it: wait until that is decided."""
        position = _current_position(session, server)
        undecided = open_transactions(session, server)
        self._open(DumpRequest(position, server.is_mariadb), verify=False)
        stream, assembler = self._stream, self._assembler
        assert stream is not None
        assert assembler is not None
        if not undecided:
            return str(assembler.begun_at)
        assembler.tolerates_unknown = True
        deadline = time.monotonic() + self._options.timeout_seconds
        while undecided & open_transactions(session, server):
            if time.monotonic() > deadline:
                raise _undecided(len(undecided))
            stream.wait(_UNDECIDED_WAIT_SECONDS)
            self._skip(stream, assembler)
        end = _current_position(session, server)
        while assembler.place < end.place or assembler.in_group:
            stream.wait(_UNDECIDED_WAIT_SECONDS)
            self._skip(stream, assembler)
        assembler.tolerates_unknown = False
        return str(assembler.position)

    @staticmethod
    def _skip(stream: BinlogStream, assembler: Assembler) -> None:
        """Read on, for nothing but which transactions are prepared."""
        stream.feed()
        assembler.take()
        if assembler.recall is not None:
            assembler.end_recall()
            assembler.take()

    def _resume(self, session: Session, server: Server, position: LogPosition) -> None:
        """Go on at `position`: at its file and offset when this is the server that it is of, else by its GTIDs.

        Another server (a promoted replica) proves by GTIDs that it has what was read; asked for a dump it would not
        refuse all that it has not: MySQL looks only at its own, MariaDB lets unknown domains pass. MariaDB's name the server that made them by its id only, so they prove nothing where the ids are equal.
        """
        if position.gtids and server.has_gtids:
            (self._check_domains if server.is_mariadb else self._check_executed)(session, server, position)
        by_gtids = DumpRequest(position, server.is_mariadb, by_gtids=True)
        can_use_gtids = bool(position.gtids) and server.has_gtids
        if position.server != server.identity:
            if not can_use_gtids:
                raise other_server(position, server)
            self._open(by_gtids, verify=False)
            return
        if position.offset > OFFSET_MAX:
            if not can_use_gtids:
                raise too_far(position)
            self._open(by_gtids, verify=False)
            return
        try:
            self._open(DumpRequest(position, server.is_mariadb), verify=True)
        except PositionLost:
            if not can_use_gtids or not self._was_just_purged(session, server, position):
                raise
            self._open(by_gtids, verify=False)

    @staticmethod
    def _check_domains(session: Session, server: Server, position: LogPosition) -> None:
        """Raise PositionLost when the server is behind what was read, or as another one never had a domain of it."""
        read = last_sequences(position.gtids)
        has = last_sequences(str(session.rows("SELECT @@global.gtid_binlog_state", "compare positions")[0][0]))
        if position.server == server.identity:  # a domain may have been deleted there
            read = {domain: sequence for domain, sequence in read.items() if domain in has}
        if any(has.get(domain, 0) < sequence for domain, sequence in read.items()):
            raise behind(position)

    def _check_executed(self, session: Session, _server: Server, position: LogPosition) -> None:
        """Raise PositionLost when the server has not all that was read. It enters gtid_executed after it was sent."""
        gtids = quote_text(position.gtids)
        sql = f"SELECT WAIT_FOR_EXECUTED_GTID_SET({gtids}, {self._options.lock_timeout_seconds})"
        if session.rows(sql, "compare positions")[0][0]:
            raise behind(position)

    def _was_just_purged(self, session: Session, server: Server, position: LogPosition) -> bool:
        """Whether the position's file is gone but nothing after the position: it was at that file's end."""
        files = [name for name, _ in read_files(session)]
        if position.file in files or place_of(files[0], 0) < position.place:
            return False
        if not server.is_mariadb:
            return True  # the server itself compares the GTIDs with what it has purged
        begins = f"SELECT BINLOG_GTID_POS({quote_text(files[0])}, {FIRST_OFFSET})"
        return _same_gtids(session.rows(begins, "compare positions")[0][0], position.gtids)

    def _open(self, request: DumpRequest, *, verify: bool) -> None:
        """Start the dump and return when the server has begun to send from the right place."""
        session, server = self._connected()
        self._close_stream()
        self._failure = None
        tables = self._captured(session, server)
        start = msgspec.structs.replace(request.position, server=server.identity)
        if request.by_gtids:
            known = request.position
            prepared = known.prepared if known.server == server.identity else forget_places(known.prepared)
            start = LogPosition("", 0, server.identity, gtids=known.gtids, prepared=prepared)
        assembler = Assembler(tables, start, is_mariadb=server.is_mariadb, verify=verify)
        server_id = self._options.replica_id(self._identity)
        self._stream = BinlogStream(self._options, server_id, self._host_name, request, assembler)
        deadline = time.monotonic() + self._options.timeout_seconds
        while not assembler.started:
            self._stream.wait(self._options.heartbeat_seconds)
            self._stream.feed()
            if time.monotonic() > deadline:
                raise Unavailable("the server does not begin to send its log", cause="nothing came in time")
        self._assembler = assembler
        self._bell = self._bell or _Bell()
        self._bell.listen(self._stream.fileno())
        self._bell.ring()

    def _captured(self, session: Session, server: Server) -> CapturedTables:
        return CapturedTables(
            self._options.database,
            self._tables,
            ServerCharsets(server.is_mariadb, _collations(session, server)),
            self._hints,
            ignore_case=server.ignores_case,
            needed=self._needed,
        )

    @property
    def _host_name(self) -> str:
        return f"cdcd-{self._identity.daemon}-{self._identity.system}"[:_HOST_NAME_SIZE_MAX]

    def _hints(self, spelled: str) -> Mapping[str, str]:
        session, server = self._connected()
        table = read_table(session, server, spelled, self._options.database)
        return table.hints if table else {}

    def fileno(self) -> int:
        """See the contract. It does not change."""
        assert self._bell is not None, "start first"
        return self._bell.fileno()

    def poll(self) -> Sequence[Event]:
        """See the contract."""
        stream, assembler, bell = self._stream, self._assembler, self._bell
        assert stream is not None, "start first"
        assert assembler is not None
        assert bell is not None
        if self._failure is not None:
            raise self._failure
        bell.silence()
        try:
            if self._taken is not None and not assembler.in_group:
                self._place_chunk()
            more = self._feed(stream, assembler)
        except CdcdError as error:
            self._failure = error  # first what was read before it
            more = True
        if more or (self._taken is not None and self._is_overtaken(self._taken)):
            bell.ring()
        events = assembler.take()
        if self._failure is not None and not events:
            raise self._failure
        return events

    def _feed(self, stream: BinlogStream, assembler: Assembler) -> bool:
        """Read on; return whether there may be more already."""
        if assembler.recall is None:
            return stream.feed()
        if self._recall is None:
            self._recall = self._open_recall(assembler)
        rows = self._recall.read()
        for run in rows:
            assembler.recalled(run)
        if self._recall.is_done:
            self._close_recall()
            assembler.end_recall()
            return True
        return bool(rows)

    def _open_recall(self, assembler: Assembler) -> Recall:
        session, server = self._connected()
        assert assembler.recall is not None
        if assembler.recall.offset > OFFSET_MAX:
            raise too_far(msgspec.structs.replace(assembler.position, offset=assembler.recall.offset))
        identity = msgspec.structs.replace(self._identity, system=f"{self._identity.system} prepared")
        dumping = Recall(
            self._options,
            server_id_of(identity),
            self._host_name,
            server,
            self._captured(session, server),
            assembler.recall,
            assembler.decided,
        )
        assert self._bell is not None
        self._bell.listen(dumping.fileno())
        return dumping

    def _close_recall(self) -> None:
        if self._recall is not None:
            if self._bell is not None:
                self._bell.forget(self._recall.fileno())
            self._recall.close()
        self._recall = None

    def confirm(self, position: str) -> None:
        """See the contract. The server keeps its log by time, whatever is confirmed; `status` uses it."""
        self._confirmed = position

    def reached(self, position: str) -> bool:
        """See the contract. A place is FILE:OFFSET, or GTIDs as @@gtid_executed or @@gtid_binlog_pos show them."""
        assert self._assembler is not None, "start first"
        return includes(self._assembler.position, position)

    # ---- chunks ----------------------------------------------------------------------------------------------------------

    def request_chunk(
        self, table: str, after_key: Row | None, row_limit: int, row_filter: RowFilter | None = None
    ) -> None:
        """See the contract. The rows are read here; `poll` places them."""
        assert self._request is None, "one chunk at a time"
        assert self._assembler is not None, "start first"
        _, server = self._connected()
        self._reader = self._reader or ChunkReader(self._options, self._identity, server)
        request = ChunkRequest(self._live_table(table, refresh=after_key is None), after_key, row_limit, row_filter)
        self._take_chunk(request)
        self._request = request
        self._assembler.between_groups = self._place_chunk
        assert self._bell is not None
        self._bell.ring()

    def estimate(self, table: str) -> int:
        """See the contract."""
        session, _ = self._connected()
        name = table_name(table, self._options.database)
        sql = (
            "SELECT table_rows FROM information_schema.tables"
            f" WHERE table_schema = {quote_text(name.database)} AND table_name = {quote_text(name.table)}"
        )
        rows = session.rows(sql, f"read the size of table {table}")
        return int(rows[0][0] or 0) if rows else 0

    def _live_table(self, spelled: str, *, refresh: bool) -> LiveTable:
        """The table as it is; described anew at its first chunk."""
        if refresh or self._chunked is None or self._chunked.spelled != spelled:
            session, server = self._connected()
            self._chunked = read_table(session, server, spelled, self._options.database)
        if self._chunked is None:
            raise NotReady(
                f"table {spelled} does not exist",
                remedy="create it, or correct the configuration",
                code="table-missing",
            )
        return self._chunked

    def _take_chunk(self, request: ChunkRequest) -> None:
        assembler, reader = self._assembler, self._reader
        assert assembler is not None
        assert reader is not None
        gtids = ",".join(filter(None, (assembler.position.gtids, assembler.gtid_under_way)))
        self._taken = reader.take(request, gtids if assembler.position.gtids else "")
        assembler.row_watch = None if self._taken.is_exact else self._taken.watch

    def _place_chunk(self) -> None:
        """Called between transactions: give the chunk out if this is its place; take it again if that is behind."""
        assembler, request = self._assembler, self._request
        assert assembler is not None
        assert request is not None
        assert self._taken is not None
        if self._is_overtaken(self._taken):
            self._take_chunk(request)
        if self._taken.place <= assembler.place and not self._is_overtaken(self._taken):
            assembler.put(self._taken.chunk())
            assembler.between_groups = assembler.row_watch = None
            self._request = self._taken = None

    def _is_overtaken(self, taken: TakenChunk) -> bool:
        """Whether the stream carried a transaction that the chunk does not see: visible a moment after it is sent."""
        assert self._assembler is not None
        return taken.is_exact and self._assembler.last_end > taken.place

    # ---- closing -----------------------------------------------------------------------------------------------------------

    def _close_stream(self) -> None:
        self._close_recall()
        if self._stream is not None:
            if self._bell is not None:
                self._bell.forget(self._stream.fileno())
            self._stream.close()
        self._stream = self._assembler = None

    def close(self) -> None:
        """See the contract."""
        self._close_stream()
        for session in (self._session, self._reader):
            if session is not None:
                session.close()
        if self._bell is not None:
            self._bell.close()
        self._session = self._reader = self._bell = self._request = self._taken = None


class _Bell:
    """One descriptor that is readable when the log's socket is, or when we rang: poll left something behind."""

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._event, select.EPOLLIN)

    def fileno(self) -> int:
        return self._poller.fileno()

    def listen(self, descriptor: int) -> None:
        self._poller.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._poller.unregister(descriptor)

    def ring(self) -> None:
        os.eventfd_write(self._event, 1)

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)

    def close(self) -> None:
        self._poller.close()
        os.close(self._event)


def _current_position(session: Session, server: Server) -> LogPosition:
    rows = session.rows(server.log_status_sql, "read the log's end")
    if not rows:
        raise NotReady(
            "the server writes no binary log",
            remedy="set log_bin in the server's configuration and restart it",
            code="no-binlog",
        )
    file, offset, _, _, *gtids = rows[0]
    text = "".join(str(gtids[0]).split()) if gtids else ""
    if server.is_mariadb:
        sql = f"SELECT BINLOG_GTID_POS({quote_text(file)}, {int(offset)})"
        text = str(session.rows(sql, "read the log's end")[0][0] or "")
    return LogPosition(file, int(offset), server.identity, gtids=text)


def _same_gtids(one: str | None, other: str) -> bool:
    return one is not None and set(one.split(",")) == set(other.split(","))


def _collations(session: Session, server: Server) -> dict[int, str]:
    """Character set by collation number. MariaDB 10.10 lists what a collation applies to elsewhere."""
    sql = "SELECT id, character_set_name FROM information_schema.collations WHERE id IS NOT NULL"
    if server.is_mariadb and server.version >= (10, 10, 0):
        sql = "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability"
    rows = session.rows(sql, "list the server's collations")
    return {int(number): str(name) for number, name in rows if number and name}


def _undecided(count: int) -> NotReady:
    return NotReady(
        f"{count} prepared (XA) transactions stay undecided, so there is no place in the log to start from",
        cause="whether their rows, which the log holds already, will be committed is not known",
        remedy="XA RECOVER lists them: XA COMMIT or XA ROLLBACK each, then start again",
        code="xa-undecided",
    )

"""Chunks of a table, placed in the stream so that no row is older than what the stream carried before it.

A chunk is read in a REPEATABLE READ transaction of an ordinary connection. Its snapshot S divides transactions into
those it sees and those it does not. After reading, a marker is written to the log (a transactional logical message).
The chunk is returned where the marker arrives in the stream, and at that place its rows are made true:

1. Every transaction that S sees had written its commit record before S was taken, so before the marker: the stream has
   carried it when the marker arrives, and the chunk, which holds its effect, comes after it. Nothing older follows.
2. A transaction that S does not see, and that the stream carries between the taking of S and the marker, is newer than
   the chunk. The rows that it changed are left out of the chunk, for the stream has carried them whole; but where an
   update did not carry a value (unchanged TOAST), the value that S saw still holds, and only the chunk can bring it: such
   a row stays, overlaid with what the stream said.
3. A transaction is streamed as soon as its commit record is flushed, which is before it becomes visible to snapshots
   (with synchronous replication: long before). Had the stream carried such a one before S was taken, (2) would miss it.
   So the ids of streamed transactions are kept until a snapshot has seen them, and a snapshot that does not see all of
   them is not used: we write a marker, and try again when it arrives. Transactions that an earlier process streamed
   are taken for visible: connecting takes longer than the gap, unless their session waits for a synchronous standby.

The table is locked in ACCESS SHARE mode before S is taken. That blocks no writer, only DDL: after a rewrite of the table
an older snapshot would see it empty. When the log brings the table with other columns than the chunk has, the chunk is
read again. The marker is a commit, so the log is flushed up to it and the walsender wakes up: on an idle server the
chunk arrives at once, without waiting for a keepalive.

An update that moves a row, from a key that the copy has not come to yet to one that lies behind it, may leave out an unchanged
TOAST value that nobody has been shown. The keys of such rows are kept, and they are read with the next chunk, in its
snapshot; a last chunk is not the last while there are any. Until that chunk is there, the slot is not confirmed beyond the
move, so that a process that begins anew sees it once more.

A copy begins when all transactions are over that had begun before the source was started: one that wrote to a table before
it was published is not streamed, and no chunk of an older snapshot has its rows.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec

from cdcd.adapter import RowFilter
from cdcd.errors import NotReady
from cdcd.model import ABSENT, Chunk, Event, Op, PrintedRows, Relation, Row, Rows, Value
from cdcd.printed import rows_of
from cdcd_postgres import statements
from cdcd_postgres.catalog import Captured, Catalog, CatalogTable
from cdcd_postgres.encoding import text_of
from cdcd_postgres.errors import filtering, translated
from cdcd_postgres.names import TableName
from cdcd_postgres.pgoutput import MARKER_PREFIX, Begin, Marker, Shape, StreamEvent
from cdcd_postgres.rowcode import compile_fetch
from cdcd_postgres.session import Connection

Key: TypeAlias = tuple[Value, ...]
_XID_MODULUS: Final = 2**32
_OUTDATED_MAX: Final = 5
_MOVED_MAX: Final = 50_000
_KEYS_MAX: Final = 500
_RETRY_SECONDS: Final = 0.2
_log: Final = logging.getLogger(__name__)


class Snapshot(msgspec.Struct, frozen=True):
    """What a snapshot sees: all transactions before `xmax` that are not `in_progress` (64-bit transaction ids)."""

    xmax: int
    in_progress: frozenset[int]

    @property
    def oldest(self) -> int:
        """All transactions before this one are over."""
        return min(self.in_progress, default=self.xmax)

    def sees(self, xid: int) -> bool:
        """Whether a committed transaction is visible. `xid` has 32 bits: its epoch is the one nearest to `xmax`."""
        distance = (xid - self.xmax + _XID_MODULUS // 2) % _XID_MODULUS - _XID_MODULUS // 2
        full = self.xmax + distance
        return full < self.xmax and full not in self.in_progress


def parse_snapshot(text: str) -> Snapshot:
    """Read the text of a pg_snapshot, "xmin:xmax:xip,xip" (PostgreSQL documentation, "Transaction ID and Snapshot")."""
    _, xmax, in_progress = text.split(":")
    return Snapshot(int(xmax), frozenset(map(int, in_progress.split(","))) if in_progress else frozenset())


class ChunkRows:
    """The rows of a chunk on their way to the marker, kept true to the stream. Pure."""

    def __init__(self, relation: Relation, rows: Sequence[Row]) -> None:
        self.relation = relation
        self.outdated = False
        """The stream described the table otherwise: the chunk must be read again."""
        single = len(relation.identity) == 1
        pick = itemgetter(*relation.identity)
        self._key: Callable[[Row], Key] = (lambda row: (pick(row),)) if single else pick
        self._rows = {self._key(row): row for row in rows}

    @property
    def rows(self) -> list[Row]:
        """The rows that are left."""
        return list(self._rows.values())

    def overtake(self, event: Rows) -> None:
        """Take in changes that the stream has carried and the snapshot did not see."""
        if event.op is Op.TRUNCATE:
            self._rows.clear()
        elif event.relation != self.relation:
            self.outdated = True
        elif event.op is Op.UPDATE:
            olds: Sequence[Row | None] = event.olds if event.olds is not None else [None] * len(event.rows)
            for row, old in zip(event.rows, olds, strict=True):
                self._update(row, old)
        else:
            for row in event.rows:
                self._rows.pop(self._key(row), None)

    def _update(self, row: Row, old: Row | None) -> None:
        """An update that leaves out a value continues the row that it changed, if that is ours."""
        before = self._rows.pop(self._key(row if old is None else old), None)
        if before is not None and any(value is ABSENT for value in row):
            merged = [ours if value is ABSENT else value for value, ours in zip(row, before, strict=True)]
            self._rows[self._key(merged)] = merged


class _Request(msgspec.Struct):
    table: TableName
    after_key: Row | None
    row_limit: int
    row_filter: RowFilter | None
    marker: str = ""
    moved: frozenset[Key] = frozenset()
    waits_since: float = 0.0
    rows: ChunkRows | None = None
    snapshot: Snapshot | None = None
    last_key: Row | None = None
    done: bool = False
    outdated_count: int = 0


class ChunkReader:
    """Reads one requested chunk at a time and puts it into the events of the stream."""

    def __init__(
        self, connection: Connection, captured: Captured, catalog: Catalog, streamed: set[int], horizon_xid: int
    ) -> None:
        """`streamed`: the ids of transactions that the stream has carried or begun; pruned here.

        `horizon_xid`: a copy does not begin before all transactions with lower ids are over.
        """
        self._connection = connection
        self._captured = captured
        self._catalog = catalog
        self._streamed = streamed
        self._request: _Request | None = None
        self._overtaking = False
        self._horizon_xid = horizon_xid
        self._copied: str | None = None
        self._moved: set[Key] = set()
        self.needed_lsn: int | None = None
        """What the slot must not be confirmed beyond."""

    @property
    def copying(self) -> bool:
        """Whether a copy has been begun and is not finished."""
        return self._copied is not None

    @property
    def pending(self) -> bool:
        """Whether a chunk is on its way."""
        return self._request is not None

    def request(
        self, table: TableName, after_key: Row | None, row_limit: int, row_filter: RowFilter | None = None
    ) -> None:
        """Begin a chunk; `place` returns it."""
        assert self._request is None, "one chunk at a time"
        assert row_limit > 0, f"a chunk of {row_limit} rows"
        spelled = self._captured.spelled[table]
        if after_key is None or spelled != self._copied:
            self._forget_moves()
        self._copied = spelled
        self._request = _Request(table, after_key, row_limit, row_filter)
        self._overtaking = False
        self._attempt(self._request)

    def retry(self) -> None:
        """Try again, now and then, to begin a copy that waits for transactions to end."""
        request = self._request
        if request is not None and request.waits_since and time.monotonic() - request.waits_since >= _RETRY_SECONDS:
            self._attempt(request)

    def notice_moves(self, events: Iterable[StreamEvent], before_lsn: int) -> None:
        """Keep the keys of rows that were moved without a value; `before_lsn` is a place before these events."""
        for event in events:
            if isinstance(event, Rows) and event.olds is not None and event.relation.table == self._copied:
                identity = event.relation.identity
                for row, old in zip(event.rows, event.olds, strict=True):
                    if old is not None and any(value is ABSENT for value in row):
                        self._moved.add(tuple(row[number] for number in identity))
        if self._moved and self.needed_lsn is None:
            self.needed_lsn = before_lsn
        if len(self._moved) > _MOVED_MAX:
            raise _too_many_moves(self._copied or "")

    def _forget_moves(self) -> None:
        self._moved.clear()
        self.needed_lsn = None

    def place(self, events: Sequence[StreamEvent]) -> list[Event]:
        """The events without those that are ours alone, and with the chunk where its marker was."""
        placed: list[Event] = []
        for event in events:
            if isinstance(event, Begin):
                snapshot = self._request.snapshot if self._request is not None else None
                self._overtaking = snapshot is not None and not snapshot.sees(event.xid)
            elif isinstance(event, Marker):
                placed += self._arrive(event.content)
            else:
                if self._overtaking and isinstance(event, Rows | PrintedRows):
                    self._overtake(event)
                placed.append(event)
        return placed

    def prune(self) -> None:
        """Forget streamed transactions that a snapshot sees by now."""
        self._prune(self._read_snapshot())

    def _overtake(self, event: Rows | PrintedRows) -> None:
        request = self._request
        if request is not None and request.rows is not None and event.relation.table == request.rows.relation.table:
            request.rows.overtake(rows_of(event))

    def _arrive(self, content: str) -> list[Event]:
        request = self._request
        if request is None or content != request.marker:
            return []
        if request.rows is not None and request.rows.outdated:
            request.outdated_count += 1
            if request.outdated_count > _OUTDATED_MAX:
                raise _shapes_differ(request.table)
            request.rows = None
        if request.rows is None:
            self._attempt(request)
            return []
        self._request = None
        self._overtaking = False
        self._moved -= request.moved
        if request.after_key is None and request.done:
            self._moved.clear()
        done = request.done and not self._moved
        if done:
            self._copied = None
        if not self._moved:
            self.needed_lsn = None
        return [Chunk(Rows(request.rows.relation, Op.READ, request.rows.rows), request.last_key, done)]

    def _attempt(self, request: _Request) -> None:
        """Read the rows, unless the snapshot does not see all that was streamed; then write a marker to wait for."""
        with translated(f"a chunk of table {request.table.spelled} could not be read"):
            try:
                self._read(request)
            finally:
                self._connection.rollback()
        if request.waits_since:
            return
        request.marker = secrets.token_hex(8)
        with translated("a marker could not be written to the log"):
            self._connection.execute(statements.EMIT_MESSAGE, [MARKER_PREFIX, request.marker])

    def _read(self, request: _Request) -> None:
        """Take a snapshot and read the rows that it sees; leaves a transaction open."""
        locked = self._table(request.table)
        self._connection.execute(statements.BEGIN_CHUNK)
        self._connection.execute(statements.lock_against_ddl(locked))
        snapshot = self._read_snapshot()
        self._prune(snapshot)
        if request.after_key is None and snapshot.oldest < self._horizon_xid:
            if not request.waits_since:
                _log.info("the copy of table %s waits for transactions that began before it", request.table.spelled)
            request.waits_since = time.monotonic()
            return
        request.waits_since = 0.0
        if self._streamed:
            request.rows = request.snapshot = None
            return
        table = self._table(request.table)
        shape = self._captured.shape(table, self._catalog.types)
        rows = self._select(request, table, shape)
        relation = shape.relation
        request.snapshot = snapshot
        request.moved = frozenset(self._moved)
        request.rows = ChunkRows(relation, [*rows, *self._select_moved(request.moved, table, shape)])
        request.last_key = [rows[-1][number] for number in relation.identity] if rows else request.after_key
        request.done = len(rows) < request.row_limit

    def _select(self, request: _Request, table: CatalogTable, shape: Shape) -> list[Row]:
        relation = shape.relation
        key = [relation.columns[number] for number in relation.identity]
        row_filter = request.row_filter
        sql = statements.select_chunk(
            table,
            relation.columns,
            key,
            after=request.after_key is not None,
            row_limit=request.row_limit,
            row_filter=row_filter,
        )
        wanted = [] if row_filter is None else [value for values in row_filter.keys for value in values]
        with filtering(request.table.spelled, is_filtered=row_filter is not None):
            return self._fetch(sql, [*(request.after_key or ()), *wanted], shape)

    def _select_moved(self, moved: AbstractSet[Key], table: CatalogTable, shape: Shape) -> list[Row]:
        """Those rows of the keys that are there."""
        relation = shape.relation
        key = [relation.columns[number] for number in relation.identity]
        keys, rows = list(moved), list[Row]()
        for first in range(0, len(keys), _KEYS_MAX):
            part = keys[first : first + _KEYS_MAX]
            sql = statements.select_rows(table, relation.columns, key, row_count=len(part))
            rows += self._fetch(sql, [value for values in part for value in values], shape)
        return rows

    def _fetch(self, sql: str, parameters: Iterable[Value], shape: Shape) -> list[Row]:
        cursor = self._connection.execute(sql, [text_of(value) for value in parameters])
        result = cursor.pgresult
        assert result is not None
        fetch, get_value = compile_fetch(shape.relation.types), result.get_value
        return [fetch(get_value, number) for number in range(result.ntuples)]

    def _table(self, name: TableName) -> CatalogTable:
        table = self._catalog.table(name)
        if table is None:
            raise NotReady(
                f"table {name.spelled} does not exist",
                remedy="correct the table in the configuration, or create it",
                code="table-missing",
            )
        if not table.is_unique(table.identity):
            raise NotReady(
                f"table {name.spelled} cannot be read in chunks",
                cause="it has no primary key, and its replica identity is no unique index",
                remedy=f"ALTER TABLE {name.sql} ADD PRIMARY KEY (…);",
                code="no-primary-key",
            )
        return table

    def _read_snapshot(self) -> Snapshot:
        row = self._connection.execute(statements.SNAPSHOT).fetchone()
        assert row is not None
        return parse_snapshot(row[0])

    def _prune(self, snapshot: Snapshot) -> None:
        self._streamed.difference_update([xid for xid in self._streamed if snapshot.sees(xid)])


def _too_many_moves(table: str) -> NotReady:
    return NotReady(
        f"more than {_MOVED_MAX} rows of table {table} were moved to other keys while it is copied",
        cause="the log leaves out their unchanged long values, which nobody has been shown",
        remedy=f"ALTER TABLE {table} REPLICA IDENTITY FULL; then run 'cdcd resync' for its entity",
        code="copy-moves",
    )


def _shapes_differ(name: TableName) -> NotReady:
    return NotReady(
        f"table {name.spelled} has other columns in the log than in the catalog",
        cause="the publication leaves out columns, or publishes generated ones",
        remedy="let cdcd make its own publication: remove 'publication' from the system's configuration",
        code="chunk-shape",
    )

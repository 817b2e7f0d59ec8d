"""The stream of a logical replication slot to events: a pure decoder of plug-in `pgoutput`, protocol version 1.

Formats: PostgreSQL documentation, "Streaming Replication Protocol" (XLogData, Primary keepalive message) and "Logical
Replication Message Formats"; `protocol` reads messages without rows, `streamed` brings later versions back to this one. Every
row message begins with kind, relation, kind of tuple and number of columns: these
eight bytes are looked up as they are, and lead to what was made ready when the relation was described: rows of one kind that
follow one another are passed on together, as they were printed; only old rows, and long ones, are unpacked here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from cdcd.errors import CdcdError
from cdcd.model import ABSENT, Commit, Event, Idle, Op, PrintedRows, Relation, Row, Rows
from cdcd_postgres import protocol
from cdcd_postgres.position import Log, Moment, Replay, format_lsn
from cdcd_postgres.protocol import StreamRelation, not_understood
from cdcd_postgres.rowcode import PADDING, Unpack, compile_unpack, printed_rows

MARKER_PREFIX: Final = "cdcd"
"""The prefix of our own logical messages: markers of chunks, and notices of what the log does not show (`notices`)."""
ROWS_MAX: Final = 1000
_PRINTED_BYTES_MAX: Final = 16 << 10
"""A longer message is unpacked by itself: a text of 64 KiB has no place among printed rows."""
_WITH_ROWS: Final = (Op.INSERT, Op.UPDATE, Op.DELETE)
_XLOG_DATA: Final = ord("w")
_KEEPALIVE: Final = ord("k")
_NEW: Final = ord("N")
_BODY: Final = 25  # bytes before a message in XLogData: kind, start, end, time
_TUPLE: Final = _BODY + 8
_PADDING_SIZE: Final = len(PADDING)
_COUNT_SIZE: Final = 2
"""The number of columns of a tuple, before the first."""
_KEEPALIVE_BODY: Final = struct.Struct(">QqB")


class Begin(msgspec.Struct, frozen=True):
    """A transaction begins; only reported while `Decoder.tracing`."""

    xid: int


class Marker(msgspec.Struct, frozen=True):
    """One of our own messages came by; it stands behind its transaction's commit. Only reported while `tracing`."""

    content: str


StreamEvent: TypeAlias = Event | Begin | Marker


class Shape(msgspec.Struct, frozen=True):
    """How the rows of a relation are reported.

    `whole_olds`: an old tuple of kind O holds the whole old row. A partitioned table's may not: the kind comes from the
    root's replica identity, the values from the partition's, and what that leaves out is NULL in the tuple.
    """

    relation: Relation
    whole_olds: bool = True


Resolve: TypeAlias = Callable[[StreamRelation], Shape | None]
ReadNotice: TypeAlias = Callable[[str], tuple[Op, str] | None]


class _Plan:
    """What to do with row messages that begin with the same eight bytes. Without `unpack`: nothing."""

    __slots__ = ("is_printed", "old", "op", "relation", "unpack")

    def __init__(
        self,
        relation: Relation | None,
        op: Op,
        unpack: Unpack | None,
        old: Unpack | None = None,
        *,
        is_printed: bool = False,
    ) -> None:
        self.relation = relation
        self.op = op
        self.unpack = unpack
        self.old = old
        self.is_printed = is_printed


class Decoder:
    """Decodes the messages of one stream of `log` that starts at `start_lsn`.

    `resolve` is asked once for each Relation message, None says that its rows are not wanted. `read_notice` is asked for
    each of our own messages what happened to which table, if it says that. `replay` judges what the server sends from before the
    start. `is_utf8` says that no text can be anything else. `streamed` collects the transaction ids that came by, for those who
    compare them with snapshots; who uses it prunes it.
    """

    def __init__(
        self,
        log: Log,
        start_lsn: int,
        resolve: Resolve,
        *,
        read_notice: ReadNotice = lambda _content: None,
        replay: Replay | None = None,
        is_utf8: bool = True,
    ) -> None:
        self.tracing = False
        self.reply_requested = False
        self.streamed: set[int] = set()
        self.lsn = start_lsn
        """The last position that was returned."""
        self.received_lsn = start_lsn
        """The last place in the log that the server named; may be ahead of `lsn` inside a transaction."""
        self.truncated: set[str] = set()
        """The tables that were truncated; who uses it clears it."""
        self.replayed: list[Rows] = []
        """Updates that moved a row, from before the start; who uses it clears it."""
        self._log = log
        self._start_lsn = start_lsn
        self._resolve = resolve
        self._read_notice = read_notice
        self._replay = replay
        self._is_utf8 = is_utf8
        self._commit_seen = replay.expected if replay is not None else None
        self._plans: dict[bytes, _Plan] = {}
        self._shapes: dict[int, Shape] = {}
        self._events: list[StreamEvent] = []
        self._in_transaction = False
        self._skipping = False
        self._empty = True
        self._markers: list[Marker] = []
        self._told_lost: set[str] = set()
        self._idle_lsn = 0
        self._failure: CdcdError | None = None
        self._with_olds: list[Rows] = []
        self._handlers: dict[int, Callable[[bytes], None]] = {
            ord("B"): self._begin,
            ord("C"): self._commit,
            ord("M"): self._message,
            ord("O"): self._origin,
            ord("R"): self._relation,
            ord("T"): self._truncate,
            ord("Y"): self._type,
        }

    def feed(self, messages: Iterable[bytes | memoryview]) -> list[StreamEvent]:
        """Decode messages as they came in CopyData; a transaction may go on in the next call.

        Raises DecodeError for the first one that is not understood, when everything before it has been returned, and
        PositionLost when this turns out to be another log than the one that was read before.
        """
        if self._failure is not None:
            raise self._failure
        self._events = []
        try:
            self._decode(messages)
        except (struct.error, ValueError, IndexError) as error:
            self._failure = not_understood(f"{type(error).__name__} near {format_lsn(self.received_lsn)}")
        except CdcdError as error:
            self._failure = error
        self._close_rows()
        if self._failure is not None and not self._events:
            raise self._failure
        if not self._in_transaction and self._idle_lsn > self.lsn:
            self.lsn = self._idle_lsn
            self._events.append(Idle(self._log.token(self.lsn, self._commit_seen)))
        return self._events

    def _decode(self, messages: Iterable[bytes | memoryview]) -> None:
        """The loop over messages: everything that happens once a row is here, and first to one like the row before it."""
        find = self._plans.get
        padded = b"".join
        current: _Plan | None = None
        waiting: list[bytes] = []
        rows: list[Row] = []
        olds: list[Row | None] | None = None
        for message in messages:
            data = padded((message, PADDING))
            plan = find(data[_BODY:_TUPLE])
            if waiting and (plan is not current or len(waiting) == ROWS_MAX or len(data) > _PRINTED_BYTES_MAX):
                self._pass_on(current, waiting)
                current, waiting = None, []
            if plan is None or data[0] != _XLOG_DATA:
                current = None
                self._decode_other(data)
                continue
            if plan is not current or len(rows) == ROWS_MAX:
                if plan.unpack is None:
                    continue
                if self._skipping:
                    self._replay_move(plan, data)
                    continue
                current, rows, olds = plan, [], [] if plan.old is not None else None
            if plan.is_printed and len(data) <= _PRINTED_BYTES_MAX:
                rows = []
                waiting.append(data)
                continue
            if not rows:
                self._open_rows(plan, rows, olds)
            self._unpack(plan, data, rows, olds)
        if waiting:
            self._pass_on(current, waiting)

    def _pass_on(self, plan: _Plan | None, waiting: Sequence[bytes]) -> None:
        """The rows that have waited, as they were printed; unpacked one by one where something is wrong with them."""
        assert plan is not None
        assert plan.relation is not None
        packed = printed_rows([data[_TUPLE - _COUNT_SIZE : -_PADDING_SIZE] for data in waiting])
        if packed is not None and self._in_transaction:
            self._empty = False
            self._events.append(PrintedRows(plan.relation, plan.op, len(waiting), packed))
            return
        rows: list[Row] = []
        self._open_rows(plan, rows, None)
        for data in waiting:
            self._unpack(plan, data, rows, None)

    def _unpack(self, plan: _Plan, data: bytes, rows: list[Row], olds: list[Row | None] | None) -> None:
        if olds is not None:
            row, end, old = _unpack_both(plan, data)
            olds.append(old)
        else:
            assert plan.unpack is not None
            row, end = plan.unpack(data, _TUPLE)
        if end != len(data) - _PADDING_SIZE:
            raise ValueError
        rows.append(row)

    def _replay_move(self, plan: _Plan, data: bytes) -> None:
        """Rows from before the start have been taken; only what a copy must know of them is kept."""
        if plan.old is not None and plan.relation is not None:
            row, _, old = _unpack_both(plan, data)
            if old is not None:
                self.replayed.append(Rows(plan.relation, Op.UPDATE, [row], [old]))

    def _open_rows(self, plan: _Plan, rows: list[Row], olds: list[Row | None] | None) -> None:
        if not self._in_transaction:
            raise not_understood("a row outside a transaction")
        assert plan.relation is not None
        self._empty = False
        event = Rows(plan.relation, plan.op, rows, olds)
        self._events.append(event)
        if olds is not None:
            self._with_olds.append(event)

    def _close_rows(self) -> None:
        """Leave out lists of old rows that hold none, and rows that a failure kept from being filled."""
        for event in self._with_olds:
            if not any(event.olds or ()):
                event.olds = None
        self._with_olds.clear()
        last = self._events[-1] if self._events else None
        if isinstance(last, Rows) and not last.rows and last.op in _WITH_ROWS:
            self._events.pop()

    def _decode_other(self, data: bytes) -> None:
        end = len(data) - _PADDING_SIZE
        if data[0] == _KEEPALIVE and end == 1 + _KEEPALIVE_BODY.size:
            self._keepalive(data)
        elif data[0] == _XLOG_DATA and end > _BODY:
            handle = self._handlers.get(data[_BODY])
            if handle is None:
                raise not_understood(f"message of kind {data[_BODY]} is not known, or does not fit its relation")
            handle(data[_BODY + 1 : end])
        else:
            raise not_understood(f"message of kind {data[0]}, {end} bytes long")

    def _keepalive(self, data: bytes) -> None:
        lsn, _, reply = _KEEPALIVE_BODY.unpack_from(data, 1)
        self.reply_requested |= reply != 0
        self.received_lsn = max(self.received_lsn, lsn)
        if not self._in_transaction:
            self._idle_lsn = max(self._idle_lsn, lsn)
            self._reach(lsn)

    def _begin(self, body: bytes) -> None:
        begin = protocol.parse_begin(body)
        if self._in_transaction:
            raise not_understood("a transaction inside a transaction")
        self._in_transaction = True
        self._empty = True
        self._skipping = begin.commit_lsn < self._start_lsn  # begins before our position, so it ends at or before it
        if not self._skipping:
            self._reach(begin.commit_lsn)
        self.streamed.add(begin.xid)
        if self.tracing:
            self._events.append(Begin(begin.xid))

    def _reach(self, lsn: int) -> None:
        """Everything before `lsn` has been sent."""
        if self._replay is not None and lsn >= self._start_lsn:
            self._replay.judge()
            self._replay = None

    def _commit(self, body: bytes) -> None:
        commit = protocol.parse_commit(body)
        lsn = commit.end_lsn
        if not self._in_transaction:
            raise not_understood("a commit outside a transaction")
        self._in_transaction = False
        self.received_lsn = max(self.received_lsn, lsn)
        if not self._skipping:
            self._commit_seen = Moment(lsn, commit.committed_at_us)
        elif self._replay is not None:
            self._replay.commit(Moment(lsn, commit.committed_at_us))
        if self._empty:
            self._idle_lsn = max(self._idle_lsn, lsn)
        else:
            self.lsn = lsn
            self._events.append(Commit(self._log.token(lsn, self._commit_seen), commit.committed_at_us))
        self._events += self._markers
        self._markers.clear()
        self._skipping = False

    def _relation(self, body: bytes) -> None:
        relation = protocol.parse_relation(body)
        shape = self._resolve(relation)
        self._notice_rename(relation.oid, shape)
        oid = struct.pack(">I", relation.oid)
        for prefix in [prefix for prefix in self._plans if prefix[1:5] == oid]:
            del self._plans[prefix]
        self._shapes.pop(relation.oid, None)
        if shape is not None:
            self._shapes[relation.oid] = shape
        self._plans.update(_plans(relation, shape, is_utf8=self._is_utf8))

    def _notice_rename(self, oid: int, shape: Shape | None) -> None:
        """A relation that had the name of a table of ours and has it no longer, or another one that has the name now.

        The log says this when the next row comes. Until then the catalog is looked at, see `watch`.
        """
        before = self._shapes.get(oid)
        if before is not None and (shape is None or shape.relation.table != before.relation.table):
            self._tell(before.relation, Op.TABLE_GONE)
        if shape is None:
            return
        for other, known in list(self._shapes.items()):
            if other != oid and known.relation.table == shape.relation.table:
                del self._shapes[other]
                if shape.relation.table not in self._told_lost:
                    self._tell(shape.relation, Op.ROWS_LOST)
        self._told_lost.discard(shape.relation.table)

    def _tell(self, relation: Relation, op: Op) -> None:
        """Report something that has no rows."""
        if not self._in_transaction:
            raise not_understood(f"{op.name} outside a transaction")
        if not self._skipping:
            self._empty = False
            self._events.append(Rows(relation, op, []))

    def _truncate(self, body: bytes) -> None:
        for oid in protocol.parse_truncate(body):
            shape = self._shapes.get(oid)
            if shape is not None:
                self.truncated.add(shape.relation.table)
                self._tell(shape.relation, Op.TRUNCATE)
            elif not self._in_transaction:
                raise not_understood("a truncate outside a transaction")

    def _message(self, body: bytes) -> None:
        """A logical message of any application; only ours are looked at."""
        message = protocol.parse_message(body)
        if message.prefix != MARKER_PREFIX or not message.transactional or self._skipping:
            return
        content = message.content.decode(errors="replace")
        notice = self._read_notice(content)
        if notice is not None:
            op, table = notice
            known = (shape.relation for shape in self._shapes.values() if shape.relation.table == table)
            self._tell(next(known, Relation(table, (), (), ())), op)
            self._told_lost.add(table)
        elif self.tracing and self._in_transaction:
            self._markers.append(Marker(content))

    def _origin(self, body: bytes) -> None:
        """Where the transaction comes from: our own are marked by the rows of the checkpoint table instead."""
        protocol.parse_origin(body)

    def _type(self, body: bytes) -> None:
        """The name of a type: types are resolved from the catalog, by OID."""
        protocol.parse_type(body)


def _plans(relation: StreamRelation, shape: Shape | None, *, is_utf8: bool) -> dict[bytes, _Plan]:
    """Plans for all row messages of a relation, by their first eight bytes."""

    def prefix(kind: bytes, tuple_kind: bytes) -> bytes:
        return struct.pack(">cIcH", kind, relation.oid, tuple_kind, len(relation.columns))

    kinds = {(b"I", b"N"): Op.INSERT, (b"U", b"N"): Op.UPDATE, (b"D", b"K"): Op.DELETE, (b"D", b"O"): Op.DELETE}
    old_kinds = (b"K", b"O")
    if shape is None:
        nothing = _Plan(None, Op.INSERT, None)
        return {prefix(*kind): nothing for kind in (*kinds, *((b"U", old) for old in old_kinds))}
    whole = compile_unpack(shape.relation.types)
    key = _whole_key(compile_unpack(shape.relation.types, frozenset(shape.relation.identity)))
    unpacks = {b"N": whole, b"K": key, b"O": whole if shape.whole_olds else key}
    is_printed = is_utf8 and bool(relation.columns)
    plans = {
        prefix(*kind): _Plan(shape.relation, op, unpacks[kind[1]], is_printed=is_printed and op != Op.DELETE)
        for kind, op in kinds.items()
    }
    for tuple_kind in old_kinds:
        plans[prefix(b"U", tuple_kind)] = _Plan(shape.relation, Op.UPDATE, whole, unpacks[tuple_kind])
    return plans


def _whole_key(unpack: Unpack) -> Unpack:
    """An old key cannot hold NULL: where it does, the log has the values of another key than the relation says."""

    def unpack_key(data: bytes, at: int) -> tuple[Row, int]:
        row, end = unpack(data, at)
        if None in row:
            raise not_understood(
                "an old row without its key: a partition has another replica identity than its table",
                remedy="give all partitions the replica identity of their table, then run 'cdcd resync' for its entity",
            )
        return row, end

    return unpack_key


def _unpack_both(plan: _Plan, data: bytes) -> tuple[Row, int, Row | None]:
    """An update with an old tuple: the new row, the place after it, and the old row when the identity changed.

    Values that the new tuple leaves out (unchanged TOAST) are taken from the old one where that has them.
    """
    assert plan.unpack is not None
    assert plan.old is not None
    assert plan.relation is not None
    old, at = plan.old(data, _TUPLE)
    if data[at] != _NEW or data[at + 1 : at + 3] != data[_TUPLE - _COUNT_SIZE : _TUPLE]:
        raise ValueError
    row, end = plan.unpack(data, at + 3)
    row = [before if value is ABSENT else value for value, before in zip(row, old, strict=True)]
    changed = any(row[number] != old[number] for number in plan.relation.identity)
    return row, end, old if changed else None

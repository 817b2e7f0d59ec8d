"""The stream of a logical replication slot to events: a pure decoder of plug-in `pgoutput`, protocol version 1.

Formats: PostgreSQL documentation, "Streaming Replication Protocol" (XLogData, Primary keepalive message) and "Logical
Replication Message Formats". Every row message begins with kind, relation, kind of tuple and number of columns: these
eight bytes are looked up as they are, and lead to the function that was compiled when the relation was described.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

from cdcd.errors import DecodeError
from cdcd.model import ABSENT, Commit, Event, Idle, Op, Relation, Row, Rows
from cdcd_postgres.position import Log, format_lsn
from cdcd_postgres.rowcode import PADDING, Unpack, compile_unpack

MARKER_PREFIX: Final = "cdcd"
"""The prefix of our own logical messages."""
ROWS_MAX: Final = 1000
_XLOG_DATA: Final = ord("w")
_KEEPALIVE: Final = ord("k")
_NEW: Final = ord("N")
_BODY: Final = 25  # bytes before a message in XLogData: kind, start, end, time
_TUPLE: Final = _BODY + 8
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000
_BEGIN: Final = struct.Struct(">QqI")
_COMMIT: Final = struct.Struct(">BQQq")
_KEEPALIVE_BODY: Final = struct.Struct(">QqB")


class Begin(msgspec.Struct, frozen=True):
    """A transaction begins; only reported while `Decoder.tracing`."""

    xid: int


class Marker(msgspec.Struct, frozen=True):
    """One of our own messages came by; it stands behind its transaction's commit. Only reported while `tracing`."""

    content: str


StreamEvent: TypeAlias = Event | Begin | Marker


class StreamColumn(msgspec.Struct, frozen=True):
    """A column of a Relation message. `in_identity` is its flag."""

    name: str
    type_oid: int
    modifier: int
    in_identity: bool


class StreamRelation(msgspec.Struct, frozen=True):
    """A Relation message. `replica_identity` is pg_class.relreplident."""

    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[StreamColumn, ...]


class Shape(msgspec.Struct, frozen=True):
    """How the rows of a relation are reported: canonical types in `relation`, and an expression for each column."""

    relation: Relation
    expressions: tuple[str, ...]


Resolve: TypeAlias = Callable[[StreamRelation], Shape | None]


class _Plan:
    """What to do with row messages that begin with the same eight bytes. Without `unpack`: nothing."""

    __slots__ = ("old", "op", "relation", "unpack")

    def __init__(self, relation: Relation | None, op: Op, unpack: Unpack | None, old: Unpack | None = None) -> None:
        self.relation = relation
        self.op = op
        self.unpack = unpack
        self.old = old


class Decoder:
    """Decodes the messages of one stream of `log` that starts at `start_lsn`.

    `resolve` is asked once for each Relation message, None says that its rows are not wanted. `streamed` collects the
    transaction ids that came by, for those who compare them with snapshots; who uses it prunes it.
    """

    def __init__(self, log: Log, start_lsn: int, resolve: Resolve) -> None:
        self.tracing = False
        self.reply_requested = False
        self.streamed: set[int] = set()
        self.lsn = start_lsn
        """The last position that was returned."""
        self.received_lsn = start_lsn
        """The last place in the log that the server named; may be ahead of `lsn` inside a transaction."""
        self._log = log
        self._start_lsn = start_lsn
        self._resolve = resolve
        self._plans: dict[bytes, _Plan] = {}
        self._shapes: dict[int, Shape] = {}
        self._events: list[StreamEvent] = []
        self._in_transaction = False
        self._skipping = False
        self._empty = True
        self._markers: list[Marker] = []
        self._idle_lsn = 0
        self._failure: DecodeError | None = None
        self._with_olds: list[Rows] = []
        self._handlers: dict[int, Callable[[bytes], None]] = {
            ord("B"): self._begin,
            ord("C"): self._commit,
            ord("M"): self._message,
            ord("O"): self._ignore,
            ord("R"): self._relation,
            ord("T"): self._truncate,
            ord("Y"): self._ignore,
        }

    def feed(self, messages: Iterable[bytes | memoryview]) -> list[StreamEvent]:
        """Decode messages as they came in CopyData; a transaction may go on in the next call.

        Raises DecodeError for the first one that is not understood, when everything before it has been returned.
        """
        if self._failure is not None:
            raise self._failure
        self._events = []
        try:
            self._decode(messages)
        except (struct.error, ValueError, IndexError) as error:
            self._failure = _not_understood(f"{type(error).__name__} near {format_lsn(self.received_lsn)}")
        except DecodeError as error:
            self._failure = error
        self._close_rows()
        if self._failure is not None and not self._events:
            raise self._failure
        if not self._in_transaction and self._idle_lsn > self.lsn:
            self.lsn = self._idle_lsn
            self._events.append(Idle(self._log.token(self.lsn)))
        return self._events

    def _decode(self, messages: Iterable[bytes | memoryview]) -> None:
        """The loop over messages: everything that happens once a row is here."""
        find = self._plans.get
        padded = b"".join
        current: _Plan | None = None
        rows: list[Row] = []
        olds: list[Row | None] | None = None
        for message in messages:
            data = padded((message, PADDING))
            plan = find(data[_BODY:_TUPLE])
            if plan is None or data[0] != _XLOG_DATA:
                current = None
                self._decode_other(data)
                continue
            if plan.unpack is None or self._skipping:
                continue
            if plan is not current or len(rows) >= ROWS_MAX:
                current, rows, olds = plan, [], [] if plan.old is not None else None
                self._open_rows(plan, rows, olds)
            if olds is None or plan.old is None:
                row, end = plan.unpack(data, _TUPLE)
                old = None
            else:
                row, end, old = _unpack_both(plan.old, plan, data)
            if end != len(data) - len(PADDING):
                raise ValueError
            rows.append(row)
            if olds is not None:
                olds.append(old)

    def _open_rows(self, plan: _Plan, rows: list[Row], olds: list[Row | None] | None) -> None:
        if not self._in_transaction:
            raise _not_understood("a row outside a transaction")
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
        if isinstance(last, Rows) and not last.rows and last.op is not Op.TRUNCATE:
            self._events.pop()

    def _decode_other(self, data: bytes) -> None:
        end = len(data) - len(PADDING)
        if data[0] == _KEEPALIVE and end == 1 + _KEEPALIVE_BODY.size:
            self._keepalive(data)
        elif data[0] == _XLOG_DATA and end > _BODY:
            handle = self._handlers.get(data[_BODY])
            if handle is None:
                raise _not_understood(f"message of kind {data[_BODY]} is not known, or does not fit its relation")
            handle(data[_BODY + 1 : end])
        else:
            raise _not_understood(f"message of kind {data[0]}, {end} bytes long")

    def _keepalive(self, data: bytes) -> None:
        lsn, _, reply = _KEEPALIVE_BODY.unpack_from(data, 1)
        self.reply_requested |= reply != 0
        self.received_lsn = max(self.received_lsn, lsn)
        if not self._in_transaction:
            self._idle_lsn = max(self._idle_lsn, lsn)

    def _begin(self, body: bytes) -> None:
        commit_lsn, _, xid = _BEGIN.unpack(body)
        if self._in_transaction:
            raise _not_understood("a transaction inside a transaction")
        self._in_transaction = True
        self._empty = True
        self._skipping = commit_lsn < self._start_lsn  # begins before our position, so it ends at or before it
        self.streamed.add(xid)
        if self.tracing:
            self._events.append(Begin(xid))

    def _commit(self, body: bytes) -> None:
        _, _, lsn, committed_at_us = _COMMIT.unpack(body)
        if not self._in_transaction:
            raise _not_understood("a commit outside a transaction")
        self._in_transaction = False
        self.received_lsn = max(self.received_lsn, lsn)
        if self._empty:
            self._idle_lsn = max(self._idle_lsn, lsn)
        else:
            self.lsn = lsn
            self._events.append(Commit(self._log.token(lsn), committed_at_us + _POSTGRES_EPOCH_US))
        self._events += self._markers
        self._markers.clear()
        self._skipping = False

    def _relation(self, body: bytes) -> None:
        relation = parse_relation(body)
        shape = self._resolve(relation)
        oid = struct.pack(">I", relation.oid)
        for prefix in [prefix for prefix in self._plans if prefix[1:5] == oid]:
            del self._plans[prefix]
        self._shapes.pop(relation.oid, None)
        if shape is not None:
            self._shapes[relation.oid] = shape
        self._plans.update(_plans(relation, shape))

    def _truncate(self, body: bytes) -> None:
        (count, _), oids = struct.unpack_from(">IB", body), body[5:]
        if len(oids) != 4 * count:
            raise _not_understood("a truncate of the wrong length")
        if not self._in_transaction:
            raise _not_understood("a truncate outside a transaction")
        for (oid,) in struct.iter_unpack(">I", oids):
            shape = self._shapes.get(oid)
            if shape is not None and not self._skipping:
                self._empty = False
                self._events.append(Rows(shape.relation, Op.TRUNCATE, []))

    def _message(self, body: bytes) -> None:
        """A logical message of any application; only ours are looked at."""
        prefix, at = _string(body, 9)
        (length,) = struct.unpack_from(">I", body, at)
        content = body[at + 4 :]
        if len(content) != length:
            raise _not_understood("a logical message of the wrong length")
        if prefix == MARKER_PREFIX and self.tracing and self._in_transaction and not self._skipping:
            self._markers.append(Marker(content.decode()))

    def _ignore(self, body: bytes) -> None:
        """Type and Origin: types are resolved from the catalog, marks are rows of the checkpoint table."""


def parse_relation(body: bytes) -> StreamRelation:
    """Read a Relation message without its first byte. Raises DecodeError, ValueError or struct.error for other bytes."""
    (oid,) = struct.unpack_from(">I", body)
    schema, at = _string(body, 4)
    name, at = _string(body, at)
    identity, count = struct.unpack_from(">cH", body, at)
    at += 3
    columns = []
    for _ in range(count):
        flags = body[at]
        column, at = _string(body, at + 1)
        type_oid, modifier = struct.unpack_from(">Ii", body, at)
        at += 8
        columns.append(StreamColumn(column, type_oid, modifier, bool(flags & 1)))
    if at != len(body):
        raise _not_understood("a relation of the wrong length")
    return StreamRelation(oid, schema or "pg_catalog", name, identity.decode(), tuple(columns))


def _string(body: bytes, start: int) -> tuple[str, int]:
    """A text that a zero byte ends, and the place after it."""
    end = body.index(b"\0", start)
    return body[start:end].decode(), end + 1


def _plans(relation: StreamRelation, shape: Shape | None) -> dict[bytes, _Plan]:
    """Plans for all row messages of a relation, by their first eight bytes."""

    def prefix(kind: bytes, tuple_kind: bytes) -> bytes:
        return struct.pack(">cIcH", kind, relation.oid, tuple_kind, len(relation.columns))

    kinds = {(b"I", b"N"): Op.INSERT, (b"U", b"N"): Op.UPDATE, (b"D", b"K"): Op.DELETE, (b"D", b"O"): Op.DELETE}
    old_kinds = (b"K", b"O")
    if shape is None:
        nothing = _Plan(None, Op.INSERT, None)
        return {prefix(*kind): nothing for kind in (*kinds, *((b"U", old) for old in old_kinds))}
    whole = compile_unpack(shape.expressions)
    key = compile_unpack(shape.expressions, frozenset(shape.relation.identity))
    plans = {prefix(*kind): _Plan(shape.relation, op, key if kind[1] == b"K" else whole) for kind, op in kinds.items()}
    for tuple_kind, old in zip(old_kinds, (key, whole), strict=True):
        plans[prefix(b"U", tuple_kind)] = _Plan(shape.relation, Op.UPDATE, whole, old)
    return plans


def _unpack_both(unpack_old: Unpack, plan: _Plan, data: bytes) -> tuple[Row, int, Row | None]:
    """An update with an old tuple: the new row, the place after it, and the old row when the identity changed.

    Values that the new tuple leaves out (unchanged TOAST) are taken from the old one where that has them.
    """
    assert plan.unpack is not None
    assert plan.relation is not None
    old, at = unpack_old(data, _TUPLE)
    if data[at] != _NEW or data[at + 1 : at + 3] != data[_TUPLE - 2 : _TUPLE]:
        raise ValueError
    row, end = plan.unpack(data, at + 3)
    row = [before if value is ABSENT else value for value, before in zip(row, old, strict=True)]
    changed = any(row[number] != old[number] for number in plan.relation.identity)
    return row, end, old if changed else None


def _not_understood(cause: str) -> DecodeError:
    return DecodeError(
        "the log holds something that is not understood",
        cause=cause,
        remedy="report this with the versions of cdcd and PostgreSQL; nothing after it was taken",
    )

"""The messages of plug-in `pgoutput` that carry no rows, all versions: pure functions over bytes.

Formats: PostgreSQL documentation, "Logical Replication Message Formats". Each `parse_` function takes a message without its
first byte, and raises DecodeError, ValueError, IndexError or struct.error for bytes that do not follow the format to
their end. Times are microseconds since the Unix epoch.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from cdcd.errors import DecodeError

POSTGRES_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01 00:00 UTC, from which PostgreSQL counts."""
_BEGIN: Final = struct.Struct(">QqI")
_COMMIT: Final = struct.Struct(">BQQq")
_ORIGIN: Final = struct.Struct(">Q")
_TRUNCATE: Final = struct.Struct(">IB")
_TRUNCATE_FLAGS: Final = 3  # 1 CASCADE, 2 RESTART IDENTITY
_MESSAGE: Final = struct.Struct(">BQ")
_STREAM_START: Final = struct.Struct(">IB")
_STREAM_ABORT: Final = struct.Struct(">II")
_STREAM_ABORT_AT: Final = struct.Struct(">IIQq")  # version 4 with streaming = parallel
_PREPARE: Final = struct.Struct(">BQQqI")
_BEGIN_PREPARE: Final = struct.Struct(">QQqI")
_ROLLBACK_PREPARED: Final = struct.Struct(">BQQqqI")


class BeginMessage(msgspec.Struct, frozen=True):
    """A transaction begins; its commit record starts at `commit_lsn`."""

    commit_lsn: int
    committed_at_us: int
    xid: int


class CommitMessage(msgspec.Struct, frozen=True):
    """A transaction ends; its commit record reaches from `commit_lsn` to `end_lsn`."""

    commit_lsn: int
    end_lsn: int
    committed_at_us: int


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


class LogicalMessage(msgspec.Struct, frozen=True):
    """What somebody wrote with pg_logical_emit_message."""

    transactional: bool
    prefix: str
    content: bytes


class Prepared(msgspec.Struct, frozen=True):
    """Prepare, Commit Prepared, Stream Prepare: `lsn` to `end_lsn` is the record, `gid` the name the user gave."""

    lsn: int
    end_lsn: int
    at_us: int
    xid: int
    gid: str


def parse_begin(body: bytes) -> BeginMessage:
    """Read a Begin message."""
    commit_lsn, at, xid = _BEGIN.unpack(body)
    return BeginMessage(commit_lsn, at + POSTGRES_EPOCH_US, xid)


def parse_commit(body: bytes) -> CommitMessage:
    """Read a Commit message."""
    flags, commit_lsn, end_lsn, at = _COMMIT.unpack(body)
    _require_no_flags(flags)
    return CommitMessage(commit_lsn, end_lsn, at + POSTGRES_EPOCH_US)


def parse_origin(body: bytes) -> str:
    """Read an Origin message: the name of the replication origin that the transaction came from."""
    name, at = _string(body, _ORIGIN.size)
    _require_end(body, at)
    return name


def parse_type(body: bytes) -> tuple[int, str, str]:
    """Read a Type message: OID, schema and name of a type that a following Relation message uses."""
    (oid,) = struct.unpack_from(">I", body)
    schema, at = _string(body, 4)
    name, at = _string(body, at)
    _require_end(body, at)
    return oid, schema or "pg_catalog", name


def parse_truncate(body: bytes) -> tuple[int, ...]:
    """Read a Truncate message: the OIDs of the relations. CASCADE and RESTART IDENTITY change nothing for a reader."""
    count, flags = _TRUNCATE.unpack_from(body)
    if flags & ~_TRUNCATE_FLAGS:
        raise not_understood(f"a truncate with flags {flags}")
    _require_end(body, _TRUNCATE.size + 4 * count)
    return tuple(oid for (oid,) in struct.iter_unpack(">I", body[_TRUNCATE.size :]))


def parse_message(body: bytes) -> LogicalMessage:
    """Read a Message message."""
    flags, _ = _MESSAGE.unpack_from(body)
    if flags & ~1:
        raise not_understood(f"a logical message with flags {flags}")
    prefix, at = _string(body, _MESSAGE.size)
    (length,) = struct.unpack_from(">I", body, at)
    _require_end(body, at + 4 + length)
    return LogicalMessage(bool(flags), prefix, body[at + 4 :])


def parse_relation(body: bytes) -> StreamRelation:
    """Read a Relation message."""
    (oid,) = struct.unpack_from(">I", body)
    schema, at = _string(body, 4)
    name, at = _string(body, at)
    identity, count = struct.unpack_from(">cH", body, at)
    at += 3
    columns = []
    for _ in range(count):
        flags = body[at]
        if flags & ~1:
            raise not_understood(f"a column with flags {flags}")
        column, at = _string(body, at + 1)
        type_oid, modifier = struct.unpack_from(">Ii", body, at)
        at += 8
        columns.append(StreamColumn(column, type_oid, modifier, bool(flags)))
    _require_end(body, at)
    if identity not in (b"d", b"n", b"f", b"i"):
        raise not_understood(f"replica identity {identity!r}")
    return StreamRelation(oid, schema or "pg_catalog", name, identity.decode(), tuple(columns))


def parse_stream_start(body: bytes) -> tuple[int, bool]:
    """Read a Stream Start message: the transaction, and whether this is its first block."""
    xid, first = _STREAM_START.unpack(body)
    return xid, bool(first)


def parse_stream_commit(body: bytes) -> tuple[int, CommitMessage]:
    """Read a Stream Commit message: the transaction and how it ended."""
    (xid,) = struct.unpack_from(">I", body)
    return xid, parse_commit(body[4:])


def parse_stream_abort(body: bytes) -> tuple[int, int]:
    """Read a Stream Abort message: the transaction, and the one of its sub-transactions (or itself) that is undone."""
    if len(body) == _STREAM_ABORT_AT.size:
        xid, subxid, _, _ = _STREAM_ABORT_AT.unpack(body)
    else:
        xid, subxid = _STREAM_ABORT.unpack(body)
    return xid, subxid


def parse_begin_prepare(body: bytes) -> Prepared:
    """Read a Begin Prepare message."""
    lsn, end_lsn, at, xid = _BEGIN_PREPARE.unpack_from(body)
    return Prepared(lsn, end_lsn, at + POSTGRES_EPOCH_US, xid, _last_string(body, _BEGIN_PREPARE.size))


def parse_prepared(body: bytes) -> Prepared:
    """Read a Prepare, Commit Prepared or Stream Prepare message."""
    flags, lsn, end_lsn, at, xid = _PREPARE.unpack_from(body)
    _require_no_flags(flags)
    return Prepared(lsn, end_lsn, at + POSTGRES_EPOCH_US, xid, _last_string(body, _PREPARE.size))


def parse_rollback_prepared(body: bytes) -> tuple[int, str]:
    """Read a Rollback Prepared message: the transaction, and its name."""
    flags, _, _, _, _, xid = _ROLLBACK_PREPARED.unpack_from(body)
    _require_no_flags(flags)
    return xid, _last_string(body, _ROLLBACK_PREPARED.size)


def begin_body(begin: BeginMessage) -> bytes:
    """A Begin message, with its first byte."""
    return b"B" + _BEGIN.pack(begin.commit_lsn, begin.committed_at_us - POSTGRES_EPOCH_US, begin.xid)


def commit_body(commit: CommitMessage) -> bytes:
    """A Commit message, with its first byte."""
    return b"C" + _COMMIT.pack(0, commit.commit_lsn, commit.end_lsn, commit.committed_at_us - POSTGRES_EPOCH_US)


_REPORT: Final = "report this with the versions of cdcd and PostgreSQL; nothing after it was taken"


def not_understood(cause: str, remedy: str = _REPORT) -> DecodeError:
    """What to tell of bytes that do not follow the format."""
    return DecodeError("the log holds something that is not understood", cause=cause, remedy=remedy)


def _string(body: bytes, start: int) -> tuple[str, int]:
    """A text that a zero byte ends, and the place after it."""
    end = body.index(b"\0", start)
    return body[start:end].decode(), end + 1


def _last_string(body: bytes, start: int) -> str:
    text, at = _string(body, start)
    _require_end(body, at)
    return text


def _require_end(body: bytes, at: int) -> None:
    if at != len(body):
        raise not_understood(f"a message of {len(body)} bytes that should have {at}")


def _require_no_flags(flags: int) -> None:
    if flags:
        raise not_understood(f"the end of a transaction with flags {flags}")

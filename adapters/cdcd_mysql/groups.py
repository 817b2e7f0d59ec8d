"""Decodes the events that name a transaction: GTIDs of both families, and XA PREPARE. Pure.

Formats: MySQL source, libs/mysql/binlog/event/control_events.h (Gtid_event, XA_prepare_event) and, for tagged GTIDs,
libs/mysql/serialization/readme.md; MariaDB source, sql/log_event.cc (Gtid_log_event), sql/log_event.h (its flags).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from cdcd.errors import DecodeError
from cdcd_mysql.wire import Reader

_MYSQL_GTID: Final = struct.Struct("<B16sq").unpack_from
_MARIADB_GTID: Final = struct.Struct("<QIB").unpack_from
_COMMIT_TIME_PLACE: Final = 1 + 16 + 8 + 1 + 16
_COMMIT_TIME_MASK: Final = (1 << 55) - 1
_STANDALONE, _GROUP_COMMIT, _PREPARED, _COMPLETED = 0x01, 0x02, 0x40, 0x80
_MULTI_ENGINE, _START_ALTER, _COMMIT_ALTER, _ROLLBACK_ALTER = 0x01, 0x02, 0x04, 0x08


class MySqlGtid(NamedTuple):
    """`source` is a server_uuid, with a tag "uuid:tag". `committed_at_us` is 0 where the server did not write it."""

    source: str
    number: int
    committed_at_us: int


class MariaDbGtid(NamedTuple):
    """The GTID's server id is that of the event's header.

    A standalone group is one statement and has no COMMIT. `prepares` is the XA transaction that the group prepares.
    `is_decided` is False for an ALTER TABLE that has begun and can still fail, or has failed (binlog_alter_two_phase).
    """

    sequence: int
    domain: int
    is_standalone: bool
    prepares: str = ""
    is_decided: bool = True


class Prepare(NamedTuple):
    """An XA_PREPARE event. With one phase the transaction is committed by it."""

    xid: str
    is_one_phase: bool


def xid_text(format_id: int, global_part: bytes, branch_part: bytes) -> str:
    """An XA transaction's id as both servers write it in their statements."""
    return f"X'{global_part.hex()}',X'{branch_part.hex()}',{format_id}"


def decode_mysql_gtid(data: bytes, place: int, end: int) -> MySqlGtid:
    """A GTID or ANONYMOUS_GTID event: who made the transaction, its number and commit time."""
    _, source, number = _MYSQL_GTID(data, place)
    time_place = place + _COMMIT_TIME_PLACE
    committed_at_us = 0
    if time_place + 7 <= end:
        committed_at_us = int.from_bytes(data[time_place : time_place + 7], "little") & _COMMIT_TIME_MASK
    return MySqlGtid(str(uuid.UUID(bytes=source)), number, committed_at_us)


def decode_mariadb_gtid(data: bytes, place: int, end: int) -> MariaDbGtid:
    """The GTID event that starts every group of MariaDB."""
    sequence, domain, flags = _MARIADB_GTID(data, place)
    reader = Reader(data, place + 13, end)
    if flags & _GROUP_COMMIT:
        reader.take(8)
    xid = ""
    if flags & (_PREPARED | _COMPLETED):
        format_id, global_size, branch_size = reader.integer(4), reader.integer(1), reader.integer(1)
        xid = xid_text(format_id, reader.take(global_size), reader.take(branch_size))
    more = reader.integer(1) if reader.left else 0
    is_decided = not more & (_START_ALTER | _ROLLBACK_ALTER)
    return MariaDbGtid(sequence, domain, bool(flags & _STANDALONE), xid if flags & _PREPARED else "", is_decided)


def decode_prepare(data: bytes, place: int, end: int) -> Prepare:
    """An XA_PREPARE event."""
    reader = Reader(data, place, end)
    is_one_phase = reader.integer(1) != 0
    format_id, global_size, branch_size = (reader.integer(4) for _ in range(3))
    return Prepare(xid_text(format_id, reader.take(global_size), reader.take(branch_size)), is_one_phase)


# ---- tagged GTIDs --------------------------------------------------------------------------------------------------------


def decode_tagged_gtid(data: bytes, place: int, end: int) -> MySqlGtid:
    """A GTID_TAGGED event (MySQL 8.3): numbered fields in ascending order, of which we need four."""
    reader = Reader(data, place, end)
    version, _, needed = _number(reader), _number(reader), _number(reader)
    if version != 1 or needed > _LAST_FIELD:
        raise DecodeError("a tagged GTID in a newer format")
    fields: dict[int, object] = {}
    while reader.left and (field := _number(reader)) <= _LAST_FIELD:
        fields[field] = _FIELDS.get(field, _number)(reader)
    source, number, tag, time = (fields.get(field) for field in (_UUID, _GNO, _TAG, _COMMIT_TIME))
    if not isinstance(source, bytes) or not isinstance(number, int) or not isinstance(tag, str):
        raise DecodeError("a tagged GTID without its parts")
    name = str(uuid.UUID(bytes=source))
    return MySqlGtid(f"{name}:{tag}" if tag else name, number, time if isinstance(time, int) else 0)


def _number(reader: Reader) -> int:
    """An integer of 1 to 9 bytes: as many low bits of the first are set as bytes follow."""
    first = reader.integer(1)
    more = next((bit for bit in range(8) if not first >> bit & 1), 8)
    rest = reader.integer(more)
    return rest if more == 8 else rest << (7 - more) | first >> (more + 1)


def _signed(reader: Reader) -> int:
    """An integer whose lowest bit tells that it is negative."""
    number = _number(reader)
    return ~(number >> 1) if number & 1 else number >> 1


def _uuid_bytes(reader: Reader) -> bytes:
    return bytes(_number(reader) for _ in range(16))


def _string(reader: Reader) -> str:
    return reader.take(_number(reader)).decode()


_UUID, _GNO, _TAG, _LAST_COMMITTED, _SEQUENCE, _COMMIT_TIME = range(1, 7)
_LAST_FIELD: Final = 11
_FIELDS: Final[Mapping[int, Callable[[Reader], object]]] = {
    _UUID: _uuid_bytes,
    _GNO: _signed,
    _TAG: _string,
    _LAST_COMMITTED: _signed,
    _SEQUENCE: _signed,
}

"""The types and the common header of binary log events, and the small events that have no module of their own.

Formats: MySQL source, libs/mysql/binlog/event/binlog_event.h, control_events.h, statement_events.h; MariaDB source,
sql/log_event.h. Pure. Every function takes the event's bytes between header and checksum as `data[place:end]`.
"""

from __future__ import annotations

import enum
import struct
import zlib
from typing import Final, NamedTuple

from cdcd.errors import DecodeError
from cdcd_mysql.wire import Reader

HEADER: Final = struct.Struct("<IBIIIH").unpack_from
"""Common header: timestamp (seconds), type, server id, size, offset of the event's end in its file, flags."""
HEADER_SIZE: Final = 19
ARTIFICIAL: Final = 0x20
"""Flag: the server made this event for us, it is not in the file."""
IGNORABLE: Final = 0x80
"""Flag: who does not know the event may leave it out."""
CHECKSUM_SIZE: Final = 4
_WHOLE: Final = 0x2144DF1C
"""What CRC-32 makes of anything that ends with its own CRC-32, little-endian."""
_COPIED_SIZE_MAX: Final = 1 << 14
"""Up to here a copy costs less than a view."""
_crc32: Final = zlib.crc32
_STATEMENT_HEADER: Final = struct.Struct("<IIBHH").unpack_from
_FLAGS2, _SQL_MODE, _INCREMENT, _CHARSET, _CATALOG = 0, 1, 3, 4, 6
_STATUS_SIZES: Final = {_FLAGS2: 4, _SQL_MODE: 8, _INCREMENT: 4, _CHARSET: 6}


class EventType(enum.IntEnum):
    """Events that we know. Numbers below 160 are MySQL's, others MariaDB's alone."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    INTVAR = 5
    APPEND_BLOCK = 9
    DELETE_FILE = 11
    RAND = 13
    USER_VAR = 14
    FORMAT_DESCRIPTION = 15
    XID = 16
    BEGIN_LOAD_QUERY = 17
    EXECUTE_LOAD_QUERY = 18
    TABLE_MAP = 19
    WRITE_ROWS_V1 = 23
    UPDATE_ROWS_V1 = 24
    DELETE_ROWS_V1 = 25
    INCIDENT = 26
    HEARTBEAT = 27
    IGNORABLE = 28
    ROWS_QUERY = 29
    WRITE_ROWS = 30
    UPDATE_ROWS = 31
    DELETE_ROWS = 32
    GTID = 33
    ANONYMOUS_GTID = 34
    PREVIOUS_GTIDS = 35
    TRANSACTION_CONTEXT = 36
    VIEW_CHANGE = 37
    XA_PREPARE = 38
    PARTIAL_UPDATE_ROWS = 39
    TRANSACTION_PAYLOAD = 40
    HEARTBEAT_V2 = 41
    GTID_TAGGED = 42
    ANNOTATE_ROWS = 160
    BINLOG_CHECKPOINT = 161
    MARIADB_GTID = 162
    GTID_LIST = 163
    START_ENCRYPTION = 164
    QUERY_COMPRESSED = 165
    WRITE_ROWS_COMPRESSED_V1 = 166
    UPDATE_ROWS_COMPRESSED_V1 = 167
    DELETE_ROWS_COMPRESSED_V1 = 168
    WRITE_ROWS_COMPRESSED = 169
    UPDATE_ROWS_COMPRESSED = 170
    DELETE_ROWS_COMPRESSED = 171


UNCHECKED: Final = frozenset({EventType.ROTATE, EventType.FORMAT_DESCRIPTION, EventType.HEARTBEAT})
"""Events that the server makes or changes when it sends them: their checksum may be missing or wrong."""
IGNORED: Final = (
    EventType.STOP,
    EventType.INTVAR,
    EventType.APPEND_BLOCK,
    EventType.DELETE_FILE,
    EventType.RAND,
    EventType.USER_VAR,
    EventType.BEGIN_LOAD_QUERY,
    EventType.IGNORABLE,
    EventType.ROWS_QUERY,
    EventType.PREVIOUS_GTIDS,
    EventType.TRANSACTION_CONTEXT,
    EventType.VIEW_CHANGE,
    EventType.HEARTBEAT_V2,
    EventType.ANNOTATE_ROWS,
    EventType.BINLOG_CHECKPOINT,
    EventType.GTID_LIST,
    EventType.START_ENCRYPTION,
)
"""Events that hold nothing for a reader of rows."""
NOT_INSIDE: Final = frozenset(
    {
        EventType.ROTATE,
        EventType.FORMAT_DESCRIPTION,
        EventType.HEARTBEAT,
        EventType.GTID,
        EventType.ANONYMOUS_GTID,
        EventType.GTID_TAGGED,
        EventType.MARIADB_GTID,
        EventType.TRANSACTION_PAYLOAD,
    }
)
"""Events that a compressed transaction cannot hold."""


def event_name(kind: int) -> str:
    """The name of an event type, for messages."""
    return EventType(kind).name if kind in EventType._value2member_map_ else f"type {kind}"


def decode_rotate(data: bytes, place: int, end: int) -> tuple[str, int]:
    """The file that comes next, and the offset where it starts."""
    reader = Reader(data, place, end)
    offset = reader.integer(8)
    return reader.take(reader.left).decode(), offset


def has_checksum(data: bytes, place: int, end: int) -> bool:
    """Whether the whole event at `place` ends with its checksum."""
    return _crc32(data[place:end] if end - place < _COPIED_SIZE_MAX else memoryview(data)[place:end]) == _WHOLE


def decode_checksum_size(data: bytes, place: int, end: int) -> int:
    """Of a FORMAT_DESCRIPTION: how many bytes of checksum the file's events end with. `end` is that of the packet.

    Since MySQL 5.6.1 and MariaDB 5.3 the event ends with the algorithm's number and, always, a checksum.
    """
    if end - place < CHECKSUM_SIZE + 1:
        raise DecodeError("a FORMAT_DESCRIPTION event that is too short")
    algorithm = data[end - CHECKSUM_SIZE - 1]
    if algorithm > 1:
        raise DecodeError(f"the log uses checksum algorithm {algorithm}, which is unknown")
    return CHECKSUM_SIZE * algorithm


class Statement(NamedTuple):
    """A QUERY event. `database` is UTF-8, `text` in the client's character set, whose number `collation` is (0: not known)."""

    database: bytes
    text: bytes
    sql_mode: int = 0
    collation: int = 0


def decode_statement(data: bytes, place: int, end: int, extra_size: int = 0) -> Statement:
    """A QUERY event; `extra_size` are the bytes EXECUTE_LOAD_QUERY has before its status variables."""
    _, _, database_size, _, status_size = _STATEMENT_HEADER(data, place)
    status_place = place + 13 + extra_size
    place = status_place + status_size
    text_place = place + database_size + 1
    if text_place > end:
        raise DecodeError("a QUERY event that is too short")
    status = _status_variables(Reader(data, status_place, place))
    return Statement(data[place : text_place - 1], data[text_place:end], status[_SQL_MODE], status[_CHARSET])


def _status_variables(reader: Reader) -> dict[int, int]:
    """sql_mode and the client's collation. Variables come in a fixed order, these among the first."""
    status = {_SQL_MODE: 0, _CHARSET: 0}
    while reader.left:
        code = reader.integer(1)
        if code == _CATALOG:
            reader.take(reader.integer(1))
        elif code in _STATUS_SIZES:
            value = reader.take(_STATUS_SIZES[code])
            status[code] = int.from_bytes(value[:2] if code == _CHARSET else value, "little")
        else:
            break
    return status

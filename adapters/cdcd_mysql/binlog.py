"""Decodes single events of a binary log, other than TABLE_MAP (`tablemap`) and rows (`rows`).

Formats: MySQL source, libbinlogevents/include/binlog_event.h, control_events.h, statement_events.h; MariaDB source,
sql/log_event.h (Gtid_log_event, compressed events: binlog_buf_uncompress in sql/log_event.cc). Pure. Every function
takes the event's bytes between header and checksum as `data[place:end]`.
"""

from __future__ import annotations

import enum
import re
import struct
import uuid
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
_UNCOMPRESSED_SIZE_MAX: Final = 1 << 30
"""max_allowed_packet cannot be larger."""
_STATEMENT_HEADER: Final = struct.Struct("<IIBHH").unpack_from
_MYSQL_GTID: Final = struct.Struct("<B16sq").unpack_from
_MARIADB_GTID: Final = struct.Struct("<QIB").unpack_from
_COMMIT_TIME_PLACE: Final = 1 + 16 + 8 + 1 + 16


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
    checksum_place = end - CHECKSUM_SIZE
    return zlib.crc32(data[place:checksum_place]) == int.from_bytes(data[checksum_place:end], "little")


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
    """A QUERY event. Both are bytes in the client's character set."""

    database: bytes
    text: bytes


def decode_statement(data: bytes, place: int, end: int, extra_size: int = 0) -> Statement:
    """A QUERY event; `extra_size` are the bytes EXECUTE_LOAD_QUERY has before its status variables."""
    _, _, database_size, _, status_size = _STATEMENT_HEADER(data, place)
    place += 13 + extra_size + status_size
    text_place = place + database_size + 1
    if text_place > end:
        raise DecodeError("a QUERY event that is too short")
    return Statement(data[place : text_place - 1], data[text_place:end])


class MySqlGtid(NamedTuple):
    """`committed_at_us` is 0 where the server did not write it."""

    source: str
    number: int
    committed_at_us: int


def decode_mysql_gtid(data: bytes, place: int, end: int) -> MySqlGtid:
    """A GTID or ANONYMOUS_GTID event: who made the transaction, its number and commit time."""
    _, source, number = _MYSQL_GTID(data, place)
    time_place = place + _COMMIT_TIME_PLACE
    committed_at_us = 0
    if time_place + 7 <= end:
        committed_at_us = int.from_bytes(data[time_place : time_place + 7], "little") & ((1 << 55) - 1)
    return MySqlGtid(str(uuid.UUID(bytes=source)), number, committed_at_us)


def decode_mariadb_gtid(data: bytes, place: int) -> tuple[int, int, bool]:
    """The GTID event that starts every group of MariaDB: sequence number, domain, and whether the group is one statement.

    A group of one statement has no COMMIT. The GTID's server id is that of the event's header.
    """
    sequence, domain, flags = _MARIADB_GTID(data, place)
    return sequence, domain, bool(flags & 1)


def uncompress(data: bytes) -> bytes:
    """What MariaDB's log_bin_compress packed: algorithm and size of the size in one byte, the size, zlib's bytes."""
    if not data or data[0] & 0x80 == 0 or data[0] & 0x70:
        raise DecodeError("a compressed event by an unknown algorithm")
    size_size = data[0] & 0x07
    size = int.from_bytes(data[1 : 1 + size_size], "big")
    if size > _UNCOMPRESSED_SIZE_MAX:
        raise DecodeError("a compressed event larger than any packet can be")
    plain = zlib.decompressobj().decompress(data[1 + size_size :], size + 1)
    if len(plain) != size:
        raise DecodeError("a compressed event that has another size than it says")
    return plain


# ---- statements --------------------------------------------------------------------------------------------------------

_COMMENT: Final = rb"(?:\s|/\*(?!!).*?\*/|--\s[^\n]*(?:\n|$)|#[^\n]*(?:\n|$))*"
_NAME: Final = rb"(?:`(?P<{0}_b>(?:[^`]|``)+)`|\"(?P<{0}_d>(?:[^\"]|\"\")+)\"|(?P<{0}>[0-9A-Za-z$_\x80-\xff]+))"


def _name_pattern(group: str) -> bytes:
    return _NAME.replace(b"{0}", group.encode())


_FIRST_WORD: Final = re.compile(_COMMENT + rb"(?:/\*M?!\d*\s*)*([A-Za-z]+)", re.DOTALL)
_TRUNCATE: Final = re.compile(
    b"".join(
        (
            _COMMENT,
            rb"TRUNCATE\b",
            _COMMENT,
            rb"(?:TABLE\b)?",
            _COMMENT,
            rb"(?:" + _name_pattern("database") + _COMMENT + rb"\." + _COMMENT + rb")?",
            _name_pattern("table"),
            _COMMENT,
            rb"(?:WAIT\s+\d+|NOWAIT)?",
            _COMMENT,
            rb";?",
            _COMMENT,
        )
    ),
    re.DOTALL | re.IGNORECASE,
)


def first_word(text: bytes) -> str:
    """The statement's first word in capitals, after comments; empty when it does not start with one."""
    match = _FIRST_WORD.match(text)
    return match[1].decode().upper() if match else ""


def truncated_table(statement: Statement) -> tuple[str, str]:
    """Database and table of a TRUNCATE statement. Raises DecodeError when it is not understood."""
    match = _TRUNCATE.fullmatch(statement.text)
    if match is None:
        raise DecodeError(
            "a TRUNCATE statement in the log was not understood",
            remedy="take a new snapshot of the table that was truncated, and report the statement's form",
            code="statement-truncate",
        )
    database = _name_of(match, "database") or statement.database
    return database.decode("utf-8", "surrogateescape"), _name_of(match, "table").decode("utf-8", "surrogateescape")


def _name_of(match: re.Match[bytes], group: str) -> bytes:
    for suffix, quote in (("_b", b"`"), ("_d", b'"'), ("", b"")):
        name: bytes | None = match[group + suffix]
        if name is not None:
            return name.replace(quote * 2, quote) if quote else name
    return b""

"""Asks a server for its binary log: what a replica does before the first event comes.

Written out here, in place of a library that does it, because a place beyond 4 GiB and sets of tagged GTIDs must be
said, too. Formats: MySQL source, sql/rpl_source.cc (COM_REGISTER_REPLICA, COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID), and
sql/rpl_gtid_set.cc, Gtid_set::encode; MariaDB Knowledge Base, "Replica Registration".
"""

from __future__ import annotations

import struct
import uuid
from typing import Any, Final

import msgspec
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from cdcd_mysql.positions import FIRST_OFFSET, LogPosition, gtid_intervals
from cdcd_mysql.statements import quote_text

_REGISTER_REPLICA: Final = 0x15
_BINLOG_DUMP: Final = 0x12
_BINLOG_DUMP_GTID: Final = 0x1E
_THROUGH_GTID: Final = 0x04
_NET_WRITE_TIMEOUT_SECONDS: Final = 3600
"""How long the server waits for us to read on, when the journal's disk is slow."""
_MARIADB_CAPABILITY: Final = 4
"""Knows MariaDB's GTID events: else the server would replace them."""


class DumpRequest(msgspec.Struct, frozen=True):
    """Where the server shall begin: at a file and offset, or, with `by_gtids`, after the GTIDs of the position."""

    position: LogPosition
    is_mariadb: bool
    by_gtids: bool = False


def start_dump(
    connection: Connection[Cursor], request: DumpRequest, server_id: int, host_name: str, heartbeat_seconds: int
) -> None:
    """Register as a replica and start the dump; the packets that follow are events. Raises the driver's errors."""
    settings = [
        f"SESSION net_write_timeout = {_NET_WRITE_TIMEOUT_SECONDS}",
        "@master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'",
        f"@master_heartbeat_period = {heartbeat_seconds * 1_000_000_000}",
        f"@source_heartbeat_period = {heartbeat_seconds * 1_000_000_000}",
        f"@mariadb_slave_capability = {_MARIADB_CAPABILITY}",
    ]
    if request.is_mariadb and request.by_gtids:
        settings.append(f"@slave_connect_state = {quote_text(request.position.gtids)}, @slave_gtid_strict_mode = 1")
    else:  # MySQL takes two replicas with one uuid for one, and ends the older dump
        settings.append(f"@slave_uuid = '{_replica_uuid(server_id)}', @replica_uuid = '{_replica_uuid(server_id)}'")
    with connection.cursor() as cursor:
        cursor.execute("SET " + ", ".join(settings))
    name = host_name.encode()
    register = struct.pack("<I", server_id) + bytes([len(name)]) + name + b"\0\0" + struct.pack("<HII", 0, 0, 0)
    _execute(connection, _REGISTER_REPLICA, register)
    connection._read_ok_packet()  # type: ignore[attr-defined]  # noqa: SLF001
    _execute(connection, *dump_command(request, server_id))


def _execute(connection: Connection[Cursor], command: int, body: bytes) -> None:
    """PyMySQL has no public way to send a command that is no query."""
    untyped: Any = connection
    untyped._execute_command(command, body)  # noqa: SLF001


def _replica_uuid(server_id: int) -> uuid.UUID:
    return uuid.UUID(int=server_id, version=4)


def dump_command(request: DumpRequest, server_id: int) -> tuple[int, bytes]:
    """Number and body of the command that starts the dump."""
    position = request.position
    if request.by_gtids and not request.is_mariadb:
        gtids = encode_gtid_set(position.gtids)
        body = struct.pack("<HIIQI", _THROUGH_GTID, server_id, 0, FIRST_OFFSET, len(gtids))
        return _BINLOG_DUMP_GTID, body + gtids
    file, offset = ("", FIRST_OFFSET) if request.by_gtids else (position.file, position.offset - position.mark_size)
    return _BINLOG_DUMP, struct.pack("<IHI", offset, 0, server_id) + file.encode()


def encode_gtid_set(text: str) -> bytes:
    """A GTID set as servers exchange it. Tags make it another format, marked in the first and last byte of the count."""
    sources: dict[str, list[tuple[int, int]]] = {}
    for source, first, last in gtid_intervals(text):
        sources.setdefault(source, []).append((first, last))
    is_tagged = any(":" in source for source in sources)
    count = len(sources)
    parts = [struct.pack("<Q", 1 | count << 8 | 1 << 56 if is_tagged else count)]
    for source, intervals in sorted(sources.items()):
        server, _, tag = source.partition(":")
        parts.append(uuid.UUID(server).bytes)
        if is_tagged:
            parts.append(bytes([len(tag) << 1]) + tag.encode())
        parts.append(struct.pack("<Q", len(intervals)))
        parts += [struct.pack("<QQ", first, last + 1) for first, last in sorted(intervals)]
    return b"".join(parts)

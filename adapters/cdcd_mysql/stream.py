"""The connection that carries the binary log: mysql-replication opens it, we read it.

`BinLogStreamReader` does the handshake: checksums, heartbeat, registration as a replica, and the dump command in its
three forms (file and offset; MariaDB's and MySQL's GTIDs). From there on its socket is ours, non-blocking, with a
receive buffer, because its own event objects are an order of magnitude slower than decoding in place. It would also
reconnect by itself, to the place where it first started; we never let it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Any, Final

import msgspec
import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor
from pymysqlreplication import BinLogStreamReader

from cdcd.errors import CdcdError, Unavailable
from cdcd_mysql.assembler import Assembler
from cdcd_mysql.errors import core_error, translated
from cdcd_mysql.options import Options
from cdcd_mysql.packets import PacketBuffer
from cdcd_mysql.positions import LogPosition
from cdcd_mysql.session import connect

_RECEIVE_SIZE: Final = 1 << 18
_POLL_SIZE_MAX: Final = 2 << 20
"""Bytes taken from the server in one poll (a packet that is larger is taken over several)."""
_ERROR: Final = b"\xff"
_NET_WRITE_TIMEOUT_SECONDS: Final = 3600
"""How long the server waits for us to read on, when the journal's disk is slow."""


class DumpRequest(msgspec.Struct, frozen=True):
    """Where the server shall begin: at a file and offset, or, with `by_gtids`, after the GTIDs of the position."""

    position: LogPosition
    is_mariadb: bool
    by_gtids: bool = False


class BinlogStream:
    """A running dump."""

    def __init__(
        self, options: Options, server_id: int, host_name: str, request: DumpRequest, assembler: Assembler
    ) -> None:
        self._options = options
        self._silence_max_seconds = 2.0 * options.heartbeat_seconds + 1
        with translated(f"read the log at {request.position.file}:{request.position.offset}"):
            self._connection = _start_dump(options, server_id, host_name, request)
        self._socket: socket.socket | ssl.SSLSocket = self._connection._sock  # type: ignore[attr-defined]  # noqa: SLF001
        self._socket.setblocking(False)
        self._buffer = PacketBuffer(assembler.consume, _end)
        self._heard_at = time.monotonic()
        self._loss: CdcdError | None = None

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def feed(self) -> bool:
        """Give the assembler what has arrived, up to a few MiB; return whether there may be more already.

        Raises Unavailable when the connection is lost, or silent for longer than two heartbeats.
        """
        is_full = self._receive()
        self._buffer.consume()
        if self._loss is not None:  # only now: its last packet may say why
            raise self._loss
        return is_full

    def wait(self, seconds: float) -> None:
        """Wait until something has arrived."""
        poller = select.poll()
        poller.register(self._socket.fileno(), select.POLLIN)
        poller.poll(seconds * 1000)

    def _receive(self) -> bool:
        size = 0
        while size < _POLL_SIZE_MAX:
            try:
                piece = self._socket.recv(_RECEIVE_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._check_silence(heard=size > 0)
                return False
            except OSError as error:
                self._loss = core_error(error, "read the log")
                return False
            if not piece:
                self._loss = Unavailable(
                    "the server closed the log's connection", cause="it was stopped, or killed our session"
                )
                return False
            self._buffer.add(piece)
            size += len(piece)
        self._check_silence(heard=True)
        return True

    def _check_silence(self, *, heard: bool) -> None:
        now = time.monotonic()
        if heard:
            self._heard_at = now
        elif now - self._heard_at > self._silence_max_seconds:
            raise Unavailable(
                "the log's connection is dead",
                cause=f"no heartbeat for {now - self._heard_at:.0f} seconds, one is due every {self._options.heartbeat_seconds}",
            )

    def close(self) -> None:
        """Drop the connection. The server notices when it next sends."""
        with contextlib.suppress(pymysql.Error, OSError):
            self._connection._force_close()  # type: ignore[attr-defined]  # noqa: SLF001


def _start_dump(options: Options, server_id: int, host_name: str, request: DumpRequest) -> Connection[Cursor]:
    """Let mysql-replication ask for the dump; return its connection, before anything of the log was read.

    Its `is_mariadb` is only for GTIDs: with it, file and offset are ignored.
    """
    position = request.position
    place: dict[str, Any] = {"log_file": position.file, "log_pos": position.offset - position.mark_size}
    if request.by_gtids:
        place = {"auto_position": position.gtids, "is_mariadb": request.is_mariadb}

    def open_connection(**_settings: object) -> Connection[Cursor]:
        connection = connect(options)
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION net_write_timeout = {_NET_WRITE_TIMEOUT_SECONDS}")
            cursor.execute("SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'")
            cursor.execute(f"SET @source_heartbeat_period = {options.heartbeat_seconds * 1_000_000_000}")
        return connection

    reader = BinLogStreamReader(
        {"read_timeout": options.heartbeat_seconds * 4},
        server_id,
        resume_stream=True,
        blocking=True,
        report_slave=(host_name, "", "", 0),
        slave_heartbeat=options.heartbeat_seconds,
        enable_logging=False,
        pymysql_wrapper=open_connection,
        **place,
    )
    reader._BinLogStreamReader__connect_to_stream()  # noqa: SLF001 (its public methods also read, and reconnect)
    connection: Connection[Cursor] = reader._stream_connection  # noqa: SLF001
    return connection


def _end(packet: bytes) -> None:
    """The server ended the dump: by an error packet, or by EOF at its shutdown."""
    if packet[:1] == _ERROR:
        number = int.from_bytes(packet[1:3], "little")
        raise core_error(pymysql.OperationalError(number, packet[9:].decode("utf-8", "replace")), "read the log")
    raise Unavailable("the server ended the log's connection", cause="it is being stopped")

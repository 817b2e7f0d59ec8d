"""The connection that carries the binary log: opened and asked by `dump`, then read without blocking into a buffer.

It never reconnects by itself: where to go on is known to those who have stored what was read.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Final

import pymysql

from cdcd.errors import CdcdError, Unavailable
from cdcd_mysql.assembler import Assembler
from cdcd_mysql.dump import DumpRequest, start_dump
from cdcd_mysql.errors import core_error, translated
from cdcd_mysql.options import Options
from cdcd_mysql.packets import PacketBuffer
from cdcd_mysql.session import connect

_RECEIVE_SIZE: Final = 1 << 18
_POLL_SIZE_MAX: Final = 2 << 20
"""Bytes taken from the server, or from a compressed transaction, in one poll (a larger packet is taken over several)."""
_ERROR: Final = b"\xff"


class BinlogStream:
    """A running dump."""

    def __init__(
        self, options: Options, server_id: int, host_name: str, request: DumpRequest, assembler: Assembler
    ) -> None:
        self._options = options
        self._silence_max_seconds = 2.0 * options.heartbeat_seconds + 1
        self._assembler = assembler
        with translated(f"read the log at {request.position.file}:{request.position.offset}"):
            self._connection = connect(options)
            start_dump(self._connection, request, server_id, host_name, options.heartbeat_seconds)
        self._socket: socket.socket | ssl.SSLSocket = self._connection._sock  # type: ignore[attr-defined]  # noqa: SLF001
        self._socket.setblocking(False)
        self._buffer = PacketBuffer(assembler.consume, _end)
        self._heard_at = time.monotonic()
        self._loss: CdcdError | None = None

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    @property
    def silent_seconds(self) -> float:
        """How long ago anything came."""
        return time.monotonic() - self._heard_at

    def feed(self) -> bool:
        """Give the assembler what has arrived, up to a few MiB; return whether there may be more already.

        While it is busy with a compressed transaction, it gets time instead. Raises Unavailable when the connection is
        lost, or silent for longer than two heartbeats.
        """
        if self._assembler.is_busy:
            self._assembler.advance(_POLL_SIZE_MAX)
            self._heard_at = time.monotonic()  # we have not listened
            return self._assembler.recall is None
        is_full = not self._buffer.has_packet and self._receive()
        self._buffer.consume()
        if self._loss is not None and not self._assembler.is_busy:  # only now: its last packet may say why
            raise self._loss
        return is_full or self._assembler.is_busy or self._buffer.has_packet

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


def _end(packet: bytes) -> None:
    """The server ended the dump: by an error packet, or by EOF at its shutdown."""
    if packet[:1] == _ERROR:
        number = int.from_bytes(packet[1:3], "little")
        raise core_error(pymysql.OperationalError(number, packet[9:].decode("utf-8", "replace")), "read the log")
    raise Unavailable("the server ended the log's connection", cause="it is being stopped")

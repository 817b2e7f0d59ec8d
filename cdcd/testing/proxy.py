"""A TCP proxy between a daemon and a server that misbehaves on request: cut, black-holed, slowed, half-open.

For the fault tests, and for whoever writes an adapter: point the adapter at `port`, and see what it makes of a network
that is not well. One thread moves all bytes.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_CHUNK_BYTES: Final = 1 << 16
_TICK_SECONDS: Final = 0.02
_RESET: Final = struct.pack("ii", 1, 0)


class _Way:
    """One direction of a connection. `waiting` was read and not written yet."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.waiting = b""
        self.ended = False
        self.not_before = 0.0


class _Connection:
    """A client's connection and the one to the server. `silent`: nothing is moved any more, one end may be gone."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.ways = (_Way(client, server), _Way(server, client))
        self.silent = False

    def close(self, *, reset: bool) -> None:
        for end in (self.client, self.server):
            _close(end, reset=reset)


class TcpProxy:
    """Listens on 127.0.0.1 and passes on to the server's port; a context manager.

    The methods may be called from any thread, and what they do has happened when they return. What `slow` and `black_hole`
    did ends with `heal`; connections that were cut or made half-open stay so.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[_Connection] = set()
        self._lock = threading.RLock()
        self._refusing = self._holding = self._ended = False
        self._delay_seconds = 0.0
        self._bytes_per_second = float("inf")
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    # ---- what can go wrong ---------------------------------------------------------------------------------

    def cut(self) -> int:
        """Reset all connections, as a firewall's timeout would; new ones pass. Return how many there were."""
        with self._lock:
            count = len(self._connections)
            for connection in self._connections:
                connection.close(reset=True)
            self._connections.clear()
            return count

    def refuse(self) -> None:
        """Reset all connections, and every new one at once, until `heal`."""
        with self._lock:
            self._refusing = True
            self.cut()

    def black_hole(self) -> None:
        """Let connections stand, new ones too, and pass nothing on until `heal`: then what was held back goes on."""
        with self._lock:
            self._holding = True

    def half_open(self, *, lost_by: str) -> int:
        """Let one end ("client" or "server") see a reset, while the other believes in the connection for ever.

        Return how many connections that was. New ones pass.
        """
        with self._lock:
            found = [connection for connection in self._connections if not connection.silent]
            for connection in found:
                connection.silent = True
                _close(connection.client if lost_by == "client" else connection.server, reset=True)
            return len(found)

    def slow(self, *, delay_seconds: float, bytes_per_second: float) -> None:
        """Pass on so many bytes a second in each direction, each piece late by so much, until `heal`."""
        with self._lock:
            self._delay_seconds, self._bytes_per_second = delay_seconds, bytes_per_second

    def heal(self) -> None:
        """Be a good network again, for all connections that are still whole."""
        with self._lock:
            self._refusing = self._holding = False
            self._delay_seconds, self._bytes_per_second = 0.0, float("inf")

    def forget_half_open(self) -> None:
        """Reset what is left of half-open connections, as a server's own timeouts would in the end."""
        with self._lock:
            for connection in [connection for connection in self._connections if connection.silent]:
                connection.close(reset=True)
                self._connections.discard(connection)

    @property
    def count(self) -> int:
        """How many connections there are, half-open ones included."""
        with self._lock:
            return len(self._connections)

    # ---- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended:
            moved = self._turn()
            if not moved:
                self._wait()

    def _wait(self) -> None:
        """Until something can be moved; what is slowed or held back is looked at again after a tick."""
        poll = select.poll()
        with self._lock:
            masks = {self._listener.fileno(): select.POLLIN}
            for way in [] if self._holding else self._ways():
                if way.waiting and time.monotonic() >= way.not_before:
                    masks[way.sink.fileno()] = masks.get(way.sink.fileno(), 0) | select.POLLOUT
                elif not way.waiting and not way.ended:
                    masks[way.source.fileno()] = masks.get(way.source.fileno(), 0) | select.POLLIN
        for fileno, mask in masks.items():
            poll.register(fileno, mask)
        poll.poll(_TICK_SECONDS * 1000)

    def _ways(self) -> list[_Way]:
        return [way for connection in self._connections if not connection.silent for way in connection.ways]

    def _turn(self) -> bool:
        """Move what can be moved; return whether anything was."""
        with self._lock:
            moved = self._accept()
            if self._holding:
                return moved
            for connection in list(self._connections):
                if not connection.silent:
                    moved = self._move(connection) or moved
            return moved

    def _accept(self) -> bool:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return False
        if self._refusing:
            _close(client, reset=True)
            return True
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), timeout=1.0)
        except OSError:
            _close(client, reset=True)
            return True
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(_Connection(client, server))
        return True

    def _move(self, connection: _Connection) -> bool:
        try:
            moved = [self._move_one(way) for way in connection.ways]
        except OSError:
            connection.close(reset=True)
            self._connections.discard(connection)
            return True
        if all(way.ended for way in connection.ways):
            connection.close(reset=False)
            self._connections.discard(connection)
        return any(moved)

    def _move_one(self, way: _Way) -> bool:
        moved = False
        if not way.waiting and not way.ended:
            with suppress(BlockingIOError):
                way.waiting = way.source.recv(_CHUNK_BYTES)
                moved = True
                way.not_before = time.monotonic() + self._delay_seconds + len(way.waiting) / self._bytes_per_second
                if not way.waiting:
                    way.ended = True
                    way.sink.shutdown(socket.SHUT_WR)
        if way.waiting and time.monotonic() >= way.not_before:
            with suppress(BlockingIOError):
                way.waiting = way.waiting[way.sink.send(way.waiting) :]
                moved = True
        return moved

    def close(self) -> None:
        """End the thread and all connections. Safe to repeat."""
        self._ended = True
        self._thread.join()
        self.cut()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close(end: socket.socket, *, reset: bool) -> None:
    with suppress(OSError):
        if reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.close()

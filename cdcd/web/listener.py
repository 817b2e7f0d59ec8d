"""An address on which an application is served, from a thread of its own, by uvicorn.

A waiting server costs nothing: no timer runs while nobody asks. Nobody can keep it busy for long: a request must be
complete within seconds, and there are so many connections at most.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from typing import Any, Final

import anyio.to_thread
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cdcd.errors import NotReady

REQUEST_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 90.0
"""An operator's verb may take a minute."""
CONNECTIONS_MAX: Final = 64
THREADS_MAX: Final = 4
_BACKLOG: Final = 64
_HEADER_BYTES_MAX: Final = 16_384
_START_SECONDS: Final = 5
_STOP_SECONDS: Final = 1

for _name in ("uvicorn", "uvicorn.error"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # the application says what is worth saying


def bind(listen: str, key: str) -> socket.socket:
    """A listening socket. `listen` is host:port, an IPv6 host in brackets; port 0 takes any free one. Raises NotReady.

    `key` is where the configuration says so.
    """
    host, _, port = listen.rpartition(":")
    made = socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host.strip("[]"), int(port)))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise NotReady(
            f"cannot listen on {listen}",
            code="listen",
            cause=str(error.strerror or error),
            remedy=f"end what uses that address, or change {key}",
        ) from error
    made.setblocking(False)
    return made


class _Protocol(H11Protocol):
    """Hangs up on who does not come to the point, and on who comes when too many are there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count the time."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._look)
        self._patience_seconds = ANSWER_SECONDS
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()

    def _look(self) -> None:
        """Whoever waits for our answer may wait on, a while."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        self._patience_seconds -= REQUEST_SECONDS
        if is_answering and not self.cycle.more_body and self._patience_seconds > 0:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._look)
        else:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """The next request on this connection has its own time."""
        super().on_response_complete()
        self._deadline.cancel()
        self._patience_seconds = ANSWER_SECONDS
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        self._deadline.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    """Waits for the end without looking whether it has come."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self.is_serving = threading.Event()

    async def main_loop(self) -> None:
        """Until `end` is called."""
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS_MAX
        self._loop = asyncio.get_running_loop()
        self.is_serving.set()
        await self._end.wait()

    def end(self) -> None:
        """From another thread."""
        if self.is_serving.wait(_START_SECONDS) and self._loop is not None:
            self._loop.call_soon_threadsafe(self._end.set)


class Listener:
    """Serves an application until `close`. The socket is the caller's, and stays open."""

    def __init__(self, bound: socket.socket, app: Any, context: ssl.SSLContext | None = None) -> None:
        self.port = int(bound.getsockname()[1])
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=_HEADER_BYTES_MAX,
            timeout_graceful_shutdown=_STOP_SECONDS,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([bound.dup()],), name=f"web-{self.port}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving; what is being answered has a second."""
        self._server.end()
        self._thread.join(_START_SECONDS)

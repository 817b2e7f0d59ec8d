"""The HTTP server: a thread per request, so that one slow reader keeps nobody waiting."""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from cdcd.errors import NotReady
from cdcd.status import DaemonStatus
from cdcd.wake import Bell, wait
from cdcd.web.app import App

REQUEST_SECONDS: Final = 10
_log: Final = logging.getLogger("cdcd.web")


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of our own name, which may wait for a DNS server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, _request: object, _client_address: object) -> None:
        """A client that hung up is nothing to tell anybody; the rest is named without its message."""
        kind = sys.exc_info()[0]
        if kind is not None and not issubclass(kind, ConnectionError | TimeoutError):
            _log.error("a request failed", extra={"exception": kind.__qualname__})


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Requests are not events."""


class WebServer:
    """Serves from a thread of its own until `close`."""

    def __init__(self, listen: str, status: Callable[[], DaemonStatus]) -> None:
        """`listen` is host:port, an IPv6 host in brackets; port 0 takes any free one. Raises NotReady."""
        host, _, port = listen.rpartition(":")
        server = _ServerV6 if host.startswith("[") else _Server
        try:
            self._server = make_server(host.strip("[]"), int(port), App(status), server, _Handler)
        except OSError as error:
            raise NotReady(
                f"cannot listen on {listen}",
                code="listen",
                cause=str(error.strerror or error),
                remedy="end what uses that address, or change daemon.listen",
            ) from error
        self._end = Bell.create()
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    def _serve(self) -> None:
        """`serve_forever` would look twice a second whether it should end."""
        while self._end.fd not in wait([self._server.fileno(), self._end.fd], 3600):
            self._server.handle_request()

    def close(self) -> None:
        """Stop serving."""
        self._end.ring()
        self._thread.join()
        self._server.server_close()
        self._end.close()

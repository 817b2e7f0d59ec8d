"""The WSGI application (PEP 3333): four read-only pages made from one `DaemonStatus`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import CollectorRegistry, make_wsgi_app

from cdcd import health
from cdcd.errors import CdcdError
from cdcd.metrics import StatusCollector
from cdcd.status import DaemonStatus
from cdcd.web.page import render

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_JSON: Final = "application/json"


class App:
    """Answers GET requests. `status` may raise CdcdError; then everything is 503 with the reason."""

    def __init__(self, status: Callable[[], DaemonStatus]) -> None:
        self._status = status
        registry = CollectorRegistry()
        registry.register(StatusCollector(status))
        self._metrics: WSGIApplication = make_wsgi_app(registry, disable_compression=True)
        self._pages: dict[str, Callable[[DaemonStatus], tuple[HTTPStatus, str, bytes]]] = {
            "/": _page,
            "/healthz": _healthz,
            "/readyz": _readyz,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        path = environ.get("PATH_INFO", "/")
        try:
            if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
                answer = HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"only GET\n"
            elif path == "/metrics":
                return self._metrics(environ, start_response)
            elif path in self._pages:
                answer = self._pages[path](self._status())
            else:
                answer = HTTPStatus.NOT_FOUND, "text/plain", b"here are / /metrics /healthz /readyz\n"
        except CdcdError as error:
            reason = health.Reason("supervisor", error.code, error.what, stuck=True)
            answer = HTTPStatus.SERVICE_UNAVAILABLE, _JSON, _reasons("unhealthy", [reason])
        code, kind, body = answer
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response(f"{code.value} {code.phrase}", headers)
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]


def _healthz(status: DaemonStatus) -> tuple[HTTPStatus, str, bytes]:
    reasons = health.health(status)
    code = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return code, _JSON, _reasons("unhealthy" if reasons else "healthy", reasons)


def _readyz(status: DaemonStatus) -> tuple[HTTPStatus, str, bytes]:
    reasons = health.readiness(status)
    code = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return code, _JSON, _reasons("not ready" if reasons else "ready", reasons)


def _reasons(verdict: str, reasons: list[health.Reason]) -> bytes:
    return msgspec.json.encode({"status": verdict, "reasons": reasons}) + b"\n"


def _page(status: DaemonStatus) -> tuple[HTTPStatus, str, bytes]:
    return HTTPStatus.OK, "text/html; charset=utf-8", render(status).encode()

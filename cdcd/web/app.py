"""The web application: health, metrics and the status page; on the secured address with actions, behind a password.

Requests are answered by a few threads. What they know comes from the supervisor by way of its mailbox, and from the
state directory, which they only read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cdcd import health, logs
from cdcd.cli import output
from cdcd.cli import status as command
from cdcd.errors import CdcdError
from cdcd.metrics import StatusCollector
from cdcd.web import acting, assets, guards
from cdcd.web.access import Users
from cdcd.web.daemon import Daemon
from cdcd.web.guards import Headers, Passwords
from cdcd.web.pages import Pages

_JSON: Final = "application/json"
_log: Final = logging.getLogger("cdcd.web")


def plain(daemon: Daemon) -> Starlette:
    """What is served without TLS: read-only."""
    return _application(daemon, Pages(daemon, may_act=False), [], [Middleware(Headers, is_secured=False)])


def secured(daemon: Daemon, passwords: Mapping[str, str]) -> Starlette:
    """What is served with TLS: to these people, who may act."""
    pages = Pages(daemon, may_act=True)
    watch = [Middleware(Headers, is_secured=True), Middleware(Passwords, users=Users(passwords))]
    return _application(daemon, pages, acting.Acting(daemon, pages).routes(), watch)


def _application(daemon: Daemon, pages: Pages, more: list[Route], watch: list[Middleware]) -> Starlette:
    return Starlette(
        routes=[*_Reading(daemon, pages).routes(), *more],
        middleware=watch,
        exception_handlers={CdcdError: _unavailable, HTTPException: _refused, Exception: _failed},
    )


class _Reading:
    """What everybody may see who is let in."""

    def __init__(self, daemon: Daemon, pages: Pages) -> None:
        self._daemon = daemon
        self._pages = pages
        self._registry = CollectorRegistry()
        self._registry.register(StatusCollector(daemon.counted_status))

    def routes(self) -> list[Route]:
        return [
            Route("/", self._page),
            Route("/live", self._live),
            Route("/status.json", self._status),
            Route("/metrics", self._metrics),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/assets/{name}", self._asset),
        ]

    def _page(self, _request: Request) -> Response:
        return self._pages.whole()

    def _live(self, _request: Request) -> Response:
        return self._pages.live()

    def _status(self, _request: Request) -> Response:
        verdict = command.verdict(self._daemon.status())
        body = output.envelope("status", verdict.exit_code == 0, verdict.summary, verdict.result, None)
        return Response(body, media_type=_JSON)

    def _metrics(self, request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={"Content-Type": kind})

    def _healthz(self, _request: Request) -> Response:
        reasons = health.health(self._daemon.status())
        return _reasons("unhealthy" if reasons else "healthy", reasons)

    def _readyz(self, _request: Request) -> Response:
        reasons = health.readiness(self._daemon.status())
        return _reasons("not ready" if reasons else "ready", reasons)

    def _asset(self, request: Request) -> Response:
        found = assets.find(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        is_this_version = request.query_params.get("v") == found.version
        cached = "public, max-age=31536000, immutable" if is_this_version else "no-cache"
        return Response(found.body, headers={"Cache-Control": cached}, media_type=found.media_type)


def _reasons(verdict: str, reasons: list[health.Reason]) -> Response:
    body = msgspec.json.encode({"status": verdict, "reasons": reasons}) + b"\n"
    return Response(body, 503 if reasons else 200, media_type=_JSON)


# ---- what goes wrong ---------------------------------------------------------------------------------------------


def _unavailable(_request: Request, error: Exception) -> Response:
    """The supervisor does not answer, or the state directory cannot be read."""
    assert isinstance(error, CdcdError)
    return _reasons("unhealthy", [health.Reason("supervisor", error.code, error.what, stuck=True)])


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = "here are / /status.json /metrics /healthz /readyz\n" if error.status_code == 404 else f"{error.detail}\n"
    return PlainTextResponse(text, error.status_code, headers=error.headers)


def _failed(_request: Request, error: Exception) -> Response:
    """A mistake of ours. Its message may hold anything, so only its kind is told."""
    extra = {"exception": type(error).__qualname__, "raised": logs.raised_at(error.__traceback__)}
    _log.error("a request failed", extra=extra)
    return PlainTextResponse("this failed; the daemon's log says more\n", 500, guards.HEADERS)

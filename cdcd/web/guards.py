"""What stands before the application: headers that bind the browser, and, on the secured address, a password.

ASGI middleware (asgi.readthedocs.io): plain functions around every request.
"""

from __future__ import annotations

import logging
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdcd.web.access import Throttle, Users

CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without any, browsers would not say where a form comes from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ONLY_TLS: Final = "max-age=31536000"
_log: Final = logging.getLogger("cdcd.web")


class Headers:
    """Nothing from elsewhere, no script but our own, in nobody's frame, and nothing kept that may change."""

    def __init__(self, app: ASGIApp, *, is_secured: bool) -> None:
        self._app = app
        self._headers = HEADERS | ({"Strict-Transport-Security": _ONLY_TLS} if is_secured else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Passwords:
    """Lets in who has a password; `request.state.user` is the name."""

    def __init__(self, app: ASGIApp, *, users: Users) -> None:
        self._app = app
        self._users = users
        self._throttle = Throttle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request = Request(scope)
        address = request.client.host if request.client is not None else ""
        wait_seconds = self._throttle.wait_seconds(address)
        if wait_seconds:
            headers = {"Retry-After": f"{wait_seconds:.0f}"}
            await PlainTextResponse("too many wrong passwords, wait\n", 429, headers)(scope, receive, send)
            return
        given = request.headers.get("authorization", "")
        name = self._users.name(given)
        if name is None:
            if given:
                self._throttle.failed(address)
                _log.warning("a wrong name or password for the status page", extra={"address": address})
            headers = {"WWW-Authenticate": 'Basic realm="cdcd", charset="UTF-8"'}
            await PlainTextResponse("a name and a password are needed\n", 401, headers)(scope, receive, send)
            return
        request.state.user = name
        await self._app(scope, receive, send)

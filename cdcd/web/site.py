"""The addresses at which a daemon can be looked at, as its configuration wants them; a reload may want others.

What only they need (framework, templates, TLS) is loaded when there is one.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from cdcd.config import Config, SecuredPage
from cdcd.web.daemon import Daemon

if TYPE_CHECKING:
    from cdcd.web.listener import Listener


class Prepared:
    """Everything that another configuration needs and that may fail: bound, read and checked, but not in use."""

    def __init__(self) -> None:
        self.plain = ""
        self.secured: Secured | None = None
        self.sockets: dict[str, socket.socket] = {}
        """Those that were not open already."""

    def discard(self) -> None:
        """It is not wanted after all."""
        for bound in self.sockets.values():
            bound.close()


class Secured:
    """What the secured page is served with. `digest` tells whether any of it has changed."""

    def __init__(self, page: SecuredPage) -> None:
        from cdcd.web import access, tls  # noqa: PLC0415

        self.listen = page.listen
        self.context: ssl.SSLContext = tls.context(page)
        self.passwords = access.passwords(page.users)
        parts = [repr(page), Path(page.certificate).read_text("utf-8"), page.key.reveal(), *self.passwords.values()]
        self.digest = hashlib.sha256("\0".join(parts).encode()).digest()


class Site:
    """Serves from threads of its own until `close`. Used by one thread."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._sockets: dict[str, socket.socket] = {}
        self._plain: tuple[str, Listener] | None = None
        self._secured: tuple[bytes, Listener] | None = None

    @property
    def port(self) -> int:
        """The port in use without TLS, 0 for none."""
        return self._plain[1].port if self._plain is not None else 0

    @property
    def secured_port(self) -> int:
        """The port in use with TLS, 0 for none."""
        return self._secured[1].port if self._secured is not None else 0

    def prepare(self, config: Config) -> Prepared:
        """Bind and read what that configuration needs. Raises NotReady, ConfigError; then nothing has changed."""
        prepared = Prepared()
        prepared.plain = config.daemon.listen or ""
        wanted = {"daemon.listen": prepared.plain}
        try:
            if config.web.secured is not None:
                prepared.secured = Secured(config.web.secured)
                wanted["web.secured.listen"] = prepared.secured.listen
            for key, listen in wanted.items():
                if listen and listen not in self._sockets:
                    prepared.sockets[listen] = _bound(listen, key)
        except BaseException:
            prepared.discard()
            raise
        return prepared

    def adopt(self, prepared: Prepared) -> None:
        """From now on serve what was prepared."""
        if self._plain is not None and self._plain[0] != prepared.plain:
            self._plain[1].close()
            self._plain = None
        secured = prepared.secured
        if self._secured is not None and (secured is None or self._secured[0] != secured.digest):
            self._secured[1].close()
            self._secured = None
        wanted = {prepared.plain, secured.listen if secured is not None else ""}
        for listen in self._sockets.keys() - wanted:
            self._sockets.pop(listen).close()
        self._sockets |= prepared.sockets
        if prepared.plain and self._plain is None:
            self._plain = prepared.plain, self._serve(prepared.plain, None)
        if secured is not None and self._secured is None:
            self._secured = secured.digest, self._serve(secured.listen, secured)

    def _serve(self, listen: str, secured: Secured | None) -> Listener:
        from cdcd.web import app  # noqa: PLC0415
        from cdcd.web.listener import Listener  # noqa: PLC0415

        if secured is None:
            return Listener(self._sockets[listen], app.plain(self._daemon))
        return Listener(self._sockets[listen], app.secured(self._daemon, secured.passwords), secured.context)

    def close(self) -> None:
        """Stop serving."""
        for found in (self._plain, self._secured):
            if found is not None:
                found[1].close()
        self._plain = self._secured = None
        while self._sockets:
            self._sockets.popitem()[1].close()


def _bound(listen: str, key: str) -> socket.socket:
    from cdcd.web.listener import bind  # noqa: PLC0415

    return bind(listen, key)

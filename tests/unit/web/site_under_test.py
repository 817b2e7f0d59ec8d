"""A site over real HTTP, and what it is told."""

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cdcd.blueprint import Blueprint
from cdcd.config import Config, Web
from cdcd.config import Daemon as DaemonConfig
from cdcd.errors import Unavailable
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.status import DaemonStatus
from cdcd.web.daemon import Daemon
from cdcd.web.samples import History, Samples
from cdcd.web.site import Site
from unit.statuses import daemon


class Told:
    """What the page is told of a daemon, and the site that shows it."""

    def __init__(
        self, directory: Path, *, listen: str | None = "127.0.0.1:0", blueprint: Blueprint | None = None, **web: Any
    ) -> None:
        """`blueprint` is another than that of no system at all; its `listen` counts then."""
        self.status = daemon()
        self.is_silent = False
        self.samples = Samples()
        self.directory = StateDirectory(directory)
        self.directory.prepare()
        State(self.directory.state).close()
        config = Config(DaemonConfig("acme", str(directory), listen=listen), {}, web=Web(**web))
        self.blueprint = blueprint or Blueprint("cdcd.toml", config, {}, {}, {})
        self.config = self.blueprint.config
        self.daemon = Daemon(self.directory, self._ask, self._history, lambda: self.blueprint)
        self.site = Site(self.daemon)
        self.follow(self.config)

    def follow(self, config: Config) -> None:
        self.site.adopt(self.site.prepare(config))

    def reconfigure(self, **changes: Any) -> None:
        self.config = msgspec.structs.replace(self.config, **changes)
        self.follow(self.config)

    def _history(self) -> History:
        return self.samples.history()

    def _ask(self) -> DaemonStatus:
        if self.is_silent:
            raise Unavailable("the supervisor does not answer", code="supervisor-silent")
        return self.status

    def get(self, path: str, method: str = "GET", **headers: str) -> "Answer":
        return fetch(self.site.port, path, method, headers=headers)


class Answer(msgspec.Struct):
    code: int
    headers: Mapping[str, str]
    body: str

    @property
    def kind(self) -> str:
        return self.headers["content-type"]

    def json(self) -> Any:
        return json.loads(self.body)


def fetch(
    port: int,
    path: str,
    method: str = "GET",
    *,
    headers: Mapping[str, str] = {},
    body: str | None = None,
    trusted: Path | None = None,
) -> Answer:
    """One request to 127.0.0.1; with TLS where a certificate is trusted."""
    if trusted is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    else:
        context = ssl.create_default_context(cafile=str(trusted))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return Answer(
            answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read().decode()
        )
    finally:
        connection.close()

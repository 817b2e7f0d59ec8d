"""What must fit together in the configuration of the status page."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cdcd import config as c

_ADDRESS = re.compile(r"(.+):(\d{1,5})")


def problems(config: c.Config) -> Iterator[str]:
    """Everything that does not fit."""
    yield from _address("daemon.listen", config.daemon.listen or "localhost:0")
    known = {*config.entities, *(f"{copy.source}:{table}" for copy in config.replicate for table in copy.tables)}
    for index, name in enumerate(config.web.keys_shown):
        if name not in known:
            yield f"web.keys-shown[{index}]: unknown entity {name!r}; known: {', '.join(sorted(known)) or 'none'}"
    if config.web.secured is not None:
        yield from _secured(config, config.web.secured)


def _secured(config: c.Config, secured: c.SecuredPage) -> Iterator[str]:
    yield from _address("web.secured.listen", secured.listen)
    if secured.listen == config.daemon.listen:
        yield "web.secured.listen: is daemon.listen, which is without TLS; use another port"
    if not secured.certificate.startswith("/"):
        yield f"web.secured.certificate: expected an absolute path, got {secured.certificate!r}"
    if not secured.users:
        yield 'web.secured.users: empty; add a name and where its password is: anna = { credential = "page-anna" }'


def _address(key: str, text: str) -> Iterator[str]:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        yield f"{key}: expected host:port, got {text!r}; for example 127.0.0.1:9145"

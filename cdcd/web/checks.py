"""What `cdcd check` says of the status page: who can reach it, and whether it can be served."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from cdcd.adapter import Finding
from cdcd.config import Config
from cdcd.errors import ConfigError
from cdcd.web.site import Secured


def findings(config: Config) -> Iterator[Finding]:
    """Everything that a person should know before the page is served."""
    listen = config.daemon.listen
    if listen is not None and not config.web.open_to_network and not _is_loopback(listen):
        yield Finding(
            "warning",
            "page-open",
            "",
            "daemon.listen",
            f"whoever can reach {listen} can read the status page and the metrics, without a password and without TLS",
            "listen on 127.0.0.1 and let people use web.secured; or, if it is meant so, web.open-to-network = true",
        )
    if config.web.secured is not None:
        try:
            Secured(config.web.secured)
        except ConfigError as error:
            message = f"{error.what}: {error.cause}" if error.cause else error.what
            yield Finding("error", error.code, "", "web.secured", message, error.remedy or "correct web.secured")


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

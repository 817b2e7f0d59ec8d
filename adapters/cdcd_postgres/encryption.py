"""Whether a connection proves whom it goes to, and what is asked of the server where it does not. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

PROVING: Final = frozenset({"verify-ca", "verify-full"})
_REQUIRE_AUTH_LIBPQ_MIN: Final = 160_000
NO_CLEAR_TEXT: Final = "!password"
"""For libpq's require_auth: whatever the server asks for, the password as it is stays here."""


def is_local(given: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Whether nobody else's network lies between us and any of the hosts of a connection string."""
    hosts = str(given.get("hostaddr") or given.get("host") or environment.get("PGHOST") or "").split(",")
    return all(_is_loopback(host.strip()) for host in hosts)


def _is_loopback(host: str) -> bool:
    """A Unix socket, this machine's name, or an address of its own."""
    if not host or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def ssl_mode(given: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """As libpq takes it: of the connection string, of the environment, else "prefer"."""
    return str(given.get("sslmode") or environment.get("PGSSLMODE") or "prefer")


def proves(given: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Whether the server must show a certificate that we trust, or that it knows the password (channel binding)."""
    binding = given.get("channel_binding") or environment.get("PGCHANNELBINDING")
    return ssl_mode(given, environment) in PROVING or binding == "require"


def defaults(given: Mapping[str, Any], environment: Mapping[str, str], libpq_version: int) -> dict[str, str]:
    """Parameters that keep the password from whoever answers in the server's place."""
    if libpq_version < _REQUIRE_AUTH_LIBPQ_MIN or "PGREQUIREAUTH" in environment:
        return {}
    return {} if is_local(given, environment) or proves(given, environment) else {"require_auth": NO_CLEAR_TEXT}

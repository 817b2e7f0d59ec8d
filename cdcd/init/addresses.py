"""URLs of databases as the options of a system, and where its password comes from.

postgres://user@host:5432/database?sslmode=verify-full · mysql://user@host:3306/database?tls=verify-full
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from cdcd.errors import ConfigError

_ADAPTERS: Final = {"postgres": "postgres", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
_EXAMPLE: Final = "write it like postgres://cdcd@erp.internal/erp or mysql://cdcd@shop.internal/shop"


class Address(msgspec.Struct, frozen=True):
    """The options of a `[systems.NAME]` table. `password` is one that stood in the URL, for which there are better places."""

    options: dict[str, Any]
    password: str | None = None


def parse(url: str) -> Address:
    """Read a URL. The error never repeats it: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError("a database URL cannot be read", code="url", remedy=_EXAMPLE) from error
    if not parts.scheme:
        raise ConfigError("a database URL has no scheme", code="url", remedy=_EXAMPLE)
    adapter = _ADAPTERS.get(parts.scheme, parts.scheme)
    named = {
        "host": parts.hostname,
        "port": port,
        "database": unquote(parts.path.lstrip("/")),
        "user": unquote(parts.username) if parts.username else None,
    }
    given = {key: value for key, value in named.items() if value} | dict(parse_qsl(parts.query))
    options = {"adapter": adapter, "dsn": _dsn(given)} if adapter == "postgres" else {"adapter": adapter, **given}
    return Address(options, _password(parts))


def _password(parts: SplitResult) -> str | None:
    return unquote(parts.password) if parts.password else None


def _dsn(given: Mapping[str, Any]) -> str:
    """As libpq wants it: backslash and quote escaped, quoted where there is a space."""
    renamed = {"dbname" if key == "database" else key: str(value) for key, value in given.items()}
    return " ".join(f"{key}={_quoted(value)}" for key, value in renamed.items())


def _quoted(value: str) -> str:
    if value and not any(c in value for c in " '\\"):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

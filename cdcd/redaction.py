"""Takes secrets out of what leaves the machine: by where they stand, by what they look like, and by what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from cdcd.config import Secret
from cdcd.errors import ConfigError

REDACTED: Final = "***"
REFERENCES: Final = frozenset(["env", "file", "credential"])
PLAIN_OPTIONS: Final = frozenset(
    [
        "adapter",
        "host",
        "port",
        "user",
        "database",
        "schema",
        "slot",
        "publication",
        "tls",
        "tls-ca",
        "unix-socket",
        "outage",
        "dsn",
        "url",
    ]
)
"""Text options of systems that may be shown; of a DSN or URL without what is secret in it."""
SECRET_CHARACTERS_MIN: Final = 4
"""A shorter secret cannot be told from ordinary text where it is looked for."""
_SECRET_NAME: Final = re.compile(r"pass(word|wd|phrase)?$|^pwd$|secret|token|credential|private|auth", re.IGNORECASE)
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/@'\"]*):[^\s@'\"]*@", re.IGNORECASE)
_ASSIGNED: Final = re.compile(
    r"(\b[\w-]*(?:password|passwd|passphrase|pwd|secret|token)\w*\s*[=:]\s*)(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&]+)",
    re.IGNORECASE,
)
_IDENTIFIED: Final = re.compile(r"(\bIDENTIFIED\s+(?:WITH\s+\S+\s+)?BY\s+)'(?:[^'\\]|\\.|'')*'", re.IGNORECASE)
_UNIT_VALUES: Final = re.compile(
    r"^([ \t]*(?:Environment|SetCredential|SetCredentialEncrypted)[ \t]*=)(?:\\\n|[^\n])*", re.MULTILINE
)


def configuration(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as TOML gives it, without secrets; where they are kept (`{ env = "…" }`) stays."""
    return {
        name: {system: _system(options) for system, options in value.items()}
        if name in ("systems", "notify") and isinstance(value, dict)
        else _plain(value)
        for name, value in raw.items()
    }


def _system(options: Any) -> Any:
    if not isinstance(options, dict):
        return REDACTED
    return {
        name: text(value) if name in PLAIN_OPTIONS and isinstance(value, str) else _option(name, value)
        for name, value in options.items()
    }


def _option(name: str, value: Any) -> Any:
    if isinstance(value, dict) and value.keys() <= REFERENCES:
        return dict(value)
    if _SECRET_NAME.search(name) or isinstance(value, str):
        return REDACTED
    if isinstance(value, dict):
        return {inner: _option(inner, of) for inner, of in value.items()}
    if isinstance(value, list):
        return [_option(name, one) for one in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: REDACTED if isinstance(of, str) and _SECRET_NAME.search(name) else _plain(of)
            for name, of in value.items()
        }
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return text(value) if isinstance(value, str) else value


def text(found: str) -> str:
    """Text without what looks like a password: in a URL, behind a word such as password, in SQL."""
    found = _URL.sub(rf"\1:{REDACTED}@", found)
    found = _IDENTIFIED.sub(rf"\1'{REDACTED}'", found)
    return _ASSIGNED.sub(rf"\1{REDACTED}", found)


def unit(found: str) -> str:
    """A systemd unit without what its environment and its credentials are set to."""
    return text(_UNIT_VALUES.sub(rf"\1{REDACTED}", found))


def secrets_of(raw: Any) -> frozenset[str]:
    """The secrets that a configuration refers to or holds, as far as they can be read here."""
    return frozenset(secret for secret in _secrets(raw, "") if len(secret) >= SECRET_CHARACTERS_MIN)


def _secrets(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        if value and value.keys() <= REFERENCES:
            yield from _revealed(value)
        for inner, of in value.items():
            yield from _secrets(of, inner)
    elif isinstance(value, list):
        for one in value:
            yield from _secrets(one, name)
    elif isinstance(value, str):
        if _SECRET_NAME.search(name):
            yield value
        yield from (found.group(0)[len(found.group(1)) + 1 : -1] for found in _URL.finditer(value))
        yield from (found.group(2).strip("'\"") for found in _ASSIGNED.finditer(value))


def _revealed(reference: Mapping[str, Any]) -> Iterator[str]:
    try:
        secret = msgspec.convert(dict(reference), Secret).reveal()
    except (ConfigError, msgspec.ValidationError, UnicodeDecodeError):
        return
    yield secret
    yield from secret.splitlines()


def without(found: str, secrets: frozenset[str]) -> str:
    """Text without these secrets, wherever they stand."""
    for secret in sorted(secrets, key=len, reverse=True):
        found = found.replace(secret, REDACTED)
    return found

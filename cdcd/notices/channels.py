"""Who is told, and how: the sections `[notify.NAME]` of the configuration, and which of them hears of what."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from cdcd import config_shape
from cdcd.config import Config, Secret, parse_duration
from cdcd.notices.kinds import KINDS, SEVERITIES, Severity
from cdcd.notices.occurrences import Occurrence

_LOOPBACK: Final = frozenset(["localhost", "127.0.0.1", "::1"])


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Base of these sections: unknown keys are errors."""


class Webhook(_Struct, frozen=True):
    """An HTTP POST of a JSON object. An `url` that is a secret itself (a chat's webhook) and `headers` may be kept elsewhere.

    With `sign` the body is signed with HMAC-SHA256. `ca` is a PEM file with the certificate authorities to trust.
    """

    url: str | Secret
    """Where the JSON object is posted; a text, or a secret."""
    headers: dict[str, str | Secret] = {}
    """Further headers; their values may be secrets."""
    sign: Secret | None = None
    """The body is signed with this key: HMAC-SHA256."""
    ca: str | None = None
    """PEM file of the authorities to believe; by default the system's."""
    timeout: str = "10s"
    """How long an answer may take."""


class Email(_Struct, frozen=True):
    """A mail by SMTP. `server` is host:port; with "starttls" and "tls" its certificate is verified."""

    server: str
    """`host:port` of the SMTP server."""
    sender: str = msgspec.field(name="from")
    """The sender's address."""
    to: Annotated[list[str], msgspec.Meta(min_length=1)]
    """The receivers' addresses."""
    user: str | None = None
    """The account to log in with."""
    password: Secret | None = None
    """Its password."""
    tls: Literal["starttls", "tls", "off"] = "starttls"
    """`starttls` and `tls` verify the server's certificate; `off` is in clear."""
    ca: str | None = None
    """PEM file of the authorities to believe; by default the system's."""
    timeout: str = "20s"
    """How long sending may take."""


class Program(_Struct, frozen=True):
    """A program of this machine, started without a shell; the JSON object is its standard input. 0 is success."""

    run: Annotated[list[str], msgspec.Meta(min_length=1)]
    """The program and its arguments; no shell."""
    timeout: str = "30s"
    """How long it may run."""


Means: TypeAlias = Webhook | Email | Program


class Channel(_Struct, frozen=True):
    """One who is told: by `webhook`, `email` or `command`, exactly one of them.

    Hears of what is at least of `severity`; of `codes`, if there are any, and not of `silent`. Of what is critical and
    lasts again after each `repeat_every`; with `resolved` also of its end. More than `per_minute` messages become one.
    """

    webhook: Webhook | None = None
    """Told by HTTP."""
    email: Email | None = None
    """Told by mail."""
    command: Program | None = None
    """Told by a program of this machine."""
    severity: Severity = "warning"
    """Hears of what is at least so severe."""
    codes: list[str] = []
    """Hears only of these codes."""
    silent: list[str] = []
    """Never hears of these codes."""
    repeat_every: str | None = None
    """What is critical and lasts is told again after this time."""
    resolved: bool = True
    """Hears also of the end."""
    per_minute: Annotated[int, msgspec.Meta(ge=1)] = 10
    """More messages than that become one."""

    @property
    def means(self) -> Means:
        """The one of the three that there is."""
        found = self.webhook or self.email or self.command
        assert found is not None, "the configuration's rules forbid it"
        return found

    def hears_of(self, found: Occurrence) -> bool:
        """Whether it is told that this began."""
        return (
            SEVERITIES.index(found.severity) >= SEVERITIES.index(self.severity)
            and (not self.codes or found.code in self.codes)
            and found.code not in self.silent
        )


def of_config(config: Config) -> dict[str, Channel]:
    """All channels, by name; the configuration was checked."""
    return {name: msgspec.convert(raw, Channel, strict=True) for name, raw in config.notify.items()}


# ---- what must fit together --------------------------------------------------------------------------------------


def problems(config: Config) -> Iterator[str]:
    """Everything in `notices` and `notify` that does not fit, in words."""
    yield from _duration("notices.lag", config.notices.lag)
    for code, after in config.notices.after.items():
        yield from _code("notices.after", code)
        yield from _duration(f"notices.after.{code}", after)
    for name, raw in config.notify.items():
        at = f"notify.{name}"
        shape = [f"{problem.path}: {problem.message}" for problem in config_shape.problems(raw, Channel, at)]
        yield from shape
        if not shape:
            yield from _channel(at, msgspec.convert(raw, Channel, strict=True))


def _channel(at: str, channel: Channel) -> Iterator[str]:
    means = [means for means in (channel.webhook, channel.email, channel.command) if means is not None]
    if len(means) != 1:
        yield f"{at}: needs exactly one of webhook, email, command; for example command = {{ run = […] }}"
        return
    for key, codes in (("codes", channel.codes), ("silent", channel.silent)):
        for code in codes:
            yield from _code(f"{at}.{key}", code)
    if channel.repeat_every is not None:
        yield from _duration(f"{at}.repeat-every", channel.repeat_every)
    kind = "webhook" if channel.webhook else "email" if channel.email else "command"
    yield from _duration(f"{at}.{kind}.timeout", means[0].timeout)
    if channel.webhook is not None:
        yield from _webhook(f"{at}.webhook", channel.webhook)
    elif channel.email is not None:
        yield from _email(f"{at}.email", channel.email)
    elif channel.command is not None and not channel.command.run[0].startswith("/"):
        yield f"{at}.command.run: expected the absolute path of a program first, got {channel.command.run[0]!r}"


def _webhook(at: str, webhook: Webhook) -> Iterator[str]:
    if isinstance(webhook.url, str):
        url = urlsplit(webhook.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            yield f"{at}.url: expected https://host/path"
        secret = any(isinstance(value, Secret) for value in webhook.headers.values())
        if url.scheme == "http" and secret and url.hostname not in _LOOPBACK:
            yield f"{at}.url: a header with a secret must not travel without TLS; use https://"
    for name, value in webhook.headers.items():
        if not name.isascii() or not name.replace("-", "").isalnum():
            yield f"{at}.headers: {name!r} is no name of a header"
        if isinstance(value, str) and not value.isprintable():
            yield f"{at}.headers.{name}: must be one line of printable characters"


def _email(at: str, email: Email) -> Iterator[str]:
    host, _, port = email.server.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        yield f"{at}.server: expected host:port, got {email.server!r}; for example mail.internal:587"
    for key, address in (("from", email.sender), *(("to", address) for address in email.to)):
        if "@" not in address or not address.isprintable():
            yield f"{at}.{key}: expected a mail address, got {address!r}"
    if (email.user is None) != (email.password is None):
        yield f"{at}: user and password go together"
    if email.user is not None and email.tls == "off" and host.strip("[]") not in _LOOPBACK:
        yield f'{at}.tls: a password must not travel without TLS; use "starttls" or "tls"'


def _duration(at: str, text: str) -> Iterator[str]:
    try:
        parse_duration(text)
    except ValueError as error:
        yield f"{at}: {error}"


def _code(at: str, code: Any) -> Iterator[str]:
    if code not in KINDS:
        near = difflib.get_close_matches(str(code), KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KINDS)}"
        yield f"{at}: unknown occurrence {code!r}; {hint}"

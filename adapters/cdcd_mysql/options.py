"""The `[systems.NAME]` table of a MySQL or MariaDB system."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cdcd.adapter import Identity
from cdcd.config import Secret, parse_duration
from cdcd.errors import ConfigError
from cdcd.secret_files import refuse_open_to_others
from cdcd_mysql.positions import server_id_of

Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
Duration = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(s|m|h|d|w)$")]
Tls = Literal["off", "prefer", "require", "verify-ca", "verify-full"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """How to reach the server, and how we show up there."""

    database: str
    """The database whose tables are meant where none is named."""
    user: str
    """The account."""
    password: Secret | None = None
    """Its password."""
    host: str = "localhost"
    """Host name or address."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 3306
    """TCP port."""
    unix_socket: str | None = None
    """Path of the server's socket; then host, port and tls do not matter."""
    tls: Tls = "prefer"
    """`prefer` encrypts if the server can, `require` always, `verify-ca` checks the certificate, `verify-full` its
    host name, too."""
    tls_ca: str | None = None
    """PEM file of the authorities to believe; by default the system's."""
    tls_cert: str | None = None
    """PEM file of our own certificate, for accounts that must show one."""
    tls_key: str | None = None
    """PEM file of its key."""
    server_id: Annotated[int, msgspec.Meta(ge=1, le=4_294_967_295)] | None = None
    """Our id among the server's replicas; by default made of the daemon's and the system's name."""
    connect_timeout_seconds: Seconds = 10
    """How long a connection may take to be made."""
    timeout_seconds: Seconds = 60
    """How long a statement may take."""
    lock_timeout_seconds: Seconds = 10
    """How long a statement may wait for a lock; then it is tried again."""
    heartbeat_seconds: Seconds = 5
    """How often an idle server says that it is there."""
    outage: Duration = "3d"
    """How long cdcd may be away: `check` refuses a server that keeps its log for less."""
    accept_cascades: bool = False
    """Start although foreign keys change captured rows without a word in the log."""

    @property
    def outage_seconds(self) -> float:
        """How long the server must keep its log."""
        return parse_duration(self.outage)

    def replica_id(self, identity: Identity) -> int:
        """The server id we replicate with."""
        return self.server_id or server_id_of(identity)

    @property
    def encrypts(self) -> bool:
        """Whether there is no connection without TLS."""
        return self.unix_socket is None and self.tls not in ("off", "prefer")

    @property
    def verifies(self) -> bool:
        """Whether the server must prove who it is."""
        return self.unix_socket is None and self.tls in ("verify-ca", "verify-full")

    @property
    def is_local(self) -> bool:
        """Whether nobody else's network lies between us and the server."""
        return self.unix_socket is not None or is_loopback(self.host)

    def tls_context(self) -> ssl.SSLContext | None:
        """How to encrypt; None for "off" and "prefer". Raises ConfigError when a file of `tls_…` cannot be used."""
        if not self.encrypts:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
        except OSError as error:
            raise _unusable("tls-ca", self.tls_ca, error, "name a file of PEM certificates") from error
        context.verify_flags &= (
            ~ssl.VERIFY_X509_STRICT
        )  # the certificates that servers make for themselves do not pass it
        context.check_hostname = self.tls == "verify-full"
        if self.tls == "require":
            context.verify_mode = ssl.CERT_NONE
        if self.tls_cert is not None:
            self._show_certificate(context, self.tls_cert)
        return context

    def _show_certificate(self, context: ssl.SSLContext, certificate: str) -> None:
        try:
            if self.tls_key is not None:
                refuse_open_to_others(Path(self.tls_key), "tls-key")
            context.load_cert_chain(certificate, self.tls_key, password="")
        except OSError as error:
            remedy = "name PEM files of a certificate and its key without a passphrase"
            raise _unusable("tls-cert", certificate, error, remedy) from error

    def __str__(self) -> str:
        place = self.unix_socket or f"{self.host}:{self.port}"
        return f"{self.user}@{place}/{self.database}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unusable(key: str, path: str | None, error: OSError, remedy: str) -> ConfigError:
    return ConfigError(
        f"{key} {path} cannot be used", cause=str(error.strerror or error), remedy=remedy, code="tls-file"
    )

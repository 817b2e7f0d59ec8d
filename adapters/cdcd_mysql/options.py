"""The `[systems.NAME]` table of a MySQL or MariaDB system."""

from __future__ import annotations

import ssl
from typing import Annotated, Literal

import msgspec

from cdcd.adapter import Identity
from cdcd.config import Secret, parse_duration
from cdcd.errors import ConfigError
from cdcd_mysql.positions import server_id_of

Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
Duration = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(s|m|h|d|w)$")]
Tls = Literal["off", "prefer", "require", "verify-ca", "verify-full"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """How to reach the server, and how we show up there.

    With `unix_socket`, host, port and tls do not matter. `tls`: "prefer" encrypts if the server can, "require" always,
    "verify-ca" also checks the certificate against `tls_ca` (the system's authorities by default), "verify-full" its
    host name too. `server_id` is the replica's id in the server's eyes, unique among its replicas; by default it is
    made of the daemon's and the system's name. `outage` is how long we may be away: the server must keep its log as long.
    `accept_cascades` starts although foreign keys change captured rows without a word in the log.
    """

    database: str
    user: str
    password: Secret | None = None
    host: str = "localhost"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 3306
    unix_socket: str | None = None
    tls: Tls = "prefer"
    tls_ca: str | None = None
    server_id: Annotated[int, msgspec.Meta(ge=1, le=4_294_967_295)] | None = None
    connect_timeout_seconds: Seconds = 10
    timeout_seconds: Seconds = 60
    lock_timeout_seconds: Seconds = 10
    heartbeat_seconds: Seconds = 5
    outage: Duration = "3d"
    accept_cascades: bool = False

    @property
    def outage_seconds(self) -> float:
        """How long the server must keep its log."""
        return parse_duration(self.outage)

    def replica_id(self, identity: Identity) -> int:
        """The server id we replicate with."""
        return self.server_id or server_id_of(identity)

    def tls_context(self) -> ssl.SSLContext | None:
        """How to encrypt; None for "off" and "prefer". Raises ConfigError when `tls_ca` cannot be used."""
        if self.tls in ("off", "prefer") or self.unix_socket is not None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
        except OSError as error:
            raise ConfigError(
                f"tls-ca {self.tls_ca} cannot be used",
                cause=str(error.strerror or error),
                remedy="name a file of PEM certificates",
            ) from error
        context.verify_flags &= (
            ~ssl.VERIFY_X509_STRICT
        )  # the certificates that servers make for themselves do not pass it
        context.check_hostname = self.tls == "verify-full"
        if self.tls == "require":
            context.verify_mode = ssl.CERT_NONE
        return context

    def __str__(self) -> str:
        place = self.unix_socket or f"{self.host}:{self.port}"
        return f"{self.user}@{place}/{self.database}"

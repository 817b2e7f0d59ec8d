"""Why a message did not arrive, and what is common to those that travel by TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdcd.errors import CdcdError

if TYPE_CHECKING:
    import ssl


class NotTold(CdcdError):
    """A message was not taken; it is tried again."""

    default_code = "not-told"


class Unfit(NotTold):
    """The receiver will not take this one message; others it may."""


def verified_by(ca: str | None) -> ssl.SSLContext:
    """TLS that verifies certificate and host name, by the system's authorities or those of a PEM file. Raises NotTold."""
    import ssl  # noqa: PLC0415 - the supervisor does without, where nobody is told by TLS

    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise NotTold(f"{ca} is no file of certificates that can be read: {error.strerror}") from error

"""How a password reaches the server: never as text, and never under a key that anybody in between may have sent.

The server chooses how it wants to be told the password, and so does whoever stands in its place. PyMySQL does what it is
asked: sends the password as it is (mysql_clear_password, dialog), or encrypted with a key that came over the same line
(sha256_password, caching_sha2_password without TLS). Here a password leaves as text only through TLS whose certificate was
verified or through a Unix socket, and what depends on such a key is not done; proofs of a password (mysql_native_password,
client_ed25519, what caching_sha2_password does for an account that it knows) tell nobody the password itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from pymysql import _auth as untyped

from cdcd.errors import NotReady
from cdcd_mysql.options import Options

_auth: Final[Any] = untyped
_FULL: Final = b"\x04"
"""caching_sha2_password: the server wants the password itself (PyMySQL, `_auth.caching_sha2_password_auth`)."""


class _Refused:
    """A way of telling the password that is not taken."""

    plugin: str

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def authenticate(self, packet: Any) -> Any:  # noqa: ARG002 - what PyMySQL calls
        """Refuse."""
        self.refuse()

    def refuse(self) -> NoReturn:
        """Raise what to do about it."""
        raise NotReady(
            "the password was not sent to the server",
            cause=f"the server asks for it by {self.plugin}, which would show it to anybody between us",
            remedy='set tls = "verify-full" with tls-ca, or give the account another authentication plug-in',
            code="password-exposed",
        )


class _Clear(_Refused):
    plugin = "mysql_clear_password"


class _Dialog(_Refused):
    plugin = "dialog (PAM)"


class _Old(_Refused):
    plugin = "mysql_old_password"


class _Sha256(_Refused):
    plugin = "sha256_password"

    def authenticate(self, packet: Any) -> Any:
        if not self.connection._secure and self.connection.password:  # noqa: SLF001 - PyMySQL offers no other way
            self.refuse()
        return _auth.sha256_password_auth(self.connection, packet)


class _CachingSha2(_Refused):
    plugin = "caching_sha2_password"

    def authenticate(self, packet: Any) -> Any:
        connection = self.connection
        if connection._secure or not connection.password:  # noqa: SLF001
            return _auth.caching_sha2_password_auth(connection, packet)
        if packet.is_auth_switch_request():
            connection.salt = packet.read_all().removesuffix(b"\0")
            proof = _auth.scramble_caching_sha2(connection.password, connection.salt)
            packet = _auth._roundtrip(connection, proof)  # noqa: SLF001
        if packet.is_extra_auth_data() and packet.get_all_data()[1:2] == _FULL:
            self.refuse()
        return packet if packet.is_ok_packet() else _auth.caching_sha2_password_auth(connection, packet)


def plugins(options: Options) -> dict[str, Callable[[Any], _Refused]]:
    """PyMySQL's `auth_plugin_map` for a connection."""
    found: dict[str, Callable[[Any], _Refused]] = {
        "mysql_old_password": _Old,
        "sha256_password": _Sha256,
        "caching_sha2_password": _CachingSha2,
    }
    if options.unix_socket is None and not options.verifies:
        found |= {"mysql_clear_password": _Clear, "dialog": _Dialog}
    return found

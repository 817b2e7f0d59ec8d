"""Who may use the secured page, and that what is posted there was meant: passwords, and tokens against forged requests.

Nothing here is stored: digests of the passwords live as long as the daemon, tokens for some minutes. All comparisons
take the same time whatever they compare.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final

from cdcd.config import Secret
from cdcd.errors import ConfigError

PASSWORD_CHARACTERS_MIN: Final = 12
TOKEN_SECONDS: Final = 600
FAILURES_MAX: Final = 10
FAILURES_SECONDS: Final = 60.0
_ADDRESSES_MAX: Final = 1_000
_NONCES_MAX: Final = 1_000
Clock = Callable[[], float]


def passwords(users: Mapping[str, Secret]) -> dict[str, str]:
    """The passwords, by name. Raises ConfigError where one is missing, open to others, or too short to hold."""
    found = {name: secret.reveal() for name, secret in users.items()}
    for name, password in found.items():
        if len(password) < PASSWORD_CHARACTERS_MIN:
            raise ConfigError(
                f"web.secured.users.{name}: the password is too short",
                code="page-password",
                cause=f"it has less than {PASSWORD_CHARACTERS_MIN} characters",
                remedy="make one: openssl rand -base64 24",
            )
    return found


class Users:
    """The people who may use the page. A password is compared by its digest under a key that only this process has."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._key = secrets.token_bytes(32)
        self._digests = {name: self._digest(password) for name, password in known.items()}
        self._nobody = self._digest(secrets.token_hex())

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")

    def name(self, authorization: str) -> str | None:
        """Whose the header `Authorization` is (HTTP Basic, RFC 7617); None where it is nobody's."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            given, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        expected = self._digests.get(given, self._nobody)
        is_right = hmac.compare_digest(self._digest(password), expected)
        return given if is_right and colon and given in self._digests else None


class Throttle:
    """Counts failures by address, so that passwords cannot be tried by the thousand."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, list[float]] = {}

    def wait_seconds(self, address: str) -> float:
        """For how long that address is not heard; 0 when it is."""
        since = self._clock() - FAILURES_SECONDS
        recent = [at for at in self._failures.get(address, ()) if at > since]
        return 0.0 if len(recent) < FAILURES_MAX else recent[0] - since

    def failed(self, address: str) -> None:
        """It gave a wrong password."""
        if address not in self._failures and len(self._failures) >= _ADDRESSES_MAX:
            self._failures.pop(next(iter(self._failures)))
        self._failures[address] = [*self._failures.pop(address, [])[1 - FAILURES_MAX :], self._clock()]


class Tokens:
    """A token is good for one request, by one user, for exactly what the confirmation page has shown, for some minutes."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._used: dict[str, float] = {}

    def issue(self, user: str, what: str) -> str:
        """A token for that user and that wish."""
        plain = f"{int(self._clock())}.{secrets.token_hex(16)}"
        return f"{plain}.{self._mark(plain, user, what)}"

    def _mark(self, plain: str, user: str, what: str) -> str:
        return hmac.digest(self._key, f"{plain}\0{user}\0{what}".encode(), "sha256").hex()

    def spend(self, token: str, user: str, what: str) -> bool:
        """Whether the token is for that and was never used; from now on it was."""
        plain, _, mark = token.rpartition(".")
        at, _, nonce = plain.partition(".")
        if not hmac.compare_digest(mark.encode(), self._mark(plain, user, what).encode()):
            return False
        now = self._clock()
        self._used = {known: until for known, until in self._used.items() if until > now}
        if now - int(at) > TOKEN_SECONDS or nonce in self._used or len(self._used) >= _NONCES_MAX:
            return False
        self._used[nonce] = now + TOKEN_SECONDS + 1
        return True

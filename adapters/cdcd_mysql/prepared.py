"""Two-phase (XA) transactions that are prepared and not decided yet.

The log holds their rows when they are prepared, and only a statement when they are committed. The rows are not kept:
it is remembered where in the log they are, as part of every position until then, and at XA COMMIT they are read again
from there (`source` does that, with a second dump). So memory is bounded, and a restart in between loses nothing. Pure.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import quote, unquote

import msgspec

_XA_ID: Final = re.compile(r"\s*XA\s+(START|COMMIT|ROLLBACK)\s+(X'[0-9a-f]*',X'[0-9a-f]*',-?\d+)", re.IGNORECASE)
_ID_SIZE: Final = 8


class PreparedGroup(msgspec.Struct, frozen=True):
    """Where the rows of a prepared transaction are: its group begins there. Without a `file` the place is not known.

    `has_rows` is False for one that changed nothing captured. A position does not say that, because what is captured may
    be configured anew before it is read.
    """

    file: str
    offset: int
    has_rows: bool = True


def xa_statement(text: bytes) -> tuple[str, str] | None:
    """The verb and the transaction's id of XA START, COMMIT and ROLLBACK, as the servers write them to the log."""
    match = _XA_ID.match(text.decode("ascii", "replace"))
    return (match[1].upper(), match[2]) if match else None


class PreparedTransactions:
    """Those that are open at one place in the log; `str` gives them as part of a position."""

    def __init__(self, text: str = "") -> None:
        self._groups: dict[str, PreparedGroup] = {}
        for part in filter(None, text.split(",")):
            digest, _, place = part.partition(":")
            offset, _, file = place.partition(":")
            self._groups[digest] = PreparedGroup(unquote(file), int(offset or 0))
        self._text = text

    def add(self, xid: str, group: PreparedGroup) -> None:
        """A transaction was prepared."""
        self._groups[_digest(xid)] = group
        self._write()

    def pop(self, xid: str) -> PreparedGroup | None:
        """A transaction was decided. None when it was not known as prepared."""
        group = self._groups.pop(_digest(xid), None)
        self._write()
        return group

    def _write(self) -> None:
        self._text = ",".join(
            f"{digest}:{group.offset}:{quote(group.file, safe='')}" for digest, group in self._groups.items()
        )

    def __str__(self) -> str:
        return self._text


def forget_places(text: str) -> str:
    """The same transactions for another server's log, where the places do not hold."""
    return ",".join(f"{part.partition(':')[0]}:0:" for part in filter(None, text.split(",")))


def _digest(xid: str) -> str:
    """Ids may be long and are the application's: a position has only their hash."""
    return hashlib.blake2b(xid.encode(), digest_size=_ID_SIZE).hexdigest()

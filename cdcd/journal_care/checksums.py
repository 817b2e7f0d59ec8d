"""What tells a damaged journal entry from a whole one: a checksum over its body, and one over all else that is stored of it.

SQLite notices a page that makes no sense, and not a bit that changed within a value. The two checksums are told apart
because a body can be read again from the source when the rest is whole: it says which transaction that is.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from cdcd.errors import NeedsOperator

Header: TypeAlias = Sequence[Any]
"""The values of `HEADER_COLUMNS`: which transaction it is. When it was journalled is no part of it."""
HEADER_COLUMNS: Final = "source, kind, position, committed_at_us, changes, mark_after, mark_through, note, stage"
CODE: Final = "journal-damaged"
LOST: Final = "lost"
"""The command in place of an entry that is gone: {"subjects": [...], "source": its system or "" where nobody knows}."""
_HEADER_KNOWN: Final = 1 << 30
_BITS: Final = _HEADER_KNOWN - 1
_encode: Final = msgspec.msgpack.Encoder().encode
_crc32: Final = zlib.crc32


def checksum(header: Header, body: bytes | None) -> int:
    """What is stored beside an entry: the header's in the upper half, the body's in the lower."""
    return (_crc32(_encode(header)) & _BITS | _HEADER_KNOWN) << 32 | (_crc32(body) if body else 0)


def is_whole(header: Header, body: bytes | None, stored: int) -> bool:
    """Whether both match. Entries of earlier versions have no checksum of their header."""
    known = stored >> 32
    if known and known != (_crc32(_encode(header)) & _BITS | _HEADER_KNOWN):
        return False
    return stored & 0xFFFFFFFF == (_crc32(body) if body else 0)


def is_header_whole(header: Header, stored: int) -> bool:
    """Whether what says which transaction it is can be trusted, as far as that is known."""
    known = stored >> 32
    return not known or known == (_crc32(_encode(header)) & _BITS | _HEADER_KNOWN)


def legible(raw: bytes) -> str:
    """A stored text. One that is no text any more can be looked at, and its checksum does not match."""
    return raw.decode("utf-8", "backslashreplace")


def damaged(seq: int, source: str, position: str, cause: str = "") -> NeedsOperator:
    """The error that stops resolve before an entry that is not what was written."""
    return NeedsOperator(
        f"journal entry {seq} is damaged (from {source}{f', at {position}' if position else ''})",
        code=CODE,
        cause=cause or "its checksum does not match: the disk or a copy of the file changed it",
        remedy="run 'cdcd journal verify' to see whether there is more, then 'cdcd journal repair'; nothing was skipped",
    )


def damaged_shape(number: int, source: str) -> NeedsOperator:
    """The error when the shape of a table cannot be trusted: rows that refer to it cannot be read."""
    return NeedsOperator(
        f"the journal's description number {number} of a table of {source} is damaged",
        code=CODE,
        cause="its checksum does not match: the disk or a copy of the file changed it",
        remedy="run 'cdcd journal verify' to see which entries need it, then 'cdcd journal repair'; nothing was skipped",
    )

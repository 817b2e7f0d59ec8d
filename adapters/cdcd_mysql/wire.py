"""A cursor over bytes in MySQL's encodings: little-endian integers, length-encoded integers and strings.

Formats: MySQL internals manual, "Protocol Basics". Reading past the end raises IndexError, which the callers at the
edge turn into DecodeError.
"""

from __future__ import annotations

from typing import Final

_LENGTH_SIZES: Final = {0xFC: 2, 0xFD: 3, 0xFE: 8}


def encode_length(number: int) -> bytes:
    """A length-encoded integer below 65,536."""
    return bytes([number]) if number < 0xFB else b"\xfc" + number.to_bytes(2, "little")


class Reader:
    """Reads `data` from `place` up to `end`."""

    def __init__(self, data: bytes, place: int = 0, end: int | None = None) -> None:
        self._data = data
        self.place = place
        self.end = len(data) if end is None else end

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return self.end - self.place

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self.place
        if not 0 <= size <= self.end - start:
            raise IndexError(f"{size} bytes wanted, {self.end - start} left")
        self.place = start + size
        return self._data[start : self.place]

    def integer(self, size: int) -> int:
        """An unsigned little-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def length(self) -> int:
        """A length-encoded integer."""
        first = self.integer(1)
        if first < 0xFB:
            return first
        if first not in _LENGTH_SIZES:
            raise IndexError(f"0x{first:02x} does not start a length-encoded integer")
        return self.integer(_LENGTH_SIZES[first])

    def string(self) -> bytes:
        """A string with a length-encoded size before it."""
        return self.take(self.length())

    def rest(self) -> Reader:
        """A reader of what is left; this one is then at its end."""
        reader = Reader(self._data, self.place, self.end)
        self.place = self.end
        return reader

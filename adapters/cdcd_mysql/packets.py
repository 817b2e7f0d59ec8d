"""Cuts the bytes of a dump into packets, whatever pieces they come in. Pure.

Format: MySQL protocol, "Protocol::Packet": three bytes of length, a sequence number, the payload; a payload of 16 MiB
less one byte goes on in the next packet. Payloads of a dump begin with a status byte.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Final

_PAYLOAD_SIZE_MAX: Final = (1 << 24) - 1
_HEADER_SIZE: Final = 4
_OK: Final = 0x00
_LENGTH_AND_NUMBER: Final = struct.Struct("<I").unpack_from


class PacketBuffer:
    """Holds what has arrived and was not consumed. Nothing is joined before it is needed, so memory is copied once."""

    def __init__(
        self,
        on_event: Callable[[bytes, int, int], bool | None],
        on_end: Callable[[bytes], None],
    ) -> None:
        """`on_event` takes the bytes of an event with its start and end; `on_end` a payload that is none: error, EOF.

        When `on_event` says True, the ones behind it stay here until the next `consume`.
        """
        self._on_event = on_event
        self._on_end = on_end
        self._pieces: list[bytes] = []
        self._size = 0
        self._needed = _HEADER_SIZE
        self._joined: io.BytesIO | None = None

    @property
    def has_packet(self) -> bool:
        """Whether a whole packet is there."""
        return self._size >= self._needed

    def add(self, piece: bytes) -> None:
        """Bytes that have arrived."""
        self._pieces.append(piece)
        self._size += len(piece)

    def consume(self) -> None:
        """Hand on all packets that are complete."""
        if self._size < self._needed:
            return
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._size = [], 0
        place = self._consume(data)
        rest = data[place:] if place else data
        self._pieces, self._size = ([rest] if rest else []), len(rest)

    def _consume(self, data: bytes) -> int:
        """Return where the first packet begins that is incomplete or must wait."""
        place, size = 0, len(data)
        on_event = self._on_event
        while size - place >= _HEADER_SIZE:
            (length,) = _LENGTH_AND_NUMBER(data, place)
            length &= _PAYLOAD_SIZE_MAX
            start = place + _HEADER_SIZE
            end = start + length
            if end > size:
                self._needed = _HEADER_SIZE + length
                return place
            place = end
            if length == _PAYLOAD_SIZE_MAX or self._joined is not None:
                if self._consume_part(data[start:end]):
                    break
            elif length and data[start] == _OK:
                if on_event(data, start + 1, end):
                    break
            else:
                self._on_end(data[start:end])
        self._needed = _HEADER_SIZE
        return place

    def _consume_part(self, part: bytes) -> bool | None:
        joined = self._joined = self._joined or io.BytesIO()
        joined.write(part)
        if len(part) == _PAYLOAD_SIZE_MAX:
            return False
        payload = joined.getvalue()  # without a copy: nothing else writes to it
        self._joined = None
        return self._on_event(payload, 1, len(payload))

"""Cuts the bytes of a dump into packets, whatever pieces they come in. Pure.

Format: MySQL protocol, "Protocol::Packet": three bytes of length, a sequence number, the payload; a payload of 16 MiB
less one byte goes on in the next packet. Payloads of a dump begin with a status byte.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

_PAYLOAD_SIZE_MAX: Final = (1 << 24) - 1
_HEADER_SIZE: Final = 4
_OK: Final = 0x00


def _never() -> bool:
    return False


class PacketBuffer:
    """Holds what has arrived and was not consumed. Nothing is joined before it is needed, so memory is copied once."""

    def __init__(
        self,
        on_event: Callable[[bytes, int, int], None],
        on_end: Callable[[bytes], None],
        is_busy: Callable[[], bool] = _never,
    ) -> None:
        """`on_event` takes the bytes of an event with its start and end; `on_end` a payload that is none: error, EOF.

        When `is_busy` after an event, the ones behind it stay here.
        """
        self._on_event = on_event
        self._on_end = on_end
        self._is_busy = is_busy
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
        if self._size < self._needed or self._is_busy():
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
            length = data[place] | data[place + 1] << 8 | data[place + 2] << 16
            start = place + _HEADER_SIZE
            end = start + length
            if end > size:
                self._needed = _HEADER_SIZE + length
                return place
            if length == _PAYLOAD_SIZE_MAX or self._joined is not None:
                self._consume_part(data[start:end])
            elif length and data[start] == _OK:
                on_event(data, start + 1, end)
            else:
                self._on_end(data[start:end])
            place = end
            if self._is_busy():
                break
        self._needed = _HEADER_SIZE
        return place

    def _consume_part(self, part: bytes) -> None:
        joined = self._joined = self._joined or io.BytesIO()
        joined.write(part)
        if len(part) < _PAYLOAD_SIZE_MAX:
            payload = joined.getvalue()  # without a copy: nothing else writes to it
            self._joined = None
            self._on_event(payload, 1, len(payload))

"""Record keys as bytes: the MessagePack of their parts, one after another.

Parts end where they end, so a parent's key is a prefix of all its children's keys and of no other key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
_FIXARRAY: Final = 0x90
_ARRAY32: Final = b"\xdd"


def encode_key(parts: Sequence[Any]) -> bytes:
    """The key of at most 15 canonical parts (a MessagePack array without its one-byte header)."""
    assert len(parts) < 16, "a key has at most 15 parts"
    return _encode(parts)[1:]


encode_part: Final = _encode
"""The key of one part."""


def decode_key(key: bytes, width: int) -> list[Any]:
    """The parts of a key of `width` parts."""
    parts: list[Any] = _decode(bytes((_FIXARRAY | width,)) + key)
    return parts


def decode_keys(keys: Sequence[bytes], width: int) -> list[list[Any]]:
    """The first, second, … parts of keys of `width` parts: a list for each place."""
    parts: list[Any] = _decode(_ARRAY32 + (len(keys) * width).to_bytes(4, "big") + b"".join(keys))
    return [parts[place::width] for place in range(width)]


def after_prefix(prefix: bytes) -> bytes:
    """The smallest bytes greater than every key that starts with `prefix`."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,)) if trimmed else b"\xff" * 64

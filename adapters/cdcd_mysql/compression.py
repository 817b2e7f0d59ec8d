"""Opens what the servers pack: MariaDB's compressed events, and MySQL's compressed transactions. Pure.

Formats: MariaDB source, sql/log_event.cc, binlog_buf_uncompress; MySQL source, libs/mysql/binlog/event/
codecs/binary.cpp, class Transaction_payload (fields of type, size and value), around a zstd stream of events.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Final

from cdcd.errors import DecodeError
from cdcd_mysql.wire import Reader

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

EVENT_SIZE_MAX: Final = (1 << 30) + (1 << 20)
"""max_allowed_packet cannot be larger than 1 GiB; an event may exceed it by its headers."""
_PIECE_SIZE: Final = 1 << 18
_HEADER_SIZE: Final = 19
_WINDOW_BITS_MAX: Final = 27
"""zstd's own limit for streams: 128 MiB, which even its highest level does not exceed."""
_END, _SIZE, _ALGORITHM, _PLAIN_SIZE = range(4)
_ZSTD, _NOT_COMPRESSED = 0, 255


def uncompress(data: bytes) -> bytes:
    """What MariaDB's log_bin_compress packed: algorithm and size of the size in one byte, the size, zlib's bytes."""
    if not data or data[0] & 0x80 == 0 or data[0] & 0x70:
        raise DecodeError("a compressed event by an unknown algorithm")
    size_size = data[0] & 0x07
    size = int.from_bytes(data[1 : 1 + size_size], "big")
    if size > EVENT_SIZE_MAX:
        raise DecodeError("a compressed event larger than any packet can be")
    plain = zlib.decompressobj().decompress(data[1 + size_size :], size + 1)
    if len(plain) != size:
        raise DecodeError("a compressed event that has another size than it says")
    return plain


def payload_events(data: bytes, place: int, end: int) -> Iterator[bytes]:
    """The events in a TRANSACTION_PAYLOAD, one by one, none with a checksum; only about one is in memory at a time."""
    reader = Reader(data, place, end)
    facts = {_ALGORITHM: _ZSTD, _PLAIN_SIZE: 0, _SIZE: 0}
    while (field := reader.length()) != _END:
        value = Reader(reader.string())
        if field in facts:
            facts[field] = value.length()
    if facts[_SIZE] != reader.left:
        raise DecodeError("a compressed transaction that has another size than it says")
    if facts[_ALGORITHM] not in (_ZSTD, _NOT_COMPRESSED):
        raise DecodeError("a compressed transaction by an unknown algorithm")
    packed = memoryview(data)[reader.place : end]
    pieces = _zstd_pieces(packed) if facts[_ALGORITHM] == _ZSTD else iter([bytes(packed)])
    return _events(pieces, facts[_PLAIN_SIZE] if facts[_ALGORITHM] == _ZSTD else len(packed))


def _zstd_pieces(packed: memoryview) -> Iterator[bytes]:
    """The plain bytes in pieces of bounded size. There may be several zstd frames behind one another."""
    options: dict[int, int] = {DecompressionParameter.window_log_max: _WINDOW_BITS_MAX}
    decompressor = ZstdDecompressor(options=options)
    place = 0
    try:
        while True:
            if decompressor.eof:
                left = decompressor.unused_data
                decompressor = ZstdDecompressor(options=options)
                if not left and place >= len(packed):
                    return
                yield decompressor.decompress(left, _PIECE_SIZE)
            elif decompressor.needs_input:
                if place >= len(packed):
                    raise DecodeError("a compressed transaction that is cut off")
                yield decompressor.decompress(packed[place : place + _PIECE_SIZE], _PIECE_SIZE)
                place += _PIECE_SIZE
            else:
                yield decompressor.decompress(b"", _PIECE_SIZE)
    except ZstdError as error:
        raise DecodeError("a compressed transaction that zstd does not understand") from error


def _events(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Cut plain bytes into events. `size` is what they must add up to."""
    buffer, place, read = b"", 0, 0
    parts: list[bytes] = []
    held, needed = 0, _HEADER_SIZE
    for piece in pieces:
        read += len(piece)
        if read > size:
            raise DecodeError("a compressed transaction larger than it says")
        parts.append(piece)
        held += len(piece)
        if held < needed:
            continue
        buffer, place, parts = b"".join(parts), 0, []
        while len(buffer) - place >= _HEADER_SIZE:
            event_size = int.from_bytes(buffer[place + 9 : place + 13], "little")
            if not _HEADER_SIZE <= event_size <= EVENT_SIZE_MAX:
                raise DecodeError("an event of impossible size in a compressed transaction")
            if len(buffer) - place < event_size:
                break
            yield buffer[place : place + event_size]
            place += event_size
        rest = buffer[place:]
        parts, held, needed = [rest], len(rest), _needed(rest)
    if held or read != size:
        raise DecodeError("a compressed transaction that has another size than it says")


def _needed(start: bytes) -> int:
    """How many bytes the event that begins with `start` takes, as far as they tell."""
    return int.from_bytes(start[9:13], "little") if len(start) >= _HEADER_SIZE else _HEADER_SIZE

"""Compressed transactions: bounded, and checked against what they say of themselves."""

import pytest

from cdcd.errors import DecodeError
from cdcd_mysql.compression import payload_events

try:
    from compression import zstd
except ImportError:
    from backports import zstd


def event(size, fill=b"x"):
    return b"\0" * 9 + (19 + size).to_bytes(4, "little") + b"\0" * 6 + fill * size


def length(number):
    return bytes([number]) if number < 0xFB else b"\xfe" + number.to_bytes(8, "little")


def payload(plain, *, packed=None, size=None, plain_size=None, algorithm=0):
    packed = zstd.compress(plain) if packed is None else packed
    fields = [(1, length(len(packed) if size is None else size)), (2, length(algorithm))]
    fields.append((3, length(len(plain) if plain_size is None else plain_size)))
    return b"".join(bytes([kind]) + length(len(value)) + value for kind, value in fields) + b"\0" + packed


def opened(raw):
    return list(payload_events(raw, 0, len(raw)))


EVENTS = [event(1), event(300_000), event(0), event(70_000, b"y")]


def test_events_come_out_one_by_one():
    plain = b"".join(EVENTS)
    assert opened(payload(plain)) == EVENTS
    assert opened(payload(plain, packed=plain, algorithm=255)) == EVENTS
    assert opened(payload(plain, packed=b"".join(map(zstd.compress, EVENTS)))) == EVENTS


def test_only_a_bounded_part_is_opened_at_a_time():
    """Half a GiB of rows in a few KiB: the first event is there before the rest is."""
    one = event(100_000)
    compressor = zstd.ZstdCompressor()
    packed = b"".join(compressor.compress(one * 50) for _ in range(100)) + compressor.flush()
    raw = payload(b"", packed=packed, plain_size=len(one) * 5000)
    assert len(raw) < 200_000
    events = payload_events(raw, 0, len(raw))
    assert next(events) == one
    assert sum(1 for _ in events) == 4999


@pytest.mark.parametrize(
    "wrong",
    [
        payload(b"".join(EVENTS), plain_size=5),
        payload(b"".join(EVENTS), plain_size=1 << 40),
        payload(b"".join(EVENTS), size=7),
        payload(b"".join(EVENTS), algorithm=9),
        payload(b"".join(EVENTS), packed=zstd.compress(b"".join(EVENTS))[:-9]),
        payload(b"".join(EVENTS), packed=b"not zstd at all"),
        payload(b"short"),
        payload(event(10)[:-1]),
        payload(b"\xff" * 40),
    ],
)
def test_a_transaction_that_is_not_what_it_says_is_refused(wrong):
    with pytest.raises(DecodeError):
        opened(wrong)

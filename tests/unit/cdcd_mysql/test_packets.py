"""Packets, whatever pieces they come in."""

import random

import pytest

from cdcd_mysql.packets import PacketBuffer

LARGE = (1 << 24) - 1


def packet(payload, number=0):
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def make_buffer():
    events, ends = [], []
    buffer = PacketBuffer(lambda data, place, end: events.append(data[place:end]), ends.append)
    return buffer, events, ends


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_any_size_give_the_same_packets(seed):
    source = random.Random(seed)
    payloads = [source.randbytes(source.randrange(1, 300)) for _ in range(50)]
    stream = b"".join(packet(b"\0" + payload) for payload in payloads)
    buffer, events, _ = make_buffer()
    place = 0
    while place < len(stream):
        size = source.randrange(1, 400)
        buffer.add(stream[place : place + size])
        if source.random() < 0.7:
            buffer.consume()
        place += size
    buffer.consume()
    assert events == payloads


@pytest.mark.parametrize("size", [LARGE - 2, LARGE - 1, LARGE, 2 * LARGE - 1, 2 * LARGE + 5])
def test_payloads_of_16_mib_and_more_go_on_in_the_next_packet(size):
    payload = b"\0" + b"x" * (size - 1) + b"y"
    parts = [payload[start : start + LARGE] for start in range(0, len(payload), LARGE)]
    if len(parts[-1]) == LARGE:
        parts.append(b"")
    buffer, events, _ = make_buffer()
    stream = b"".join(map(packet, parts)) + packet(b"\0after")
    for start in range(0, len(stream), 1 << 20):
        buffer.add(stream[start : start + (1 << 20)])
        buffer.consume()
    assert [len(event) for event in events] == [size, 5]
    assert events[0] == payload[1:]


def test_errors_and_the_end_are_told_from_events():
    buffer, events, ends = make_buffer()
    buffer.add(packet(b"\0event") + packet(b"\xff\xd4\x04#HY000text") + packet(b"\xfe\0\0\0\0") + packet(b""))
    buffer.consume()
    assert events == [b"event"]
    assert ends == [b"\xff\xd4\x04#HY000text", b"\xfe\0\0\0\0", b""]


def test_events_behind_one_that_takes_its_time_wait():
    taken = []
    buffer = PacketBuffer(lambda data, place, end: bool(taken.append(data[place:end]) or taken[-1] == b"slow"), print)
    buffer.add(packet(b"\0first") + packet(b"\0slow") + packet(b"\0behind"))
    buffer.consume()
    assert taken == [b"first", b"slow"]
    assert buffer.has_packet
    buffer.consume()
    assert taken == [b"first", b"slow", b"behind"]

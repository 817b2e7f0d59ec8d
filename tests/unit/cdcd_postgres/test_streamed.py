"""Transactions in pieces, made whole. What real servers send is in `tests/golden`."""

import struct

import pytest

from cdcd.errors import DecodeError
from cdcd_postgres.streamed import Untangler
from unit.cdcd_postgres import messages as m


def streamed(xid: int, frame: bytes) -> bytes:
    """A message of version 1 as it stands in a streamed block."""
    return frame[:26] + struct.pack(">I", xid) + frame[26:]


def start(xid: int, *, first: bool = True) -> bytes:
    return m.wal(b"S" + struct.pack(">IB", xid, first))


STOP = m.wal(b"E")


def commit(xid: int) -> bytes:
    return m.wal(b"c" + struct.pack(">IBQQq", xid, 0, 1092, 1100, 0))


def abort(xid: int, subxid: int) -> bytes:
    return m.wal(b"A" + struct.pack(">II", xid, subxid))


def prepared(kind: bytes, xid: int, gid: str = "gid", *, flags: bytes = b"\0") -> bytes:
    return m.wal(kind + flags + struct.pack(">QQqI", 1092, 1100, 0, xid) + m.string(gid))


def begin_prepare(xid: int, gid: str = "gid") -> bytes:
    return prepared(b"b", xid, gid, flags=b"")


ROWS = [m.insert(1, number) for number in range(4)]


def untangled(*frames: bytes) -> list[bytes]:
    return list(Untangler().feed(frames))


def whole(*frames: bytes, xid: int = 7) -> list[bytes]:
    return [m.begin(1092, xid), *frames, m.commit(1100)]


def test_version_one_passes():
    frames = [m.keepalive(5), *whole(*ROWS)]
    assert untangled(*frames) == frames


def test_blocks_of_two_transactions_become_two_transactions_in_commit_order():
    frames = [
        start(7),
        streamed(7, ROWS[0]),
        STOP,
        start(9),
        streamed(9, ROWS[1]),
        STOP,
        *whole(ROWS[3], xid=5),
        start(7, first=False),
        streamed(7, ROWS[2]),
        STOP,
        commit(9),
        commit(7),
    ]
    assert untangled(*frames) == [*whole(ROWS[3], xid=5), *whole(ROWS[1], xid=9), *whole(ROWS[0], ROWS[2])]


def test_what_was_undone_is_left_out_but_for_descriptions():
    table = m.relation(1, "item", ("id", 23, -1, True))
    frames = [
        start(7),
        streamed(7, ROWS[0]),
        streamed(8, table),
        streamed(8, ROWS[1]),
        streamed(9, ROWS[2]),
        STOP,
        abort(7, 8),
        commit(7),
    ]
    assert untangled(*frames) == whole(ROWS[0], table, ROWS[2])
    assert untangled(start(7), streamed(7, ROWS[0]), STOP, abort(7, 7)) == []


def test_a_prepared_transaction_comes_when_it_is_committed():
    frames = [begin_prepare(7), ROWS[0], prepared(b"P", 7), *whole(ROWS[1], xid=8), prepared(b"K", 7)]
    assert untangled(*frames) == [*whole(ROWS[1], xid=8), *whole(ROWS[0])]
    undone = m.wal(b"r" + struct.pack(">BQQqqI", 0, 1, 1, 1, 1, 7) + m.string("gid"))
    assert untangled(begin_prepare(7), ROWS[0], prepared(b"P", 7), undone) == []
    assert untangled(start(7), streamed(7, ROWS[0]), STOP, prepared(b"p", 7), prepared(b"K", 7)) == whole(ROWS[0])


@pytest.mark.parametrize(
    "frames",
    [
        [STOP],
        [commit(7)],
        [abort(7, 7)],
        [start(7, first=False)],
        [start(7), start(8)],
        [start(7), STOP, start(7)],
        [start(7), commit(7)],
        [start(7), m.begin(1)],
        [start(7), m.wal(b"I\0")],
        [prepared(b"K", 7)],
        [prepared(b"P", 7)],
        [begin_prepare(7), STOP],
        [begin_prepare(7), prepared(b"P", 7, "other")],
        [begin_prepare(7), prepared(b"P", 7), begin_prepare(8), prepared(b"P", 8)],
    ],
)
def test_an_order_that_cannot_be_is_an_error(frames):
    with pytest.raises(DecodeError):
        untangled(*frames)

"""What a snapshot sees, and how a chunk is kept true to the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.model import ABSENT, Op, Relation, Rows
from cdcd_postgres.snapshot import ChunkRows, Snapshot, parse_snapshot

ITEM = Relation("item", ("id", "body", "version"), ("integer", "text", "integer"), (0,))
PAIR = Relation("pair", ("a", "b", "v"), ("text", "integer", "integer"), (0, 1))


def test_a_snapshot_sees_what_ended_before_it():
    snapshot = parse_snapshot("100:105:100,103")
    assert [xid for xid in range(98, 108) if snapshot.sees(xid)] == [98, 99, 101, 102, 104]
    assert parse_snapshot("7:7:") == Snapshot(7, frozenset())
    assert (snapshot.oldest, parse_snapshot("7:7:").oldest) == (100, 7)


@given(st.integers(0, 5), st.integers(0, 2**32 - 1), st.integers(-1000, 1000))
def test_a_short_transaction_id_belongs_to_the_nearest_epoch(epoch, xmax, distance):
    full_xmax = (epoch + 1) * 2**32 + xmax
    full = full_xmax + distance
    assert Snapshot(full_xmax, frozenset()).sees(full % 2**32) == (distance < 0)
    assert not Snapshot(full_xmax, frozenset({full})).sees(full % 2**32)


def overtaken(*events: Rows, rows=((1, "one", 1), (2, "two", 1), (3, "three", 1))):
    chunk = ChunkRows(ITEM, [list(row) for row in rows])
    for event in events:
        chunk.overtake(event)
    return chunk


@pytest.mark.parametrize("op", [Op.INSERT, Op.UPDATE, Op.DELETE])
def test_a_row_that_the_stream_has_carried_is_left_out(op):
    assert overtaken(Rows(ITEM, op, [[2, "new", 2]])).rows == [[1, "one", 1], [3, "three", 1]]


def test_a_row_that_was_updated_without_a_value_stays_with_what_the_stream_said():
    chunk = overtaken(Rows(ITEM, Op.UPDATE, [[2, ABSENT, 2], [2, ABSENT, 3]]))
    assert sorted(chunk.rows) == [[1, "one", 1], [2, "two", 3], [3, "three", 1]]


def test_a_row_that_was_moved_without_a_value_stays_under_its_new_key():
    event = Rows(ITEM, Op.UPDATE, [[9, ABSENT, 2]], [[2, ABSENT, ABSENT]])
    assert sorted(overtaken(event).rows) == [[1, "one", 1], [3, "three", 1], [9, "two", 2]]


def test_a_row_that_was_moved_whole_is_left_out():
    event = Rows(ITEM, Op.UPDATE, [[9, "new", 2], [1, "x", 2]], [[2, ABSENT, ABSENT], None])
    assert overtaken(event).rows == [[3, "three", 1]]


def test_a_row_updated_without_a_value_and_then_deleted_is_left_out():
    events = Rows(ITEM, Op.UPDATE, [[2, ABSENT, 2]]), Rows(ITEM, Op.DELETE, [[2, ABSENT, ABSENT]])
    assert overtaken(*events).rows == [[1, "one", 1], [3, "three", 1]]


def test_an_update_without_a_value_of_a_row_that_is_not_in_the_chunk_adds_none():
    assert len(overtaken(Rows(ITEM, Op.UPDATE, [[7, ABSENT, 2]])).rows) == 3


def test_a_truncate_leaves_nothing():
    assert overtaken(Rows(ITEM, Op.TRUNCATE, [])).rows == []


def test_a_table_with_other_columns_makes_the_chunk_outdated():
    wider = Relation("item", (*ITEM.columns, "new"), (*ITEM.types, "text"), (0,))
    chunk = overtaken(Rows(wider, Op.INSERT, [[9, "x", 1, "n"]]))
    assert chunk.outdated


def test_keys_of_several_columns_are_compared_whole():
    chunk = ChunkRows(PAIR, [["x", 1, 0], ["x", 2, 0], ["y", 1, 0]])
    chunk.overtake(Rows(PAIR, Op.DELETE, [["x", 2, ABSENT]]))
    assert chunk.rows == [["x", 1, 0], ["y", 1, 0]]

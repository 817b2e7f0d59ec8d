"""What waits for a target is taken a batch's worth at a time, in order, whole units together."""

from __future__ import annotations

import pytest

from cdcd import backlog, outbox
from cdcd.backlog import Backlog
from cdcd.outbox import OutboxWriter
from cdcd.state import State


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "PART_WRITES", 2)
    state = State(tmp_path / "state.db", durable=False)
    yield state
    state.close()


def fill(state, *sizes):
    """Units of so many items, each in rows of two."""
    for size in sizes:
        with state.transaction():
            writer = OutboxWriter(state)
            for number in range(size):
                writer.add("shop", [1, 2, f"k{number}".encode(), 1, [number], 0, []], 5)
            writer.end_unit()
            writer.flush()
            state.put("units", writer.units)


def ids(rows):
    return [row.id for row in rows]


def test_a_batch_is_what_is_there_up_to_some_bytes_or_as_many_writes_as_are_wanted(state, monkeypatch):
    fill(state, 1, 1, 1, 1)
    assert ids(Backlog("shop", state).take(0)) == [1, 2, 3, 4]
    assert ids(Backlog("shop", state).take(0, rows_max=2)) == [1, 2]
    monkeypatch.setattr(outbox, "READ_BYTES", 1)
    waiting = Backlog("shop", state)
    assert [ids(waiting.take(0)) for _ in range(5)] == [[1], [2], [3], [4], []]


def test_the_rows_of_one_unit_are_taken_together(state, monkeypatch):
    monkeypatch.setattr(outbox, "READ_BYTES", 1)
    fill(state, 5, 1)
    waiting = Backlog("shop", state)
    assert ids(waiting.take(0)) == [1, 2, 3]
    assert ids(waiting.take(1)) == [4]


def test_of_a_large_unit_only_the_first_rows_are_given_alone_and_all_can_be_read_again(state, monkeypatch):
    monkeypatch.setattr(backlog, "LARGE_WRITES", 4)
    fill(state, 1, 9, 1)
    waiting = Backlog("shop", state)
    assert ids(waiting.take(0)) == [1]
    first = waiting.take(1)
    assert (ids(first), first[-1].more) == ([2, 3], True)
    again = list(waiting.unit_from(first[0], 1))
    assert (ids(again), [row.more for row in again]) == ([2, 3, 4, 5, 6], [True] * 4 + [False])
    assert waiting.row(4) == again[2]
    waiting.forget(first[0].id - 1)
    assert ids(waiting.take(2)) == [7]


def test_what_is_put_back_comes_next_and_what_is_forgotten_is_read_anew(state, monkeypatch):
    monkeypatch.setattr(outbox, "READ_BYTES", 1)
    fill(state, 1, 1, 1)
    waiting = Backlog("shop", state)
    first, second = waiting.take(0), waiting.take(0)
    waiting.put_back(second)
    assert ids(waiting.take(1)) == [2]
    waiting.forget()
    assert ids(waiting.take(0)) == ids(first)
    waiting.forget()
    assert ids(waiting.take(2)) == [3]

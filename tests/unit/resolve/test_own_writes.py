"""What one of our own transactions wrote: looked up in memory or, when it was large, on disk; the same either way."""

from __future__ import annotations

import pytest

from cdcd.outbox import OutboxWriter
from cdcd.resolve import own_writes
from cdcd.resolve.own_writes import OwnWrites
from cdcd.state import State


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state.db", durable=False)
    yield state
    state.close()


@pytest.fixture(params=[1_000, 1], ids=["small", "large"], autouse=True)
def size(request, monkeypatch):
    monkeypatch.setattr(own_writes, "IN_MEMORY_WRITES", request.param)


def units(state, *units):
    with state.transaction():
        writer = OutboxWriter(state)
        for items in units:
            for item in items:
                writer.add("shop", item, 5)
            writer.end_unit()
        writer.flush()
        state.put("units", writer.units)


def test_the_last_value_that_was_written_of_a_field_counts(state):
    units(
        state,
        [[0, 1, b"a", 0b01, ["before"], 0, []]],
        [
            [0, 1, b"a", 0b01, ["one"], 0b10, ["new"]],
            [-1, 1, 1, [[1, "copied"]], None],
            [0, 1, b"b", 0b01, ["x"], 0, []],
        ],
        [[0, 2, b"a", 0b01, ["two"], 0, []], [1, 2, b"a", 0b01, ["of another entity"], 0, []]],
        [[0, 2, b"a", 0b01, ["after"], 0, []]],
    )
    written = OwnWrites(state, "shop", (1, 3))
    assert written.fields(0, b"a") == {0: "two", 1: "new"}
    assert written.fields(0, b"b") == {0: "x"}
    assert written.fields(1, b"a") == {0: "of another entity"}
    assert written.fields(0, b"c") == {}
    assert OwnWrites(state, "erp", (1, 3)).fields(0, b"a") == {}


def test_a_record_that_changed_often_is_kept_once(state, monkeypatch):
    monkeypatch.setattr(own_writes, "IN_MEMORY_WRITES", 3)
    units(state, [[0, 2, b"a", 0b11, [n, n], 0, []] for n in range(50)], [[0, 2, b"a", 0b01, ["last"], 0, []]])
    written = OwnWrites(state, "shop", (0, 2))
    assert written.fields(0, b"a") == {0: "last", 1: 49}
    assert written._spill is None

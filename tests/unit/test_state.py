"""The state database: one commit per step, an identity that stays, counts for status."""

from __future__ import annotations

import msgspec
import pytest

from cdcd import outbox
from cdcd.outbox import OutboxWriter
from cdcd.resolve.plan import Vocabulary
from cdcd.state import State


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state.db", durable=False)
    yield state
    state.close()


def test_a_new_state_knows_nothing_but_who_it_is(state):
    assert (state.position, state.units, state.vocabulary) == (0, 0, None)
    assert len(state.lineage) == 32


def test_the_lineage_stays_and_is_another_for_another_directory(state, tmp_path):
    again = State(tmp_path / "state.db", durable=False)
    other = State(tmp_path / "other.db", durable=False)
    assert again.lineage == state.lineage != other.lineage
    again.close()
    other.close()


def test_what_a_transaction_put_is_there_only_when_it_ends(state):
    def fails_midway():
        with state.transaction():
            state.put("position", 7)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_midway()
    assert state.position == 0
    with state.transaction():
        state.put("position", 7)
        state.put("units", 3)
        state.put("vocabulary", msgspec.msgpack.encode(Vocabulary(("erp",), ("order",), {"order": ("a",)}, ())))
    assert (state.position, state.units) == (7, 3)
    assert state.vocabulary == Vocabulary(("erp",), ("order",), {"order": ("a",)}, ())


def test_a_reader_in_another_process_sees_only_whole_steps(state, tmp_path):
    reader = State(tmp_path / "state.db", durable=False)
    with state.transaction():
        state.put("position", 9)
        assert reader.position == 0
    assert reader.position == 9
    reader.close()


def test_the_summary_counts_what_waits(state):
    with state.transaction() as connection:
        connection.execute("INSERT INTO phases (entity, phase) VALUES ('order', 'live'), ('product', 'seeding')")
        connection.execute("INSERT INTO held VALUES (1, x'01', 0, 5, 'value-refused', 'why', 0)")
        connection.execute(
            "INSERT INTO conflicts (entity, key, system, kind, seq, at_us) VALUES (1, x'01', 0, 'held', 5, 0)"
        )
        state.put("position", 12)
        writer = OutboxWriter(state)
        writer.add("shop", [1, 1, b"k", 0, [], 0, []], 5)
        writer.add("shop", [1, 1, b"l", 0, [], 0, []], 5)
        writer.end_unit()
        writer.add("erp", [1, 1, b"k", 0, [], 0, []], 5)
        writer.end_unit()
        writer.flush()
        state.put("units", writer.units)
    summary = state.summary()
    assert (summary.position, summary.conflicts, summary.held) == (12, 1, 1)
    assert summary.phases == {"order": "live", "product": "seeding"}
    writes = {name: outbox.waiting(state, name, 0)[0] for name in ("shop", "erp")}
    assert (state.units, writes) == (2, {"shop": 2, "erp": 1})
    assert outbox.waiting(state, "shop", 0)[1] > 0
    assert outbox.waiting(state, "shop", 1) == (0, 0)


def test_closing_twice_is_safe(tmp_path):
    state = State(tmp_path / "state.db", durable=False)
    state.close()
    state.close()

"""What waits in an outbox is told as if all of it had been counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdcd import outbox, outbox_backlog
from cdcd.outbox_backlog import OutboxBacklog, Waiting
from cdcd.state import State


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path / "state.db", durable=False)
    yield made
    made.close()


def add(state: State, through: int, *, more: bool = False, target: str = "shop") -> None:
    state.connection.execute(
        "INSERT INTO outbox (target, first_unit, through, more, writes, committed_at_us, body) VALUES (?,?,?,?,?,?,?)",
        (target, through, through, more, through % 3 + 1, 1000 + through, b"x" * (through % 7)),
    )


def counted(state: State, applied: int) -> Waiting:
    writes, size_bytes = outbox.waiting(state, "shop", applied)
    return Waiting(writes, size_bytes, outbox.oldest_waiting_us(state, "shop", applied))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "parts", "apply", "trim", "put back"]), st.integers(1, 9))))
def test_it_is_what_counting_all_of_it_gives(tmp_path_factory, monkeypatch, steps):
    monkeypatch.setattr(outbox_backlog, "MARK_ROWS", 3)
    state = State(tmp_path_factory.mktemp("state") / "state.db", durable=False)
    backlog = OutboxBacklog(state, "shop")
    unit = applied = 0
    for what, count in steps:
        if what == "add":
            for _ in range(count):
                unit += 1
                add(state, unit)
                add(state, unit, target="erp")
        elif what == "parts":
            unit += 1
            for part in range(count):
                add(state, unit, more=part < count - 1)
        elif what == "apply":
            applied = min(unit, applied + count)
        elif what == "put back":
            applied = max(0, applied - count)
        else:
            with state.transaction():
                outbox.trim(state, "shop", applied)
        assert backlog.look(applied) == counted(state, applied)
    state.close()


def test_rows_that_were_counted_are_not_looked_at_again(state):
    backlog = OutboxBacklog(state, "shop")
    with state.transaction():
        for unit in range(1, 2001):
            add(state, unit)
            backlog.look(0)
    assert backlog.look(0) == counted(state, 0)
    statements: list[str] = []
    state.connection.set_trace_callback(statements.append)
    assert backlog.look(1000).writes == outbox.waiting(state, "shop", 1000)[0]
    (looked_at,) = [line for line in statements if "id<=" in line]
    assert "id>768 AND id<=1024" in looked_at


def test_nothing_waits_in_an_empty_outbox(state):
    assert OutboxBacklog(state, "shop").look(0) == Waiting()

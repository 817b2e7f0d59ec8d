"""`wait` at the desk: answered when what resolve noted has been applied, or when the time is over."""

from typing import Any

import pytest

from cdcd import barriers
from cdcd.blueprint import Role
from cdcd.control import Answer
from cdcd.operations import RequestError
from cdcd.operations.barriers import Outcome
from cdcd.outbox import AppliedMark, OutboxWriter
from cdcd.pause_switches import of_system
from unit.operations.conftest import Bench


@pytest.fixture(autouse=True)
def _always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdcd.operations.barriers._LOOK_SECONDS", 0.0)


def begun(bench: Bench, **arguments: Any) -> tuple[Any, str]:
    """The answer that is not known yet, and the barrier's id."""
    pending = bench.handle("wait", **arguments)
    assert not isinstance(pending, Answer)
    return pending, next(name.split(":")[1] for name in bench.journal.controls() if name.startswith("barrier:"))


def outcome(answer: Answer | None) -> Outcome:
    assert answer is not None
    assert isinstance(answer.result, Outcome)
    return answer.result


def tell(bench: Bench, target: str, units: int) -> None:
    with bench.state.transaction():
        writer = OutboxWriter(bench.state)
        for number in range(units):
            writer.add(target, [1, 2, str(number).encode(), 1, [number], 0, []], 5)
            writer.end_unit()
        writer.flush()
        bench.state.put("units", writer.units)


def note(bench: Bench, barrier: str, *systems: str, unit: int = 0) -> None:
    with bench.state.transaction():
        for system in systems:
            barriers.note(bench.state, barrier, system, unit)


def test_it_is_passed_when_every_target_has_what_was_told_before_and_not_what_comes_later(bench: Bench):
    pending, barrier = begun(bench)
    assert {str(Role("capture", "erp")), str(Role("capture", "feed"))} <= bench.crew.rung
    assert pending() is None
    tell(bench, "erp", 2)
    tell(bench, "erp", 1)
    note(bench, barrier, "erp", "feed", unit=2)
    assert pending() is None
    mark = AppliedMark(bench.state.database.path.parent, "erp")
    mark.write(2)
    assert outcome(pending()).passed
    assert bench.journal.controls() == {}
    mark.close()


def test_a_target_that_is_told_nothing_before_the_barrier_keeps_nobody_waiting(bench: Bench):
    pending, barrier = begun(bench)
    note(bench, barrier, "erp", "feed", unit=7)
    assert outcome(pending()).missing == []


def test_when_the_time_is_over_it_says_who_lacks_what(bench: Bench):
    pending, barrier = begun(bench, timeout_seconds=0)
    bench.crew.states[Role("capture", "feed")] = "retrying"
    bench.journal.set_control(f"barrier:{barrier}:erp", "0/5")
    found = outcome(pending())
    assert not found.passed
    assert [(missing.system, missing.stage) for missing in found.missing] == [("erp", "capture"), ("feed", "capture")]
    assert "must be read up to 0/5" in found.missing[0].what
    assert "retrying" in found.missing[1].what
    assert bench.journal.controls() == {}


def test_a_paused_target_is_named(bench: Bench):
    pending, barrier = begun(bench, timeout_seconds=0)
    bench.journal.set_control(of_system("erp"), "1")
    tell(bench, "erp", 1)
    note(bench, barrier, "erp", "feed", unit=1)
    (missing,) = outcome(pending()).missing
    assert (missing.system, missing.stage) == ("erp", "deliver")
    assert missing.what == "unit 0 of 1 has arrived, delivery is paused"


def test_what_is_kept_back_is_said(bench: Bench):
    pending, barrier = begun(bench, system="feed")
    with bench.state.transaction() as connection:
        connection.execute("INSERT INTO phases (entity, phase) VALUES ('product', 'seeding')")
        connection.execute("INSERT INTO held VALUES (1, x'00', 0, 1, 'code', 'cause', 1)")
    note(bench, barrier, "feed")
    assert [(left.subject, left.why, left.records) for left in outcome(pending()).left] == [
        ("", "held", 1),
        ("product", "first-copy", 0),
    ]


def test_tables_that_are_still_being_copied_are_counted(bench: Bench):
    bench.journal.ensure_backfills("erp", ["item", "main.move"])
    pending, barrier = begun(bench, system="erp")
    note(bench, barrier, "erp")
    assert [(left.system, left.subject, left.why, left.records) for left in outcome(pending()).left] == [
        ("erp", "tables", "copying", 1)
    ]


def test_a_place_belongs_to_one_system_and_one_that_is_none_is_an_answer(bench: Bench):
    with pytest.raises(RequestError, match="belongs to one system's log"):
        bench.handle("wait", position="0/5")
    with pytest.raises(RequestError, match="unknown source 'epr'"):
        bench.handle("wait", system="epr")
    with pytest.raises(RequestError, match="number of seconds"):
        bench.handle("wait", timeout_seconds="long")
    pending, barrier = begun(bench, position="yesterday", system="erp")
    bench.journal.set_control(f"barrier:{barrier}:erp", "!a place reads 0/5")
    with pytest.raises(RequestError, match="no place in its log"):
        pending()
    assert bench.journal.controls() == {}

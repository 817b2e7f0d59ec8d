"""Delivery within a rate: batches are cut between units, nothing is written twice, nothing waits in a transaction."""

import time

import pytest

from cdcd.blueprint import Blueprint
from cdcd.config import Config, Daemon
from cdcd.model import Batch
from cdcd.stages.deliver import DeliverStage
from cdcd.state_directory import StateDirectory
from unit.deliver_line import Line, full, in_memory, line

__all__ = ["line"]


def batches(line: Line) -> list[tuple[int, Batch]]:
    return [(len(rows), batch) for rows, batch in line.target.batches]


@in_memory
def test_a_step_takes_as_many_whole_units_as_it_may_and_goes_on_behind_them(line: Line):
    line.units([full("a"), full("b")], [full("c"), full("d")], [full("e")])
    line.deliverer.rows_max = 3
    assert line.deliverer.step()
    line.deliverer.rows_max = 1
    assert line.deliverer.step()
    line.deliverer.rows_max = 5
    line.deliver()
    assert batches(line) == [(2, Batch(0, 1)), (2, Batch(1, 2)), (1, Batch(2, 3))]
    assert line.mark.read() == 3


@in_memory
def test_units_that_come_while_a_stored_row_is_half_done_are_not_missed(line: Line):
    line.units([full("a")], [full("b")])
    line.deliverer.rows_max = 1
    assert line.deliverer.step()
    line.units([full("c")])
    line.deliver()
    assert [size for size, _ in batches(line)] == [1, 1, 1]
    assert [row[0] for _, _, row in line.target.written] == ["a", "b", "c"]


@in_memory
def test_a_deliverer_that_is_started_anew_in_the_middle_of_a_stored_row_writes_nothing_again(line: Line):
    line.units([full("a")], [full("b")], [full("c")])
    line.deliverer.rows_max = 1
    line.deliverer.step()
    line.start()
    line.deliver()
    assert [row[0] for _, _, row in line.target.written] == ["a", "b", "c"]


def test_a_transaction_stays_whole_whatever_the_budget(line: Line):
    line.units([full(str(n)) for n in range(5)], [full("x")])
    line.deliverer.rows_max = 1
    assert line.deliverer.step()
    assert batches(line) == [(5, Batch(0, 1))]
    line.deliver()
    assert batches(line)[1:] == [(1, Batch(1, 2))]


@pytest.fixture
def stage(line: Line, monkeypatch: pytest.MonkeyPatch):
    """The stage around that deliverer, by a clock that the test moves."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    directory = StateDirectory(line.directory)
    limited = {"adapter": "memory", "rows-per-second": 10, "burst-rows": 4}
    config = Config(Daemon("acme", str(line.directory)), {"erp": {"adapter": "memory"}, "shop": limited})
    monkeypatch.setattr(Blueprint, "plan", lambda _self: line.plan)
    made = DeliverStage("shop", Blueprint("cdcd.toml", config, {}, {}, {}), directory)
    made._deliverer = line.deliverer
    made._retry_at = float("inf")
    clock[0] += 1
    yield made, clock
    made._deliverer = None
    for resource in (made._journal, made._state, made._parked, made._applied):
        resource.close()


@in_memory
def test_a_stage_waits_between_transactions_and_says_so(line: Line, stage):
    limited, clock = stage
    line.units(*[[full(str(n))] for n in range(7)])
    assert limited.step()
    assert batches(line) == [(4, Batch(0, 4))]
    assert limited.figures().limited_until_us == 0
    assert not limited.step()
    assert limited.wait_seconds() == pytest.approx(0.25)
    assert limited.figures().limited_until_us > 0
    assert limited.tick() == "running"
    clock[0] += 0.2
    assert not limited.step()
    clock[0] += 0.1
    assert limited.step()
    assert [size for size, _ in batches(line)] == [4, 3]


@in_memory
def test_retries_wait_for_the_budget_too(line: Line, stage, monkeypatch: pytest.MonkeyPatch):
    limited, clock = stage
    tried = []
    monkeypatch.setattr(line.deliverer, "retry_due", lambda: tried.append(1) or False)
    line.units([full(str(n)) for n in range(9)])
    limited.step()
    limited._retry_at = 0.0
    limited.tick()
    assert tried == []
    clock[0] += 10
    limited.tick()
    assert tried == [1]


@in_memory
def test_what_reports_on_the_way_take_over_is_paid_for_all_the_same(line: Line, stage):
    limited, clock = stage
    line.deliverer._pulse = limited.progress
    line.units([full(str(n)) for n in range(24)])
    limited.step()
    clock[0] += 1.9
    assert not limited.step()
    assert limited.wait_seconds() == pytest.approx(0.35)


def test_without_a_limit_a_step_takes_what_there_is(line: Line):
    assert line.deliverer.rows_max is None
    line.units([full("a")], [full("b")])
    line.deliver()
    assert [row[0] for _, _, row in line.target.written] == ["a", "b"]

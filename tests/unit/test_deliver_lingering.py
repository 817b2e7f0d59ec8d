"""deliver lets changes gather for a target that is behind, where they fold."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cdcd import lingering, outbox
from cdcd.blueprint import Blueprint
from cdcd.config import Config, Daemon
from cdcd.folding.fold import Folder
from cdcd.stages.deliver import DeliverStage
from cdcd.state_directory import StateDirectory
from unit.deliver_line import Line, full, update

HOT = [full("A"), *[update("A", str(number)) for number in range(7)]]


class Clock:
    """A stage around a deliverer, by a clock that the test moves."""

    def __init__(self, line: Line, stage: DeliverStage) -> None:
        self.line = line
        self.stage = stage
        self.now = 1000.0

    def batches(self) -> list[tuple[int, int]]:
        return [(batch.after, batch.through) for _, batch in self.line.target.batches]


def size_bytes_of_last(line: Line) -> int:
    return len(outbox.read(line.state, "shop", 0, 0)[-1].body)


@pytest.fixture
def line(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """Eight changes say whether a target is behind."""
    monkeypatch.setattr(lingering, "WORTH_CHANGES", 8)
    line = Line(tmp_path)
    yield line
    line.close()


@pytest.fixture
def clock(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    config = Config(Daemon("acme", str(line.directory)), {"erp": {"adapter": "memory"}, "shop": {"adapter": "memory"}})
    monkeypatch.setattr(Blueprint, "plan", lambda _self: line.plan)
    stage = DeliverStage("shop", Blueprint("cdcd.toml", config, {}, {}, {}), StateDirectory(line.directory))
    stage._deliverer = line.deliverer
    stage._retry_at = float("inf")
    clock = Clock(line, stage)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    yield clock
    stage._deliverer = None
    for resource in (stage._journal, stage._state, stage._parked, stage._applied):
        resource.close()


def test_what_arrives_while_a_batch_waits_goes_with_it(clock: Clock):
    clock.line.units(HOT)
    clock.stage.step()
    assert clock.batches() == [(0, 1)], "nothing is known of this target yet"
    clock.line.units([update("A", "x")])
    assert not clock.stage.step()
    assert 0 < clock.stage.wait_seconds() < 1
    clock.line.units([update("A", "y")])
    clock.now += clock.stage.wait_seconds()
    clock.stage.step()
    assert clock.batches() == [(0, 1)], "more has arrived"
    clock.now += clock.stage.wait_seconds()
    clock.stage.step()
    assert clock.batches() == [(0, 1), (1, 3)]


def test_after_a_batch_that_waited_and_was_small_the_next_goes_at_once(clock: Clock):
    clock.line.units(HOT)
    clock.stage.step()
    clock.line.units([update("A", "x")])
    clock.stage.step()
    clock.now += clock.stage.wait_seconds()
    clock.stage.step()
    clock.line.units([update("A", "y")])
    clock.stage.step()
    assert clock.batches() == [(0, 1), (1, 2), (2, 3)]


def test_a_step_that_leaves_nothing_is_the_last_until_the_bell_rings(clock: Clock):
    clock.line.units(HOT)
    assert not clock.stage.step()
    assert clock.batches() == [(0, 1)]
    assert clock.stage.wait_seconds() > 1


def test_a_step_that_leaves_something_is_followed_by_another(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    clock.line.units(HOT)
    monkeypatch.setattr(outbox, "READ_BYTES", size_bytes_of_last(clock.line))
    clock.line.units(HOT)
    assert clock.stage.step()
    assert clock.batches() == [(0, 1)]


def test_with_nothing_there_the_stage_waits_for_its_bell(clock: Clock):
    clock.line.units(HOT)
    clock.stage.step()
    assert not clock.stage.step()
    assert clock.stage.wait_seconds() > 1


def test_a_batch_that_is_full_does_not_wait(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    clock.line.units(HOT)
    clock.stage.step()
    for name in "abcdefgh":
        clock.line.units([update("A", name)])
    monkeypatch.setattr(outbox, "READ_BYTES", size_bytes_of_last(clock.line))
    assert clock.stage.step()
    assert clock.batches() == [(0, 1), (1, 1 + lingering.FOLDING_READS)]


def test_a_batch_that_may_still_wait_is_not_folded_ahead(line: Line, monkeypatch: pytest.MonkeyPatch):
    folds: list[list[int]] = []
    fold = Folder.fold

    def folding(folder, units, parked):
        folds.append([unit.number for unit in units])
        return fold(folder, units, parked)

    monkeypatch.setattr(Folder, "fold", folding)
    for items in (HOT, [update("A", "x")], [update("A", "y")]):
        line.units(items)
    monkeypatch.setattr(outbox, "READ_BYTES", size_bytes_of_last(line))
    line.deliverer.step()
    assert folds == [[1]]
    assert line.deliverer.linger_seconds() > 0
    line.deliverer.step()
    assert folds == [[1], [2, 3]]


def test_a_rate_limit_has_its_own_waiting(line: Line):
    line.units(HOT)
    line.deliverer.step()
    line.units([update("A", "x")])
    line.deliverer.rows_max = 100
    assert line.deliverer.linger_seconds() == 0


def test_what_is_written_apart_from_batches_says_nothing_of_them(line: Line):
    """A parked record that is tried again is one row, whatever the last batch was."""
    line.target.refuses = lambda _table, row: row[0] == "B"
    line.units([full(str(number)) for number in range(9)], [full("B")])
    line.deliver()
    assert len(line.parked) == 1
    line.target.refuses = lambda _table, _row: False
    line.parked.hurry([0])
    assert line.deliverer.retry_due()
    line.units([update("A", "x")])
    assert line.deliverer.linger_seconds() == 0

"""The stage around a deliverer does what operators want: also while delivery is paused, and at once when it is woken."""

from __future__ import annotations

import time

import pytest

from cdcd import pause_switches
from cdcd.blueprint import Blueprint
from cdcd.config import Config, Daemon
from cdcd.parking import wishes as parked_wishes
from cdcd.parking.wishes import Chosen, Wish
from cdcd.stages.deliver import DeliverStage
from cdcd.state_directory import StateDirectory
from unit import deliver_line
from unit.deliver_line import full, in_memory, subject

line = deliver_line.line
PAUSED = pause_switches.of_system("shop")


@pytest.fixture
def stage(line, monkeypatch):
    monkeypatch.setattr(Blueprint, "plan", lambda _self: line.plan)
    config = Config(Daemon("acme", str(line.directory)), {"erp": {"adapter": "memory"}, "shop": {"adapter": "memory"}})
    made = DeliverStage("shop", Blueprint("cdcd.toml", config, {}, {}, {}), StateDirectory(line.directory))
    made._parked.park([(subject("A"), None)], 1, "check", "why")
    opened = (made._journal, made._state, made._parked, made._applied)
    yield made
    for resource in opened:
        resource.close()


def wish(line, verb):
    path = StateDirectory(line.directory).deliver("shop")
    parked_wishes.put(path, Wish(verb, time.time_ns() // 1000, Chosen()))


@in_memory
def test_a_record_can_be_discarded_while_delivery_is_paused(line, stage):
    line.journal.set_control(PAUSED, "why")
    assert stage.open() == "paused"
    wish(line, "discard")
    stage._retry_at = 0.0
    assert stage.tick() == "paused"
    assert stage.figures().parked == 0


@in_memory
def test_who_cannot_reach_the_target_carries_out_wishes_before_he_tries(line, stage):
    wish(line, "discard")
    with pytest.raises(KeyError):  # there is no such system in this blueprint: the target cannot be opened
        stage.open()
    assert stage.figures().parked == 0


@in_memory
def test_a_woken_stage_asks_for_what_is_to_be_tried_and_rings_resolve_at_once(line, stage):
    line.deliverer.parked.park([(subject("A"), None)], 1, "check", "why")
    stage._deliverer, stage._parked = line.deliverer, line.deliverer.parked
    stage.tick()
    assert stage.news() == []
    parked_wishes.put(line.parked.database.path, Wish("retry", time.time_ns() // 1000, Chosen()))
    stage.woken()
    stage.tick()
    assert stage.wait_seconds() == 0.0
    assert stage.news() == ["resolve"]
    assert stage.news() == []
    assert [command.name for command in line.commands()] == ["retry"]


@in_memory
def test_a_stage_whose_bell_rings_all_the_time_looks_for_wishes_now_and_then(line, stage, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stage._deliverer, stage._retry_at = line.deliverer, float("inf")
    stage.woken()
    stage.tick()
    wish(line, "discard")
    stage.woken()
    stage.tick()
    assert stage.figures().parked == 1, "it was looked for a moment ago"
    now[0] += stage.wait_seconds()
    stage.tick()
    assert stage.figures().parked == 0
    assert stage.wait_seconds() > 1


@in_memory
def test_what_is_put_aside_rings_resolve_too(line, stage):
    stage._deliverer, stage._parked = line.deliverer, line.deliverer.parked
    line.journal.set_control(pause_switches.of_entity("shop", "product"), "why")
    stage.woken()
    line.units([full("B")])
    stage.step()
    assert stage.news() == ["resolve"]

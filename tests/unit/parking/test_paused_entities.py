"""What is on its way to an entity that is paused is put aside: owed first, then passed over; everything else flows."""

from __future__ import annotations

import pytest

from cdcd import pause_switches
from cdcd.journal import Command
from cdcd.model import Op
from cdcd.outbox import RecordWrite
from cdcd.parking import paused_entities
from cdcd.resolve.keys import encode_key
from cdcd.testing.faults import Crash
from unit import deliver_line
from unit.deliver_line import carriers, delete, full, in_memory, update

line = deliver_line.line

SWITCH = pause_switches.of_entity("shop", "product")


def key(sku):
    return encode_key([sku])


def owed(line):
    asked = [command.arguments["records"] for command in line.commands() if command.name == "owe"]
    return [[record[:2] for record in records] for records in asked]


def test_what_is_paused_is_owed_and_everything_else_flows(line):
    line.journal.set_control(SWITCH, "why")
    line.deliverer.look_at_switches()
    line.units([full("A"), carriers(Op.INSERT, [1, "c", None])], [update("B", "x")], [delete("C")])
    line.deliver()
    assert [table for table, _, _ in line.target.written] == ["carrier"]
    assert line.target.applied == 3
    assert sorted(record for part in owed(line) for record in part) == [[0, key("A")], [0, key("B")], [0, key("C")]]


def test_it_is_owed_before_the_checkpoint_moves(line):
    line.journal.set_control(SWITCH, "why")
    line.start()
    line.units([full("A")])
    line.target.errors = [Crash("before its commit")]
    with pytest.raises(Crash):
        line.deliver()
    assert line.target.applied == 0
    assert owed(line)[0] == [[0, key("A")]]


@in_memory
def test_many_are_owed_in_parts_and_each_once(line, monkeypatch):
    monkeypatch.setattr(paused_entities, "OWED_RECORDS", 2)
    line.journal.set_control(SWITCH, "why")
    line.deliverer.look_at_switches()
    line.units([full("A"), full("B")], [update("A", "x"), full("C")])
    line.deliver()
    assert owed(line) == [[[0, key("A")], [0, key("B")]], [[0, key("C")]]]
    assert line.deliverer.counts["put_aside"] == 3


@in_memory
def test_a_record_that_gets_another_key_is_owed_by_that(line):
    line.journal.set_control(SWITCH, "why")
    line.deliverer.look_at_switches()
    line.units([update("A", "x"), [0, int(RecordWrite.REKEY), key("B"), 0, ["A"], 0, []], update("B", "y")])
    line.deliver()
    assert owed(line) == [[[0, key("B")]]]


@in_memory
def test_nothing_that_is_paused_is_tried_again_and_all_of_it_when_it_is_so_no_more(line):
    line.target.refuses = lambda table, _row: table == "products"
    line.units([full("A")])
    line.deliver()
    line.journal.set_control(SWITCH, "why")
    line.deliverer.look_at_switches()
    line.parked.hurry()
    assert not line.deliverer.retry_due()
    assert line.deliverer.due_in_seconds() is None
    line.journal.set_control(SWITCH, None)
    assert line.deliverer.look_at_switches()
    assert line.deliverer.retry_due()
    assert line.commands()[-1] == Command("retry", {"system": "shop", "records": [[0, key("A")]]})


def test_a_record_that_was_to_be_deleted_is_owed_as_such_whatever_followed_under_its_key(line):
    line.journal.set_control(SWITCH, "why")
    line.deliverer.look_at_switches()
    line.units(
        [[0, int(RecordWrite.DELETE), key("B"), 0, [], 0, []], [0, int(RecordWrite.REKEY), key("B"), 0, ["A"], 0, []]]
    )
    line.deliver()
    owing = [record for command in line.commands() for record in command.arguments.get("records", ())]
    assert {(number, name) for number, name, _ in owing} == {(0, key("B"))}
    assert owing[0][2], "the first says so, whether or not what follows comes with it"

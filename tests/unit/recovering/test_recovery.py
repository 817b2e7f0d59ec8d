"""Words and judgements about targets and state that are not what they were."""

import pytest

from cdcd.journal import Command
from cdcd.recovering import recovery
from cdcd.recovering.recovery import Gap, Progress
from unit.deliver_line import Line, owe


@pytest.fixture
def line(tmp_path):
    line = Line(tmp_path)
    yield line
    line.close()


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"seq": "x"}'])
def test_what_a_target_keeps_that_we_do_not_understand_is_nothing(text):
    assert recovery.decode_progress(text) is None


def test_what_another_version_keeps_besides_does_not_matter():
    assert recovery.decode_progress('{"seq":4,"logs":{"erp":"p"},"new":1}') == Progress(4, 0, {"erp": "p"})


def test_a_target_is_unsettled_from_its_going_back_until_all_it_lacked_was_told(line):
    def unsettled():
        return recovery.unsettled(line.journal, line.state, "shop")

    assert unsettled() == ""
    recovery.put(line.journal, recovery.went_back("shop"), Gap(1, 3))
    assert "lacks what was delivered since" in unsettled()
    recovery.put(line.journal, recovery.went_back("shop"), None)
    recovery.accept(line.journal, "shop", 1)
    assert "not gone on yet" in unsettled()
    recovery.put(line.journal, recovery.accepted("shop"), None)
    line.journal.command(Command("rewind", {"system": "shop", "restored": True}))
    assert "still being told" in unsettled()
    owe(line, "shop", whole=True)
    with line.state.transaction():
        line.state.put("position", line.journal.last_seq())
    assert "still being told" in unsettled()
    with line.state.transaction() as connection:
        connection.execute("DELETE FROM owed")
    assert unsettled() == ""


def test_what_is_owed_by_a_schedule_leaves_a_target_settled(line):
    owe(line, "shop", whole=False)
    assert recovery.unsettled(line.journal, line.state, "shop") == ""


def test_moments_are_told_in_a_zone_that_is_named():
    assert recovery.moment(1_795_000_000_000_000) == "2026-11-18 11:06:40 UTC"
    assert recovery.moment(0) == "an unknown time"

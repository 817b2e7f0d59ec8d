"""Taking over a target: gone on from where it is, stopped with the way out where that is not where we left it."""

import pytest

from cdcd import outbox
from cdcd.errors import Fenced, NeedsOperator
from cdcd.recovering import recovery
from cdcd.recovering.recovery import Accepted, Adoption, Gap
from unit.deliver_line import Line, full, update


@pytest.fixture
def line(tmp_path):
    line = Line(tmp_path)
    yield line
    line.close()


def delivered(line, *skus, trimmed=0):
    """One unit for each, applied; the first ones are gone from the outbox."""
    for sku in skus:
        line.units([full(sku)])
    line.deliver()
    with line.state.transaction():
        outbox.trim(line.state, "shop", trimmed)


def stopped(line, code):
    with pytest.raises(NeedsOperator) as caught:
        line.start()
    assert caught.value.code == code
    return caught.value


def skus(line):
    return [row[0] for _, _, row in line.target.written]


# ---- went back -------------------------------------------------------------------------------------------------------


def test_a_target_that_went_back_is_told_again_what_is_still_in_the_outbox(line):
    delivered(line, "A", "B", "C", trimmed=1)
    line.target.applied = 1
    line.start()
    line.deliver()
    assert skus(line) == ["A", "B", "C", "B", "C"]


def test_a_target_that_lacks_more_than_the_outbox_holds_stops_and_says_since_when_and_what_to_do(line):
    delivered(line, "A", "B", "C", trimmed=2)
    progress = '{"seq":41,"at_us":1795000000000000,"logs":{"erp":"x"}}'
    line.target.applied, line.target.progress = 1, progress
    error = stopped(line, "target-went-back")
    assert "unit 1 (of 2026-11-18 11:06:40 UTC), from 3" in error.what
    assert "cdcd rewind shop --to seq:42" in error.remedy
    assert recovery.gap(line.journal, "shop") == Gap(1, 3, 41, 1_795_000_000_000_000)
    assert "restored from a backup" in recovery.unsettled(line.journal, line.state, "shop")


def test_a_gap_that_was_found_does_not_close_by_waiting(line):
    delivered(line, "A", "B", "C", trimmed=2)
    line.target.applied = 1
    for _ in range(2):
        stopped(line, "target-went-back")
    line.units([full("D")])
    stopped(line, "target-went-back")
    assert skus(line) == ["A", "B", "C"]


def test_a_checkpoint_whose_row_is_gone_asks_whether_the_tables_are_empty(line):
    delivered(line, "A", "B", trimmed=2)
    line.target.applied = line.target.epoch = 0
    line.target.progress = ""
    error = stopped(line, "target-went-back")
    assert "cdcd replay shop" in error.remedy
    assert "cdcd rewind shop --to seq:1" in error.remedy
    assert recovery.gap(line.journal, "shop") == Gap(0, 2)


def test_before_trimming_was_noted_what_was_applied_and_read_back_counts_as_gone(line):
    delivered(line, "A", "B", "C")
    with line.state.transaction() as connection:
        connection.execute("DELETE FROM outbox WHERE through <= 2")
        line.state.put("echoed:shop", 2)
    line.target.applied = 1
    stopped(line, "target-went-back")
    line.target.applied = 2
    line.start()
    line.deliver()
    assert skus(line)[3:] == ["C"]


def test_an_accepted_checkpoint_is_gone_on_from_once(line):
    delivered(line, "A", "B", "C", trimmed=2)
    line.target.applied = 1
    stopped(line, "target-went-back")
    recovery.accept(line.journal, "shop", 1)
    assert recovery.unsettled(line.journal, line.state, "shop") != ""
    line.start()
    assert line.mark.read() == 1
    assert not {recovery.went_back("shop"), recovery.accepted("shop")} & line.journal.controls().keys()
    assert recovery.unsettled(line.journal, line.state, "shop") == ""
    line.target.applied = 0
    stopped(line, "target-went-back")


def test_what_was_accepted_counts_for_that_checkpoint_alone(line):
    delivered(line, "A", "B", "C", trimmed=3)
    recovery.accept(line.journal, "shop", 1)
    line.target.applied = 2
    stopped(line, "target-went-back")


def test_an_accepted_checkpoint_can_pass_over_what_is_told_anew_later(line):
    delivered(line, "A", "B", trimmed=1)
    line.units([update("A", "old")])
    line.target.applied = 0
    recovery.accept(line.journal, "shop", 0, skip_through=3)
    line.start()
    line.units([full("A", "new")])
    line.deliver()
    assert (line.target.applied, skus(line)) == (4, ["A", "B", "A"])
    assert line.target.written[-1][2] == ["A", "new"]
    assert line.commands() == []


# ---- ahead, or somebody else's ---------------------------------------------------------------------------------------


def test_a_state_that_is_behind_stays_behind_however_far_its_numbers_grow(line):
    line.target.applied, line.target.epoch = 2, 7
    assert "cdcd recover" in stopped(line, "state-behind").remedy
    line.units([full("A")], [full("B")], [full("C")])
    stopped(line, "state-behind")
    assert skus(line) == []


def test_a_copy_of_the_state_directory_that_took_over_is_not_driven_out_again(line):
    delivered(line, "A")
    line.target.epoch += 1
    for _ in range(2):
        with pytest.raises(Fenced) as caught:
            line.start()
        assert (caught.value.code, line.target.epoch) == ("fenced", 2)
    assert "copy of this state directory" in caught.value.what


def test_a_crash_between_the_note_and_the_take_over_is_no_stranger(line):
    delivered(line, "A")
    recovery.put(line.journal, recovery.epoch("shop"), line.target.epoch + 1)
    line.start()
    line.start()


def test_a_lineage_that_is_adopted_goes_on_after_its_last_unit_though_resolve_has_not_come_there(line):
    line.target.applied, line.target.epoch, line.target.lineage = 9, 4, "lost"
    recovery.put(line.journal, recovery.adopted("shop"), Adoption("lost", 9))
    line.start()
    line.target.lineage = line.state.lineage
    line.start()
    assert recovery.adopted("shop") in line.journal.controls()
    with line.state.transaction():
        line.state.put("units", 9)
    line.units([full("A")])
    line.start()
    line.deliver()
    assert (line.target.applied, skus(line)) == (10, ["A"])
    assert recovery.adopted("shop") not in line.journal.controls()


def test_what_a_person_accepts_is_read_back(line):
    recovery.accept(line.journal, "shop", 5, 9)
    assert recovery.read(line.journal, recovery.accepted("shop"), Accepted) == Accepted(5, 9)

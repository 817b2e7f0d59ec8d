"""deliver: whole units with their checkpoint, refused records parked one by one, everything else flows."""

from __future__ import annotations

import pytest

from cdcd import outbox
from cdcd.errors import NeedsOperator, Refused, Unavailable
from cdcd.model import Batch, Op
from cdcd.parking.parked import parkings
from cdcd.resolve.keys import encode_key
from cdcd.testing.faults import Crash
from unit import deliver_line
from unit.deliver_line import carriers, delete, full, in_memory, subject, update

line, impatient = deliver_line.line, deliver_line.impatient


# ---- whole batches ---------------------------------------------------------------------------------------------


@in_memory
def test_what_waits_goes_in_one_transaction_with_the_checkpoint_at_its_last_unit(line):
    line.units([full("A"), full("B")], [update("A", "two")])
    line.deliver()
    assert line.target.batches == [
        ([("products", "UPSERT", ["A", "two"]), ("products", "UPSERT", ["B", "n"])], Batch(0, 2)),
    ]
    assert (line.deliverer.applied_unit, line.mark.read()) == (2, 2)
    assert dict(line.deliverer.counts) == {"transactions": 1, "waiting": 0}
    assert dict(line.deliverer.applied) == {(0, "upsert"): 2}


def test_nothing_waiting_is_nothing_to_do(line):
    assert not line.deliverer.step()
    assert line.target.tries == 0


def test_batches_follow_one_another_without_gap_or_overlap(line, monkeypatch):
    monkeypatch.setattr(outbox, "READ_BYTES", 1)
    for number in range(4):
        line.units([full(f"P{number}")])
    line.deliver()
    assert [batch for _, batch in line.target.batches] == [Batch(0, 1), Batch(1, 2), Batch(2, 3), Batch(3, 4)]


def test_a_unit_without_anything_for_our_tables_moves_the_checkpoint_alone(line):
    line.units([[99, 1, b"k", 0, [], 0, []]])
    line.deliver()
    assert line.target.batches == [([], Batch(0, 1))]


@in_memory
def test_a_unit_stored_in_many_rows_is_one_transaction(line, monkeypatch):
    monkeypatch.setattr(outbox, "PART_WRITES", 10)
    monkeypatch.setattr(outbox, "READ_BYTES", 1)
    line.units([full("A")], [full(f"P{n:02}") for n in range(35)], [full("Z")])
    line.deliver()
    assert [(len(rows), batch) for rows, batch in line.target.batches] == [(1, Batch(0, 1)), (36, Batch(1, 3))]


def test_deletes_are_tried_first_where_they_make_room(line):
    """B takes over a unique value of A: upsert before delete is refused, the other way round is not."""
    line.units([delete("A"), full("B")])
    line.target.errors = [Refused("duplicate value")]
    line.deliver()
    assert [kind for _, kind, _ in line.target.written] == ["DELETE", "UPSERT"]
    assert len(line.parked) == 0


# ---- restarts --------------------------------------------------------------------------------------------------


def test_delivery_goes_on_at_the_targets_checkpoint(line):
    line.units([full("A")])
    line.deliver()
    line.units([full("B")])
    line.start()
    line.deliver()
    assert [row for _, _, row in line.target.written] == [["A", "n"], ["B", "n"]]


@in_memory
def test_units_that_the_target_has_are_not_written_again_though_their_row_holds_newer_ones(line):
    """The first half of a refused batch was written before the process died."""
    line.units([full("A", "old")], [full("B")], [full("C")], [full("D")])
    line.target.refuses = lambda _table, row: row[0] == "D"
    line.target.errors_after = [Crash("after the first half")]
    with pytest.raises(Crash):
        line.deliver()
    assert line.target.applied == 2
    line.target.refuses = lambda _table, _row: False
    line.start()
    line.deliver()
    assert [(rows, batch) for rows, batch in line.target.batches][1:] == [
        ([("products", "UPSERT", ["C", "n"]), ("products", "UPSERT", ["D", "n"])], Batch(2, 4)),
    ]


def test_a_target_ahead_of_the_state_needs_the_operator(line):
    line.target.applied = 7
    with pytest.raises(NeedsOperator, match="applied unit 7, but the state directory knows only 0") as stopped:
        line.start()
    assert stopped.value.code == "state-behind"


def test_an_unavailable_target_passes_through_and_nothing_is_lost(line):
    line.units([full("A")], [full("B")])
    line.target.errors = [Unavailable("gone")]
    with pytest.raises(Unavailable):
        line.deliver()
    assert (line.deliverer.applied_unit, len(line.parked)) == (0, 0)
    line.start()
    line.deliver()
    assert len(line.target.written) == 2


def test_a_commit_whose_answer_was_lost_is_not_done_twice(line):
    line.units([full("A")])
    line.target.errors_after = [Unavailable("the answer was lost")]
    with pytest.raises(Unavailable):
        line.deliver()
    line.start()
    line.deliver()
    assert len(line.target.batches) == 1


def test_becoming_unavailable_while_a_refusal_is_narrowed_down_loses_nothing(line):
    line.units([full("A"), full("B"), full("C"), full("D")])
    line.target.refuses = lambda _table, row: row[0] == "B"
    line.target.errors = [None, None, Unavailable("gone")]
    with pytest.raises(Unavailable):
        line.deliver()
    here = {row[0] for _, _, row in line.target.written}
    there = {record.subject for record in line.parked.oldest()}
    assert line.target.applied in (0, 1)
    if line.target.applied == 1:
        assert {"A", "B", "C", "D"} == here | {s for s in "ABCD" if subject(s) in there}
    line.start()
    line.deliver()
    parked = {s for s in "ABCD" if subject(s) in line.parked}
    assert {row[0] for _, _, row in line.target.written} | parked == {"A", "B", "C", "D"}


# ---- refused ---------------------------------------------------------------------------------------------------


def test_a_refused_record_is_found_by_halving_and_parked_while_the_rest_flows(line):
    line.target.refuses = lambda _table, row: row[0] == "P5"
    line.units(*[[full(f"P{n}")] for n in range(8)])
    line.deliver()
    assert {row[0] for _, _, row in line.target.written} == {f"P{n}" for n in range(8)} - {"P5"}
    assert line.target.applied == 8
    ((record),) = line.parked.oldest()
    assert (record.subject, record.unit, record.attempts) == (subject("P5"), 6, 1)
    assert "a rule of its own" in record.cause
    assert line.target.tries < 12


def test_refused_records_of_one_unit_are_found_too(line):
    line.target.refuses = lambda _table, row: row[0] in ("P3", "P12")
    line.units([*[full(f"P{n}") for n in range(16)], carriers(Op.INSERT, [1, "c", None])])
    line.deliver()
    assert {r.subject for r in line.parked.oldest()} == {subject("P3"), subject("P12")}
    assert [r.attempts for r in line.parked.oldest()] == [1, 1]
    assert len(line.target.written) == 15


def test_all_parts_of_an_isolated_unit_say_that_they_carry_a_part_of_it_and_then_that_it_is_over(line):
    """Their echoes are judged by the mark: what one of them wrote is no change of the application's."""
    line.units([full("X")])
    line.deliver()
    line.target.refuses = lambda _table, row: row[0] == "B"
    line.units([full("A"), full("B"), full("C"), full("D")])
    line.deliver()
    *parts, (writes, end) = line.target.batches[1:]
    assert {batch for _, batch in parts} == {Batch(outbox.as_part(1), 2)}
    assert (list(writes), end) == ([], Batch(1, 2))


def test_records_of_a_refused_unit_are_durably_parked_before_its_first_part_is_written(line):
    line.target.refuses = lambda _table, row: row[0] == "A"
    line.target.errors_after = [Crash("after the first part that succeeds")]
    line.units([full("A"), full("B"), full("C"), full("D")])
    with pytest.raises(Crash):
        line.deliver()
    written = {row[0] for _, _, row in line.target.written}
    line.start()
    assert {s for s in "ABCD" if subject(s) not in line.parked} <= written


def test_the_checkpoint_moves_past_a_unit_of_which_everything_is_parked(line):
    line.target.refuses = lambda _table, _row: True
    line.units([full("A")], [full("B")])
    line.deliver()
    assert (line.target.applied, len(line.parked)) == (2, 2)
    assert [batch for _, batch in line.target.batches] == [Batch(0, 1), Batch(1, 2)]


def test_a_value_that_does_not_fit_parks_its_record_before_anything_is_tried(line):
    line.units([full("A", "much too long a title"), full("B")])
    line.deliver()
    assert line.target.tries == 1
    assert [(r.subject, r.code) for r in line.parked.oldest()] == [(subject("A"), "value-refused")]
    assert [row[0] for _, _, row in line.target.written] == ["B"]


def test_a_value_that_does_not_fit_counts_as_one_attempt_however_often_its_batch_is_halved(line):
    line.target.refuses = lambda _table, row: row[0] == "P7"
    line.units(*[[full(f"P{n}", "much too long a title" if n == 2 else "n")] for n in range(8)])
    line.deliver()
    assert {r.subject: r.attempts for r in line.parked.oldest()} == {subject("P2"): 1, subject("P7"): 1}


def test_a_later_update_waits_behind_its_parked_record_and_is_counted_once(line):
    line.target.refuses = lambda _table, row: row[0] in ("A", "C")
    line.units([full("A")])
    line.deliver()
    line.units([update("A", "two")], [full("B")], [full("C")])
    line.deliver()
    assert [row for _, _, row in line.target.written] == [["B", "n"]]
    assert {r.subject: r.waiting for r in line.parked.oldest()} == {subject("A"): 1, subject("C"): 0}


@pytest.mark.parametrize("item", [full("A", "whole"), delete("A")], ids=["FULL", "DELETE"])
def test_what_tells_the_whole_record_supersedes_what_is_parked(line, item):
    line.target.refuses = lambda _table, row: row[1:] == ["bad"]
    line.units([full("A", "bad")])
    line.deliver()
    assert subject("A") in line.parked
    line.units([item])
    line.deliver()
    assert len(line.parked) == 0


def test_which_units_were_parked_is_known_when_the_record_was_delivered_at_last(line):
    line.target.refuses = lambda _table, row: row[1:] == ["bad"]
    line.units([full("B")], [full("A", "bad")], [update("A", "bad")])
    line.deliver()
    line.units([update("A", "still")], [full("A")])
    line.deliver()
    past = parkings(line.parked.database.path, subject("A"))
    assert [(p.first_unit, p.last_unit) for p in past] in ([(2, 4)], [(2, 3)])
    assert parkings(line.parked.database.path, subject("B")) == []


def test_a_row_that_is_not_there_to_be_updated_parks_its_record(line):
    line.target.missing = {"A"}
    line.units([update("A", "x"), update("B", "y")])
    line.deliver()
    assert [(r.subject, r.code) for r in line.parked.oldest()] == [(subject("A"), "row-missing")]
    assert line.target.applied == 1


def test_no_message_of_a_parked_record_holds_a_value(line, caplog):
    line.units([full("A", "s3cret and too long")])
    line.deliver()
    assert "s3cret" not in line.parked.oldest()[0].cause + caplog.text
    assert "parked system=shop count=1 code=value-refused" in caplog.text


# ---- retries ---------------------------------------------------------------------------------------------------


def test_a_due_record_is_told_anew_by_resolve_which_is_asked_in_the_journal(line, impatient):
    line.target.refuses = lambda _table, _row: True
    line.units([full("A")])
    line.deliver()
    (command,) = line.commands()[:1]
    assert (command.name, command.arguments) == ("retry", {"system": "shop", "records": [[0, encode_key(["A"])]]})
    assert line.deliverer.retry_due()
    assert line.deliverer.due_in_seconds() == 0.0


def test_nothing_is_retried_before_its_time(line):
    line.target.refuses = lambda _table, _row: True
    line.units([full("A")])
    line.deliver()
    assert not line.deliverer.retry_due()
    assert line.commands() == []
    assert 5 < line.deliverer.due_in_seconds() <= 10


def test_without_parked_records_no_retry_is_due(line):
    assert not line.deliverer.retry_due()
    assert line.deliverer.due_in_seconds() is None


def test_closing_lets_go_of_the_target(line):
    line.deliverer.close()
    assert line.target.closed

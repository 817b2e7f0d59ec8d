"""Parked records: durable, retried with patience, counted, released."""

from __future__ import annotations

import pytest

from cdcd import parked as parked_module
from cdcd.parked import ParkedRecords

A, B = (1, b"a"), (1, b"b")


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def time_ns(self):
        return int(self.now * 1e9)

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(parked_module, "time", clock)
    return clock


@pytest.fixture
def parked(tmp_path, clock):
    parked = ParkedRecords(tmp_path / "parked.db", durable=False)
    yield parked
    parked.close()


def test_a_parked_record_is_known_also_after_a_restart(parked, tmp_path):
    parked.park([(A, None), (B, b"row")], 7, "refused", "why")
    again = ParkedRecords(tmp_path / "parked.db", durable=False)
    assert len(again) == 2
    assert A in again
    assert (1, b"c") not in again
    assert [(p.subject, p.unit, p.code, p.cause, p.row) for p in again.oldest()] == [
        (A, 7, "refused", "why", None),
        (B, 7, "refused", "why", b"row"),
    ]
    again.close()


def test_each_failure_doubles_the_wait_up_to_a_limit(parked, clock):
    waits = []
    for _ in range(9):
        parked.park([(A, None)], 1, "refused", "why")
        waits.append(parked.due_in_seconds())
    assert waits == pytest.approx([10, 20, 40, 80, 160, 320, 600, 600, 600])


def test_a_record_may_fail_for_years(parked):
    parked.park([(A, None)], 1, "refused", "why")
    with parked.database.transaction() as connection:
        connection.execute("UPDATE parked SET attempts = 100000")
    parked.park([(A, None)], 1, "refused", "why")
    assert parked.due_in_seconds() == pytest.approx(600)


def test_one_attempt_counts_once_however_often_its_reason_is_narrowed_down(parked):
    parked.park([(A, None), (B, None)], 1, "refused", "one of these")
    parked.park([(A, None)], 1, "refused", "this one", same_attempt={A, B})
    assert [(p.subject, p.attempts, p.cause) for p in parked.oldest()] == [(A, 1, "this one"), (B, 1, "one of these")]
    assert parked.due_in_seconds() == pytest.approx(10)


def test_a_record_keeps_its_age_and_its_row_when_it_fails_again(parked, clock):
    parked.park([(A, b"row")], 1, "refused", "why")
    clock.now += 50
    parked.park([(A, None)], 2, "refused", "why not")
    (record,) = parked.oldest()
    assert (record.since_us, record.attempts, record.unit, record.row) == (int((clock.now - 50) * 1e6), 2, 2, b"row")


def test_a_due_record_is_given_out_once_until_its_next_turn(parked, clock):
    parked.park([(A, None)], 1, "refused", "why")
    assert parked.due() == []
    clock.now += 10
    assert [p.subject for p in parked.due()] == [A]
    assert parked.due() == []
    clock.now += 600
    assert [p.subject for p in parked.due()] == [A], "its retry was lost: it is tried again"


def test_the_longest_due_come_first_and_at_most_as_many_as_asked(parked, clock):
    for number in range(5):
        parked.park([((1, bytes([number])), None)], 1, "refused", "why")
        clock.now += 1
    clock.now += 10
    assert [p.subject[1][0] for p in parked.due(limit=2)] == [0, 1]
    assert [p.subject[1][0] for p in parked.due()] == [2, 3, 4]


def test_a_released_record_is_gone_and_others_may_be_named_with_it(parked, tmp_path):
    parked.park([(A, None)], 1, "refused", "why")
    parked.release([A, B])
    assert len(parked) == 0
    again = ParkedRecords(tmp_path / "parked.db", durable=False)
    assert A not in again
    again.close()


def test_changes_that_wait_behind_are_counted(parked):
    parked.park([(A, None)], 1, "refused", "why")
    parked.wait_behind([A, A])
    parked.wait_behind([])
    assert parked.oldest()[0].waiting == 2


def test_the_kept_row_of_a_copy_can_be_asked_for(parked):
    parked.park([(A, b"row"), (B, None)], 1, "refused", "why")
    assert (parked.row(A), parked.row(B), parked.row((1, b"c"))) == (b"row", None, None)


def test_nothing_parked_is_due_never(parked):
    assert parked.due_in_seconds() is None
    assert parked.due() == []

"""Parked records: durable, retried with patience, counted, released."""

from __future__ import annotations

import pytest

from cdcd.parking import parked as parked_module
from cdcd.parking.parked import ParkedRecords, Parking, parkings

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


def due(parked, limit=500):
    """What a deliverer that tries them takes."""
    found = parked.due(limit)
    parked.put_off(found)
    return found


def test_a_deliverer_that_dies_before_it_has_asked_for_a_try_asks_again(parked, clock):
    parked.park([(A, None)], 1, "refused", "why")
    clock.now += 10
    assert parked.due() == parked.due() != []


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
        parked.next_attempt()
        parked.park([(A, None)], 1, "refused", "why")
        waits.append(parked.due_in_seconds())
    assert waits == pytest.approx([10, 20, 40, 80, 160, 320, 600, 600, 600])


def test_what_was_parked_while_the_clock_was_ahead_does_not_wait_until_it_is_there_again(parked, clock):
    clock.now += 3600
    parked.park([(A, None)], 1, "refused", "why")
    clock.now -= 3600
    assert parked.due_in_seconds() == 0.0
    assert [one.subject for one in due(parked)] == [A]
    assert due(parked) == []
    assert parked.due_in_seconds() == parked_module.RETRY_LAST_SECONDS


def test_a_record_may_fail_for_years(parked):
    parked.park([(A, None)], 1, "refused", "why")
    with parked.database.transaction() as connection:
        connection.execute("UPDATE parked SET attempts = 100000")
    parked.next_attempt()
    parked.park([(A, None)], 1, "refused", "why")
    assert parked.due_in_seconds() == pytest.approx(600)


def test_one_attempt_counts_once_however_often_its_reason_is_narrowed_down(parked):
    parked.park([(A, None), (B, None)], 1, "refused", "one of these")
    parked.park([(A, None)], 1, "refused", "this one")
    assert [(p.subject, p.attempts, p.cause) for p in parked.oldest()] == [(A, 1, "this one"), (B, 1, "one of these")]
    assert parked.due_in_seconds() == pytest.approx(10)


def test_a_record_keeps_its_age_and_its_row_when_it_fails_again(parked, clock):
    parked.park([(A, b"row")], 1, "refused", "why")
    clock.now += 50
    parked.next_attempt()
    parked.park([(A, None)], 2, "refused", "why not")
    (record,) = parked.oldest()
    assert (record.since_us, record.attempts, record.unit, record.row) == (int((clock.now - 50) * 1e6), 2, 2, b"row")


def test_a_due_record_is_given_out_once_until_its_next_turn(parked, clock):
    parked.park([(A, None)], 1, "refused", "why")
    assert due(parked) == []
    clock.now += 10
    assert [p.subject for p in due(parked)] == [A]
    assert due(parked) == []
    clock.now += 600
    assert [p.subject for p in due(parked)] == [A], "its retry was lost: it is tried again"


def test_the_longest_due_come_first_and_at_most_as_many_as_asked(parked, clock):
    for number in range(5):
        parked.park([((1, bytes([number])), None)], 1, "refused", "why")
        clock.now += 1
    clock.now += 10
    assert [p.subject[1][0] for p in due(parked, limit=2)] == [0, 1]
    assert [p.subject[1][0] for p in due(parked)] == [2, 3, 4]


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


@pytest.mark.parametrize("known_max", [0, 3, 100])
def test_it_is_the_same_however_many_are_known_by_heart(parked, tmp_path, monkeypatch, known_max):
    monkeypatch.setattr(parked_module, "KNOWN_MAX", known_max)
    subjects = [(1, bytes([number])) for number in range(8)]
    parked.park([(subject, b"row") for subject in subjects], 1, "refused", "why")
    parked.park([(subject, None) for subject in subjects[:4]], 1, "refused", "why")
    assert (len(parked), subjects[7] in parked, (2, b"") in parked, parked.row(subjects[1])) == (8, True, False, b"row")
    again = ParkedRecords(tmp_path / "parked.db", durable=False)
    assert (len(again), subjects[7] in again, (2, b"") in again) == (8, True, False)
    again.close()
    parked.release(iter([*subjects[2:], (2, b"")]))
    assert (len(parked), subjects[0] in parked, subjects[7] in parked) == (2, True, False)
    parked.release(subjects)
    assert len(parked) == 0


def test_everything_of_a_copy_can_be_released_at_once(parked):
    parked.park([((-1, b"a"), b"row"), ((-1, b"b"), b"row"), ((-2, b"a"), b"row")], 1, "refused", "why")
    parked.release_all(-1)
    assert (len(parked), (-1, b"a") in parked, (-2, b"a") in parked) == (1, False, True)


def test_as_many_are_given_out_as_are_a_few_mib(parked, clock):
    parked.park([((-1, bytes([number])), bytes(2**20)) for number in range(12)], 1, "refused", "why")
    clock.now += 10
    assert [len(due(parked)) for _ in range(3)] == [5, 5, 2]


def test_how_a_record_was_parked_is_remembered_after_it_is_delivered(parked, tmp_path):
    path = tmp_path / "parked.db"
    assert parkings(tmp_path / "none.db", A) == []
    parked.park([(A, None), (B, None)], 7, "refused", "why", first_unit=5)
    parked.next_attempt()
    parked.park([(A, None)], 9, "refused", "worse", first_unit=8)
    assert parkings(path, A) == [Parking(5, None, "refused", "worse", 1_000_000_000_000)]
    parked.release([A], 9)
    parked.park([(A, None)], 12, "refused", "again")
    assert [(p.first_unit, p.last_unit, p.cause) for p in parkings(path, A)] == [(5, 9, "worse"), (12, None, "again")]
    assert [(p.first_unit, p.last_unit) for p in parkings(path, B)] == [(5, None)]


def test_a_record_that_was_parked_and_delivered_by_the_same_unit_never_was(parked, tmp_path):
    parked.park([(A, None), ((-1, b"a"), b"row")], 7, "refused", "why")
    parked.release([A, (-1, b"a")], 6)
    assert parkings(tmp_path / "parked.db", A) == parkings(tmp_path / "parked.db", (-1, b"a")) == []


def test_only_so_many_past_parkings_are_remembered(parked, tmp_path, monkeypatch):
    monkeypatch.setattr(parked_module, "PAST_MAX", 3)
    for number in range(10):
        parked.park([(A, None)], number, "refused", "why")
        parked.release([A], number)
    assert [p.first_unit for p in parkings(tmp_path / "parked.db", A)] == [7, 8, 9]


def test_nothing_parked_is_due_never(parked):
    assert parked.due_in_seconds() is None
    assert due(parked) == []

"""What operators want with parked records: written down, carried out once, about what was parked when they asked."""

from __future__ import annotations

import time

import pytest

from cdcd.parking import wishes as parked_wishes
from cdcd.parking.parked import ParkedRecords, Parking, parkings
from cdcd.parking.wishes import DISCARDED, Chosen, Wish

A, B, C, ROW = (1, b"a"), (1, b"b"), (2, b"c"), (-1, b"r")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deliver-shop.db"


@pytest.fixture
def parked(path):
    parked = ParkedRecords(path, durable=False)
    parked.park([(A, None), (B, None), (C, None)], 7, "check", "why")
    parked.park([(ROW, b"row")], 7, "value-refused", "why not")
    yield parked
    parked.close()


def wish(verb, *subjects, numbers=None, code=None, at_us=None, **more):
    chosen = Chosen(list(subjects) or None, numbers, code)
    return Wish(verb, time.time_ns() // 1000 if at_us is None else at_us, chosen, **more)


def carried_out(parked, path, *wishes):
    for one in wishes:
        parked_wishes.put(path, one)
    return parked_wishes.carry_out(parked, 9)


def test_a_wish_survives_until_it_is_carried_out_and_is_carried_out_once(parked, path):
    parked_wishes.put(path, wish("discard", A))
    parked.close()
    again = ParkedRecords(path, durable=False)
    assert parked_wishes.is_open(again.database.connection)
    assert parked_wishes.carry_out(again, 9) == 1
    assert parked_wishes.carry_out(again, 9) == 0
    assert (A in again, B in again, len(again)) == (False, True, 3)
    again.close()


@pytest.mark.parametrize(
    ("chosen", "due"),
    [
        ({"numbers": [1]}, {A, B}),
        ({"code": "value-refused"}, {ROW}),
        ({"numbers": [-1], "code": "check"}, set()),
        ({}, {A, B, C, ROW}),
    ],
)
def test_a_retry_makes_due_what_was_chosen(parked, path, chosen, due):
    carried_out(parked, path, wish("retry", **chosen))
    assert {one.subject for one in parked.due()} == due


def test_single_records_are_chosen_by_name_however_many(parked, path, monkeypatch):
    monkeypatch.setattr(parked_wishes, "_PART_KEYS", 1)
    carried_out(parked, path, wish("retry", A, C))
    assert {one.subject for one in parked.due()} == {A, C}


def test_what_is_discarded_is_remembered_for_its_history(parked, path):
    carried_out(parked, path, wish("discard", A))
    (parking,) = parkings(path, A)
    assert (parking.first_unit, parking.last_unit, parking.code, parking.cause) == (7, 9, DISCARDED, "check: why")
    assert isinstance(parking, Parking)


def test_what_was_parked_after_the_wish_was_not_meant(parked, path):
    before_us = parked.oldest()[0].since_us - 1
    carried_out(parked, path, wish("discard", at_us=before_us))
    assert len(parked) == 4


def test_what_was_parked_while_the_clock_was_ahead_was_parked_before_the_wish(parked, path):
    ahead_us = parked.oldest()[0].since_us + 3_600_000_000
    with parked.database.transaction() as connection:
        connection.execute("UPDATE parked SET since_us = ?", (ahead_us,))
    carried_out(parked, path, wish("retry"))
    assert {one.subject for one in parked.due()} == {A, B, C, ROW}


def test_an_edited_row_takes_the_place_of_what_was_seen_and_that_is_kept(parked, path):
    carried_out(parked, path, wish("edit", ROW, row=b"better", seen=b"row"))
    assert parked.row(ROW) == b"better"
    assert [one.subject for one in parked.due()] == [ROW]
    kept = parked.database.connection.execute("SELECT row, what FROM originals").fetchall()
    assert kept == [(b"row", "edited")]


def test_a_row_that_has_changed_since_is_not_edited(parked, path):
    carried_out(parked, path, wish("edit", ROW, row=b"better", seen=b"older"))
    assert parked.row(ROW) == b"row"
    assert parked.due() == []


def test_a_discarded_row_of_a_plain_copy_is_kept_as_it_was(parked, path):
    carried_out(parked, path, wish("discard", ROW))
    assert ROW not in parked
    assert parked.database.connection.execute("SELECT row, what FROM originals").fetchall() == [(b"row", "discarded")]

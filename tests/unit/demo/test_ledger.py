"""The ledger, and that a transaction which lost a lock leaves nothing in it."""

from collections import deque
from random import Random
from typing import ClassVar

import pytest

from demo.activity import Activity
from demo.desk import Desk
from demo.ledger import Ledger
from demo.records import empty_books


class LostLockError(Exception):
    pass


class FakeConnection:
    def __init__(self):
        self.ends = []

    def commit(self):
        self.ends.append("commit")

    def rollback(self):
        self.ends.append("rollback")

    def close(self):
        self.ends.append("close")


class Accepting:
    """Statements that always find their record."""

    insert = update = delete = staticmethod(lambda *_where, **_fields: True)


class Clerk(Desk):
    side = "erp"
    weights: ClassVar = {"do": 1}

    def __init__(self, ledger, action):
        super().__init__(Accepting(), ledger, Random(1))
        self._action = action

    def open(self):
        self._connection = FakeConnection()

    def lost_a_lock(self, error):
        return isinstance(error, LostLockError)

    def do(self):
        return self._action(self)


@pytest.fixture
def ledger():
    books = empty_books()
    books["product"] = {"A": {"price": 1, "stock": 1}, "B": {"price": 2, "stock": 2}}
    return Ledger(books)


def play_once(ledger, action):
    """Let an activity act once, then be stopped by its own action."""
    feed = deque()

    def once(clerk):
        activity.stop()
        return action(clerk)

    activity = Activity(Clerk(ledger, once), Random(1), 1000.0, feed)
    activity.start()
    activity.join()
    return activity, feed


def test_what_was_written_by_right_is_in_the_ledger(ledger):
    def action(clerk):
        clerk._set("product", "A", price=5)
        clerk._add("product", "C", {"price": 3, "stock": 0})
        clerk._remove("product", "B")
        return clerk._commit("done")

    activity, feed = play_once(ledger, action)
    assert activity.failure is None
    assert ledger.books()["product"] == {"A": {"price": 5, "stock": 1}, "C": {"price": 3, "stock": 0}}
    assert [event.text for event in feed] == ["done"]
    assert activity._business._connection.ends == ["commit", "close"]


def test_a_transaction_that_loses_a_lock_half_way_leaves_nothing(ledger):
    def action(clerk):
        clerk._set("product", "A", price=5)
        raise LostLockError

    activity, feed = play_once(ledger, action)
    assert (activity.failure, activity.lock_conflicts, len(feed)) == (None, 1, 0)
    assert ledger.get("product", "A") == {"price": 1, "stock": 1}
    assert activity._business._notes == []


def test_a_transaction_that_finds_nothing_to_do_leaves_nothing(ledger):
    def action(clerk):
        clerk._set("product", "A", price=5)

    activity, feed = play_once(ledger, action)
    assert activity._business._connection.ends == ["rollback", "close"]
    assert ledger.get("product", "A")["price"] == 1
    assert not feed


def test_what_was_written_without_the_right_to_is_counted_and_not_in_the_ledger(ledger):
    def action(clerk):
        clerk._wrongly_set("product", "A", price=0)
        clerk._set("product", "A", stock=7)
        return clerk._commit_wrong("steals")

    play_once(ledger, action)
    assert ledger.get("product", "A") == {"price": 1, "stock": 7}
    assert ledger.attempts == {"erp": 1}


def test_an_error_that_is_no_lost_lock_ends_the_activity_and_is_kept(ledger):
    activity, _ = play_once(ledger, lambda _clerk: 1 / 0)
    assert isinstance(activity.failure, ZeroDivisionError)


def test_a_write_to_a_record_that_the_other_side_deleted_is_nothing(ledger):
    ledger.delete("product", "A")
    ledger.write("product", "A", price=9)
    assert list(ledger.books()["product"]) == ["B"]
    assert {ledger.pick("product", Random(n)) for n in range(20)} == {"B"}


def test_an_orders_lines_are_found_by_number(ledger):
    ledger.create("order_line", ("O-1", 1), {"price": 1})
    ledger.create("order_line", ("O-1", 3), {"price": 3})
    ledger.create("order_line", ("O-2", 1), {"price": 9})
    assert ledger.lines("O-1") == {1: {"price": 1}, 3: {"price": 3}}


def test_nobody_can_change_the_ledger_through_what_it_hands_out(ledger):
    ledger.get("product", "A")["price"] = 99
    ledger.books()["product"]["A"]["price"] = 99
    assert ledger.get("product", "A")["price"] == 1

"""The verdict itself: each kind of loss and each kind of duplicate is seen, and a right outcome is right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from faults.verdict import Row, Side, Verdict, compare

RECORDS: dict[str, dict[Any, Row]] = {
    "item": {"P1": ("P1", "n", 3, 3, 1, "text", 4), "BARRIER": ("BARRIER", "b", 1, 0, 1, None, 0)},
    "partner": {"E1": ("E1", 0, "n", 1, 1), "S1": ("S1", 1, "n", 0, None)},
    "order": {"O2": ("O2", "new", 1, "first", 0, None)},
    "line": {("O2", 1): ("O2", 1, "P1", 1)},
    "movement": {1: (1, "P1", 9)},
    "visit": {1: (1, "P1", -5)},
}


def sides() -> tuple[Side, Side]:
    """Both sides in step; order O1 was made and deleted."""
    erp = Side(copy.deepcopy(RECORDS), {}, {"partner": 1, "item": 0}, {"order": {"O1"}}, [], 10)
    shop = Side(copy.deepcopy(RECORDS), {}, {"partner": 1, "order": 2}, {}, [], 20)
    return erp, shop


def test_sides_that_are_in_step_are_right() -> None:
    verdict = compare(*sides())
    assert verdict.right
    assert verdict.transactions == 30


def an_older_version_at_the_shop(erp: Side, shop: Side) -> None:
    shop.records["item"]["P1"] = ("P1", "n", 2, 2, 1, "text", 4)


def a_row_that_is_missing_at_the_shop(erp: Side, shop: Side) -> None:
    del shop.records["movement"][1]


def a_row_that_is_missing_at_the_erp(erp: Side, shop: Side) -> None:
    del erp.records["visit"][1]


def an_order_that_is_nowhere_any_more(erp: Side, shop: Side) -> None:
    for side in (erp, shop):
        del side.records["order"]["O2"]
        del side.records["line"]["O2", 1]


def a_version_that_went_back(erp: Side, shop: Side) -> None:
    shop.regressions.append(("sales_order", "O2"))


def a_difference_that_nobody_added(erp: Side, shop: Side) -> None:
    for side in (erp, shop):
        side.records["item"]["P1"] = ("P1", "n", 3, 3, 1, "text", 3)


def a_record_that_is_at_the_shop_alone(erp: Side, shop: Side) -> None:
    shop.records["item"]["X1"] = ("X1", "passing", 0, 0, 0, None, 0)


def a_deleted_order_that_is_there_again(erp: Side, shop: Side) -> None:
    for side in (erp, shop):
        side.records["order"]["O1"] = ("O1", "shipped", 1, "first", 1, "T")


def a_row_that_is_there_twice(erp: Side, shop: Side) -> None:
    shop.doubled["line"] = [("O2", 1)]


def a_difference_that_was_added_twice(erp: Side, shop: Side) -> None:
    for side in (erp, shop):
        side.records["item"]["P1"] = ("P1", "n", 3, 3, 1, "text", 13)


LOST = (
    an_older_version_at_the_shop,
    a_row_that_is_missing_at_the_shop,
    a_row_that_is_missing_at_the_erp,
    an_order_that_is_nowhere_any_more,
    a_version_that_went_back,
    a_difference_that_nobody_added,
)
DUPLICATED = (
    a_record_that_is_at_the_shop_alone,
    a_deleted_order_that_is_there_again,
    a_row_that_is_there_twice,
    a_difference_that_was_added_twice,
)


def judged(harm: Callable[[Side, Side], None]) -> Verdict:
    erp, shop = sides()
    harm(erp, shop)
    return compare(erp, shop)


@pytest.mark.parametrize("harm", LOST, ids=lambda harm: harm.__name__)
def test_what_is_lost_is_seen(harm: Callable[[Side, Side], None]) -> None:
    assert judged(harm).lost


@pytest.mark.parametrize("harm", DUPLICATED, ids=lambda harm: harm.__name__)
def test_what_came_twice_is_seen(harm: Callable[[Side, Side], None]) -> None:
    assert judged(harm).duplicated

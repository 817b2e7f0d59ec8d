"""The verdict finds a difference wherever one is planted, also where both sides are wrong in the same way."""

from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from demo.comparison import compare, same
from demo.opening import Opening
from demo.records import KINDS, OWNERS

TRUTH = Opening(Random(7), 60).truth()
FIELDS = [(kind, field) for kind in KINDS for field in OWNERS[kind]]


def another(value):
    """A value of the same type that is not the same."""
    if value is None:
        return "something"
    if isinstance(value, str):
        return '{"other": 1}' if value.startswith("{") else value + " "
    if isinstance(value, date):  # and datetime
        return value + timedelta(days=1)
    return (not value) if isinstance(value, bool) else value + 1


def planted(books, kind, field):
    books = deepcopy(books)
    key = next(iter(books[kind]))
    books[kind][key][field] = another(books[kind][key][field])
    return books


def test_two_sides_that_equal_the_ledger_are_in_step():
    verdict = compare(TRUTH, deepcopy(TRUTH), deepcopy(TRUTH))
    assert verdict.in_step
    assert verdict.field_count == sum(len(TRUTH[kind]) * len(OWNERS[kind]) for kind in KINDS)


@pytest.mark.parametrize(("kind", "field"), FIELDS)
@pytest.mark.parametrize("side", ["erp", "shop", "both"])
def test_a_difference_in_any_field_on_any_side_is_found(kind, field, side):
    wrong = planted(TRUTH, kind, field)
    verdict = compare(TRUTH, wrong if side != "shop" else TRUTH, wrong if side != "erp" else TRUTH)
    sides = {"erp": ["erp"], "shop": ["shop"], "both": ["erp", "shop"]}[side]
    assert [(d.kind, d.field, d.side) for d in verdict.differences] == [(kind, field, s) for s in sides]
    assert not verdict.in_step
    assert all(d.owner in {"erp", "shop"} and f"{field} is" in str(d) for d in verdict.differences)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_record_and_one_too_many_are_found_on_either_side(kind):
    less, more = deepcopy(TRUTH), deepcopy(TRUTH)
    key, record = less[kind].popitem()
    more[kind]["too many"] = record
    found = [(d.kind, d.key, d.side, d.found) for d in compare(TRUTH, less, more).differences]
    assert found == [(kind, key, "erp", "missing"), (kind, "too many", "shop", "a record")]


def test_databases_without_a_record_are_not_in_step():
    nothing = {kind: {} for kind in KINDS}
    assert not compare(nothing, nothing, nothing).in_step


def test_an_order_names_the_owner_that_its_status_makes():
    status = {"new": "shop", "paid": "shop", "picking": "erp", "shipped": "erp", "cancelled": "erp"}
    for key, record in TRUTH["order"].items():
        wrong = deepcopy(TRUTH)
        wrong["order"][key]["total"] += 1
        (difference,) = compare(TRUTH, wrong, TRUTH).differences
        assert difference.owner == status[record["status"]]


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("description", None, ""),
        ("description", "a", "A"),
        ("description", "a\n", "a\r\n"),
        ("newsletter", True, 1),
        ("stock", 1, Decimal(1)),
        ("total", Decimal("1.00"), Decimal("1.01")),
        ("shipped_at", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("attributes", '{"a": 1}', '{"a": 2}'),
        ("attributes", "{}", None),
    ],
)
def test_values_that_look_alike_are_not_the_same(field, one, other):
    assert not same(field, one, other)
    assert not same(field, other, one)


def test_numbers_are_compared_by_value_and_json_by_content():
    assert same("total", Decimal("1.00"), Decimal("1.0000"))
    assert same("attributes", '{"a": [1], "b": "é"}', '{"b":"\\u00e9","a":[1]}')

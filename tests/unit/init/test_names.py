"""Names are compared by their words, as a person would."""

from __future__ import annotations

import pytest

from cdcd.init import names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SalesOrder_lines", ("sale", "order", "line")),
        ("party_addresses", ("party", "address")),
        ("categories", ("category",)),
        ("status", ("status",)),
        ("iso3166a2", ("iso", "3166", "a", "2")),
        ("HTMLBody", ("html", "body")),
    ],
)
def test_a_name_is_its_words_in_the_singular(name: str, expected: tuple[str, ...]):
    assert names.words(name) == expected


def alike(one: str, other: str) -> float:
    return names.similarity(names.words(one), names.words(other))


def test_names_that_say_the_same_are_more_alike_than_names_that_do_not():
    assert alike("sales_order", "orders") > 0.7 > alike("sales_order", "products")
    assert alike("list_price", "price_cents") >= 0.7 > alike("list_price", "quantity")
    assert alike("partner", "customers") >= 0.8
    assert alike("status_code", "state") >= 0.65
    assert alike("create_uid", "customer_id") < 0.5
    assert alike("", "x") == 0.0


def test_a_prefix_that_all_tables_of_an_application_have_says_nothing():
    found = names.without_prefix(["wp_posts", "wp_postmeta", "wp_users", "wp_terms", "wp_options"])
    assert found["wp_posts"] == ("post",)
    assert names.without_prefix(["sale_order", "sale_line"])["sale_line"] == ("sale", "line")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("list_price", "price_cents", "price"),
        ("ordered_at", "placed_at", "placed_at"),
        ("code", "sku", "sku"),
        ("name", "title", "name"),
        ("unit_price", "unit_cents", "unit_price"),
        ("attributes", "attributes", "attributes"),
        ("partner", "customers", "customer"),
    ],
)
def test_two_names_have_a_plain_one_for_both(one: str, other: str, expected: str):
    assert names.common_name(one, other) == expected

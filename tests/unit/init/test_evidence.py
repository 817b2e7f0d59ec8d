"""What values say: half of many different ones is proof, nine tenths of a flag is not."""

from __future__ import annotations

from typing import Any

from cdcd.init.evidence import Relation, relate
from cdcd.values import parse_type


def related(one: str, other: str, *pairs: tuple[Any, Any]) -> Relation | None:
    return relate((parse_type(one), parse_type(other)), pairs)


def kind(one: str, other: str, *pairs: tuple[Any, Any]) -> str | None:
    found = related(one, other, *pairs)
    return None if found is None else found.kind


def test_equal_things_of_different_types_are_equal():
    assert kind("decimal(12,2)", "decimal", ("1.50", "1.5"), ("2.00", "2"), ("9.10", "9.1")) == "equal"
    assert kind("boolean", "integer(-128,127)", (True, 1), (False, 0), (True, 1)) == "equal"
    assert kind("text(5,padded)", "text", ("a", "a"), ("b", "b"), ("c", "c")) == "equal"
    assert kind("json", "json", ('{"a": 1}', '{"a":1.0}'), ('{"b":2}', '{"b": 2}'), ("[3]", "[3]")) == "equal"


def test_half_of_many_different_texts_is_proof_of_the_same_field():
    pairs = [(f"name {n}", f"name {n}" if n % 2 else "other") for n in range(20)]
    found = related("text", "text", *pairs)
    assert found is not None
    assert (found.kind, found.agreeing, found.compared, found.distinct) == ("equal", 10, 20, 10)


def test_a_flag_that_is_nearly_always_set_agrees_by_chance():
    pairs = [(True, 1)] * 18 + [(False, 1), (True, 0)]
    assert kind("boolean", "integer(0,1)", *pairs) is None


def test_cents_are_a_hundred_times_the_price_on_whichever_side():
    prices = [("12.34", 1234), ("5.00", 500), ("0.99", 99), ("7.10", 700), (None, 5)]
    found = related("decimal(12,2)", "integer", *prices)
    assert found is not None
    assert (found.kind, found.scale, found.scaled_side, found.agreeing, found.compared) == ("scale", 100, 1, 3, 4)
    turned = related("integer", "decimal(12,2)", *((b, a) for a, b in prices))
    assert turned is not None
    assert turned.scaled_side == 0


def test_a_wall_clock_is_found_by_summer_and_winter():
    pairs = [
        ("2026-01-10 11:00:00Z", "2026-01-10 12:00:00"),
        ("2026-07-10 10:00:00Z", "2026-07-10 12:00:00"),
        ("2026-03-01 23:30:00Z", "2026-03-02 00:30:00"),
    ]
    found = related("instant", "datetime", *pairs)
    assert found is not None
    assert (found.kind, found.zone) == ("time-zone", "Europe/Berlin")


def test_status_codes_are_mapped_to_the_words_of_the_other_side():
    pairs = [("open", 10), ("paid", 20), ("done", 40)] * 4 + [("open", 20)]
    found = related("text", "integer", *pairs)
    assert found is not None
    assert found.maps == (
        {"open": "open", "paid": "paid", "done": "done"},
        {"10": "open", "20": "paid", "40": "done"},
    )
    assert found.agreeing == 12


def test_letters_are_mapped_to_a_boolean():
    found = related("text(1)", "boolean", *[("Y", True), ("N", False)] * 5)
    assert found is not None
    assert found.maps == ({"Y": "true", "N": "false"}, {"true": "true", "false": "false"})


def test_columns_with_many_values_are_never_mapped_because_values_would_be_written_down():
    assert kind("text", "text", *[(f"a{n}", f"b{n}") for n in range(13)] * 3) is None
    assert kind("text", "text", *[("Mr. Müller, Hamburg\n", "x"), ("y", "z")] * 5) is None


def test_one_value_alone_says_nothing():
    assert kind("text", "integer", *[("open", 10)] * 30) is None
    assert kind("text", "text", ("a", "a")) is None
    assert relate((parse_type("text"), parse_type("text")), []) is None

"""Types as they are written, and what is wrong with those that cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.values import KINDS, ValueRefused, ValueType, parse_type


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("integer", ValueType("integer")),
        ("integer(0,255)", ValueType("integer", ("0", "255"))),
        (" integer ( -5 , 5 ) ", ValueType("integer", ("-5", "5"))),
        ("decimal(12,4)", ValueType("decimal", ("12", "4"))),
        ("decimal(3,-2)", ValueType("decimal", ("3", "-2"))),
        ("enum(new, in stock,ü)", ValueType("enum", ("new", "in stock", "ü"))),
        ("ref(customer)", ValueType("ref", ("customer",))),
        ("native(character varying[])", ValueType("native", ("character varying[]",))),
        ("text()", ValueType("text")),
    ],
)
def test_a_type_is_its_kind_and_its_arguments(spec, parsed):
    assert parse_type(spec) == parsed


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("varchar(10)", "unknown type"),
        ("", "unknown type"),
        ("text(10", "unknown type"),
        ("text(ten)", "takes numbers"),
        ("decimal(12)", "precision and scale"),
        ("decimal(12,4,1)", "precision and scale"),
        ("enum", "needs its members"),
        ("ref", "names one entity"),
        ("ref(a,b)", "names one entity"),
    ],
)
def test_a_type_that_cannot_be_is_refused_with_the_rule(spec, rule):
    with pytest.raises(ValueError, match=rule):
        parse_type(spec)


def test_the_message_offers_the_types_there_are_but_not_the_uninterpreted_one():
    with pytest.raises(ValueError, match="boolean, bytes, date") as error:
        parse_type("money")
    assert "native" not in str(error.value)


@given(
    kind=st.sampled_from(sorted(KINDS - {"enum", "ref", "decimal", "time", "datetime", "instant"})),
    bounds=st.sampled_from([0, 2]).flatmap(lambda size: st.lists(st.integers(), min_size=size, max_size=size)),
)
def test_a_type_is_written_as_it_is_read(kind, bounds):
    spec = f"{kind}({','.join(map(str, bounds))})" if bounds else kind
    assert str(parse_type(spec)) == spec


@pytest.mark.parametrize(
    "spec",
    [
        "date(0001,9999)",
        "time(6,-838,838)",
        "datetime(6)",
        "instant(6,1970-01-01 00:00:01,2038-01-19 03:14:07)",
        "float(24,finite)",
        "text(10,padded)",
        "text(raw)",
        "json(double)",
        "native(numeric(10, 2)[])",
    ],
)
def test_a_type_with_limits_is_written_as_it_is_read(spec):
    assert str(parse_type(spec)) == spec


@pytest.mark.parametrize("spec", ["date(0001)", "datetime(6,0001)", "time(6,0,24,1)", "float(finite,wide)"])
def test_half_a_limit_is_none(spec):
    with pytest.raises(ValueError, match=r"first and a last|takes numbers"):
        parse_type(spec)


def test_a_limit_that_is_a_word_is_no_number():
    assert parse_type("text(raw)").number(0) is None
    assert parse_type("text(raw)").has("raw")


def test_arguments_are_numbers_where_they_are_stated():
    assert parse_type("integer(0,255)").number(1) == 255
    assert parse_type("integer").number(0) is None


def test_a_refused_value_has_a_code_of_its_own():
    assert ValueRefused("it does not fit").code == "value-refused"

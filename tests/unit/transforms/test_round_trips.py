"""Field, column, field: the same value, or refused, or told apart; whatever the transforms, alone and in chains."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdcd.config_columns import Column, Join, Round, Split, Transform, UnfitValue
from cdcd.conversions import stand_in_test, to_column, to_field
from cdcd.model import ABSENT
from cdcd.numeric import strip_zeros
from cdcd.transforms.groups import from_minor_units, joined, parted, to_minor_units, whole
from cdcd.transforms.texts import token
from cdcd.values import ValueRefused, parse_type

T = Transform
TRICKY = st.sampled_from(
    ["", " ", "a", "A", "ab ", "ß", "İ", "ŉ", "e\u0301", "ﬁ", "\u212b", "x" * 30, "n/a", "SHOP-1", "1", "-", "a b c"]
)
TEXT = TRICKY | st.text(max_size=12)
DECIMAL = st.integers().map(str) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=6
).map(lambda number: strip_zeros(f"{number:f}"))
DAYS = st.dates().map(str)
MOMENTS = st.integers(31_536_000, 253_402_300_799).map(
    lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z"
)

NUMBERS = [
    T(scale=100),
    T(scale=3),
    T(unit="0.001"),
    T(unit="0.3048"),
    T(unit="1000"),
    *[T(round=Round(2, mode)) for mode in ("half-even", "half-up", "half-down", "up", "down", "ceiling", "floor")],
    T(round=Round(0)),
    T(nulls=["0"]),
]
TEXTS = [
    T(trim=True),
    T(case="lower"),
    T(case="upper"),
    T(normalise="NFC"),
    T(normalise="NFKC"),
    T(truncate=5),
    T(template="SHOP-{}"),
    T(template="{}!"),
    T(nulls=["", "n/a"]),
    T(null_means="a"),
    T(map={"1": "a", "2": "ab "}),
    T(map={"1": "a", "2": "a", "3": ""}, write={"a": "2"}),
    T(map={"1": "a"}, default="x", write={"x": "9"}),
    T(map={"1": "a"}, default="x", write_default="9"),
    T(map={"1": "a"}, map_null="A", write={"ß": "1"}),
]
UNFIT = st.sampled_from(["park", "null"])
COLUMNS = st.sampled_from(["text", "text(10)", "text(5,padded)"])


def comes_back(column_type: str, field: str, column: Column, value: object) -> None:
    """Whatever a field's value becomes in the column, it is understood and is taken for no change."""
    kinds = parse_type(column_type), parse_type(field)
    try:
        outward, inward = to_column(kinds[1], kinds[0], column), to_field(*kinds, column)
    except ValueError:
        return  # told at load: they do not fit
    try:
        written = outward.of(value)
    except ValueRefused:
        return
    came = inward.of(written)
    stands_in = stand_in_test(kinds[1], kinds[0], column)
    assert came == value or (stands_in is not None and stands_in(came, value))
    assert stands_in is None or not stands_in(value, value)
    assert stands_in is None or not stands_in(came, ABSENT)


def is_quiet(column_type: str, field: str, column: Column, shown: object) -> None:
    """What a column shows is, as a field's value, written in a way that shows the same again."""
    kinds = parse_type(column_type), parse_type(field)
    try:
        inward = to_field(*kinds, column)
        value = inward.of(shown)
    except (ValueError, ValueRefused):
        return
    comes_back(column_type, field, column, value)


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4),
    COLUMNS,
    st.sampled_from(["text", "text(8)"]),
    TEXT | st.none(),
    UNFIT,
)
@example([T(trim=True), T(nulls=[""])], "text", "text", " ", "park")
@example([T(case="lower"), T(template="SHOP-{}"), T(nulls=[""])], "text", "text", None, "park")
def test_texts_come_back_are_refused_or_told_apart(steps, column_type, field, value, unfit):
    column = Column("c", steps=steps, unfit=unfit)
    if field == "text" or value is None or len(value) <= 8:
        comes_back(column_type, field, column, value)
    is_quiet(column_type, field, column, value)


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=4),
    st.sampled_from(["integer", "integer(-9999,9999)", "decimal", "decimal(12,2)", "decimal(3,0)", "text", "float"]),
    st.sampled_from(["decimal(12,4)", "decimal(6,2)", "decimal", "integer"]),
    DECIMAL | st.none(),
    UNFIT,
)
@example([T(round=Round(2))], "decimal(6,2)", "decimal(6,2)", "9999.99", "park")
@example([T(round=Round(0))], "decimal(12,2)", "decimal(6,2)", "9999.99", "park")
def test_numbers_come_back_are_refused_or_told_apart(steps, column_type, field, value, unfit):
    column = Column("c", steps=steps, unfit=unfit)
    try:
        fit = to_field(parse_type("decimal"), parse_type(field), None).of(value)
    except ValueRefused:
        return
    comes_back(column_type, field, column, fit)


@given(st.sampled_from(["%d.%m.%Y", "%Y%m%d", "%d/%m/%Y (%%)"]), DAYS)
def test_dates_as_text_come_back(form, value):
    comes_back("text(20)", "date", Column("c", format=form), value)
    assert (
        to_field(parse_type("text"), parse_type("date"), Column("c", format=form)).of(
            to_column(parse_type("date"), parse_type("text"), Column("c", format=form)).of(value)
        )
        == value
    )


@given(
    st.sampled_from(["%d.%m.%Y %H:%M:%S.%f", "%Y-%m-%dT%H:%M", "%Y%m%d%H%M%S"]),
    st.sampled_from(["refuse", "earlier", "later"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]),
    MOMENTS,
)
def test_moments_as_text_of_a_zone_come_back_are_refused_or_told_apart(form, doubled, zone, moment):
    column = Column("c", steps=[T(format=form), T(time_zone=zone, doubled_hour=doubled)])
    try:
        comes_back("text", "instant", column, moment)
    except ValueRefused:
        assert doubled == "refuse", "the hour that a zone has twice is written, and held where it is read again"


@given(DECIMAL)
def test_numbers_with_a_comma_come_back(value):
    fit = to_field(parse_type("decimal"), parse_type("decimal"), None).of(value)
    assert (
        to_field(parse_type("text"), parse_type("decimal"), Column("c", decimal_mark=",")).of(
            to_column(parse_type("decimal"), parse_type("text"), Column("c", decimal_mark=",")).of(fit)
        )
        == fit
    )


@given(
    st.sampled_from(["first", "last"]),
    st.sampled_from(["null", "empty"]),
    st.integers(2, 3),
    st.text(alphabet="ab ", max_size=9),
)
def test_a_text_in_several_columns_comes_back_or_is_refused(at, missing, count, text):
    spec = Join([f"c{n}" for n in range(count)], " ", at, missing)
    try:
        parts = parted(spec)(text)
    except ValueRefused:
        return
    assert joined(spec)(parts) == text
    assert (None in parts) <= (missing == "null")


@given(
    st.sampled_from(["first", "last"]),
    st.none() | st.text(alphabet="ab ", max_size=5),
    st.none() | st.text(alphabet="ab ", max_size=5),
)
def test_two_fields_in_one_column_come_back_or_are_refused(at, one, other):
    before, after = Split(" ", f"before-{at}"), Split(" ", f"after-{at}")
    try:
        text = whole(before, after)(one, other)
    except ValueRefused:
        return
    assert text is None or (token(before)(text), token(after)(text)) == (one, other)
    assert text is not None or (one, other) == (None, None)


@given(DECIMAL, st.sampled_from(["EUR", "JPY", "KWD", "UYW", "ZZZ", None]))
def test_an_amount_in_smallest_units_comes_back_or_is_refused(value, currency):
    field, column = parse_type("decimal(18,4)"), parse_type("integer")
    try:
        fit = to_field(parse_type("decimal"), field, None).of(value)
        written = to_minor_units(field, column)(fit, currency)
    except ValueRefused:
        return
    assert from_minor_units(column, field)(written, currency) == fit


@pytest.mark.parametrize("step", TEXTS, ids=repr)
def test_a_policy_for_what_does_not_fit_stands_beside_each_transform(step):
    column = Column("c", steps=[step], unfit=UnfitValue("a"))
    for value in ("", "a", "x" * 30, " b ", None, "SHOP-a"):
        comes_back("text(10)", "text", column, value)

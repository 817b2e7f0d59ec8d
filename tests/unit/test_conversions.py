"""Every conversion is exact or refused; what goes into a record comes out of it as it was."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd import type_pairs
from cdcd.config_columns import Column, UnfitValue
from cdcd.conversions import (
    between,
    column_to_column,
    stand_in_test,
    to_column,
    to_field,
)
from cdcd.json_content import canonical_json
from cdcd.model import ABSENT
from cdcd.values import ValueRefused, parse_type

REFUSED = object()
"""Stands in the table for a value that has no exact form in the target type."""

CASES = {
    ("boolean", "boolean"): [(True, True)],
    ("boolean", "integer(0,1)"): [(True, 1), (False, 0)],
    ("integer", "boolean"): [(1, True), (0, False), (2, REFUSED), (-1, REFUSED)],
    ("integer", "integer"): [(2**64 - 1, 2**64 - 1)],
    ("integer", "integer(0,255)"): [(0, 0), (255, 255), (256, REFUSED), (-1, REFUSED)],
    ("integer", "decimal"): [(-12, "-12"), (0, "0")],
    ("integer", "decimal(5,2)"): [(999, "999.00"), (-5, "-5.00"), (0, "0.00"), (1000, REFUSED)],
    ("integer", "text"): [(-7, "-7")],
    ("integer", "text(2)"): [(99, "99"), (100, REFUSED), (-10, REFUSED)],
    ("integer", "float"): [(2**53, 2.0**53), (2**53 + 1, REFUSED), (-(2**53) - 1, REFUSED), (2**60, 2.0**60)],
    ("decimal", "decimal"): [("1.5", "1.5")],
    ("decimal", "decimal(5,2)"): [
        ("1.5", "1.50"),
        ("-0.5", "-0.50"),
        ("1.500", "1.50"),
        ("1.505", REFUSED),
        ("999.99", "999.99"),
        ("1000", REFUSED),
        ("-0", "0.00"),
        ("-0.00", "0.00"),
        ("NaN", REFUSED),
        ("Infinity", REFUSED),
    ],
    ("decimal(12,4)", "decimal"): [("12.3400", "12.34"), ("100.0000", "100"), ("0.0000", "0"), ("-0.0000", "0")],
    ("decimal(12,4)", "decimal(12,0)"): [("12.0000", "12"), ("12.5000", REFUSED)],
    ("decimal(12,4)", "decimal(2,4)"): [("0.0012", "0.0012"), ("0.0120", REFUSED)],
    ("decimal", "decimal(3,-2)"): [
        ("12300", "12300"),
        ("0", "0"),
        ("12350", REFUSED),
        ("123400", REFUSED),
        ("0.5", REFUSED),
    ],
    ("decimal(12,2)", "integer"): [("5.00", 5), ("-5.00", -5), ("5.50", REFUSED)],
    ("decimal", "integer"): [
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", REFUSED),
        ("9" * 5000, REFUSED),
    ],
    ("decimal", "integer(0,10)"): [("10", 10), ("11", REFUSED)],
    ("decimal(12,2)", "text"): [("5.00", "5.00")],
    ("decimal", "float"): [("0.5", 0.5), ("0.1", 0.1), ("0.10000000000000000001", REFUSED), ("1" + "0" * 400, REFUSED)],
    ("float", "float"): [(0.1, 0.1)],
    ("float", "decimal"): [
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (-0.0, "0"),
        (float("nan"), REFUSED),
        (float("inf"), REFUSED),
    ],
    ("float", "decimal(12,2)"): [(12.5, "12.50"), (0.125, REFUSED), (1e300, REFUSED)],
    ("text", "text"): [("x" * 1000, "x" * 1000)],
    ("text", "text(3)"): [("日本語", "日本語"), ("日本語!", REFUSED), ("", "")],
    ("text(3)", "text(4)"): [("abc", "abc")],
    ("text", "enum(new,paid)"): [("paid", "paid"), ("Paid", REFUSED), ("", REFUSED)],
    ("text", "integer"): [
        ("-12", -12),
        ("0", 0),
        ("007", REFUSED),
        ("1.0", REFUSED),
        ("-0", REFUSED),
        ("٣", REFUSED),
        (" 1", REFUSED),
        ("9" * 5000, REFUSED),
        ("18446744073709551616", REFUSED),
    ],
    ("text", "decimal"): [("1.10", "1.1"), ("1e3", REFUSED), ("1.", REFUSED), (".5", REFUSED), ("1٣", REFUSED)],
    ("text", "decimal(5,2)"): [("1.1", "1.10"), ("1.111", REFUSED)],
    ("text", "uuid"): [
        ("0b1c2d3e-0000-4000-8000-000000000000", "0b1c2d3e-0000-4000-8000-000000000000"),
        ("0B1C2D3E-0000-4000-8000-000000000000", REFUSED),
        ("0b1c2d3e", REFUSED),
    ],
    ("text", "json"): [('{"b": 1, "a": 2}', '{"a":2,"b":1}'), ("{", REFUSED)],
    ("text", "date"): [("2026-11-21", "2026-11-21"), ("21.11.2026", REFUSED), ("2026-11-21 ", REFUSED)],
    ("text", "time"): [("-101:00:00.5", "-101:00:00.5"), ("10:00", REFUSED), ("10:00:00.50", REFUSED)],
    ("text", "time(1)"): [("10:00:00.5", "10:00:00.5"), ("10:00:00.55", REFUSED)],
    ("text", "datetime"): [("2026-11-21 10:00:00", "2026-11-21 10:00:00"), ("2026-11-21T10:00:00", REFUSED)],
    ("text", "datetime(0)"): [("2026-11-21 10:00:00.1", REFUSED)],
    ("text", "instant"): [("2026-11-21 10:00:00Z", "2026-11-21 10:00:00Z"), ("2026-11-21 10:00:00", REFUSED)],
    ("text", "instant(3)"): [
        ("2026-11-21 10:00:00.123Z", "2026-11-21 10:00:00.123Z"),
        ("2026-11-21 10:00:00.1234Z", REFUSED),
    ],
    ("enum(a,b)", "enum(b,a,c)"): [("a", "a")],
    ("enum(a,b)", "enum(a)"): [("a", "a"), ("b", REFUSED)],
    ("enum(a,bb)", "text(1)"): [("a", "a"), ("bb", REFUSED)],
    ("bytes", "bytes(2)"): [(b"ab", b"ab"), (b"abc", REFUSED)],
    ("uuid", "uuid"): [("0b1c2d3e-0000-4000-8000-000000000000", "0b1c2d3e-0000-4000-8000-000000000000")],
    ("uuid", "text(36)"): [("0b1c2d3e-0000-4000-8000-000000000000", "0b1c2d3e-0000-4000-8000-000000000000")],
    ("uuid", "text(32)"): [("0b1c2d3e-0000-4000-8000-000000000000", REFUSED)],
    ("json", "json"): [('{"a":1}', '{"a":1}')],
    ("json", "text(5)"): [("[1,2]", "[1,2]"), ("[1,23]", REFUSED)],
    ("json(double)", "json"): [("1.5", "1.5")],
    ("json", "json(double)"): [
        ('{"a":[1.1,-0.0,1e2,18446744073709551615]}', '{"a":[1.1,-0.0,1e2,18446744073709551615]}'),
        ("[18446744073709551617]", REFUSED),
        ('{"a":0.12345678901234567890}', REFUSED),
        ("1e400", REFUSED),
        ("9" * 400, REFUSED),
        ("{", REFUSED),
    ],
    ("text(4,padded)", "text(4)"): [("ab", "ab")],
    ("text", "text(4,padded)"): [("ab", "ab"), ("ab ", REFUSED), ("abcde", REFUSED)],
    ("text(9,raw)", "text"): [("ab", "ab"), (b"\x81", REFUSED)],
    ("text(9,raw)", "integer"): [("12", 12), (b"\x81", REFUSED)],
    ("float", "float(24)"): [
        (0.1, 0.1),
        (1e38, 1e38),
        (float("inf"), float("inf")),
        (0.123456789, REFUSED),
        (16777217.0, REFUSED),
        (1e39, REFUSED),
        (1e-46, REFUSED),
    ],
    ("float(24)", "float"): [(0.1, 0.1)],
    ("float", "float(53,finite)"): [(0.1, 0.1), (float("nan"), REFUSED), (float("-inf"), REFUSED)],
    ("float(24,finite)", "float(24)"): [(0.1, 0.1)],
    ("integer", "float(24)"): [(16777216, 16777216.0), (16777217, REFUSED)],
    ("decimal", "float(24)"): [("0.1", 0.1), ("0.1234567890", REFUSED), ("NaN", REFUSED)],
    ("decimal", "decimal(65,30)"): [("NaN", REFUSED), ("Infinity", REFUSED), ("9" * 36, REFUSED)],
    ("date", "date"): [("2026-11-21", "2026-11-21"), ("infinity", "infinity"), ("0044-03-15 BC", "0044-03-15 BC")],
    ("date", "date(0001,9999)"): [
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31"),
        ("10000-01-01", REFUSED),
        ("0044-03-15 BC", REFUSED),
        ("infinity", REFUSED),
    ],
    ("date(0001,9999)", "date"): [("2024-02-29", "2024-02-29"), ("0000-00-00", REFUSED), ("2026-02-30", REFUSED)],
    ("date(0001,9999)", "date(0001,9999)"): [("0000-00-00", "0000-00-00")],
    ("datetime(6)", "datetime(6,0001,9999)"): [
        ("9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"),
        ("-infinity", REFUSED),
        ("0044-03-15 10:00:00 BC", REFUSED),
        ("10000-01-01 00:00:00", REFUSED),
    ],
    ("instant(6)", "instant(6,1970-01-01 00:00:01,2038-01-19 03:14:07)"): [
        ("1970-01-01 00:00:01Z", "1970-01-01 00:00:01Z"),
        ("2038-01-19 03:14:07.9Z", "2038-01-19 03:14:07.9Z"),
        ("1970-01-01 00:00:00Z", REFUSED),
        ("2038-01-19 03:14:08Z", REFUSED),
        ("infinity", REFUSED),
    ],
    ("instant(0,1970,2038)", "instant"): [("0000-00-00 00:00:00Z", REFUSED)],
    ("date", "datetime(6,0001,9999)"): [("infinity", REFUSED), ("0044-03-15 BC", REFUSED)],
    ("time(6,-838,838)", "time(6,0,24)"): [
        ("24:00:00", "24:00:00"),
        ("24:00:00.1", REFUSED),
        ("25:00:00", REFUSED),
        ("-00:00:01", REFUSED),
    ],
    ("time", "time(6,-838,838)"): [("-838:59:59", "-838:59:59"), ("839:00:00", REFUSED), ("-839:00:00", REFUSED)],
    ("date", "date(1000,9999)"): [("0999-12-31", REFUSED)],
    ("date", "text"): [("2026-11-21", "2026-11-21")],
    ("date", "datetime"): [("2026-11-21", "2026-11-21 00:00:00")],
    ("datetime", "date"): [
        ("2026-11-21 00:00:00", "2026-11-21"),
        ("2026-11-21 00:00:01", REFUSED),
        ("2026-11-21 00:00:00.5", REFUSED),
    ],
    ("datetime", "datetime(3)"): [
        ("2026-11-21 10:00:00.123", "2026-11-21 10:00:00.123"),
        ("2026-11-21 10:00:00.1234", REFUSED),
    ],
    ("datetime(6)", "text"): [("2026-11-21 10:00:00.5", "2026-11-21 10:00:00.5")],
    ("instant", "instant(0)"): [("2026-11-21 10:00:00Z", "2026-11-21 10:00:00Z"), ("2026-11-21 10:00:00.5Z", REFUSED)],
    ("instant(3)", "instant(6)"): [("2026-11-21 10:00:00.123Z", "2026-11-21 10:00:00.123Z")],
    ("instant", "text"): [("2026-11-21 10:00:00Z", "2026-11-21 10:00:00Z")],
    ("time", "time(0)"): [("-01:00:00", "-01:00:00"), ("01:00:00.5", REFUSED)],
    ("time", "text"): [("01:00:00", "01:00:00")],
    ("native(point)", "native(point)"): [("(1,2)", "(1,2)")],
    ("native(point)", "text"): [("(1,2)", "(1,2)")],
}
TABLE = [(source, target, value, wanted) for (source, target), pairs in CASES.items() for value, wanted in pairs]


def converted(convert, value):
    return value if convert is None else convert(value)


def kinds(pair: tuple[str, str]) -> tuple[str, str]:
    return parse_type(pair[0]).kind, parse_type(pair[1]).kind


@pytest.mark.parametrize(("source", "target", "value", "wanted"), TABLE)
def test_a_value_is_converted_exactly_or_refused(source, target, value, wanted):
    convert = between(parse_type(source), parse_type(target))
    if wanted is REFUSED:
        with pytest.raises(ValueRefused) as refused:
            converted(convert, value)
        assert str(value) not in str(refused.value) or len(str(value)) <= 3, "a message holds no values"
    else:
        result = converted(convert, value)
        assert (type(result), result) == (type(wanted), wanted)


def test_every_conversion_there_is_stands_in_the_table():
    assert {kinds(pair) for pair in CASES} == set(type_pairs._CONVERSIONS)


@pytest.mark.parametrize(
    ("source", "target"), [("boolean", "text"), ("datetime", "instant"), ("json", "bytes"), ("float", "integer")]
)
def test_types_without_an_exact_conversion_are_told_when_the_binding_is_compiled(source, target):
    with pytest.raises(ValueError, match="without loss"):
        between(parse_type(source), parse_type(target))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("integer(0,255)", "integer"),
        ("integer(0,255)", "integer(0,65535)"),
        ("text(10)", "text(20)"),
        ("bytes(10)", "bytes"),
        ("decimal(12,4)", "decimal(12,4)"),
        ("datetime(3)", "datetime(6)"),
        ("enum(a)", "enum(a,b)"),
        ("ref(customer)", "integer"),
        ("json", "json"),
    ],
)
def test_values_that_always_fit_cost_no_call(source, target):
    assert between(parse_type(source), parse_type(target)) is None


# ---- into a record and out again ----------------------------------------------------------------------------

digits = st.integers(min_value=-(10**12), max_value=10**12)
moments = st.datetimes(min_value=datetime.fromisoformat("1000-01-01"), max_value=datetime.fromisoformat("9000-01-01"))


def scaled(number: int, scale: int) -> str:
    text = format(Decimal(number).scaleb(-scale), "f")
    return text.removeprefix("-") if not text.strip("-0.") else text


def fraction(moment: datetime) -> str:
    text = f"{moment:%Y-%m-%d %H:%M:%S}"
    return text + f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else text


VALUES = {
    "boolean": st.booleans(),
    "integer": st.integers(min_value=-(2**63), max_value=2**64 - 1) | st.integers(min_value=-3, max_value=3),
    "decimal": digits.map(lambda n: scaled(n, 3).rstrip("0").rstrip(".") or "0").map(lambda t: "0" if t == "-0" else t),
    "decimal(12,4)": st.integers(min_value=-(10**12) + 1, max_value=10**12 - 1).map(lambda n: scaled(n, 4)),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000).map(lambda n: n / 8),
    "text": st.text(max_size=8),
    "bytes": st.binary(max_size=6),
    "uuid": st.uuids().map(str),
    "json": st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ).map(lambda tree: canonical_json(json.dumps(tree))),
    "enum(a,b)": st.sampled_from(["a", "b"]),
    "date": moments.map(lambda m: f"{m:%Y-%m-%d}"),
    "datetime": moments.map(fraction) | moments.map(lambda m: f"{m:%Y-%m-%d} 00:00:00"),
    "instant(6)": moments.map(lambda m: fraction(m) + "Z"),
    "time(6)": moments.map(lambda m: fraction(m)[11:]),
    "native(point)": st.text(max_size=5),
}
BOTH_WAYS = [
    (column, field)
    for column in VALUES
    for field in VALUES
    if {kinds((column, field)), kinds((field, column))} <= set(type_pairs._CONVERSIONS)
]


@pytest.mark.parametrize(("column", "field"), BOTH_WAYS)
@settings(max_examples=25)
@given(data=st.data())
def test_what_a_column_gives_a_record_the_column_gets_back(column, field, data):
    inward = to_field(parse_type(column), parse_type(field), None).convert
    outward = to_column(parse_type(field), parse_type(column), None).convert
    try:
        value = converted(outward, data.draw(VALUES[field])) if data.draw(st.booleans()) else data.draw(VALUES[column])
        inside = converted(inward, value)
    except ValueRefused:
        return
    outside = converted(outward, inside)
    if kinds((column, field)) in {("text", "decimal"), ("text", "json")}:
        assert converted(inward, outside) == inside  # a text may be written otherwise, and means the same
    else:
        assert outside == value
        assert type(outside) is type(value)


@given(text=st.decimals(allow_nan=False, allow_infinity=False, places=6).map(lambda d: format(d, "f")))
def test_a_decimal_of_any_size_keeps_its_value_or_is_refused(text):
    try:
        fitted = between(parse_type("decimal"), parse_type("decimal(20,6)"))(text)
    except ValueRefused:
        assert abs(Decimal(text)) >= 10**14
    else:
        assert Decimal(fitted) == Decimal(text)
        assert len(fitted.partition(".")[2]) == 6


# ---- transforms ---------------------------------------------------------------------------------------------


def in_and_out(column: str, field: str, transform: Column):
    return (
        to_field(parse_type(column), parse_type(field), transform).convert,
        to_column(parse_type(field), parse_type(column), transform).convert,
    )


def test_cents_become_a_decimal_and_cents_again():
    inward, outward = in_and_out("integer(0,100000)", "decimal(12,4)", Column("price_cents", scale=100))
    assert inward(1234) == "12.3400"
    assert outward("12.3400") == 1234
    assert outward("0.0000") == 0
    for wanted in ("12.3450", "-0.0100", "1000.0100"):
        with pytest.raises(ValueRefused):
            outward(wanted)


@given(cents=st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_scaling_is_exact_for_every_integer(cents):
    inward, outward = in_and_out("integer", "decimal(30,2)", Column("c", scale=100))
    assert Decimal(inward(cents)) * 100 == cents
    assert outward(inward(cents)) == cents


def test_a_scale_that_does_not_divide_is_refused():
    inward, _ = in_and_out("integer", "decimal(12,4)", Column("c", scale=3))
    assert inward(3) == "1.0000"
    with pytest.raises(ValueRefused, match="exactly"):
        inward(1)


def test_scaling_reads_a_float_as_it_is_printed_and_refuses_what_is_no_number():
    inward, _ = in_and_out("float", "decimal(12,4)", Column("c", scale=10))
    assert inward(0.1) == "0.0100"
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueRefused):
            inward(value)


def test_a_number_of_hundreds_of_digits_is_refused_where_it_cannot_be_scaled():
    inward, outward = in_and_out("decimal", "decimal", Column("c", scale=7))
    with pytest.raises(ValueRefused, match="decimal"):
        outward("1." + "3" * 400)
    with pytest.raises(ValueRefused, match="decimal"):
        inward("1." + "3" * 400)


def test_a_map_translates_both_ways_with_the_types_of_both_ends():
    inward, outward = in_and_out(
        "boolean", "enum(active,retired)", Column("a", map={"true": "active", "false": "retired"})
    )
    assert [inward(True), inward(False)] == ["active", "retired"]
    assert [outward("active"), outward("retired")] == [True, False]
    inward, outward = in_and_out("integer(0,9)", "text", Column("a", map={"1": "one"}))
    assert (inward(1), outward("one")) == ("one", 1)
    inward, outward = in_and_out("text(1)", "boolean", Column("a", map={"Y": "true", "N": "false"}))
    assert inward("Y") is True
    assert outward(False) == "N"


def test_a_value_outside_the_map_is_refused_both_ways():
    inward, outward = in_and_out("integer", "text", Column("a", map={"1": "one"}))
    with pytest.raises(ValueRefused, match="column value is not in the binding's map"):
        inward(2)
    with pytest.raises(ValueRefused, match="field value is not in the binding's map"):
        outward("two")


@pytest.mark.parametrize(
    ("column", "field", "mapping"),
    [
        ("integer", "text", {"x": "one"}),
        ("boolean", "text", {"1": "one"}),
        ("integer(0,1)", "text", {"2": "two"}),
        ("text", "enum(a)", {"x": "b"}),
        ("text", "integer", {"x": "one"}),
    ],
)
def test_a_map_that_does_not_fit_its_types_is_told_when_it_is_compiled(column, field, mapping):
    with pytest.raises(ValueError, match="is no"):
        to_column(parse_type(field), parse_type(column), Column("a", map=mapping))


BERLIN = Column("at", time_zone="Europe/Berlin")


def test_a_local_time_becomes_utc_and_comes_back():
    inward, outward = in_and_out("datetime(6)", "instant", BERLIN)
    assert inward("2026-07-01 12:00:00.25") == "2026-07-01 10:00:00.25Z"
    assert inward("2026-01-01 00:30:00") == "2025-12-31 23:30:00Z"
    assert outward("2026-07-01 10:00:00.25Z") == "2026-07-01 12:00:00.25"


def test_a_local_time_that_the_clock_skips_is_refused():
    inward, _ = in_and_out("datetime", "instant", BERLIN)
    with pytest.raises(ValueRefused, match="skipped or repeated in Europe/Berlin"):
        inward("2026-03-29 02:30:00")


def test_a_local_time_that_the_clock_shows_twice_is_refused():
    inward, outward = in_and_out("datetime", "instant", BERLIN)
    for local in ("2026-10-25 02:00:00", "2026-10-25 02:59:59.9"):
        with pytest.raises(ValueRefused, match="skipped or repeated"):
            inward(local)
    assert inward("2026-10-25 03:00:00") == "2026-10-25 02:00:00Z"
    assert outward("2026-10-25 00:30:00Z") == "2026-10-25 02:30:00", (
        "delivering it is exact: the target stores what it shows"
    )


@given(moment=moments)
def test_every_moment_but_those_of_clock_changes_comes_back_from_local_time(moment):
    inward, outward = in_and_out("datetime(6)", "instant", BERLIN)
    local = fraction(moment)
    try:
        instant = inward(local)
    except ValueRefused:
        assert moment.month in (3, 4, 9, 10, 11) or moment.year < 1981
    else:
        assert outward(instant) == local
        assert abs(datetime.fromisoformat(instant.removesuffix("Z")) - moment) <= timedelta(hours=3)


@pytest.mark.parametrize("local", ["infinity", "0044-03-15 00:00:00 BC", "10000-01-01 00:00:00", "2026-13-01 00:00:00"])
def test_a_time_that_the_calendar_cannot_hold_is_refused(local):
    inward, _ = in_and_out("datetime", "instant", BERLIN)
    with pytest.raises(ValueRefused, match="calendar"):
        inward(local)


def test_the_first_and_last_years_are_refused_or_written_with_four_digits():
    inward, outward = in_and_out("datetime", "instant", BERLIN)
    with pytest.raises(ValueRefused, match="years 1 to 9999"):
        inward("0001-01-01 00:00:00")
    with pytest.raises(ValueRefused, match="years 1 to 9999"):
        outward("9999-12-31 23:59:59Z")
    assert inward("0900-01-01 12:00:00").startswith("0900-01-01 ")


def test_a_time_zone_is_for_columns_without_one_and_instant_fields():
    with pytest.raises(ValueError, match="instant does not convert"):
        to_field(parse_type("instant"), parse_type("instant"), BERLIN)
    with pytest.raises(ValueError, match="does not convert to a datetime"):
        to_field(parse_type("datetime"), parse_type("datetime"), BERLIN)


def test_a_field_with_fewer_digits_than_the_column_refuses_finer_times():
    inward, _ = in_and_out("datetime(6)", "instant(0)", BERLIN)
    assert inward("2026-07-01 12:00:00") == "2026-07-01 10:00:00Z"
    with pytest.raises(ValueRefused, match="0 digits"):
        inward("2026-07-01 12:00:00.5")


# ---- what does not fit --------------------------------------------------------------------------------------

UNFIT = [("null", None), (UnfitValue("1000-01-01"), "1000-01-01")]


@pytest.mark.parametrize(("unfit", "stand_in"), UNFIT)
def test_a_policy_puts_something_in_the_place_of_what_does_not_fit_a_column(unfit, stand_in):
    date, narrow, column = parse_type("date"), parse_type("date(0001,9999)"), Column("c", unfit=unfit)
    outward, inward = to_column(date, narrow, column).convert, to_field(narrow, date, column).convert
    assert (outward("infinity"), outward("2026-11-21")) == (stand_in, "2026-11-21")
    assert (inward("0000-00-00"), inward("2026-11-21")) == (stand_in, "2026-11-21")
    copied = column_to_column(date, narrow, unfit)
    assert (copied("infinity"), copied("2026-11-21")) == (stand_in, "2026-11-21")


@pytest.mark.parametrize(("unfit", "stand_in"), UNFIT)
def test_only_what_stands_in_for_a_value_that_does_not_fit_is_taken_for_one(unfit, stand_in):
    date, narrow = parse_type("date"), parse_type("date(0001,9999)")
    stands_in = stand_in_test(date, narrow, Column("c", unfit=unfit))
    assert stands_in(stand_in, "infinity")
    assert not stands_in("2026-11-21", "infinity")
    assert not stands_in(stand_in, "2026-11-21")
    assert not stands_in(stand_in, None)
    assert not stands_in(stand_in, ABSENT)
    assert stand_in_test(date, date, Column("c", unfit=unfit)) is None
    assert stand_in_test(date, narrow, None) is None


def test_a_policy_with_a_scale_or_a_map_replaces_what_they_refuse():
    decimal, integer = parse_type("decimal(12,4)"), parse_type("integer(0,100)")
    scaled = to_column(decimal, integer, Column("c", scale=100, unfit=UnfitValue(0))).convert
    assert (scaled("0.5000"), scaled("0.0001"), scaled("2.0000")) == (50, 0, 0)
    mapped = to_field(
        integer, parse_type("enum(on,off)"), Column("c", map={"1": "on"}, unfit=UnfitValue("off"))
    ).convert
    assert (mapped(1), mapped(7)) == ("on", "off")


def test_a_policy_finds_a_nan_also_between_equal_types():
    price = parse_type("decimal(12,4)")
    assert between(price, price) is None
    for convert in (
        column_to_column(price, price, "null"),
        to_field(price, price, Column("c", unfit="null")).convert,
        to_column(price, price, Column("c", unfit="null")).convert,
    ):
        assert (convert("1.5000"), convert("NaN")) == ("1.5000", None)
    assert stand_in_test(price, price, Column("c", unfit="null"))(None, "NaN")


def test_a_stand_in_that_does_not_fit_the_column_either_is_a_mistake():
    with pytest.raises(ValueError, match="the value of 'unfit' is no date"):
        to_column(parse_type("date"), parse_type("date(1000,9999)"), Column("c", unfit=UnfitValue("0001-01-01")))


def test_native_types_pass_only_between_equal_ones():
    interval = parse_type("native(interval)")
    for target in ("native(interval(0))", "native(inet)", "integer"):
        with pytest.raises(ValueError, match="read"):
            between(interval, parse_type(target))
    with pytest.raises(ValueError, match="only the same type of the same server"):
        between(parse_type("text"), interval)

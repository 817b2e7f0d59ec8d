"""Numbers: the shortest decimal of a 32-bit float, and floats that `==` cannot tell apart."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.conversions import to_column, to_field
from cdcd.numeric import added, is_zero, negated, shortest_float32
from cdcd.values import parse_type


@given(raw=st.binary(min_size=4, max_size=4))
def test_the_shortest_decimal_of_a_32_bit_float_reads_back_as_it(raw):
    (value,) = struct.unpack("<f", raw)
    shortest = shortest_float32(value)
    assert struct.pack("<f", shortest) == raw or math.isnan(value)
    assert shortest_float32(shortest) == shortest or math.isnan(value)


@pytest.mark.parametrize(
    ("value", "shortest"),
    [
        (0.10000000149011612, 0.1),
        (5.684341886080802e-14, 5.684342e-14),
        (1.401298464324817e-45, 1e-45),
        (9.8607613152626476e-32, 9.8607613e-32),
        (3.4028234663852886e38, 3.4028235e38),
        (-16777216.0, -16777216.0),
    ],
)
def test_the_shortest_decimal_is_the_one_that_postgres_prints(value, shortest):
    assert shortest_float32(value) == shortest


@pytest.mark.parametrize("kind", ["float", "float(24)", "float(53,finite)"])
def test_in_a_record_nan_is_equal_to_itself_and_negative_zero_is_not_zero(kind):
    inward = to_field(parse_type(kind), parse_type("float"), None).convert
    outward = to_column(parse_type("float"), parse_type("float"), None).convert
    assert inward(-0.0) != inward(0.0)
    assert inward(0.5) == 0.5
    assert repr(outward(inward(-0.0))) == "-0.0"
    assert inward(math.nan) == inward(math.nan)
    assert math.isnan(outward(inward(math.nan)))


@pytest.mark.parametrize(
    ("value", "difference", "kind", "total"),
    [
        (10, -1, "integer", 9),
        (None, 5, "integer", 5),
        ("5.00", "-0.10", "decimal(12,2)", "4.90"),
        ("0.10", "-0.10", "decimal(12,2)", "0.00"),
        ("-0.05", "0.05", "decimal(12,2)", "0.00"),
        (None, "1.50", "decimal(12,2)", "1.50"),
        ("1.5", "0.5", "decimal", "2"),
        ("9" * 40, "1", "decimal(60,0)", "1" + "0" * 40),
        (f"{'1' * 30}.25", "0.50", "decimal(40,2)", f"{'1' * 30}.75"),
    ],
)
def test_numbers_add_up_exactly_in_their_canonical_form(value, difference, kind, total):
    kind = parse_type(kind)
    assert added(value, difference, kind) == total
    assert is_zero(added(total, negated(added(value, difference, kind), kind), kind))

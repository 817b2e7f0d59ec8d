"""A column holds exactly the values of its canonical type."""

import pytest

from cdcd.model import ABSENT, ColumnShape
from cdcd_memory.types import Violation, check_value

GOOD = [
    ("boolean", True),
    ("integer", -1),
    ("integer(0,255)", 255),
    ("decimal(5,2)", "-999.99"),
    ("decimal(5,2)", "0.00"),
    ("decimal", "1.5"),
    ("float", 0.5),
    ("text(2)", "日本"),
    ("text", "x" * 1000),
    ("bytes(2)", b"ab"),
    ("date", "2026-11-21"),
    ("enum(new,paid)", "paid"),
    ("native(point)", "(1,2)"),
]
BAD = [
    ("boolean", 1),
    ("integer", True),
    ("integer", 1.0),
    ("integer(0,255)", 256),
    ("integer(0,255)", -1),
    ("decimal(5,2)", "1000.00"),
    ("decimal(5,2)", "1.5"),
    ("decimal(5,2)", 1),
    ("float", 1),
    ("text(2)", "abc"),
    ("text", b"a"),
    ("bytes(2)", b"abc"),
    ("date", 20261121),
    ("enum(new,paid)", "other"),
    ("text", ABSENT),
]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_a_value_of_the_type_is_taken(kind, value):
    check_value(ColumnShape("c", kind), value)


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_a_value_that_the_type_cannot_hold_exactly_is_refused(kind, value):
    with pytest.raises(Violation, match="column c"):
        check_value(ColumnShape("c", kind), value)


def test_null_needs_a_nullable_column():
    check_value(ColumnShape("c", "integer"), None)
    with pytest.raises(Violation, match="not nullable"):
        check_value(ColumnShape("c", "integer", nullable=False), None)

"""Canonical types and values."""

import pytest

from cdcd.model import ABSENT, Relation
from cdcd.printed import unpacked
from cdcd.values import parse_type
from cdcd_postgres.rowcode import compile_fetch, compile_unpack, printed_rows
from cdcd_postgres.types import TypeEntry, Types
from unit.cdcd_postgres import messages as m

ENTRIES = {
    50: TypeEntry("mood", "e", 0, -1, "mood"),
    51: TypeEntry("money_amount", "d", 1700, (12 << 16 | 4) + 4, "money_amount"),
    52: TypeEntry("price", "d", 51, -1, "price"),
    53: TypeEntry("citext", "b", 0, -1, "citext"),
    1007: TypeEntry("_int4", "b", 0, -1, "integer[]"),
}
TYPES = Types(lambda oid, _modifier: ENTRIES.get(oid))


@pytest.mark.parametrize(
    ("oid", "modifier", "canonical"),
    [
        (16, -1, "boolean"),
        (17, -1, "bytes"),
        (21, -1, "integer(-32768,32767)"),
        (23, -1, "integer(-2147483648,2147483647)"),
        (20, -1, "integer(-9223372036854775808,9223372036854775807)"),
        (26, -1, "integer(0,4294967295)"),
        (25, -1, "text"),
        (1043, 68, "text(64)"),
        (1043, -1, "text"),
        (1042, 7, "text(3,padded)"),
        (1042, -1, "text(padded)"),
        (1700, -1, "decimal"),
        (1700, (12 << 16 | 4) + 4, "decimal(12,4)"),
        (1700, (2 << 16 | 0x7FD) + 4, "decimal(2,-3)"),
        (700, -1, "float(24)"),
        (701, -1, "float"),
        (1082, -1, "date"),
        (1083, -1, "time(6,0,24)"),
        (1114, 0, "datetime(0)"),
        (1184, 3, "instant(3)"),
        (2950, -1, "uuid"),
        (114, -1, "json"),
        (3802, -1, "json"),
        (50, -1, "text"),
        (51, -1, "decimal(12,4)"),
        (52, -1, "decimal(12,4)"),
        (53, -1, "text"),
        (1007, -1, "native(integer[])"),
        (99, -1, "native(unknown)"),
    ],
)
def test_a_type_has_a_canonical_name_with_its_limits(oid, modifier, canonical):
    assert TYPES.column(oid, modifier) == canonical
    assert str(parse_type(canonical)) == canonical


@pytest.mark.parametrize(
    ("oid", "text", "value"),
    [
        (16, b"t", True),
        (16, b"f", False),
        (17, b"\\x00ff", b"\x00\xff"),
        (20, b"-9223372036854775808", -(2**63)),
        (701, b"0.1", 0.1),
        (701, b"-Infinity", float("-inf")),
        (1042, b"ab  ", "ab"),
        (1043, b"ab  ", "ab  "),
        (1700, b"100", "100"),
        (1700, b"100.00", "100"),
        (1700, b"-0.120", "-0.12"),
        (1700, b"NaN", "NaN"),
        (1184, b"2026-11-21 23:59:59.5+00", "2026-11-21 23:59:59.5Z"),
        (1184, b"infinity", "infinity"),
        (1184, b"0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00Z BC"),
        (1082, b"2026-11-21", "2026-11-21"),
        (3802, b'{"a": 1}', '{"a": 1}'),
        (25, "日本".encode(), "日本"),
    ],
)
def test_a_text_becomes_the_same_canonical_value_in_stream_and_chunk(oid, text, value):
    canonical = TYPES.column(oid, -1)
    data = m.tuple_data(text)
    (streamed,), end = compile_unpack([canonical])(data + bytes(4), 2)
    (fetched,) = compile_fetch([canonical])(lambda _row, _column: text, 0)
    ((together,),), _ = unpacked(Relation("item", ("a",), (canonical,), ()), printed_rows([data]))
    assert end == len(data)
    assert repr(streamed) == repr(together) == repr(fetched) == repr(value)


def test_a_decimal_with_scale_keeps_all_its_digits():
    canonical = TYPES.column(1700, (12 << 16 | 4) + 4)
    assert compile_unpack([canonical])(m.tuple_data("1.5000") + bytes(4), 2)[0] == ["1.5000"]


def test_null_and_absent_are_told_apart():
    unpack = compile_unpack([TYPES.column(25, -1)] * 3)
    assert unpack(m.tuple_data(None, m.ABSENT_TEXT, "") + bytes(4), 2) == ([None, ABSENT, ""], 9)


def test_columns_that_are_not_kept_are_absent_whatever_they_hold():
    unpack = compile_unpack(["integer"] * 3, frozenset({1}))
    assert unpack(m.tuple_data("no number", 5, None) + bytes(4), 2)[0] == [ABSENT, 5, ABSENT]


def test_a_type_is_looked_up_once():
    asked = []
    types = Types(lambda oid, modifier: asked.append((oid, modifier)))
    for _ in range(3):
        types.column(77, -1)
    assert asked == [(77, -1)]

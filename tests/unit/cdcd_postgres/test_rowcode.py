"""Rows that are unpacked together are those that are unpacked one by one, or there are none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.model import ABSENT, Row
from cdcd_postgres.rowcode import PADDING, UnpackMany, compile_unpack
from cdcd_postgres.types import Types
from unit.cdcd_postgres import messages as m

TYPES = Types(lambda _oid, _modifier: None)
TEXT, INTEGER = (TYPES.column(oid, -1).expression for oid in (25, 23))
COLUMNS = [INTEGER, TEXT, TEXT]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    ["t", "n", "u", "ntu", "t" * 116, "t" * 0x7400, "\u06c0", "x" * 70_000, '"t', "tt"]
)
VALUES = TEXTS | st.none() | st.just(m.ABSENT_TEXT)
ROWS = st.lists(st.tuples(st.integers() | st.none() | st.just(m.ABSENT_TEXT), VALUES, VALUES), min_size=1, max_size=8)


def one_by_one(tuples: Sequence[bytes]) -> list[Row]:
    unpack = compile_unpack(COLUMNS)
    found: list[Row] = []
    for data in tuples:
        row, end = unpack(data + PADDING, 2)
        if end != len(data):
            raise ValueError
        found.append(row)
    return found


@given(ROWS)
def test_together_or_one_by_one_they_are_the_same(rows):
    tuples = [m.tuple_data(*row) for row in rows]
    alone = one_by_one(tuples)
    unpack = UnpackMany(COLUMNS)
    together = unpack(tuples)
    assert together is None or together == alone
    unpack.learn(alone)
    learnt = unpack(tuples)
    assert learnt == alone or any(len(str(value)) >= 1 << 16 for row in rows for value in row)


@given(ROWS, st.data())
def test_bytes_that_are_no_rows_are_never_taken_for_some(rows, data):
    joined = [m.tuple_data(*row) for row in rows]
    number = data.draw(st.integers(0, len(rows) - 1))
    at = data.draw(st.integers(0, len(joined[number])))
    changed = data.draw(st.binary(max_size=6))
    joined[number] = joined[number][:at] + changed + joined[number][at + data.draw(st.integers(0, 6)) :]
    unpack = UnpackMany(COLUMNS)
    unpack.learn([[None, None, None]])
    together = unpack(joined)
    if together is not None:
        assert together == one_by_one(joined)


def test_a_column_that_has_been_null_once_may_be_again():
    unpack = UnpackMany(COLUMNS)
    tuples = [m.tuple_data(1, "a", None), m.tuple_data(2, m.ABSENT_TEXT, "n")]
    assert unpack(tuples) is None
    unpack.learn(one_by_one(tuples))
    assert unpack(tuples) == [[1, "a", None], [2, ABSENT, "n"]]
    assert unpack([m.tuple_data(None, "a", "b")]) is None, "this one never was"


@pytest.mark.parametrize("text", ["x" * 0xFFFF, "t" * 0xFFFF])
def test_the_longest_text_that_is_unpacked_together(text: str):
    assert UnpackMany([TEXT])([m.tuple_data(text)] * 2) == [[text], [text]]
    assert UnpackMany([TEXT])([m.tuple_data(text + "x")]) is None


def test_a_text_that_is_not_utf_8_is_not_unpacked_together():
    assert UnpackMany([TEXT])([m.tuple_data(b"\xff")]) is None

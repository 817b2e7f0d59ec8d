"""Rows that are passed on as they were printed are those that are unpacked one by one, or are not passed on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.errors import DecodeError
from cdcd.model import Relation, Row
from cdcd.printed import unpacked
from cdcd_postgres.rowcode import PADDING, compile_unpack, printed_rows
from unit.cdcd_postgres import messages as m

COLUMNS = ["integer", "text", "text"]
ITEM = Relation("item", ("id", "name", "note"), tuple(COLUMNS), (0,))
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


def text_column(*texts: object) -> bytes | None:
    return printed_rows([m.tuple_data(text) for text in texts])


@given(ROWS)
def test_printed_or_one_by_one_they_are_the_same(rows):
    tuples = [m.tuple_data(*row) for row in rows]
    packed = printed_rows(tuples)
    if packed is None:
        assert any(len(str(value)) >= 1 << 16 for row in rows for value in row)
    else:
        lacking = any(value is m.ABSENT_TEXT for row in rows for value in row)
        assert unpacked(ITEM, packed) == (one_by_one(tuples), lacking)


@given(ROWS, st.data())
def test_bytes_that_are_no_rows_are_never_taken_for_some(rows, data):
    joined = [m.tuple_data(*row) for row in rows]
    number = data.draw(st.integers(0, len(rows) - 1))
    at = data.draw(st.integers(0, len(joined[number])))
    changed = data.draw(st.binary(max_size=6))
    joined[number] = joined[number][:at] + changed + joined[number][at + data.draw(st.integers(0, 6)) :]
    packed = printed_rows(joined)
    if packed is not None:
        with suppress(DecodeError):
            found, _ = unpacked(ITEM, packed)
            assert found == one_by_one(joined)


@pytest.mark.parametrize("text", ["x" * 0xFFFF, "t" * 0xFFFF])
def test_the_longest_text_that_is_passed_on(text: str):
    packed = text_column(text, text)
    assert packed is not None
    assert unpacked(Relation("item", ("note",), ("text",), ()), packed) == ([[text], [text]], False)
    assert text_column(text + "x") is None

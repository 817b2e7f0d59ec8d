"""Rows of the journal are looked at only by those who need their values."""

from __future__ import annotations

import msgspec
import pytest

from cdcd.model import ABSENT, Op, Relation, Row, Rows
from cdcd.stored_rows import StoredRows, array_length, split

ITEM = Relation("item", ("id", "name"), ("integer", "text"), (0,))


def packed(runs: list[Rows]) -> bytes:
    return msgspec.msgpack.encode([[7, run.op, run.rows, run.olds] for run in runs])


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_the_number_of_rows_is_known_without_decoding_them(count: int) -> None:
    assert array_length(msgspec.Raw(msgspec.msgpack.encode([None] * count))) == count


def test_a_run_that_was_passed_on_packed_is_the_same_run() -> None:
    rows: list[Row] = [[1, "a"], [2, ABSENT]]
    run = Rows(ITEM, Op.UPDATE, rows, [None, [1, "b"]])
    ((number, op, packed_rows, packed_olds),) = split(packed([run]))
    again = msgspec.msgpack.encode([[number, op, packed_rows, packed_olds]])
    assert again == packed([run])
    found = StoredRows(number, ITEM, op, packed_rows, packed_olds).unpacked()
    assert found == run
    assert found.rows[1][1] is ABSENT


@pytest.mark.parametrize("lacking", [False, True])
def test_who_looks_at_rows_is_told_whether_they_lack_values(*, lacking: bool) -> None:
    rows: list[Row] = [[1, "a"], [2, ABSENT if lacking else "\xc7\x00\x01"]]
    ((number, op, packed_rows, packed_olds),) = split(packed([Rows(ITEM, Op.INSERT, rows)]))
    found = StoredRows(number, ITEM, op, packed_rows, packed_olds).unpacked_and_lacking()
    assert found == (Rows(ITEM, Op.INSERT, rows), lacking)

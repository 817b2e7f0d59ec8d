"""Rows of the journal are looked at only by those who need their values."""

from __future__ import annotations

import msgspec
import pytest

from cdcd.model import ABSENT, Op, Relation, Row, Rows, Value
from cdcd.stored_rows import StoredRows, array_length, encode, looked_through, row_count, split, with_values
from cdcd.testing.printing import as_printed

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


@pytest.mark.parametrize("name", ["b", ABSENT], ids=["whole", "lacking"])
@pytest.mark.parametrize("count", [1, 10, 100, 10_000])
def test_rows_as_they_were_printed_are_kept_so_and_have_their_values_when_somebody_looks(
    count: int, name: Value
) -> None:
    run = Rows(ITEM, Op.UPDATE, [*([number, "a"] for number in range(count)), [count, name]])
    ((number, op, packed_rows, packed_olds),) = split(encode([(7, as_printed(run))]))
    stored = StoredRows(number, ITEM, op, packed_rows, packed_olds)
    assert (number, op, stored.count) == (7, Op.UPDATE, count + 1)
    assert stored.unpacked_and_lacking() == (run, name is ABSENT)
    rows = msgspec.msgpack.decode(packed_rows)
    assert row_count(rows) == row_count(run.rows) == looked_through(rows) == looked_through(run.rows) == count + 1
    assert with_values(ITEM, rows) == (run.rows, name is ABSENT)
    assert with_values(ITEM, run.rows) == (run.rows, False)


@pytest.mark.parametrize("lacking", [False, True])
def test_who_looks_at_rows_is_told_whether_they_lack_values(*, lacking: bool) -> None:
    rows: list[Row] = [[1, "a"], [2, ABSENT if lacking else "\xc7\x00\x01"]]
    ((number, op, packed_rows, packed_olds),) = split(packed([Rows(ITEM, Op.INSERT, rows)]))
    found = StoredRows(number, ITEM, op, packed_rows, packed_olds).unpacked_and_lacking()
    assert found == (Rows(ITEM, Op.INSERT, rows), lacking)

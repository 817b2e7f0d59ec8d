"""Rows as their server printed them have their values when somebody looks at them."""

from __future__ import annotations

import msgspec
import pytest

from cdcd.errors import DecodeError
from cdcd.model import ABSENT, Op, PrintedRows, Relation, Rows
from cdcd.printed import joined, row_count, rows_of, unpacked

ITEM = Relation("item", ("id", "name", "price"), ("integer(0,99)", "text(9)", "decimal"), (0,))
NULL, UNCHANGED = 110, 117


def packed(*rows: list[str | int]) -> bytes:
    return b"\xdd" + len(rows).to_bytes(4, "big") + b"".join(map(msgspec.msgpack.encode, rows))


def test_texts_become_what_the_types_of_their_columns_say() -> None:
    event = PrintedRows(ITEM, Op.UPDATE, 2, packed(["1", "a", "1.50"], ["2", "", "20"]))
    assert rows_of(event) == Rows(ITEM, Op.UPDATE, [[1, "a", "1.5"], [2, "", "20"]])


@pytest.mark.parametrize(
    ("canonical", "text", "value"),
    [
        ("boolean", "t", True),
        ("boolean", "f", False),
        ("bytes", "\\x00ff", b"\x00\xff"),
        ("float(24)", "0.5", 0.5),
        ("decimal(12,4)", "1.5000", "1.5000"),
        ("text(3,padded)", "a  ", "a"),
        ("native(padded)", "a  ", "a  "),
        ("instant(6)", "2026-11-22 01:02:03+00", "2026-11-22 01:02:03Z"),
        ("datetime(6)", "2026-11-22 01:02:03+00", "2026-11-22 01:02:03+00"),
    ],
)
def test_a_text_means_what_its_type_says(canonical: str, text: str, value: object) -> None:
    found, _ = unpacked(Relation("item", ("a",), (canonical,), ()), packed([text]))
    assert repr(found) == repr([[value]])


def test_values_without_a_text_may_come_in_any_column_at_any_time() -> None:
    assert unpacked(ITEM, packed(["1", "a", "2"])) == ([[1, "a", "2"]], False)
    assert unpacked(ITEM, packed(["1", NULL, "2"])) == ([[1, None, "2"]], False)
    assert unpacked(ITEM, packed(["1", UNCHANGED, "2"])) == ([[1, ABSENT, "2"]], True)
    assert unpacked(ITEM, packed(["1", NULL, "2"])) == ([[1, None, "2"]], False)
    assert unpacked(ITEM, packed([NULL, "a", UNCHANGED], ["1", "a", "2"])) == (
        [[None, "a", ABSENT], [1, "a", "2"]],
        True,
    )


def test_runs_of_one_shape_are_joined() -> None:
    parts = [packed(["1", "a", "2"]), packed(), packed(["2", "b", NULL], ["3", "c", "4"])]
    assert [row_count(part) for part in (*parts, joined(parts))] == [1, 0, 2, 3]
    assert unpacked(ITEM, joined(parts))[0] == [row for part in parts for row in unpacked(ITEM, part)[0]]
    assert joined(parts[:1]) is parts[0]


@pytest.mark.parametrize(
    "rows",
    [
        packed(["1", "a"]),
        packed(["1", "a", "2", "3"]),
        packed(["one", "a", "2"]),
        packed(["1", 98, "2"]),
        packed(["1", "a", "2"])[:-1],
        packed(["1", "a", "2"]) + b"n",
        packed(["1", "\xff", "2"]).replace(b"\xc3\xbf", b"\xff\xff"),
        b"",
    ],
)
def test_bytes_that_are_no_such_rows_are_refused(rows: bytes) -> None:
    with pytest.raises(DecodeError, match="not understood"):
        unpacked(ITEM, rows)
    assert unpacked(ITEM, packed(["1", "a", "2"])) == ([[1, "a", "2"]], False)

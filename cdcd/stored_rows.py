"""Runs of rows as the journal keeps them: decoded where somebody looks at them, else passed on as they are.

A body is `[[relation number, op, rows, olds], …]` in MessagePack; `rows` are an array, or bytes that hold rows as their source
printed them (see `printed`). Measured: finding the end of a row of nine columns takes 0.1 µs, making its values 0.7; and what
was never made need not be encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from cdcd import printed
from cdcd.model import Absences, Op, PrintedRows, Relation, Row, Rows

UPGRADE: Final = "-- rows may be bytes from here on, which earlier versions do not know: nothing is to be changed"
"""To the format of a file in which rows may be as their source printed them (see `storage.Schema`)."""
_Run: TypeAlias = tuple[int, Op, msgspec.Raw, msgspec.Raw]
_encode: Final = msgspec.msgpack.Encoder().encode
_runs: Final = msgspec.msgpack.Decoder(list[_Run]).decode


_absences: Final = Absences()
_values: Final = msgspec.msgpack.Decoder(ext_hook=_absences).decode
_NIL_SIZE: Final = 1
_FIXED_LENGTH: Final = 0x0F
_BIN_HEAD_SIZES: Final = {0xC4: 2, 0xC5: 3, 0xC6: 5}
_TWO_BYTES: Final = 0xDC
_FOUR_BYTES: Final = 0xDD


class StoredRows(msgspec.Struct, gc=False):
    """`Rows` of which the values are packed. The shape has that number in its journal."""

    relation_number: int
    relation: Relation
    op: Op
    packed_rows: msgspec.Raw
    packed_olds: msgspec.Raw
    counted: int = -1
    """How many rows there are, once that was asked."""

    @classmethod
    def of(cls, number: int, rows: Rows) -> StoredRows:
        """Rows that are packed again."""
        packed = msgspec.Raw(_encode(rows.rows)), msgspec.Raw(_encode(rows.olds))
        return cls(number, rows.relation, rows.op, *packed)

    @property
    def has_olds(self) -> bool:
        """Whether it is told what rows held before."""
        return len(self.packed_olds) > _NIL_SIZE

    @property
    def count(self) -> int:
        """How many rows there are."""
        if self.counted < 0:
            self.counted = array_length(self.packed_rows)
        return self.counted

    def unpacked_and_lacking(self) -> tuple[Rows, bool]:
        """With values, and whether any of them is ABSENT."""
        before = _absences.count
        rows, is_lacking = with_values(self.relation, _values(self.packed_rows))
        olds: list[Row | None] | None = _values(self.packed_olds) if self.has_olds else None
        return Rows(self.relation, self.op, rows, olds), is_lacking or _absences.count != before

    def unpacked(self) -> Rows:
        """With values. ABSENT stands for what the log did not carry."""
        return self.unpacked_and_lacking()[0]


def encode(runs: Iterable[tuple[int, Rows | PrintedRows]]) -> bytes:
    """The body of runs, each with the number of its relation."""
    return _encode(
        [
            (number, run.op, run.packed, None) if isinstance(run, PrintedRows) else (number, run.op, run.rows, run.olds)
            for number, run in runs
        ]
    )


def with_values(relation: Relation, rows: list[Row] | bytes) -> tuple[list[Row], bool]:
    """The rows of a run as they were stored, with values; and whether one of those that were printed is ABSENT."""
    return printed.unpacked(relation, rows) if isinstance(rows, bytes) else (rows, False)


def together(relation: Relation, packed: Sequence[msgspec.Raw]) -> tuple[list[Row], list[int], bool]:
    """The rows of runs of one shape with values, how many there are of each run, and whether any value is ABSENT."""
    before = _absences.count
    parts: list[list[Row] | bytes] = [*map(_values, packed)]
    texts = [part for part in parts if isinstance(part, bytes)]
    some = [printed.joined(texts)] if len(texts) == len(parts) else parts
    rows: list[Row] = []
    is_lacking = False
    for part in some:
        found, lacks = with_values(relation, part)
        rows += found
        is_lacking = is_lacking or lacks
    return rows, [*map(row_count, parts)], is_lacking or _absences.count != before


def row_count(rows: list[Row] | bytes) -> int:
    """How many rows there are."""
    return printed.row_count(rows) if isinstance(rows, bytes) else len(rows)


def looked_through(rows: list[Row] | bytes) -> int:
    """How many rows there are, in full. Raises msgspec.DecodeError for bytes that hold no rows."""
    return printed.looked_through(rows) if isinstance(rows, bytes) else len(rows)


def split(body: bytes) -> list[_Run]:
    """The runs of a body."""
    return _runs(body)


def array_length(packed: msgspec.Raw) -> int:
    """How many elements a packed array has, or rows those bytes (MessagePack specification, "array" and "bin format family")."""
    data = memoryview(packed)
    data = data[_BIN_HEAD_SIZES.get(data[0], 0) :]
    first = data[0]
    if first == _TWO_BYTES:
        return int.from_bytes(data[1:3], "big")
    if first == _FOUR_BYTES:
        return int.from_bytes(data[1:5], "big")
    return first & _FIXED_LENGTH

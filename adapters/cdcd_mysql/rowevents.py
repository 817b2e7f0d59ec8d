"""Decodes rows events: their kinds, headers and bitmaps; the rows themselves are `rows`' matter.

Format: MySQL source, libs/mysql/binlog/event/rows_event.h, class Rows_event (version 1 without, 2 with extra data,
such as partition numbers, which we leave out); MariaDB's compressed forms have packed rows after the bitmaps. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from cdcd.errors import DecodeError
from cdcd.model import Op, Row
from cdcd_mysql import refusals
from cdcd_mysql.binlog import EventType
from cdcd_mysql.captured import Shape
from cdcd_mysql.compression import uncompress
from cdcd_mysql.rows import Reader


class RowsKind(msgspec.Struct, frozen=True):
    """What a type of rows event means. `header_size` counts table id, flags, and in version 2 the size of extra data."""

    op: Op
    header_size: int
    is_compressed: bool = False
    is_partial: bool = False


_OPS: Final = (
    (EventType.WRITE_ROWS_V1, Op.INSERT),
    (EventType.UPDATE_ROWS_V1, Op.UPDATE),
    (EventType.DELETE_ROWS_V1, Op.DELETE),
)
ROWS_KINDS: Final[Mapping[int, RowsKind]] = {  # the four forms of each kind are numbered alike
    **{kind: RowsKind(op, 8) for kind, op in _OPS},
    **{kind + 7: RowsKind(op, 10) for kind, op in _OPS},
    **{kind + 143: RowsKind(op, 8, is_compressed=True) for kind, op in _OPS},
    **{kind + 146: RowsKind(op, 10, is_compressed=True) for kind, op in _OPS},
    EventType.PARTIAL_UPDATE_ROWS: RowsKind(Op.UPDATE, 10, is_partial=True),
}


def decode_rows(
    kind: RowsKind, shape: Shape, data: bytes, place: int, end: int
) -> tuple[list[Row], list[Row | None] | None]:
    """The rows of an event, and for an UPDATE the old ones where the identity changed (None where it did nowhere)."""
    place += kind.header_size
    if kind.header_size == 10:  # the last two bytes are the size of extra data, themselves included
        place += int.from_bytes(data[place - 2 : place], "little") - 2
    size = len(shape.encoded_count) + shape.bitmap_size
    if kind.op is Op.UPDATE:
        size += shape.bitmap_size
    head = data[place : place + size]
    place += size
    read = shape.readers.get((kind.op, head, kind.is_partial)) or _reader(kind, shape, head)
    if kind.is_compressed:
        data = uncompress(data[place:end])
        place, end = 0, len(data)
    return read(data, place, end)


def _reader(kind: RowsKind, shape: Shape, head: bytes) -> Reader:
    """How to read events with such a head: looked at once, most events of a table have the same."""
    present, after = _images(kind, shape, head)
    decoder = shape.decoder
    if kind.is_partial:
        read = decoder.partial_updates_reader(present, after)
    elif kind.op is Op.UPDATE:
        read = decoder.updates_reader(present, after)
    else:
        read = decoder.rows_reader(present)
    shape.readers[kind.op, head, kind.is_partial] = read
    return read


def _images(kind: RowsKind, shape: Shape, head: bytes) -> tuple[bytes, bytes]:
    """The bitmaps of columns behind their number: of the only image, or of that before and that after the change."""
    bitmaps = len(shape.encoded_count)
    if head[:bitmaps] != shape.encoded_count:
        raise DecodeError(f"rows of table {shape.relation.table} have another number of columns than its description")
    present, after = head[bitmaps : bitmaps + shape.bitmap_size], head[bitmaps + shape.bitmap_size :]
    if kind.op is Op.INSERT and shape.needed_bits & ~int.from_bytes(present, "little"):
        raise refusals.incomplete_insert(shape.relation.table)
    return present, after

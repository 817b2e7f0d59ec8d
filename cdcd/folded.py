"""What folding gives: table writes with the names of the records in them, ordered; and what cannot be written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdcd.errors import NeedsOperator
from cdcd.model import Row, TableShape, TableWrite
from cdcd.parked import Subject
from cdcd.values import ValueRefused

_encode: Final = msgspec.msgpack.Encoder().encode


class KeptRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of a plain copy as it is parked: what its source said, so that it can be converted and tried again."""

    kind: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    values: list[Any]

    def encode(self) -> bytes:
        """The stored form."""
        return _encode(self)


class Grouped(msgspec.Struct, gc=False):
    """A table write and the subjects of its rows.

    `missing_is_fine` for rows that may be gone already (archiving). Of plain copies `types` are the source's types of
    the columns, and `sources` the rows in them: the same as the write's where nothing had to be converted.
    """

    write: TableWrite
    subjects: Sequence[Subject]
    missing_is_fine: bool = False
    types: tuple[str, ...] = ()
    sources: Sequence[Row] = ()

    def kept(self, index: int) -> bytes | None:
        """What must be kept of a row to try it again: nothing of a record, which resolve can tell anew."""
        if not self.types:
            return None
        return KeptRow(self.write.kind, self.write.columns, self.types, self.sources[index]).encode()


class Unwritable(msgspec.Struct, frozen=True):
    """A record, or a row of a plain copy, that has no faithful form in the target."""

    subject: Subject
    refused: ValueRefused
    kept: bytes | None = None


class Folded(msgspec.Struct):
    """A batch ready to be written: upserts and updates in dependency order, deletes in reverse; and what cannot be."""

    changes: list[Grouped] = []
    deletes: list[Grouped] = []
    unwritable: list[Unwritable] = []

    def ordered(self, *, deletes_first: bool) -> list[Grouped]:
        """All groups in the order of writing."""
        return self.deletes + self.changes if deletes_first else self.changes + self.deletes


def subgroups(groups: Iterable[Grouped], size: int) -> Iterator[Grouped]:
    """The groups cut into pieces of at most `size` rows."""
    for group in groups:
        write = group.write
        for start in range(0, len(write.rows), size):
            part = slice(start, start + size)
            yield msgspec.structs.replace(
                group,
                write=msgspec.structs.replace(write, rows=write.rows[part]),
                subjects=group.subjects[part],
                sources=group.sources[part],
            )


def needed_shape(shapes: Mapping[str, TableShape], table: str, system: str) -> TableShape:
    """The shape of a table that must exist. Raises NeedsOperator."""
    if table not in shapes:
        raise NeedsOperator(
            f"table {table} is missing in {system!r}", code="table-missing", remedy="create it, then 'cdcd resume'"
        )
    return shapes[table]

"""Records whose values lie in several tables: from an item to a row for each of its writes. Pure.

The writes of one record stay together (`Grouped`), so that it is written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from cdcd.errors import Refused
from cdcd.folding.folded import Folded, Grouped, PartRows, Unwritable
from cdcd.folding.paths import Source, ValueOf
from cdcd.model import Lookup, Row, TableWrite, Where, WriteKind
from cdcd.outbox import Item, RecordWrite
from cdcd.parking.parked import Subject
from cdcd.resolve.keys import decode_key
from cdcd.values import ValueRefused


class Cell(msgspec.Struct, frozen=True):
    """A column of a write: its value, which is a business key where there is a lookup. `only_new`: of new rows."""

    column: str
    value: ValueOf
    lookup: Lookup | None = None
    only_new: bool = False


class RowWriter(msgspec.Struct, frozen=True):
    """What a record becomes in one table. The first cells are the key. `applies` says to which records (None: all)."""

    table: str
    kind: WriteKind
    key: tuple[str, ...]
    cells: tuple[Cell, ...]
    where: tuple[Where, ...] = ()
    numbers_new: bool = False
    locked: str = ""
    applies: ValueOf | None = None

    def write(self) -> TableWrite:
        """A write without rows."""
        columns = tuple(cell.column for cell in self.cells)
        return TableWrite(
            self.table,
            self.kind,
            self.key,
            self.key if self.kind is WriteKind.REKEY else columns,
            [],
            tuple(cell.column for cell in self.cells if cell.only_new),
            tuple(cell.lookup for cell in self.cells if cell.lookup is not None),
            self.where,
            self.numbers_new,
            self.locked,
        )

    def row(self, source: Source) -> Row | None:
        """The row of a record, None where it has none. May raise ValueRefused."""
        if self.applies is not None and not self.applies(source):
            return None
        return [cell.value(source) for cell in self.cells]


class Compiler(Protocol):
    """Makes the writers of items of a shape."""

    def compiled(self, kind: int, mask: int, initial: int) -> ShapeWriter:
        """May raise Refused."""
        ...


class ShapeWriter(msgspec.Struct, frozen=True):
    """What items of one shape become. `main` is the number of the main row's writer; `constants` replace the values told.

    `checks` refuse records that cannot be written here.
    """

    key_width: int
    writers: tuple[RowWriter, ...]
    main: int
    constants: tuple[Any, ...] | None
    checks: tuple[ValueOf, ...] = ()

    def rows(self, item: Item, committed_at_us: int) -> list[Row | None]:
        """A record's row for each writer. May raise ValueRefused."""
        values = item[4] if self.constants is None else self.constants
        source = [*decode_key(item[2], self.key_width), *values, *item[6], committed_at_us]
        for check in self.checks:
            check(source)
        return [writer.row(source) for writer in self.writers]


class PartsFolder:
    """Makes the writes of items of one entity, group by group."""

    def __init__(self, entity_number: int, compiler: Compiler) -> None:
        self._number = entity_number
        self._compiler = compiler
        self._writers: dict[tuple[int, int, int], ShapeWriter | Refused] = {}

    def take(self, items: Iterable[tuple[bytes, Item, int]], folded: Folded) -> None:
        """Add the writes of `items` (key, item, commit time in microseconds), one item for each record."""
        groups: dict[tuple[int, int, int], tuple[ShapeWriter, Grouped, list[Subject], list[PartRows]]] = {}
        for key, item, committed_at_us in items:
            subject = (self._number, key)
            shape = (item[1], item[3], item[5])
            writer = self._writer(shape)
            if isinstance(writer, Refused):
                folded.unwritable.append(Unwritable(subject, writer))
                continue
            if shape not in groups:
                groups[shape] = _begun(writer)
            try:
                rows = writer.rows(item, committed_at_us)
            except ValueRefused as refused:
                folded.unwritable.append(Unwritable(subject, refused))
                continue
            _, _, subjects, parts = groups[shape]
            for part, row in zip(parts, rows, strict=True):
                if row is not None:
                    part.write.rows.append(row)
                    part.numbers.append(len(subjects))
            subjects.append(subject)
        made = [group for _, group, subjects, _ in groups.values() if subjects]
        folded.changes += [group for group in made if group.write.kind != WriteKind.DELETE]
        folded.deletes[:0] = [group for group in made if group.write.kind == WriteKind.DELETE]

    def key_writer(self) -> tuple[Callable[[Item], Row], TableWrite]:
        """How the main row of a record is found: its key columns, and an UPDATE of these. May raise Refused."""
        writer = self._compiler.compiled(RecordWrite.UPDATE, 0, 0)
        main = writer.writers[writer.main]
        width = len(main.key)
        main = msgspec.structs.replace(main, cells=main.cells[:width])

        def row_of(item: Item) -> Row:
            return [cell.value(decode_key(item[2], writer.key_width)) for cell in main.cells]

        return row_of, main.write()

    def _writer(self, shape: tuple[int, int, int]) -> ShapeWriter | Refused:
        """Why a shape cannot be written is kept too: it says that the record must be told whole."""
        known = self._writers.get(shape)
        if known is None:
            try:
                known = self._compiler.compiled(*shape)
            except Refused as refused:
                known = refused
            self._writers[shape] = known
        return known


def _begun(writer: ShapeWriter) -> tuple[ShapeWriter, Grouped, list[Subject], list[PartRows]]:
    parts = [PartRows(one.write(), []) for one in writer.writers]
    subjects: list[Subject] = []
    main = writer.main
    group = Grouped(
        parts[main].write, subjects, writer.constants is not None, before=parts[:main], after=parts[main + 1 :]
    )
    return writer, group, subjects, parts

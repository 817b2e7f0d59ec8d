"""Records that get another business key: only the rows that hold the key are written. Pure.

They are found by the key before, which an item (`RecordWrite.REKEY`) has in the place of values. Renames come before
whatever else is written of an entity, and in their order: one may take what another leaves.
"""

from __future__ import annotations

from collections.abc import Callable

from cdcd.errors import Refused
from cdcd.folding.folded import Folded, Grouped, PartRows, Unwritable
from cdcd.folding.parts import Cell, RowWriter, ShapeWriter
from cdcd.folding.paths import BindingPaths, FromSource, lookup_of, value_of
from cdcd.model import WriteKind
from cdcd.outbox import Item
from cdcd.parking.parked import Subject
from cdcd.resolve.keys import encode_key
from cdcd.resolve.plan import MAIN
from cdcd.values import ValueRefused


class Renames:
    """The renames of one entity that are pending, in steps: within a step none takes what another leaves."""

    def __init__(self, number: int, paths: BindingPaths) -> None:
        self._number = number
        self._paths = paths
        self._writer: ShapeWriter | None = None
        self._steps: list[list[Item]] = []
        self._olds: set[bytes] = set()
        self._news: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, item: Item) -> None:
        """Add a rename behind the others."""
        old, new = encode_key(item[4]), item[2]
        if not self._steps or old in self._news or new in self._olds:
            self._steps.append([])
            self._olds, self._news = set(), set()
        self._steps[-1].append(item)
        self._olds.add(old)
        self._news.add(new)

    def keys(self) -> list[bytes]:
        """The present keys."""
        return [item[2] for step in self._steps for item in step]

    def clear(self) -> None:
        """Nothing is pending any more."""
        self._steps, self._olds, self._news = [], set(), set()

    def take(self, folded: Folded, is_whole: Callable[[bytes], bool]) -> list[Grouped]:
        """The writes of what is pending; of records that are told whole besides, the row may be missing.

        An item says that itself by an initial mask, where it is kept apart from what else is told.
        """
        groups: list[Grouped] = []
        for step in self._steps:
            for whole in (False, True):
                items = [item for item in step if (bool(item[5]) or is_whole(item[2])) is whole]
                groups += self._group(items, folded, whole=whole) if items else []
        self.clear()
        return groups

    def _group(self, items: list[Item], folded: Folded, *, whole: bool) -> list[Grouped]:
        subjects = [(self._number, item[2]) for item in items]
        try:
            self._writer = self._writer or renaming(self._paths)
        except Refused as refused:
            folded.unwritable += [Unwritable(subject, refused) for subject in subjects]
            return []
        parts = [PartRows(writer.write(), []) for writer in self._writer.writers]
        written: list[Subject] = []
        for subject, item in zip(subjects, items, strict=True):
            try:
                rows = self._writer.rows(item, 0)
            except ValueRefused as refused:
                folded.unwritable.append(Unwritable(subject, refused))
                continue
            for part, row in zip(parts, rows, strict=True):
                assert row is not None
                part.write.rows.append(row)
                part.numbers.append(len(written))
            written.append(subject)
        return [Grouped(parts[0].write, written, missing_is_fine=whole, after=parts[1:])] if written else []


def renaming(paths: BindingPaths) -> ShapeWriter:
    """The writers of items that say the present key and, as values, the one before. Raises Refused."""
    names = [MAIN, *(part.name for part in paths.binding.parts if part.write == "row")]
    former = paths.of_former_key()
    if (plain := _plain(paths, former)) is not None:
        return ShapeWriter(paths.entity.key_width, (plain,), 0, None)
    writers = [writer for name in names if (writer := _row(paths, former, name)) is not None]
    if paths.binding.xref:
        writers.append(_xref_entry(paths, former))
    return ShapeWriter(paths.entity.key_width, tuple(writers), 0, None)


def _plain(paths: BindingPaths, former: BindingPaths) -> RowWriter | None:
    """Where the key is in the main row alone, and in no reference: the key itself is changed."""
    binding = paths.binding
    if binding.is_gathered or not all(isinstance(step, FromSource) for _, step in paths.keys(MAIN)):
        return None
    cells = [Cell(name, value_of(step)) for which in (former, paths) for name, step in which.keys(MAIN)]
    names = tuple(cell.column for cell in cells[: len(cells) // 2])
    return RowWriter(binding.table, WriteKind.REKEY, names, tuple(cells))


def _row(paths: BindingPaths, former: BindingPaths, name: str) -> RowWriter | None:
    """Where a row holds fields of the key, or refers to what does: these columns."""
    own = {bound.place[1] for bound in paths.key_columns(name)}
    own |= {part.at for part in paths.binding.hanging(name) if part.write == "refer" and part.at is not None}
    constant = {part.at for part in paths.binding.hanging(name) if paths.is_constant(part)}
    steps = [(column, step) for column, step in paths.keys(name) if column in own - constant]
    if not steps:
        return None
    row_id, found = paths.id_of(name), former.row(name)
    cells = [Cell(row_id, value_of(found), found.lookup(row_id))]
    cells += [Cell(column, value_of(step), lookup_of(column, step)) for column, step in steps]
    return RowWriter(paths.table_of(name), WriteKind.UPDATE, (row_id,), tuple(cells), numbers_new=True)


def _xref_entry(paths: BindingPaths, former: BindingPaths) -> RowWriter:
    entity = paths.entity.name
    keys = [value_of(which.xref_key()) for which in (former, paths)]
    cells = [cell for key in keys for cell in (Cell("entity", lambda _source: entity), Cell("key", key))]
    return RowWriter(paths.binding.xref_table, WriteKind.REKEY, ("entity", "key"), tuple(cells))

"""A large unit in which no record occurs twice is folded where it lies: in the outbox, one stored row of it at a time.

Nothing has to be brought together then, so nothing is put aside on disk, and the target is written in the order of the source.
The unit is decoded once more for that. Measured (one update of 70,000 rows): 2.1 instead of 7.8 µs a row.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from cdcd.folding.copies import CopyFolder
from cdcd.folding.fold import Folder
from cdcd.folding.folded import Folded, Grouped, Groups, Unwritable
from cdcd.folding.paged import PagedGroups
from cdcd.folding.records import RecordFolder
from cdcd.model import Op
from cdcd.outbox import Item, RecordWrite, StoredUnits, Unit
from cdcd.stored_rows import with_values

KEYS_MAX: Final = 4_000_000
"""A unit of more rows goes by way of the disk: its keys take 8 bytes each."""
_BUCKETS: Final = 64
_BOUNDS: Final = [(number + 1) * 2**64 // _BUCKETS - 2**63 for number in range(_BUCKETS)]
_COPIED: Final = (Op.INSERT, Op.UPDATE, Op.DELETE, Op.READ)
_TOLD: Final = (RecordWrite.FULL, RecordWrite.UPDATE, RecordWrite.DELETE)
_Step = tuple[int, Literal["removed", "changes", "last", "deletes"]]
"""The number of a folder, and which of what it folds."""


class DistinctKeys:
    """Tells whether all of many keys differ. In doubt it says no: two keys may have one hash.

    Hashes are kept by their range, so that no more than a few of them are Python objects at a time.
    """

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]
        self.count = 0

    def add(self, keys: Sequence[Hashable]) -> None:
        """Take note of keys; cheapest for thousands."""
        hashes = sorted(map(hash, zip(keys, strict=True)))  # of a tuple: that of an integer is itself
        self.count += len(hashes)
        start = 0
        for bucket, bound in zip(self._buckets, _BOUNDS, strict=True):
            end = bisect_left(hashes, bound, start)
            bucket.extend(hashes[start:end])
            start = end

    def are_distinct(self) -> bool:
        """Whether no two were equal."""
        return all(len(set(bucket)) == len(bucket) for bucket in self._buckets)


class _Page(NamedTuple):
    """A stored row, and the one before it in its step."""

    after: int | None
    row_id: int


class InPlaceFold:
    """Folds one unit of which nothing is parked. Have it `take` all rows, then go through what is `ordered`."""

    def __init__(
        self,
        folder: Folder,
        number: int,
        read: Callable[[int], StoredUnits],
        unwritable: Callable[[Sequence[Unwritable]], None],
    ) -> None:
        """The unit has this `number`; `read` gives a row of the outbox again.

        `unwritable` is called with what cannot be written, when its row is folded first.
        """
        self.cleared: list[int] = []
        self._folder = folder
        self._number = number
        self._read = read
        self._unwritable = unwritable
        self._keys: dict[int, DistinctKeys] = {}
        self._rows: dict[int, list[int]] = {}
        self._rows_with_deletes: dict[int, list[int]] = {}
        self._told: set[tuple[int, int]] = set()

    # ---- looking through -----------------------------------------------------------------------------------------

    def take(self, row: StoredUnits) -> bool:
        """Look through a row; False when the unit cannot be folded here. Raises NeedsOperator as `CopyFolder.add` does."""
        keys: dict[int, list[Hashable]] = {}
        with_deletes: set[int] = set()
        for unit in self._units(row):
            for item in unit.items:
                found = self._keys_of(item, partial=unit.partial)
                if found is None:
                    return False
                keys.setdefault(item[0], []).extend(found)
                if item[1] == (Op.DELETE if item[0] < 0 else RecordWrite.DELETE):
                    with_deletes.add(item[0])
        for number, listed in keys.items():
            self._keys.setdefault(number, DistinctKeys()).add(listed)
            self._rows.setdefault(number, []).append(row.id)
        for number in with_deletes:
            self._rows_with_deletes.setdefault(number, []).append(row.id)
        return sum(known.count for known in self._keys.values()) <= KEYS_MAX

    def _units(self, row: StoredUnits) -> list[Unit]:
        return [unit for unit in row.units() if unit.number == self._number]

    def _keys_of(self, item: Item, *, partial: bool) -> Sequence[Hashable] | None:
        """The keys of records that an item tells of; None when more than one write may come of one."""
        if item[0] >= 0:
            return [item[2]] if item[1] in _TOLD else None
        number, op, relation, rows, olds = item
        copy = self._folder.copies.get(number)
        if copy is None:
            return []
        if op not in _COPIED or (olds is not None and olds.count(None) < len(olds)):
            return None
        shape = self._folder.relation(relation)
        layout = copy.table.layout(shape)
        rows, _ = with_values(shape, rows)
        if op == Op.DELETE:
            copy.check_keys(layout, rows, partial=partial)
        return [*map(layout.key_of, rows)]

    def is_fit(self) -> bool:
        """Whether no record occurs twice in the rows that were taken."""
        return all(keys.are_distinct() for keys in self._keys.values())

    # ---- the writes ----------------------------------------------------------------------------------------------

    @property
    def has_deletes(self) -> bool:
        """Whether it can be tried in another order."""
        return any(number >= 0 for number in self._rows_with_deletes)

    def ordered(self, *, deletes_first: bool) -> Groups:
        """All writes in order (see `Folded.ordered`)."""
        copies = [number for number in self._folder.copies if number in self._rows]
        records = [number for number in self._folder.records if number in self._rows]
        steps: list[_Step] = [(number, "removed") for number in reversed(copies)]
        steps += [(number, "changes") for number in (*copies, *records)]
        steps += [(number, "last") for number in records if self._folder.records[number].has_late]
        deletes: list[_Step] = [(number, "deletes") for number in reversed(records)]
        return PagedGroups(deletes + steps if deletes_first else steps + deletes, self._pages, self._groups)

    def _pages(self, step: _Step, after: int | None) -> Iterator[_Page]:
        number, part = step
        rows = self._rows_with_deletes if part in ("removed", "deletes") else self._rows
        row_ids = rows.get(number, [])
        for at in range(0 if after is None else bisect_right(row_ids, after), len(row_ids)):
            yield _Page(row_ids[at - 1] if at else None, row_ids[at])

    def _groups(self, step: _Step, page: _Page) -> list[Grouped]:
        number, part = step
        units = self._units(self._read(page.row_id))
        folded = Folded()
        if number < 0:
            self._fold_copied(self._folder.copies[number], units, folded)
        else:
            self._fold_records(self._folder.records[number], units, folded)
        if folded.unwritable and (number, page.row_id) not in self._told:
            self._told.add((number, page.row_id))
            self._unwritable(folded.unwritable)
        groups: list[Grouped] = getattr(folded, part)
        return groups

    def _fold_copied(self, copy: CopyFolder, units: Sequence[Unit], folded: Folded) -> None:
        """Of what is parked nothing is looked at: that is of this unit itself, and would be folded otherwise the next time."""
        for unit in units:
            for item in unit.items:
                if item[0] == copy.number:
                    _, op, relation, rows, _ = item
                    copy.add(op, self._folder.relation(relation), rows, None, partial=unit.partial)
        copy.take(folded, None)

    def _fold_records(self, record: RecordFolder, units: Sequence[Unit], folded: Folded) -> None:
        for unit in units:
            record.note_commit_time(unit.committed_at_us)
            for item in unit.items:
                if item[0] == record.entity.number:
                    record.add(item)
        record.take(folded)

    def count_waiting(self) -> int:
        """Nothing is parked that anything could wait behind."""
        return 0

"""What folding gives: table writes with the names of the records in them, ordered; and what cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol, overload

import msgspec

from cdcd.errors import CdcdError
from cdcd.model import Row, TableWrite, WriteKind
from cdcd.parking.parked import Subject

_encode: Final = msgspec.msgpack.Encoder().encode


class KeptRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of a plain copy as it is parked: what its source said, so that it can be converted and tried again.

    `old` is the key that the row has in the target until it is written, where that is another one.
    """

    kind: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    values: list[Any]
    old: list[Any] = []

    def encode(self) -> bytes:
        """The stored form."""
        return _encode(self)


class PartRows(msgspec.Struct, gc=False):
    """Rows of a further table that belong to rows of a write: to those with these `numbers`."""

    write: TableWrite
    numbers: list[int]

    def only(self, numbers: Mapping[int, int]) -> PartRows:
        """The same with the rows that belong to some, which have other numbers now."""
        kept = [place for place, number in enumerate(self.numbers) if number in numbers]
        rows = self.write.rows
        write = msgspec.structs.replace(self.write, rows=[rows[place] for place in kept])
        return PartRows(write, [numbers[self.numbers[place]] for place in kept])


class Subjects(Sequence[Subject]):
    """The subjects of records or rows with these keys. Made only when they are asked for: nearly always nothing is refused."""

    def __init__(self, number: int, keys: Sequence[Any], encode: Callable[[Any], bytes]) -> None:
        """`encode` gives the name of one by its key."""
        self._number = number
        self._keys = keys
        self._encode = encode

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Subject: ...
    @overload
    def __getitem__(self, index: slice) -> Subjects: ...
    def __getitem__(self, index: int | slice) -> Subject | Subjects:
        if isinstance(index, slice):
            return Subjects(self._number, self._keys[index], self._encode)
        return self._number, self._encode(self._keys[index])


class Grouped(msgspec.Struct, gc=False):
    """A table write and the subjects of its rows.

    Records in several tables have rows `before` and `after` it, which are written in the same transaction.

    `missing_is_fine` for rows that may be gone already (archiving). Of plain copies `types` are the source's types of
    the columns, and `sources` the rows in them: the same as the write's where nothing had to be converted. `olds` are
    the keys that the rows had, where a REKEY before this write gave them others.
    """

    write: TableWrite
    subjects: Sequence[Subject]
    missing_is_fine: bool = False
    types: tuple[str, ...] = ()
    sources: Sequence[Row] = ()
    olds: Sequence[Row] = ()
    before: Sequence[PartRows] = ()
    after: Sequence[PartRows] = ()

    def writes(self) -> list[TableWrite]:
        """All writes in order."""
        if not self.before and not self.after:
            return [self.write]
        return [write for write, _ in self._numbered()]

    def _numbered(self) -> Iterator[tuple[TableWrite, Sequence[int]]]:
        yield from ((part.write, part.numbers) for part in self.before if part.numbers)
        yield self.write, range(len(self.subjects))
        yield from ((part.write, part.numbers) for part in self.after if part.numbers)

    def number_of(self, write: int, row: int) -> int:
        """The number of the record that a row of one of the `writes` belongs to."""
        if not self.before and not self.after:
            return row
        return next(islice(self._numbered(), write, None))[1][row]

    @property
    def prepares(self) -> bool:
        """Whether this is only done for the sake of the rows of plain copies in later writes."""
        is_copy = not self.subjects or self.subjects[0][0] < 0
        return self.write.kind == WriteKind.CLEAR or (self.write.kind == WriteKind.REKEY and is_copy)

    def kept(self, index: int) -> bytes | None:
        """What must be kept of a row to try it again: nothing of a record, which resolve can tell anew."""
        if not self.types:
            return None
        old = self.olds[index] if self.olds else []
        return KeptRow(self.write.kind, self.write.columns, self.types, self.sources[index], old).encode()

    def only(self, numbers: Sequence[int]) -> Grouped:
        """The same with some of the rows."""
        rows = self.write.rows
        renumbered = {number: place for place, number in enumerate(numbers)}
        return Grouped(
            msgspec.structs.replace(self.write, rows=[rows[n] for n in numbers]),
            [self.subjects[n] for n in numbers],
            self.missing_is_fine,
            self.types,
            [self.sources[n] for n in numbers] if self.sources else (),
            [self.olds[n] for n in numbers] if self.olds else (),
            [part.only(renumbered) for part in self.before],
            [part.only(renumbered) for part in self.after],
        )


class Groups(Protocol):
    """A batch's writes in order, which can be gone through again: in memory, or read back from disk."""

    def between(self, first: int, last: int | None = None) -> Iterator[Grouped]:
        """The writes from number `first` on, to before number `last`."""
        ...

    def at(self, number: int) -> Grouped:
        """One of the writes that `between` has given before."""
        ...


class ListedGroups:
    """Writes in memory."""

    def __init__(self, groups: list[Grouped]) -> None:
        self._groups = groups

    def between(self, first: int, last: int | None = None) -> Iterator[Grouped]:
        """See `Groups`."""
        return islice(self._groups, first, last)

    def at(self, number: int) -> Grouped:
        """See `Groups`."""
        return self._groups[number]


class Unmoved:
    """Other groups without what follows a key that could not be changed: another row may have that key."""

    def __init__(self, groups: Groups, unmoved: Container[Subject]) -> None:
        """`unmoved` may grow meanwhile, by keys of which nothing was written yet."""
        self._groups = groups
        self._unmoved = unmoved

    def between(self, first: int, last: int | None = None) -> Iterator[Grouped]:
        """See `Groups`."""
        return map(self._without, self._groups.between(first, last))

    def at(self, number: int) -> Grouped:
        """See `Groups`."""
        return self._without(self._groups.at(number))

    def _without(self, group: Grouped) -> Grouped:
        if not group.olds:
            return group
        good = [number for number, subject in enumerate(group.subjects) if subject not in self._unmoved]
        return group if len(good) == len(group.subjects) else group.only(good)


class Unwritable(msgspec.Struct, frozen=True):
    """A record, or a row of a plain copy, that has no faithful form in the target."""

    subject: Subject
    refused: CdcdError
    kept: bytes | None = None


class Folded(msgspec.Struct):
    """A batch ready to be written, and what cannot be.

    `emptied` are the tables of plain copies to clear, `removed` the rows of plain copies to delete, `changes` upserts and
    updates, in dependency order, `last` the references that are set when all rows are there, `deletes` of records, in
    reverse. `cleared` are the numbers of the copies in `emptied`.
    """

    emptied: list[Grouped] = []
    removed: list[Grouped] = []
    changes: list[Grouped] = []
    last: list[Grouped] = []
    deletes: list[Grouped] = []
    unwritable: list[Unwritable] = []
    cleared: list[int] = []

    @property
    def has_deletes(self) -> bool:
        """Whether it can be tried in another order."""
        return bool(self.deletes)

    def ordered(self, *, deletes_first: bool) -> Groups:
        """All groups in the order of writing."""
        before = self.emptied + self.removed
        if deletes_first:
            return ListedGroups(self.deletes + before + self.changes + self.last)
        return ListedGroups(before + self.changes + self.last + self.deletes)


def joined(groups: Iterable[Grouped]) -> list[Grouped]:
    """Writes of a row each, those of one shape that follow one another put together."""
    found: list[Grouped] = []
    for group in groups:
        last = found[-1] if found else None
        if last is None or group.olds or _shape(last) != _shape(group):
            found.append(group)
            continue
        last.write.rows += group.write.rows
        last.subjects = [*last.subjects, *group.subjects]
        last.sources = [*last.sources, *group.sources]
    return found


def _shape(group: Grouped) -> tuple[object, ...]:
    write = group.write
    return (write.table, write.kind, write.columns, group.types, group.missing_is_fine, bool(group.olds))

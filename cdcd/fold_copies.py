"""Plain copies: rows of a source table to writes of a target table. Pure; compiled once per shape of rows.

Within a batch a row is written once, as it was last. Values are converted to the target's types, exactly or not at
all (Invariant 7). A log may leave out values that did not change (ABSENT): they are taken from an earlier version of
the row, in the batch or among the parked; without one, the row is updated in its other columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, Final, TypeAlias, overload

import msgspec

from cdcd.conversions import Convert, between
from cdcd.errors import NeedsOperator
from cdcd.folded import Folded, Grouped, KeptRow, Unwritable
from cdcd.model import ABSENT, Op, Relation, Row, TableShape, TableWrite, WriteKind
from cdcd.parked import ParkedRecords, Subject
from cdcd.resolve.keys import encode_key
from cdcd.resolve.plan import Route
from cdcd.values import ValueRefused, parse_type

_decode_kept: Final = msgspec.msgpack.Decoder(KeptRow, ext_hook=lambda _code, _data: ABSENT).decode

RowKey: TypeAlias = Any
"""The value of the target's one key column, or a tuple where it has several."""


class CopySubjects(Sequence[Subject]):
    """The subjects of copied rows. Made only when they are asked for: nearly always nothing is refused."""

    def __init__(self, number: int, keys: list[RowKey], *, single: bool) -> None:
        self._number = number
        self._keys = keys
        self._single = single

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Subject: ...
    @overload
    def __getitem__(self, index: slice) -> CopySubjects: ...
    def __getitem__(self, index: int | slice) -> Subject | CopySubjects:
        if isinstance(index, slice):
            return CopySubjects(self._number, self._keys[index], single=self._single)
        key = self._keys[index]
        return self._number, encode_key((key,) if self._single else key)


class _Writer:
    """Makes writes of rows that hold the same columns of a source, in the order of `columns`."""

    def __init__(
        self, kind: WriteKind, columns: tuple[str, ...], types: tuple[str, ...], converts: list[Convert | None]
    ) -> None:
        self.kind = kind
        self.columns = columns
        self.types = types
        self.converts = [(at, convert) for at, convert in enumerate(converts) if convert is not None]

    def converted(self, row: Row) -> Row:
        """The row in the target's types. Raises ValueRefused."""
        converted = list(row)
        for at, convert in self.converts:
            value = converted[at]
            if value is not None:
                converted[at] = convert(value)
        return converted


class _Layout:
    """Where a relation's rows have the target's key, and the other columns that the target can be given."""

    def __init__(self, relation: Relation, key: tuple[str, ...], others: list[int], key_places: list[int]) -> None:
        self.relation = relation
        self.key_places = key_places
        self.key_of = itemgetter(*key_places)
        self.single = len(key) == 1
        self.others = others
        self.writers: dict[tuple[int, ...], tuple[_Writer, list[int]]] = {}
        self.deleter: _Writer | None = None


class _Pile(msgspec.Struct):
    """Rows for one writer, and their keys."""

    writer: _Writer
    places: list[int]
    keys: list[RowKey] = []
    rows: list[Row] = []


class CopyFolder:
    """Folds the rows of one plain copy."""

    def __init__(self, route: Route, shape: TableShape) -> None:
        self.route = route
        self._number = -1 - route.number
        self._key = shape.primary_key
        self._types = {column.name: parse_type(column.type) for column in shape.columns if not column.generated}
        self._layouts: dict[int, _Layout] = {}
        self._rows: dict[RowKey, tuple[_Layout, Row | None]] = {}
        self._partial = False
        if not self._key:
            raise NeedsOperator(
                f"table {route.target_table} in {route.target!r} cannot be copied to",
                code="no-primary-key",
                cause="it has no primary key",
                remedy=f"add a primary key to {route.target_table}",
            )

    def add(
        self, op: int, relation: Relation, rows: list[Row], olds: list[Row | None] | None, *, partial: bool
    ) -> None:
        """Fold a run of rows onto what is pending for their keys. `partial`: some value somewhere may be ABSENT."""
        layout = self._layouts.get(id(relation)) or self._layout(relation)
        if op == Op.DELETE:
            if partial and any(row[at] is ABSENT for row in rows for at in layout.key_places):
                raise _key_not_in_log(self.route, self._key)
            self._rows.update(zip(map(layout.key_of, rows), repeat((layout, None))))
        elif partial or (olds is not None and olds.count(None) < len(olds)):
            self._partial = self._partial or partial
            for row, old in zip(rows, olds or repeat(None), strict=False):
                self._add_row(layout, row, old)
        else:
            self._rows.update(zip(map(layout.key_of, rows), zip(repeat(layout), rows, strict=False), strict=True))

    def _add_row(self, layout: _Layout, row: Row, old: Row | None) -> None:
        key = layout.key_of(row)
        known = self._rows.get(key)
        if old is not None and (old_key := layout.key_of(old)) != key:
            known = self._rows.get(old_key)
            self._rows[old_key] = (layout, None)
        if known is not None and known[1] is not None:
            row = _filled(layout.relation, row, dict(zip(known[0].relation.columns, known[1], strict=True)))
        self._rows[key] = (layout, row)

    def take(self, folded: Folded, parked: ParkedRecords | None) -> None:
        """Move what is pending into `folded`: deletes before the rest, so that unique values can move."""
        deletes: dict[int, _Pile] = {}
        changes: dict[int, _Pile] = {}
        layout, pile = None, None
        for key, (row_layout, row) in self._rows.items():
            if row is None:
                deleted = deletes.get(id(row_layout))
                if deleted is None:
                    deleted = deletes[id(row_layout)] = _Pile(self._deleter(row_layout), [*range(len(self._key))])
                deleted.keys.append(key)
                deleted.rows.append([key] if row_layout.single else list(key))
            elif self._partial and any(value is ABSENT for value in row):
                self._take_partial(changes, key, row_layout, row, parked)
            else:
                if row_layout is not layout or pile is None:
                    layout, pile = row_layout, self._pile(changes, row_layout, ())
                pile.keys.append(key)
                pile.rows.append(row)
        self._rows = {}
        self._partial = False
        folded.changes[:0] = [group for pile in deletes.values() if (group := self._group(pile, folded)).subjects]
        folded.changes += [group for pile in changes.values() if (group := self._group(pile, folded)).subjects]

    def _take_partial(
        self, changes: dict[int, _Pile], key: RowKey, layout: _Layout, row: Row, parked: ParkedRecords | None
    ) -> None:
        if parked:
            kept = parked.row(CopySubjects(self._number, [key], single=layout.single)[0])
            if kept is not None:
                row = _filled(layout.relation, row, _same_typed(_decode_kept(kept), layout.relation))
        pile = self._pile(changes, layout, tuple([at for at, value in enumerate(row) if value is ABSENT]))
        pile.keys.append(key)
        pile.rows.append(row)

    def retried(self, subject: Subject, kept: bytes) -> Grouped:
        """The write of a parked row. Raises ValueRefused when it still has no faithful form."""
        row = _decode_kept(kept)
        gone = [name for name in row.columns if name not in self._types]
        if gone:
            raise ValueRefused(f"table {self.route.target_table} has no column {', '.join(gone)} any more")
        writer = self._writer(WriteKind(row.kind), row.columns, row.types)
        write = TableWrite(
            self.route.target_table, writer.kind, self._key, writer.columns, [writer.converted(row.values)]
        )
        return Grouped(write, [subject], types=row.types, sources=[row.values])

    def _group(self, pile: _Pile, folded: Folded) -> Grouped:
        """The pile as a table write; rows that cannot be written go to `folded.unwritable`."""
        writer, sources = pile.writer, pile.rows
        if pile.places != [*range(len(sources[0]))]:
            pick = itemgetter(*pile.places) if len(pile.places) > 1 else lambda row: (row[pile.places[0]],)
            sources = [list(pick(row)) for row in sources]
        keys, rows = pile.keys, sources
        if writer.converts:
            keys, sources, rows = self._convert(writer, keys, sources, folded)
        subjects = CopySubjects(self._number, keys, single=len(self._key) == 1)
        write = TableWrite(self.route.target_table, writer.kind, self._key, writer.columns, rows)
        return Grouped(write, subjects, types=writer.types, sources=sources)

    def _convert(
        self, writer: _Writer, keys: list[RowKey], sources: list[Row], folded: Folded
    ) -> tuple[list[RowKey], list[Row], list[Row]]:
        taken: tuple[list[RowKey], list[Row], list[Row]] = ([], [], [])
        for key, source in zip(keys, sources, strict=True):
            try:
                row = writer.converted(source)
            except ValueRefused as refused:
                subject = CopySubjects(self._number, [key], single=len(self._key) == 1)[0]
                kept = KeptRow(writer.kind, writer.columns, writer.types, source).encode()
                folded.unwritable.append(Unwritable(subject, refused, kept))
                continue
            for values, value in zip(taken, (key, source, row), strict=True):
                values.append(value)
        return taken

    # ---- compiled once ---------------------------------------------------------------------------------------

    def _layout(self, relation: Relation) -> _Layout:
        try:
            places = [relation.columns.index(name) for name in self._key]
        except ValueError:
            raise NeedsOperator(
                f"table {self.route.source_table} cannot be copied to {self.route.target!r}",
                code="schema-changed",
                cause=f"it lacks a column of the target's primary key ({', '.join(self._key)})",
                remedy="give both tables the same primary key",
            ) from None
        others = [at for at, name in enumerate(relation.columns) if at not in places and name in self._types]
        layout = self._layouts[id(relation)] = _Layout(relation, self._key, others, places)
        return layout

    def _pile(self, piles: dict[int, _Pile], layout: _Layout, absent: tuple[int, ...]) -> _Pile:
        known = layout.writers.get(absent)
        if known is None:
            places = [*layout.key_places, *(at for at in layout.others if at not in absent)]
            columns, types = layout.relation.columns, layout.relation.types
            kind = WriteKind.UPDATE if absent else WriteKind.UPSERT
            writer = self._writer(kind, tuple(columns[at] for at in places), tuple(types[at] for at in places))
            known = layout.writers[absent] = (writer, places)
        writer, places = known
        return piles.setdefault(id(writer), _Pile(writer, places))

    def _deleter(self, layout: _Layout) -> _Writer:
        if layout.deleter is None:
            types = tuple(layout.relation.types[at] for at in layout.key_places)
            layout.deleter = self._writer(WriteKind.DELETE, self._key, types)
        return layout.deleter

    def _writer(self, kind: WriteKind, columns: tuple[str, ...], types: tuple[str, ...]) -> _Writer:
        return _Writer(kind, columns, types, [self._convert_to(*named) for named in zip(columns, types, strict=True)])

    def _convert_to(self, column: str, source_type: str) -> Convert | None:
        try:
            return between(parse_type(source_type), self._types[column])
        except ValueError as error:
            raise NeedsOperator(
                f"table {self.route.source_table} cannot be copied to {self.route.target!r}",
                code="type-mismatch",
                cause=f"column {self.route.target_table}.{column}: {error}",
                remedy="give the column a type that holds the source's values, or bind the table to an entity",
            ) from error


def _filled(relation: Relation, row: Row, known: dict[str, Any]) -> Row:
    """The row, with values that the log did not carry taken from `known`, by column."""
    return [
        known.get(name, ABSENT) if value is ABSENT else value for name, value in zip(relation.columns, row, strict=True)
    ]


def _same_typed(kept: KeptRow, relation: Relation) -> dict[str, Any]:
    types = dict(zip(relation.columns, relation.types, strict=True))
    return {
        name: value
        for name, kind, value in zip(kept.columns, kept.types, kept.values, strict=True)
        if types.get(name) == kind
    }


def _key_not_in_log(route: Route, key: tuple[str, ...]) -> NeedsOperator:
    return NeedsOperator(
        f"a deleted row of {route.source_table} cannot be named in {route.target!r}",
        code="key-not-logged",
        cause=f"the source's log does not carry {', '.join(key)} of deleted rows",
        remedy="give both tables the same primary key (PostgreSQL: or set the table's REPLICA IDENTITY to it)",
    )

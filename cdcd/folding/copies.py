"""Plain copies: rows of a source table to writes of a target table. Pure; compiled once per shape of rows.

Within a batch a row is written once, as it was last. Values are converted to the target's types, exactly or not at
all (Invariant 7). A log may leave out values that did not change (ABSENT): they are taken from an earlier version of
the row, in the batch or among the parked; without one, the row is updated in its other columns, after it was given
its new key where that has changed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, Final

import msgspec

from cdcd.errors import NeedsOperator, Refused
from cdcd.folding.copy_layout import CopyTable, Layout, RowKey, Writer
from cdcd.folding.folded import Folded, Grouped, KeptRow, Subjects, Unwritable
from cdcd.model import ABSENT, Op, Relation, Row, TableShape, TableWrite, WriteKind
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.resolve.keys import encode_key
from cdcd.resolve.plan import Route
from cdcd.stored_rows import with_values
from cdcd.values import ValueRefused

decode_kept: Final = msgspec.msgpack.Decoder(KeptRow, ext_hook=lambda _code, _data: ABSENT).decode
"""The row of a plain copy that was kept in this form (see `KeptRow.encode`)."""


def _encode_single(key: RowKey) -> bytes:
    return encode_key((key,))


class _Pile(msgspec.Struct):
    """Rows for one writer, and their keys; where a REKEY comes before them, also the keys that they had."""

    writer: Writer
    places: list[int] | None
    likely_new: bool = False
    keys: list[RowKey] = []
    rows: list[Row] = []
    olds: list[Row] = []


class _Stage(msgspec.Struct):
    """What is pending: first `moves` (layout, old key, new key), then of each key what was said last, None if deleted.

    The keys of moves were not touched before in their stage, so that moves can come first. `moved` are their old keys;
    `origins` has the old keys by the new ones. `new` has the keys of rows that were first said to be inserted.
    """

    rows: dict[RowKey, tuple[Layout, Row | None]] = {}
    new: set[RowKey] = set()
    moves: list[tuple[Layout, RowKey, RowKey]] = []
    moved: set[RowKey] = set()
    origins: dict[RowKey, RowKey] = {}
    partial: bool = False


class CopyFolder:
    """Folds the rows of one plain copy."""

    def __init__(self, route: Route, shape: TableShape | None) -> None:
        self.route = route
        self.number = -1 - route.number
        self.table = CopyTable(route, shape)
        self._stage = _Stage()
        self._closed: list[_Stage] = []
        self._cleared = False

    # ---- adding ------------------------------------------------------------------------------------------------

    def add(
        self,
        op: int,
        relation: Relation,
        stored: list[Row] | bytes,
        olds: list[Row | None] | None,
        *,
        partial: bool,
        parked: ParkedRecords | None = None,
    ) -> None:
        """Fold a run of rows, as they were stored, onto what is pending for their keys.

        `partial`: some value somewhere may be ABSENT, apart from rows that have no values yet.
        """
        if not stored:
            return
        rows, is_lacking = with_values(relation, stored)
        partial = partial or is_lacking
        layout = self.table.layout(relation)
        pending = self._stage.rows
        if op == Op.DELETE:
            self.check_keys(layout, rows, partial=partial)
            pending.update(zip(map(layout.key_of, rows), repeat((layout, None))))
        elif partial or (olds is not None and olds.count(None) < len(olds)):
            self._stage.partial = self._stage.partial or partial
            for row, old in zip(rows, olds or repeat(None), strict=False):
                self._add_row(layout, row, old, parked)
        else:
            keys = [*map(layout.key_of, rows)]
            if op != Op.UPDATE:
                self._stage.new.update(set(keys).difference(pending) if pending else keys)
            pending.update(zip(keys, zip(repeat(layout), rows, strict=False), strict=True))

    def clear(self) -> None:
        """The source's table was emptied: what is pending is moot, and comes before nothing."""
        self._cleared = True
        self._closed = []
        self._stage = _Stage()

    def check_keys(self, layout: Layout, rows: Sequence[Row | None], *, partial: bool) -> None:
        """Raise NeedsOperator where the log does not carry the key of a row that is gone."""
        if partial and any(row is not None and row[at] is ABSENT for row in rows for at in layout.key_places):
            raise _key_not_in_log(self.route, self.table.key)

    def _add_row(self, layout: Layout, row: Row, old: Row | None, parked: ParkedRecords | None) -> None:
        key = layout.key_of(row)
        if old is not None:
            self.check_keys(layout, [old], partial=True)
            old_key = layout.key_of(old)
            if old_key != key:
                self._add_moved(layout, row, old_key, key, parked)
                return
        known = self._stage.rows.get(key)
        if known is not None and known[1] is not None:
            row = filled(layout.relation, row, dict(zip(known[0].relation.columns, known[1], strict=True)))
        self._stage.rows[key] = (layout, row)

    def _add_moved(self, layout: Layout, row: Row, old_key: RowKey, key: RowKey, parked: ParkedRecords | None) -> None:
        """A row has got another key: the old one is deleted and the new one written, where all of the row is known."""
        known = self._stage.rows.get(old_key)
        if known is not None and known[1] is not None:
            row = filled(layout.relation, row, dict(zip(known[0].relation.columns, known[1], strict=True)))
        row = self.filled_from_parked(layout, row, old_key, parked)
        if self.is_whole(layout, row):
            self._stage.rows[old_key] = (layout, None)
        else:
            if layout.misfit is None:
                self._add_move(layout, old_key, key)
            self.note_origin(key, old_key)
        self._stage.rows[key] = (layout, row)

    def _add_move(self, layout: Layout, old_key: RowKey, key: RowKey) -> None:
        """The row is to be given its new key in the target before anything else is said of both keys."""
        stage = self._stage
        if any(one in stage.rows or one in stage.moved for one in (old_key, key)):
            self._closed.append(self._stage)
            self._stage = _Stage(partial=True)
        self._stage.moves.append((layout, old_key, key))
        self._stage.moved.add(old_key)

    def note_origin(self, key: RowKey, old_key: RowKey) -> None:
        """The row that now has `key` had another one in the target."""
        self._stage.origins[key] = old_key

    def is_whole(self, layout: Layout, row: Row) -> bool:
        """Whether all that the target is given of the row is known."""
        return not any(row[at] is ABSENT for at in (*layout.key_places, *layout.others))

    def filled_from_parked(self, layout: Layout, row: Row, key: RowKey, parked: ParkedRecords | None) -> Row:
        """The row with what the log left out taken from the parked version under `key`, where the types are the same."""
        kept = self._kept(layout, key, parked)
        if kept is None:
            return row
        types = dict(zip(layout.relation.columns, layout.relation.types, strict=True))
        known = {n: v for n, t, v in zip(kept.columns, kept.types, kept.values, strict=True) if types.get(n) == t}
        return filled(layout.relation, row, known)

    def _kept(self, layout: Layout, key: RowKey, parked: ParkedRecords | None) -> KeptRow | None:
        if not parked:
            return None
        kept = parked.row(self.subject(layout, key))
        return None if kept is None else decode_kept(kept)

    def subject(self, layout: Layout, key: RowKey) -> Subject:
        """The name of a row."""
        return self.number, encode_key((key,) if layout.single else key)

    # ---- taking ------------------------------------------------------------------------------------------------

    def take(self, folded: Folded, parked: ParkedRecords | None) -> None:
        """Move what is pending into `folded`: deletes before the rest, so that unique values can move."""
        if self._cleared:
            folded.cleared.append(self.number)
            folded.emptied.insert(0, self.clearing())
        stages = [*self._closed, self._stage]
        in_order = len(stages) > 1 or bool(stages[0].moves)
        for stage in stages:
            removed: list[Grouped] = []
            changes: list[Grouped] = []
            self._take(stage, folded, parked, removed, changes)
            if in_order:
                folded.changes += [*self.moving(stage.moves), *removed, *changes]
            else:
                folded.removed[:0] = removed
                folded.changes += changes
        self._closed, self._stage, self._cleared = [], _Stage(), False

    def clearing(self) -> Grouped:
        """The write that empties the target's table."""
        return Grouped(TableWrite(self.route.target_table, WriteKind.CLEAR, self.table.key, (), []), [])

    def moving(self, moves: Sequence[tuple[Layout, RowKey, RowKey]]) -> list[Grouped]:
        """The writes that give rows other keys.

        A key without a form in the target is left out: then no row has the old one, or the row itself is unwritable.
        """
        rows: list[Row] = []
        subjects: list[Subject] = []
        for layout, old_key, key in moves:
            writer = self.table.deleter(layout)
            try:
                row = [*writer.converted(_parts(layout, old_key)), *writer.converted(_parts(layout, key))]
            except ValueRefused:
                continue
            rows.append(row)
            subjects.append(self.subject(layout, key))
        write = TableWrite(self.route.target_table, WriteKind.REKEY, self.table.key, self.table.key, rows)
        return [Grouped(write, subjects, missing_is_fine=True)] if rows else []

    def _take(
        self,
        stage: _Stage,
        folded: Folded,
        parked: ParkedRecords | None,
        removed: list[Grouped],
        changes: list[Grouped],
    ) -> None:
        """A stage's deletes and other changes; what cannot be written goes to `folded.unwritable`."""
        deletes: dict[int, _Pile] = {}
        piles: dict[int, _Pile] = {}
        new_piles: dict[int, _Pile] = {}
        layout, old, new, gone_layout = None, None, None, None
        gone: _Pile | None = None
        is_new = stage.new.__contains__
        for key, (row_layout, row) in stage.rows.items():
            if row_layout.misfit is not None:
                folded.unwritable.append(self._misfit(row_layout, key, row, stage.origins.get(key), parked))
            elif row is None:
                if gone is None or row_layout is not gone_layout:
                    gone_layout, writer = row_layout, self.table.deleter(row_layout)
                    gone = deletes.setdefault(id(writer), _Pile(writer, None))
                gone.keys.append(key)
                gone.rows.append([key] if row_layout.single else list(key))
            elif stage.partial and not self.is_whole(row_layout, row):
                self._take_partial(piles, folded, key, row_layout, row, stage.origins.get(key), parked)
            else:
                if row_layout is not layout:
                    layout, old, new = row_layout, None, None
                if is_new(key):
                    pile = new = new or self._pile(new_piles, row_layout, likely_new=True)
                else:
                    pile = old = old or self._pile(piles, row_layout, likely_new=False)
                pile.keys.append(key)
                pile.rows.append(row)
        removed += [group for pile in deletes.values() if (group := self._group(pile, folded)).subjects]
        every = (*piles.values(), *new_piles.values())  # a new row may take a unique value that an old one gives up
        changes += [group for pile in every if (group := self._group(pile, folded)).subjects]

    def _pile(self, piles: dict[int, _Pile], layout: Layout, *, likely_new: bool) -> _Pile:
        writer, places = layout.whole or self._whole_writer(layout)
        return piles.setdefault(id(layout), _Pile(writer, places, likely_new))

    def _whole_writer(self, layout: Layout) -> tuple[Writer, list[int] | None]:
        places = [*layout.key_places, *layout.others]
        writer = self.table.writer(WriteKind.UPSERT, layout.names(places), layout.types(places))
        in_place = places == [*range(len(layout.relation.columns))]
        layout.whole = (writer, None if in_place else places)
        return layout.whole

    def _take_partial(
        self,
        piles: dict[int, _Pile],
        folded: Folded,
        key: RowKey,
        layout: Layout,
        row: Row,
        origin: RowKey | None,
        parked: ParkedRecords | None,
    ) -> None:
        kept = self._kept(layout, key, parked)
        if kept is None and origin is None:
            writer, places = self._partial_writer(layout, row)
            pile = piles.setdefault(id(writer), _Pile(writer, places))
            pile.keys.append(key)
            pile.rows.append(row)
            return
        known = _partial(layout, row, origin, kept)
        misfit = self.table.misfit(known.columns, known.types)
        if misfit is None and kept is not None and kept.old and origin is None:
            misfit = Refused("the row waits for another key", code="row-missing", cause="an earlier change is parked")
        if misfit is not None:
            folded.unwritable.append(Unwritable(self.subject(layout, key), misfit, known.encode()))
            return
        writer = self.table.writer(WriteKind(known.kind), known.columns, known.types)
        at = -2 * id(writer) - bool(known.old)  # unlike any id()
        pile = piles.setdefault(at, _Pile(writer, None))
        pile.keys.append(key)
        pile.rows.append(known.values)
        if known.old:
            pile.olds.append(known.old)

    def _partial_writer(self, layout: Layout, row: Row) -> tuple[Writer, list[int]]:
        absent = tuple([at for at in layout.others if row[at] is ABSENT])
        known = layout.partial.get(absent)
        if known is None:
            places = [*layout.key_places, *(at for at in layout.others if at not in absent)]
            writer = self.table.writer(WriteKind.UPDATE, layout.names(places), layout.types(places))
            known = layout.partial[absent] = (writer, places)
        return known

    def _misfit(
        self, layout: Layout, key: RowKey, row: Row | None, origin: RowKey | None, parked: ParkedRecords | None
    ) -> Unwritable:
        assert layout.misfit is not None
        if row is None:
            places = layout.key_places
            kept = KeptRow(WriteKind.DELETE, layout.names(places), layout.types(places), _parts(layout, key))
        else:
            kept = _partial(layout, row, origin, self._kept(layout, key, parked))
        return Unwritable(self.subject(layout, key), layout.misfit, kept.encode())

    def retried(self, subject: Subject, kept: bytes) -> list[Grouped]:
        """The writes of a parked row. Raises ValueRefused or Refused when it still does not fit."""
        row = decode_kept(kept)
        places = self.table.taken(row.columns)
        columns, types = tuple(row.columns[at] for at in places), tuple(row.types[at] for at in places)
        misfit = self.table.misfit(columns, types)
        if misfit is not None:
            raise misfit
        key = [columns.index(name) for name in self.table.key]
        order = key if row.kind == WriteKind.DELETE else [*key, *(n for n in range(len(columns)) if n not in key)]
        writer = self.table.writer(
            WriteKind(row.kind), tuple(columns[n] for n in order), tuple(types[n] for n in order)
        )
        source = [row.values[places[n]] for n in order]
        converted = writer.converted(source)
        write = TableWrite(self.route.target_table, writer.kind, self.table.key, writer.columns, [converted])
        olds = [row.old] if row.old else []
        group = Grouped(write, [subject], types=writer.types, sources=[source], olds=olds)
        if not olds:
            return [group]
        by_key = self.table.writer(WriteKind.DELETE, self.table.key, writer.types[: len(key)])
        moved = [*by_key.converted(row.old), *converted[: len(key)]]
        rekey = TableWrite(self.route.target_table, WriteKind.REKEY, self.table.key, self.table.key, [moved])
        return [Grouped(rekey, [subject], missing_is_fine=True), group]

    def _group(self, pile: _Pile, folded: Folded) -> Grouped:
        """The pile as a table write; rows that cannot be written go to `folded.unwritable`."""
        writer, sources = pile.writer, pile.rows
        if pile.places is not None:
            places = pile.places
            pick = itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)
            sources = [list(pick(row)) for row in sources]
        single = len(self.table.key) == 1
        write = TableWrite(
            self.route.target_table, writer.kind, self.table.key, writer.columns, sources, likely_new=pile.likely_new
        )
        group = Grouped(
            write,
            Subjects(self.number, pile.keys, _encode_single if single else encode_key),
            types=writer.types,
            sources=sources,
            olds=pile.olds,
        )
        return self._converted(group, writer, folded) if writer.converts else group

    def _converted(self, group: Grouped, writer: Writer, folded: Folded) -> Grouped:
        good: list[int] = []
        rows: list[Row] = []
        converted = writer.converted
        for number, source in enumerate(group.sources):
            try:
                rows.append(converted(source))
            except ValueRefused as refused:
                folded.unwritable.append(Unwritable(group.subjects[number], refused, group.kept(number)))
            else:
                good.append(number)
        if len(good) < len(group.sources):
            group = group.only(good)
        group.write.rows = rows
        return group


def filled(relation: Relation, row: Row, known: dict[str, Any]) -> Row:
    """The row, with values that the log did not carry taken from `known`, by column."""
    return [
        known.get(name, ABSENT) if value is ABSENT else value for name, value in zip(relation.columns, row, strict=True)
    ]


def _parts(layout: Layout, key: RowKey) -> Row:
    return [key] if layout.single else list(key)


def _partial(layout: Layout, row: Row, origin: RowKey | None, kept: KeptRow | None) -> KeptRow:
    """What is known of a row: what the log carried, and for the rest what was kept of it, in the types it had then."""
    if kept is not None and kept.kind == WriteKind.DELETE:
        kept = None
    known = {} if kept is None else {c: (t, v) for c, t, v in zip(kept.columns, kept.types, kept.values, strict=True)}
    columns: list[str] = []
    types: list[str] = []
    values: Row = []
    whole = True
    for at in (*layout.key_places, *layout.others):
        name, spec, value = layout.relation.columns[at], layout.relation.types[at], row[at]
        if value is ABSENT:
            if name not in known:
                whole = False
                continue
            spec, value = known[name]
        columns.append(name)
        types.append(spec)
        values.append(value)
    new = whole or (kept is not None and kept.kind == WriteKind.UPSERT)
    old = _parts(layout, origin) if origin is not None else kept.old if kept is not None else []
    kind = WriteKind.UPSERT if new else WriteKind.UPDATE
    return KeptRow(kind, tuple(columns), tuple(types), values, [] if new and whole else old)


def _key_not_in_log(route: Route, key: tuple[str, ...]) -> NeedsOperator:
    return NeedsOperator(
        f"a deleted row of {route.source_table} cannot be named in {route.target!r}",
        code="key-not-logged",
        cause=f"the source's log does not carry {', '.join(key)} of deleted rows",
        remedy="give both tables the same primary key (PostgreSQL: or set the table's REPLICA IDENTITY to it)",
    )

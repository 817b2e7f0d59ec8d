"""What would be written of a parked record, if it were tried now: fields, columns, values, owners. Changes nothing.

It is worked out as resolve and deliver do it, from the golden record as it is now and from the target's tables as its
deliverer has last seen them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cdcd.errors import Refused
from cdcd.folding.copies import decode_kept
from cdcd.folding.fold import Folder
from cdcd.folding.folded import Folded, Grouped
from cdcd.model import ABSENT, Relation, TableShape, TableWrite
from cdcd.outbox import Item, OutboxWriter, Unit
from cdcd.parking.parked import Subject
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.masks import slots_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.ownership import LATEST, NO_CLAIM, NOBODY, SUM
from cdcd.resolve.plan import EntityPlan
from cdcd.resolve.telling import RecordTeller
from cdcd.sensitive import Masks, masked
from cdcd.state import State
from cdcd.values import ValueRefused

_SHARED = {LATEST: "latest", SUM: "sum", NOBODY: "nobody"}


class ShownField(msgspec.Struct, frozen=True):
    """A field, or a column of a plain copy, as it would be written.

    `type` is the field's (of a copy the source column's), `column_type` that of the target's column ("" not known).
    `owner` says who owns it and by what rule. `only_new`: it is written only where the row is new. `slot` is None in copies.
    `hidden`: people are shown only `shown` of it.
    """

    field: str
    column: str
    type: str
    column_type: str
    value: Any
    owner: str = ""
    only_new: bool = False
    slot: int | None = None
    hidden: bool = False

    @property
    def shown(self) -> Any:
        """What people are shown of the value."""
        return masked(self.value, hidden=self.hidden)


class ShownWrite(msgspec.Struct, frozen=True):
    """One row of one table, as the target would get it, its `values` as people are shown them.

    `found_by`: columns whose value is looked up there.
    """

    table: str
    kind: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[Any, ...]
    found_by: tuple[str, ...] = ()


class Statement(msgspec.Struct, frozen=True):
    """What would be written. `misfit` says why nothing can be, before the server is even asked."""

    fields: tuple[ShownField, ...]
    writes: tuple[ShownWrite, ...]
    misfit: str = ""


class _Told(OutboxWriter):
    """Takes what a teller says instead of an outbox."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.units = 0

    def add(self, _target: str, item: Item, _committed_at_us: int, _writes: int = 1) -> int:
        """Take an item."""
        self.items.append(item)
        return 0


class Previewer:
    """Works out statements for one target."""

    def __init__(self, masks: Masks, state: State, system: str, shapes: Mapping[str, TableShape]) -> None:
        plan = masks.plan
        self._masks = masks
        self._plan = plan
        self._state = state
        self._system = system
        self._shapes = shapes
        self._folder = Folder(plan, system, shapes, _no_relation) if shapes else None

    # ---- records of entities ---------------------------------------------------------------------------------

    def record(self, entity: EntityPlan, key: bytes, changed: Mapping[int, Any] | None = None) -> Statement:
        """The statement for an entity's record; as if its fields, by slot, held the values in `changed`."""
        golden = GoldenRecords(self._state, {e.number: len(e.fields) for e in self._plan.entities.values()})
        record = golden.get(entity.number, key)
        told = _Told()
        teller = RecordTeller(self._plan, entity, golden, told, Counter(), Counter(), {})
        if record is not None:
            for slot, value in (changed or {}).items():
                record.values[slot] = value
        fields = self._tell(teller, told, entity, key, record)
        if not told.items:
            return Statement(fields, (), "its parent is not there, so there is no place for it")
        return self._folded(fields, told.items)

    def _tell(
        self, teller: RecordTeller, told: _Told, entity: EntityPlan, key: bytes, record: Record | None
    ) -> tuple[ShownField, ...]:
        """Have the teller say what is true of the record; return its fields."""
        system, moment = teller.systems.index(self._system), Moment(0, 0, {})
        known = record is not None and record.alive and bool((record.present | record.sent) >> system & 1)
        if record is None or not known:
            teller.delete_at(moment, system, key)
            return ()
        teller.ensure(moment, system, key, record)
        if not told.items:
            return ()
        _, _, _, mask, _, initial, _ = told.items[-1]
        owners = _owners(teller, entity, key, record)
        binding, written = entity.bindings[self._system], {*slots_of(mask), *slots_of(initial), *entity.key}
        hidden = self._masks.slots(entity)
        shape = self._shapes.get(binding.table)
        found = []
        for bound in binding.columns:
            if bound.slot in written:
                column = None if shape is None else shape.column(bound.column)
                field = entity.fields[bound.slot]
                found.append(
                    ShownField(
                        field.name,
                        ", ".join(bound.columns) or bound.column,
                        str(field.type),
                        "" if column is None else column.type,
                        record.values[bound.slot],
                        owners[bound.slot],
                        bool(initial >> bound.slot & 1),
                        bound.slot,
                        bound.slot in hidden,
                    )
                )
        return tuple(found)

    def _folded(self, fields: tuple[ShownField, ...], items: list[Item]) -> Statement:
        if self._folder is None:
            return Statement(fields, (), "the target's tables have not been looked at yet")
        folded, _ = self._folder.fold([Unit(1, 0, items)], None)
        if folded.unwritable:
            refused = folded.unwritable[0].refused
            return Statement(fields, (), f"{refused.what}: {refused.cause}" if refused.cause else refused.what)
        return Statement(fields, self._writes(folded))

    # ---- rows of plain copies --------------------------------------------------------------------------------

    def row(self, subject: Subject, kept: bytes) -> Statement:
        """The statement for a kept row of a plain copy."""
        row = decode_kept(kept)
        route = next(route for route in self._plan.routes if -1 - route.number == subject[0])
        shape = self._shapes.get(route.target_table)
        columns = [None if shape is None else shape.column(name) for name in row.columns]
        hidden = self._masks.columns(route.source, route.source_table)
        owner = f"{route.source} (plain copy)"
        fields = tuple(
            ShownField(name, name, spec, "" if column is None else column.type, value, owner, hidden=name in hidden)
            for name, spec, value, column in zip(row.columns, row.types, row.values, columns, strict=True)
        )
        if self._folder is None:
            return Statement(fields, (), "the target's tables have not been looked at yet")
        try:
            groups = self._folder.retried(subject, kept)
        except (Refused, ValueRefused) as refused:
            return Statement(fields, (), f"{refused.what}: {refused.cause}" if refused.cause else refused.what)
        return Statement(fields, self._shown(groups))

    # ---- what is written -------------------------------------------------------------------------------------

    def _writes(self, folded: Folded) -> tuple[ShownWrite, ...]:
        return self._shown([*folded.removed, *folded.changes, *folded.last, *folded.deletes])

    def _shown(self, groups: Iterable[Grouped]) -> tuple[ShownWrite, ...]:
        return tuple(self._shown_write(write) for group in groups for write in group.writes() if write.rows)

    def _shown_write(self, write: TableWrite) -> ShownWrite:
        found_by = tuple(lookup.column for lookup in write.lookups)
        hidden = self._masks.columns(self._system, write.table) | frozenset(found_by if self._masks.any else ())
        values = tuple(
            masked(None if value is ABSENT else value, hidden=column in hidden)
            for column, value in zip(write.columns, write.rows[0], strict=False)
        )
        return ShownWrite(write.table, write.kind.name.lower(), write.key, write.columns, values, found_by)


def _no_relation(_number: int) -> Relation:
    raise AssertionError("records of entities are folded without relations")


def _owners(teller: RecordTeller, entity: EntityPlan, key: bytes, record: Record) -> list[str]:
    """Who owns each slot, and by what rule."""
    ownership = teller.ownership
    judged = teller.rights.judged(key, record)
    claim = ownership.claim(judged.values)
    by_rule = "" if claim == NO_CLAIM else f" (while {entity.rules[claim].when})"
    owners = ownership.by_slot(ownership.claimed_by(claim))
    found = []
    for slot, owner in enumerate(owners):
        if slot in entity.key:
            found.append("the key")
            continue
        name = _SHARED[owner] if owner < 0 else teller.systems[owner]
        found.append(name + (by_rule if ownership.fixed[slot] == NOBODY and owner >= 0 else ""))
    return found

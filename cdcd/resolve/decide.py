"""What a change to one record means: who may do it, what the golden record becomes, who must be told.

All of it is a function of the golden record, the change and the configuration (Invariant 3). Nothing here does I/O:
records come from and go to `GoldenRecords`, decisions go to the outbox and the counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cdcd.conversions import StandsIn
from cdcd.model import ABSENT, Op
from cdcd.outbox import OutboxWriter, RecordWrite
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.masks import mask_of, masked
from cdcd.resolve.ownership import NOBODY, Ownership
from cdcd.resolve.plan import EntityPlan, Plan

Written = Callable[[int, bytes], Mapping[int, Any] | None]


class Moment(msgspec.Struct):
    """The journal entry being resolved.

    `before` says of records that it hands over whom the conditions named until then: a transaction is judged by the
    state it found (design §3). A record born in it belongs to who bore it.
    """

    seq: int
    committed_at_us: int
    before: dict[tuple[int, bytes], int]


class Conflict(msgspec.Struct, frozen=True):
    """Something for a person to look at: a held change, a record in one system only, a trigger that fights us."""

    entity: int
    key: bytes
    system: int
    kind: str
    slot: int | None = None
    value: Any = None


class EntityDecider:
    """Decides for one entity. Systems are numbers. `slots` are those that a system has columns for."""

    def __init__(
        self,
        plan: Plan,
        entity: EntityPlan,
        golden: GoldenRecords,
        outbox: OutboxWriter,
        report: Callable[[Conflict], None],
        counts: Counter[tuple[str, str, str]],
        echoed: Mapping[int, int],
    ) -> None:
        """`echoed` says which unit was last read back from each system; the caller keeps it up to date, or puts another."""
        self.entity = entity
        self.number = entity.number
        self.children: list[EntityDecider] = []
        self._golden = golden
        self._outbox = outbox
        self.report = report
        self._counts = counts
        self.echoed_units = echoed
        self._systems = plan.vocabulary.systems
        parent = None if entity.parent is None else plan.entities[entity.parent]
        self.parent_width = 0 if parent is None else parent.key_width
        self.ownership = Ownership(entity, parent or entity, self._systems)
        self._judged_number = entity.number if parent is None else parent.number
        self._bound = {self._systems.index(s): b.bound_mask() for s, b in entity.bindings.items()}
        self.slots = {s: [c.slot for c in entity.bindings[self._systems[s]].columns] for s in self._bound}
        self.may_create = {self._systems.index(s) for s in entity.create}
        self._may_delete = {self._systems.index(s) for s in entity.delete}
        self._ignores_delete = {self._systems.index(s) for s, b in entity.bindings.items() if b.ignore_delete}
        self._keeps_row = _keeping(entity, self._systems)
        self._parent_keeps_row = frozenset() if parent is None else _keeping(parent, self._systems)
        self._wholes: dict[tuple[int, int], tuple[int, int]] = {}
        self._policies = [field.not_owner for field in entity.fields]
        self.stand_ins: Mapping[int, StandsIn] = {}
        """Of the rows that come now, by slot: which of their values only stand in for ones that do not fit."""

    # ---- who may ---------------------------------------------------------------------------------------------

    def parent_of(self, key: bytes) -> Record | None:
        """The golden record of a child's parent, None when it is deleted or never was."""
        parent = self._golden.get(self._judged_number, self._judged_key(key))
        return parent if parent is not None and parent.alive else None

    def _judged_key(self, key: bytes) -> bytes:
        """The key of the record whose state decides: the parent's, for a child."""
        if not self.parent_width:
            return key
        return encode_key(decode_key(key, self.entity.key_width)[: self.parent_width])

    def _state_owner(self, moment: Moment, key: bytes) -> int:
        """Whom the conditions named before this transaction: a transaction is judged by the state it found."""
        if not self.ownership.moves:
            return NOBODY
        judged_key = self._judged_key(key)
        before = moment.before.get((self._judged_number, judged_key))
        if before is not None:
            return before
        judged = self._golden.get(self._judged_number, judged_key)
        return NOBODY if judged is None else self.ownership.by_state(judged.values)

    def _owners(self, moment: Moment, key: bytes) -> tuple[int, ...]:
        return self.ownership.by_slot(self._state_owner(moment, key))

    def _may(self, right: set[int], moment: Moment, system: int, key: bytes) -> bool:
        """Whether `system` may create or delete this record. Children follow the owner of their parent's state."""
        if not self.parent_width:
            return system in right
        if self.parent_of(key) is None:
            return False
        if not self.ownership.moves:
            return system in self.may_create
        return self._state_owner(moment, key) in (system, NOBODY)

    # ---- changes by the applications -------------------------------------------------------------------------

    def changed(self, moment: Moment, system: int, key: bytes, values: list[Any], op: Op) -> None:
        """A row was inserted, updated or read in `system`, and holds `values` (ABSENT where it says nothing)."""
        record = self._golden.get(self.number, key)
        if record is None or not record.alive:
            self._appeared(moment, system, key, values, op, record)
            return
        bit = 1 << system
        if record.shadows is not None:
            self._changed_moving(moment, system, key, record, values, op)
        elif record.values == values and record.present & bit:
            self.count(system, "equal")
            return
        else:
            self._judge(moment, system, key, record, values, self._differing(system, record, values))
        if not record.present & bit:
            record.present |= bit
            self._golden.put(self.number, key, record)

    def _differing(self, system: int, record: Record, values: list[Any]) -> list[int]:
        golden, stand_ins = record.values, self.stand_ins
        found = [s for s in self.slots[system] if values[s] is not ABSENT and values[s] != golden[s]]
        if not stand_ins:
            return found
        return [s for s in found if s not in stand_ins or not stand_ins[s](values[s], golden[s])]

    def _changed_moving(
        self, moment: Moment, system: int, key: bytes, record: Record, values: list[Any], op: Op
    ) -> None:
        """Where ownership moves, only what the transaction itself changed is judged; a copy repairs the rest."""
        touched = self._touched(system, record, values)
        differing = self._differing(system, record, values)
        self._judge(moment, system, key, record, values, [slot for slot in differing if slot in touched])
        if op == Op.READ:
            stale = sum(1 << slot for slot in differing if slot not in touched and record.values[slot] is not ABSENT)
            if stale:
                self.count(system, "corrected")
                self.tell(moment, system, key, RecordWrite.UPDATE, record, stale, 0)
        self._golden.put(self.number, key, record)

    def _touched(self, system: int, record: Record, values: list[Any]) -> set[int]:
        """The slots in which the row differs from what this system's log last showed; the shadow follows the row."""
        assert record.shadows is not None
        shadow = record.shadows.get(system)
        record.shadows[system] = (
            list(values)
            if shadow is None
            else [old if new is ABSENT else new for new, old in zip(values, shadow, strict=True)]
        )
        slots = self.slots[system]
        return set(slots) if shadow is None else {slot for slot in slots if values[slot] != shadow[slot]}

    def _judge(
        self, moment: Moment, system: int, key: bytes, record: Record, values: list[Any], differing: list[int]
    ) -> None:
        if not differing:
            self.count(system, "equal")
            return
        state_owner = self._state_owner(moment, key)
        owners = self.ownership.by_slot(state_owner)
        accepted = reverted = 0
        on_its_way = self._on_its_way(record, system)
        for slot in differing:
            if owners[slot] in (system, NOBODY):
                record.values[slot] = values[slot]
                if record.origins is not None:
                    record.origins[slot] = system
                accepted |= 1 << slot
            elif on_its_way >> slot & 1:
                self.count(system, "behind")  # a unit that is not read back yet puts it right by itself
            elif record.values[slot] is not ABSENT:
                reverted |= self._not_owner(system, key, slot, values[slot])
        if accepted:
            self._handed_over(moment, key, record, state_owner)
            self._accept(moment, system, key, record, accepted)
        if reverted:
            self.count(system, "revert")
            self.tell(moment, system, key, RecordWrite.UPDATE, record, reverted, 0)

    def _handed_over(self, moment: Moment, key: bytes, record: Record, state_owner: int) -> None:
        """Remember who owned the record until now, if this change makes it somebody else's."""
        if self.ownership.moves and not self.parent_width and self.ownership.by_state(record.values) != state_owner:
            moment.before.setdefault((self.number, key), state_owner)

    def _on_its_way(self, record: Record, system: int) -> int:
        """The slots that units tell this system which it has not shown to have read yet."""
        echoed, slots = self.echoed_units.get(system, 0), 0
        for unit, mask in record.told.get(system, ()):
            if unit > echoed:
                slots |= mask
        return slots

    def _accept(self, moment: Moment, system: int, key: bytes, record: Record, mask: int) -> None:
        record.changed_seq = moment.seq
        record.changed_at_us = moment.committed_at_us
        self._golden.put(self.number, key, record)
        self.count(system, "written")
        known = record.present | record.sent
        for target, bound in self._bound.items():
            if target != system and bound & mask and known >> target & 1:
                self.tell(moment, target, key, RecordWrite.UPDATE, record, bound & mask, 0)

    def _not_owner(self, system: int, key: bytes, slot: int, value: Any) -> int:
        """What a change by somebody else gets; returns the slot's bit when it must be put right."""
        policy = self._policies[slot]
        if policy == "revert":
            return 1 << slot
        self.count(system, policy)
        if policy == "hold":
            self.report(Conflict(self.number, key, system, "held", slot, value))
        return 0

    def _appeared(
        self, moment: Moment, system: int, key: bytes, values: list[Any], op: Op, record: Record | None
    ) -> None:
        """A row of a record that is not (or no longer) among the golden ones."""
        if op == Op.UPDATE and record is not None:
            self.count(system, "deleted")  # an archived row that somebody still edits
        elif op == Op.READ and record is not None and self._is_rest(record, system):
            self._rest_found(moment, system, key)
        elif self._may(self.may_create, moment, system, key):
            self._create(moment, system, key, values, record)
        elif op == Op.INSERT and self.entity_policy == "revert":
            self.count(system, "revert")
            self.delete_at(moment, system, key)
        else:
            self.count(system, "unmatched")
            self.report(Conflict(self.number, key, system, "unmatched"))

    def _is_rest(self, record: Record, system: int) -> bool:
        """Whether a row that a copy shows of a deleted record is only a rest: deleted elsewhere, or its delete is on its way."""
        return record.existence_by != system or bool(record.sent >> system & 1)

    def _rest_found(self, moment: Moment, system: int, key: bytes) -> None:
        stays_with_parent = system in self._parent_keeps_row and self.parent_of(key) is None
        if system in self._ignores_delete or stays_with_parent:
            self.count(system, "deleted")
        else:
            self.count(system, "corrected")
            self.delete_at(moment, system, key)

    @property
    def entity_policy(self) -> str:
        """What a create or delete without the right gets: the policy of the key's first field."""
        return self._policies[self.entity.key[0]]

    def _create(self, moment: Moment, system: int, key: bytes, values: list[Any], dead: Record | None) -> None:
        if dead is not None:
            values = [old if new is ABSENT else new for new, old in zip(values, dead.values, strict=True)]
        record = self.new_record(moment, values, {system: values}, system)
        self.count(system, "created")
        self._handed_over(moment, key, record, system)
        for child in self.children if dead is not None else ():
            child.remove_rests(moment, system, key)
        for target in self._bound:
            if target != system:
                self.ensure(moment, target, key, record)
        self._golden.put(self.number, key, record)

    def new_record(self, moment: Moment, values: list[Any], held: Mapping[int, list[Any]], author: int) -> Record:
        """A record as it begins: held by these systems, born of `author`."""
        present = sum(1 << system for system in held)
        record = Record(values, present, 0, True, author, moment.seq, moment.committed_at_us)
        if self.ownership.moves:
            record.origins = [author] * len(values)
            record.shadows = {system: list(shown) for system, shown in held.items()}
        return record

    def deleted(self, moment: Moment, system: int, key: bytes) -> None:
        """The record's row was deleted in `system`."""
        record = self._golden.get(self.number, key)
        if record is None or not record.alive:
            self.count(system, "equal")
            return
        record.present &= ~(1 << system)
        record.sent &= ~(1 << system)
        if record.shadows is not None:
            record.shadows.pop(system, None)
        self._golden.put(self.number, key, record)
        if self._may(self._may_delete, moment, system, key):
            self.count(system, "deleted")
            self.remove(moment, system, key, record)
        elif self.entity_policy == "revert":
            self.count(system, "revert")
            self.ensure(moment, system, key, record, with_children=True)
        else:
            self.count(system, self.entity_policy)
            if self.entity_policy == "hold":
                self.report(Conflict(self.number, key, system, "deleted"))

    def remove(
        self,
        moment: Moment,
        system: int,
        key: bytes,
        record: Record,
        *,
        spared: frozenset[int] = frozenset(),
    ) -> None:
        """The record is no more, by the will of `system`: children first, then everybody who has it is told.

        In the `spared` systems its row stays, because its parent's does.
        """
        for child in self.children:
            for child_key, child_record in child._golden.with_prefix(child.number, key):  # noqa: SLF001 - same class
                if child_record.alive:
                    child.remove(moment, system, child_key, child_record, spared=self._keeps_row)
        record.alive = False
        record.existence_by = system
        record.changed_seq = moment.seq
        record.changed_at_us = moment.committed_at_us
        known = record.present | record.sent
        for target in self._bound:
            if known >> target & 1 and target not in self._ignores_delete and target not in spared:
                self.delete_at(moment, target, key)
                record.present &= ~(1 << target)
                record.sent |= 1 << target
            else:
                record.sent &= ~(1 << target)
        self._golden.put(self.number, key, record)

    def remove_rests(self, moment: Moment, system: int, parent_key: bytes) -> None:
        """The parent is back: rows of its former children, which stayed where the parent's row stayed, go now."""
        for key, record in self._golden.with_prefix(self.number, parent_key):
            for target in self._bound:
                if not record.alive and record.present >> target & 1 and target != system:
                    self.delete_at(moment, target, key)
                    record.present &= ~(1 << target)
                    self._golden.put(self.number, key, record)

    # ---- our own writes, read back ---------------------------------------------------------------------------

    def echoed(self, moment: Moment, system: int, key: bytes, values: list[Any], written: Written) -> None:
        """A transaction of ours left this row in `system`. What it holds beyond what we wrote is a change."""
        record = self._golden.get(self.number, key)
        self.count(system, "echo")
        if record is None:
            return
        if not record.alive:
            if record.existence_by == system:  # it was deleted here, and our late write brought it back
                self.delete_at(moment, system, key)
                record.sent |= 1 << system
                self._golden.put(self.number, key, record)
            return
        if record.shadows is not None or not record.present >> system & 1:
            record.present |= 1 << system
            self._golden.put(self.number, key, record)
        touched = None if record.shadows is None else self._touched(system, record, values)
        if record.values == values:
            return
        differing = self._differing(system, record, values)
        if touched is not None:
            differing = [slot for slot in differing if slot in touched]
        if differing:
            self._judge_echo(moment, system, key, record, values, differing, written(self.number, key) or {})

    def _judge_echo(
        self,
        moment: Moment,
        system: int,
        key: bytes,
        record: Record,
        values: list[Any],
        differing: list[int],
        written: Mapping[int, Any],
    ) -> None:
        """Tell three things apart: our write is older than the record, it overwrote a newer one, a trigger changed it."""
        corrections = 0
        by_trigger: list[int] = []
        for slot in differing:
            if slot in written and written[slot] == values[slot]:
                if record.origins is not None and record.origins[slot] == system:
                    corrections |= 1 << slot  # the system's own newer value was lost under our write
            elif slot in written or record.shadows is not None or self.ownership.fixed[slot] == system:
                by_trigger.append(slot)
        if corrections:
            self.count(system, "corrected")
            self.tell(moment, system, key, RecordWrite.UPDATE, record, corrections, 0)
        if by_trigger:
            self._judge_trigger(moment, system, key, record, values, by_trigger)

    def _judge_trigger(
        self, moment: Moment, system: int, key: bytes, record: Record, values: list[Any], slots: list[int]
    ) -> None:
        """What a trigger did in our transaction is a change like any other, but reverting it would only call it again."""
        owners = self._owners(moment, key)
        own = [slot for slot in slots if owners[slot] in (system, NOBODY)]
        if own:
            self._judge(moment, system, key, record, values, own)
        for slot in slots:
            if slot not in own and record.values[slot] is not ABSENT:
                self.count(system, "trigger")
                self.report(Conflict(self.number, key, system, "trigger", slot, values[slot]))

    def echoed_delete(self, moment: Moment, system: int, key: bytes) -> None:
        """A transaction of ours deleted this row in `system`."""
        self.count(system, "echo")
        record = self._golden.get(self.number, key)
        if record is None:
            return
        if not record.alive:
            record.sent &= ~(1 << system)
            self._golden.put(self.number, key, record)
        elif record.existence_by == system:
            self.ensure(moment, system, key, record)  # it was created anew here, and our late delete took it
            self._golden.put(self.number, key, record)

    # ---- telling ---------------------------------------------------------------------------------------------

    def may_spread(self, record: Record) -> bool:
        """Whether systems that lack the record are to get it: not one that only others than creators ever had."""
        return bool(self.parent_width) or record.existence_by in self.may_create

    def ensure(self, moment: Moment, target: int, key: bytes, record: Record, *, with_children: bool = False) -> None:
        """Have the record exist in `target` with all that the target does not own (Invariant 6)."""
        judged = self.judged(key, record)
        if self.parent_width and not (judged.present | judged.sent) >> target & 1:
            return  # a child cannot be where its parent is not
        mask, initial = self._whole(target, self.ownership.by_state(judged.values))
        untold = mask_of([slot for slot, value in enumerate(record.values) if value is ABSENT])
        mask, initial = mask & ~untold, initial & ~untold
        record.sent |= 1 << target
        self.tell(moment, target, key, RecordWrite.FULL, record, mask, initial)
        if with_children:
            for child in self.children:
                if target in child._bound:  # noqa: SLF001 - same class
                    for child_key, child_record in child._golden.with_prefix(child.number, key):  # noqa: SLF001
                        if child_record.alive:
                            child.ensure(moment, target, child_key, child_record)
                            child._golden.put(child.number, child_key, child_record)  # noqa: SLF001

    def _whole(self, target: int, state_owner: int) -> tuple[int, int]:
        """The slots of a whole record that `target` is told: in any case, and only where it is new there (Invariant 6)."""
        known = self._wholes.get((target, state_owner))
        if known is None:
            owners = self.ownership.by_slot(state_owner)
            own = [slot for slot in self.slots[target] if owners[slot] == target and slot not in self.entity.key]
            known = self._wholes[target, state_owner] = (self._bound[target] & ~mask_of(own), mask_of(own))
        return known

    def judged(self, key: bytes, record: Record) -> Record:
        """The record whose state decides about this one: its parent, or itself."""
        parent = self._golden.get(self._judged_number, self._judged_key(key)) if self.parent_width else None
        return record if parent is None else parent

    def delete_at(self, moment: Moment, target: int, key: bytes) -> None:
        """Have the record gone from `target`."""
        item = [self.number, RecordWrite.DELETE, key, 0, [], 0, []]
        self._outbox.add(self._systems[target], item, moment.committed_at_us)

    def tell(
        self, moment: Moment, target: int, key: bytes, kind: RecordWrite, record: Record, mask: int, initial: int
    ) -> None:
        """Have `target` write what the record holds in the slots of `mask`; those of `initial` only where it is new there."""
        values = record.values
        item = [self.number, kind, key, mask, masked(values, mask), initial, masked(values, initial) if initial else []]
        unit = self._outbox.add(self._systems[target], item, moment.committed_at_us)
        told = record.told.get(target)
        if told:
            echoed = self.echoed_units.get(target, 0)
            told = [(u, m & ~mask) for u, m in told if u > echoed and m & ~mask]
        record.told[target] = [*told, (unit, mask)] if told else [(unit, mask)]
        self._golden.put(self.number, key, record)

    def count(self, system: int, decision: str) -> None:
        """One more change by `system` was decided so (Invariant 10)."""
        self._counts[self._systems[system], self.entity.name, decision] += 1


def _keeping(entity: EntityPlan, systems: tuple[str, ...]) -> frozenset[int]:
    """The systems in which the row of a deleted record stays: archived, or left alone."""
    kept = [system for system, b in entity.bindings.items() if b.ignore_delete or b.archive is not None]
    return frozenset(systems.index(system) for system in kept)

"""What a change to one record means: who may do it, what the golden record becomes, who must be told.

All of it is a function of the golden record, the change and the configuration (Invariant 3). Nothing here does I/O:
records come from and go to `GoldenRecords`, what lost to the `ConflictBook`, decisions to the outbox and the counters.
Echoes of our own writes are judged in `echoes`, fields that add up in `totals`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cdcd.conflicts import STANDING, Conflict, ConflictBook, Kind
from cdcd.model import ABSENT, Op
from cdcd.numeric import is_zero
from cdcd.outbox import OutboxWriter, RecordWrite
from cdcd.resolve.echoes import Echoes
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.masks import mask_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.ownership import LATEST, NO_CLAIM, NOBODY
from cdcd.resolve.plan import EntityPlan, Plan
from cdcd.resolve.telling import Cell, RecordTeller
from cdcd.resolve.totals import Levels, Totals

__all__ = ["EntityDecider", "Moment"]

_KEPT: dict[str, Kind] = {"revert": "reverted", "ignore": "ignored", "hold": "held"}
_NOT_CREATED: dict[str, Kind] = {"revert": "create-reverted", "ignore": "create-ignored", "hold": "create-held"}
_NOT_DELETED: dict[str, Kind] = {"revert": "delete-reverted", "ignore": "delete-ignored", "hold": "delete-held"}


class EntityDecider(RecordTeller):
    """Decides for one entity. Systems are numbers."""

    def __init__(
        self,
        plan: Plan,
        entity: EntityPlan,
        golden: GoldenRecords,
        outbox: OutboxWriter,
        book: ConflictBook,
        levels: Levels,
        counts: Counter[tuple[str, str, str]],
        happened: Counter[tuple[str, str, str]],
        echoed: Mapping[int, int],
    ) -> None:
        """See `RecordTeller`."""
        super().__init__(plan, entity, golden, outbox, counts, happened, echoed)
        self.book = book
        self.levels = levels
        self.totals = Totals(self)
        self.echoes = Echoes(self)
        self._ignores_delete = {self.systems.index(s) for s, b in entity.bindings.items() if b.ignore_delete}
        self._keeps_row = _keeping(entity, self.systems)
        parent = None if entity.parent is None else plan.entities[entity.parent]
        self._parent_keeps_row = frozenset() if parent is None else _keeping(parent, self.systems)
        self._parent_archives = frozenset() if parent is None else _archiving(parent, self.systems)
        self._policies = [field.not_owner for field in entity.fields]

    # ---- changes by the applications -------------------------------------------------------------------------

    def changed(self, moment: Moment, system: int, key: bytes, values: list[Any], op: Op) -> None:
        """A row was inserted, updated or read in `system`, and holds `values` (ABSENT where it says nothing)."""
        record = self.golden.get(self.number, key)
        if record is None or not record.alive:
            self._appeared(moment, system, key, values, op, record)
            return
        if system not in self.rights.published_by:
            self.decided(system, key, "not-published")
        elif self.ownership.looks_back:
            self._changed_since(moment, system, key, record, values, op)
        elif record.values == values and record.present >> system & 1:
            self.decided(system, key, "equal")
        else:
            self.judge(moment, system, key, record, values, self.differing(system, record, values), None)
        if not record.present >> system & 1:
            record.present |= 1 << system
            self.golden.put(self.number, key, record)
        if self.book.may_have(self.number, key):
            self.review(system, key, record, values)

    def differing(self, system: int, record: Record, values: list[Any]) -> list[int]:
        """The slots in which a row of `system` is not as the record, apart from totals."""
        golden, stand_ins, sums = record.values, self.stand_ins, self.ownership.sum_mask
        found = [s for s in self.slots[system] if values[s] is not ABSENT and values[s] != golden[s]]
        if sums:
            found = [s for s in found if not sums >> s & 1]
        if not stand_ins:
            return found
        return [s for s in found if s not in stand_ins or not stand_ins[s](values[s], golden[s])]

    def _changed_since(
        self, moment: Moment, system: int, key: bytes, record: Record, values: list[Any], op: Op
    ) -> None:
        """Where ownership moves or is shared, only what the transaction itself changed is judged; a copy repairs the rest."""
        seen = self._believed_of_copy(system, record, values) if op == Op.READ and self.ownership.between else values
        before = self.shown(system, record, seen)
        differing = self.differing(system, record, values)
        touched = differing if before is None else [slot for slot in differing if seen[slot] != before[slot]]
        if op == Op.READ:
            touched = [slot for slot in touched if self.ownership.fixed[slot] != LATEST]
        summed = self.totals.changed(moment, system, key, record, seen, before)
        if touched or not summed:
            self.judge(moment, system, key, record, values, touched, before)
        if op == Op.READ:
            stale = mask_of([slot for slot in differing if slot not in touched and record.values[slot] is not ABSENT])
            if stale:
                self.decided(system, key, "corrected")
                self.tell(moment, system, key, RecordWrite.UPDATE, record, stale, 0)
        self.golden.put(self.number, key, record)

    def _believed_of_copy(self, system: int, record: Record, values: list[Any]) -> list[Any]:
        """What a copied row says of shared fields: nothing where the log has shown them, or a row of ours is on its way.

        A copy may be newer than the log has come to. What it shows of them may be a change that is still to be read,
        and would count twice, or a change of ours.
        """
        before = None if record.shadows is None else record.shadows.get(system)
        echoed = self.echoed_units.get(system, 0)
        is_coming = any(unit > echoed for unit, _ in record.told.get(system, ()))
        seen = list(values)
        for slot in self.ownership.between:
            known = before is not None and before[slot] is not ABSENT
            if known or (is_coming and self.ownership.sum_mask >> slot & 1):
                seen[slot] = ABSENT
        return seen

    def shown(self, system: int, record: Record, values: list[Any]) -> list[Any] | None:
        """What this system's log showed last, None when it never did; from now on it is this row."""
        if record.shadows is None:
            record.shadows, record.origins = {}, [record.existence_by] * len(record.values)
        before = record.shadows.get(system)
        record.shadows[system] = (
            list(values)
            if before is None
            else [old if new is ABSENT else new for new, old in zip(values, before, strict=True)]
        )
        return before

    def judge(
        self,
        moment: Moment,
        system: int,
        key: bytes,
        record: Record,
        values: list[Any],
        differing: Sequence[int],
        before: list[Any] | None,
    ) -> None:
        """Judge the slots in which the row differs from the record. `before` is what the system showed until then."""
        if not differing:
            self.decided(system, key, "equal")
            return
        claim = self.rights.claim(moment, key)
        owners = self.ownership.by_slot(self.ownership.claimed_by(claim))
        believed = (system, NOBODY)
        on_its_way = 0 if all(owners[slot] in believed for slot in differing) else self.on_its_way(record, system)
        accepted = told_back = 0
        cells: list[Cell] = []
        for slot in differing:
            old, new = record.values[slot], values[slot]
            decision = "written"
            if owners[slot] not in believed:
                decision = self._decision(moment, system, record, slot, owners[slot], before, on_its_way)
            if decision == "written":
                self.take(moment, system, record, slot, new)
                accepted |= 1 << slot
            elif decision != "behind":
                self.lost(moment, system, key, slot, decision, new)
                if decision in ("revert", "older") and not on_its_way >> slot & 1 and old is not ABSENT:
                    told_back |= 1 << slot
            cells.append(self.cell(slot, decision, claim, old, new))
        decision = "written" if accepted else "revert" if told_back else cells[0][1]
        self.decided(system, key, decision, claim, cells)
        if accepted:
            self.rights.handed_over(moment, self.number, key, record, claim)
            self.accept(moment, system, key, record, accepted)
        if told_back:
            self.tell(moment, system, key, RecordWrite.UPDATE, record, told_back, 0)

    def _decision(
        self, moment: Moment, system: int, record: Record, slot: int, owner: int, before: list[Any] | None, coming: int
    ) -> str:
        """What a change of one field gets. `coming` are the slots that units on their way to the system will put right."""
        if self.ownership.may_change(owner, slot, system):
            later = owner != LATEST or self._is_later(moment, system, record, slot, before)
            return "written" if later else "older"
        return "behind" if coming >> slot & 1 else self._policies[slot]

    def _is_later(self, moment: Moment, system: int, record: Record, slot: int, before: list[Any] | None) -> bool:
        """Whether a change came after the one that counts: because its system had seen that one, or by the clock."""
        if before is not None and before[slot] == record.values[slot]:
            return True
        last_us = record.changed.get(slot, 0)
        if moment.changed_at_us != last_us:
            return moment.changed_at_us > last_us
        between = self.ownership.between[slot]
        last_by = NO_CLAIM if record.origins is None else record.origins[slot]
        return last_by not in between or between.index(system) <= between.index(last_by)

    def take(self, moment: Moment, system: int, record: Record, slot: int, value: Any) -> None:
        """The value counts from now on. What is still on its way to its author is older."""
        record.values[slot] = value
        if told := record.told.get(system):
            record.told[system] = [(unit, mask & ~(1 << slot)) for unit, mask in told]
        if record.origins is not None:
            record.origins[slot] = system
        if self.ownership.fixed[slot] == LATEST:
            record.changed[slot] = max(moment.changed_at_us, record.changed.get(slot, 0) + 1)

    def accept(self, moment: Moment, system: int, key: bytes, record: Record, mask: int) -> None:
        """What the record holds in these slots by the will of `system` counts: everybody else is told."""
        record.changed_seq = moment.seq
        record.changed_at_us = moment.committed_at_us
        self.golden.put(self.number, key, record)
        self.event(system, "updated")
        known = record.present | record.sent
        for target in self.told_slots:
            if target != system and known >> target & 1:
                self.tell(moment, target, key, RecordWrite.UPDATE, record, mask, 0)

    def policy_of(self, slot: int) -> str:
        """What a change of a field by a system that may not change it gets."""
        return self._policies[slot]

    def level(self, moment: Moment, target: int, key: bytes, record: Record) -> None:
        """See `RecordTeller`."""
        self.totals.level(moment, target, key, record)

    # ---- what lost -------------------------------------------------------------------------------------------

    def lost(self, moment: Moment, system: int, key: bytes, slot: int, decision: str, value: Any) -> None:
        """Keep the value that a field did not get."""
        self.conflict(moment, system, key, "older" if decision == "older" else _KEPT[decision], slot, value)

    def conflict(
        self, moment: Moment, system: int, key: bytes, kind: Kind, slot: int | None = None, value: Any = None
    ) -> None:
        """Keep what `system` wanted."""
        found = Conflict(self.number, key, system, kind, slot, value, moment.seq, moment.committed_at_us)
        self.book.note(found)

    def review(self, system: int, key: bytes, record: Record, values: list[Any]) -> None:
        """Clear the conflicts that are no more, now that `system` shows `values`."""
        self.book.clear([c for c in self.book.of(self.number, key) if self._is_over(c, system, record, values)])

    def _is_over(self, c: Conflict, system: int, record: Record, values: list[Any]) -> bool:
        if c.is_create:
            return self.rights.may_spread(record)
        if c.is_delete:
            return bool(record.present >> c.system & 1) and c.kind != "delete-reverted"
        if c.slot is None or c.slot >= len(record.values):
            return True
        if self.ownership.sum_mask >> c.slot & 1:
            return is_zero(c.value)  # it is a difference, which stands beside the total
        if c.value == record.values[c.slot]:
            return True
        if c.system != system or c.kind not in STANDING:
            return False
        return bool(values[c.slot] == record.values[c.slot])

    # ---- records that appear ---------------------------------------------------------------------------------

    def _appeared(
        self, moment: Moment, system: int, key: bytes, values: list[Any], op: Op, record: Record | None
    ) -> None:
        """A row of a record that is not (or no longer) among the golden ones."""
        rights = self.rights
        may_make = rights.may_create if record is None else rights.may_restore
        if system not in rights.published_by:
            self.decided(system, key, "not-published")
        elif op == Op.UPDATE and record is not None:
            self.decided(system, key, "deleted", about="archived")  # a row that stayed, and that somebody still edits
        elif op == Op.READ and record is not None and self._is_rest(record, system):
            self._rest_found(moment, system, key)
        elif may_make(moment, system, key) or (moment.fills_gap and self._came_with_parent(system, key, record)):
            self.create(moment, system, key, values, record)
        elif op == Op.INSERT:
            self.decided(system, key, rights.on_create, about="created")
            self.conflict(moment, system, key, _NOT_CREATED[rights.on_create], None, values)
            if rights.on_create == "revert":
                self.delete_at(moment, system, key)
        else:
            made = self.book.find(self.number, key, system, None)
            kind: Kind = made.kind if made is not None and made.is_create else "unmatched"
            self.decided(system, key, "unmatched")
            self.conflict(moment, system, key, kind, None, values)

    def _came_with_parent(self, system: int, key: bytes, record: Record | None) -> bool:
        """Whether a child that a copy shows after a gap may have been made with its parent, before that was handed over."""
        parent = self.rights.parent_of(key) if record is None and self.parent_width else None
        return (
            parent is not None
            and parent.existence_by == system
            and self.book.find(self.number, key, system, None) is None
        )

    def _is_rest(self, record: Record, system: int) -> bool:
        """Whether a row that a copy shows of a deleted record is only a rest: deleted elsewhere, or its delete is on its way."""
        return record.existence_by != system or bool(record.sent >> system & 1)

    def _rest_found(self, moment: Moment, system: int, key: bytes) -> None:
        stays_with_parent = system in self._parent_keeps_row and self.rights.parent_of(key) is None
        if system in self._ignores_delete or stays_with_parent:
            self.decided(system, key, "deleted", about="archived")
        else:
            self.decided(system, key, "corrected")
            self.delete_at(moment, system, key)

    def create(self, moment: Moment, system: int, key: bytes, values: list[Any], dead: Record | None) -> None:
        """The record exists from now on, born of `system`; or is `dead` no more."""
        if dead is not None:
            values = [old if new is ABSENT else new for new, old in zip(values, dead.values, strict=True)]
        record = self.new_record(moment, values, {system: values}, system)
        if dead is not None:
            record.adding = dead.adding  # what is on its way to a row that is gone adds to the one made anew
        born = self.ownership.born_of(system)
        self.decided(system, key, "created" if dead is None else "restored", born)
        self.event(system, "created" if dead is None else "restored")
        self.rights.handed_over(moment, self.number, key, record, born)
        for child in self.children if dead is not None else ():
            child.remove_rests(moment, system, key)
        for target in self.told_slots:
            if target != system:
                self.ensure(moment, target, key, record)
        if record.adding:
            self.level(moment, system, key, record)
        self.golden.put(self.number, key, record)
        if self.book.may_have(self.number, key):
            self.review(system, key, record, values)

    def new_record(self, moment: Moment, values: list[Any], held: Mapping[int, list[Any]], author: int) -> Record:
        """A record as it begins: held by these systems, born of `author`."""
        present = sum(1 << system for system in held)
        record = Record(values, present, 0, True, author, moment.seq, moment.committed_at_us)
        if self.ownership.looks_back:
            record.origins = [author] * len(values)
            record.shadows = {system: list(shown) for system, shown in held.items()}
            record.changed = {
                s: moment.changed_at_us for s in self.ownership.between if self.ownership.fixed[s] == LATEST
            }
        return record

    # ---- records that go -------------------------------------------------------------------------------------

    def deleted(self, moment: Moment, system: int, key: bytes) -> None:
        """The record's row was deleted in `system`."""
        record = self.golden.get(self.number, key)
        if record is None or not record.alive:
            self.decided(system, key, "equal")
            if self.book.may_have(self.number, key):
                self.book.clear([c for c in self.book.of(self.number, key) if c.system == system and c.is_create])
            return
        record.present &= ~(1 << system)
        record.sent &= ~(1 << system)
        if record.shadows is not None:
            record.shadows.pop(system, None)
        self.golden.put(self.number, key, record)
        if system not in self.rights.published_by:
            self.decided(system, key, "not-published")
        elif self.rights.may_delete(moment, system, key):
            self.decided(system, key, "deleted", self.rights.claim(moment, key))
            self.remove(moment, system, key, record)
        else:
            self._not_to_be_deleted(moment, system, key, record)

    def _not_to_be_deleted(self, moment: Moment, system: int, key: bytes, record: Record) -> None:
        policy = self.rights.on_delete
        self.decided(system, key, policy, self.rights.claim(moment, key), about="deleted")
        if self.book.may_have(self.number, key):
            self.book.clear([c for c in self.book.of(self.number, key) if c.system == system])
        self.conflict(moment, system, key, _NOT_DELETED[policy])
        if policy == "revert":
            self.ensure(moment, system, key, record, with_children=True)

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
            for child_key, child_record in child.golden.with_prefix(child.number, key):
                if child_record.alive:
                    child.remove(moment, system, child_key, child_record, spared=self._keeps_row)
        record.alive = False
        record.existence_by = system
        record.changed_seq = moment.seq
        record.changed_at_us = moment.committed_at_us
        self.event(system, "deleted")
        known = record.present | record.sent
        for target in self.slots:
            is_told = target in self.told_slots and target not in self._ignores_delete and target not in spared
            if is_told and known >> target & 1:
                self.delete_at(moment, target, key)
                record.present &= ~(1 << target)
                record.sent |= 1 << target
            else:
                record.sent &= ~(1 << target)
        self.golden.put(self.number, key, record)
        if self.book.may_have(self.number, key):
            self.book.clear(self.book.of(self.number, key))

    def remove_rests(self, moment: Moment, system: int, parent_key: bytes) -> None:
        """The parent is back: rows of its former children, which stayed where the parent's row stayed, go now."""
        for key, record in self.golden.with_prefix(self.number, parent_key):
            for target in self.slots:
                if not record.alive and record.present >> target & 1 and target != system:
                    self.delete_at(moment, target, key)
                    record.present &= ~(1 << target)
                    self.golden.put(self.number, key, record)

    def goes_with_parent(self, system: int, key: bytes) -> bool:
        """Whether a child that may not be is to go from `system`: not where a row stays that could be its parent's."""
        at = self.rights.judged_at(key)
        parent = self.golden.get(*at)
        if parent is not None and parent.alive:
            return True
        if parent is not None:
            return system not in self._parent_keeps_row
        made = self.book.find(*at, system, None)
        return made is not None and made.kind == "create-reverted" and system not in self._parent_archives

    def may_lack(self, system: int, key: bytes) -> bool:
        """Whether it was deleted there by somebody who may not, and is left so until a person decides."""
        found = self.book.find(self.number, key, system, None)
        return found is not None and found.kind in ("delete-held", "delete-ignored")


def _keeping(entity: EntityPlan, systems: tuple[str, ...]) -> frozenset[int]:
    """The systems in which the row of a deleted record stays: archived, or left alone."""
    ignoring = [systems.index(system) for system, binding in entity.bindings.items() if binding.ignore_delete]
    return _archiving(entity, systems) | frozenset(ignoring)


def _archiving(entity: EntityPlan, systems: tuple[str, ...]) -> frozenset[int]:
    """The systems in which a record that is to go is archived."""
    return frozenset([systems.index(system) for system, b in entity.bindings.items() if b.archive is not None])

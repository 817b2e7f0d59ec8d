"""Telling targets what a record is: items for the outbox, what is on its way, and the one place where decisions are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cdcd.conversions import StandsIn
from cdcd.model import ABSENT
from cdcd.outbox import OutboxWriter, RecordWrite
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.masks import mask_of, masked, slots_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.owing import NOT_YET, Owed
from cdcd.resolve.ownership import NO_CLAIM, NOBODY
from cdcd.resolve.plan import EntityPlan, Plan
from cdcd.resolve.rights import Rights
from cdcd.resolve.trail import BORN, BY_RULE, NO_RULE, OWED_UNIT, Trail

if TYPE_CHECKING:
    from cdcd.resolve.decide import EntityDecider

Cell: TypeAlias = tuple[int, str, int, Any, Any]
Happened: TypeAlias = Literal["created", "updated", "deleted", "restored"]


class RecordTeller:
    """Tells systems about the records of one entity. Systems are numbers. `slots` are those that a system has columns for."""

    def __init__(
        self,
        plan: Plan,
        entity: EntityPlan,
        golden: GoldenRecords,
        outbox: OutboxWriter,
        counts: Counter[tuple[str, str, str]],
        happened: Counter[tuple[str, str, str]],
        echoed: Mapping[int, int],
    ) -> None:
        """`counts` are decisions, `happened` accepted changes, by system and entity.

        `echoed` says which unit was last read back from each system; the caller keeps it up to date, or puts another.
        """
        self.entity = entity
        self.number = entity.number
        self.children: list[EntityDecider] = []
        self.golden = golden
        self.echoed_units = echoed
        self.trail: Trail | None = None
        self.owed: Owed | None = None
        """What is told later."""
        self.rule_numbers: tuple[int, ...] = ()
        """Who keeps the records' history, and the numbers that the entity's ownership rules have there."""
        self._happened = happened
        self.rights = Rights(plan, entity, golden)
        self.ownership = self.rights.ownership
        self.parent_width = self.rights.parent_width
        self._outbox = outbox
        self._counts = counts
        self.systems = plan.vocabulary.systems
        bindings = {self.systems.index(system): binding for system, binding in entity.bindings.items()}
        self.slots = {system: [column.slot for column in binding.columns] for system, binding in bindings.items()}
        self.told_slots = {s: b.written_mask for s, b in bindings.items() if s in self.rights.told_to}
        """By system that is told: the slots that can be written there, as bits."""
        self._of_new = {s: self._slots(b.fields_of_new) & ~b.written_mask for s, b in bindings.items()}
        self._together = {s: groups for s, b in bindings.items() if (groups := b.told_together)}
        """By system: slots of which none can be written there without the others, as bits."""
        self._wholes: dict[tuple[int, int], tuple[int, int]] = {}
        self.stand_ins: Mapping[int, StandsIn] = {}
        """Of the rows that come now, by slot: which of their values only stand in for ones that do not fit."""

    # ---- what was decided ------------------------------------------------------------------------------------

    def decided(
        self,
        system: int,
        key: bytes,
        decision: str,
        claim: int = NO_CLAIM,
        cells: Sequence[Cell] = (),
        held_by: int = 0,
        *,
        about: str = "",
    ) -> None:
        """A change by `system` was decided so (Invariant 10): every decision passes here, before anybody is told of it.

        `cells` are the fields that it wanted otherwise, each with its own decision (see `cell`), judged by `claim` (see
        `ownership`). Of a first copy, `held_by` are the systems that have the record, as bits. `about` says of a decision
        about the record as a whole what had happened to it: created, deleted, or archived (and edited nevertheless).
        """
        at = self.systems[system], self.entity.name
        self._counts[at[0], at[1], decision] += 1
        if len(cells) > 1 or (cells and cells[0][1] != decision):
            for other in {cell[1] for cell in cells} - {decision}:
                self._counts[*at, other] += 1
        if self.trail is not None:
            self.trail.note(self.number, key, system, decision, self._rule(claim), cells, held_by, about)

    def answered(self, system: int) -> None:
        """A write of ours was changed in its own transaction, by a trigger, in a field that its system owns.

        Only counted: the change is decided about like any other. Two systems that answer each other never end.
        """
        self._counts[self.systems[system], self.entity.name, "answered"] += 1

    def cell(self, slot: int, decision: str, claim: int, old: Any, new: Any) -> Cell:
        """What became of one field of a change (see `trail.Cell`)."""
        owner = self.ownership.fixed[slot]
        return (slot, decision, BY_RULE if owner == NOBODY and claim != NO_CLAIM else owner, old, new)

    def _rule(self, claim: int) -> int:
        if claim == NO_CLAIM:
            return NO_RULE
        return self.rule_numbers[claim] if claim < len(self.rule_numbers) else BORN

    def event(self, system: int, what: Happened) -> None:
        """A change by `system` was accepted, and this is what it means for the record."""
        self._happened[self.systems[system], self.entity.name, what] += 1

    # ---- telling ---------------------------------------------------------------------------------------------

    def ensure(
        self,
        moment: Moment,
        target: int,
        key: bytes,
        record: Record,
        *,
        with_children: bool = False,
        besides: int = 0,
        whole: bool = False,
    ) -> None:
        """Have the record exist in `target` with all that the target does not own (Invariant 6).

        The slots `besides` are told whoever owns them by now: they were not the target's when they were to be told. Of
        totals it is only told what it lacks. Told the `whole` record, a target that has lost what it owns gets that back
        too: a person asks for that.
        """
        if target not in self.told_slots:
            return
        if not self.may_be_at(target, key, record):
            return
        judged = self.rights.judged(key, record)
        mask, initial = self._whole(target, self.ownership.by_state(judged.values))
        untold = mask_of([slot for slot, value in enumerate(record.values) if value is ABSENT])
        mask, initial = mask & ~untold, initial & ~untold
        besides = initial if whole else initial & besides & ~self.ownership.sum_mask
        mask, initial = mask | besides, initial & ~besides
        record.sent |= 1 << target
        self.tell(moment, target, key, RecordWrite.FULL, record, mask, initial)
        # Behind it: what was to be added before a record is told whole is dropped.
        self.level(moment, target, key, record)
        if with_children:
            self._ensure_children(moment, target, key)

    def may_be_at(self, target: int, key: bytes, record: Record) -> bool:
        """Whether there is a place for the record: a child cannot be where its parent is not."""
        judged = self.rights.judged(key, record)
        return not self.parent_width or bool((judged.present | judged.sent) >> target & 1)

    def level(self, moment: Moment, target: int, key: bytes, record: Record) -> None:
        """Where fields add up: have `target` get what it lacks of the totals, as far as its row is known."""

    def _ensure_children(self, moment: Moment, target: int, key: bytes) -> None:
        for child in self.children:
            for child_key, record in child.golden.with_prefix(child.number, key):
                if record.alive and target in child.told_slots:
                    child.ensure(moment, target, child_key, record)
                    child.golden.put(child.number, child_key, record)

    def _slots(self, names: Collection[str]) -> int:
        """Fields as bits, but for those of the key: that is told in any case."""
        fields = enumerate(self.entity.fields)
        return mask_of([slot for slot, field in fields if field.name in names and slot not in self.entity.key])

    def _whole(self, target: int, state_owner: int) -> tuple[int, int]:
        """The slots of a whole record that `target` is told: in any case, and only where it is new there (Invariant 6)."""
        known = self._wholes.get((target, state_owner))
        if known is None:
            owners = self.ownership.by_slot(state_owner)
            own = mask_of([s for s in self.slots[target] if owners[s] == target and s not in self.entity.key])
            own, told = own | self.ownership.sum_mask, self.told_slots[target]
            known = self._wholes[target, state_owner] = (told & ~own | self._of_new[target], told & own)
        return known

    def delete_at(self, moment: Moment, target: int, key: bytes) -> None:
        """Have the record gone from `target`."""
        if target in self.told_slots:
            self.tell_values(moment, target, key, RecordWrite.DELETE, 0, [])

    def tell(
        self, moment: Moment, target: int, key: bytes, kind: RecordWrite, record: Record, mask: int, initial: int
    ) -> None:
        """Have `target` write what the record holds in the slots of `mask`; those of `initial` only where it is new there."""
        mask &= self.told_slots.get(target, 0) | (self._of_new[target] if kind == RecordWrite.FULL else 0)
        if not mask and kind == RecordWrite.UPDATE:
            return
        for group in self._together.get(target, ()):
            if mask & group:
                mask |= group & ~mask_of([slot for slot in slots_of(group) if record.values[slot] is ABSENT])
        values = record.values
        new = masked(values, initial) if initial else []
        unit = self.tell_values(moment, target, key, kind, mask, masked(values, mask), initial, new)
        told = record.told.get(target)
        if told:
            echoed = self.echoed_units.get(target, 0)
            told = [(u, m & ~mask) for u, m in told if u > echoed and m & ~mask]
        record.told[target] = [*told, (unit, mask)] if told else [(unit, mask)]
        self.golden.put(self.number, key, record)

    def tell_values(
        self,
        moment: Moment,
        target: int,
        key: bytes,
        kind: RecordWrite,
        mask: int,
        values: list[Any],
        initial: int = 0,
        initial_values: list[Any] | None = None,
    ) -> int:
        """Have `target` write these values, or add these differences; return the outbox unit that says so, or `NOT_YET`."""
        if self.is_told_later(target, key, kind, mask, initial):
            return NOT_YET
        item = [self.number, kind, key, mask, values, initial, initial_values or []]
        unit = self._outbox.add(self.systems[target], item, moment.committed_at_us)
        if self.trail is not None:
            self.trail.told(self.number, key, target, unit, kind, mask, initial)
        return unit

    def is_told_later(
        self, target: int, key: bytes, kind: RecordWrite, mask: int, initial: int = 0, known_as: bytes | None = None
    ) -> bool:
        """Whether a schedule, a pause or a rewind has the record told later: then that is noted, and nothing told now."""
        lane = target, self.number
        if self.owed is None or lane not in self.owed.lanes or not self.owed.takes(lane, key, known_as):
            return False
        if self.trail is not None:
            self.trail.told(self.number, key, target, OWED_UNIT, kind, mask, initial)
        return True

    def on_its_way(self, record: Record, system: int, through: int = 0) -> int:
        """The slots that units tell this system which it has not shown to have read yet; it shows those `through` now."""
        echoed, slots = max(self.echoed_units.get(system, 0), through), 0
        for unit, mask in record.told.get(system, ()):
            if unit > echoed:
                slots |= mask
        return slots

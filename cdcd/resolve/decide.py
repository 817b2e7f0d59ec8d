"""What a change to one record means: who may do it, what the golden record becomes, who must be told.

All of it is a function of the golden record, the change and the configuration (Invariant 3). Nothing here does I/O:
records come from and go to `GoldenRecords`, decisions go to the outbox and the counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from cdcd.model import ABSENT, Op
from cdcd.outbox import OutboxWriter, RecordWrite
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.ownership import NOBODY, Ownership
from cdcd.resolve.plan import EntityPlan, Plan

Written = Callable[[int, bytes], Mapping[int, Any] | None]


class Moment(msgspec.Struct):
    """The journal entry being resolved. `before` keeps records as they were before it, None for those born in it.

    Only records whose ownership moves are kept: a transaction is judged by the state it found (design §3).
    """

    seq: int
    committed_at_us: int
    before: dict[tuple[int, bytes], list[Any] | None]


class Conflict(msgspec.Struct, frozen=True):
    """Something for a person to look at: a held change, a record in one system only, a trigger that fights us."""

    entity: int
    key: bytes
    system: int
    kind: str
    slot: int | None = None
    value: Any = None


class EntityDecider:
    """Decides for one entity. Systems are numbers; `bit` is 1 << number."""

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
        """`echoed` says, kept up to date by the caller, which unit was last read back from each system."""
        self.entity = entity
        self.number = entity.number
        self.children: list[EntityDecider] = []
        self._golden = golden
        self._outbox = outbox
        self.report = report
        self._counts = counts
        self._echoed = echoed
        self._systems = plan.vocabulary.systems
        parent = None if entity.parent is None else plan.entities[entity.parent]
        self.parent_width = 0 if parent is None else parent.key_width
        self.ownership = Ownership(entity, parent or entity, self._systems)
        self.judged_number = entity.number if parent is None else parent.number
        self._bound = {self._systems.index(s): b.bound_mask() for s, b in entity.bindings.items()}
        self._slots = {s: [c.slot for c in entity.bindings[self._systems[s]].columns] for s in self._bound}
        self._may_create = {self._systems.index(s) for s in entity.create}
        self._may_delete = {self._systems.index(s) for s in entity.delete}
        self._keeps_deleted = {self._systems.index(s) for s, b in entity.bindings.items() if b.ignore_delete}
        self._policies = [field.not_owner for field in entity.fields]

    # ---- who may ---------------------------------------------------------------------------------------------

    def _judged_key(self, key: bytes) -> bytes:
        if not self.parent_width:
            return key
        return encode_key(decode_key(key, self.entity.key_width)[: self.parent_width])

    def _owners(self, moment: Moment, system: int, key: bytes) -> tuple[int, ...]:
        """Owners by slot as of before this transaction; a record born in it belongs to who bore it."""
        if not self.ownership.moves:
            return self.ownership.fixed
        before = self._before(moment, self._judged_key(key))
        if before is None:
            return tuple([system if owner == NOBODY else owner for owner in self.ownership.fixed])
        return self.ownership.owners(before)

    def _before(self, moment: Moment, judged_key: bytes) -> list[Any] | None:
        at = (self.judged_number, judged_key)
        if at not in moment.before:
            judged = self._golden.get(*at)
            moment.before[at] = list(judged.values) if judged is not None and judged.alive else None
        return moment.before[at]

    def _may(self, right: set[int], moment: Moment, system: int, key: bytes) -> bool:
        """Whether `system` may create or delete this record. Children follow the owner of their parent's state."""
        if not self.parent_width:
            return system in right
        parent = self._golden.get(self.judged_number, self._judged_key(key))
        if parent is None or not parent.alive:
            return False
        if not self.ownership.moves:
            return system in self._may_create
        owners = self._owners(moment, system, key)
        moving = [owners[slot] for slot, fixed in enumerate(self.ownership.fixed) if fixed == NOBODY]
        return not moving or moving[0] in (system, NOBODY)

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
            self._count(system, "equal")
            return
        else:
            self._judge(moment, system, key, record, values, self._differing(system, record, values))
        if not record.present & bit:
            record.present |= bit
            self._golden.put(self.number, key, record)

    def _differing(self, system: int, record: Record, values: list[Any]) -> list[int]:
        golden = record.values
        return [s for s in self._slots[system] if values[s] is not ABSENT and values[s] != golden[s]]

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
                self._count(system, "corrected")
                self._tell(moment, system, key, RecordWrite.UPDATE, record, stale, 0)
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
        slots = self._slots[system]
        return set(slots) if shadow is None else {slot for slot in slots if values[slot] != shadow[slot]}

    def _judge(
        self, moment: Moment, system: int, key: bytes, record: Record, values: list[Any], differing: list[int]
    ) -> None:
        if not differing:
            self._count(system, "equal")
            return
        owners = self._owners(moment, system, key)
        accepted = reverted = 0
        on_its_way = self._on_its_way(record, system)
        for slot in differing:
            if owners[slot] in (system, NOBODY):
                record.values[slot] = values[slot]
                if record.origins is not None:
                    record.origins[slot] = system
                accepted |= 1 << slot
            elif on_its_way >> slot & 1:
                self._count(system, "behind")  # a unit that is not read back yet puts it right by itself
            elif record.values[slot] is not ABSENT:
                reverted |= self._not_owner(system, key, slot, values[slot])
        if accepted:
            self._accept(moment, system, key, record, accepted)
        if reverted:
            self._count(system, "revert")
            self._tell(moment, system, key, RecordWrite.UPDATE, record, reverted, 0)

    def _on_its_way(self, record: Record, system: int) -> int:
        """The slots that units tell this system which it has not shown to have read yet."""
        unit, mask = record.told.get(system, (0, 0))
        return mask if unit > self._echoed.get(system, 0) else 0

    def _accept(self, moment: Moment, system: int, key: bytes, record: Record, mask: int) -> None:
        record.changed_seq = moment.seq
        record.changed_at_us = moment.committed_at_us
        self._golden.put(self.number, key, record)
        self._count(system, "written")
        known = record.present | record.sent
        for target, bound in self._bound.items():
            if target != system and bound & mask and known >> target & 1:
                self._tell(moment, target, key, RecordWrite.UPDATE, record, bound & mask, 0)

    def _not_owner(self, system: int, key: bytes, slot: int, value: Any) -> int:
        """What a change by somebody else gets; returns the slot's bit when it must be put right."""
        policy = self._policies[slot]
        if policy == "revert":
            return 1 << slot
        self._count(system, policy)
        if policy == "hold":
            self.report(Conflict(self.number, key, system, "held", slot, value))
        return 0

    def _appeared(
        self, moment: Moment, system: int, key: bytes, values: list[Any], op: Op, record: Record | None
    ) -> None:
        """A row of a record that is not (or no longer) among the golden ones."""
        if op == Op.UPDATE and record is not None:
            self._count(system, "deleted")  # an archived row that somebody still edits
        elif op == Op.READ and record is not None and self._must_go(record, system):
            self._count(system, "corrected")
            self.delete_at(moment, system, key)
        elif self._may(self._may_create, moment, system, key):
            self._create(moment, system, key, values, record)
        elif op == Op.INSERT and self.entity_policy == "revert":
            self._count(system, "revert")
            self.delete_at(moment, system, key)
        else:
            self._count(system, "unmatched")
            self.report(Conflict(self.number, key, system, "unmatched"))

    def _must_go(self, record: Record, system: int) -> bool:
        """Whether a row that a copy shows of a deleted record is only a rest: deleted elsewhere, or its delete is on its way."""
        return record.existence_by != system or bool(record.sent >> system & 1)

    @property
    def entity_policy(self) -> str:
        """What a create or delete without the right gets: the policy of the key's first field."""
        return self._policies[self.entity.key[0]]

    def _create(
        self, moment: Moment, system: int, key: bytes, values: list[Any], dead: Record | None
    ) -> None:
        if dead is not None:
            values = [old if new is ABSENT else new for new, old in zip(values, dead.values, strict=True)]
        record = self.new_record(moment, values, {system: values}, system)
        self._count(system, "created")
        moment.before.setdefault((self.number, key), None)
        for target in self._bound:
            if target != system:
                self.ensure(moment, target, key, record)
        self._golden.put(self.number, key, record)

    def new_record(
        self, moment: Moment, values: list[Any], held: Mapping[int, list[Any]], author: int
    ) -> Record:
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
            self._count(system, "equal")
            return
        record.present &= ~(1 << system)
        record.sent &= ~(1 << system)
        if record.shadows is not None:
            record.shadows.pop(system, None)
        self._golden.put(self.number, key, record)
        if self._may(self._may_delete, moment, system, key):
            self._count(system, "deleted")
            self.remove(moment, system, key, record)
        elif self.entity_policy == "revert":
            self._count(system, "revert")
            self.ensure(moment, system, key, record, with_children=True)
        else:
            self._count(system, self.entity_policy)
            if self.entity_policy == "hold":
                self.report(Conflict(self.number, key, system, "deleted"))

    def remove(self, moment: Moment, system: int, key: bytes, record: Record) -> None:
        """The record is no more, by the will of `system`: children first, then everybody who has it is told."""
        for child in self.children:
            for child_key, child_record in child._golden.with_prefix(child.number, key):  # noqa: SLF001 - same class
                if child_record.alive:
                    child.remove(moment, system, child_key, child_record)
        record.alive = False
        record.existence_by = system
        record.changed_seq = moment.seq
        record.changed_at_us = moment.committed_at_us
        known = record.present | record.sent
        for target in self._bound:
            if known >> target & 1 and target not in self._keeps_deleted:
                self.delete_at(moment, target, key)
                record.present &= ~(1 << target)
                record.sent |= 1 << target
            else:
                record.sent &= ~(1 << target)
        self._golden.put(self.number, key, record)

    # ---- the first copy (cdcd.resolve.seeding) -----------------------------------------------------------------

    def first_creator(self, systems: Iterable[int]) -> int:
        """The first of `systems` that may create such records, else the first."""
        held = sorted(systems)
        return next((system for system in held if system in self._may_create), held[0])

    def parent_alive(self, key: bytes) -> bool:
        """Whether the parent of a child's key is a golden record."""
        parent = self._golden.get(self.judged_number, self._judged_key(key))
        return parent is not None and parent.alive

    def parent_state_owner(self, key: bytes) -> int:
        """The system that owns a child by its parent's state, NOBODY without a parent."""
        parent = self._golden.get(self.judged_number, self._judged_key(key))
        return NOBODY if parent is None else self.ownership.state_owner(parent.values)

    def legitimate(self, key: bytes, holders: Iterable[int], believed: int) -> bool:
        """Whether a record that `holders` have at the first copy may exist everywhere.

        A child may when the owner of its parent's state has it: that system's collection is the true one, unless it
        does not have the parent at all.
        """
        if not self.parent_width:
            return any(system in self._may_create for system in holders)
        parent = self._golden.get(self.judged_number, self._judged_key(key))
        if parent is None or not parent.alive:
            return False
        owner = self.parent_state_owner(key) if self.ownership.moves else believed
        return owner in holders or not parent.present >> owner & 1 if owner != NOBODY else True

    def may_spread(self, record: Record) -> bool:
        """Whether systems that lack the record are to get it: not one that only others than creators ever had."""
        return bool(self.parent_width) or record.existence_by in self._may_create

    def settle(self, moment: Moment, key: bytes, record: Record, held: Mapping[int, list[Any]]) -> None:
        """Tell every system where it differs from the record that the first copy has settled on."""
        self._count(record.existence_by, "settled")
        owners = self.ownership.owners(self._judged(key, record).values)
        for target, slots in self._slots.items():
            here = held.get(target)
            if here is None:
                self.ensure(moment, target, key, record)
                continue
            mask = sum(
                1 << slot
                for slot in slots
                if here[slot] != record.values[slot] and record.values[slot] is not ABSENT and owners[slot] != target
            )
            if mask:
                self._count(target, "revert")
                self._tell(moment, target, key, RecordWrite.UPDATE, record, mask, 0)

    # ---- our own writes, read back ---------------------------------------------------------------------------

    def echoed(self, moment: Moment, system: int, key: bytes, values: list[Any], written: Written) -> None:
        """A transaction of ours left this row in `system`. What it holds beyond what we wrote is a change."""
        record = self._golden.get(self.number, key)
        self._count(system, "echo")
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
            self._count(system, "corrected")
            self._tell(moment, system, key, RecordWrite.UPDATE, record, corrections, 0)
        if by_trigger:
            self._judge_trigger(moment, system, key, record, values, by_trigger)

    def _judge_trigger(
        self, moment: Moment, system: int, key: bytes, record: Record, values: list[Any], slots: list[int]
    ) -> None:
        """What a trigger did in our transaction is a change like any other, but reverting it would only call it again."""
        owners = self._owners(moment, system, key)
        own = [slot for slot in slots if owners[slot] in (system, NOBODY)]
        if own:
            self._judge(moment, system, key, record, values, own)
        for slot in slots:
            if slot not in own and record.values[slot] is not ABSENT:
                self._count(system, "trigger")
                self.report(Conflict(self.number, key, system, "trigger", slot, values[slot]))

    def echoed_delete(self, moment: Moment, system: int, key: bytes) -> None:
        """A transaction of ours deleted this row in `system`."""
        self._count(system, "echo")
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

    def ensure(
        self, moment: Moment, target: int, key: bytes, record: Record, *, with_children: bool = False
    ) -> None:
        """Have the record exist in `target` with all that the target does not own (Invariant 6)."""
        judged = self._judged(key, record)
        if self.parent_width and not (judged.present | judged.sent) >> target & 1:
            return  # a child cannot be where its parent is not
        owners = self.ownership.owners(judged.values)
        mask = initial = 0
        for slot in self._slots[target]:
            if record.values[slot] is not ABSENT:
                if owners[slot] == target and slot not in self.entity.key:
                    initial |= 1 << slot
                else:
                    mask |= 1 << slot
        record.sent |= 1 << target
        self._tell(moment, target, key, RecordWrite.FULL, record, mask, initial)
        if with_children:
            for child in self.children:
                if target in child._bound:  # noqa: SLF001 - same class
                    for child_key, child_record in child._golden.with_prefix(child.number, key):  # noqa: SLF001
                        if child_record.alive:
                            child.ensure(moment, target, child_key, child_record)
                            child._golden.put(child.number, child_key, child_record)  # noqa: SLF001

    def _judged(self, key: bytes, record: Record) -> Record:
        """The record whose state decides about this one: its parent's, or itself."""
        parent = self._golden.get(self.judged_number, self._judged_key(key)) if self.parent_width else None
        return record if parent is None else parent

    def delete_at(self, moment: Moment, target: int, key: bytes) -> None:
        """Have the record gone from `target`."""
        item = [self.number, RecordWrite.DELETE, key, 0, [], 0, []]
        self._outbox.add(self._systems[target], item, moment.committed_at_us)

    def _tell(
        self, moment: Moment, target: int, key: bytes, kind: RecordWrite, record: Record, mask: int, initial: int
    ) -> None:
        item = [self.number, kind, key, mask, masked(record.values, mask), initial, masked(record.values, initial)]
        unit = self._outbox.add(self._systems[target], item, moment.committed_at_us)
        record.told[target] = (unit, mask | self._on_its_way(record, target))
        self._golden.put(self.number, key, record)

    def _count(self, system: int, decision: str) -> None:
        self._counts[self._systems[system], self.entity.name, decision] += 1


_SLOTS_OF: Final[dict[int, tuple[int, ...]]] = {}


def slots_of(mask: int) -> tuple[int, ...]:
    """The slots of a mask, in order."""
    slots = _SLOTS_OF.get(mask)
    if slots is None:
        slots = tuple(slot for slot in range(mask.bit_length()) if mask >> slot & 1)
        if len(_SLOTS_OF) < 100_000:
            _SLOTS_OF[mask] = slots
    return slots


def masked(values: list[Any], mask: int) -> list[Any]:
    """The values of a mask's slots."""
    return [values[slot] for slot in slots_of(mask)]

"""Whether a system has a record as it should be: what its row shows, against the golden record and all that is on its way.

Two looks. The first one is quick, and only finds what may be otherwise. The second one is sure: it counts only what was seen
twice, while everything that had been decided in between has arrived, and gives the reason where cdcd knows one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdcd.conversions import StandsIn
from cdcd.model import ABSENT
from cdcd.numeric import added, is_zero, negated
from cdcd.parking.parked import Subject
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.golden import Record
from cdcd.resolve.mapping import binding_number
from cdcd.resolve.masks import slots_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.ownership import NOBODY
from cdcd.verifying.reference import STANDING_CONFLICTS, Reference, Settled
from cdcd.verifying.results import DriftKind, Mend

MOVING: Final = "moving"
"""The verdict on a record that changes, or is being told: it is looked at again."""
NOT_HEARD: Final = "not-published"
"""The cause where nobody listens to what the system says of the entity."""
Kind: TypeAlias = DriftKind | Literal["unread"]


class Shown(msgspec.Struct, gc=False):
    """A row of a system as a record. `refused` says why it is none (then `values` are empty, and perhaps the key is not known)."""

    row_id: bytes
    key: bytes | None
    values: list[Any]
    refused: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What the second look says. `known` is the reason that cdcd has for a difference (`MOVING`: not to be said yet).

    Where it is empty the record is not in step: `kind`, the names of the `fields` that differ, a trace of the `cause`, and
    what would `mend` it (see `Difference`).
    """

    kind: DriftKind
    known: str = ""
    fields: tuple[str, ...] = ()
    cause: str = ""
    mend: Mend = "tell"


class Judge:
    """Judges the records of one entity in one system. Ask within a moment of the reference."""

    def __init__(self, reference: Reference, entity: str, system: str) -> None:
        self._reference = reference
        self._entity = reference.plan.entities[entity]
        self._binding = self._entity.bindings[system]
        self._name = system
        self._system = reference.systems.index(system)
        self._number = binding_number(reference.plan, self._entity, system)
        self._decider: EntityDecider = reference.deciders[entity]
        self.stand_ins: Mapping[int, StandsIn] = {}
        """Of the rows that are looked at: which of their values only stand in for ones that do not fit."""
        is_told = self._system in self._decider.told_slots
        self._keeps_rows = not is_told or self._binding.instead_of_delete is not None
        """Whether rows of records that should not be stay there."""

    # ---- the first look --------------------------------------------------------------------------------------

    def suspects(self, shown: Shown) -> Kind | None:
        """How the row may be otherwise than it should be; None where it is as it should be."""
        if shown.refused:
            return "unread"
        assert shown.key is not None, "a row that was understood has a key"
        record = self._decider.golden.get(self._decider.number, shown.key)
        if record is None or not record.alive:
            return None if record is not None and self._may_rest(shown, record) else "surplus"
        return "different" if self._differing(shown, record) else None

    def excused(self, key: bytes) -> str:
        """Why the system has the record otherwise for a while, where that is plain: it is told later, or refuses it."""
        owed = self._reference.owed(self._system, self._entity.number, key)
        return "owed" if owed else self._refused(key)

    def is_expected(self, key: bytes, record: Record) -> bool:
        """Whether the system should have the record."""
        if not record.alive:
            return False
        if record.present >> self._system & 1:
            return True
        if self._system not in self._decider.told_slots or self._decider.may_lack(self._system, key):
            return False
        is_told = bool(record.sent >> self._system & 1) or self._decider.rights.may_spread(record)
        return is_told and self._decider.may_be_at(self._system, key, record)

    def _differing(self, shown: Shown, record: Record) -> list[int]:
        """The slots in which the row differs, of those that are written there or are the system's own."""
        decider = self._decider
        decider.stand_ins = self.stand_ins
        found = decider.differing(self._system, record, shown.values)
        found += [
            slot for slot in slots_of(decider.ownership.sum_mask) if self._lacks(shown.values[slot], record, slot)
        ]
        return [slot for slot in found if record.values[slot] is not ABSENT and self._counts(slot)]

    def _lacks(self, shown: Any, record: Record, slot: int) -> bool:
        """Whether a total is another one."""
        total = record.values[slot]
        if shown is ABSENT or total is ABSENT or shown == total:
            return False
        kind = self._reference.plan.plain_type(self._entity.fields[slot].type)
        return not is_zero(added(total, negated(shown, kind), kind))

    def _counts(self, slot: int) -> bool:
        """Whether a field is told there, or the system's own for good: what else it has of it is nobody's business."""
        told = self._decider.told_slots.get(self._system, 0)
        return bool(told >> slot & 1) or self._decider.ownership.fixed[slot] == self._system

    def _owner(self, key: bytes, record: Record, slot: int) -> int:
        ownership = self._decider.ownership
        if ownership.fixed[slot] != NOBODY:
            return ownership.fixed[slot]
        return ownership.by_slot(ownership.by_state(self._decider.rights.judged(key, record).values))[slot]

    def _may_rest(self, shown: Shown, record: Record) -> bool:
        """Whether the row of a record that is no more stays: it is archived, left alone, or its parent's row stays."""
        assert shown.key is not None
        if self._system not in self._decider.told_slots:
            return True
        instead = self._binding.instead_of_delete
        if instead is not None:
            return all(shown.values[slot] in (ABSENT, value) for slot, value in instead.items())
        if not record.present >> self._system & 1 and record.sent >> self._system & 1:
            return False  # its delete was told
        return not self._decider.goes_with_parent(self._system, shown.key)

    # ---- the second look -------------------------------------------------------------------------------------

    def row(self, shown: Shown, since: Settled) -> Verdict | None:
        """A row was shown just so twice, the second time after all of `since` had arrived; None where it is as it should be."""
        if shown.refused:
            return self._unread(shown)
        assert shown.key is not None
        record = self._decider.golden.get(self._decider.number, shown.key)
        if record is None or not record.alive:
            if record is not None and self._may_rest(shown, record):
                return None
            return self._surplus(shown, record, since)
        slots = self._differing(shown, record)
        if not slots:
            return None
        return self._different(shown.key, record, slots, since)

    def missing(self, key: bytes, since: Settled) -> Verdict | None:
        """A record was shown by no row, though all of `since` had arrived; None where it need not be there."""
        record = self._decider.golden.get(self._decider.number, key)
        if record is None or not self.is_expected(key, record):
            return None
        return Verdict(
            "missing",
            self._on_its_way(key, record, since) or self._standing(key, is_delete=True),
            cause=self._trace(key),
        )

    def _unread(self, shown: Shown) -> Verdict | None:
        why = self._reference.unread(self._entity.number, self._number, self._system, shown.row_id)
        return Verdict("surplus", why, cause=shown.refused, mend="read")

    def _surplus(self, shown: Shown, record: Record | None, since: Settled) -> Verdict:
        assert shown.key is not None
        why = self._reference.unread(self._entity.number, self._number, self._system, shown.row_id)
        if not why and record is not None:
            why = self._on_its_way(shown.key, record, since)
        if not why and not since.is_all:
            why = MOVING
        if not why:
            why = self._refused(shown.key) or self._standing(shown.key) or self._left_there(shown.key, record)
        return Verdict("surplus", why, cause=self._trace(shown.key), mend="read")

    def _left_there(self, key: bytes, record: Record | None) -> str:
        """Why nothing would come of a row that is no record."""
        if record is not None and self._binding.instead_of_delete is not None:
            return "archived"  # and edited since, which nobody minds
        is_child = self._entity.parent is not None
        if is_child and not self._decider.goes_with_parent(self._system, key):
            return "parent"  # is no record, or only archived: what is to be said of it is said there
        is_told = self._system in self._decider.told_slots
        is_heard = self._decider.rights.may_create(Moment(0, 0, {}), self._system, key)
        return "" if is_told or is_heard else "not-subscribed"

    def _different(self, key: bytes, record: Record, slots: list[int], since: Settled) -> Verdict:
        why = self._on_its_way(key, record, since)
        if why:
            return Verdict("different", why)
        standing = {slot: self._standing(key, slot) or self._left_alone(key, record, slot) for slot in slots}
        slots = [slot for slot in slots if not standing[slot]]
        if not slots:
            return Verdict("different", next(iter(standing.values())))
        fields = tuple(self._entity.fields[slot].name for slot in slots)
        own = any(self._is_own(key, record, slot) for slot in slots)
        return Verdict("different", fields=fields, cause=self._trace(key), mend="read" if own else "tell")

    def _is_own(self, key: bytes, record: Record, slot: int) -> bool:
        return self._decider.ownership.may_change(self._owner(key, record, slot), slot, self._system)

    def _on_its_way(self, key: bytes, record: Record, since: Settled) -> str:
        """Why the system cannot be as the record yet; "" where it has had all the time."""
        excuse = self.excused(key)
        if excuse:
            return excuse
        told = [unit for unit, _ in record.told.get(self._system, ())]
        told += [unit for unit, _, _ in record.adding.get(self._system, ())]
        if record.changed_seq > since.position or any(unit > since.unit for unit in told):
            return MOVING
        if not since.is_all and not record.present >> self._system & 1:
            return MOVING
        if self._decider.ownership.sum_mask and self._reference.is_levelled_later(
            self._system, self._entity.number, key
        ):
            return "totals"
        return ""

    def _refused(self, key: bytes) -> str:
        """The system refuses the record, or the one that it belongs to."""
        subjects: list[Subject] = [(self._entity.number, key)]
        if self._entity.parent is not None:
            subjects.append(self._decider.rights.judged_at(key))
        codes = [code for subject in subjects if (code := self._reference.parked(self._name, subject))]
        return f"parked: {codes[0]}" if codes else ""

    def _standing(self, key: bytes, slot: int | None = None, *, is_delete: bool = False) -> str:
        """What stands until a person decides, or for good: against a field, or that the record was created or deleted there."""
        found = self._reference.conflicts(self._entity.number, key, self._system)
        standing = STANDING_CONFLICTS | ({"create-reverted"} if self._keeps_rows else set())
        found = [one for one in found if one.slot == slot and one.kind in standing]
        kinds = [one.kind for one in found if slot is not None or one.is_delete == is_delete]
        return f"conflict: {kinds[0]}" if kinds else ""

    def _left_alone(self, key: bytes, record: Record, slot: int) -> str:
        """Whether the field may be otherwise in systems that do not own it."""
        owner = self._owner(key, record, slot)
        if self._decider.policy_of(slot) != "ignore" or self._decider.ownership.may_change(owner, slot, self._system):
            return ""
        return "conflict: ignored"

    def _trace(self, key: bytes) -> str:
        """What may have led to it."""
        if self._system not in self._decider.rights.published_by:
            return NOT_HEARD
        kinds = [found.kind for found in self._reference.conflicts(self._entity.number, key, self._system)]
        return f"conflict: {kinds[0]}" if kinds else ""

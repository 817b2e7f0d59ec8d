"""Fields that add up ("sum"): stock that several systems sell from and book into.

What counts of a change is its *difference* to what that system's log showed before. It is added to the golden total, and
the other systems are told the difference, never the total: a total would overwrite a difference of theirs that we have
not seen yet, while `column = column + difference` is right whatever they do meanwhile. It happens once, because the
checkpoint is in the same transaction. So at any time, for each system,

    golden total = what its log last showed + differences on their way to it

and where that does not hold (a row seen for the first time, a difference that was parked and lost), the system is told
what is lacking: it is *levelled*. NULL counts as 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cdcd.conflicts import STANDING
from cdcd.model import ABSENT
from cdcd.numeric import added, is_zero, negated
from cdcd.outbox import RecordWrite
from cdcd.resolve.golden import Record
from cdcd.resolve.masks import slots_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.own_writes import OwnWrites
from cdcd.state import State

if TYPE_CHECKING:
    from cdcd.resolve.decide import EntityDecider


class Levels:
    """Records whose totals are to be looked at again when a unit has been read back. Kept in the state's open transaction."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection
        self._any = False

    def load(self) -> None:
        """Look whether there are any: at the start, and after a step that failed."""
        self._any = self._connection.execute("SELECT 1 FROM levels LIMIT 1").fetchone() is not None

    def want(self, system: int, entity: int, key: bytes, unit: int) -> None:
        """Look at the record again when `system` has shown that unit."""
        self._connection.execute("INSERT OR REPLACE INTO levels VALUES (?,?,?,?)", (system, entity, key, unit))
        self._any = True

    def take_due(self, system: int, echoed_unit: int) -> list[tuple[int, bytes]]:
        """The records, as (entity, key), that can be looked at now that this unit has been read back."""
        if not self._any:
            return []
        at = (system, echoed_unit)
        found = self._connection.execute("SELECT entity, key FROM levels WHERE system=? AND unit<=?", at).fetchall()
        if found:
            self._connection.execute("DELETE FROM levels WHERE system=? AND unit<=?", at)
            self.load()
        return [(entity, bytes(key)) for entity, key in found]


class Totals:
    """Judges and tells the fields of one entity that add up."""

    def __init__(self, decider: EntityDecider) -> None:
        self._decider = decider
        self._mask = decider.ownership.sum_mask
        self._types = {slot: decider.entity.fields[slot].type for slot in slots_of(self._mask)}

    def _slots(self, system: int) -> list[int]:
        return [slot for slot in self._decider.slots[system] if self._mask >> slot & 1]

    # ---- what a system shows ---------------------------------------------------------------------------------

    def changed(
        self, moment: Moment, system: int, key: bytes, record: Record, values: list[Any], before: list[Any] | None
    ) -> bool:
        """An application left this row. Returns whether a total was changed, or wanted to be."""
        if not self._mask:
            return False
        found = False
        for slot in self._slots(system):
            if values[slot] is not ABSENT:
                found = self._shown(moment, system, key, record, slot, values[slot], before, None) or found
        return found

    def echoed(
        self,
        moment: Moment,
        system: int,
        key: bytes,
        record: Record,
        values: list[Any],
        before: list[Any] | None,
        written: OwnWrites,
    ) -> None:
        """A transaction of ours left this row: what it added is no change.

        A record may be shown several times in it, before and after that. A row that is new is shown without it first.
        """
        differences, tells_whole = written.differences(self._decider.number, key)
        for slot in self._slots(system):
            value = values[slot]
            if value is ABSENT:
                continue
            own = self._sum([d for s, d in differences if s == slot], slot)
            if _of(before, slot) is ABSENT:
                still_to_come = own if tells_whole else 0
                self._level(moment, system, key, record, slot, written.through, still_to_come)
            elif value != _of(before, slot):  # else it does not show yet what was added, or that was refused
                own = self._sum([], slot) if written.was_shown(self._decider.number, key, slot) else own
                written.note_shown(self._decider.number, key, slot)
                self._shown(moment, system, key, record, slot, value, before, own)

    def _shown(
        self,
        moment: Moment,
        system: int,
        key: bytes,
        record: Record,
        slot: int,
        value: Any,
        before: list[Any] | None,
        own: Any,
    ) -> bool:
        """A row shows `value`, of which `own` was added by us. Returns whether more than that happened to it."""
        kind = self._types[slot]
        old = _of(before, slot)
        if record.values[slot] is ABSENT:
            record.values[slot] = value  # the field is new, and nobody has told it yet
            self._level_others(moment, system, key, record, slot)
            return True
        if old is ABSENT:
            self._level(moment, system, key, record, slot, self._decider.echoed_units.get(system, 0), 0)
            return False
        difference = added(added(value, negated(old, kind), kind), negated(own, kind), kind)
        if is_zero(difference):
            return False
        self._add_up(moment, system, key, record, slot, difference)
        return True

    def _add_up(self, moment: Moment, system: int, key: bytes, record: Record, slot: int, difference: Any) -> None:
        """A system has changed its number: it counts for all, if the system shares the field."""
        decider, kind = self._decider, self._types[slot]
        old = record.values[slot]
        shares = system in decider.rights.published_by and system in decider.ownership.between[slot]
        decision = "written" if shares else str(decider.entity.fields[slot].not_owner)
        new = added(old, difference, kind)
        decider.decided(system, key, decision, cells=[decider.cell(slot, decision, -1, old, new)])
        if shares:
            self.accept(moment, system, key, record, slot, difference)
            return
        known = decider.book.find(decider.number, key, system, slot)
        stands = known is not None and known.kind in STANDING and decision != "revert"
        lost = added(known.value, difference, kind) if known is not None and stands else difference
        decider.lost(moment, system, key, slot, decision, lost)
        if decision == "revert":
            self.add(moment, system, key, record, slot, negated(difference, kind))

    def accept(self, moment: Moment, system: int, key: bytes, record: Record, slot: int, difference: Any) -> None:
        """The total changes by this much, by the will of `system`: everybody else is told."""
        decider = self._decider
        record.values[slot] = added(record.values[slot], difference, self._types[slot])
        record.changed_seq, record.changed_at_us = moment.seq, moment.committed_at_us
        decider.golden.put(decider.number, key, record)
        decider.event(system, "updated")
        known = record.present | record.sent
        for target in decider.told_slots:
            if target != system and known >> target & 1:
                self.add(moment, target, key, record, slot, difference)

    # ---- telling ---------------------------------------------------------------------------------------------

    def add(self, moment: Moment, target: int, key: bytes, record: Record, slot: int, difference: Any) -> None:
        """Have `target` add to what its row holds."""
        decider = self._decider
        if is_zero(difference) or not decider.told_slots.get(target, 0) >> slot & 1:
            return
        unit = decider.tell_values(moment, target, key, RecordWrite.ADD, 1 << slot, [difference])
        echoed = decider.echoed_units.get(target, 0)
        coming = [adding for adding in record.adding.get(target, ()) if adding[0] > echoed]
        record.adding[target] = [*coming, (unit, slot, difference)]
        decider.golden.put(decider.number, key, record)

    def lacking(self, target: int, record: Record, slot: int, through: int | None = None) -> Any:
        """What `target` lacks of the total, counting what units after `through` (the last one read back) will add there.

        None when nothing is known of its row.
        """
        shown = _of(None if record.shadows is None else record.shadows.get(target), slot)
        if shown is ABSENT or record.values[slot] is ABSENT:
            return None
        if through is None:
            through = self._decider.echoed_units.get(target, 0)
        coming = [d for unit, s, d in record.adding.get(target, ()) if s == slot and unit > through]
        there = added(shown, self._sum(coming, slot), self._types[slot])
        return added(record.values[slot], negated(there, self._types[slot]), self._types[slot])

    def level(self, moment: Moment, target: int, key: bytes, record: Record) -> None:
        """Have `target` get what it lacks, and look again when all that is on its way there has been read back.

        What is on its way may have been parked, and lost: only then is that seen.
        """
        decider = self._decider
        if not self._mask or target not in decider.told_slots:
            return
        echoed = decider.echoed_units.get(target, 0)
        coming = [unit for unit, _, _ in record.adding.get(target, ()) if unit > echoed]
        if coming:
            decider.levels.want(target, decider.number, key, max(coming))
        for slot in self._slots(target):
            lacking = self.lacking(target, record, slot)
            if lacking is not None:
                self.add(moment, target, key, record, slot, lacking)

    def _level(
        self, moment: Moment, target: int, key: bytes, record: Record, slot: int, through: int, still_to_come: Any
    ) -> None:
        """A row is shown for the first time: it is put right, but for what our transaction is about to add."""
        kind = self._types[slot]
        lacking = self.lacking(target, record, slot, through)
        if lacking is not None:
            lacking = added(lacking, negated(still_to_come, kind), kind)
            if not is_zero(lacking):
                self._decider.decided(target, key, "corrected")
                self.add(moment, target, key, record, slot, lacking)

    def _level_others(self, moment: Moment, system: int, key: bytes, record: Record, slot: int) -> None:
        for target in self._decider.told_slots:
            lacking = self.lacking(target, record, slot) if target != system else None
            if lacking is not None:
                self.add(moment, target, key, record, slot, lacking)

    def _sum(self, differences: Iterable[Any], slot: int) -> Any:
        total: Any = 0 if self._types[slot].kind == "integer" else "0"
        for difference in differences:
            total = added(total, difference, self._types[slot])
        return total


def _of(shown: list[Any] | None, slot: int) -> Any:
    return ABSENT if shown is None or slot >= len(shown) else shown[slot]

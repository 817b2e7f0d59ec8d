"""Our own writes, read back from a target's log: what they hold beyond what we wrote is a change, or a late write of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cdcd.model import ABSENT
from cdcd.outbox import RecordWrite
from cdcd.resolve.golden import Record
from cdcd.resolve.moment import Moment
from cdcd.resolve.own_writes import OwnWrites

if TYPE_CHECKING:
    from cdcd.resolve.decide import EntityDecider


class Echoes:
    """Judges what transactions of ours left in the rows of one entity."""

    def __init__(self, decider: EntityDecider) -> None:
        self._decider = decider

    def row(self, moment: Moment, system: int, key: bytes, values: list[Any], written: OwnWrites) -> None:
        """A transaction of ours left this row in `system`. What it holds beyond what we wrote is a change."""
        decider = self._decider
        record = decider.golden.get(decider.number, key)
        decider.decided(system, key, "echo")
        if record is None:
            return
        if not record.alive:
            self._brought_back(moment, system, key, record, written)
            return
        looks_back = decider.ownership.looks_back
        if looks_back or not record.present >> system & 1:
            record.present |= 1 << system
            decider.golden.put(decider.number, key, record)
        before = decider.shown(system, record, values) if looks_back else None
        if decider.ownership.sum_mask:
            decider.totals.echoed(moment, system, key, record, values, before, written)
        if record.values != values:
            differing = decider.differing(system, record, values)
            if before is not None:
                differing = [slot for slot in differing if values[slot] != before[slot]]
            if differing:
                self._judge(moment, system, key, record, values, differing, before, written)
        if decider.book.may_have(decider.number, key):
            decider.review(system, key, record, values)

    def _brought_back(self, moment: Moment, system: int, key: bytes, record: Record, written: OwnWrites) -> None:
        """It was deleted here, and our late write made it again; not so where our own delete has archived it."""
        decider = self._decider
        if record.existence_by == system and not written.deletes(decider.number, key):
            decider.delete_at(moment, system, key)
            record.sent |= 1 << system
            decider.golden.put(decider.number, key, record)

    def _judge(
        self,
        moment: Moment,
        system: int,
        key: bytes,
        record: Record,
        values: list[Any],
        differing: Sequence[int],
        before: list[Any] | None,
        own: OwnWrites,
    ) -> None:
        """Tell three things apart: our write is older than the record, it overwrote a newer one, a trigger changed it."""
        decider = self._decider
        written = own.fields(decider.number, key)
        if own.deletes(decider.number, key):  # made anew here, and our late delete has archived it
            written |= decider.entity.bindings[decider.systems[system]].archive or {}
        coming = decider.on_its_way(record, system, own.through)
        corrections = 0
        by_trigger: list[int] = []
        for slot in differing:
            if slot in written and written[slot] == values[slot]:
                if not coming >> slot & 1 and record.values[slot] is not ABSENT:
                    corrections |= 1 << slot  # the system's own newer value was lost under our write
            elif slot in written or before is not None or not coming >> slot & 1:
                by_trigger.append(slot)  # else a row shown for the first time only lacks what comes next
        if corrections:
            decider.decided(system, key, "corrected")
            decider.tell(moment, system, key, RecordWrite.UPDATE, record, corrections, 0)
        if by_trigger:
            self._judge_trigger(moment, system, key, record, values, by_trigger, before)

    def _judge_trigger(
        self,
        moment: Moment,
        system: int,
        key: bytes,
        record: Record,
        values: list[Any],
        slots: Sequence[int],
        before: list[Any] | None,
    ) -> None:
        """What a trigger did in our transaction is a change like any other, but reverting it would only call it again."""
        decider = self._decider
        owners = decider.rights.owners(moment, key)
        heard = system in decider.rights.published_by
        own = [slot for slot in slots if heard and decider.ownership.may_change(owners[slot], slot, system)]
        if own:
            decider.answered(system)
            decider.judge(moment, system, key, record, values, own, before)
        foreign = [
            s for s in slots if s not in own and record.values[s] is not ABSENT and not self._stands(system, key, s)
        ]
        if foreign:
            claim = decider.rights.claim(moment, key)
            cells = [decider.cell(slot, "trigger", claim, record.values[slot], values[slot]) for slot in foreign]
            decider.decided(system, key, "trigger", claim, cells)
            for slot in foreign:
                decider.conflict(moment, system, key, "trigger", slot, values[slot])

    def _stands(self, system: int, key: bytes, slot: int) -> bool:
        """Whether a change of this field is known to stand there against its owner: its row shows it again."""
        found = self._decider.book.find(self._decider.number, key, system, slot)
        return found is not None and found.kind in ("held", "ignored")

    def delete(self, moment: Moment, system: int, key: bytes) -> None:
        """A transaction of ours deleted this row in `system`."""
        decider = self._decider
        decider.decided(system, key, "echo")
        record = decider.golden.get(decider.number, key)
        if record is None:
            return
        if not record.alive:
            record.sent &= ~(1 << system)
            if record.shadows is not None:
                record.shadows.pop(system, None)
            decider.golden.put(decider.number, key, record)
        elif record.existence_by == system or record.present >> system & 1:  # made anew here; our late delete took it
            record.present &= ~(1 << system)
            if record.shadows is not None:
                record.shadows.pop(system, None)
            decider.ensure(moment, system, key, record)
            decider.golden.put(decider.number, key, record)

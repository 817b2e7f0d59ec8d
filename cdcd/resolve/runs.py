"""Runs of rows decided at once: what is the same for all of them is found out once, and a row costs what is its own.

Of most rows nothing but the record itself decides: ownership does not move, nobody shares a field, nothing waits or is
owed. Then whole runs of new records, of changes by a field's owner, and of our own writes read back take the short ways
here. What is decided, told and noted is what `EntityDecider` would have one by one, to the byte; every row that is in any
way particular goes there. Measured, all of resolve: a new product of nine fields costs 8 µs instead of 19, its echo 8
instead of 14, a change of three fields 13 instead of 21.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from operator import ne
from typing import Any, Final

import msgspec

from cdcd.conflicts import ConflictBook
from cdcd.model import Op
from cdcd.outbox import OutboxWriter, RecordWrite
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.masks import picker
from cdcd.resolve.moment import Moment
from cdcd.resolve.own_writes import OwnWrites
from cdcd.resolve.ownership import NO_CLAIM, NOBODY
from cdcd.resolve.plan import Plan
from cdcd.resolve.telling import Cell
from cdcd.resolve.totals import Levels
from cdcd.resolve.trail import NO_RULE

RUN_ROWS: Final = 1_000
"""Rows that are decided at once."""
_encode: Final = msgspec.msgpack.Encoder().encode
_FULL: Final = int(RecordWrite.FULL)
_UPDATE: Final = int(RecordWrite.UPDATE)


class RunDecider(EntityDecider):
    """Decides for one entity, row by row or whole runs."""

    def is_plain(self) -> bool:
        """Whether nothing but the record itself decides, for now: then runs may be decided at once."""
        if self.parent_width or self.ownership.looks_back or self._together:
            return False
        lanes = () if self.owed is None else self.owed.lanes
        return not any(entity == self.number for _, entity in lanes)

    # ---- changes by the applications -------------------------------------------------------------------------

    def changed_run(
        self, moment: Moment, system: int, keys: Sequence[bytes], rows: Sequence[list[Any]], op: Op, bound: int
    ) -> None:
        """Rows were inserted, updated or read, and hold these values; `bound` are the slots that have any, none is ABSENT.

        As `changed` for each of them. Only where the decider `is_plain`.
        """
        for start in range(0, len(keys), RUN_ROWS):
            part = slice(start, start + RUN_ROWS)
            self._changed_part(moment, system, keys[part], rows[part], op, bound)

    def _changed_part(
        self, moment: Moment, system: int, keys: Sequence[bytes], rows: Sequence[list[Any]], op: Op, bound: int
    ) -> None:
        number, get = self.number, self.golden.get
        if not any(get(number, key) for key in keys) and self._are_new(system, keys):
            self._create_run(moment, system, keys, rows, bound)
            self._happened[self.systems[system], self.entity.name, "created"] += len(keys)
        elif system in self.rights.published_by and not self.stand_ins:
            self._change_run(moment, system, keys, rows, op)
        else:
            for key, values in zip(keys, rows, strict=True):
                self.changed(moment, system, key, values, op)

    def _are_new(self, system: int, keys: Sequence[bytes]) -> bool:
        """Whether records that nobody knows may be created so by `system`, each once."""
        rights, number, may_have = self.rights, self.number, self.book.may_have
        may = system in rights.published_by and system in rights.creators
        return may and len(set(keys)) == len(keys) and not any(may_have(number, key) for key in keys)

    def settle_run(
        self, moment: Moment, system: int, keys: Sequence[bytes], rows: Sequence[list[Any]], bound: int
    ) -> None:
        """First copies of these tables have shown records that only `system` has, which may create them."""
        self._create_run(moment, system, keys, rows, bound, is_first=True)

    def _create_run(
        self,
        moment: Moment,
        system: int,
        keys: Sequence[bytes],
        rows: Sequence[list[Any]],
        bound: int,
        *,
        is_first: bool = False,
    ) -> None:
        """The records exist from now on, born of `system`, and everybody else is told."""
        number, seq, at_us = self.number, moment.seq, moment.committed_at_us
        told: dict[int, list[tuple[int, int]]] = {}
        tellings: list[tuple[int, int, int, int, int]] = []
        sent = 0
        for target in self.told_slots:
            if target == system:
                continue
            mask, initial = self._whole(target, NOBODY)
            mask, initial = mask & bound, initial & bound
            pick, pick_new = picker(mask), picker(initial)
            items = [
                [number, _FULL, key, mask, pick(values), initial, pick_new(values)]
                for key, values in zip(keys, rows, strict=True)
            ]
            unit = self._outbox.add_all(self.systems[target], items, at_us)
            told[target] = [(unit, mask)]
            tellings.append((target, unit, _FULL, mask, initial))
            sent |= 1 << target
        present = 1 << system
        records = (Record(values, present, sent, True, system, seq, at_us, None, None, told) for values in rows)
        self.golden.put_all(number, keys, records)
        decision = "settled" if is_first else "created"
        self._counts[self.systems[system], self.entity.name, decision] += len(keys)
        if self.trail is not None:
            rule = self._rule(NO_CLAIM if is_first else self.ownership.born_of(system))
            held_by = present if is_first else 0
            self.trail.note_all(number, keys, system, decision, rule, tuple(tellings), held_by)

    def _change_run(
        self, moment: Moment, system: int, keys: Sequence[bytes], rows: Sequence[list[Any]], op: Op
    ) -> None:
        """As `changed` for each, quickly where all that a row holds otherwise is its system's own."""
        number, get, may_have = self.number, self.golden.get, self.book.may_have
        slots = self.slots[system]
        is_whole = slots == [*range(len(self.entity.fields))]
        fixed = self.ownership.fixed
        own = {slot for slot in slots if fixed[slot] in (system, NOBODY)}
        changed = 0
        for key, values in zip(keys, rows, strict=True):
            record = get(number, key)
            if record is not None and record.alive and record.present >> system & 1 and not may_have(number, key):
                golden = record.values
                differing = (
                    [*compress(slots, map(ne, golden, values))]
                    if is_whole
                    else [slot for slot in slots if values[slot] != golden[slot]]
                )
                if differing and own.issuperset(differing):
                    self._change(moment, system, key, record, values, differing)
                    changed += 1
                    continue
            self.changed(moment, system, key, values, op)
        if changed:
            self._counts[self.systems[system], self.entity.name, "written"] += changed
            self._happened[self.systems[system], self.entity.name, "updated"] += changed

    def _change(
        self, moment: Moment, system: int, key: bytes, record: Record, values: list[Any], differing: Sequence[int]
    ) -> None:
        """As `judge` and `accept` where all of it counts."""
        golden, fixed = record.values, self.ownership.fixed
        mask = 0
        cells: list[Cell] = []
        for slot in differing:
            cells.append((slot, "written", fixed[slot], golden[slot], values[slot]))
            golden[slot] = values[slot]
            mask |= 1 << slot
        if coming := record.told.get(system):
            record.told[system] = [(unit, slots & ~mask) for unit, slots in coming]
        record.changed_seq = moment.seq
        record.changed_at_us = moment.committed_at_us
        self.golden.put(self.number, key, record)
        known = record.present | record.sent
        tellings = [
            self._tell_update(moment, target, key, record, mask & written)
            for target, written in self.told_slots.items()
            if target != system and known >> target & 1 and mask & written
        ]
        if self.trail is not None:
            self.trail.note(self.number, key, system, "written", NO_RULE, cells, told=tellings)

    def _tell_update(
        self, moment: Moment, target: int, key: bytes, record: Record, mask: int
    ) -> tuple[int, int, int, int, int]:
        """As `tell`, for the trail to note."""
        item = [self.number, _UPDATE, key, mask, picker(mask)(record.values), 0, ()]
        unit = self._outbox.add(self.systems[target], item, moment.committed_at_us)
        told = record.told.get(target)
        if told:
            echoed = self.echoed_units.get(target, 0)
            told = [(u, m & ~mask) for u, m in told if u > echoed and m & ~mask]
        record.told[target] = [*told, (unit, mask)] if told else [(unit, mask)]
        return target, unit, _UPDATE, mask, 0

    # ---- our own writes, read back ---------------------------------------------------------------------------

    def echoed_run(
        self,
        moment: Moment,
        system: int,
        keys: Sequence[bytes],
        rows: Sequence[list[Any]],
        written: OwnWrites,
        bound: int,
    ) -> None:
        """A transaction of ours left these rows in `system`. As `Echoes.row` for each; only where the decider `is_plain`."""
        number, get, put, may_have = self.number, self.golden.get, self.golden.put, self.book.may_have
        show, is_whole = self.golden.show, bound + 1 == 1 << len(self.entity.fields)
        shown = None if is_whole else picker(bound)
        bit, echoes = 1 << system, 0
        for key, values in zip(keys, rows, strict=True):
            if is_whole and not may_have(number, key) and show(number, key, _encode(values), system):
                echoes += 1
                continue
            record = get(number, key)
            if record is None or not record.alive or may_have(number, key):
                self.echoes.row(moment, system, key, values, written)
            elif record.values == values or (shown is not None and shown(record.values) == shown(values)):
                echoes += 1
                if not record.present & bit:
                    record.present |= bit
                    put(number, key, record)
            else:
                self.echoes.row(moment, system, key, values, written)
        if echoes:
            self._counts[self.systems[system], self.entity.name, "echo"] += echoes


def deciders_of(
    plan: Plan,
    golden: GoldenRecords,
    outbox: OutboxWriter,
    book: ConflictBook,
    levels: Levels,
    counts: Counter[tuple[str, str, str]],
    happened: Counter[tuple[str, str, str]],
    echoed: Mapping[int, int],
) -> dict[str, RunDecider]:
    """One for each entity; those of child collections hang on their parents'."""
    deciders = {
        name: RunDecider(plan, entity, golden, outbox, book, levels, counts, happened, echoed)
        for name, entity in plan.entities.items()
    }
    for name, entity in plan.entities.items():
        if entity.parent is not None:
            deciders[entity.parent].children.append(deciders[name])
    return deciders

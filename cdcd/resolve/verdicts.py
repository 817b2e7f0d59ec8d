"""An operator's verdicts about conflicts, carried out at their place in the journal.

Accepting takes what lost as if its owner had said so: the golden record follows, and everybody else is told. Rejecting
writes the owner's value back. A verdict is about one very change (its journal entry): if that system has changed the
same thing since, or the conflict is no more, nothing is done and it counts as changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from cdcd.conflicts import STANDING, Conflict, ConflictBook
from cdcd.numeric import negated
from cdcd.outbox import RecordWrite
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.golden import Record, widened
from cdcd.resolve.moment import Moment
from cdcd.state import State

KEPT_OUTCOMES: Final = 100
_OUTCOMES: Final = "verdicts"
_encode: Final = msgspec.msgpack.Encoder().encode


class Named(msgspec.Struct, frozen=True, array_like=True):
    """The conflict that a person has seen: by numbers as in `Conflict`, and the journal entry that brought it."""

    entity: int
    key: bytes
    system: int
    slot: int | None
    seq: int


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What came of a command: how many conflicts were settled by it, and how many had changed meanwhile."""

    settled: int = 0
    changed: int = 0


def note_outcome(state: State, seq: int, outcome: Outcome) -> None:
    """Remember what came of the command in journal entry `seq`, for whoever gave it and waits."""
    known = _outcomes(state)
    known[seq] = outcome
    state.put(_OUTCOMES, _encode(dict(list(known.items())[-KEPT_OUTCOMES:])))


def outcome_of(state: State, seq: int) -> Outcome | None:
    """What came of it; None while resolve has not come to it."""
    return _outcomes(state).get(seq)


def _outcomes(state: State) -> dict[int, Outcome]:
    stored = state.get(_OUTCOMES)
    return {} if stored is None else msgspec.msgpack.decode(stored, type=dict[int, Outcome])


class Verdicts:
    """Carries out what a person decided."""

    def __init__(self, deciders: Iterable[EntityDecider], book: ConflictBook) -> None:
        self._deciders: Mapping[int, EntityDecider] = {decider.number: decider for decider in deciders}
        self._book = book

    def carry_out(self, moment: Moment, named: Iterable[Named], *, accept: bool) -> Outcome:
        """Accept or reject these conflicts."""
        settled = changed = 0
        for name in named:
            conflict = self._book.find(name.entity, name.key, name.system, name.slot)
            decider = self._deciders.get(name.entity)
            if conflict is None or decider is None or conflict.seq != name.seq:
                changed += 1
            elif _Verdict(decider, moment, conflict).carry_out(accept=accept):
                settled += 1
                self._book.clear([conflict])
            else:
                changed += 1
        return Outcome(settled, changed)


class _Verdict:
    """One conflict being decided. Each method returns whether it could be carried out."""

    def __init__(self, decider: EntityDecider, moment: Moment, conflict: Conflict) -> None:
        self._decider = decider
        self._moment = moment
        self._conflict = conflict
        self._system, self._key = conflict.system, conflict.key

    def carry_out(self, *, accept: bool) -> bool:
        c, decider = self._conflict, self._decider
        record = decider.golden.get(decider.number, self._key)
        alive = record if record is not None and record.alive else None
        if c.slot is not None:
            return alive is not None and self._field(alive, c.slot, accept=accept)
        if c.is_create:
            return self._creation(record, accept=accept)
        if alive is None:
            return False
        decider.decided(self._system, self._key, "accept" if accept else "reject")
        if accept:
            decider.remove(self._moment, self._system, self._key, alive)
        else:
            decider.ensure(self._moment, self._system, self._key, alive, with_children=True)
            decider.golden.put(decider.number, self._key, alive)
        return True

    # ---- a field ---------------------------------------------------------------------------------------------

    def _field(self, record: Record, slot: int, *, accept: bool) -> bool:
        decider, c = self._decider, self._conflict
        if slot >= len(record.values):
            return False
        adds_up = bool(decider.ownership.sum_mask >> slot & 1)
        decision = "accept" if accept else "reject"
        cells = [decider.cell(slot, decision, -1, record.values[slot], c.value)]
        decider.decided(self._system, self._key, decision, cells=cells)
        if adds_up:
            self._difference(record, slot, accept=accept)
        elif accept:
            self._take(record, slot)
        else:
            decider.tell(self._moment, self._system, self._key, RecordWrite.UPDATE, record, 1 << slot, 0)
        return True

    def _take(self, record: Record, slot: int) -> None:
        """The owner itself is told too, by the will of a person: this is the one write that Invariant 6 does not forbid."""
        decider, c = self._decider, self._conflict
        claim = decider.rights.claim(self._moment, self._key)
        decider.take(self._moment, self._system, record, slot, c.value)
        decider.rights.handed_over(self._moment, decider.number, self._key, record, claim)
        decider.accept(self._moment, self._system, self._key, record, 1 << slot)
        if c.kind not in STANDING:  # its own row shows the owner's value by now
            decider.tell(self._moment, self._system, self._key, RecordWrite.UPDATE, record, 1 << slot, 0)
        others = decider.book.of(decider.number, self._key)
        decider.book.clear([other for other in others if other.slot == slot and other.value == c.value])

    def _difference(self, record: Record, slot: int, *, accept: bool) -> None:
        """What lost in a field that adds up is a difference, which stands in its system or was taken back there."""
        totals, c = self._decider.totals, self._conflict
        stands = c.kind in STANDING
        if accept:
            totals.accept(self._moment, self._system, self._key, record, slot, c.value)
            if not stands:
                totals.add(self._moment, self._system, self._key, record, slot, c.value)
        elif stands:
            lacking = negated(c.value, self._decider.entity.fields[slot].type)
            totals.add(self._moment, self._system, self._key, record, slot, lacking)

    # ---- a record --------------------------------------------------------------------------------------------

    def _creation(self, record: Record | None, *, accept: bool) -> bool:
        """A record that a system has, though it may not create it."""
        decider = self._decider
        known = record is not None and record.alive
        if record is not None and known and decider.rights.may_spread(record):
            return False  # it was created by somebody who may
        decider.decided(self._system, self._key, "accept" if accept else "reject")
        if not accept:
            decider.delete_at(self._moment, self._system, self._key)
            if record is not None and known:
                record.present &= ~(1 << self._system)
                record.alive = bool(record.present)
                record.sent |= 1 << self._system
                decider.golden.put(decider.number, self._key, record)
        elif record is not None and known:
            self._spread(record)
        else:
            values = widened(list(self._conflict.value), len(decider.entity.fields))
            decider.create(self._moment, self._system, self._key, values, record)
            if self._conflict.kind == "create-reverted":
                self._bring_back()
        return True

    def _spread(self, record: Record) -> None:
        """A record that only the first copy has found: it counts like any other from now on."""
        decider = self._decider
        record.existence_by = min(decider.rights.creators, default=self._system)
        decider.event(self._system, "created")
        for target in decider.told_slots:
            if not record.present >> target & 1:
                decider.ensure(self._moment, target, self._key, record, with_children=True)
        decider.golden.put(decider.number, self._key, record)

    def _bring_back(self) -> None:
        """Its row was deleted when it was reverted."""
        decider = self._decider
        record = decider.golden.get(decider.number, self._key)
        assert record is not None
        decider.ensure(self._moment, self._system, self._key, record)
        decider.golden.put(decider.number, self._key, record)

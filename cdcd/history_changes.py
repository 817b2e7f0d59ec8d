"""From a note of the trail to a change as a person reads it: what became of it, why, and when who committed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from cdcd.journal import Journal, Kind, Origin, decode_chunk_note, decode_command
from cdcd.model import ABSENT
from cdcd.outbox import RecordWrite, read_applied
from cdcd.parking.parked import Parking, parkings
from cdcd.resolve import trail
from cdcd.resolve.masks import mask_of, slots_of
from cdcd.resolve.ownership import LATEST, NOBODY, SUM
from cdcd.resolve.plan import BindingPlan, EntityPlan, Plan
from cdcd.resolve.trail import BORN, BY_RULE, OWED_UNIT, Cell, Note, Telling
from cdcd.sensitive import Masks, masked
from cdcd.state import State
from cdcd.state_directory import StateDirectory

Outcome = Literal["committed", "waiting", "parked", "owed", "unknown", "not told"]


class FieldChange(msgspec.Struct, frozen=True):
    """What a change wanted of one field, and what it got. `rule` says why, in words."""

    field: str
    old: Any
    new: Any
    decision: str
    rule: str


class Effect(msgspec.Struct, frozen=True):
    """What a change meant for one system.

    `write` is what it was told to do; of `initial` fields only where the record was new there. `outcome` "unknown":
    applied at a time that the journal does not know any more. `reason` says why it is parked, or was not told.
    """

    system: str
    outcome: Outcome
    write: str = ""
    fields: tuple[str, ...] = ()
    initial: tuple[str, ...] = ()
    unit: int = 0
    committed_at_us: int | None = None
    position: str = ""
    reason: str = ""


class Change(msgspec.Struct, frozen=True):
    """One captured change, or an operator's command, that touched the record.

    `at_us` is when its system committed it; it is None when the journal does not keep the entry any more. `kind` is
    "transaction", "copy of TABLE", "command NAME" or "trimmed". `decision` is about the record as a whole, or the most
    that any field got; `rule` says why. `reason` is the code of a row that could not be taken, or says what the decision
    is about: "created", "deleted", "archived" (a row that was to stay, edited after its record was deleted).
    `repeated` counts rows without news that came one after another; the last one is shown. `values` is what the record
    was when it began: created, restored, or settled by a first copy.
    """

    seq: int
    at_us: int | None
    system: str
    kind: str
    position: str
    decision: str
    rule: str
    fields: tuple[FieldChange, ...]
    effects: tuple[Effect, ...]
    reason: str = ""
    held_by: tuple[str, ...] = ()
    repeated: int = 1
    values: dict[str, Any] = {}


class ChangeTeller:
    """Turns the notes about one record into changes, joined with the journal and what the targets have."""

    def __init__(
        self,
        directory: StateDirectory,
        plan: Plan,
        state: State,
        journal: Journal,
        entity: EntityPlan,
        key: bytes,
        masks: Masks,
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._entity = entity
        self._names = [field.name for field in entity.fields]
        self._hidden = masks.slots(entity)
        self._systems = plan.vocabulary.systems
        self._rules = trail.rules_of(state)
        subject = (entity.number, key)
        self._parkings = {system: parkings(directory.deliver(system), subject) for system in entity.bindings}
        self._applied = {system: read_applied(directory.path, system) for system in entity.bindings}

    def parked(self) -> dict[str, str]:
        """By system that has the record parked now: why."""
        return {
            system: f"{found[-1].code}: {found[-1].cause}"
            for system, found in self._parkings.items()
            if found and found[-1].last_unit is None
        }

    def change(self, note: Note, slot: int | None, repeated: int, values: list[Any] | None) -> Change:
        """One change. `values` are given of a record that begins with it."""
        origin = self._journal.origin(note.seq)
        cells = [cell for cell in note.cells if slot is None or cell.slot == slot]
        tellings = [t for t in note.told if slot is None or not t.mask | t.initial or (t.mask | t.initial) >> slot & 1]
        system = self._systems[note.system] if note.system >= 0 else "" if origin is None else origin.source
        return Change(
            note.seq,
            None if origin is None else origin.committed_at_us,
            system,
            "trimmed" if origin is None else _kind(origin),
            "" if origin is None else origin.position,
            note.decision,
            "" if note.cells else self._right(note),
            tuple(self._field(note, cell) for cell in cells),
            (*(self._effect(telling) for telling in tellings), *self._not_told(note, slot)),
            note.reason,
            named(self._systems, note.held_by),
            repeated,
            {} if values is None else self._told_values(values, slot),
        )

    def _told_values(self, values: list[Any], slot: int | None) -> dict[str, Any]:
        slots = self._entity.live_slots if slot is None else (slot,)
        known = [s for s in slots if values[s] is not ABSENT]
        return {self._names[s]: masked(values[s], hidden=s in self._hidden) for s in known}

    def _field(self, note: Note, cell: Cell) -> FieldChange:
        name = self._names[cell.slot] if cell.slot < len(self._names) else f"field {cell.slot}"
        hidden = cell.slot in self._hidden
        old, new = masked(cell.old, hidden=hidden), masked(cell.new, hidden=hidden)
        return FieldChange(name, old, new, cell.decision, self._why(note, cell))

    def _why(self, note: Note, cell: Cell) -> str:
        if cell.owner == BY_RULE:
            return self._rule(note.rule)
        if cell.owner == LATEST:
            return "the latest change counts"
        if cell.owner == SUM:
            return "changes are added up"
        return "nobody owns it" if cell.owner == NOBODY else f"{self._systems[cell.owner]} owns it"

    def _right(self, note: Note) -> str:
        """The right that a decision about the record as a whole rests on, as the configuration has it now."""
        entity = self._entity
        what = note.reason or note.decision
        if entity.parent is not None and entity.rules:
            return self._rule(note.rule) if what in ("created", "deleted", "restored", "unmatched") else ""
        rights = {
            "created": ("create", entity.create),
            "unmatched": ("create", entity.create),
            "restored": ("restore", entity.restore),
            "deleted": ("delete", entity.delete),
            "not-published": ("publish", entity.publish),
        }
        right, names = rights.get(what, ("", ()))
        return f"{right} = {', '.join(sorted(names)) or 'nobody'}" if right else ""

    def _effect(self, telling: Telling) -> Effect:
        system = self._systems[telling.target]
        told = Effect(
            system,
            "waiting",
            RecordWrite(telling.kind).name.lower(),
            self._fields(self._mask(telling)),
            self._fields(telling.initial),
            telling.unit,
        )
        if telling.unit == OWED_UNIT:
            return _replaced(told, "owed", reason="told later: a schedule, a pause or a rewind decides when")
        parking = _covering(self._parkings.get(system, ()), telling.unit)
        if parking is not None:
            return _replaced(told, "parked", reason=f"{parking.code}: {parking.cause}")
        carrier = self._journal.carrier(system, telling.unit)
        if carrier is not None:
            at_us, position = carrier.committed_at_us, carrier.position
            return _replaced(told, "committed", committed_at_us=at_us, position=position)
        if telling.unit <= self._applied.get(system, 0):
            return _replaced(told, "unknown", reason="applied; its transaction is not in the journal")
        return told

    def _not_told(self, note: Note, slot: int | None) -> Iterator[Effect]:
        """What was accepted and other systems were not told, and why. Who was told of a rename stands under the new key."""
        if note.decision == "renamed" and not note.told:
            return
        accepted = mask_of(
            [cell.slot for cell in note.cells if cell.decision == "written" and slot in (None, cell.slot)]
        )
        for system, binding in self._entity.bindings.items():
            number = self._systems.index(system)
            told = [telling for telling in note.told if telling.target == number]
            left = accepted
            for telling in told:
                left &= ~(self._mask(telling) | telling.initial)
            if left and number != note.system:
                bound = left & binding.bound_mask()
                if left & ~bound:
                    yield Effect(
                        system, "not told", fields=self._fields(left & ~bound), reason="it has no column for it"
                    )
                if bound:
                    reason = self._why_not_told(system, binding, bound)
                    yield Effect(system, "not told", fields=self._fields(bound), reason=reason)

    def _why_not_told(self, system: str, binding: BindingPlan, mask: int) -> str:
        if system not in self._entity.subscribe:
            return "it is told nothing of these records"
        return "it did not have the record" if mask & binding.written_mask else "it is only read there"

    def _mask(self, telling: Telling) -> int:
        """The slots that a target was to write in any case."""
        return telling.mask if telling.kind != RecordWrite.REKEY else mask_of(self._entity.key)

    def _fields(self, mask: int) -> tuple[str, ...]:
        return tuple(self._names[slot] for slot in slots_of(mask) if slot < len(self._names))

    def _rule(self, number: int) -> str:
        """A condition that decided, in words."""
        if number == BORN:
            return "it was born there in the same transaction"
        if not 0 <= number < len(self._rules):
            return "no rule names an owner"
        rule = self._rules[number]
        entity = next((e for e in self._plan.entities.values() if e.number == rule.entity), None)
        now = [] if entity is None else [(r.when, r.owner) for r in entity.rules]
        place = f"rule {now.index((rule.when, rule.owner)) + 1}" if (rule.when, rule.owner) in now else "a former rule"
        return f"{place}: {rule.owner} owns it when {rule.when}"


def named(systems: Sequence[str], bits: int) -> tuple[str, ...]:
    """The systems of a set of bits."""
    return tuple(system for number, system in enumerate(systems) if bits >> number & 1)


def _covering(found: Iterable[Parking], unit: int) -> Parking | None:
    """The parking that kept what this unit told from being written."""
    return next(
        (one for one in found if one.first_unit <= unit and (one.last_unit is None or unit <= one.last_unit)), None
    )


def _replaced(effect: Effect, outcome: Outcome, **changes: Any) -> Effect:
    return msgspec.structs.replace(effect, outcome=outcome, **changes)


def _kind(origin: Origin) -> str:
    """What the journal entry is, in words."""
    if origin.kind == Kind.COMMAND:
        assert origin.note is not None
        return f"command {decode_command(origin.note).name}"
    if origin.kind == Kind.CHUNK:
        assert origin.note is not None
        return f"copy of {decode_chunk_note(origin.note).table}"
    return "transaction"

"""Who owns which field: by the field's own owner, else by the first condition that holds for the record.

Conditions are CEL over `record`, the record as it was before the transaction (design §3). A child collection is
judged by its parent's record. Where no condition holds nobody owns: then whoever changes a field is believed. Fields
that several systems share have `LATEST` or `SUM` for an owner.

A *claim* says by what a record has its owner now: the place of the condition that holds, or (see `born_of`) that a
system has just borne it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from cdcd.conditions import compile_condition
from cdcd.model import ABSENT
from cdcd.resolve.plan import EntityPlan, FieldPlan

NOBODY: Final = -1
LATEST: Final = -2
SUM: Final = -3
_SHARED: Final = {"latest": LATEST, "sum": SUM}
NO_CLAIM: Final = -1
_MEMO_LIMIT: Final = 10_000
_log: Final = logging.getLogger(__name__)


class Ownership:
    """The owners of one entity's fields, as system numbers."""

    def __init__(self, entity: EntityPlan, judged_by: EntityPlan, systems: tuple[str, ...]) -> None:
        """`judged_by` is the parent for a child collection, else the entity itself."""
        self.fixed = tuple([_fixed_owner(field, systems) for field in entity.fields])
        self.moves = bool(entity.rules)
        self.between = {
            slot: tuple([systems.index(system) for system in field.between])
            for slot, field in enumerate(entity.fields)
            if self.fixed[slot] in (LATEST, SUM)
        }
        """The systems that share a field, by its slot; the earlier one wins where the times are the same."""
        self._initial = {
            slot: systems.index(field.initial)
            for slot, field in enumerate(entity.fields)
            if self.fixed[slot] in (LATEST, SUM) and field.initial is not None
        }
        self.sum_mask = sum([1 << slot for slot in self.between if self.fixed[slot] == SUM])
        self._rules = [(compile_condition(rule.when), systems.index(rule.owner)) for rule in entity.rules]
        self._judged_by = judged_by
        self._looked_at = _slots_looked_at(judged_by)
        self._by_slot: dict[int, tuple[int, ...]] = {}
        self._memo: dict[tuple[Any, ...], int] = {}

    @property
    def looks_back(self) -> bool:
        """Whether a change can only be told by what its system showed before: the record keeps shadows and origins."""
        return self.moves or bool(self.between)

    def claim(self, values: list[Any]) -> int:
        """The claim while `values` is the record (the parent, for a child), or NO_CLAIM."""
        if not self.moves:
            return NO_CLAIM
        state = tuple([values[slot] for slot in self._looked_at])
        try:
            known = self._memo.get(state)
        except TypeError:  # a value that nobody has told, or a key of several parts, has no hash
            return self._decide(state)
        if known is None:
            known = self._decide(state)
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[state] = known
        return known

    def born_of(self, system: int) -> int:
        """The claim on a record in the transaction that it is born in."""
        return len(self._rules) + system

    def claimed_by(self, claim: int) -> int:
        """The system that has this claim, or NOBODY."""
        if claim == NO_CLAIM:
            return NOBODY
        return self._rules[claim][1] if claim < len(self._rules) else claim - len(self._rules)

    def by_state(self, values: list[Any]) -> int:
        """The system that the conditions name while `values` is the record (the parent, for a child), or NOBODY."""
        return self.claimed_by(self.claim(values))

    def by_slot(self, state_owner: int) -> tuple[int, ...]:
        """The owner of each slot while the conditions name `state_owner`."""
        known = self._by_slot.get(state_owner)
        if known is None:
            known = tuple([state_owner if owner == NOBODY else owner for owner in self.fixed])
            self._by_slot[state_owner] = known
        return known

    def owners(self, values: list[Any]) -> tuple[int, ...]:
        """Owners by slot while `values` is the record (the parent, for a child)."""
        return self.by_slot(self.by_state(values))

    def may_change(self, owner: int, slot: int, system: int) -> bool:
        """Whether what `system` says counts in a slot that `owner` owns."""
        return owner in (system, NOBODY) or (owner < NOBODY and system in self.between[slot])

    def believed_first(self, slot: int) -> tuple[int, ...]:
        """The systems whose value of a shared field is true when it is first copied: the first that has the record."""
        first = (self._initial[slot],) if slot in self._initial else ()
        return (*first, *self.between[slot])

    def last_claim(self, values: list[Any]) -> tuple[int, int]:
        """The place and owner of the last condition that holds (-1, NOBODY when none): hand-over goes down the list."""
        record = self._record(tuple([values[slot] for slot in self._looked_at]))
        held = [(place, owner) for place, (program, owner) in enumerate(self._rules) if _holds(program, record)]
        return held[-1] if held else (-1, NOBODY)

    def _decide(self, state: tuple[Any, ...]) -> int:
        record = self._record(state)
        return next((place for place, (program, _) in enumerate(self._rules) if _holds(program, record)), NO_CLAIM)

    def _record(self, state: tuple[Any, ...]) -> dict[str, Any]:
        fields = self._judged_by.fields
        return {
            fields[slot].name: _cel_value(fields[slot].type.kind, value)
            for slot, value in zip(self._looked_at, state, strict=True)
        }


def _fixed_owner(field: FieldPlan, systems: tuple[str, ...]) -> int:
    if field.owner is None:
        return NOBODY
    return _SHARED[field.owner] if field.owner in _SHARED else systems.index(field.owner)


def _slots_looked_at(entity: EntityPlan) -> tuple[int, ...]:
    named = {name for rule in entity.rules for name in re.findall(r"\brecord\.([A-Za-z_]\w*)", rule.when)}
    plain = all(re.findall(r"\brecord\b(?!\.)", rule.when) == [] for rule in entity.rules)
    return tuple(slot for slot, field in enumerate(entity.fields) if field.name in named or not plain)


def _cel_value(kind: str, value: Any) -> Any:
    if value is ABSENT or value is None:
        return None
    return float(Decimal(value)) if kind == "decimal" else value


def _holds(program: Any, record: Mapping[str, Any]) -> bool:
    """A condition that cannot be evaluated (a NULL compared with a number, a division by zero) does not hold."""
    try:
        return program.execute({"record": record}) is True
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        _log.debug("condition not evaluable: %s", type(error).__name__)
        return False

"""Who owns which field: by the field's own owner, else by the first condition that holds for the record.

Conditions are CEL over `record`, the record as it was before the transaction (design §3). A child collection is
judged by its parent's record. Where no condition holds nobody owns: then whoever changes a field is believed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import cel

from cdcd.model import ABSENT
from cdcd.resolve.plan import EntityPlan

NOBODY: Final = -1
_MEMO_LIMIT: Final = 10_000
_log: Final = logging.getLogger(__name__)


class Ownership:
    """The owners of one entity's fields, as system numbers by slot, memoised over what the conditions look at."""

    def __init__(self, entity: EntityPlan, judged_by: EntityPlan, systems: tuple[str, ...]) -> None:
        """`judged_by` is the parent for a child collection, else the entity itself."""
        self._systems = systems
        self._static = [NOBODY if f.owner is None else systems.index(f.owner) for f in entity.fields]
        self._rules = [(cel.compile(rule.when), systems.index(rule.owner)) for rule in entity.rules]
        self._judged_by = judged_by
        self._slots = _slots_looked_at(judged_by)
        self._memo: dict[tuple[Any, ...], tuple[int, ...]] = {}
        self.moves = bool(entity.rules)
        self.fixed = tuple(self._static)

    def owners(self, values: list[Any]) -> tuple[int, ...]:
        """Owners by slot while `values` is the state of the record (of the parent, for a child)."""
        if not self.moves:
            return self.fixed
        looked_at = tuple([values[slot] for slot in self._slots])
        known = self._memo.get(looked_at)
        if known is None:
            known = self._decide(looked_at)
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[looked_at] = known
        return known

    def state_owner(self, values: list[Any]) -> int:
        """The system that the conditions name for this state, NOBODY when none holds."""
        return self._state_owner(tuple([values[slot] for slot in self._slots]))

    def last_claim(self, values: list[Any]) -> tuple[int, int]:
        """The place and owner of the last condition that holds (-1, NOBODY when none): hand-over goes down the list."""
        record = self._record(tuple([values[slot] for slot in self._slots]))
        held = [(place, owner) for place, (program, owner) in enumerate(self._rules) if _holds(program, record)]
        return held[-1] if held else (-1, NOBODY)

    def _decide(self, looked_at: tuple[Any, ...]) -> tuple[int, ...]:
        by_state = self._state_owner(looked_at)
        return tuple([by_state if owner == NOBODY else owner for owner in self._static])

    def _record(self, looked_at: tuple[Any, ...]) -> dict[str, Any]:
        fields = self._judged_by.fields
        return {
            fields[slot].name: _cel_value(fields[slot].type.kind, value)
            for slot, value in zip(self._slots, looked_at, strict=True)
        }

    def _state_owner(self, looked_at: tuple[Any, ...]) -> int:
        record = self._record(looked_at)
        return next((owner for program, owner in self._rules if _holds(program, record)), NOBODY)


def _slots_looked_at(entity: EntityPlan) -> tuple[int, ...]:
    named = {name for rule in entity.rules for name in re.findall(r"\brecord\.([A-Za-z_]\w*)", rule.when)}
    plain = all(re.findall(r"\brecord\b(?!\.)", rule.when) == [] for rule in entity.rules)
    return tuple(slot for slot, field in enumerate(entity.fields) if field.name in named or not plain)


def _cel_value(kind: str, value: Any) -> Any:
    if value is ABSENT or value is None:
        return None
    return float(Decimal(value)) if kind == "decimal" else value


def _holds(program: Any, record: Mapping[str, Any]) -> bool:
    """A condition that cannot be evaluated (a NULL compared with a number) does not hold."""
    try:
        return program.execute({"record": record}) is True
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        _log.debug("condition not evaluable: %s", type(error).__name__)
        return False

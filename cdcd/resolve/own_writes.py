"""What one of our own transactions wrote, for when its echo differs from the golden records."""

from __future__ import annotations

from typing import Any

from cdcd import outbox
from cdcd.resolve.masks import slots_of
from cdcd.state import State


class OwnWrites:
    """What one of our own transactions wrote, looked up only when something differs from the golden record."""

    def __init__(self, state: State, system: str, mark: tuple[int, int]) -> None:
        self._state = state
        self._system = system
        self._mark = mark
        self._fields: dict[tuple[int, bytes], dict[int, Any]] | None = None

    def fields(self, entity: int, key: bytes) -> dict[int, Any] | None:
        """Values by slot that the transaction's units held for a record, the last one winning."""
        if self._fields is None:
            self._fields = self._load()
        return self._fields.get((entity, key))

    def _load(self) -> dict[tuple[int, bytes], dict[int, Any]]:
        found: dict[tuple[int, bytes], dict[int, Any]] = {}
        for unit in outbox.between(self._state, self._system, *self._mark):
            for item in unit.items:
                if item[0] >= 0:
                    entity, _kind, key, mask, values, initial, initial_values = item
                    fields = found.setdefault((entity, key), {})
                    fields.update(zip(slots_of(initial), initial_values, strict=True))
                    fields.update(zip(slots_of(mask), values, strict=True))
        return found

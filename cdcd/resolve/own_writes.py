"""What one of our own transactions wrote, for when its echo differs from the golden records."""

from __future__ import annotations

import weakref
from typing import Any, Final

import msgspec

from cdcd import outbox
from cdcd.folding.spill import Spill
from cdcd.model import ABSENT
from cdcd.outbox import CHANGES, RecordWrite
from cdcd.resolve.keys import encode_key
from cdcd.resolve.masks import slots_of
from cdcd.state import State

IN_MEMORY_WRITES: Final = 20_000
"""What a larger transaction wrote is looked up on disk (Invariant 11)."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode


class OwnWrites:
    """What one of our own transactions wrote, looked up only when something differs from the golden record."""

    def __init__(self, state: State, system: str, mark: tuple[int, int]) -> None:
        self._state = state
        self._system = system
        self._mark = outbox.units_of_mark(mark)
        self._items: dict[tuple[int, bytes], list[list[Any]]] | None = None
        self._spill: Spill | None = None
        self._shown: set[tuple[int, bytes, int]] = set()

    @property
    def through(self) -> int:
        """The last unit that the transaction carried."""
        return self._mark[1]

    def fields(self, entity: int, key: bytes) -> dict[int, Any]:
        """Values by slot that the transaction's units held for a record, the last one winning."""
        return _fields([item for item in self._of(entity, key) if item[1] != RecordWrite.ADD])

    def deletes(self, entity: int, key: bytes) -> bool:
        """Whether the transaction's units had the record go."""
        return any(item[1] == RecordWrite.DELETE for item in self._of(entity, key))

    def differences(self, entity: int, key: bytes) -> tuple[list[tuple[int, Any]], bool]:
        """What the units added to totals of a record, as (slot, difference); and whether they told all of it before.

        What was to be added before that was not: see `fold_additions`.
        """
        items = self._of(entity, key)
        wholes = [number for number, item in enumerate(items) if item[1] not in CHANGES]
        added = [
            (slot, difference)
            for _, kind, _, mask, values, *_ in items[wholes[-1] + 1 if wholes else 0 :]
            if kind == RecordWrite.ADD
            for slot, difference in zip(slots_of(mask), values, strict=True)
        ]
        return added, bool(wholes) and items[wholes[-1]][1] == RecordWrite.FULL

    def was_shown(self, entity: int, key: bytes, slot: int) -> bool:
        """Whether what the units added to this total was shown before in this transaction."""
        return (entity, key, slot) in self._shown

    def note_shown(self, entity: int, key: bytes, slot: int) -> None:
        """A row has shown what the units added to this total."""
        self._shown.add((entity, key, slot))

    def _of(self, entity: int, key: bytes) -> list[list[Any]]:
        if self._items is None and self._spill is None:
            self._load()
        if self._spill is not None:
            return [_decode(body) for body in self._spill.of_key(entity, key)]
        assert self._items is not None
        return self._items.get((entity, key), [])

    def _load(self) -> None:
        if outbox.writes_between(self._state, self._system, *self._mark) > IN_MEMORY_WRITES:
            self._put_aside()
            return
        self._items = {}
        for unit in outbox.between(self._state, self._system, *self._mark):
            for item in unit.items:
                if item[0] >= 0 and item[1] == RecordWrite.REKEY:
                    known = self._items.pop((item[0], encode_key(item[4])), [])
                    self._items[item[0], item[2]] = known + self._items.get((item[0], item[2]), [])
                elif item[0] >= 0:
                    self._items.setdefault((item[0], item[2]), []).append(item)

    def _put_aside(self) -> None:
        directory = self._state.database.path.parent
        self._spill = Spill(directory / f"echo-{self._system}.spill")
        weakref.finalize(self, self._spill.close)
        count = 0
        for unit in outbox.between(self._state, self._system, *self._mark):
            records = [item for item in unit.items if item[0] >= 0 and item[1] != RecordWrite.REKEY]
            numbered = enumerate(records, start=count)
            self._spill.add((item[0], item[2], number, _encode(item)) for number, item in numbered)
            count += len(records)


def _fields(items: list[list[Any]]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for _entity, _kind, _key, mask, values, initial, initial_values in items:
        found.update(zip(slots_of(initial), initial_values, strict=True))
        found.update(zip(slots_of(mask), values, strict=True))
    return found

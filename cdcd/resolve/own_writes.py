"""What one of our own transactions wrote, for when its echo differs from the golden records."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cdcd import outbox
from cdcd.folding.spill import Spill
from cdcd.model import ABSENT
from cdcd.outbox import CHANGES, Item, RecordWrite
from cdcd.resolve.keys import encode_key
from cdcd.resolve.masks import slots_of
from cdcd.state import State

IN_MEMORY_WRITES: Final = 20_000
"""What a transaction wrote that is more to be kept is looked up on disk (Invariant 11)."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode


class OwnWrites:
    """What one of our own transactions wrote, looked up only when something differs from the golden record."""

    def __init__(self, state: State, system: str, mark: tuple[int, int]) -> None:
        self._state = state
        self._system = system
        self._mark = outbox.units_of_mark(mark)
        self._items: dict[tuple[int, bytes], list[Item]] | None = None
        self._spill: Spill | None = None
        self._spilled = 0
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

    def _of(self, entity: int, key: bytes) -> list[Item]:
        if self._items is None and self._spill is None:
            self._load()
        if self._spill is not None:
            return [_decode(body) for body in self._spill.of_key(entity, key)]
        assert self._items is not None
        return self._items.get((entity, key), [])

    def _load(self) -> None:
        in_memory = self._items = {}
        kept = 0
        for unit in outbox.between(self._state, self._system, *self._mark):
            records = [item for item in unit.items if item[0] >= 0]
            if self._spill is not None:
                self._put_aside(records)
                continue
            kept += sum(map(self._keep, records))
            if kept > IN_MEMORY_WRITES:
                self._put_aside([item for items in in_memory.values() for item in items])
                self._items = None

    def _keep(self, item: Item) -> bool:
        """Keep an item in memory; whether that is one more. Of a record that changes often, the last change says it all."""
        assert self._items is not None
        entity, kind, key, mask = item[:4]
        if kind == RecordWrite.REKEY:
            known = self._items.pop((entity, encode_key(item[4])), [])
            self._items[entity, key] = known + self._items.get((entity, key), [])
            return False
        items = self._items.setdefault((entity, key), [])
        if items and kind == RecordWrite.UPDATE and items[-1][1] == kind and items[-1][3] == mask and not items[-1][5]:
            items[-1] = item
            return False
        items.append(item)
        return True

    def _put_aside(self, records: Sequence[Item]) -> None:
        if self._spill is None:
            self._spill = Spill(self._state.database.path.parent / f"echo-{self._system}.spill")
            weakref.finalize(self, self._spill.close)
        some = [item for item in records if item[1] != RecordWrite.REKEY]
        numbered = enumerate(some, start=self._spilled)
        self._spill.add((item[0], item[2], number, _encode(item)) for number, item in numbered)
        self._spilled += len(some)


def _fields(items: list[Item]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for _entity, _kind, _key, mask, values, initial, initial_values in items:
        found.update(zip(slots_of(initial), initial_values, strict=True))
        found.update(zip(slots_of(mask), values, strict=True))
    return found

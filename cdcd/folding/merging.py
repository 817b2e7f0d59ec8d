"""Several items of one record folded to one."""

from __future__ import annotations

from typing import Any

import msgspec

from cdcd.outbox import Item, RecordWrite
from cdcd.resolve.masks import mask_of, slots_of

_FULL, _UPDATE = int(RecordWrite.FULL), int(RecordWrite.UPDATE)
"""Compared for every item: members of an enumeration are looked up slowly."""


class Merged(msgspec.Struct, gc=False):
    """Several items of one record as one, FULL if any of them was.

    A slot that was told is told with its newest value, also where it would be written only to a new row by now: what an
    earlier item was to change must change in a row that exists.
    """

    number: int
    kind: int
    key: bytes
    fields: dict[int, Any]
    only_new: dict[int, Any]

    @classmethod
    def of(cls, item: Item) -> Merged:
        """An item that others can be folded onto."""
        number, kind, key, mask, values, initial, initial_values = item
        fields = dict(zip(slots_of(mask), values, strict=True))
        return cls(number, kind, key, fields, dict(zip(slots_of(initial), initial_values, strict=True)))

    def fold(self, item: Item) -> None:
        """Fold a later FULL or UPDATE onto this."""
        _, kind, _, mask, values, initial, initial_values = item
        if kind == RecordWrite.FULL:
            self.kind = kind
        for slot, value in zip(slots_of(initial), initial_values, strict=True) if initial else ():
            (self.fields if slot in self.fields else self.only_new)[slot] = value
        slots = slots_of(mask)
        self.fields.update(zip(slots, values, strict=True))
        for slot in slots if self.only_new else ():
            self.only_new.pop(slot, None)

    def item(self) -> Item:
        """The item that says it all."""
        mask, initial = mask_of(self.fields), mask_of(self.only_new)
        values = [self.fields[slot] for slot in slots_of(mask)]
        return [self.number, self.kind, self.key, mask, values, initial, [self.only_new[s] for s in slots_of(initial)]]


def covers(item: Item, earlier: Item) -> bool:
    """Whether an item, FULL or UPDATE, says all that an earlier one of the record has said, so that this can be forgotten."""
    return not item[5] and not earlier[5] and not earlier[3] & ~item[3] and (item[1] == _FULL or earlier[1] == _UPDATE)

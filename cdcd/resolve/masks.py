"""Sets of slots as bits: what an outbox item and a golden record say about which fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

Pick: TypeAlias = Callable[[list[Any]], Sequence[Any]]

_MEMO_LIMIT: Final = 100_000
_SLOTS: Final[dict[int, tuple[int, ...]]] = {}
_PICKS: Final[dict[int, Pick]] = {}


def slots_of(mask: int) -> tuple[int, ...]:
    """The slots of a mask, in order."""
    slots = _SLOTS.get(mask)
    if slots is None:
        slots = tuple(slot for slot in range(mask.bit_length()) if mask >> slot & 1)
        if len(_SLOTS) < _MEMO_LIMIT:
            _SLOTS[mask] = slots
    return slots


def mask_of(slots: Iterable[int]) -> int:
    """The mask of different slots."""
    return sum([1 << slot for slot in slots])


def masked(values: list[Any], mask: int) -> list[Any]:
    """The values of a mask's slots."""
    return list(picker(mask)(values))


def picker(mask: int) -> Pick:
    """What picks the values of a mask's slots, for who has many lists of them."""
    return _PICKS.get(mask) or _new_picker(mask)


def taker(slots: Sequence[int]) -> Pick:
    """What picks the values of these slots in their order."""
    if len(slots) > 1:
        return itemgetter(*slots)
    first = slots[0] if slots else 0
    return itemgetter(slice(first, first + len(slots)))  # of one slot, too, they are asked for in C


def _new_picker(mask: int) -> Pick:
    pick = taker(slots_of(mask))
    if len(_PICKS) < _MEMO_LIMIT:
        _PICKS[mask] = pick
    return pick

"""An operator's correction of a record that a target refuses, carried out at its place in the journal.

It is a change of the truth: the golden record holds the new values, and everybody is told, also the fields' owners, who
alone could have corrected them otherwise. What a field held before is kept as a conflict of kind "edited", so that
accepting that one brings it back.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import msgspec

from cdcd.outbox import RecordWrite
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.golden import Record
from cdcd.resolve.masks import mask_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.verdicts import Outcome

_encode: Final = msgspec.msgpack.Encoder().encode


class Correction(msgspec.Struct, frozen=True, array_like=True):
    """What the fields of a record are to hold, by slot: the digest of what the person saw there, and the new value.

    `system` is the target, by name, that had refused the record.
    """

    system: str
    entity: int
    key: bytes
    values: dict[int, tuple[int, Any]]


def digest(value: Any) -> int:
    """By which two values are told apart."""
    return zlib.crc32(_encode(value))


def correct(decider: EntityDecider, moment: Moment, correction: Correction) -> Outcome:
    """Take the values; nothing of it where any field holds something else by now."""
    key = correction.key
    record = decider.golden.get(decider.number, key)
    if record is None or not record.alive or not all(_may_take(decider, record, s, v) for s, v in _seen(correction)):
        return Outcome(changed=1)
    system = decider.systems.index(correction.system)
    claim = decider.rights.claim(moment, key)
    owners = decider.ownership.by_slot(decider.ownership.claimed_by(claim))
    values = {slot: value for slot, (_, value) in correction.values.items()}
    decider.decided(
        system,
        key,
        "edited",
        cells=[decider.cell(slot, "edited", -1, record.values[slot], value) for slot, value in values.items()],
    )
    for slot, value in values.items():
        author = owners[slot] if owners[slot] >= 0 else system
        decider.conflict(moment, author, key, "edited", slot, record.values[slot])
        decider.take(moment, author, record, slot, value)
    decider.rights.handed_over(moment, decider.number, key, record, claim)
    _tell_everybody(decider, moment, system, key, record, mask_of(values))
    return Outcome(settled=1)


def _seen(correction: Correction) -> list[tuple[int, int]]:
    return [(slot, seen) for slot, (seen, _) in correction.values.items()]


def _may_take(decider: EntityDecider, record: Record, slot: int, seen: int) -> bool:
    fixed = slot in decider.entity.key or bool(decider.ownership.sum_mask >> slot & 1)
    return not fixed and slot < len(record.values) and digest(record.values[slot]) == seen


def _tell_everybody(decider: EntityDecider, moment: Moment, system: int, key: bytes, record: Record, mask: int) -> None:
    """The target that had refused the record is told all of it, which is what it lacks; and then, what is its own, too."""
    decider.accept(moment, system, key, record, mask)
    if decider.may_be_at(system, key, record):
        decider.ensure(moment, system, key, record)
        decider.tell(moment, system, key, RecordWrite.UPDATE, record, mask, 0)
    decider.golden.put(decider.number, key, record)

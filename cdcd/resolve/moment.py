"""The journal entry that is being resolved, as deciders need to know it."""

from __future__ import annotations

import msgspec

from cdcd.journal import Entry, Kind


class Moment(msgspec.Struct):
    """The journal entry being resolved.

    `before` says of records that it hands over by what claim (see `ownership`) they had their owner until then: a
    transaction is judged by the state it found (design §3). A record born in it belongs to who bore it. `changed_at_us` is
    the commit time as far as it is believed: no clock may be far ahead of when its transaction was journalled.
    `fills_gap`: a copy shows what happened while nobody read the system's log.
    """

    seq: int
    committed_at_us: int
    before: dict[tuple[int, bytes], int]
    changed_at_us: int = 0
    fills_gap: bool = False


def believed_us(entry: Entry, ahead_max_us: int) -> int:
    """The commit time, or when the transaction was journalled where that lies further ahead than clocks may.

    0 for rows of a copy: nobody can say when they were changed.
    """
    if entry.kind == Kind.CHUNK:
        return 0
    committed_at_us, journaled_at_us = entry.committed_at_us, entry.journaled_at_us
    return journaled_at_us if committed_at_us > journaled_at_us + ahead_max_us else committed_at_us

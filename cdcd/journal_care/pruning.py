"""Makes room in the journal by the will of a person: forgets entries earlier than `journal.keep` would, never too early.

It works beside the daemon like any other writer, a little at a time, so that captures never wait long for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from cdcd.journal import Journal
from cdcd.journal_care.stats import CONTENT_BYTES, Keeper, keepers
from cdcd.state import State

STEP_ENTRIES: Final = 500


class Pruning(msgspec.Struct, frozen=True):
    """What would be forgotten: entries through `through` that were journalled before `before_us`.

    `held_by`: who needs entries that are old enough to be forgotten otherwise; None when nobody does.
    """

    before_us: int
    through: int
    entries: int
    size_bytes: int
    first_seq: int
    held_by: Keeper | None


def plan(journal: Journal, state: State, before_us: int) -> Pruning:
    """What can be forgotten of what was journalled before that moment; nothing that resolve needs."""
    nearest, *_ = (keeper for keeper in keepers(journal, state, "", before_us) if not keeper.is_time)
    wanted = journal.seq_at(before_us)
    through = min(state.needed_after, wanted)
    first = journal.first_after(0)
    entries, size_bytes = journal.database.connection.execute(
        f"SELECT count(*), coalesce(sum({CONTENT_BYTES}), 0) FROM entries WHERE seq <= ? AND journaled_at_us < ?",
        (through, before_us),
    ).fetchone()
    held_by = nearest if nearest.seq < wanted else None
    return Pruning(before_us, through, entries, size_bytes, 0 if first is None else first[0], held_by)


def prune(journal: Journal, found: Pruning, progress: Callable[[int], None] = lambda _done: None) -> int:
    """Forget it; return how many entries went. `progress` is told how many have gone."""
    done = 0
    while trimmed := journal.trim(found.through, found.before_us, limit=STEP_ENTRIES):
        done += trimmed
        progress(done)
    return done

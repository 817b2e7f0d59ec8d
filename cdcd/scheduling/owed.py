"""What targets are told later: how many records of which entity, as resolve keeps them in the state database.

A record is owed to a system when a schedule or a pause holds back what it should be told, or when an operator wants it
told anew. Only its name is kept: when its time comes, the present truth is told, once, however often it changed.
"""

from __future__ import annotations

import msgspec

from cdcd.resolve.owing import BEHIND, PAUSED
from cdcd.resolve.plan import Vocabulary
from cdcd.state import State


class Owing(msgspec.Struct, frozen=True):
    """Records of one entity that are owed to a system, the first of them since `since_us`.

    `held`: a pause of the entity holds them back, whatever its schedule says. `behind`: they are held back until the
    system has taken most of what waits for it already.
    """

    system: str
    entity: str
    records: int
    since_us: int
    held: bool
    behind: bool = False


def owing(state: State) -> list[Owing]:
    """All that is owed, and every entity that is held back though nothing of it is owed yet. Cheap: a row for each."""
    known = state.vocabulary or Vocabulary()
    rows = state.connection.execute("SELECT system, entity, held, records, since_us FROM owing").fetchall()
    return [
        Owing(
            known.systems[system], known.entities[entity], records, since_us, bool(held & PAUSED), bool(held & BEHIND)
        )
        for system, entity, held, records, since_us in rows
    ]

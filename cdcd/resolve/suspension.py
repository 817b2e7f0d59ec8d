"""Entities, and copies of tables, that cannot be read on: a mapped column is gone, a table was emptied or renamed.

Everything else flows. What is suspended keeps its own place in the journal, which is not trimmed beyond it, and goes
on from there when it can be read again: with another configuration, or when a resync tells all its rows anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from cdcd.errors import NeedsOperator
from cdcd.journal import Journal
from cdcd.state import State

_encode: Final = msgspec.msgpack.Encoder().encode


class CannotRead(NeedsOperator):
    """Rows of `subject` (an entity, or "system:table" of plain copies) can be read no further."""

    default_code = "schema-changed"

    def __init__(self, subject: str, what: str, *, code: str = "", cause: str = "", remedy: str = "") -> None:
        super().__init__(what, code=code, cause=cause, remedy=remedy)
        self.subject = subject


class Suspension(msgspec.Struct):
    """Why and where `subject` was left behind.

    `position`: the journal seq through which it is read. `echoed`: by system number, the unit that was last read back by
    then. What cannot be read before seq `told_anew_at` is left out: a resync asked for there reads every row again.
    """

    subject: str
    position: int
    code: str
    what: str
    cause: str
    remedy: str
    since_us: int
    echoed: dict[int, int]
    told_anew_at: int = 0


_decode: Final = msgspec.msgpack.Decoder(Suspension).decode


def load(state: State) -> dict[str, Suspension]:
    """All suspensions, by subject."""
    rows = state.connection.execute("SELECT body FROM suspended ORDER BY subject").fetchall()
    return {found.subject: found for found in map(_decode, (body for (body,) in rows))}


def store(state: State, suspension: Suspension) -> None:
    """Keep a suspension, new or changed, within the state's transaction."""
    state.connection.execute(
        "INSERT OR REPLACE INTO suspended VALUES (?,?,?)",
        (suspension.subject, suspension.position, _encode(suspension)),
    )


def is_by(journal: Journal, behind: Suspension, system: str) -> bool:
    """Whether it is what a transaction of that system says that cannot be read."""
    refused = journal.first_after(behind.position)
    origin = None if refused is None else journal.origin(refused[0])
    return origin is not None and origin.source == system


def remove(state: State, subjects: Iterable[str]) -> None:
    """Forget suspensions, within the state's transaction."""
    state.connection.executemany("DELETE FROM suspended WHERE subject=?", [(subject,) for subject in subjects])

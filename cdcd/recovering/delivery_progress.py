"""What a target keeps beside its checkpoint: how far each source's log has come into it (see `recovery.Progress`).

Should the state directory be lost, reading can begin there, so that nothing of what was under way goes unseen. It is a
bound, not the exact place: never later than what the target has, and at rest exactly that.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from cdcd.journal import Journal, Kind
from cdcd.recovering.recovery import Progress
from cdcd.state import State

_ROUND_SECONDS: Final = 0.05
"""So often it is noted anew how far the journal is: hundreds of small deliveries a second need not all say something new."""


class DeliveryProgress:
    """Watches journal, state and outbox on behalf of one target's deliveries.

    A few lookups for each, and each costs a round of locks and pages read anew: so they are as few as can be.
    """

    def __init__(self, system: str, state: State, journal: Journal) -> None:
        self._system = system
        self._state = state
        self._journal = journal
        self._seen: Progress | None = None
        self._units: int | None = None
        self._said_seq: int | None = None
        self._number = -1
        self._due_at = float("-inf")
        """When the next round may begin."""

    def unsaid(self, unit: int) -> str:
        """What may be said at rest, with nothing to deliver; "" when nothing was changed since that was said last.

        Our own transactions are no reason: saying it is one.
        """
        others = "SELECT 1 FROM entries WHERE seq > ? AND kind = ? AND mark_through IS NULL LIMIT 1"
        connection = self._journal.database.connection
        if self._said_seq is not None and connection.execute(others, (self._said_seq, Kind.LOG)).fetchone() is None:
            return ""
        self._due_at = float("-inf")
        return self.through(unit)

    def through(self, unit: int) -> str:
        """What may be said with a delivery through `unit`, "" when nothing new.

        It goes round: note how far the journal is; wait until resolve has come there, and note its newest unit; wait
        until the target has all its units through that.
        """
        found = self._said(unit)
        if self._seen is None and (now := time.monotonic()) >= self._due_at:
            self._seen = self._journalled()  # the next round begins, and at rest is over at once
            self._due_at = now + _ROUND_SECONDS
            self._units = None
            found = self._said(unit) or found
        return found

    def _journalled(self) -> Progress:
        seq, logs = self._journal.stand()
        return Progress(seq, time.time_ns() // 1000, logs)

    def _said(self, unit: int) -> str:
        """What was noted, as text, once the target has all of it: then the round is over. "" until then."""
        seen = self._seen
        if seen is None:
            return ""
        if self._units is None:
            stand = self._state.stand(self._known_number())
            if stand.needed_after < seen.seq or stand.is_owed:
                return ""
            self._units = stand.units
        if unit < self._units and self._is_more_to_come(unit, self._units):
            return ""
        self._seen, self._said_seq = None, seen.seq
        return msgspec.json.encode(seen).decode()

    def _is_more_to_come(self, unit: int, through: int) -> bool:
        """Whether the outbox holds units of this target that come after `unit`, and not after `through`."""
        row = self._state.connection.execute(
            "SELECT first_unit FROM outbox WHERE target=? AND through>? ORDER BY id LIMIT 1", (self._system, unit)
        ).fetchone()
        return row is not None and int(row[0]) <= through

    def _known_number(self) -> int:
        """The target's number among all systems. One that is new has it as soon as resolve has begun; before, it is owed nothing."""
        if self._number < 0:
            known = self._state.vocabulary
            self._number = known.systems.index(self._system) if known and self._system in known.systems else -1
        return self._number

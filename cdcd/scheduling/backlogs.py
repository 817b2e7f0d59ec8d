"""Bounding what waits for a target: beyond a size, resolve keeps names of records for it instead of what to write.

A target that is away for days then costs a name for each record that changed, however often it did, and is told the
present truth of each when it is back (Invariant 11). Rows of plain copies have no names: they wait in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from cdcd.journal import Command, Journal
from cdcd.outbox_backlog import OutboxBacklog
from cdcd.scheduling.owed import Owing
from cdcd.state import State

BEHIND_BYTES: Final = 64 * 2**20
"""More waits for a target: it is behind. It is so no more when an eighth of that is left."""
LOOK_SECONDS: Final = 1.0


class Backlogs:
    """Finds targets that have fallen behind, or caught up, and tells resolve. One thread: the supervisor's."""

    def __init__(
        self,
        entities: Mapping[str, list[str]],
        journal: Journal,
        state: State,
        applied: Callable[[str], int],
        behind_bytes: int = BEHIND_BYTES,
    ) -> None:
        """`entities` are those told of by target, without child collections; `applied` tells the last unit that it has."""
        self._entities = entities
        self._journal = journal
        self._state = state
        self._applied = applied
        self._waiting = {system: OutboxBacklog(state, system) for system in entities}
        self._behind_bytes = behind_bytes
        self._asked: dict[str, int] = {}
        self._look_at = float("-inf")

    def turn(self, owing: Iterable[Owing], now: float) -> bool:
        """Look once a second; return whether resolve was told anything. `now` are seconds of a clock that never goes back."""
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        behind = {one.system for one in owing if one.behind}
        told = [self._look(system, system in behind) for system in self._entities if self._entities[system]]
        return any(told)

    def _look(self, system: str, behind: bool) -> bool:
        if self._state.position < self._asked.get(system, 0):
            return False
        size_bytes = self._waiting[system].look(self._applied(system)).size_bytes
        if behind == (size_bytes > (self._behind_bytes // 8 if behind else self._behind_bytes)):
            return False
        arguments = {"systems": [system], "entities": self._entities[system], "on": not behind, "behind": True}
        self._asked[system] = self._journal.command(Command("hold", arguments))
        return True

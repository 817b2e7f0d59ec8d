"""Dropping what nobody needs any more: notes older than the journal, and what targets have and have shown."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from cdcd import outbox
from cdcd.conflicts import ConflictBook
from cdcd.journal import Journal
from cdcd.outbox import AppliedMark
from cdcd.resolve.plan import Plan
from cdcd.resolve.trail import Trail
from cdcd.state import State

TRIM_SECONDS: Final = 1.0


class Trimming:
    """Trims the state, in its open transaction and now and then."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        state: State,
        trail: Trail,
        book: ConflictBook,
        applied: Mapping[str, AppliedMark],
    ) -> None:
        """`applied` are the targets' marks."""
        self._plan = plan
        self._journal = journal
        self._state = state
        self._trail = trail
        self._book = book
        self._applied = applied
        self._systems = plan.vocabulary.systems
        self._trimmed_at = 0.0

    def trim(self, read_back: Iterable[Mapping[int, int]]) -> None:
        """Drop what is older than the journal; and outbox rows that are applied and, by a source, read back by all.

        `read_back`: by whoever reads on its own, the unit last read back from each system.
        """
        now = time.monotonic()
        if now - self._trimmed_at < TRIM_SECONDS:
            return
        self._trimmed_at = now
        oldest = self._journal.first_after(0)
        kept_from = self._journal.last_seq() + 1 if oldest is None else oldest[0]
        self._trail.trim(kept_from)
        self._book.forget_before(kept_from)
        for system, mark in self._applied.items():
            through = mark.read()
            if self._plan.is_source(system):
                number = self._systems.index(system)
                through = min(through, *(echoed.get(number, 0) for echoed in read_back))
            outbox.trim(self._state, system, through)

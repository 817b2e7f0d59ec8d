"""Reads a stretch of a source's log once more, beside the capture that reads on: for journal entries that were damaged."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final

import msgspec

from cdcd.adapter import Identity, Source
from cdcd.capture import STAGE_ROWS
from cdcd.errors import Unavailable
from cdcd.journal import Journal
from cdcd.model import CHECKPOINT_TABLE, Commit, PrintedRows, Rows
from cdcd.recovering import recovery
from cdcd.recovering.own_marks import units_of

SILENT_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.5


class Reread(msgspec.Struct, frozen=True):
    """A transaction as it was read again; its rows are in `stage` (of the journal) and `body`."""

    position: str
    committed_at_us: int
    changes: int
    units: tuple[int, int] | None
    stage: int | None
    body: bytes


def stage_name(system: str) -> str:
    """Under which name parts are put aside, so that the system's own capture does not take them for its own."""
    return f"{system} again"


class Rereader:
    """Takes transactions from a source that `Adapter.open_past` has made. Bounded in memory, as capture is."""

    def __init__(
        self, identity: Identity, source: Source, journal: Journal, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._identity = identity
        self._source = source
        self._journal = journal
        self._lineages = {identity.lineage, *recovery.adopted_lineages(journal)}
        self._clock = clock
        self._runs: list[Rows | PrintedRows] = []
        self._rows = self._changes = self._parts = 0
        self._stage: int | None = None
        self._units: tuple[int, int] | None = None

    def nth_after(self, position: str, number: int) -> Reread:
        """The transaction that is the `number`-th one of ours after a position.

        Raises PositionLost when the log does not reach back so far, Unavailable when nothing comes.
        """
        name = stage_name(self._identity.system)
        self._journal.drop_unfinished(name)
        self._source.start(position)
        heard_at = self._clock()
        while True:
            events = self._source.poll()
            for event in events:
                heard_at = self._clock()
                if isinstance(event, Rows | PrintedRows):
                    self._add(event)
                elif isinstance(event, Commit):
                    found = self._finish(event)
                    number -= 1
                    if number == 0:
                        return found
            if not events and not select.select([self._source.fileno()], [], [], POLL_SECONDS)[0]:
                self._look_whether_over(heard_at)

    def _look_whether_over(self, heard_at: float) -> None:
        if self._source.status().lag_bytes == 0 or self._clock() - heard_at > SILENT_SECONDS:
            raise Unavailable(
                f"the log of {self._identity.system} does not show the transaction any more",
                code="reread-nothing",
                cause="nothing more came after the entry before it",
            )

    def _add(self, event: Rows | PrintedRows) -> None:
        if event.relation.table == CHECKPOINT_TABLE:
            self._units = units_of(self._identity, self._lineages, event) or self._units
            return
        self._runs.append(event)
        self._rows += event.count or 1
        self._changes += event.count or 1
        if self._rows >= STAGE_ROWS:
            body = self._journal.encode(self._identity.system, self._runs)
            self._stage = self._journal.stage(stage_name(self._identity.system), self._stage, self._parts, body)
            self._parts += 1
            self._runs, self._rows = [], 0

    def _finish(self, commit: Commit) -> Reread:
        body = self._journal.encode(self._identity.system, self._runs) if self._runs else b""
        found = Reread(commit.position, commit.committed_at_us, self._changes, self._units, self._stage, body)
        self._runs = []
        self._rows = self._changes = self._parts = 0
        self._stage = self._units = None
        return found

"""When the first change of a backlog is in a daemon's journal: what is before that is start-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.sides import WAIT_SECONDS
from cdcd.journal import Kind
from cdcd.sqlite_driver import sqlite
from cdcd.storage import connected

_POLL_SECONDS: Final = 0.005
_TROUBLE_SECONDS: Final = 1.0
_NEW: Final = (
    "SELECT 1 FROM entries WHERE seq > ? AND source = ? AND kind IN (?, ?) AND changes > 0"
    " UNION ALL SELECT 1 FROM stages WHERE stage > ? AND source = ? LIMIT 1"
)


class JournalWatch:
    """Looks at a journal from outside: a short query every few milliseconds, and only until the first change is there."""

    def __init__(self, path: Path) -> None:
        """Before the daemon starts: what is there now is no news."""
        self._path = path
        self._entry = self._stage = 0
        if path.exists():
            newest = "SELECT (SELECT coalesce(max(seq), 0) FROM entries), (SELECT coalesce(max(stage), 0) FROM stages)"
            ((self._entry, self._stage),) = self._rows(newest)

    def wait_for_change(self, source: str, trouble: Callable[[], str]) -> None:
        """Until `has_change`. Raises RuntimeError when `trouble` says something, TimeoutError."""
        deadline = time.monotonic() + WAIT_SECONDS
        looked_at = time.monotonic()
        while not self.has_change(source):
            if time.monotonic() - looked_at > _TROUBLE_SECONDS:
                looked_at = time.monotonic()
                if found := trouble():
                    raise RuntimeError(found)
            if time.monotonic() > deadline:
                raise TimeoutError(f"no change was journalled within {WAIT_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def has_change(self, source: str) -> bool:
        """Whether a new change or copied row of `source` is there, of a large transaction a part."""
        parameters = (self._entry, source, Kind.LOG, Kind.CHUNK, self._stage, source)
        try:
            return self._path.exists() and bool(self._rows(_NEW, parameters))
        except sqlite.OperationalError:  # a new journal's tables are being made
            return False

    def _rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[int, ...]]:
        with closing(connected(self._path, None, options="mode=ro")) as connection:
            found: list[tuple[int, ...]] = connection.execute(sql, parameters).fetchall()
        return found

"""Opening and making SQLite files is most of what a small run costs: a bench keeps both, and empties them between runs.

A connection that is given back is rolled back, which is to its file what the death of a process is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cdcd.storage import Database

_MEMORY: Final = Path("/dev/shm")


class Bench:
    """One state directory for any number of runs, one after the other."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(dir=_MEMORY if _MEMORY.is_dir() else None))
        self._idle: dict[Path, list[tuple[Any, Any]]] = {}
        self._open, self._close = Database.__init__, Database.close

    @contextmanager
    def cleared(self) -> Iterator[Path]:
        """The directory as if it were new. Within, files are opened by way of this bench."""
        self._clear()
        bench = self

        def open_or_take(database: Database, path: Path, schema: str, **options: Any) -> None:
            bench._take(database, path, schema, options)

        def give_back(database: Database) -> None:
            bench._give_back(database)

        Database.__init__, Database.close = open_or_take, give_back  # type: ignore[method-assign, assignment]
        try:
            yield self._directory
        finally:
            Database.__init__, Database.close = self._open, self._close  # type: ignore[method-assign]

    def close(self) -> None:
        """Let go of everything."""
        for connection, lock in [kept for some in self._idle.values() for kept in some]:
            connection.close()
            lock.close()
        shutil.rmtree(self._directory)

    def _take(self, database: Database, path: Path, schema: str, options: dict[str, Any]) -> None:
        if options.get("read_only") or not self._idle.get(path):
            self._open(database, path, schema, **options)
        else:
            database.path = path
            database.connection, database._lock = self._idle[path].pop()

    def _give_back(self, database: Database) -> None:
        connection = database.connection
        database.connection = None  # type: ignore[assignment]
        if connection is not None:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle.setdefault(database.path, []).append((connection, database._lock))

    def _clear(self) -> None:
        for path, kept in self._idle.items():
            execute = kept[0][0].execute
            tables = [name for (name,) in execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            execute("BEGIN IMMEDIATE")
            for table in tables:
                execute(f'DELETE FROM "{table}"')
            execute("COMMIT")
            assert path.exists()
        for path in self._directory.iterdir():
            if not path.name.startswith(("journal.db", "state.db", "deliver-")):
                path.unlink()

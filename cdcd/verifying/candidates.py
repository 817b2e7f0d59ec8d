"""While an entity is compared: which records were shown, and which may be otherwise. A file, because they may be all of them.

seen        keys of records that rows have shown
candidates  what the first look has found, and how each was seen last
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from cdcd.storage import Database, Schema
from cdcd.verifying.scratch import remove

TABLES: Final = """
CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS candidates (
    id INTEGER PRIMARY KEY, key BLOB, row_id BLOB NOT NULL, digest INTEGER NOT NULL, rounds INTEGER NOT NULL) STRICT;
"""
SCHEMA: Final = Schema(TABLES)


class Candidate(msgspec.Struct, frozen=True):
    """A row that may be otherwise than it should be, or (with an empty `row_id`) a record that no row has shown.

    `digest` is of what was seen last; `rounds` how often it was looked at again.
    """

    id: int
    key: bytes | None
    row_id: bytes
    digest: int
    rounds: int = 0


class Candidates:
    """See the module. Everything is forgotten with the file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA, durable=False)
        self._connection = self._database.connection

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is written within is written in one go."""
        with self._database.transaction():
            yield

    def seen(self, keys: Iterable[bytes]) -> None:
        """Rows have shown these records. Within `at_once`."""
        self._connection.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(key,) for key in keys])

    def unseen(self, keys: list[bytes]) -> list[bytes]:
        """Those of these records that no row has shown."""
        marks = ",".join("?" * len(keys))
        shown = {
            bytes(key) for (key,) in self._connection.execute(f"SELECT key FROM seen WHERE key IN ({marks})", keys)
        }
        return [key for key in keys if key not in shown]

    def add(self, found: Iterable[tuple[bytes | None, bytes, int]]) -> None:
        """Look at these again: key, row id, digest. Within `at_once`."""
        self._connection.executemany(
            "INSERT INTO candidates (key, row_id, digest, rounds) VALUES (?,?,?,0)", list(found)
        )

    def count(self) -> int:
        """How many are left."""
        return int(self._connection.execute("SELECT count(*) FROM candidates").fetchone()[0])

    def take(self, limit: int) -> list[Candidate]:
        """Some of them, those that were looked at least often first; they are candidates no more."""
        rows = self._connection.execute(
            "SELECT id, key, row_id, digest, rounds FROM candidates ORDER BY rounds, id LIMIT ?", (limit,)
        ).fetchall()
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM candidates WHERE id=?", [(row[0],) for row in rows])
        return [Candidate(*row) for row in rows]

    def put_back(self, again: Iterable[Candidate]) -> None:
        """Look at them once more."""
        rows = [(c.id, c.key, c.row_id, c.digest, c.rounds) for c in again]
        with self._database.transaction() as connection:
            connection.executemany("INSERT INTO candidates VALUES (?,?,?,?,?)", rows)

    def close(self) -> None:
        """Close it."""
        self._database.close()


@contextmanager
def opened(path: Path) -> Iterator[Candidates]:
    """An empty file, which is gone afterwards."""
    remove(path)
    found = Candidates(path)
    try:
        yield found
    finally:
        found.close()
        remove(path)

"""Parked records of one target: what it refused, by record, durable before the checkpoint moves past it (Invariant 9).

Of an entity's record only the name is kept: its golden record is the truth, and a retry asks resolve to tell it
again. Of a plain copy the row itself is kept, because nothing else has it.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cdcd.storage import Database

RETRY_FIRST_SECONDS: Final = 10.0
RETRY_LAST_SECONDS: Final = 600.0
_DOUBLINGS: Final = 20
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS parked (
    subject INTEGER NOT NULL, key BLOB NOT NULL, unit INTEGER NOT NULL, code TEXT NOT NULL, cause TEXT NOT NULL,
    since_us INTEGER NOT NULL, attempts INTEGER NOT NULL, retry_at_us INTEGER NOT NULL, waiting INTEGER NOT NULL,
    row BLOB, PRIMARY KEY (subject, key)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parked_by_retry ON parked (retry_at_us);
"""

Subject = tuple[int, bytes]
"""An entity's number and key; or, for a plain copy, -1 - the route's number and the encoded row key."""


class Parked(msgspec.Struct, frozen=True):
    """One parked record. `waiting` counts later changes that wait behind it; `row` is set for plain copies."""

    subject: Subject
    unit: int
    code: str
    cause: str
    since_us: int
    attempts: int
    waiting: int
    row: bytes | None


class ParkedRecords:
    """The parked records of one target. One writer: its deliverer."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.database = Database(path, SCHEMA, durable=durable)
        self._connection = self.database.connection
        self._subjects: set[Subject] = {
            (s, bytes(k)) for s, k in self._connection.execute("SELECT subject, key FROM parked")
        }

    def __len__(self) -> int:
        return len(self._subjects)

    def __contains__(self, subject: Subject) -> bool:
        return subject in self._subjects

    def park(
        self,
        subjects: Iterable[tuple[Subject, bytes | None]],
        unit: int,
        code: str,
        cause: str,
        *,
        same_attempt: Container[Subject] = (),
    ) -> None:
        """Park records; one that is parked already keeps its age and waits longer for its next try.

        Those in `same_attempt` were parked by this very attempt, and now the reason is known better.
        """
        now_us = time.time_ns() // 1000
        rows = list(subjects)
        with self.database.transaction() as connection:
            for (subject, key), row in rows:
                attempts = self._attempts((subject, key)) + ((subject, key) not in same_attempt)
                delay = min(RETRY_FIRST_SECONDS * 2 ** min(attempts - 1, _DOUBLINGS), RETRY_LAST_SECONDS)
                connection.execute(
                    "INSERT INTO parked VALUES (?,?,?,?,?,?,?,?,0,?) ON CONFLICT (subject, key) DO UPDATE SET"
                    " unit=excluded.unit, code=excluded.code, cause=excluded.cause, attempts=excluded.attempts,"
                    " retry_at_us=excluded.retry_at_us, row=coalesce(excluded.row, row)",
                    (subject, key, unit, code, cause, now_us, attempts, now_us + int(delay * 1e6), row),
                )
        self._subjects.update(subject for subject, _ in rows)

    def _attempts(self, subject: Subject) -> int:
        row = self._connection.execute("SELECT attempts FROM parked WHERE subject=? AND key=?", subject).fetchone()
        return 0 if row is None else int(row[0])

    def release(self, subjects: Iterable[Subject]) -> None:
        """These are delivered, or superseded."""
        gone = [subject for subject in subjects if subject in self._subjects]
        if gone:
            with self.database.transaction() as connection:
                connection.executemany("DELETE FROM parked WHERE subject=? AND key=?", gone)
            self._subjects.difference_update(gone)

    def wait_behind(self, subjects: Sequence[Subject]) -> None:
        """One more change of each of these parked records came by."""
        if subjects:
            with self.database.transaction() as connection:
                connection.executemany("UPDATE parked SET waiting=waiting+1 WHERE subject=? AND key=?", subjects)

    def row(self, subject: Subject) -> bytes | None:
        """The kept row of a parked copy."""
        if subject not in self._subjects:
            return None
        found = self._connection.execute("SELECT row FROM parked WHERE subject=? AND key=?", subject).fetchone()
        return None if found is None else found[0]

    def due(self, limit: int = 500) -> list[Parked]:
        """Records whose next try is due; their next turn is put off as if it failed, so that each is tried once."""
        now_us = time.time_ns() // 1000
        found = self._select("WHERE retry_at_us <= ? ORDER BY retry_at_us LIMIT ?", (now_us, limit))
        if found:
            with self.database.transaction() as connection:
                connection.executemany(
                    "UPDATE parked SET retry_at_us=? WHERE subject=? AND key=?",
                    [(now_us + int(RETRY_LAST_SECONDS * 1e6), *parked.subject) for parked in found],
                )
        return found

    def due_in_seconds(self) -> float | None:
        """Seconds until the next try, None when nothing is parked."""
        row = self._connection.execute("SELECT min(retry_at_us) FROM parked").fetchone()
        return None if row[0] is None else max(0.0, row[0] / 1e6 - time.time())

    def oldest(self, limit: int = 1000) -> list[Parked]:
        """The oldest parked records."""
        return self._select("ORDER BY since_us LIMIT ?", (limit,))

    def _select(self, where: str, parameters: tuple[object, ...]) -> list[Parked]:
        rows = self._connection.execute(
            f"SELECT subject, key, unit, code, cause, since_us, attempts, waiting, row FROM parked {where}", parameters
        ).fetchall()
        return [Parked((subject, bytes(key)), *rest) for subject, key, *rest in rows]

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self.database.close()

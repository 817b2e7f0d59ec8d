"""Parked records of one target: what it refused, by record, durable before the checkpoint moves past it (Invariant 9).

Of an entity's record only the name is kept: its golden record is the truth, and a retry asks resolve to tell it
again. Of a plain copy the row itself is kept, because nothing else has it. Of records that were parked and are no more,
a number is remembered for their history. What operators want with parked records is left in the same file (see
`parked_wishes`): nobody but the deliverer changes what is parked.

    parked     what is parked now
    past       records that were parked, for their history
    originals  rows of plain copies as they were before an operator edited or discarded them
    wishes     what operators have asked for and the deliverer has not carried out yet
    notes      what the target's tables and the configuration were when they were last looked at (see `parked_cures`)
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd.storage import Database, Schema

RETRY_FIRST_SECONDS: Final = 10.0
RETRY_LAST_SECONDS: Final = 600.0
_DOUBLINGS: Final = 20
_PART_RECORDS: Final = 1_000
_DUE_BYTES: Final = 4 * 2**20
PAST_MAX: Final = 100_000
KNOWN_MAX: Final = 10_000
"""Up to so many subjects are known without asking the file; more would be too many to hold."""
TABLES: Final = """
CREATE TABLE IF NOT EXISTS parked (
    subject INTEGER NOT NULL, key BLOB NOT NULL, unit INTEGER NOT NULL, code TEXT NOT NULL, cause TEXT NOT NULL,
    since_us INTEGER NOT NULL, attempts INTEGER NOT NULL, retry_at_us INTEGER NOT NULL, waiting INTEGER NOT NULL,
    row BLOB, attempt INTEGER NOT NULL, first_unit INTEGER NOT NULL, PRIMARY KEY (subject, key)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parked_by_retry ON parked (retry_at_us);
CREATE TABLE IF NOT EXISTS past (
    id INTEGER PRIMARY KEY, subject INTEGER NOT NULL, key BLOB NOT NULL, first_unit INTEGER NOT NULL,
    last_unit INTEGER NOT NULL, code TEXT NOT NULL, cause TEXT NOT NULL, since_us INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS past_by_subject ON past (subject, key);
CREATE TABLE IF NOT EXISTS originals (
    id INTEGER PRIMARY KEY, subject INTEGER NOT NULL, key BLOB NOT NULL, row BLOB NOT NULL, what TEXT NOT NULL,
    at_us INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS originals_by_subject ON originals (subject, key);
CREATE TABLE IF NOT EXISTS wishes (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""
SCHEMA: Final = Schema(TABLES)

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
    retry_at_us: int = 0


class Parking(msgspec.Struct, frozen=True):
    """A record was parked with what units from `first_unit` on told of it; through `last_unit`, None while it still is."""

    first_unit: int
    last_unit: int | None
    code: str
    cause: str
    since_us: int


def parkings(path: Path, subject: Subject) -> list[Parking]:
    """How a record was parked, the present parking last. Reads the file of one target, which need not be there yet."""
    if not path.exists():
        return []
    database = Database(path, SCHEMA, read_only=True)
    try:
        rows = database.connection.execute(
            "SELECT first_unit, last_unit, code, cause, since_us FROM (SELECT * FROM past WHERE subject=? AND key=? ORDER BY id)"
            " UNION ALL SELECT first_unit, NULL, code, cause, since_us FROM parked WHERE subject=? AND key=?",
            (*subject, *subject),
        )
        return [Parking(*row) for row in rows]
    finally:
        database.close()


def _far_us() -> int:
    """Nothing is put off for longer than half of this."""
    return int(2 * RETRY_LAST_SECONDS * 1e6)


class ParkedRecords:
    """The parked records of one target. One writer: its deliverer."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.database = Database(path, SCHEMA, durable=durable)
        self._connection = self.database.connection
        self._attempt = int(self._connection.execute("SELECT coalesce(max(attempt), 0) FROM parked").fetchone()[0])
        self._count = 0
        self._known: set[Subject] | None = set()
        self._load()

    def _load(self) -> None:
        """Know the subjects by heart while they are few."""
        (self._count,) = self._connection.execute("SELECT count(*) FROM parked").fetchone()
        self._known = None
        if self._count <= KNOWN_MAX:
            self._known = {(s, bytes(k)) for s, k in self._connection.execute("SELECT subject, key FROM parked")}

    def __len__(self) -> int:
        return self._count

    def __contains__(self, subject: Subject) -> bool:
        if self._known is not None:
            return subject in self._known
        found = self._connection.execute("SELECT 1 FROM parked WHERE subject=? AND key=?", subject)
        return found.fetchone() is not None

    def next_attempt(self) -> None:
        """What is parked from here on was tried anew: a record counts one attempt, however often its reason is told."""
        self._attempt += 1

    def park(
        self,
        subjects: Iterable[tuple[Subject, bytes | None]],
        unit: int,
        code: str,
        cause: str,
        first_unit: int | None = None,
    ) -> None:
        """Park records; one that is parked already keeps its age and waits longer for its next try.

        Those that were parked by this very attempt only have their reason told better. `first_unit` is the first that may
        have told of them what is parked now (by default `unit`, the last).
        """
        remaining = iter(subjects)
        while part := list(islice(remaining, _PART_RECORDS)):
            self._park(part, unit, code, cause, unit if first_unit is None else first_unit)

    def _park(
        self, part: list[tuple[Subject, bytes | None]], unit: int, code: str, cause: str, first_unit: int
    ) -> None:
        now_us = time.time_ns() // 1000
        first_us, last_us = int(RETRY_FIRST_SECONDS * 1e6), int(RETRY_LAST_SECONDS * 1e6)
        attempt = self._attempt
        with self.database.transaction() as connection:
            self._count += connection.executemany(
                "INSERT OR IGNORE INTO parked (subject, key, unit, code, cause, since_us, attempts, retry_at_us, waiting,"
                " attempt, first_unit) VALUES (?,?,?,?,?,?,1,?,0,?,?)",
                [(*subject, unit, code, cause, now_us, now_us, attempt, first_unit) for subject, _ in part],
            ).rowcount
            connection.executemany(
                f"UPDATE parked SET unit=?, code=?, cause=?, attempts=attempts + (attempt <> {attempt}), retry_at_us={now_us}"
                f" + min({first_us} << min(attempts - (attempt = {attempt}), {_DOUBLINGS}), {last_us}),"
                f" row=coalesce(?, row), attempt={attempt} WHERE subject=? AND key=?",
                [(unit, code, cause, row, *subject) for subject, row in part],
            )
        if self._known is not None:
            self._known.update(subject for subject, _ in part)
            if len(self._known) > KNOWN_MAX:
                self._known = None

    def release(self, subjects: Iterable[Subject], last_unit: int = 0) -> None:
        """These are delivered, or superseded; what units through `last_unit` told of them never was."""
        if self._known is not None:
            gone: Iterable[Subject] = [subject for subject in subjects if subject in self._known]
            if not gone:
                return
            self._known.difference_update(gone)
        else:
            gone = subjects
        remaining = iter(gone)
        with self.database.transaction() as connection:
            while part := list(islice(remaining, _PART_RECORDS)):
                self._remember(connection, part, last_unit)
                self._count -= connection.executemany("DELETE FROM parked WHERE subject=? AND key=?", part).rowcount
        if self._known is None and self._count <= KNOWN_MAX // 2:
            self._load()

    def _remember(self, connection: Any, part: list[Subject], last_unit: int) -> None:
        connection.executemany(
            "INSERT INTO past (subject, key, first_unit, last_unit, code, cause, since_us) SELECT subject, key, first_unit, ?,"
            " code, cause, since_us FROM parked WHERE subject=? AND key=? AND subject >= 0 AND first_unit <= ?",
            [(last_unit, *subject, last_unit) for subject in part],
        )
        connection.execute("DELETE FROM past WHERE id <= (SELECT max(id) FROM past) - ?", (PAST_MAX,))

    def release_all(self, number: int) -> None:
        """Everything of one plain copy (see `Subject`) is superseded."""
        if self._count:
            with self.database.transaction() as connection:
                connection.execute("DELETE FROM parked WHERE subject=?", (number,))
            self._load()

    def wait_behind(self, subjects: Sequence[Subject]) -> None:
        """One more change of each of these parked records came by."""
        if subjects:
            with self.database.transaction() as connection:
                connection.executemany("UPDATE parked SET waiting=waiting+1 WHERE subject=? AND key=?", subjects)

    def row(self, subject: Subject) -> bytes | None:
        """The kept row of a parked copy."""
        if subject not in self:
            return None
        found = self._connection.execute("SELECT row FROM parked WHERE subject=? AND key=?", subject).fetchone()
        return None if found is None else found[0]

    def due(self, limit: int = 500, *, without: Collection[int] = ()) -> list[Parked]:
        """Records whose next try is due, but for those of the entities `without`.

        So is one that is further ahead than any can be: it was parked when the clock was, and has been put back since.
        """
        now_us = time.time_ns() // 1000
        left_out = f"AND subject NOT IN ({','.join(map(str, without))})" if without else ""
        where = f"WHERE (retry_at_us <= ? OR retry_at_us > ?) {left_out} ORDER BY retry_at_us LIMIT ?"
        return self._select(where, (now_us, now_us + _far_us(), limit))

    def hurry(self, subjects: Collection[int] | None = None, *, but_for: Collection[str] = ()) -> int:
        """The next try is due at once: of these entities and copies (None: of all), but for these codes; return how many."""
        if not self._count or (subjects is not None and not subjects):
            return 0
        where, parameters = "retry_at_us > ?", [time.time_ns() // 1000]
        if subjects is not None:
            where += f" AND subject IN ({','.join(map(str, subjects))})"
        where += f" AND code NOT IN ({','.join('?' * len(but_for))})"
        with self.database.transaction() as connection:
            due = connection.execute(f"UPDATE parked SET retry_at_us = 0 WHERE {where}", (*parameters, *but_for))
        return int(due.rowcount)

    def put_off(self, tried: Iterable[Parked]) -> None:
        """The next turn of records that are being tried is as late as if it failed, so that each is tried once.

        Whoever asks for a try elsewhere does so before: one that is asked for twice is better than one that is forgotten.
        """
        retry_at_us = time.time_ns() // 1000 + int(RETRY_LAST_SECONDS * 1e6)
        with self.database.transaction() as connection:
            connection.executemany(
                "UPDATE parked SET retry_at_us=? WHERE subject=? AND key=?",
                [(retry_at_us, *parked.subject) for parked in tried],
            )

    def due_in_seconds(self, *, without: Collection[int] = ()) -> float | None:
        """Seconds until the next try, None when nothing is parked but records of the entities `without`."""
        left_out = f"WHERE subject NOT IN ({','.join(map(str, without))})" if without else ""
        found = self._connection.execute(f"SELECT min(retry_at_us), max(retry_at_us) FROM parked {left_out}").fetchone()
        if found[0] is None:
            return None
        now_us = time.time_ns() // 1000
        return 0.0 if found[1] > now_us + _far_us() else max(0.0, (found[0] - now_us) / 1e6)

    def counts(self) -> dict[int, int]:
        """How many are parked of each entity and copy."""
        return dict(self._connection.execute("SELECT subject, count(*) FROM parked GROUP BY subject").fetchall())

    def note(self, name: str) -> bytes | None:
        """What was noted under that name."""
        row = self._connection.execute("SELECT value FROM notes WHERE name=?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_note(self, name: str, value: bytes) -> None:
        """Note something for the next start."""
        with self.database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?,?)", (name, value))

    def reload(self) -> None:
        """Somebody has changed what is parked beside us, in a transaction on the same connection."""
        self._load()

    def oldest(self, limit: int = 1000) -> list[Parked]:
        """The oldest parked records."""
        return self._select("ORDER BY since_us LIMIT ?", (limit,))

    def _select(self, where: str, parameters: tuple[object, ...]) -> list[Parked]:
        """At least one, if there is one, and as many as are a few MiB."""
        rows = self._connection.execute(
            f"SELECT subject, key, unit, code, cause, since_us, attempts, waiting, row, retry_at_us FROM parked {where}",
            parameters,
        )
        found: list[Parked] = []
        size_bytes = 0
        for subject, key, *rest in rows:
            found.append(Parked((subject, bytes(key)), *rest))
            size_bytes += len(found[-1].row or b"")
            if size_bytes > _DUE_BYTES:
                break
        rows.close()
        return found

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self.database.close()

"""Saves what can be read of a journal whose file is damaged into a new file; what cannot is then missed, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from cdcd import state_key
from cdcd.errors import NeedsOperator
from cdcd.journal import Journal
from cdcd.journal_care.checksums import legible
from cdcd.sqlite_driver import sqlite
from cdcd.storage import connected

SMALL_TABLES: Final = ("relations", "sources", "backfills", "controls")
"""Without these nothing can be told of the entries."""


def salvage(path: Path) -> tuple[int, Path]:
    """Put a sound file in the place of a damaged one; return how many entries it has, and where the damaged one is now.

    No daemon may run. Raises NeedsOperator when too little can be read; then nothing has changed.
    """
    new = path.with_name(f"{path.name}.salvaged")
    kept = path.with_name(f"{path.name}.damaged")
    _remove(new)
    journal = Journal(new)
    try:
        with closing(_Damaged(path)) as damaged:
            count = _copy(damaged, journal)
        journal.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite.DatabaseError as error:
        raise NeedsOperator(
            f"{path} cannot be saved",
            code="journal-unsalvageable",
            cause=str(error),
            remedy="restore the state directory from a copy, or begin anew with 'cdcd recover' (docs/recovery.md)",
        ) from error
    finally:
        journal.close()
    _remove(kept)
    kept.hardlink_to(path)
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():  # it is of the damaged file, and must not be taken for the new one's
        wal.rename(kept.with_name(f"{kept.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    new.rename(path)
    _remove(new)
    return count, kept


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class _Damaged:
    """The damaged file. SQLCipher refuses everything on a connection that has met a damaged page: then it is opened anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = state_key.key_of(path.parent)
        self._connection = self._opened()

    def _opened(self) -> sqlite.Connection:
        connection = connected(self._path, self._key, options="mode=ro")
        connection.text_factory = legible
        return connection

    def execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """All rows. Raises sqlite.DatabaseError."""
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite.DatabaseError:
            self._connection.close()
            self._connection = self._opened()
            raise

    def pages(self, statement: str, parameters: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """The rows one after another, as far as they can be read."""
        try:
            yield from self._connection.execute(statement, parameters)
        except sqlite.DatabaseError:
            self._connection.close()
            self._connection = self._opened()

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def _copy(damaged: _Damaged, journal: Journal) -> int:
    with journal.database.transaction() as connection:
        for table in SMALL_TABLES:
            _put(connection, table, _columns(damaged, table), damaged.execute(f'SELECT * FROM "{table}"'))
        columns = _columns(damaged, "entries")
        ((last,),) = damaged.execute("SELECT seq FROM sqlite_sequence WHERE name='entries'") or [(0,)]
        _put(connection, "entries", columns, _entries(damaged, last))
        connection.execute("UPDATE sqlite_sequence SET seq=? WHERE name='entries'", (last,))
        stages = [stage for (stage,) in connection.execute("SELECT stage FROM entries WHERE stage IS NOT NULL")]
        for stage in stages:
            _put(connection, "stages", _columns(damaged, "stages"), _parts(damaged, stage))
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    return int(count)


def _columns(damaged: _Damaged, table: str) -> list[str]:
    return [name for _, name, *_ in damaged.execute(f'PRAGMA table_info("{table}")')]


def _put(connection: sqlite.Connection, table: str, columns: list[str], rows: Any) -> None:
    named = ",".join(f'"{name}"' for name in columns)
    connection.executemany(f'INSERT OR IGNORE INTO "{table}" ({named}) VALUES ({",".join("?" * len(columns))})', rows)


def _entries(damaged: _Damaged, last: int) -> Iterator[tuple[Any, ...]]:
    """One by one, since whole pages may be unreadable."""
    for seq in range(_first(damaged), last + 1):
        try:
            yield from damaged.execute("SELECT * FROM entries WHERE seq=?", (seq,))
        except sqlite.DatabaseError:
            continue


def _first(damaged: _Damaged) -> int:
    """The oldest entry; where that cannot be read, the first there ever was."""
    try:
        found = damaged.execute("SELECT seq FROM entries ORDER BY seq LIMIT 1")
    except sqlite.DatabaseError:
        return 1
    return int(found[0][0]) if found else 1


def _parts(damaged: _Damaged, stage: int) -> Iterator[tuple[Any, ...]]:
    """As far as they can be read: the entry is found to lack the rest."""
    return damaged.pages("SELECT * FROM stages WHERE stage=? ORDER BY part", (stage,))

"""Saves what can be read of a journal whose file is damaged into a new file; what cannot is then missed, entry by entry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from cdcd.errors import NeedsOperator
from cdcd.journal import Journal
from cdcd.journal_care.checksums import legible

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
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as damaged:
            damaged.text_factory = legible
            count = _copy(damaged, journal)
        journal.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
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


def _copy(damaged: sqlite3.Connection, journal: Journal) -> int:
    with journal.database.transaction() as connection:
        for table in SMALL_TABLES:
            _put(connection, table, _columns(damaged, table), damaged.execute(f'SELECT * FROM "{table}"'))
        columns = _columns(damaged, "entries")
        (last,) = damaged.execute("SELECT seq FROM sqlite_sequence WHERE name='entries'").fetchone() or (0,)
        _put(connection, "entries", columns, _entries(damaged, last))
        connection.execute("UPDATE sqlite_sequence SET seq=? WHERE name='entries'", (last,))
        stages = [stage for (stage,) in connection.execute("SELECT stage FROM entries WHERE stage IS NOT NULL")]
        for stage in stages:
            _put(connection, "stages", _columns(damaged, "stages"), _parts(damaged, stage))
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    return int(count)


def _columns(damaged: sqlite3.Connection, table: str) -> list[str]:
    return [name for _, name, *_ in damaged.execute(f'PRAGMA table_info("{table}")')]


def _put(connection: sqlite3.Connection, table: str, columns: list[str], rows: Any) -> None:
    named = ",".join(f'"{name}"' for name in columns)
    connection.executemany(f'INSERT OR IGNORE INTO "{table}" ({named}) VALUES ({",".join("?" * len(columns))})', rows)


def _entries(damaged: sqlite3.Connection, last: int) -> Iterator[tuple[Any, ...]]:
    """One by one, since whole pages may be unreadable."""
    for seq in range(_first(damaged), last + 1):
        try:
            row = damaged.execute("SELECT * FROM entries WHERE seq=?", (seq,)).fetchone()
        except sqlite3.DatabaseError:
            continue
        if row is not None:
            yield row


def _first(damaged: sqlite3.Connection) -> int:
    """The oldest entry; where that cannot be read, the first there ever was."""
    try:
        row = damaged.execute("SELECT seq FROM entries ORDER BY seq LIMIT 1").fetchone()
    except sqlite3.DatabaseError:
        return 1
    return 1 if row is None else int(row[0])


def _parts(damaged: sqlite3.Connection, stage: int) -> Iterator[tuple[Any, ...]]:
    try:
        yield from damaged.execute("SELECT * FROM stages WHERE stage=? ORDER BY part", (stage,))
    except sqlite3.DatabaseError:
        return  # the entry is found to lack the rest

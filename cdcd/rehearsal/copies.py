"""Copies of a daemon's state and of the end of its journal, taken while it runs. The originals are only read.

The state is copied with what was known of every record; the journal from the first entry on that is to be replayed, without
transactions of our own: what they told the targets is in the records already. Nothing is on its way in the copy, so that
what comes out of it is compared with the live tables and with nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd import state_key
from cdcd.journal import Journal
from cdcd.resolve.plan import Vocabulary
from cdcd.sqlite_driver import sqlite
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.storage import connected, storage_error

_BACKUP_PAGES: Final = 4_000
"""Copied at a time: the daemon may write in between, and a commit makes the copy begin again only where it must."""
_COPIED_TABLES: Final = ("relations", "sources", "controls")


class Copies(msgspec.Struct):
    """The copies, open. `entries` are replayed, those after seq `replayed_after`. `is_new`: there is no state yet."""

    journal: Journal
    state: State
    replayed_after: int
    entries: int
    is_new: bool

    def close(self) -> None:
        """Close both; the files are the caller's to remove."""
        self.journal.close()
        self.state.close()


def copy(directory: StateDirectory, into: Path, last: int) -> Copies:
    """Copy what is needed to replay the last `last` entries into the directory `into`.

    Where there is no state yet, the copies are empty. Raises StorageError.
    """
    state_key.share(into, directory.path)
    is_new = not (directory.state.exists() and directory.journal.exists())
    if not is_new:
        _copy_whole(directory.state, into / "state.db")
    state = State(into / "state.db", durable=False)
    journal = Journal(into / "journal.db", durable=False)
    after = entries = 0
    if not is_new:
        with _reading(directory.journal) as original:
            after = _first(original, state.position, last)
            entries = _copy_entries(original, journal, after)
        _forget_what_is_on_its_way(state, after)
    return Copies(journal, state, after, entries, is_new)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite.Connection]:
    """The original, read only. Where nobody has it open (no log beside it), SQLite need not even make its side files."""
    alone = not path.with_name(path.name + "-wal").exists()
    key = state_key.key_of(path.parent)
    state_key.refuse_unfit(path, key)
    try:
        with closing(connected(path, key, options=f"mode=ro{'&immutable=1' if alone else ''}")) as connection:
            yield connection
    except sqlite.DatabaseError as error:
        raise storage_error(path, error) from error


def _copy_whole(path: Path, into: Path) -> None:
    key = state_key.key_of(path.parent)
    with _reading(path) as original, closing(connected(into, key)) as target:
        original.backup(target, pages=_BACKUP_PAGES)


def _first(original: sqlite.Connection, resolved: int, last: int) -> int:
    """The seq after which the last entries come; never beyond what resolve has not seen."""
    row = original.execute(
        "SELECT min(seq) FROM (SELECT seq FROM entries WHERE mark_through IS NULL ORDER BY seq DESC LIMIT ?)", (last,)
    ).fetchone()
    newest = original.execute("SELECT seq FROM sqlite_sequence WHERE name='entries'").fetchone()
    after = int(row[0]) - 1 if last and row[0] is not None else int(newest[0]) if newest else 0
    return min(after, resolved)


def _copy_entries(original: sqlite.Connection, journal: Journal, after: int) -> int:
    """Copy entries, in the numbers that they have; return how many. Copies of tables that are under way stay the daemon's."""
    original.execute("BEGIN")  # one moment for all tables
    copied = 0
    with journal.database.transaction() as connection:
        for table in _COPIED_TABLES:
            _insert(connection, table, original.execute(f"SELECT * FROM {table}"))
        for row in original.execute(
            "SELECT * FROM entries WHERE seq > ? AND mark_through IS NULL ORDER BY seq", (after,)
        ):
            copied += 1
            _insert(connection, "entries", [row])
        wanted = "SELECT stage FROM entries WHERE seq > ? AND mark_through IS NULL AND stage IS NOT NULL"
        _insert(connection, "stages", original.execute(f"SELECT * FROM stages WHERE stage IN ({wanted})", (after,)))
        connection.executemany(
            'INSERT INTO backfills (source, "table", ordinal, run, done, last_key, rows) VALUES (?,?,?,?,1,?,?)',
            original.execute('SELECT source, "table", ordinal, run, last_key, rows FROM backfills').fetchall(),
        )
        newest = original.execute("SELECT seq FROM sqlite_sequence WHERE name='entries'").fetchone()
        connection.execute("DELETE FROM sqlite_sequence WHERE name='entries'")
        connection.execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (int(newest[0]) if newest else 0,))
    original.execute("COMMIT")
    return copied


def _insert(connection: sqlite.Connection, table: str, rows: Any) -> None:
    batch: Sequence[tuple[Any, ...]] = list(rows)
    if batch:
        marks = ",".join("?" * len(batch[0]))
        connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", batch)


def _forget_what_is_on_its_way(state: State, after: int) -> None:
    with state.transaction() as connection:
        connection.execute("DELETE FROM outbox")
        connection.execute("DELETE FROM suspended")
        state.put("position", after)
        known = state.vocabulary or Vocabulary()
        for system in known.systems:
            state.put(f"echoed:{system}", state.units)

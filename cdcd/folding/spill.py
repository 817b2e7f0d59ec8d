"""What is too much for memory, put aside on disk and read back in order of key.

The file lives as long as the object, and holds nothing that would be missed: it is made again from what is durable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from cdcd import state_key
from cdcd.sqlite_driver import sqlite
from cdcd.storage import connected, storage_error

_SCHEMA: Final = """
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
PRAGMA locking_mode=EXCLUSIVE;
PRAGMA cache_size=-8192;
CREATE TABLE items (
    section INTEGER NOT NULL, key BLOB NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (section, key, number)) STRICT, WITHOUT ROWID;
"""
_FETCH_ITEMS: Final = 16
PAGE_ITEMS: Final = 4_000
PAGE_BYTES: Final = 2 * 2**20
Spilled: TypeAlias = tuple[int, bytes, int, bytes]
"""Section, key, number and body. Items of one key come back in order of their numbers."""


class Page:
    """Items of whole keys, as many as are good to hold at once. `after` is the key before the first."""

    def __init__(self, after: bytes | None) -> None:
        self.after = after
        self.items: list[tuple[bytes, bytes]] = []
        """Key and body."""


class Spill:
    """One such file. Whatever goes wrong with it is a StorageError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            path.unlink(missing_ok=True)
            self._connection = connected(path, state_key.key_of(path.parent))
            self._connection.executescript(_SCHEMA)
            path.unlink(missing_ok=True)  # the open file stays; nothing is left behind by a process that is killed
            self._connection.execute("BEGIN")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite.DatabaseError as error:
            raise storage_error(self._path, error) from error

    def add(self, items: Iterable[Spilled]) -> None:
        """Put items aside."""
        with self._errors():
            self._connection.executemany("INSERT INTO items VALUES (?,?,?,?)", items)

    def of_key(self, section: int, key: bytes) -> list[bytes]:
        """The bodies of one key."""
        with self._errors():
            found = self._connection.execute(
                "SELECT body FROM items WHERE section=? AND key=? ORDER BY number", (section, key)
            )
            return [body for (body,) in found]

    def move(self, section: int, old: bytes, new: bytes) -> None:
        """Put what is aside under one key under another, which must have nothing."""
        with self._errors():
            self._connection.execute("UPDATE items SET key=? WHERE section=? AND key=?", (new, section, old))

    def drop_key(self, section: int, key: bytes) -> None:
        """Forget what was put aside under one key."""
        with self._errors():
            self._connection.execute("DELETE FROM items WHERE section=? AND key=?", (section, key))

    def drop(self, sections: Sequence[int]) -> None:
        """Forget what was put aside under these sections."""
        with self._errors():
            self._connection.executemany("DELETE FROM items WHERE section=?", [(section,) for section in sections])

    def pages(self, section: int, after: bytes | None = None) -> Iterator[Page]:
        """The items of a section in order of key and number, beginning after a key, cut between keys.

        A key with very many items makes a large page.
        """
        page = Page(after)
        size_bytes, last = 0, after
        for key, body in self._items(section, after):
            if key != last and (len(page.items) >= PAGE_ITEMS or size_bytes >= PAGE_BYTES):
                yield page
                page, size_bytes = Page(last), 0
            page.items.append((key, body))
            size_bytes += len(body)
            last = key
        if page.items:
            yield page

    def _items(self, section: int, after: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        where, values = ("section=?", (section,)) if after is None else ("section=? AND key>?", (section, after))
        with self._errors():
            rows = self._connection.execute(f"SELECT key, body FROM items WHERE {where} ORDER BY key, number", values)
        while True:
            with self._errors():
                some = rows.fetchmany(_FETCH_ITEMS)
            if not some:
                return
            yield from some

    def close(self) -> None:
        """Give the disk's room back. Safe to repeat."""
        self._connection.close()

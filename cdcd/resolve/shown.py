"""That a system has shown a record, kept beside the golden records where that is all that is new of one.

The echo of a new record says only that it has arrived. To write the record anew for that takes SQLite as long as writing
it first, with pages and log; a row of some fifteen bytes takes a tenth. Such a row names the byte of the stored body that
says who has shown the record (`Record.present`), and what it is by now. It goes when the record is next written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cdcd.sqlite_driver import sqlite

FOUND: Final = "key, body, at, present FROM golden LEFT JOIN shown USING (entity, key)"
"""Golden records and what is beside them: of one moment, also where another process writes."""
_ROWS_TOGETHER: Final = 50
"""Measured: 0.35 us a row, 0.6 one by one."""
_REPLACE: Final = "INSERT OR REPLACE INTO shown VALUES"
_REPLACE_MANY: Final = f"{_REPLACE} {','.join(['(?,?,?,?)'] * _ROWS_TOGETHER)}"


class Shown:
    """What is beside golden records, by entity number and key."""

    def __init__(self, connection: sqlite.Connection) -> None:
        self._connection = connection
        self._new: defaultdict[int, dict[bytes, tuple[int, int]]] = defaultdict(dict)
        self._stored: defaultdict[int, set[bytes]] = defaultdict(set)
        """Of the records that are in memory, those that have a row, or may have one."""
        self._has_any: dict[int, bool] = {}
        """Whether an entity may have rows at all, as far as that was asked."""

    def merged(self, entity: int, found: Iterable[Sequence[Any]]) -> list[tuple[bytes, bytes]]:
        """Rows of `FOUND` as keys and bodies."""
        rows = []
        for key, body, at, present in found:
            if at is None:
                rows.append((key, body))
            else:
                self._stored[entity].add(key)
                rows.append((key, b"%b%c%b" % (body[:at], present, body[at + 1 :])))
        return rows

    def new(self, entity: int) -> dict[bytes, tuple[int, int]]:
        """What is not stored yet, now and later, to be added to: the byte, and what it is, of a record that is as it is stored else."""
        return self._new[entity]

    def may_be_of(self, entity: int, keys: Iterable[bytes]) -> None:
        """These records will be written though nobody has read them: they may have rows."""
        if entity not in self._has_any:
            row = self._connection.execute("SELECT 1 FROM shown WHERE entity=? LIMIT 1", (entity,)).fetchone()
            self._has_any[entity] = row is not None
        if self._has_any[entity]:
            self._stored[entity].update(keys)

    @property
    def changed(self) -> int:
        """How many rows are not stored yet."""
        return sum(map(len, self._new.values()))

    def superseded(self, entity: int, keys: Collection[bytes]) -> None:
        """These records are written whole in the state's open transaction."""
        new, stored = self._new[entity], self._stored[entity]
        for key in new.keys() & keys:
            del new[key]
        if gone := stored.intersection(keys):
            self._connection.executemany("DELETE FROM shown WHERE entity=? AND key=?", [(entity, key) for key in gone])
            stored -= gone

    def flush(self) -> None:
        """Write what is new into the state's open transaction."""
        for entity, new in self._new.items():
            if not new:
                continue
            rows = [(entity, key, at, present) for key, (at, present) in sorted(new.items())]
            whole = len(rows) - len(rows) % _ROWS_TOGETHER
            for start in range(0, whole, _ROWS_TOGETHER):
                self._connection.execute(_REPLACE_MANY, [*chain.from_iterable(rows[start : start + _ROWS_TOGETHER])])
            self._connection.executemany(f"{_REPLACE} (?,?,?,?)", rows[whole:])
            self._stored[entity].update(new)
            self._has_any[entity] = True
            new.clear()

    def keep_only(self, entity: int, keys: Collection[bytes]) -> None:
        """The other records of the entity leave the memory: they are read anew."""
        self._stored[entity].intersection_update(keys)

    def forget(self) -> None:
        """All records do."""
        self._stored.clear()

    def discard(self) -> None:
        """And what is not stored is none, after a step that failed."""
        self._stored.clear()
        for new in self._new.values():
            new.clear()

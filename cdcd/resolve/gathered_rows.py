"""Rows of the tables that records are put together from, as each system's log last showed them.

A binding with parts needs rows that its record's own change did not carry: they are kept here, with only the columns that
are needed, and found again by what they are linked by. Every family of entities has rows of its own, because one that is
suspended is at another place in the journal.

Ids and link values are compared as text: an id may be kept as text elsewhere ("12" for 12).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdcd.model import ABSENT, Relation, Row
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.suspension import CannotRead
from cdcd.state import State

_LOOKUP_KEYS: Final = 400
_PAGE_ROWS: Final = 1_000
_CACHE_ROWS: Final = 20_000
_CACHE_BYTES: Final = 8 * 2**20
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode


def link_text(value: Any) -> str | None:
    """A value by which rows are linked, None for NULL."""
    return None if value is None or value is ABSENT else str(value)


def id_of(values: Iterable[Any]) -> bytes:
    """A row's id: its identity columns as texts."""
    return encode_key([str(value) for value in values])


class GatheredTable:
    """One table of one family of entities: which columns of its rows are kept, and what they look like in the log.

    A kept row is the values of `columns`, and then those of the identity columns.
    """

    def __init__(
        self, number: int, family: str, table: str, columns: tuple[str, ...], linked: frozenset[str], *, one_id: bool
    ) -> None:
        """`linked` are the columns by which rows are looked for; with `one_id` also the one identity column."""
        self.number = number
        self.family = family
        self.table = table
        self.columns = columns
        self.at = {name: index for index, name in enumerate(columns)}
        self.linked = linked
        self.types: tuple[str, ...] = ()
        self.identity: tuple[str, ...] = ()
        self._one_id = one_id
        self._picks: dict[int, tuple[Relation, list[int]]] = {}

    def link_number(self, column: str) -> int:
        """The number of the link by a column."""
        return self.number << 8 | self.at[column]

    def shape(self) -> str:
        """How the log describes the kept values, as it is stored."""
        return json.dumps([self.types, self.identity])

    def take_shape(self, stored: str) -> None:
        """The opposite of `shape`."""
        types, identity = json.loads(stored)
        self.types, self.identity = tuple(types), tuple(identity)

    def value(self, row_id: bytes, row: Row, column: str | None) -> str | None:
        """What a row is linked by: a column of it, or (None) its id."""
        return decode_key(row_id, 1)[0] if column is None else link_text(row[self.at[column]])

    def picked(self, relation: Relation) -> list[int]:
        """Where the kept values are in rows of this relation. Raises CannotRead."""
        known = self._picks.get(id(relation))
        if known is not None and known[0] is relation:
            return known[1]
        self._check(relation)
        picked = [*(relation.columns.index(name) for name in self.columns), *relation.identity]
        self._picks[id(relation)] = (relation, picked)
        return picked

    def learn(self, relation: Relation) -> bool:
        """Take up the types of the kept values; return whether they are new."""
        picked = self.picked(relation)
        types = tuple(relation.types[at] for at in picked)
        identity = tuple(relation.columns[at] for at in relation.identity)
        if (types, identity) == (self.types, self.identity):
            return False
        self.types, self.identity = types, identity
        return True

    def _check(self, relation: Relation) -> None:
        missing = [name for name in self.columns if name not in relation.columns]
        if missing:
            cause = f"table {self.table} has no column {', '.join(missing)} in its log"
        elif not relation.identity or (self._one_id and len(relation.identity) > 1):
            cause = f"the rows of {self.table} are not told apart by one column: it needs a primary key, or name one with id"
        elif self.identity and self.identity != tuple(relation.columns[at] for at in relation.identity):
            cause = f"table {self.table} has another primary key than before"
        else:
            return
        raise CannotRead(
            self.family,
            f"records of {self.family!r} cannot be put together any more",
            cause=cause,
            remedy="put the table back as it was, or change the configuration and restart the daemon; then"
            f" 'cdcd resync {self.family}'",
        )


class GatheredRows:
    """The rows, by table and id. Everything is written into the state's open transaction at once; reads are cached."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection
        self._cache: dict[tuple[int, bytes], Row | None] = {}
        self._cached_bytes = 0

    def get(self, table: GatheredTable, row_id: bytes) -> Row | None:
        """The kept columns of a row."""
        at = (table.number, row_id)
        try:
            return self._cache[at]
        except KeyError:
            pass
        found = self._connection.execute('SELECT body FROM gathered_rows WHERE "table"=? AND id=?', at).fetchone()
        row: Row | None = None if found is None else _decode(found[0])
        self._remember(at, row, 0 if found is None else len(found[0]))
        return row

    def preload(self, table: GatheredTable, row_ids: Sequence[bytes]) -> None:
        """Read many rows with few statements."""
        number, cache = table.number, self._cache
        wanted = [row_id for row_id in dict.fromkeys(row_ids) if (number, row_id) not in cache]
        for start in range(0, len(wanted), _LOOKUP_KEYS):
            part = wanted[start : start + _LOOKUP_KEYS]
            cache.update(dict.fromkeys([(number, row_id) for row_id in part]))
            marks = ",".join("?" * len(part))
            for row_id, body in self._connection.execute(
                f'SELECT id, body FROM gathered_rows WHERE "table"=? AND id IN ({marks})', (number, *part)
            ):
                self._remember((number, row_id), _decode(body), len(body))

    def put(self, table: GatheredTable, rows: Mapping[bytes, Row], run: int) -> None:
        """Keep rows, new or changed, as copy number `run` or the log after it showed them."""
        number = table.number
        gone: list[tuple[int, str, bytes]] = []
        new: list[tuple[int, str, bytes]] = []
        for row_id, row in rows.items():
            old = self.get(table, row_id)
            for column in table.linked:
                before = None if old is None else link_text(old[table.at[column]])
                after = link_text(row[table.at[column]])
                if before != after:
                    link = table.link_number(column)
                    gone += [(link, before, row_id)] if before is not None else []
                    new += [(link, after, row_id)] if after is not None else []
        execute = self._connection.executemany
        execute("DELETE FROM gathered_links WHERE link=? AND value=? AND id=?", gone)
        execute("INSERT OR IGNORE INTO gathered_links VALUES (?,?,?)", new)
        stored = [(number, row_id, run, _encode(row)) for row_id, row in rows.items()]
        execute("INSERT OR REPLACE INTO gathered_rows VALUES (?,?,?,?)", stored)
        for _, row_id, _, body in stored:
            self._remember((number, row_id), rows[row_id], len(body))

    def delete(self, table: GatheredTable, row_id: bytes) -> None:
        """The row is gone."""
        old = self.get(table, row_id)
        if old is None:
            return
        for column in table.linked:
            value = link_text(old[table.at[column]])
            if value is not None:
                self._connection.execute(
                    "DELETE FROM gathered_links WHERE link=? AND value=? AND id=?",
                    (table.link_number(column), value, row_id),
                )
        self._connection.execute('DELETE FROM gathered_rows WHERE "table"=? AND id=?', (table.number, row_id))
        self._remember((table.number, row_id), None, 0)

    def linked(self, table: GatheredTable, column: str | None, value: str) -> list[bytes]:
        """The ids of the rows that hold this value in a linked column, in order; without a column, the row of that id."""
        if column is None:
            row_id = encode_key([value])
            return [row_id] if self.get(table, row_id) is not None else []
        rows = self._connection.execute(
            "SELECT id FROM gathered_links WHERE link=? AND value=? ORDER BY id", (table.link_number(column), value)
        )
        return [row_id for (row_id,) in rows]

    def pages(self, table: GatheredTable) -> Iterator[list[tuple[bytes, Row]]]:
        """All rows in order of their ids, a page at a time. They may be changed meanwhile."""
        after = b""
        while True:
            rows = self._connection.execute(
                'SELECT id, body FROM gathered_rows WHERE "table"=? AND id>? ORDER BY id LIMIT ?',
                (table.number, after, _PAGE_ROWS),
            ).fetchall()
            if not rows:
                return
            yield [(row_id, _decode(body)) for row_id, body in rows]
            after = rows[-1][0]

    def not_shown(self, table: GatheredTable, run: int) -> list[bytes]:
        """Some rows, the next in order, that a whole copy with number `run` did not show."""
        rows = self._connection.execute(
            'SELECT id FROM gathered_rows WHERE "table"=? AND run<? ORDER BY id LIMIT ?',
            (table.number, run, _PAGE_ROWS),
        )
        return [row_id for (row_id,) in rows]

    def clear(self, number: int) -> None:
        """Forget all rows of a table: other columns are kept from now on."""
        self._connection.execute('DELETE FROM gathered_rows WHERE "table"=?', (number,))
        self._connection.execute("DELETE FROM gathered_links WHERE link>=? AND link<?", (number << 8, number + 1 << 8))
        self.discard()

    def _remember(self, at: tuple[int, bytes], row: Row | None, size_bytes: int) -> None:
        self._cached_bytes += size_bytes
        if len(self._cache) >= _CACHE_ROWS or self._cached_bytes > _CACHE_BYTES:
            self.discard()
        self._cache[at] = row

    def discard(self) -> None:
        """Forget what is cached: also after a step that failed."""
        self._cache.clear()
        self._cached_bytes = 0

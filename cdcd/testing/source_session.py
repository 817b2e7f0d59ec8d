"""What `SourceContract` works with: its tables, the session that writes and reads them, and a busy writer."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from cdcd.model import Chunk, Op, Row, Value
from cdcd.testing.harness import INTEGER, Column, Harness, Table
from cdcd.testing.stream import Change, NamedRow, StreamReader, Transaction, named_rows

ITEM = Table("item", (Column("id", nullable=False), Column("name", "text(200)"), Column("version")), ("id",))
OTHER = Table("other", (Column("id", nullable=False), Column("note", "text(200)")), ("id",))
MARKER = Table("marker", (Column("id", nullable=False),), ("id",))
HOSTILE = Table(
    "we\"ird `ta'ble` 日本 %s \\x",
    (
        Column('i"d', nullable=False),
        Column("c`d %s %(a)s", "text(200)"),
        Column("select", "text(200)"),
        Column("back\\slash ' 日本", "text(200)"),
    ),
    ('i"d',),
)
TEXTS = (
    "",
    " leading and trailing ",
    'it\'s "quoted" `back`',
    "back\\slash \\N \\n \\",
    "new\nline\r\ttab",
    "100% %s %(x)s {} $1 ? :a",
    "日本語テキスト",
    "😀👨‍👩‍👧 𠮷",
    "NULL",
    "é e\u0301 ß İ",
)
Replica: TypeAlias = dict[Value, NamedRow]


class SourceSession:
    """Tables in a harness, and the source that reads them; `marker` rows tell when everything before them was read."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.tables: list[Table] = []
        self._reader: StreamReader | None = None
        self._marker_count = 0
        self.create(MARKER)

    def create(self, *tables: Table) -> None:
        """Create tables that sources opened from now on read."""
        for table in tables:
            self.harness.create_table(table)
            self.tables.append(table)

    def start(self, after: str | None = None) -> StreamReader:
        """Open and start a source, after closing the last one."""
        self.close()
        self._reader = StreamReader(self.harness.open_source(*self.tables), after)
        return self._reader

    def close(self) -> None:
        """Close the source, if one is open."""
        if self._reader is not None:
            self._reader.source.close()
            self._reader = None

    def mark(self) -> Callable[[], bool]:
        """Commit a marker row; the returned condition says whether it was read."""
        self._marker_count += 1
        number, reader = self._marker_count, self._reader
        assert reader is not None
        with self.harness.transaction() as writer:
            writer.insert(MARKER, {"id": number})
        name, first = self.harness.full_name(MARKER), len(reader.log)
        return lambda: any(
            change.table == name and change.row["id"] == number
            for entry in reader.log[first:]
            if isinstance(entry, Transaction)
            for change in entry.changes
        )

    def read_all(self) -> list[Transaction]:
        """Read everything committed so far; return all transactions since `start`, without markers."""
        assert self._reader is not None
        self._reader.read_until(self.mark())
        return self.without_markers(self._reader.transactions)

    def without_markers(self, transactions: list[Transaction]) -> list[Transaction]:
        """Those that are not a marker's."""
        name = self.harness.full_name(MARKER)
        return [entry for entry in transactions if any(change.table != name for change in entry.changes)]

    def write(self, *changes: tuple[Op, Table, Mapping[str, Value]], key: Mapping[str, Value] | None = None) -> None:
        """Commit changes as one transaction; an update or delete goes by `key`, or else by the row's own."""
        with self.harness.transaction() as writer:
            for op, table, row in changes:
                where = key or {name: row[name] for name in table.primary_key}
                if op is Op.INSERT:
                    writer.insert(table, row)
                elif op is Op.UPDATE:
                    writer.update(table, where, row)
                else:
                    writer.delete(table, where)

    def insert(self, table: Table, *rows: Mapping[str, Value]) -> None:
        """Commit new rows as one transaction."""
        self.write(*((Op.INSERT, table, row) for row in rows))


def item(number: int, name: str | None = "a", version: int = 0) -> NamedRow:
    """A row of ITEM."""
    return {"id": number, "name": name, "version": version}


def summary(transactions: list[Transaction]) -> list[list[tuple[Op, Value]]]:
    """Operation and id of every change, by transaction."""
    return [[(change.op, change.row["id"]) for change in entry.changes] for entry in transactions]


FIRST_VERSION: Final = 1000
"""Of a `BusyWriter`: rows that were there before it have lower ones."""


class BusyWriter(threading.Thread):
    """Changes ITEM in small transactions, every row version higher than all before it."""

    def __init__(self, harness: Harness, transaction_count: int) -> None:
        super().__init__(daemon=True)
        self._harness = harness
        self._versions = range(FIRST_VERSION, FIRST_VERSION + transaction_count)
        self._present = set(range(40))
        self._random = random.Random(7)  # noqa: S311 (a seed, no secret)
        self._commits = threading.Semaphore(0)

    def wait_for_commit(self) -> None:
        """Wait until it has committed once more, or has ended: so that reader and writer take turns on any machine."""
        while self.is_alive() and not self._commits.acquire(timeout=0.1):
            pass

    def run(self) -> None:
        """Insert, update and delete until all versions are used."""
        for version in self._versions:
            self._change(version)
            self._commits.release()

    def _change(self, version: int) -> None:
        with self._harness.transaction() as writer:
            for number in self._random.sample(range(60), 3):
                if number not in self._present:
                    writer.insert(ITEM, item(number, "new", version))
                    self._present.add(number)
                elif self._random.random() < 0.2:
                    writer.delete(ITEM, {"id": number})
                    self._present.remove(number)
                else:
                    writer.update(ITEM, {"id": number}, {"version": version, "name": "changed"})


def rebuild(session: SourceSession, reader: StreamReader) -> Replica:
    """Build ITEM from chunks and transactions, as a backfill does, checking that no chunk row is stale."""
    name = session.harness.full_name(ITEM)
    session.read_all()
    replica: Replica = {}
    newest: dict[Value, int] = {}
    for entry in reader.log:
        if isinstance(entry, Chunk):
            for change in named_rows(entry.rows):
                number, version = change.row["id"], _version(change)
                least = newest.get(number, 0)
                assert version >= least, f"a chunk brought version {version} of a row after version {least}"
                replica[number] = change.row
        elif isinstance(entry, Transaction):
            for change in entry.on(name).changes:
                number = change.row["id"]
                if change.op is Op.DELETE:
                    replica.pop(number, None)
                    newest[number] = newest.get(number, FIRST_VERSION - 1) + 1
                else:
                    newest[number] = _version(change)
                    replica[number] = change.row
    return replica


def _version(change: Change) -> int:
    version = change.row["version"]
    assert isinstance(version, int)
    return version


def _nothing() -> None:
    """Before a chunk, when nobody else writes."""


def read_table(
    session: SourceSession,
    reader: StreamReader,
    table: Table,
    row_limit: int,
    before_chunk: Callable[[], None] = _nothing,
) -> tuple[list[int], list[NamedRow]]:
    """Read a table chunk by chunk; return the size of each chunk and all rows."""
    sizes: list[int] = []
    rows: list[NamedRow] = []
    after: Row | None = None
    while True:
        before_chunk()
        chunk = reader.read_chunk(session.harness.full_name(table), after, row_limit)
        assert chunk.rows.op is Op.READ
        assert chunk.rows.relation.table == session.harness.full_name(table)
        assert len(chunk.rows.rows) <= row_limit
        assert chunk.done or chunk.last_key is not None
        sizes.append(len(chunk.rows.rows))
        rows += [change.row for change in named_rows(chunk.rows)]
        after = chunk.last_key
        if chunk.done:
            return sizes, rows


def type_tables(session: SourceSession) -> list[tuple[Table, list[Value]]]:
    """A table for every type of the harness, created and captured."""
    tables = []
    for number, (spec, values) in enumerate(session.harness.values.items()):
        table = Table(f"type_{number}", (Column("id", INTEGER, nullable=False), Column("v", spec)), ("id",))
        session.create(table)
        tables.append((table, list(values)))
    return tables

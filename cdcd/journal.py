"""The journal: every captured transaction, numbered by `seq` in one total order over all sources.

It is the queue between capture and resolve, the audit trail, and what one rewinds in. Several processes append
(one capture per source, the supervisor for commands), resolve reads. A transaction is visible only when it is
complete (Invariant 2): large ones are stored in parts under a stage, which the commit makes visible at once.

    entries    seq -> source, kind, position, body or stage
    stages     the parts of large transactions
    relations  the table shapes that bodies refer to by number
    sources    how far each source is journalled: written in the same commit as its entries
    backfills  which tables are being copied, and how far (see cdcd.backfills)
    controls   switches that outlive a restart (pauses)
"""

from __future__ import annotations

import enum
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from cdcd import backfills, stored_rows
from cdcd.backfills import Backfill, NewCopy
from cdcd.errors import NeedsOperator, Unavailable
from cdcd.failpoints import reach
from cdcd.journal_care.checksums import HEADER_COLUMNS, checksum, damaged, damaged_shape, is_whole, legible
from cdcd.model import PrintedRows, Relation, Rows
from cdcd.sqlite_driver import sqlite
from cdcd.storage import Database, Schema
from cdcd.stored_rows import StoredRows

TABLES: Final = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, kind INTEGER NOT NULL, position TEXT NOT NULL,
    committed_at_us INTEGER NOT NULL, journaled_at_us INTEGER NOT NULL, changes INTEGER NOT NULL,
    mark_after INTEGER, mark_through INTEGER, note BLOB, stage INTEGER, body BLOB, checksum INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_stage ON entries (stage) WHERE stage IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_by_mark ON entries (source, mark_through) WHERE mark_through IS NOT NULL;
CREATE TABLE IF NOT EXISTS stages (
    stage INTEGER NOT NULL, part INTEGER NOT NULL, source TEXT NOT NULL, body BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (stage, part)) STRICT;
CREATE TABLE IF NOT EXISTS relations (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, body BLOB NOT NULL, checksum INTEGER, UNIQUE (source, body)) STRICT;
CREATE TABLE IF NOT EXISTS sources (
    source TEXT PRIMARY KEY, position TEXT NOT NULL, committed_at_us INTEGER NOT NULL, updated_at_us INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS controls (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
SCHEMA: Final = Schema(
    TABLES + backfills.TABLES,
    ("ALTER TABLE relations ADD COLUMN checksum INTEGER", backfills.UPGRADE, stored_rows.UPGRADE),
    page_bytes=16_384,  # a transaction of a few KiB leaves half of a smaller page empty, which is written all the same
)
READ_BYTES: Final = 2 * 2**20  # at once, and as pages kept: a page is hardly ever wanted twice


class Kind(enum.IntEnum):
    """What an entry holds: a transaction from a log, a chunk of a table copy, or an operator's command."""

    LOG = 1
    CHUNK = 2
    COMMAND = 3


class ChunkNote(msgspec.Struct, frozen=True):
    """Belongs to an entry of kind CHUNK: which table, which run of its copy, and whether it was the last.

    `filtered`: the copy is of some of the table's rows.
    """

    table: str
    run: int
    done: bool
    filtered: bool = False


class Command(msgspec.Struct, frozen=True):
    """An operator's request, journalled so that resolve stays a function of the journal (Invariant 3)."""

    name: str
    arguments: dict[str, Any]


class Draft(msgspec.Struct, gc=False):
    """An entry about to be appended. `body` are encoded parts; those already in a stage are only named by it."""

    kind: Kind
    position: str
    committed_at_us: int
    changes: int
    body: bytes = b""
    stage: int | None = None
    mark: tuple[int, int] | None = None
    note: bytes | None = None


class Entry(msgspec.Struct, gc=False):
    """One journalled transaction. `mark` is set when cdcd itself wrote it: the outbox units (after, through]."""

    seq: int
    source: str
    kind: Kind
    committed_at_us: int
    changes: int
    mark: tuple[int, int] | None
    note: bytes | None
    stage: int | None
    body: bytes | None
    journaled_at_us: int = 0


class Origin(msgspec.Struct, frozen=True):
    """Where an entry came from. Times are the source's commit, and when it was journalled."""

    seq: int
    source: str
    kind: Kind
    position: str
    committed_at_us: int
    journaled_at_us: int
    note: bytes | None


_encoder: Final = msgspec.msgpack.Encoder()
_relation_decoder: Final = msgspec.msgpack.Decoder(Relation)


def encode_note(note: ChunkNote | Command) -> bytes:
    """The stored form of a note."""
    return _encoder.encode(note)


def decode_command(note: bytes) -> Command:
    """The command of an entry of kind COMMAND."""
    return msgspec.msgpack.decode(note, type=Command)


def decode_chunk_note(note: bytes) -> ChunkNote:
    """The note of an entry of kind CHUNK."""
    return msgspec.msgpack.decode(note, type=ChunkNote)


class Journal:
    """The journal of one state directory, as one process sees it."""

    def __init__(self, path: Path, *, durable: bool = True, read_only: bool = False) -> None:
        self.database = Database(path, SCHEMA, durable=durable, read_only=read_only, cache_bytes=READ_BYTES)
        self._connection = self.database.connection
        self._connection.text_factory = legible
        self._relation_ids: dict[tuple[str, Relation], int] = {}
        self._relations: dict[int, Relation] = {}
        self.decoded_bytes = 0
        """How much `runs` has read so far: who reads a large entry measures by it what it holds."""
        self.is_read_through = False
        """Whether the last `read` gave all that there was."""

    # ---- append ------------------------------------------------------------------------------------------

    def append(
        self,
        source: str,
        drafts: Sequence[Draft],
        position: str | None,
        *,
        backfill: Backfill | None = None,
        is_begun: bool = False,
    ) -> None:
        """Store entries, the source's position and the progress of a copy in one durable commit.

        `position` None leaves the source's position as it is (commands, chunks). A source that `is_begun` has one: else it
        was taken away meanwhile, to begin anew, and Unavailable is raised, with nothing stored.
        """
        now_us = time.time_ns() // 1000
        with self.database.transaction() as connection:
            if is_begun and not connection.execute("SELECT 1 FROM sources WHERE source=?", (source,)).fetchone():
                raise Unavailable(f"{source!r} is to be read from now on", code="repositioned")
            connection.executemany(
                f"INSERT INTO entries ({HEADER_COLUMNS}, body, checksum, journaled_at_us) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                [_parameters(source, draft, now_us) for draft in drafts],
            )
            if position is not None:
                committed_at_us = drafts[-1].committed_at_us if drafts else now_us
                connection.execute(
                    "INSERT INTO sources VALUES (?,?,?,?) ON CONFLICT (source) DO UPDATE SET position=excluded.position,"
                    " committed_at_us=excluded.committed_at_us, updated_at_us=excluded.updated_at_us",
                    (source, position, committed_at_us, now_us),
                )
            if backfill is not None:
                backfills.advance(connection, source, backfill, now_us)

    def encode(self, source: str, runs: Iterable[Rows | PrintedRows]) -> bytes:
        """The stored form of runs of rows; their relations are registered on first sight."""
        return stored_rows.encode((self._relation_id(source, run.relation), run) for run in runs)

    def stage(self, source: str, stage: int | None, part: int, body: bytes) -> int:
        """Put aside a part of a transaction that is still open; return its stage. Invisible until an entry names it."""
        with self.database.transaction() as connection:
            if stage is None:
                stage = int(connection.execute("SELECT coalesce(max(stage), 0) + 1 FROM stages").fetchone()[0])
            connection.execute("INSERT INTO stages VALUES (?,?,?,?,?)", (stage, part, source, body, zlib.crc32(body)))
        return stage

    def drop_unfinished(self, source: str) -> None:
        """Forget parts of transactions that this source's capture had not finished when it died."""
        with self.database.transaction() as connection:
            connection.execute(
                "DELETE FROM stages WHERE source=? AND stage NOT IN (SELECT stage FROM entries WHERE stage IS NOT NULL)",
                (source,),
            )

    def _relation_id(self, source: str, relation: Relation) -> int:
        if (known := self._relation_ids.get((source, relation))) is not None:
            return known
        body = _encoder.encode(relation)
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO relations (source, body, checksum) VALUES (?,?,?)",
                (source, body, zlib.crc32(body)),
            )
            row = connection.execute("SELECT id FROM relations WHERE source=? AND body=?", (source, body)).fetchone()
        self._relation_ids[source, relation] = int(row[0])
        return int(row[0])

    def command(
        self,
        command: Command,
        copies: Sequence[NewCopy] = (),
        *,
        from_now: str = "",
        controls: Mapping[str, str | None] = MappingProxyType({}),
    ) -> int:
        """Journal an operator's command, start copies and set switches in the same commit; return its seq, the copies' run.

        The source `from_now` loses its position: its capture will begin where its log is then.
        """
        reach("journal.before-command")
        with self.database.transaction() as connection:
            seq = self._append_command(connection, command)
            backfills.begin(connection, copies, seq, time.time_ns() // 1000)
            connection.execute("DELETE FROM sources WHERE source=?", (from_now,))
            for name, value in controls.items():
                _set_control(connection, name, value)
        reach("journal.after-command")
        return seq

    def _append_command(self, connection: sqlite.Connection, command: Command) -> int:
        now_us = time.time_ns() // 1000
        draft = Draft(Kind.COMMAND, "", now_us, 0, note=encode_note(command))
        cursor = connection.execute(
            f"INSERT INTO entries ({HEADER_COLUMNS}, body, checksum, journaled_at_us) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            _parameters("operator", draft, now_us),
        )
        return int(cursor.lastrowid or 0)

    # ---- read --------------------------------------------------------------------------------------------

    def read(self, after: int, limit: int = 1000) -> list[Entry]:
        """Entries with seq > `after` in order: at most `limit`, and at most a few MiB but always one if there is one."""
        stored = self._connection.execute(
            f"SELECT seq, journaled_at_us, body, checksum, {HEADER_COLUMNS} FROM entries WHERE seq > ? ORDER BY seq LIMIT +?",
            (after, limit),  # a bare parameter as the limit is planned for: the statement would be made anew every time
        )
        found: list[Entry] = []
        self.is_read_through = False
        size_bytes = 0
        for seq, at_us, body, expected, *header in stored:
            assert seq > after, f"journal returned {seq}, asked for later than {after}"
            source, kind, position, committed_us, changes, mark_after, mark_through, note, stage = header
            if not is_whole(header, body, expected):
                if found:
                    break  # what is before it can be resolved
                raise damaged(seq, source, position)
            size_bytes += len(body) if body is not None else 0
            mark = None if mark_through is None else (mark_after, mark_through)
            found.append(Entry(seq, source, Kind(kind), committed_us, changes, mark, note, stage, body, at_us))
            if size_bytes > READ_BYTES or stage is not None:
                break
        else:
            self.is_read_through = len(found) < limit
        return found

    def rows(self, entry: Entry) -> Iterator[Rows]:
        """The runs of rows of an entry, with values."""
        return map(StoredRows.unpacked, self.runs(entry))

    def runs(self, entry: Entry) -> Iterator[StoredRows]:
        """The runs of rows of an entry, a part at a time: memory stays bounded for any transaction."""
        if entry.stage is not None:
            # Fetched part by part: an open cursor would keep the WAL from being reset for as long as we take.
            part = 0
            while True:
                row = self._connection.execute(
                    "SELECT body, checksum FROM stages WHERE stage=? AND part=?", (entry.stage, part)
                ).fetchone()
                if row is None:
                    break
                if zlib.crc32(row[0]) != row[1]:
                    raise self._damaged(entry.seq, f"the checksum of its part {part} does not match")
                yield from self.split(row[0])
                part += 1
        if entry.body:
            yield from self.split(entry.body)

    def _damaged(self, seq: int, cause: str) -> NeedsOperator:
        origin = self.origin(seq)
        return damaged(seq, "?" if origin is None else origin.source, "" if origin is None else origin.position, cause)

    def split(self, body: bytes) -> Iterator[StoredRows]:
        """The runs of rows of a body."""
        self.decoded_bytes += len(body)
        for number, op, rows, olds in stored_rows.split(body):
            yield StoredRows(number, self.relation(number), op, rows, olds)

    def relation(self, relation_id: int) -> Relation:
        """The shape registered under that number."""
        if (relation := self._relations.get(relation_id)) is None:
            query = "SELECT source, body, checksum FROM relations WHERE id=?"
            source, body, expected = self._connection.execute(query, (relation_id,)).fetchone() or ("?", b"", -1)
            if expected is not None and zlib.crc32(body) != expected:
                raise damaged_shape(relation_id, source)
            relation = self._relations[relation_id] = _relation_decoder.decode(body)
        return relation

    def relation_number(self, source: str, relation: Relation) -> int:
        """The number under which that shape is registered; the shape must have come from this journal."""
        known = self._relation_ids.get((source, relation))
        if known is None:
            body = _encoder.encode(relation)
            query = "SELECT id FROM relations WHERE source=? AND body=?"
            row = self._connection.execute(query, (source, body)).fetchone()
            known = self._relation_ids[source, relation] = int(row[0])
        return known

    def position(self, source: str) -> str | None:
        """How far this source is journalled, None before its first start."""
        row = self._connection.execute("SELECT position FROM sources WHERE source=?", (source,)).fetchone()
        return None if row is None else str(row[0])

    def stand(self) -> tuple[int, dict[str, str]]:
        """The newest seq, and how far every source is journalled, of one moment."""
        newest = "(SELECT seq FROM sqlite_sequence WHERE name='entries')"
        found = self._connection.execute(f"SELECT source, position, {newest} FROM sources").fetchall()
        return int(found[0][2] or 0) if found else self.last_seq(), {name: position for name, position, _ in found}

    def commands_after(self, seq: int) -> list[Command]:
        """The operator's commands beyond `seq`."""
        rows = self._connection.execute("SELECT note FROM entries WHERE seq > ? AND kind = ?", (seq, Kind.COMMAND))
        return [decode_command(note) for (note,) in rows]

    def captured_at_us(self, source: str) -> int | None:
        """Commit time of the newest journalled transaction of this source (or when it was last known idle)."""
        row = self._connection.execute("SELECT committed_at_us FROM sources WHERE source=?", (source,)).fetchone()
        return None if row is None else int(row[0])

    def first_after(self, seq: int) -> tuple[int, int, int] | None:
        """The seq, commit time and journalling time of the oldest entry beyond `seq` that is kept, None without one."""
        row: tuple[int, int, int] | None = self._connection.execute(
            "SELECT seq, committed_at_us, journaled_at_us FROM entries WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)
        ).fetchone()
        return row

    def origin(self, seq: int) -> Origin | None:
        """Where an entry came from, None when it is not kept any more."""
        return self._origin("WHERE seq=?", (seq,))

    def carrier(self, system: str, unit: int) -> Origin | None:
        """The transaction in that system's own log that carried a unit there; None when none is kept (or journalled yet)."""
        nearest = "(SELECT seq FROM entries WHERE source=? AND mark_through>=? ORDER BY mark_through LIMIT 1)"
        return self._origin(f"WHERE seq={nearest} AND mark_after<?", (system, unit, unit))

    def _origin(self, where: str, parameters: tuple[object, ...]) -> Origin | None:
        columns = "seq, source, kind, position, committed_at_us, journaled_at_us, note"
        row = self._connection.execute(f"SELECT {columns} FROM entries {where}", parameters).fetchone()
        if row is None:
            return None
        seq, source, kind, position, committed_at_us, journaled_at_us, note = row
        return Origin(seq, source, Kind(kind), position, committed_at_us, journaled_at_us, note)

    def seq_of_position(self, source: str, position: str) -> int | None:
        """The seq of the transaction of `source` that ends at that position, None when none that is kept does.

        Looks through the journal from its end: not for the supervisor, which must not wait.
        """
        row = self._connection.execute(
            "SELECT seq FROM entries WHERE source=? AND position=? ORDER BY seq DESC LIMIT 1", (source, position)
        ).fetchone()
        return None if row is None else int(row[0])

    def last_seq(self) -> int:
        """The newest seq ever given, 0 for an empty journal."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name='entries'").fetchone()
        return 0 if row is None else int(row[0])

    def seq_at(self, moment_us: int) -> int:
        """The last seq journalled before that moment (0 when all are later)."""
        low, high = 0, self.last_seq()
        while low < high:
            middle = (low + high + 1) // 2
            row = self._connection.execute(
                "SELECT seq, journaled_at_us FROM entries WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,)
            ).fetchone()
            if row is None or row[1] >= moment_us:
                high = middle - 1
            else:
                low = row[0]
        return low

    # ---- copies of tables --------------------------------------------------------------------------------

    def ensure_backfills(self, source: str, tables: Sequence[str]) -> None:
        """Start a copy (run 0) of every table that was never copied, in the given order."""
        with self.database.transaction() as connection:
            backfills.ensure(connection, source, tables, time.time_ns() // 1000)

    def backfills(self, source: str) -> list[Backfill]:
        """All copies of this source, in their order."""
        return backfills.of_source(self._connection, source)

    def pause_backfills(self, tables: Sequence[tuple[str, str]], *, paused: bool) -> None:
        """Have the copies of these tables (source, table) wait after the chunk in work, or go on."""
        with self.database.transaction() as connection:
            for source, table in tables:
                backfills.set_paused(connection, source, table, paused=paused)

    def refuse_backfill(self, source: str, table: str, why: str) -> None:
        """End the copy of a table whose rows cannot be chosen as was asked."""
        with self.database.transaction() as connection:
            backfills.end(connection, source, table, why)

    def cancel_backfills(self, command: Command, tables: Sequence[tuple[str, str]]) -> int:
        """Journal that copies are given up, and end them, in one commit; return the command's seq."""
        with self.database.transaction() as connection:
            for source, table in tables:
                backfills.end(connection, source, table, backfills.CANCELLED)
            return self._append_command(connection, command)

    # ---- controls ----------------------------------------------------------------------------------------

    def set_control(self, name: str, value: str | None) -> None:
        """Set a switch that outlives restarts; None removes it."""
        with self.database.transaction() as connection:
            _set_control(connection, name, value)

    def controls(self) -> dict[str, str]:
        """All switches."""
        return dict(self._connection.execute("SELECT name, value FROM controls"))

    # ---- keeping -----------------------------------------------------------------------------------------

    def trim(self, through: int, before_us: int, limit: int = 10_000) -> int:
        """Delete entries with seq <= `through` that were journalled before `before_us`; return how many.

        `through` must be a position that resolve has passed durably. At most `limit` at a time, so that appends
        never wait long. Space is reused, not returned to the disk.
        """
        with self.database.transaction() as connection:
            doomed = connection.execute(
                "SELECT seq, stage FROM entries WHERE seq <= ? AND journaled_at_us < ? ORDER BY seq LIMIT ?",
                (through, before_us, limit),
            ).fetchall()
            connection.executemany("DELETE FROM stages WHERE stage=?", [(s,) for _, s in doomed if s is not None])
            connection.executemany("DELETE FROM entries WHERE seq=?", [(seq,) for seq, _ in doomed])
        return len(doomed)

    def size_bytes(self) -> int:
        """Bytes the journal occupies."""
        return self.database.size_bytes()

    def read_on(self) -> None:
        """Go on after a damaged page; only where the journal is only read."""
        self.database.read_on()
        self._connection = self.database.connection
        self._connection.text_factory = legible

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self.database.close()


def _set_control(connection: sqlite.Connection, name: str, value: str | None) -> None:
    if value is None:
        connection.execute("DELETE FROM controls WHERE name=?", (name,))
    else:
        connection.execute("INSERT OR REPLACE INTO controls VALUES (?,?)", (name, value))


def _parameters(source: str, draft: Draft, now_us: int) -> tuple[Any, ...]:
    after, through = draft.mark or (None, None)
    body = draft.body or None
    kind = int(draft.kind)  # what is not exactly an int takes the driver 0.9 us, see `sqlite_driver`
    what = (source, kind, draft.position, draft.committed_at_us, draft.changes)
    header = (*what, after, through, draft.note, draft.stage)
    return (*header, body, checksum(header, body), now_us)

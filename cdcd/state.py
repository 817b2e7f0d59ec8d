"""The state database: what resolve knows. One writer (resolve), one commit per step, position included (Invariant 3).

golden      the one true record of every entity and key
shown       of golden records, who has shown them since they were last written (see cdcd.resolve.shown)
crosswalk   a row's id in one system -> the record's key
seeds       while an entity is first copied: what each system holds, until all have spoken
seed_events after the state was lost: records that logs showed meanwhile to be deleted, or to be created
outbox      what each target must still be told (see cdcd.outbox)
owed        records that a target is told of later: a schedule or a pause holds them back, or an operator wants them told
owing       how many of each entity, and which are held back by a pause
conflicts   what changes lost against their owners, and what waits for a person (see cdcd.conflicts)
levels      totals to be looked at again when a unit has been read back (see cdcd.resolve.totals)
renamed     old keys of renamed records, which what refers to them may still hold
held        changes that could not be understood, by record
waiting     rows that refer to a row nobody has shown yet
suspended   entities that cannot be read on, and where they stopped
trail, trail_keys   what was decided about every change, and by which key to find it (see cdcd.resolve.trail)
gathered_…  rows that records in several tables are put together from, their links, totals over them, what is there
phases, snapshots, seen   progress of first copies (an entity begins with the copies `run` and later) and resyncs
meta        position, unit counter, lineage, vocabulary, how everything was read (see cdcd.resolve.reconfiguration), what is being settled
"""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from cdcd import stored_rows
from cdcd.resolve.plan import Vocabulary
from cdcd.storage import CACHE_BYTES, Database, Schema

TABLES: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS golden (
    entity INTEGER NOT NULL, key BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (entity, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shown (
    entity INTEGER NOT NULL, key BLOB NOT NULL, at INTEGER NOT NULL, present INTEGER NOT NULL,
    PRIMARY KEY (entity, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS crosswalk (
    binding INTEGER NOT NULL, id BLOB NOT NULL, key BLOB NOT NULL, PRIMARY KEY (binding, id)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seeds (
    entity INTEGER NOT NULL, key BLOB NOT NULL, system INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (entity, key, system)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seed_events (
    entity INTEGER NOT NULL, key BLOB NOT NULL, system INTEGER NOT NULL, deleted INTEGER NOT NULL,
    PRIMARY KEY (entity, key, system)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, first_unit INTEGER NOT NULL, through INTEGER NOT NULL,
    more INTEGER NOT NULL, writes INTEGER NOT NULL, committed_at_us INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS outbox_by_target ON outbox (target, id);
CREATE TABLE IF NOT EXISTS owed (
    system INTEGER NOT NULL, entity INTEGER NOT NULL, key BLOB NOT NULL, run INTEGER NOT NULL, known_as BLOB,
    whole INTEGER NOT NULL, clears INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (system, entity, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owing (
    system INTEGER NOT NULL, entity INTEGER NOT NULL, held INTEGER NOT NULL, records INTEGER NOT NULL,
    since_us INTEGER NOT NULL, PRIMARY KEY (system, entity)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS conflicts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, entity INTEGER NOT NULL, key BLOB NOT NULL, system INTEGER NOT NULL,
    slot INTEGER, kind TEXT NOT NULL, seq INTEGER NOT NULL, at_us INTEGER NOT NULL, value BLOB) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS conflicts_by_field ON conflicts (entity, key, system, coalesce(slot, -1));
CREATE TABLE IF NOT EXISTS levels (
    system INTEGER NOT NULL, entity INTEGER NOT NULL, key BLOB NOT NULL, unit INTEGER NOT NULL,
    PRIMARY KEY (system, entity, key)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS renamed (
    entity INTEGER NOT NULL, old BLOB NOT NULL, new BLOB NOT NULL, PRIMARY KEY (entity, old)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (
    entity INTEGER NOT NULL, key BLOB NOT NULL, system INTEGER NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL,
    cause TEXT NOT NULL, at_us INTEGER NOT NULL, PRIMARY KEY (entity, key, system)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    binding INTEGER NOT NULL, row BLOB NOT NULL, for_binding INTEGER NOT NULL, for_id BLOB NOT NULL, seq INTEGER NOT NULL,
    relation BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (binding, row)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_for ON waiting (for_binding, for_id);
CREATE TABLE IF NOT EXISTS gathered_tables (
    number INTEGER PRIMARY KEY, family TEXT NOT NULL, system TEXT NOT NULL, "table" TEXT NOT NULL, columns TEXT NOT NULL,
    shape TEXT NOT NULL, UNIQUE (family, system, "table")) STRICT;
CREATE TABLE IF NOT EXISTS gathered_bindings (
    binding INTEGER PRIMARY KEY, compiled BLOB NOT NULL, awaited TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS gathered_rows (
    "table" INTEGER NOT NULL, id BLOB NOT NULL, run INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY ("table", id)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gathered_links (
    link INTEGER NOT NULL, value TEXT NOT NULL, id BLOB NOT NULL, PRIMARY KEY (link, value, id)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gathered_shares (
    total INTEGER NOT NULL, id BLOB NOT NULL, link TEXT NOT NULL, amounts BLOB NOT NULL,
    PRIMARY KEY (total, id)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gathered_totals (
    total INTEGER NOT NULL, link TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (total, link)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gathered_present (
    binding INTEGER NOT NULL, id BLOB NOT NULL, row_id BLOB NOT NULL, key BLOB, held_for BLOB,
    PRIMARY KEY (binding, id)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS gathered_present_keys ON gathered_present (binding, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS gathered_present_held ON gathered_present (binding, held_for) WHERE held_for IS NOT NULL;
CREATE INDEX IF NOT EXISTS gathered_present_rows ON gathered_present (binding, row_id);
CREATE TABLE IF NOT EXISTS gathered_pending (
    binding INTEGER NOT NULL, part TEXT NOT NULL, id BLOB NOT NULL,
    PRIMARY KEY (binding, part, id)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS suspended (subject TEXT PRIMARY KEY, position INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS trail (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS trail_keys (id INTEGER PRIMARY KEY, through_seq INTEGER NOT NULL, digests BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS phases (
    entity TEXT PRIMARY KEY, phase TEXT NOT NULL, run INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (
    system TEXT NOT NULL, "table" TEXT NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (system, "table")) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    entity INTEGER NOT NULL, key BLOB NOT NULL, system INTEGER NOT NULL,
    PRIMARY KEY (entity, system, key)) STRICT, WITHOUT ROWID;
"""
_SHORTER_NOTES: Final = (
    "-- notes may be shorter from here on, which earlier versions do not know: nothing is to be changed"
)
_STAND: Final = """
SELECT (SELECT value FROM meta WHERE name='position'), (SELECT min(position) FROM suspended),
    (SELECT value FROM meta WHERE name='units'), EXISTS (SELECT 1 FROM owed WHERE system=?)
"""
_SHOWN_BESIDE: Final = "-- who has shown a record may stand beside it from here on, which earlier versions do not know: nothing is to be changed"
SCHEMA: Final = Schema(TABLES, (stored_rows.UPGRADE, _SHORTER_NOTES, _SHOWN_BESIDE))
OPEN_CONFLICTS: Final = ("held", "trigger", "create-held", "delete-held", "unmatched")
"""The kinds of conflicts that a person should decide about."""


class Stand(NamedTuple):
    """How far resolve is. `needed_after`: the journal seq through which nothing will be read again.

    `units` is the newest outbox unit ever made; `is_owed` is whether a target is told later of something decided already.
    """

    needed_after: int
    units: int
    is_owed: bool


class Summary(msgspec.Struct, frozen=True):
    """What status shows of the state database. `conflicts` are those that wait for a person.

    `waiting` rows refer to rows that nobody has shown, the oldest since journal entry `waiting_since_seq`. Entities with
    conflicts are named also where the configuration has them no more.
    """

    position: int
    phases: dict[str, str]
    conflicts: int
    held: int
    waiting: int = 0
    waiting_since_seq: int | None = None
    conflicts_by_entity: dict[str, int] = {}


class State:
    """The state database as one process sees it. Only resolve writes."""

    def __init__(
        self, path: Path, *, durable: bool = True, read_only: bool = False, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.database = Database(path, SCHEMA, durable=durable, read_only=read_only, cache_bytes=cache_bytes)
        self.connection = self.database.connection
        if not read_only and self.get("lineage") is None:
            with self.database.transaction() as connection:
                connection.execute("INSERT OR IGNORE INTO meta VALUES ('lineage', ?)", (uuid.uuid4().hex.encode(),))

    @property
    def lineage(self) -> str:
        """The random identity of this state directory."""
        value = self.get("lineage")
        assert value is not None
        return value.decode()

    @property
    def position(self) -> int:
        """The journal seq through which everything is resolved."""
        return int(self.get("position") or 0)

    @property
    def needed_after(self) -> int:
        """The journal seq through which nothing will be read again: what is suspended may be behind the rest."""
        return self.stand().needed_after

    @property
    def units(self) -> int:
        """The newest outbox unit ever made."""
        return int(self.get("units") or 0)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Names by number, as far as they were ever used; None before resolve ran first."""
        value = self.get("vocabulary")
        return None if value is None else msgspec.msgpack.decode(value, type=Vocabulary)

    def stand(self, target: int = -1) -> Stand:
        """How far resolve is, and whether the target with this number is owed anything, of one moment and in one lookup."""
        row = self.connection.execute(_STAND, (target,)).fetchone()
        position, suspended_position, units, is_owed = row
        needed_after = int(position or 0)
        if suspended_position is not None:
            needed_after = min(needed_after, suspended_position)
        return Stand(needed_after, int(units or 0), bool(is_owed))

    def get(self, name: str) -> bytes | None:
        """One value of the meta table."""
        row = self.connection.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes | int) -> None:
        """Set one value of the meta table, within a transaction."""
        stored = value if isinstance(value, bytes) else str(value).encode()
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (name, stored))

    def put_place(self, position: int, units: int) -> None:
        """Set how far resolve is, and its newest unit, within a transaction."""
        values = ("position", str(position).encode(), "units", str(units).encode())
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?), (?,?)", values)

    def transaction(self) -> AbstractContextManager[Any]:
        """One commit of state, outputs and position."""
        return self.database.transaction()

    @property
    def version(self) -> int:
        """Another number when another process has changed anything."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def summary(self) -> Summary:
        """Counts for status and metrics."""
        execute = self.connection.execute
        marks = ",".join("?" * len(OPEN_CONFLICTS))
        counted = f"SELECT entity, count(*) FROM conflicts WHERE kind IN ({marks}) GROUP BY entity"
        conflicts: dict[int, int] = dict(execute(counted, OPEN_CONFLICTS).fetchall())
        vocabulary = self.vocabulary if conflicts else None
        names = () if vocabulary is None else vocabulary.entities
        waiting, waiting_since_seq = execute("SELECT count(*), min(seq) FROM waiting").fetchone()
        return Summary(
            self.position,
            dict(execute("SELECT entity, phase FROM phases")),
            sum(conflicts.values()),
            execute("SELECT count(*) FROM held").fetchone()[0],
            waiting,
            waiting_since_seq,
            {names[number]: count for number, count in conflicts.items() if number < len(names)},
        )

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self.database.close()

"""The contract between the core and a database. An adapter is done when the suites in `cdcd.testing` pass.

The core never sees a wire format, a dialect or a driver; an adapter never sees an entity, an owner or a journal.
Positions are opaque text to the core: only the adapter that made one compares or parses it.

Common to all methods: blocking, called from one thread of one process per object; a lost or refusing server is
`errors.Unavailable` (the core closes the object, waits, and opens a new one), everything a person must mend is
`errors.NeedsOperator`. Driver exceptions never escape. No method logs values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from cdcd.model import Batch, Event, Row, TableShape, TableWrite
from cdcd.reader import Reader


class Finding(msgspec.Struct, frozen=True):
    """One result of a check: what is wrong where, and the exact SQL or setting that mends it."""

    severity: Literal["error", "warning"]
    code: str
    system: str
    subject: str
    message: str
    remedy: str


class TableNeed(msgspec.Struct, frozen=True):
    """What the configuration needs of one table: `columns` must exist; `key` names one row uniquely.

    `captured` tables are read from the log, `written` ones are delivered to. An empty `key` means the primary key;
    empty `columns` means all there are. A table of which other rows are only looked up is neither: it is read by SELECT.

    Of a written one, new rows are given the columns `inserted` (and, if `numbered`, an id that the server draws, in the
    primary key), `updated` are changed in rows that are there; both mean all there are where they are empty. `deleted`:
    rows are deleted, too.
    """

    table: str
    key: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    captured: bool = True
    written: bool = False
    inserted: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: bool = True
    numbered: bool = False


class Grant(msgspec.Struct, frozen=True):
    """A statement that an administrator runs for our role, without the semicolon at its end.

    `purpose` says what it is for, or with an optional one what it buys. `optional` ones are not needed for any part of our
    work. Without `sql` it is something that no statement changes alone (a right that comes from another role).
    """

    sql: str
    purpose: str
    optional: bool = False


class GrantDifference(msgspec.Struct, frozen=True):
    """What our role lacks of what `Adapter.grants` says, and what it may do beyond that: each with its statement."""

    missing: tuple[Grant, ...]
    excess: tuple[Grant, ...]


class SourceStatus(msgspec.Struct, frozen=True):
    """Where the server is, against what `poll` has returned so far.

    `silent_seconds`: how long ago anything came from the log, be it a keep-alive.
    """

    head: str
    lag_bytes: int
    retained_bytes: int
    silent_seconds: float = 0.0


SlotState: TypeAlias = Literal["reserved", "extended", "unreserved", "lost", "none"]
"""What a server says of our slot (PostgreSQL: wal_status); none: there is no slot."""


class LogKeeping(msgspec.Struct, frozen=True):
    """How long the server keeps the log that we have not read yet, and what its clock says.

    `slot_state` is "" where servers have no slots. `free_ratio`: of the bytes that the server keeps at most, the share
    that is left until what we have not read is removed; None where it keeps any amount. `keep_seconds`: log that is older
    is removed; 0: age is no reason; None: not known. `purge_seconds`: how long until then what we have not read stays at
    least, while nobody reads it. `clock_offset_seconds`: its clock minus ours, by the midpoint of a round trip.
    """

    slot_state: SlotState | Literal[""] = ""
    free_ratio: float | None = None
    keep_seconds: float | None = None
    purge_seconds: float | None = None
    clock_offset_seconds: float | None = None


class RowFilter(msgspec.Struct, frozen=True):
    """Which rows of a table are wanted: those whose `columns` hold one of `keys` (canonical values), else those of `where`.

    `where` is an operator's own condition in the server's SQL; a server adds it to its query in parentheses.
    """

    where: str = ""
    columns: tuple[str, ...] = ()
    keys: tuple[tuple[Any, ...], ...] = ()


class Applied(msgspec.Struct, frozen=True):
    """What `Target.apply` found: UPDATE rows that do not exist, as (write index, row index)."""

    missing: tuple[tuple[int, int], ...] = ()


class Checkpoint(msgspec.Struct, frozen=True):
    """What a target says of a daemon's deliveries: the last unit applied, under which lineage, how often taken over.

    `progress` is what the batch of that unit brought along ("" where there is none, or no room for it).
    """

    lineage: str
    epoch: int
    through: int
    progress: str = ""


class Identity(msgspec.Struct, frozen=True):
    """Who we are to a server: names the slot, publication, server id and checkpoint row.

    `lineage` is the random id of the state directory: a target whose checkpoint was written under another lineage
    belongs to other (or lost) state.
    """

    daemon: str
    system: str
    lineage: str


class Source(Protocol):
    """Reads one system's change log. Lifecycle: `check`* · `start` · (`poll` | `confirm` | `request_chunk` | `status`)* · `close`."""

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        """Look at log settings, privileges, tables, keys and types; change nothing. Independent of `start`."""
        ...

    def start(self, after: str | None) -> str:
        """Start streaming all committed transactions after position `after`; return the position of the start.

        None means from now on: what the log needs for that (slot, publication) is created, and the returned position
        must be made durable by the caller before the first `poll`. Raises PositionLost when the log does not reach
        back to `after`, or belongs to another server (Invariant 8). Idempotent about what it creates.
        """
        ...

    def earliest(self) -> str | None:
        """The earliest position that `start` can go on after, where the server keeps log for us alone (a slot), else None.

        Independent of `start`; changes nothing.
        """
        ...

    def fileno(self) -> int:
        """A file descriptor that becomes readable when `poll` may have something. May change after `poll`."""
        ...

    def poll(self) -> Sequence[Event]:
        """Everything that has arrived, without waiting; bounded to a few MiB; empty when nothing has.

        Rows of a transaction come in log order, then its Commit; transactions in commit order, each once, each
        strictly after the position given to `start`, at a position that reads the same when it is read again. A
        transaction may span several polls. INSERTs and UPDATEs without old rows may come as `PrintedRows`. A table has the same Relation in a chunk and in the stream. A transaction without
        rows of our tables is an Idle. Rows of our checkpoint table are reported under `model.CHECKPOINT_TABLE`.
        Answers the server's keepalives (with the last confirmed position). Something in the log that is not
        understood is a DecodeError: nothing after it is returned.
        """
        ...

    def confirm(self, position: str) -> None:
        """Everything through `position` is durable here: the server may discard it (Invariant 1). Cheap, idempotent.

        The server is told at once or, after others, with a later `poll` or at the end.
        """
        ...

    def request_chunk(
        self, table: str, after_key: Row | None, row_limit: int, row_filter: RowFilter | None = None
    ) -> None:
        """Read the next `row_limit` rows of `table` in identity order after `after_key`; a later `poll` returns the Chunk.

        With a filter, only rows that it lets through count; FilterRefused is raised here or by `poll` where the server does
        not take it, or cannot find such rows in the time that a query has. Our checkpoint table can be asked for, too: of
        the units that it names, those written after the start have been carried before it.

        One request at a time. The adapter places the Chunk in the stream so that no row of it is older than any
        transaction before it, by leaving out rows whose newer version the stream has already carried. Takes no lock
        that blocks writers.
        """
        ...

    def estimate(self, table: str) -> int:
        """About how many rows the table has, as the server's statistics tell it without counting; 0 when they do not."""
        ...

    def status(self) -> SourceStatus:
        """Ask the server where it is. One cheap query, on a connection that does not disturb the stream."""
        ...

    def log_keeping(self) -> LogKeeping:
        """Ask the server how long it keeps what we have not read. Independent of `start`; cheap; changes nothing.

        Also tells of a log that `start` has found lost.
        """
        ...

    def reached(self, position: str) -> bool:
        """Whether `poll` has returned everything that was committed through `position`.

        That is a position, or a place as this kind of server writes it: what `SourceStatus.head` says, a GTID. Raises
        ValueError for other text. Cheap; may ask the server to tell of an idle log's end soon.
        """
        ...

    def close(self) -> None:
        """Release connections. The slot and all positions stay. Never raises."""
        ...


class Target(Protocol):
    """Writes to one system. Lifecycle: (`check` | `describe`)* · `open` · (`describe` | `apply`)* · `close`."""

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        """Look at privileges, tables, keys, columns; change nothing."""
        ...

    def describe(self, tables: Sequence[str]) -> Mapping[str, TableShape]:
        """Shapes of those of `tables` that exist."""
        ...

    def checkpoint(self) -> Checkpoint | None:
        """The row of this daemon and system as it is, whatever its lineage; None without one. Independent of `open`; changes nothing."""
        ...

    def open(self, *, xref_table: str = "", adopt: str = "") -> int:
        """Take over as the one writer: create the checkpoint table and row if missing, raise the fence epoch by one.

        Where `xref_table` says how `model.XREF_TABLE` is spelled in full, that is created too. Returns the last unit applied (0 when none).
        Raises NeedsOperator "other-lineage" when the row was written under another lineage; only one of the lineage `adopt` becomes
        ours. Tables that an earlier version has created get the columns that they lack, if the server lets us.
        """
        ...

    def apply(self, writes: Iterable[TableWrite], batch: Batch) -> Applied:
        """Do all `writes` in order, and move the checkpoint to `batch.through`, in one transaction. Returning means durable.

        `writes` is iterated once and may be far larger than memory: a target holds a bounded part of it (Invariant 11).

        The checkpoint row is written first (it marks the transaction in the log) and only where daemon, epoch and
        lineage are ours, else Fenced and nothing is written (Invariant 4). It stores `after`, `through`, and, if
        it has room for it, `progress`.
        Applying the same again gives the same rows (idempotent), apart from what is `added`. An UPDATE of a row that is not there is not an
        error: it is returned in `Applied.missing`. A lookup that finds nothing: the row of a DELETE is taken for
        deleted, any other is Refused with `rows` naming it. Data that the server refuses is Refused, with nothing
        written; deadlocks, timeouts and lost connections are Unavailable, and whether the transaction was committed
        is then told by the checkpoint alone. Several rows with one key are Refused, in lookups and where a write has no
        unique key.
        """
        ...

    def close(self) -> None:
        """Release connections. Never raises."""
        ...


class Adapter(Protocol):
    """What an entry point of group `cdcd.adapters` names: an object that opens sources and targets."""

    options: type[msgspec.Struct]
    """The struct of the `[systems.NAME]` table, without `adapter`."""

    def table_name(self, bare: str) -> str:
        """How a bare table name is spelled in full here ("item" is "public.item" in PostgreSQL)."""
        ...

    def open_source(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> Source:
        """Make a source for the captured ones of `tables` and the checkpoint table. Connects lazily."""
        ...

    def open_past(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> Source:
        """Make a source that reads once more what was read before, while another one of the same identity reads on.

        It disturbs nothing of that one's, and `start` creates nothing; it is never asked to confirm or for chunks. Raises
        PositionLost where nobody can read again what was confirmed (a slot of PostgreSQL).
        """
        ...

    def open_target(self, identity: Identity, options: msgspec.Struct) -> Target:
        """Make a target. Connects lazily."""
        ...

    def open_reader(self, identity: Identity, options: msgspec.Struct) -> Reader:
        """Make something that looks at tables and writes nothing. Connects lazily."""
        ...

    def grants(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> Sequence[Grant]:
        """What makes a role that can do our part with `tables`, and no more, to be run by an administrator.

        Connects to nothing, and names no password. May be run again, also after the configuration has changed.
        """
        ...

    def compare_grants(
        self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]
    ) -> GrantDifference:
        """Compare what `grants` says with what the configured role may do now. Changes nothing."""
        ...

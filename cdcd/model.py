"""What travels through the line: rows and commits from a source, table writes to a target.

Values are *canonical*: a plain `None`, `bool`, `int`, `float`, `str` or `bytes` whose meaning is given by the
canonical type of its column (see `cdcd.values`). A decimal is its text, a datetime its ISO text: nothing here
is ever rounded, and everything here can be stored as MessagePack without losing its type.
"""

from __future__ import annotations

import enum
from typing import Any, Final, TypeAlias

import msgspec

CHECKPOINT_TABLE: Final = "cdcd_checkpoint"
"""The table in every target that carries the checkpoint, and marks our own transactions in its log.

Columns: daemon, system (the primary key), lineage (text), epoch, batch_after, batch_through (integers); an adapter may
add more. `batch_through` is the last unit applied. Where the server lets us, the adapter adds `progress`, a text or NULL.
"""

XREF_TABLE: Final = "cdcd_xref"
"""The table in a target that keeps the business keys of records whose own table has no column for them.

Columns, all texts: entity and key (together the primary key), and id: that of the record's row.
"""

ABSENT: Final = msgspec.msgpack.Ext(1, b"")
"""Stands in a row for a value the log did not carry (unchanged TOAST, minimal row image). Compare with `is`."""


class Absences:
    """A decoder's `ext_hook`: gives ABSENT back where it was stored, and counts it. What has none need not be looked through."""

    count = 0

    def __call__(self, _code: int, _data: memoryview) -> msgspec.msgpack.Ext:
        """See the class."""
        self.count += 1
        return ABSENT


Value: TypeAlias = bool | int | float | str | bytes | msgspec.msgpack.Ext | list[Any] | None
"""A canonical value. A list is the key of several parts that a `Lookup` resolves."""
Row: TypeAlias = list[Value]


class Op(enum.IntEnum):
    """What happened to the rows of a `Rows` event.

    The last three carry no rows: all rows are gone (TRUNCATE); some are, without being named (ROWS_LOST: a partition was
    dropped, truncated, exchanged); the table is not there under this name any more (TABLE_GONE: dropped, renamed away).
    """

    INSERT = 1
    UPDATE = 2
    DELETE = 3
    READ = 4
    TRUNCATE = 5
    ROWS_LOST = 6
    TABLE_GONE = 7


class Relation(msgspec.Struct, frozen=True, array_like=True):
    """The shape of a table as the log itself described it when the rows were written.

    `table` is spelled as in the configuration. `types` are canonical types ("decimal(12,4)"), one per column.
    `identity` indexes the columns that name a row in this log: primary key or replica identity.
    """

    table: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    identity: tuple[int, ...]


class Rows(msgspec.Struct, gc=False):
    """A run of changes of one kind to one table, part of the transaction that the next `Commit` ends.

    INSERT, UPDATE, READ: `rows` are the rows after the change. DELETE: the rows before it, as far as the log
    carries them (identity columns always, others may be ABSENT). TRUNCATE, ROWS_LOST, TABLE_GONE: no rows, and where
    the log does not describe the table its relation has no columns.
    `olds` is None, or for UPDATE one entry per row: None, or the old row when an identity column changed.
    """

    relation: Relation
    op: Op
    rows: list[Row]
    olds: list[Row | None] | None = None

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.rows)


class PrintedRows(msgspec.Struct, frozen=True, gc=False):
    """Such a run as the source's server printed it: whoever looks at the values unpacks them (see `cdcd.printed`).

    INSERT or UPDATE, without old rows. `packed` are its `count` rows.
    """

    relation: Relation
    op: Op
    count: int
    packed: bytes


class Commit(msgspec.Struct, frozen=True):
    """Ends the transaction of the preceding `Rows`. `position` is the place just after it."""

    position: str
    committed_at_us: int


class Idle(msgspec.Struct, frozen=True):
    """Everything up to `position` was read and held nothing for us. Never inside a transaction."""

    position: str


class Chunk(msgspec.Struct, gc=False):
    """Rows of a requested chunk of a table (op READ), at the place in the stream where they are true.

    No row is older than a transaction that came before it in the stream. `last_key` is where the next chunk
    continues (values of the identity columns); `done` says there is none.
    """

    rows: Rows
    last_key: Row | None
    done: bool


Event: TypeAlias = Rows | PrintedRows | Commit | Idle | Chunk


class WriteKind(enum.IntEnum):
    """What a table write does with its rows.

    UPSERT: insert, or update when the key exists. UPDATE: the row must exist. DELETE: may be gone already. REKEY: rows are
    [old key..., new key...]; the row that has the old key gets the new one, and must exist. CLEAR: no rows; the table is
    emptied.
    """

    UPSERT = 1
    UPDATE = 2
    DELETE = 3
    REKEY = 4
    CLEAR = 5


class Where(msgspec.Struct, frozen=True):
    """What a row must hold to count: in `column` one of `values`, where None is NULL."""

    column: str
    values: tuple[Value, ...]


class Lookup(msgspec.Struct, frozen=True):
    """`column` of a write holds a business key; the target must store the id of the row of `table` that has it.

    The value is a scalar when `key` is one column, else a list in `key`'s order; NULL stays NULL. Where `nested` has a
    lookup of a key column, that part of the value is itself a key (a scalar or a list), and that lookup gives the value
    that the column must have. A part that is NULL, or finds nothing, finds nothing. `where` says which rows count.

    Several rows with the key are Refused, unless `first_by` orders them: by these columns (and whether they descend;
    NULL comes last), then by `id`; the first counts. A row whose `id` is NULL does not count.
    """

    column: str
    table: str
    key: tuple[str, ...]
    id: str
    where: tuple[Where, ...] = ()
    nested: tuple[Lookup, ...] = ()
    first_by: tuple[tuple[str, bool], ...] | None = None


class TableWrite(msgspec.Struct, gc=False):
    """Rows for one table, of one kind, with one set of columns: what a set-based statement writes.

    `key` columns come first in `columns`; no two rows have the same key. Columns in `insert_only` are written only where the row is new.
    Values of columns in `added`, which only an UPDATE has, are added to what the row holds; NULL counts as 0.
    Only rows as `where` says have a key: an UPSERT must also write these columns.

    `numbers_new`: the key is one column, an id, and found by its lookup. Rows that are not found are new to an UPSERT, and
    the server gives them their id; an UPDATE reports them as missing. `locked` names a column with a lookup: the rows that
    it finds are locked first, so that of two writers who do that only one makes the row.

    What the lookups of a write's key have found, or the server has given, later writes of the batch with an equal lookup
    (apart from `column`) may take for it, deletes among deletes: a row may be deleted after the one it is found by.

    `likely_new`: by the source the rows of an UPSERT are new, so that it may be worth trying to insert them plainly first.
    """

    table: str
    kind: WriteKind
    key: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[Row]
    insert_only: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    where: tuple[Where, ...] = ()
    numbers_new: bool = False
    locked: str = ""
    added: tuple[str, ...] = ()
    likely_new: bool = False


class Batch(msgspec.Struct, frozen=True):
    """The outbox units that one target transaction covers: after `after`, through `through`.

    `progress` is for the target to keep beside them; "" leaves what it keeps.
    """

    after: int
    through: int
    progress: str = ""


class ColumnShape(msgspec.Struct, frozen=True):
    """A column of a live table. `type` is the canonical type with what it can hold: "text(64)", "integer(0,255)"."""

    name: str
    type: str
    nullable: bool = True
    generated: bool = False
    has_default: bool = False


class TableShape(msgspec.Struct, frozen=True):
    """A live table. `unique_keys` includes the primary key."""

    table: str
    columns: tuple[ColumnShape, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> ColumnShape | None:
        """The column of that name, if the table has it."""
        return next((column for column in self.columns if column.name == name), None)


XREF_SHAPE: Final = TableShape(
    XREF_TABLE,
    tuple(ColumnShape(name, "text", nullable=False) for name in ("entity", "key", "id")),
    ("entity", "key"),
    (("entity", "key"),),
)
"""How `XREF_TABLE` will look where it is not there yet."""

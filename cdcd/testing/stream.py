"""Reads a `Source` as a careful core would, checking the order of its events, and keeps what it read."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from cdcd.adapter import RowFilter, Source
from cdcd.model import CHECKPOINT_TABLE, Chunk, Commit, Event, Idle, Op, PrintedRows, Row, Rows, Value
from cdcd.printed import rows_of

TIMEOUT_SECONDS = 60.0
"""How long to wait for what must come."""

NamedRow: TypeAlias = dict[str, Value]


class Change(NamedTuple):
    """One row of a `Rows` event, its columns named; `old` is the old row where the identity changed."""

    table: str
    op: Op
    row: NamedRow
    old: NamedRow | None = None


class Transaction(NamedTuple):
    """What came before one `Commit`."""

    position: str
    committed_at_us: int
    changes: tuple[Change, ...]

    def on(self, *tables: str) -> Transaction:
        """The same with only the changes of `tables`."""
        return self._replace(changes=tuple(change for change in self.changes if change.table in tables))


def named_rows(event: Rows) -> list[Change]:
    """The changes of one event. Checks that rows, old rows and relation fit together."""
    relation = event.relation
    assert len(relation.types) == len(relation.columns), f"{relation.table}: not a type for every column"
    assert all(len(row) == len(relation.columns) for row in event.rows), (
        f"{relation.table}: not a value for every column"
    )
    assert event.olds is None or event.op is Op.UPDATE, f"{relation.table}: old rows without an update"
    olds: Sequence[Row | None] = event.olds if event.olds is not None else [None] * len(event.rows)
    assert len(olds) == len(event.rows), f"{relation.table}: not an old row for every row"
    if event.op in (Op.TRUNCATE, Op.ROWS_LOST, Op.TABLE_GONE):
        assert not event.rows, f"{relation.table}: {event.op.name} with rows"
        return [Change(relation.table, event.op, {})]

    def name(row: Row) -> NamedRow:
        return dict(zip(relation.columns, row, strict=True))

    return [
        Change(relation.table, event.op, name(row), None if old is None else name(old))
        for row, old in zip(event.rows, olds, strict=True)
    ]


class StreamReader:
    """A started source and everything it has returned since: `log` holds transactions, idles and chunks in order."""

    def __init__(self, source: Source, after: str | None = None) -> None:
        self.source = source
        self.started_at = source.start(after)
        self.log: list[Transaction | Idle | Chunk] = []
        self.events: list[Event] = []
        self._pending: list[Change] = []
        self._chunks: list[Chunk] = []

    @property
    def transactions(self) -> list[Transaction]:
        """The transactions read so far."""
        return [entry for entry in self.log if isinstance(entry, Transaction)]

    @property
    def position(self) -> str:
        """The last position read."""
        return next((entry.position for entry in reversed(self.log) if not isinstance(entry, Chunk)), self.started_at)

    def poll(self) -> Sequence[Event]:
        """Take what has arrived into `log`, and return it."""
        events = [rows_of(event) if isinstance(event, PrintedRows) else event for event in self.source.poll()]
        for event in events:
            self._take(event)
        self.events += events
        return events

    def read_until(self, condition: Callable[[], bool]) -> None:
        """Poll until the condition holds, waiting on the source's file descriptor in between."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"what must come did not come in {TIMEOUT_SECONDS} seconds"
            if not self.poll():
                self.wait(0.05)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the file descriptor; return whether it became readable."""
        return bool(select.select([self.source.fileno()], [], [], timeout_seconds)[0])

    def read_chunk(
        self, table: str, after_key: Row | None, row_limit: int, row_filter: RowFilter | None = None
    ) -> Chunk:
        """Request a chunk and read until it comes."""
        count = len(self._chunks)
        self.source.request_chunk(table, after_key, row_limit, row_filter)
        self.read_until(lambda: len(self._chunks) > count)
        return self._chunks[-1]

    def _take(self, event: Event) -> None:
        match event:
            case Rows():
                assert event.op is not Op.READ, "rows of a chunk outside a Chunk"
                self._pending += named_rows(event)
            case Commit():
                assert self._pending, "a Commit without rows; a transaction without rows of ours is an Idle"
                self.log.append(Transaction(event.position, event.committed_at_us, tuple(self._pending)))
                self._pending = []
            case Idle() | Chunk():
                assert not self._pending, f"{type(event).__name__} inside a transaction"
                self.log.append(event)
                self._chunks += [event] if isinstance(event, Chunk) else []


def exactly(value: object) -> str:
    """A form in which 1, 1.0, True and "1" differ, and so do 0.0 and -0.0."""
    return repr(value)


def is_ours(transaction: Transaction) -> bool:
    """Whether cdcd wrote it: it touches the checkpoint table."""
    return any(change.table == CHECKPOINT_TABLE for change in transaction.changes)

"""Reads a memory server's log."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from cdcd.adapter import Finding, Identity, LogKeeping, RowFilter, SourceStatus, TableNeed
from cdcd.errors import FilterRefused
from cdcd.model import CHECKPOINT_TABLE, XREF_TABLE, Chunk, Commit, Event, Idle, Op, Row, Rows
from cdcd_memory.server import Entry, MemoryServer
from cdcd_memory.target import XREF_COLUMNS, check_tables

ROWS_PER_POLL = 500


class MemorySource:
    """See `cdcd.adapter.Source`."""

    def __init__(self, server: MemoryServer, identity: Identity, tables: Sequence[TableNeed]) -> None:
        self._server, self._system = server, identity.system
        self._slot = (identity.daemon, identity.system)
        self._tables = {need.table for need in tables if need.captured} | {CHECKPOINT_TABLE}
        self._generation: int | None = None
        self._number = self._returned = 0
        self._within: Iterator[Event] = iter(())
        self._request: tuple[str, Row | None, int, RowFilter | None] | None = None
        self._descriptor: int | None = None

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        """See the contract."""
        return check_tables(self._server, self._system, tables)

    def start(self, after: str | None) -> str:
        """See the contract."""
        self._server.faults("start")
        with self._server.lock:
            self._generation = self._server.connect(None)
            for name in (self._tables - self._server.tables.keys()) & {XREF_TABLE}:
                self._server.create_table(name, XREF_COLUMNS, ("entity", "key"))
            if after is None:
                self._server.slots[self._slot] = self._server.head
                after = self._server.position(self._server.head)
            self._number = self._returned = self._server.number(after, self._slot)
            self._server.listeners.add(self)
        return after

    def earliest(self) -> str | None:
        """See the contract."""
        with self._server.lock:
            kept = self._server.slots.get(self._slot) if self._server.prune else None
            return None if kept is None else self._server.position(max(kept, self._server.floor))

    def fileno(self) -> int:
        """See the contract."""
        if self._descriptor is None:
            self._descriptor = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._finalizer = weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    def wake(self) -> None:
        """Make the file descriptor readable."""
        if self._descriptor is not None:
            os.eventfd_write(self._descriptor, 1)

    def poll(self) -> Sequence[Event]:
        """See the contract. A chunk is read as of now, between two transactions: it is newer than all before it."""
        self._server.faults("poll")
        self._server.connect(self._generation)
        if self._descriptor is not None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._descriptor)
        events: list[Event] = []
        row_count = 0
        while row_count < ROWS_PER_POLL and (event := self._next()) is not None:
            events.append(event)
            if isinstance(event, Commit | Idle):
                self._returned = self._number
            row_count += len(event.rows) if isinstance(event, Rows) else 1
        if row_count >= ROWS_PER_POLL:
            self.wake()
        return events

    def confirm(self, position: str) -> None:
        """See the contract."""
        self._server.faults("confirm:before")
        self._server.connect(self._generation)
        self._server.confirm(self._slot, int(position.rpartition(":")[2]))
        self._server.faults("confirm:after")

    def request_chunk(
        self, table: str, after_key: Row | None, row_limit: int, row_filter: RowFilter | None = None
    ) -> None:
        """See the contract. There is no SQL here: only keys can be asked for."""
        if row_filter is not None and (row_filter.where or table not in self._server.tables):
            raise FilterRefused(
                f"rows of {table} cannot be chosen", cause="a memory server knows no SQL, or no such table"
            )
        self._request = (table, after_key, row_limit, row_filter)
        self.wake()

    def estimate(self, table: str) -> int:
        """See the contract."""
        return len(self._server.tables[table].rows)

    def status(self) -> SourceStatus:
        """See the contract. Sizes are those of the entries as MessagePack."""
        self._server.connect(self._generation)
        ahead, kept = (self._server.after(number) for number in (self._number, self._server.floor))
        lag, retained = (sum(len(msgspec.msgpack.encode(entry)) for entry in entries) for entries in (ahead, kept))
        return SourceStatus(self._server.position(self._server.head), lag, retained)

    def log_keeping(self) -> LogKeeping:
        """See the contract. Nothing is removed but what was confirmed, and its clock is ours."""
        self._server.connect(None)
        return LogKeeping(keep_seconds=0, clock_offset_seconds=0.0)

    def reached(self, position: str) -> bool:
        """See the contract."""
        name, _, number = position.rpartition(":")
        if name != self._server.name or not number.isdecimal():
            raise ValueError(f"a place in this log reads {self._server.position(1)}")
        return self._returned >= int(number)

    def close(self) -> None:
        """See the contract."""
        self._server.listeners.discard(self)
        self._generation = -1
        if self._descriptor is not None:
            self._descriptor = None
            self._finalizer()

    def _next(self) -> Event | None:
        """The next event, if there is one: of the transaction under way, else a requested chunk, else of the next entry."""
        if (event := next(self._within, None)) is not None:
            return event
        if self._request is not None and self._may_read(self._request[0]):
            return self._read_chunk(*self._request)
        for entry in self._server.after(self._number, 1):
            self._number = entry.number
            self._within = self._decode(entry)
            return next(self._within)
        return None

    def _may_read(self, table: str) -> bool:
        """What the checkpoint says must have been carried before."""
        return table != CHECKPOINT_TABLE or not self._server.after(self._number, 1)

    def _decode(self, entry: Entry) -> Iterator[Event]:
        """The events of a transaction, in pieces of at most ROWS_PER_POLL rows, with rows that the reader may keep."""
        position = self._server.position(entry.number)
        ours = [event for event in entry.events if event.relation.table in self._tables]
        for event in ours:
            for first in range(0, max(len(event.rows), 1), ROWS_PER_POLL):
                part = slice(first, first + ROWS_PER_POLL)
                olds = None if event.olds is None else [old and old.copy() for old in event.olds[part]]
                yield Rows(event.relation, event.op, [row.copy() for row in event.rows[part]], olds)
        yield Commit(position, entry.committed_at_us) if ours else Idle(position)

    def _read_chunk(self, name: str, after_key: Row | None, row_limit: int, row_filter: RowFilter | None) -> Chunk:
        self._request = None
        with self._server.lock:
            table = self._server.tables[name]
            keys = sorted(key for key in table.rows if after_key is None or key > tuple(after_key))
            if row_filter is not None:
                keys = [key for key in keys if table.values(table.rows[key], row_filter.columns) in row_filter.keys]
            rows = [table.rows[key].copy() for key in keys[:row_limit]]
        last = list(keys[len(rows) - 1]) if rows else None
        return Chunk(Rows(table.relation, Op.READ, rows), last, done=len(keys) <= row_limit)

"""capture: one source's log into the journal. It decides nothing.

A step takes what has arrived, stores it in one durable commit together with the source's position, and only then
tells the source that it may forget (Invariant 1). Copies of tables (initial, resync) ride in the same stream.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from cdcd.adapter import Identity, Source
from cdcd.journal import Backfill, ChunkNote, Draft, Journal, Kind, encode_note
from cdcd.model import CHECKPOINT_TABLE, Chunk, Commit, Idle, Relation, Rows

STAGE_ROWS: Final = 10_000
STAGE_POLLS: Final = 4
"""A poll is bounded in bytes, so that many of them bound what is held of an open transaction with long rows."""
CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 4 * 2**20
FIRST_CHUNK_ROWS: Final = 100
IDLE_SECONDS: Final = 1.0


class CaptureCounts(msgspec.Struct):
    """What this capture has done since it started."""

    transactions: int = 0
    changes: int = 0
    chunk_rows: int = 0


class Capture:
    """The capture loop's state: the open transaction, and what waits to be confirmed."""

    def __init__(self, identity: Identity, source: Source, journal: Journal, tables: Sequence[str]) -> None:
        """`tables` in the order in which they are first copied: referred-to tables before those that refer."""
        self.counts = CaptureCounts()
        self._identity = identity
        self._name = identity.system
        self._source = source
        self._journal = journal
        self._tables = tables
        self._runs: list[Rows] = []
        self._open_rows = 0
        self._open_polls = 0
        self._changes = 0
        self._mark: tuple[int, int] | None = None
        self._stage: int | None = None
        self._parts = 0
        self._idle_position: str | None = None
        self._stored_at = time.monotonic()
        self._position = ""
        self._backfill: Backfill | None = None
        self._chunk_rows = FIRST_CHUNK_ROWS

    def start(self) -> None:
        """Continue after the journalled position, or begin: then the start is durable before anything is read."""
        self._journal.drop_unfinished(self._name)
        after = self._journal.position(self._name)
        self._position = self._source.start(after)
        if after is None:
            self._journal.append(self._name, [], self._position)
        self._journal.ensure_backfills(self._name, self._tables)
        self.request_backfill()

    @property
    def position(self) -> str:
        """The position through which everything is journalled."""
        return self._position

    def fileno(self) -> int:
        """Readable when a step may have something to do."""
        return self._source.fileno()

    def step(self) -> bool:
        """Journal what has arrived; return whether anything new can be resolved."""
        drafts: list[Draft] = []
        position: str | None = None
        chunk: Chunk | None = None
        for event in self._source.poll():
            if type(event) is Rows:
                self._add(event)
            elif type(event) is Commit:
                position = event.position
                self._idle_position = None
                drafts.append(self._finish(event))
            elif type(event) is Idle:
                assert not self._runs, "an idle position inside a transaction"
                self._idle_position = event.position
            else:
                assert isinstance(event, Chunk)
                assert not self._runs, "a chunk inside a transaction"
                assert chunk is None, "two chunks for one request"
                chunk = event
                drafts.append(self._chunk_draft(event))
        if self._runs:
            self._open_polls += 1
            if self._open_polls >= STAGE_POLLS:
                self._put_aside()
        return self._store(drafts, position, chunk)

    def _add(self, event: Rows) -> None:
        if event.relation.table == CHECKPOINT_TABLE:
            self._read_mark(event.relation, event)
            return
        self._runs.append(event)
        self._open_rows += len(event.rows) or 1
        self._changes += len(event.rows) or 1
        if self._open_rows >= STAGE_ROWS:
            self._put_aside()

    def _put_aside(self) -> None:
        """What has come of the open transaction leaves the memory (Invariant 11)."""
        body = self._journal.encode(self._name, self._runs)
        self._stage = self._journal.stage(self._name, self._stage, self._parts, body)
        self._parts += 1
        self._runs = []
        self._open_rows = self._open_polls = 0

    def _read_mark(self, relation: Relation, event: Rows) -> None:
        """Our own checkpoint row in a transaction says that we wrote it, and which outbox units it carries."""
        at = {name: index for index, name in enumerate(relation.columns)}
        for row in event.rows:
            ours = row[at["daemon"]] == self._identity.daemon and row[at["lineage"]] == self._identity.lineage
            if ours and row[at["system"]] == self._name:
                after, through = row[at["batch_after"]], row[at["batch_through"]]
                assert isinstance(after, int)
                assert isinstance(through, int)
                self._mark = (after, through)

    def _finish(self, commit: Commit) -> Draft:
        body = self._journal.encode(self._name, self._runs) if self._runs else b""
        draft = Draft(Kind.LOG, commit.position, commit.committed_at_us, self._changes, body, self._stage, self._mark)
        self.counts.transactions += 1
        self.counts.changes += self._changes
        self._runs = []
        self._open_rows = self._open_polls = self._changes = self._parts = 0
        self._mark = self._stage = None
        return draft

    def _chunk_draft(self, chunk: Chunk) -> Draft:
        assert self._backfill is not None, "a chunk nobody asked for"
        note = encode_note(ChunkNote(self._backfill.table, self._backfill.run, chunk.done))
        self.counts.chunk_rows += len(chunk.rows.rows)
        body = self._journal.encode(self._name, [chunk.rows]) if chunk.rows.rows else b""
        self._fit_chunks(len(chunk.rows.rows), len(body))
        return Draft(Kind.CHUNK, "", time.time_ns() // 1000, len(chunk.rows.rows), body, note=note)

    def _fit_chunks(self, row_count: int, size_bytes: int) -> None:
        """Ask for as many rows next time as will be about `CHUNK_BYTES`, growing step by step."""
        fitting = CHUNK_BYTES * row_count // size_bytes if size_bytes else CHUNK_ROWS
        self._chunk_rows = max(1, min(fitting, 4 * self._chunk_rows, CHUNK_ROWS))

    def _store(self, drafts: list[Draft], position: str | None, chunk: Chunk | None) -> bool:
        if self._idle_position is not None and not self._runs and self._stage is None:
            due = time.monotonic() - self._stored_at >= IDLE_SECONDS
            position = self._idle_position if drafts or due else position
        if not drafts and position is None:
            return False
        backfill = None
        if chunk is not None:
            assert self._backfill is not None
            rows = self._backfill.rows + len(chunk.rows.rows)
            backfill = Backfill(self._backfill.table, self._backfill.run, chunk.done, chunk.last_key, rows)
        self._journal.append(self._name, drafts, position, backfill=backfill)
        self._stored_at = time.monotonic()
        if position is not None:
            self._idle_position = None
            self._position = position
            self._source.confirm(position)
        if chunk is not None:
            self._backfill = None
            self.request_backfill()
        return bool(drafts)

    def request_backfill(self) -> None:
        """Ask for the next chunk of the next unfinished copy, unless one is on its way."""
        if self._backfill is not None:
            return
        self._backfill = next((b for b in self._journal.backfills(self._name) if not b.done), None)
        if self._backfill is not None:
            self._source.request_chunk(self._backfill.table, self._backfill.last_key, self._chunk_rows)

    def keep_alive(self) -> None:
        """Tell the source again how far we are: for when nothing is polled (journal full)."""
        self._source.confirm(self._position)

    def close(self) -> None:
        """Let go of the source; an unfinished transaction is read again at the next start."""
        self._source.close()

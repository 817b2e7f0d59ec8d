"""capture: one source's log into the journal. It decides nothing.

A step takes what has arrived, stores it in one durable commit together with the source's position, and only then
tells the source that it may forget (Invariant 1). Copies of tables (initial, resync) ride in the same stream.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import structs

from cdcd.adapter import Identity, Source
from cdcd.backfills import Backfill
from cdcd.durations import Durations
from cdcd.errors import FilterRefused, NotReady, PositionLost, Unavailable
from cdcd.failpoints import reach
from cdcd.journal import ChunkNote, Draft, Journal, Kind, encode_note
from cdcd.model import CHECKPOINT_TABLE, Chunk, Commit, Event, Idle, PrintedRows, Rows
from cdcd.recovering import recovery
from cdcd.recovering.own_marks import units_of

STAGE_ROWS: Final = 10_000
STAGE_POLLS: Final = 4
"""A poll is bounded in bytes, so that many of them bound what is held of an open transaction with long rows."""
CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 4 * 2**20
FIRST_CHUNK_ROWS: Final = 100
IDLE_SECONDS: Final = 1.0
MUCH_BYTES: Final = 256 * 2**10
"""A poll that gave so much may have ended where it did because it was full."""


class CaptureCounts(msgspec.Struct):
    """What this capture has done since it started."""

    transactions: int = 0
    changes: int = 0
    chunk_rows: int = 0


class Capture:
    """The capture loop's state: the open transaction, and what waits to be confirmed."""

    def __init__(
        self,
        identity: Identity,
        source: Source,
        journal: Journal,
        tables: Sequence[str],
        commits: Durations | None = None,
    ) -> None:
        """`tables` in the order in which they are first copied: referred-to tables before those that refer.

        `commits` is told how long the journal's commits take.
        """
        self.counts = CaptureCounts()
        self._commits = Durations() if commits is None else commits
        self._identity = identity
        self._name = identity.system
        self._source = source
        self._journal = journal
        self._tables = tables
        self._runs: list[Rows | PrintedRows] = []
        self._open_rows = 0
        self._open_polls = 0
        self._changes = 0
        self._lineages = {identity.lineage, *recovery.adopted_lineages(journal)}
        self._mark: tuple[int, int] | None = None
        self._stage: int | None = None
        self._parts = 0
        self._idle_position: str | None = None
        self._stored_at = time.monotonic()
        self._position = ""
        self._backfill: Backfill | None = None
        self._log_until: str | None = None
        self._took_much = False
        self._chunk_rows = FIRST_CHUNK_ROWS

    def start(self) -> None:
        """Continue after the journalled position, or begin: then the start is durable before anything is read."""
        self._journal.drop_unfinished(self._name)
        after = self._journal.position(self._name)
        reach("capture.before-start")
        try:
            self._position = self._source.start(after)
        except PositionLost as lost:
            self._add_way_on(lost)
            raise
        reach("capture.after-start")
        if after is None:
            self._journal.append(self._name, [], self._position)
            reach("capture.after-first-position")
        self._journal.ensure_backfills(self._name, self._tables)
        self._give_up_copies()
        if recovery.log_first(self._name) in self._journal.controls():
            self._log_until = self._source.status().head
        self.request_backfill()

    def _give_up_copies(self) -> None:
        """Copies may be under way of tables that the configuration has given up."""
        for backfill in self._journal.backfills(self._name):
            if not backfill.done and backfill.table not in {*self._tables, CHECKPOINT_TABLE}:
                self._journal.refuse_backfill(self._name, backfill.table, "the table is not read any more")

    @property
    def position(self) -> str:
        """The position through which everything is journalled."""
        return self._position

    @property
    def may_have_more(self) -> bool:
        """Whether another step may have something to do though the source's descriptor is not readable."""
        return self._backfill is not None or self._log_until is not None or self._took_much

    def fileno(self) -> int:
        """Readable when a step may have something to do."""
        return self._source.fileno()

    def step(self) -> bool:
        """Journal what has arrived; return whether anything new can be resolved."""
        drafts: list[Draft] = []
        position: str | None = None
        chunk: Chunk | None = None
        for event in self._arrived():
            if type(event) is Rows or type(event) is PrintedRows:
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
        self._took_much = sum([len(draft.body) for draft in drafts]) >= MUCH_BYTES
        is_news = self._store(drafts, position, chunk)
        if self._log_until is not None:
            self.request_backfill()
        return is_news

    def _arrived(self) -> Sequence[Event]:
        """What the source has. A copy whose rows cannot be chosen is given up, and the source opened anew without it."""
        try:
            return self._source.poll()
        except PositionLost as lost:
            self._add_way_on(lost)
            raise
        except NotReady as missing:
            self._wait_for_checkpoint(missing)
            raise
        except FilterRefused as refused:
            raise self._refused(refused) from refused

    def _wait_for_checkpoint(self, missing: NotReady) -> None:
        """Raise Unavailable if it is our checkpoint table: in a database that was made anew the deliverer makes it, which is waited for."""
        if self._backfill is not None and self._backfill.table == CHECKPOINT_TABLE:
            raise Unavailable(missing.what, cause="its deliverer has not made it yet", code=missing.code) from missing

    def _add_way_on(self, lost: PositionLost) -> None:
        """A lost position comes with the one way on that there always is (Invariant 8)."""
        again = f"to go on without what is lost: 'cdcd reposition {self._name}'"
        lost.remedy = f"{lost.remedy}; {again}" if lost.remedy else again

    def _refused(self, refused: FilterRefused) -> Unavailable:
        assert self._backfill is not None, "a filter was refused, but no copy is under way"
        self._journal.refuse_backfill(self._name, self._backfill.table, f"{refused.what}: {refused.cause}")
        return Unavailable(
            f"the copy of rows of {self._backfill.table} was given up", cause=refused.cause, code=refused.code
        )

    def _add(self, event: Rows | PrintedRows) -> None:
        if event.relation.table == CHECKPOINT_TABLE:
            self._mark = units_of(self._identity, self._lineages, event) or self._mark
            return
        self._runs.append(event)
        count = event.count or 1
        self._open_rows += count
        self._changes += count
        if self._open_rows >= STAGE_ROWS:
            self._put_aside()

    def _put_aside(self) -> None:
        """What has come of the open transaction leaves the memory (Invariant 11)."""
        body = self._journal.encode(self._name, self._runs)
        reach("capture.before-stage")
        self._stage = self._journal.stage(self._name, self._stage, self._parts, body)
        reach("capture.after-stage")
        self._parts += 1
        self._runs = []
        self._open_rows = self._open_polls = 0

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
        backfill = self._backfill
        note = encode_note(ChunkNote(backfill.table, backfill.run, chunk.done, backfill.filter is not None))
        if backfill.table == CHECKPOINT_TABLE:
            return self._checkpoint_draft(chunk, note)
        self.counts.chunk_rows += len(chunk.rows.rows)
        wanted = (
            chunk.rows.rows or backfill.filter is not None
        )  # what was asked for by name needs the shape to be missed
        body = self._journal.encode(self._name, [chunk.rows]) if wanted else b""
        self._fit_chunks(len(chunk.rows.rows), len(body))
        return Draft(Kind.CHUNK, "", time.time_ns() // 1000, len(chunk.rows.rows), body, note=note)

    def _checkpoint_draft(self, chunk: Chunk, note: bytes) -> Draft:
        """What the target has carried out when its log is read from a new place: nothing of it comes back any more."""
        mark = units_of(self._identity, self._lineages, chunk.rows)
        if mark is not None:
            after, through = mark
            arrived = through if after >= 0 else -1 - after  # the last unit came only in part (see outbox.as_part)
            mark = (arrived, arrived)
        return Draft(Kind.CHUNK, "", time.time_ns() // 1000, 0, mark=mark, note=note)

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
            backfill = structs.replace(self._backfill, done=chunk.done, last_key=chunk.last_key, rows=rows)
        what = "append" if chunk is None else "chunk"
        reach(f"capture.before-{what}")
        began_at = time.monotonic()
        self._journal.append(self._name, drafts, position, backfill=backfill, is_begun=True)
        reach(f"capture.after-{what}")
        self._stored_at = time.monotonic()
        self._commits.observe(self._stored_at - began_at)
        if position is not None:
            self._idle_position = None
            self._position = position
            reach("capture.before-confirm")
            self._source.confirm(position)
            reach("capture.after-confirm")
        if chunk is not None:
            self._backfill = None
            self.request_backfill()
        return bool(drafts)

    def request_backfill(self) -> None:
        """Ask for the next chunk of the next unfinished copy, unless one is on its way, or the log comes first."""
        if self._backfill is not None or not self._has_read_log():
            return
        waiting = [b for b in self._journal.backfills(self._name) if not (b.done or b.paused)]
        if not waiting:
            return
        backfill = self._backfill = waiting[0]
        if backfill.last_key is None and backfill.filter is None:
            self._backfill = structs.replace(backfill, estimate=self._source.estimate(backfill.table))
        try:
            self._source.request_chunk(backfill.table, backfill.last_key, self._chunk_rows, backfill.filter)
        except NotReady as missing:
            self._wait_for_checkpoint(missing)
            raise
        except FilterRefused as refused:
            raise self._refused(refused) from refused

    def _has_read_log(self) -> bool:
        """Whether the log was read that must come before copies (see `recovery.log_first`)."""
        if self._log_until is not None and self._source.reached(self._log_until):
            recovery.put(self._journal, recovery.log_first(self._name), None)
            self._log_until = None
        return self._log_until is None

    def keep_alive(self) -> None:
        """Tell the source again how far we are: for when nothing is polled (journal full)."""
        self._source.confirm(self._position)

    def close(self) -> None:
        """Let go of the source; an unfinished transaction is read again at the next start."""
        self._source.close()

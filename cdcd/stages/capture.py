"""capture of one source, as a worker drives it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from cdcd import plugins
from cdcd.adapter import LogKeeping, SourceStatus
from cdcd.blueprint import Blueprint
from cdcd.config import parse_size
from cdcd.durations import Durations
from cdcd.errors import CdcdError, NeedsOperator
from cdcd.journal import Journal
from cdcd.report import CaptureFigures, Counter, WorkerState, now_us
from cdcd.stages.stage import identity, no_pulse
from cdcd.state_directory import StateDirectory

if TYPE_CHECKING:
    from cdcd.adapter import Source
    from cdcd.barriers import CaptureBarriers
    from cdcd.capture import Capture

STATUS_SECONDS: Final = 1.0
IDLE_STATUS_SECONDS: Final = 10.0
KEEP_ALIVE_SECONDS: Final = 5.0
ROOM_SECONDS: Final = 1.0
CAPTURE_WAIT_SECONDS: Final = 1.0
KEEPING_SECONDS: Final = 15.0
"""So often the server is asked how long it keeps its log."""


class CaptureStage:
    """capture of one source. Reads nothing while the journal is full, and keeps the source's connection alive meanwhile."""

    def __init__(self, system: str, blueprint: Blueprint, directory: StateDirectory) -> None:
        self.pulse = no_pulse
        self._system = system
        self._blueprint = blueprint
        self._tables = [need for need in blueprint.systems[system].tables if need.captured]
        self._room_bytes = parse_size(blueprint.config.journal.max_size)
        self._journal = Journal(directory.journal)
        self._identity = identity(system, blueprint, directory)
        self._source: Source | None = None
        self._capture: Capture | None = None
        self._barriers: CaptureBarriers | None = None
        self._full = False
        self._looked_at = self._kept_alive_at = self._measured_at = self._asked_at = float("-inf")
        self._active = True
        self._news = False
        self._seen = CaptureFigures()
        self._head: tuple[str, int] | None = None
        """Where the log ended some time ago, and when: until we come there, we are behind."""
        self._commits = Durations()
        self._arrivals = 0
        self._totals = [0, 0, 0]

    def open(self) -> WorkerState:
        """Continue the log where the journal ends."""
        from cdcd.barriers import CaptureBarriers  # noqa: PLC0415
        from cdcd.capture import Capture  # noqa: PLC0415

        system = self._blueprint.systems[self._system]
        adapter = plugins.load(system.reference, extra=system.adapter)
        options = plugins.options(self._blueprint.config, self._blueprint.file, self._system, adapter)
        self._source = adapter.open_source(self._identity, options, self._tables)
        tables = [need.table for need in self._tables]
        self._capture = Capture(self._identity, self._source, self._journal, tables, self._commits)
        self._head = None
        try:
            self._capture.start()
        except NeedsOperator:
            self._look_at_what_is_kept()
            raise
        self._barriers = CaptureBarriers(self._system, self._source, self._journal)
        self._barriers.look()
        self._looked_at = self._asked_at = float("-inf")
        return self.tick()

    def step(self) -> bool:
        """Journal what has arrived. What else comes through the log makes the source's descriptor readable."""
        if self._full:
            return False
        worked = self._started().step()
        self._active = self._active or worked
        assert self._barriers is not None
        self._news = self._barriers.pass_reached() or self._news or worked
        return worked and self._started().may_have_more

    def news(self) -> list[str]:
        """resolve, when something was journalled."""
        found = ["resolve"] if self._news else []
        self._news = False
        return found

    def tick(self) -> WorkerState:
        """Measure the journal, keep the source alive while it is full, ask the server where it is."""
        now = time.monotonic()
        if now - self._measured_at >= ROOM_SECONDS:
            self._measured_at = now
            was_full, self._full = self._full, self._journal.size_bytes() >= self._room_bytes
            if was_full and not self._full:
                self._started().request_backfill()  # one may have been asked for meanwhile
        if self._full and now - self._kept_alive_at >= KEEP_ALIVE_SECONDS:
            self._kept_alive_at = now
            self._started().keep_alive()
        if now - self._looked_at >= (STATUS_SECONDS if self._active else IDLE_STATUS_SECONDS):
            self._looked_at = now
            self._look_at_server()
        if now - self._asked_at >= KEEPING_SECONDS:
            self._asked_at = now
            self._keep(self._opened().log_keeping())
        return "journal-full" if self._full else "running"

    def _look_at_server(self) -> None:
        status = self._opened().status()
        if self._seen.lag_bytes and not status.lag_bytes:
            self._arrivals += 1
        self._active = status.lag_bytes > 0
        moment = now_us()
        caught_up_at_us = self._caught_up(status, moment)
        self._seen = msgspec.structs.replace(
            self._seen,
            head=status.head,
            lag_bytes=status.lag_bytes,
            retained_bytes=status.retained_bytes,
            keeps_up=caught_up_at_us is not None,
            caught_up_at_us=self._seen.caught_up_at_us if caught_up_at_us is None else caught_up_at_us,
            received_at_us=moment,
            heard_at_us=moment - int(status.silent_seconds * 1e6),
        )

    def _caught_up(self, status: SourceStatus, moment_us: int) -> int | None:
        """The moment through which everything has been read, None if that is before the server was last asked.

        A log that other databases write to all the time is never read to its end, but soon to where that was.
        """
        before, self._head = self._head, (status.head, moment_us)
        if not status.lag_bytes:
            return moment_us
        if before is not None and not self._opened().reached(before[0]):
            self._head = before
            return None
        return None if before is None else before[1]

    def _look_at_what_is_kept(self) -> None:
        """Of a log that is not read until a person has acted, as far as the server tells: it may be lost meanwhile."""
        try:
            self._keep(self._opened().log_keeping())
        except CdcdError:
            return  # why it cannot be read on is what a person must see

    def _keep(self, keeping: LogKeeping) -> None:
        self._seen = msgspec.structs.replace(self._seen, keeping=keeping, kept_at_us=now_us())

    def woken(self) -> None:
        """A copy of a table may have been asked for, or a barrier be put up."""
        if not self._full:
            self._started().request_backfill()
        assert self._barriers is not None
        self._barriers.look()

    def arrived(self) -> None:
        """We may be in a long transaction: then what the server last said of our lag is not true any more."""
        self._active = True

    def filenos(self) -> list[int]:
        """The source's, unless we must not read."""
        return [] if self._full else [self._started().fileno()]

    def wait_seconds(self) -> float:
        """Short: an idle log's position is stored about once a second."""
        return CAPTURE_WAIT_SECONDS

    def progress(self) -> int:
        """Transactions and rows taken, and arrivals at the head: those too are news that people wait for."""
        return sum(self._counts()) + self._arrivals

    def position(self) -> str:
        """The source's own word for where we are."""
        return self._capture.position if self._capture is not None else self._journal.position(self._system) or ""

    def figures(self) -> CaptureFigures:
        """What the server last said, and how new the newest journalled transaction is."""
        captured_at_us = self._journal.captured_at_us(self._system) or 0
        return msgspec.structs.replace(self._seen, captured_at_us=captured_at_us)

    def _counts(self) -> list[int]:
        if self._capture is None:
            return self._totals
        now = self._capture.counts
        return [a + b for a, b in zip(self._totals, (now.transactions, now.changes, now.chunk_rows), strict=True)]

    def counters(self) -> list[Counter]:
        """Transactions, changes and copied rows; how long the journal's commits took."""
        names = ("captured_transactions", "captured_changes", "copied_rows")
        counted = [Counter(name, (self._system,), value) for name, value in zip(names, self._counts(), strict=True)]
        return counted + self._commits.counters("capture_commits", self._system)

    def _opened(self) -> Source:
        assert self._source is not None, "used before open"
        return self._source

    def _started(self) -> Capture:
        assert self._capture is not None, "used before open"
        return self._capture

    def close(self) -> None:
        """Disconnect; what was counted stays counted."""
        self._totals = self._counts()
        if self._capture is not None:
            self._capture.close()
        elif self._source is not None:
            self._source.close()
        self._capture = self._source = self._barriers = None

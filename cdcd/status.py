"""What the daemon is doing, as one value: made from the workers' reports and the state directory, shown everywhere.

`cdcd status`, the metrics, the health pages and systemd's status line all read this and nothing else. Without a
daemon the same value is made from the state directory alone (`running` is false then, and workers are "down").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from cdcd import outbox, pause_switches, standby
from cdcd.blueprint import Blueprint, Role
from cdcd.config import parse_size
from cdcd.journal import Journal
from cdcd.outbox import AppliedMark
from cdcd.report import CaptureFigures, Counter, DeliverFigures, ErrorNote, WorkerState, now_us
from cdcd.resolve import suspension
from cdcd.scheduling import deliveries
from cdcd.scheduling.deliveries import Standing
from cdcd.scheduling.owed import owing
from cdcd.state import State
from cdcd.state_directory import StateDirectory

SILENT_SECONDS: Final = 60.0


class WorkerStatus(msgspec.Struct, frozen=True):
    """One process. `moved_at_us`: when it last got anything done. `error` is the last one, over or not."""

    state: WorkerState = "down"
    since_us: int = 0
    pid: int = 0
    restarts: int = 0
    reported_at_us: int = 0
    moved_at_us: int = 0
    position: str = ""
    error: ErrorNote | None = None
    figures: CaptureFigures | DeliverFigures | None = None


class CopyStatus(msgspec.Struct, frozen=True):
    """The copy of one table, initial or by resync. `estimate` is the server's guess of its rows, 0 when unknown."""

    table: str
    rows: int
    done: bool
    estimate: int = 0
    paused: bool = False
    rows_per_second: float = 0.0


class CaptureStatus(msgspec.Struct, frozen=True):
    """From the source's head to the journal. `lag_seconds` is 0 when nothing is ahead of us."""

    worker: WorkerStatus
    position: str
    lag_seconds: float
    lag_bytes: int
    retained_bytes: int
    captured_at_us: int
    copies: tuple[CopyStatus, ...]


class SuspendedStatus(msgspec.Struct, frozen=True):
    """An entity, or the plain copies of a table, that can be read no further than `seq`; `lag_events` wait behind it."""

    subject: str
    seq: int
    lag_events: int
    error: ErrorNote


class ResolveStatus(msgspec.Struct, frozen=True):
    """From the journal to the outbox. `lag_events` are journal entries. `waiting` rows refer to rows that nobody has shown."""

    worker: WorkerStatus
    seq: int
    lag_seconds: float
    lag_events: int
    phases: dict[str, str]
    conflicts: int
    held: int
    suspended: tuple[SuspendedStatus, ...] = ()
    waiting: int = 0
    waiting_since_seq: int | None = None


class DeliverStatus(msgspec.Struct, frozen=True):
    """From the outbox to the target. `lag_events` are writes that wait, `lag_seconds` the age of the oldest.

    `later` is what does not come into the outbox before its time: deliveries with a schedule, owed or held back.
    """

    worker: WorkerStatus
    paused: bool
    applied_unit: int
    lag_seconds: float
    lag_events: int
    waiting_bytes: int
    parked: int
    end_to_end_lag_seconds: float
    later: tuple[Standing, ...] = ()


class SystemStatus(msgspec.Struct, frozen=True):
    """One configured system: what is read from it and what is written to it."""

    adapter: str
    capture: CaptureStatus | None
    deliver: DeliverStatus | None


class JournalStatus(msgspec.Struct, frozen=True):
    """The journal: its newest entry, and how full it is."""

    last_seq: int
    size_bytes: int
    max_bytes: int


class DaemonStatus(msgspec.Struct, frozen=True):
    """The whole daemon at the moment `at_us`. `counters` are totals since the daemon started.

    `standby` says who stands by to take over. `remarks` are sentences about what a person may have forgotten.
    """

    daemon: str
    version: str
    running: bool
    pid: int
    at_us: int
    started_at_us: int
    systems: dict[str, SystemStatus]
    resolve: ResolveStatus
    journal: JournalStatus
    counters: tuple[Counter, ...] = ()
    standby: str = ""
    remarks: tuple[str, ...] = ()

    def workers(self) -> dict[str, WorkerStatus]:
        """Every process, by role."""
        found = {"resolve": self.resolve.worker}
        for name, system in self.systems.items():
            if system.capture is not None:
                found[f"capture:{name}"] = system.capture.worker
            if system.deliver is not None:
                found[f"deliver:{name}"] = system.deliver.worker
        return found

    def backlogs(self) -> dict[str, int]:
        """What each process has before it, in its own unit (bytes, journal entries, writes)."""
        found = {"resolve": self.resolve.lag_events}
        for name, system in self.systems.items():
            if system.capture is not None:
                found[f"capture:{name}"] = system.capture.lag_bytes
            if system.deliver is not None:
                found[f"deliver:{name}"] = system.deliver.lag_events
        return found

    def copying(self) -> bool:
        """Whether the copy of any table is not finished."""
        copies = [copy for s in self.systems.values() if s.capture is not None for copy in s.capture.copies]
        return any(not copy.done for copy in copies)


class Observer:
    """Reads the state directory for status. One thread; the files must exist."""

    def __init__(self, blueprint: Blueprint, directory: StateDirectory) -> None:
        self._directory = directory
        self.journal = Journal(directory.journal)
        self.state = State(directory.state)
        self._marks: dict[str, AppliedMark] = {}
        self.follow(blueprint)

    def follow(self, blueprint: Blueprint) -> None:
        """Observe another configuration from now on; the files stay open."""
        self._blueprint = blueprint
        for name in self._marks.keys() - set(blueprint.targets):
            self._marks.pop(name).close()
        self._marks |= {
            name: AppliedMark(self._directory.path, name) for name in blueprint.targets if name not in self._marks
        }
        self._max_bytes = parse_size(blueprint.config.journal.max_size)
        self.deliveries = deliveries.of_config(blueprint.config)

    def observe(
        self, workers: Mapping[Role, WorkerStatus]
    ) -> tuple[dict[str, SystemStatus], ResolveStatus, JournalStatus]:
        """The systems, resolve and the journal now."""
        now = now_us()
        resolve = self._resolve(workers.get(Role("resolve"), WorkerStatus()), now)
        captures = {
            name: self._capture(name, workers.get(Role("capture", name), WorkerStatus()), now)
            for name in self._blueprint.sources
        }
        upstream_seconds = max([resolve.lag_seconds, *[capture.lag_seconds for capture in captures.values()]])
        controls = self.journal.controls()
        owed = deliveries.owed_by_family(owing(self.state))
        systems = {}
        for name, system in self._blueprint.systems.items():
            deliver = None
            if system.is_target:
                worker = workers.get(Role("deliver", name), WorkerStatus())
                deliver = self._deliver(
                    name, worker, now, upstream_seconds, paused=pause_switches.of_system(name) in controls
                )
                later = deliveries.standings(self.deliveries, name, owed, controls, now)
                deliver = msgspec.structs.replace(deliver, later=later)
            systems[name] = SystemStatus(system.adapter, captures.get(name), deliver)
        journal = JournalStatus(self.journal.last_seq(), self.journal.size_bytes(), self._max_bytes)
        return systems, resolve, journal

    def _capture(self, system: str, worker: WorkerStatus, now: int) -> CaptureStatus:
        figures = worker.figures if isinstance(worker.figures, CaptureFigures) else CaptureFigures()
        captured_at_us = self.journal.captured_at_us(system) or 0
        copies = tuple(
            CopyStatus(copy.table, copy.rows, copy.done, copy.estimate, copy.paused, round(copy.rows_per_second, 1))
            for copy in self.journal.backfills(system)
        )
        return CaptureStatus(
            worker,
            self.journal.position(system) or "",
            capture_lag_seconds(worker, figures, captured_at_us, now),
            figures.lag_bytes,
            figures.retained_bytes,
            captured_at_us,
            copies,
        )

    def _resolve(self, worker: WorkerStatus, now: int) -> ResolveStatus:
        summary = self.state.summary()
        oldest = self.journal.first_after(summary.position)
        waiting = max(0, self.journal.last_seq() - summary.position)
        lag_seconds = 0.0 if oldest is None or not waiting else max(0, now - oldest[1]) / 1e6
        return ResolveStatus(
            worker,
            summary.position,
            lag_seconds,
            waiting,
            summary.phases,
            summary.conflicts,
            summary.held,
            tuple(
                SuspendedStatus(
                    found.subject,
                    found.position,
                    max(0, summary.position - found.position),
                    ErrorNote(found.code, found.what, found.cause, found.remedy, found.since_us),
                )
                for found in suspension.load(self.state).values()
            ),
            summary.waiting,
            summary.waiting_since_seq,
        )

    def _deliver(
        self, system: str, worker: WorkerStatus, now: int, upstream_seconds: float, *, paused: bool
    ) -> DeliverStatus:
        figures = worker.figures if isinstance(worker.figures, DeliverFigures) else DeliverFigures()
        applied = max(figures.applied_unit, self._marks[system].read())
        oldest_us = outbox.oldest_waiting_us(self.state, system, applied)
        writes, size_bytes = outbox.waiting(self.state, system, applied)
        lag_seconds = 0.0 if oldest_us is None else max(0, now - oldest_us) / 1e6
        return DeliverStatus(
            worker, paused, applied, lag_seconds, writes, size_bytes, figures.parked, max(lag_seconds, upstream_seconds)
        )

    def close(self) -> None:
        """Close the files."""
        self.journal.close()
        self.state.close()
        for mark in self._marks.values():
            mark.close()


def capture_lag_seconds(worker: WorkerStatus, figures: CaptureFigures, captured_at_us: int, now: int) -> float:
    """How far the journal is behind the source: 0 when the server lately said that nothing is ahead of us.

    Else the age of the newest transaction journalled, or of the moment we last were at the head, whichever is newer.
    """
    heard_seconds = (now - figures.received_at_us) / 1e6
    if (
        worker.state == "running"
        and figures.received_at_us
        and figures.lag_bytes == 0
        and heard_seconds < SILENT_SECONDS
    ):
        return 0.0
    known_at_us = max(captured_at_us, figures.caught_up_at_us)
    return max(0, now - known_at_us) / 1e6 if known_at_us else 0.0


def offline(blueprint: Blueprint, directory: StateDirectory, version: str) -> DaemonStatus:
    """The status while no daemon runs. Only for a state directory that a daemon has used before."""
    observer = Observer(blueprint, directory)
    try:
        systems, resolve, journal = observer.observe({})
    finally:
        observer.close()
    name = blueprint.config.daemon.name
    found = DaemonStatus(name, version, False, 0, now_us(), 0, systems, resolve, journal)
    return msgspec.structs.replace(found, standby=standby.waiting(directory))

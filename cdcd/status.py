"""What the daemon is doing, as one value: made from the workers' reports and the state directory, shown everywhere.

`cdcd status`, the metrics, the health pages and systemd's status line all read this and nothing else. Without a
daemon the same value is made from the state directory alone (`running` is false then, and workers are "down").
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from cdcd import pause_switches, standby
from cdcd.blueprint import Blueprint, Role
from cdcd.config import parse_size
from cdcd.costly_count import CostlyCount
from cdcd.errors import CdcdError
from cdcd.journal import Journal
from cdcd.outbox import AppliedMark
from cdcd.outbox_backlog import OutboxBacklog
from cdcd.report import CaptureFigures, Counter, DeliverFigures, ErrorNote, WorkerState, now_us
from cdcd.resolve import suspension
from cdcd.scheduling import deliveries
from cdcd.scheduling.deliveries import Standing
from cdcd.scheduling.owed import owing
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.verifying import results as verifying
from cdcd.verifying import timetable

SILENT_SECONDS: Final = 60.0


class WorkerStatus(msgspec.Struct, frozen=True):
    """One process. `moved_at_us`: when it last got anything done. `error` is the last one, over or not.

    `waiting_since_us`: see `report.Report`.
    """

    state: WorkerState = "down"
    since_us: int = 0
    pid: int = 0
    restarts: int = 0
    reported_at_us: int = 0
    moved_at_us: int = 0
    position: str = ""
    error: ErrorNote | None = None
    figures: CaptureFigures | DeliverFigures | None = None
    waiting_since_us: int = 0


class CopyStatus(msgspec.Struct, frozen=True):
    """The copy of one table, initial or by resync. `estimate` is the server's guess of its rows, 0 when unknown."""

    table: str
    rows: int
    done: bool
    estimate: int = 0
    paused: bool = False
    rows_per_second: float = 0.0


class SourceLogStatus(msgspec.Struct, frozen=True):
    """The source's log as its server keeps it, and the server's clock. None: not known (yet).

    `heard_at_us`: when anything last came from the log, be it a keep-alive. `headroom_ratio`: 1 when all of what the
    server keeps is still free, 0 when what we have not read is about to be removed; None also where nothing is ever
    removed. `purge_seconds`: until the server may remove, for its age, what we have not read; None with `never_purged`:
    it removes nothing for its age. `slot_state`: "" where a server has no slots.
    """

    heard_at_us: int = 0
    slot_state: str = ""
    headroom_ratio: float | None = None
    purge_seconds: float | None = None
    never_purged: bool = False
    clock_offset_seconds: float | None = None


class CaptureStatus(msgspec.Struct, frozen=True):
    """From the source's head to the journal. `lag_seconds` is 0 when nothing is ahead of us."""

    worker: WorkerStatus
    position: str
    lag_seconds: float
    lag_bytes: int
    retained_bytes: int
    captured_at_us: int
    copies: tuple[CopyStatus, ...]
    log: SourceLogStatus = SourceLogStatus()


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
    conflicts_by_entity: dict[str, int] = {}


class DeliverStatus(msgspec.Struct, frozen=True):
    """From the outbox to the target. `lag_events` are writes that wait, `lag_seconds` the age of the oldest.

    `end_to_end_lag_events` are these and the journal entries that are not resolved. `oldest_at_us`: commit time of the
    oldest write that waits, 0 when none does. `later` is what does not come into the outbox before its time: deliveries
    with a schedule, owed or held back.
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
    end_to_end_lag_events: int = 0
    oldest_at_us: int = 0
    parked_by_entity: dict[str, int] = {}
    paused_since_us: int = 0


class SystemStatus(msgspec.Struct, frozen=True):
    """One configured system: what is read from it and what is written to it."""

    adapter: str
    capture: CaptureStatus | None
    deliver: DeliverStatus | None


class JournalStatus(msgspec.Struct, frozen=True):
    """The journal: its newest entry, and how full it is.

    `entries` are those from the oldest that is kept to the newest. Of the oldest, and of the oldest that is not resolved,
    it says when they were captured; 0: there is none.
    """

    last_seq: int
    size_bytes: int
    max_bytes: int
    entries: int = 0
    oldest_at_us: int = 0
    oldest_unresolved_at_us: int = 0


class DirectoryStatus(msgspec.Struct, frozen=True):
    """The state directory: what our files take, and what its file system still has for us."""

    size_bytes: int = 0
    free_bytes: int = 0


class DriftStatus(msgspec.Struct, frozen=True):
    """What the last finished verification of an entity (or of plain copies, SYSTEM:TABLE) in one system found.

    `in_step_at_us`: when one last found every record in step, 0 where none has.
    """

    system: str
    entity: str
    missing: int = 0
    different: int = 0
    surplus: int = 0
    verified_at_us: int = 0
    in_step_at_us: int = 0


def drift_of(standings: Iterable[verifying.Standing]) -> tuple[DriftStatus, ...]:
    """As it is shown."""
    return tuple(
        DriftStatus(s.system, s.subject, s.missing, s.different, s.surplus, s.last_run_at_us, s.last_success_at_us)
        for s in standings
    )


class DaemonStatus(msgspec.Struct, frozen=True):
    """The whole daemon at the moment `at_us`. `counters` are totals since the daemon started.

    `standby` says who stands by to take over. `remarks` are sentences about what a person may have forgotten. `drift` is
    what verifications of all records have found last; `verify_due_us`, by entity that has a schedule for it, when the next
    one was or is to begin.
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
    directory: DirectoryStatus = DirectoryStatus()
    drift: tuple[DriftStatus, ...] = ()
    verify_due_us: dict[str, int] = {}

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
        self._backlogs: dict[str, OutboxBacklog] = {}
        self._summary = CostlyCount(self.state.summary)
        self._verified = CostlyCount(self._read_verified)
        self.follow(blueprint)

    def follow(self, blueprint: Blueprint) -> None:
        """Observe another configuration from now on; the files stay open."""
        self._blueprint = blueprint
        for name in self._marks.keys() - set(blueprint.targets):
            self._marks.pop(name).close()
        self._marks |= {
            name: AppliedMark(self._directory.path, name) for name in blueprint.targets if name not in self._marks
        }
        self._backlogs = {
            name: self._backlogs.get(name) or OutboxBacklog(self.state, name) for name in blueprint.targets
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
                    name, worker, now, upstream_seconds, controls.get(pause_switches.of_system(name))
                )
                later = deliveries.standings(self.deliveries, name, owed, controls, now)
                behind_events = resolve.lag_events + deliver.lag_events
                deliver = msgspec.structs.replace(deliver, later=later, end_to_end_lag_events=behind_events)
            systems[name] = SystemStatus(system.adapter, captures.get(name), deliver)
        return systems, resolve, self._journal_status(resolve.seq)

    def _journal_status(self, resolved_seq: int) -> JournalStatus:
        last_seq = self.journal.last_seq()
        oldest, unresolved = self.journal.first_after(0), self.journal.first_after(resolved_seq)
        return JournalStatus(
            last_seq,
            self.journal.size_bytes(),
            self._max_bytes,
            0 if oldest is None else last_seq - oldest[0] + 1,
            0 if oldest is None else oldest[2],
            0 if unresolved is None else unresolved[2],
        )

    def verified(self) -> tuple[tuple[DriftStatus, ...], dict[str, int]]:
        """How everything stands that was verified, read again when its file has changed; when entities are due."""
        path = verifying.path_in(self._directory.path)
        files = (path, path.with_name(path.name + "-wal"))
        known = self._verified.value(tuple(file.stat().st_mtime_ns for file in files if file.exists()))
        if known is None:
            return (), {}
        return drift_of(known.standings), timetable.due_us(self._blueprint.config, known.considered_us, now_us())

    def _read_verified(self) -> verifying.Known | None:
        try:
            return verifying.known(self._directory.path)
        except CdcdError:  # of another version, or damaged: that must not hide everything else
            return None

    def directory_status(self) -> DirectoryStatus:
        """The state directory now; all zero where it cannot be looked at."""
        try:
            found = os.statvfs(self._directory.path)
            with os.scandir(self._directory.path) as files:
                size_bytes = sum(file.stat(follow_symlinks=False).st_blocks * 512 for file in files)
        except OSError:  # a file was removed meanwhile; or the disk fails, which others say
            return DirectoryStatus()
        return DirectoryStatus(size_bytes, found.f_bavail * found.f_frsize)

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
            source_log_status(figures, captured_at_us, now),
        )

    def _resolve(self, worker: WorkerStatus, now: int) -> ResolveStatus:
        summary = self._summary.value(self.state.version)
        position = self.state.position
        oldest = self.journal.first_after(position)
        waiting = max(0, self.journal.last_seq() - position)
        lag_seconds = 0.0 if oldest is None or not waiting else max(0, now - oldest[1]) / 1e6
        return ResolveStatus(
            worker,
            position,
            lag_seconds,
            waiting,
            summary.phases,
            summary.conflicts,
            summary.held,
            tuple(
                SuspendedStatus(
                    found.subject,
                    found.position,
                    max(0, position - found.position),
                    ErrorNote(found.code, found.what, found.cause, found.remedy, found.since_us),
                )
                for found in suspension.load(self.state).values()
            ),
            summary.waiting,
            summary.waiting_since_seq,
            summary.conflicts_by_entity,
        )

    def _deliver(
        self, system: str, worker: WorkerStatus, now: int, upstream_seconds: float, paused: str | None
    ) -> DeliverStatus:
        figures = worker.figures if isinstance(worker.figures, DeliverFigures) else DeliverFigures()
        applied = max(figures.applied_unit, self._marks[system].read())
        waiting = self._backlogs[system].look(applied)
        lag_seconds = 0.0 if waiting.oldest_us is None else max(0, now - waiting.oldest_us) / 1e6
        return DeliverStatus(
            worker,
            paused is not None,
            applied,
            lag_seconds,
            waiting.writes,
            waiting.size_bytes,
            figures.parked,
            max(lag_seconds, upstream_seconds),
            oldest_at_us=waiting.oldest_us or 0,
            parked_by_entity=dict.fromkeys(self._blueprint.systems[system].told_of, 0) | figures.parked_by_entity,
            paused_since_us=int(paused) if paused is not None and paused.isdecimal() else 0,
        )

    def close(self) -> None:
        """Close the files."""
        self.journal.close()
        self.state.close()
        for mark in self._marks.values():
            mark.close()


def capture_lag_seconds(worker: WorkerStatus, figures: CaptureFigures, captured_at_us: int, now: int) -> float:
    """How far the journal is behind the source: 0 when the server lately said that nothing is ahead of us.

    So it is when everything has been read that was ahead of us the time before: other databases may write all the time.
    Else the age of the newest transaction journalled, or of the moment we last were at the head, whichever is newer.
    """
    heard_seconds = (now - figures.received_at_us) / 1e6
    is_ahead = figures.lag_bytes > 0 and not figures.keeps_up
    if worker.state == "running" and figures.received_at_us and not is_ahead and heard_seconds < SILENT_SECONDS:
        return 0.0
    known_at_us = max(captured_at_us, figures.caught_up_at_us)
    return max(0, now - known_at_us) / 1e6 if known_at_us else 0.0


def source_log_status(figures: CaptureFigures, captured_at_us: int, now: int) -> SourceLogStatus:
    """What was last said of the source's log, as far as it holds now: the time until it is purged goes on running out."""
    keeping = figures.keeping
    purge_seconds = None
    if keeping.purge_seconds is not None:
        purge_seconds = max(0.0, keeping.purge_seconds - (now - figures.kept_at_us) / 1e6)
    ratios = [] if keeping.free_ratio is None else [keeping.free_ratio]
    if purge_seconds is not None and keeping.keep_seconds:
        ratios.append(purge_seconds / keeping.keep_seconds)
    return SourceLogStatus(
        figures.heard_at_us or captured_at_us,
        keeping.slot_state,
        min(1.0, *ratios, 1.0) if ratios else None,
        purge_seconds,
        keeping.keep_seconds == 0,
        keeping.clock_offset_seconds,
    )


def offline(blueprint: Blueprint, directory: StateDirectory, version: str) -> DaemonStatus:
    """The status while no daemon runs. Only for a state directory that a daemon has used before."""
    observer = Observer(blueprint, directory)
    try:
        systems, resolve, journal = observer.observe({})
        size, (drift, due_us) = observer.directory_status(), observer.verified()
    finally:
        observer.close()
    name = blueprint.config.daemon.name
    found = DaemonStatus(name, version, False, 0, now_us(), 0, systems, resolve, journal)
    return msgspec.structs.replace(
        found, standby=standby.waiting(directory), directory=size, drift=drift, verify_due_us=due_us
    )

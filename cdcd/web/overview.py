"""Everything that the status page shows, as words and figures: made from what is known, purely. Templates only lay it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from cdcd.notices.occurrences import Occurrence
from cdcd.notices.sight import Limits
from cdcd.report import WorkerState
from cdcd.scheduling.deliveries import Standing as Later
from cdcd.status import CaptureStatus, CopyStatus, DaemonStatus, DeliverStatus, WorkerStatus
from cdcd.verifying.results import Comparison, Run, Standing
from cdcd.web import sparkline, wording
from cdcd.web.records import Records
from cdcd.web.samples import History
from cdcd.web.sparkline import Sparkline
from cdcd.web.verdict import Verdict, judge

Tone: TypeAlias = Literal["well", "info", "warning", "critical"]
WINDOW_US_MIN: Final = 120_000_000
"""The lines of a daemon that has only just started are not drawn wider than that."""
LAG_FLOOR_SECONDS: Final = 2.0
"""A lag below it does not look like a mountain."""
_TONES: Final[dict[WorkerState, Tone]] = {
    "running": "well",
    "starting": "info",
    "paused": "info",
    "retrying": "warning",
    "outbox-full": "warning",
    "down": "critical",
    "stopped": "critical",
    "journal-full": "critical",
}
_DECISIONS: Final = 6


class Sources(msgspec.Struct, frozen=True):
    """What an overview is made from, beside the status. `unreadable` is what could not be read, in sentences."""

    history: History = History()
    records: Records = Records()
    events: tuple[Occurrence, ...] = ()
    runs: tuple[Run, ...] = ()
    standings: tuple[Standing, ...] = ()
    unreadable: tuple[str, ...] = ()
    limits: Limits = Limits()


class Lane(msgspec.Struct, frozen=True):
    """One stage of one system: it is read, written to, or (of no system) decided for."""

    system: str
    adapter: str
    direction: Literal["read", "decide", "write"]
    state: str
    tone: Tone
    lag: str
    spark: Sparkline
    peak: str
    rate: str
    waiting: str
    note: str = ""
    is_paused: bool = False


class Process(msgspec.Struct, frozen=True):
    """A worker process in detail."""

    role: str
    pid: int
    state: str
    since: str
    moved: str
    restarts: int
    position: str
    error: str


class Queue(msgspec.Struct, frozen=True):
    """Something that waits somewhere. `share` of its room, where that is bounded."""

    name: str
    figure: str
    note: str
    share: float | None = None
    tone: Tone = "well"


class Progress(msgspec.Struct, frozen=True):
    """A copy or a comparison under way. `share` is None where nobody knows how much there is."""

    kind: str
    what: str
    rows: str
    share: float | None
    rate: str
    rest: str


class EntityRow(msgspec.Struct, frozen=True):
    """An entity. `decisions` are those about changes since the daemon started, the most frequent first."""

    name: str
    phase: str
    tone: Tone
    records: str
    decisions: tuple[tuple[str, str], ...]
    parked: int
    conflicts: int


class ScheduleRow(msgspec.Struct, frozen=True):
    """A delivery that is not in real time, or is held back."""

    entity: str
    system: str
    schedule: str
    owed: str
    next: str
    is_held: bool


class EventRow(msgspec.Struct, frozen=True):
    """Something that happened. `lasted` is "ongoing" while it does, empty for a moment."""

    at_us: int
    when: str
    ago: str
    severity: Tone
    text: str
    lasted: str
    next: str


class VerificationRow(msgspec.Struct, frozen=True):
    """What the last complete comparison of an entity in a system found."""

    subject: str
    system: str
    ago: str
    result: str
    tone: Tone
    records: str


class Overview(msgspec.Struct, frozen=True):
    """The page."""

    daemon: str
    version: str
    up: str
    at_us: int
    clock: str
    zone: str
    standby: str
    verdict: Verdict
    window: str
    lanes: tuple[Lane, ...]
    processes: tuple[Process, ...]
    queues: tuple[Queue, ...]
    progress: tuple[Progress, ...]
    entities: tuple[EntityRow, ...]
    schedules: tuple[ScheduleRow, ...]
    events: tuple[EventRow, ...]
    verification: tuple[VerificationRow, ...]
    records: Records
    unreadable: tuple[str, ...]


def make(status: DaemonStatus, sources: Sources) -> Overview:
    """The overview at the moment of the status."""
    now = status.at_us
    return Overview(
        status.daemon,
        status.version,
        wording.duration((now - status.started_at_us) / 1e6),
        now,
        f"{wording.moment(now):%H:%M:%S}",
        f"{wording.moment(now):%Z}",
        status.standby,
        judge(status, sources.limits),
        wording.duration(_window_us(sources.history) / 1e6),
        tuple(_lanes(status, sources.history)),
        tuple(_process(role, worker, now) for role, worker in status.workers().items()),
        tuple(_queues(status)),
        tuple(_progress(status, sources.runs)),
        tuple(_entities(status, sources.records)),
        tuple(_schedules(status)),
        tuple(_event(found, now) for found in sources.events),
        tuple(_verified(standing, now) for standing in sources.standings),
        sources.records,
        sources.unreadable,
    )


# ---- systems -----------------------------------------------------------------------------------------------------


def _lanes(status: DaemonStatus, history: History) -> Iterator[Lane]:
    for name, system in status.systems.items():
        if system.capture is not None:
            yield _reading(name, system.adapter, system.capture, history)
    resolve = status.resolve
    yield Lane(
        "",
        "",
        "decide",
        *_state(resolve.worker),
        wording.duration(resolve.lag_seconds),
        *_spark("resolve", history),
        wording.rate(history.per_second("resolve.rows")),
        wording.counted(resolve.lag_events, "entry", "entries"),
    )
    for name, system in status.systems.items():
        if system.deliver is not None:
            yield _writing(name, system.adapter, system.deliver, history)


def _reading(name: str, adapter: str, capture: CaptureStatus, history: History) -> Lane:
    role = f"capture:{name}"
    return Lane(
        name,
        adapter,
        "read",
        *_state(capture.worker),
        wording.duration(capture.lag_seconds),
        *_spark(role, history),
        wording.rate(history.per_second(f"{role}.rows")),
        wording.size(capture.lag_bytes),
        _headroom(capture),
    )


def _headroom(capture: CaptureStatus) -> str:
    """How long what is not read yet will be there."""
    log = capture.log
    if log.slot_state and log.slot_state != "reserved":
        return f"slot {log.slot_state}"
    if log.purge_seconds is not None:
        return f"log kept for {wording.duration(max(0.0, log.purge_seconds))} more"
    return "" if log.headroom_ratio is None else f"log room {log.headroom_ratio:.0%} free"


def _writing(name: str, adapter: str, deliver: DeliverStatus, history: History) -> Lane:
    role = f"deliver:{name}"
    state, tone = _state(deliver.worker)
    if deliver.paused:
        state, tone = "paused", "info"
    return Lane(
        name,
        adapter,
        "write",
        state,
        tone,
        wording.duration(deliver.end_to_end_lag_seconds),
        *_spark(role, history),
        wording.rate(history.per_second(f"{role}.rows")),
        wording.counted(deliver.lag_events, "write"),
        f"{deliver.parked:,} parked" if deliver.parked else "",
        deliver.paused,
    )


def _state(worker: WorkerStatus) -> tuple[str, Tone]:
    return worker.state.replace("-", " "), _TONES[worker.state]


def _window_us(history: History) -> int:
    """How far back the lines reach."""
    return max(WINDOW_US_MIN, history.at_us[-1] - history.at_us[0]) if history.at_us else WINDOW_US_MIN


def _spark(role: str, history: History) -> tuple[Sparkline, str]:
    values = history.values(f"{role}.lag_seconds")
    drawn = sparkline.draw(history.at_us, values, _window_us(history), LAG_FLOOR_SECONDS)
    return drawn, wording.duration(drawn.peak)


def _process(role: str, worker: WorkerStatus, now: int) -> Process:
    error = ""
    if worker.error is not None:
        over = ", over" if worker.state in ("running", "paused") else ""
        error = f"{worker.error.what} [{worker.error.code}], {wording.ago(worker.error.at_us, now)}{over}"
    return Process(
        role,
        worker.pid,
        worker.state,
        wording.ago(worker.since_us, now),
        wording.ago(worker.moved_at_us, now),
        worker.restarts,
        worker.position,
        error,
    )


# ---- queues and progress -----------------------------------------------------------------------------------------


def _queues(status: DaemonStatus) -> Iterator[Queue]:
    journal = status.journal
    share = journal.size_bytes / journal.max_bytes if journal.max_bytes else 0.0
    room = f"of {wording.size(journal.max_bytes)}, entry {journal.last_seq:,}"
    tone: Tone = "critical" if share >= 1 else "warning" if share >= 0.8 else "well"
    yield Queue("Journal", wording.size(journal.size_bytes), room, min(share, 1.0), tone)
    for name, system in status.systems.items():
        if system.deliver is not None:
            deliver = system.deliver
            oldest = f", the oldest for {wording.duration(deliver.lag_seconds)}" if deliver.lag_events else ""
            note = f"{wording.size(deliver.waiting_bytes)}{oldest}"
            yield Queue(f"For {name}", wording.counted(deliver.lag_events, "write"), note)
            owed = sum(later.records for later in deliver.later)
            if owed:
                note = "told by schedule, or held back"
                yield Queue(f"Owed to {name}", wording.counted(owed, "record"), note)
    resolve = status.resolve
    if resolve.waiting:
        note = "they refer to rows that nobody has shown"
        yield Queue("Waiting", wording.counted(resolve.waiting, "row"), note)
    if resolve.held:
        yield Queue("Held", wording.counted(resolve.held, "row"), "could not be understood", tone="warning")
    if status.directory.size_bytes:
        free = f"{wording.size(status.directory.free_bytes)} free on its disk"
        yield Queue("State", wording.size(status.directory.size_bytes), free)


def _progress(status: DaemonStatus, runs: Sequence[Run]) -> Iterator[Progress]:
    first = any(phase == "seeding" for phase in status.resolve.phases.values())
    for name, system in status.systems.items():
        for copy in system.capture.copies if system.capture is not None else ():
            if not copy.done:
                yield _copying("first copy" if first else "resync", name, copy)
    for run in runs:
        for comparison in run.comparisons:
            if run.state in ("waiting", "running") and not comparison.is_over:
                yield _comparing(run, comparison)


def _copying(kind: str, system: str, copy: CopyStatus) -> Progress:
    return _progress_of(kind, f"{system}: {copy.table}", copy.rows, copy.estimate, copy.rows_per_second, copy.paused)


def _comparing(run: Run, comparison: Comparison) -> Progress:
    what = f"{comparison.subject} in {comparison.system}"
    return _progress_of(
        "verification", what, comparison.rows, comparison.estimate, comparison.rows_per_second, run.paused
    )


def _progress_of(kind: str, what: str, rows: int, estimate: int, per_second: float, paused: bool) -> Progress:
    left = max(0, estimate - rows)
    rest = f"about {wording.duration(left / per_second)} left" if left and per_second >= 1 else ""
    share = None if not estimate else min(1.0, rows / estimate)
    of = f" of about {estimate:,}" if estimate else ""
    rate = f"{per_second:,.0f} rows/s" if per_second else ""
    return Progress(kind, what, f"{rows:,}{of} rows", share, rate, "paused" if paused else rest)


# ---- entities, schedules, events, verification -------------------------------------------------------------------


def _entities(status: DaemonStatus, records: Records) -> Iterator[EntityRow]:
    resolve = status.resolve
    suspended = {found.subject for found in resolve.suspended}
    decided = _decided(status)
    parked: dict[str, int] = {}
    for group in records.parked_groups:
        parked[group.entity] = parked.get(group.entity, 0) + group.count
    conflicts: dict[str, int] = {}
    for found in records.conflict_groups:
        conflicts[found.entity] = conflicts.get(found.entity, 0) + found.count
    for name, phase in sorted(resolve.phases.items()):
        tone: Tone = "critical" if name in suspended else "well" if phase == "live" else "info"
        words = "suspended" if name in suspended else "settled" if phase == "live" else "first copy"
        count, complete = records.counts.get(name, (None, False))
        shown = "" if count is None else f"{count:,}" if complete else f"over {count:,}"
        decisions = sorted(decided.get(name, {}).items(), key=lambda item: -item[1])[:_DECISIONS]
        listed = tuple((decision, f"{number:,}") for decision, number in decisions)
        yield EntityRow(name, words, tone, shown, listed, parked.get(name, 0), conflicts.get(name, 0))


def _decided(status: DaemonStatus) -> dict[str, dict[str, int]]:
    """Changes by entity and decision."""
    found: dict[str, dict[str, int]] = {}
    for counter in status.counters:
        if counter.name == "resolved_changes":
            _, entity, decision = counter.labels
            of = found.setdefault(entity, {})
            of[decision] = of.get(decision, 0) + counter.value
    return found


def _schedules(status: DaemonStatus) -> Iterator[ScheduleRow]:
    for system, found in status.systems.items():
        for later in found.deliver.later if found.deliver is not None else ():
            since = (
                f", the first for {wording.duration((status.at_us - later.since_us) / 1e6)}" if later.records else ""
            )
            owed = f"{wording.counted(later.records, 'record')}{since}" if later.records else "nothing"
            yield ScheduleRow(
                later.entity, system, later.schedule, owed, _next_run(later, status.at_us), bool(later.reason)
            )


def _next_run(later: Later, now: int) -> str:
    if later.held:
        return f"held back: {later.reason}" if later.reason else "paused"
    if later.behind:
        return "when the target has caught up"
    if later.open:
        return "now" + (f", {later.left:,} to go" if later.left else "")
    if later.next_run_us is None:
        return "on demand" if later.schedule == "on-demand" else "at once"
    return f"{wording.clock(later.next_run_us, now)}, {wording.until(later.next_run_us, now)}"


def _event(found: Occurrence, now: int) -> EventRow:
    ended = found.ended_at_us
    lasted = (
        "" if ended == found.at_us else "ongoing" if ended is None else wording.duration((ended - found.at_us) / 1e6)
    )
    return EventRow(
        found.at_us,
        wording.clock(found.at_us, now),
        wording.ago(found.at_us, now),
        found.severity,
        found.text,
        lasted,
        found.next if ended is None else "",
    )


def _verified(standing: Standing, now: int) -> VerificationRow:
    parts = [f"{count:,} {kind}" for kind, count in standing.drift.items() if count]
    return VerificationRow(
        standing.subject,
        standing.system,
        wording.ago(standing.last_run_at_us, now),
        ", ".join(parts) or "in step",
        "warning" if parts else "well",
        wording.counted(standing.records, "record"),
    )

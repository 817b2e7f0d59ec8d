"""The three loops as a worker drives them: opened, stepped, waited for, reported on, closed and opened again.

The engine's classes (`capture`, `resolve`, `deliver`) take steps and know nothing of processes; this is where they
meet files, adapters and switches. Each import happens in the stage that needs it, so that a worker stays small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from cdcd import plugins
from cdcd.adapter import Identity
from cdcd.blueprint import Blueprint, Role
from cdcd.config import parse_size
from cdcd.errors import CdcdError
from cdcd.journal import Journal
from cdcd.outbox import AppliedMark
from cdcd.parked import ParkedRecords
from cdcd.report import CaptureFigures, Counter, DeliverFigures, ResolveFigures, WorkerState, now_us
from cdcd.state import State
from cdcd.state_directory import StateDirectory

if TYPE_CHECKING:
    from cdcd.adapter import Source, Target
    from cdcd.capture import Capture
    from cdcd.deliver import Deliverer
    from cdcd.resolve.resolver import Resolver

STATUS_SECONDS: Final = 1.0
IDLE_STATUS_SECONDS: Final = 10.0
KEEP_ALIVE_SECONDS: Final = 5.0
ROOM_SECONDS: Final = 1.0
CAPTURE_WAIT_SECONDS: Final = 1.0
WAIT_SECONDS: Final = 10.0
_DELIVER_COUNTERS: Final = {
    "transactions": "applied_transactions",
    "parked": "parked_records",
    "waiting": "waiting_changes",
    "retries": "parked_retries",
}


def _no_pulse() -> None:
    """Nobody listens."""


class Stage(Protocol):
    """One loop. Lifecycle: (`open` · (`step` | `tick` | `woken`)* · `close`)*, all in one thread.

    A step may take minutes (a transaction of a million rows): on its way it calls `pulse` every moment.
    """

    pulse: Callable[[], None]

    def open(self) -> WorkerState:
        """Connect and start; return the state that was reached. Raises whatever the engine and adapters raise."""
        ...

    def step(self) -> bool:
        """Do one unit of work; return whether there may be more at once."""
        ...

    def news(self) -> list[str]:
        """The roles that have got work from us since the last call."""
        ...

    def tick(self) -> WorkerState:
        """What is due by time, asked between steps; returns the present state."""
        ...

    def woken(self) -> None:
        """Our bell rang."""
        ...

    def arrived(self) -> None:
        """One of `filenos` became readable."""
        ...

    def filenos(self) -> list[int]:
        """What else to wait for."""
        ...

    def wait_seconds(self) -> float:
        """How long to wait at most when there is nothing to do."""
        ...

    def progress(self) -> int:
        """A number that grows with everything done since the process started."""
        ...

    def position(self) -> str:
        """How far we are, for people."""
        ...

    def figures(self) -> CaptureFigures | ResolveFigures | DeliverFigures:
        """Numbers for the report."""
        ...

    def counters(self) -> list[Counter]:
        """Totals since the process started."""
        ...

    def close(self) -> None:
        """Let go of everything `open` took. Safe to repeat."""
        ...


def pause_switch(system: str) -> str:
    """The journal's control that stops delivery to a system."""
    return f"pause:{system}"


def build(role: Role, blueprint: Blueprint, directory: StateDirectory) -> Stage:
    """The stage of a role."""
    if role.stage == "capture":
        return CaptureStage(role.system, blueprint, directory)
    if role.stage == "deliver":
        return DeliverStage(role.system, blueprint, directory)
    return ResolveStage(blueprint, directory)


class CaptureStage:
    """capture of one source. Reads nothing while the journal is full, and keeps the source's connection alive meanwhile."""

    def __init__(self, system: str, blueprint: Blueprint, directory: StateDirectory) -> None:
        self.pulse = _no_pulse
        self._system = system
        self._blueprint = blueprint
        self._tables = [need for need in blueprint.systems[system].tables if need.captured]
        self._room_bytes = parse_size(blueprint.config.journal.max_size)
        self._journal = Journal(directory.journal)
        self._identity = _identity(system, blueprint, directory)
        self._source: Source | None = None
        self._capture: Capture | None = None
        self._full = False
        self._looked_at = self._kept_alive_at = self._measured_at = float("-inf")
        self._active = True
        self._news = False
        self._seen = CaptureFigures()
        self._arrivals = 0
        self._totals = [0, 0, 0]

    def open(self) -> WorkerState:
        """Continue the log where the journal ends."""
        from cdcd.capture import Capture  # noqa: PLC0415

        system = self._blueprint.systems[self._system]
        adapter = plugins.load(system.reference, extra=system.adapter)
        options = plugins.options(self._blueprint.config, self._blueprint.file, self._system, adapter)
        self._source = adapter.open_source(self._identity, options, self._tables)
        tables = [need.table for need in self._tables]
        self._capture = Capture(self._identity, self._source, self._journal, tables)
        self._capture.start()
        self._looked_at = float("-inf")
        return self.tick()

    def step(self) -> bool:
        """Journal what has arrived."""
        if self._full:
            return False
        worked = self._started().step()
        self._active = self._active or worked
        self._news = self._news or worked
        return worked

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
        return "journal-full" if self._full else "running"

    def _look_at_server(self) -> None:
        assert self._source is not None
        status = self._source.status()
        if self._seen.lag_bytes and not status.lag_bytes:
            self._arrivals += 1
        self._active = status.lag_bytes > 0
        moment = now_us()
        self._seen = CaptureFigures(
            head=status.head,
            lag_bytes=status.lag_bytes,
            retained_bytes=status.retained_bytes,
            caught_up_at_us=self._seen.caught_up_at_us if self._active else moment,
            received_at_us=moment,
        )

    def woken(self) -> None:
        """A copy of a table may have been asked for."""
        if not self._full:
            self._started().request_backfill()

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
        seen = self._seen
        return CaptureFigures(
            seen.head,
            seen.lag_bytes,
            seen.retained_bytes,
            self._journal.captured_at_us(self._system) or 0,
            seen.caught_up_at_us,
            seen.received_at_us,
        )

    def _counts(self) -> list[int]:
        if self._capture is None:
            return self._totals
        now = self._capture.counts
        return [a + b for a, b in zip(self._totals, (now.transactions, now.changes, now.chunk_rows), strict=True)]

    def counters(self) -> list[Counter]:
        """Transactions, changes and copied rows."""
        names = ("captured_transactions", "captured_changes", "copied_rows")
        return [Counter(name, (self._system,), value) for name, value in zip(names, self._counts(), strict=True)]

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
        self._capture = self._source = None


class ResolveStage:
    """resolve. It needs no server."""

    def __init__(self, blueprint: Blueprint, directory: StateDirectory) -> None:
        self.pulse = _no_pulse
        self._plan = blueprint.plan()
        self._path = directory.state
        self._journal = Journal(directory.journal)
        self._applied = {name: AppliedMark(directory.path, name) for name in blueprint.targets}
        self._resolver: Resolver | None = None
        self._position = 0
        self._totals: dict[tuple[str, ...], int] = {}

    def open(self) -> WorkerState:
        """Continue at the state's position."""
        from cdcd.resolve.resolver import Resolver  # noqa: PLC0415

        self._resolver = Resolver(self._plan, self._journal, State(self._path), self._applied, self.pulse)
        self._resolver.start()
        return "running"

    def step(self) -> bool:
        """One commit's worth of the journal."""
        assert self._resolver is not None, "used before open"
        return self._resolver.step()

    def news(self) -> list[str]:
        """The deliveries of targets that were given units; the captures of tables that the start wants copied anew."""
        if self._resolver is None or not (self._resolver.news or self._resolver.copies_asked_of):
            return []
        found = [str(Role("deliver", target)) for target in self._resolver.news]
        found += [str(Role("capture", system)) for system in self._resolver.copies_asked_of]
        self._resolver.news.clear()
        self._resolver.copies_asked_of = frozenset()
        return found

    def tick(self) -> WorkerState:
        """Nothing is due by time."""
        return "running"

    def woken(self) -> None:
        """The next step will see what is new."""

    def arrived(self) -> None:
        """There is nothing to arrive but the bell."""

    def filenos(self) -> list[int]:
        """Nothing but the bell."""
        return []

    def wait_seconds(self) -> float:
        """Only to send a sign of life."""
        return WAIT_SECONDS

    def progress(self) -> int:
        """The journal seq resolved, and every change decided about."""
        return self._seq() + sum(self._counts().values())

    def _seq(self) -> int:
        if self._resolver is not None:
            self._position = self._resolver.position
        return self._position

    def position(self) -> str:
        """The journal seq resolved."""
        return str(self._seq())

    def figures(self) -> ResolveFigures:
        """The journal seq resolved."""
        return ResolveFigures(self._seq())

    def counters(self) -> list[Counter]:
        """Changes by source, entity and what was decided about them; and what accepted ones meant for records."""
        return [Counter(labels[0], labels[1:], value) for labels, value in self._counts().items()]

    def _counts(self) -> dict[tuple[str, ...], int]:
        if self._resolver is None:
            return dict(self._totals)
        now = {("resolved_changes", *labels): value for labels, value in self._resolver.counts.items()}
        now |= {("record_events", *labels): value for labels, value in self._resolver.happened.items()}
        return _added(self._totals, now)

    def close(self) -> None:
        """Let go of the resolver and its state; what was counted stays counted."""
        self._totals = self._counts()
        self._seq()
        if self._resolver is not None:
            self._resolver.close()
        self._resolver = None


class DeliverStage:
    """deliver to one target; while it is paused, not even connected to it."""

    def __init__(self, system: str, blueprint: Blueprint, directory: StateDirectory) -> None:
        self.pulse = _no_pulse
        self._system = system
        self._blueprint = blueprint
        self._plan = blueprint.plan()
        self._journal = Journal(directory.journal)
        self._state = State(directory.state)
        self._parked = ParkedRecords(directory.deliver(system))
        self._applied = AppliedMark(directory.path, system)
        self._identity = _identity(system, blueprint, directory)
        self._target: Target | None = None
        self._deliverer: Deliverer | None = None
        self._retry_at = float("-inf")
        self._unit = self._applied.read()
        self._handled = 0
        self._totals: dict[tuple[str, ...], int] = {}
        self._retries = 0

    def open(self) -> WorkerState:
        """Take over as the target's one writer, unless delivery is paused."""
        from cdcd.deliver import Deliverer  # noqa: PLC0415

        if pause_switch(self._system) in self._journal.controls():
            return "paused"
        system = self._blueprint.systems[self._system]
        adapter = plugins.load(system.reference, extra=system.adapter)
        options = plugins.options(self._blueprint.config, self._blueprint.file, self._system, adapter)
        self._target = adapter.open_target(self._identity, options)
        deliverer = Deliverer(
            self._system,
            self._plan,
            self._target,
            self._state,
            self._journal,
            self._parked,
            self._applied,
            self.pulse,
        )
        deliverer.start()
        self._deliverer = deliverer
        return "running"

    def step(self) -> bool:
        """One target transaction."""
        return self._deliverer.step() if self._deliverer is not None else False

    def news(self) -> list[str]:
        """resolve's, when parked records are to be told anew; what we wrote comes back through the log by itself."""
        before, self._retries = self._retries, self._counts().get(("retries",), 0)
        return ["resolve"] if self._retries > before else []

    def tick(self) -> WorkerState:
        """Try parked records whose time has come."""
        if self._deliverer is None:
            return "paused"
        if time.monotonic() >= self._retry_at:
            self._deliverer.retry_due()
            due_seconds = self._deliverer.due_in_seconds()
            self._retry_at = time.monotonic() + (WAIT_SECONDS if due_seconds is None else max(1.0, due_seconds))
        return "running"

    def woken(self) -> None:
        """The next step will see what is new."""

    def arrived(self) -> None:
        """There is nothing to arrive but the bell."""

    def filenos(self) -> list[int]:
        """Nothing but the bell."""
        return []

    def wait_seconds(self) -> float:
        """Until the next retry of what is parked."""
        return WAIT_SECONDS if self._deliverer is None else min(WAIT_SECONDS, self._retry_at - time.monotonic())

    def progress(self) -> int:
        """Units applied, rows taken in hand, and everything else counted."""
        if self._deliverer is not None:
            self._handled += self._deliverer.handled
            self._deliverer.handled = 0
        return self._applied_unit() + self._handled + sum(self._counts().values())

    def position(self) -> str:
        """The outbox unit applied."""
        return str(self._applied_unit())

    def _applied_unit(self) -> int:
        if self._deliverer is not None:
            self._unit = self._deliverer.applied_unit
        return self._unit

    def figures(self) -> DeliverFigures:
        """The unit applied and the records parked; the last known ones while not connected."""
        return DeliverFigures(self._applied_unit(), len(self._parked))

    def counters(self) -> list[Counter]:
        """Rows applied by operation, and what else happened."""
        return [
            Counter(_DELIVER_COUNTERS[what], (self._system,), value)
            if what in _DELIVER_COUNTERS
            else Counter("delivered_writes", (self._system, what), value)
            for (what,), value in self._counts().items()
        ]

    def _counts(self) -> dict[tuple[str, ...], int]:
        now = {} if self._deliverer is None else {(what,): value for what, value in self._deliverer.counts.items()}
        return _added(self._totals, now)

    def close(self) -> None:
        """Disconnect; what was counted stays counted."""
        self.progress()
        self._totals = self._counts()
        if self._target is not None:
            self._target.close()
        self._deliverer = self._target = None


def _added(one: Mapping[tuple[str, ...], int], other: Mapping[Any, int]) -> dict[tuple[str, ...], int]:
    return {labels: one.get(labels, 0) + other.get(labels, 0) for labels in one.keys() | other.keys()}


def _identity(system: str, blueprint: Blueprint, directory: StateDirectory) -> Identity:
    state = State(directory.state)
    try:
        return Identity(blueprint.config.daemon.name, system, state.lineage)
    finally:
        state.close()


def is_storage_failure(error: CdcdError) -> bool:
    """Whether the state directory failed: then the process must end, since its memory may be ahead of the disk."""
    from cdcd.storage import StorageError  # noqa: PLC0415

    return isinstance(error, StorageError)

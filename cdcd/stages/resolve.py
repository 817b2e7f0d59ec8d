"""resolve, as a worker drives it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cdcd.blueprint import Blueprint, Role
from cdcd.config import parse_size
from cdcd.durations import Durations
from cdcd.journal import Journal
from cdcd.outbox import AppliedMark
from cdcd.outbox_backlog import OutboxBacklog
from cdcd.report import Counter, ResolveFigures, WorkerState
from cdcd.stages.stage import added, no_pulse
from cdcd.state import State
from cdcd.state_directory import StateDirectory

if TYPE_CHECKING:
    from cdcd.resolve.resolver import Resolver

WAIT_SECONDS: Final = 10.0
ROOM_SECONDS: Final = 1.0


class ResolveStage:
    """resolve. It needs no server."""

    def __init__(self, blueprint: Blueprint, directory: StateDirectory) -> None:
        self.pulse = no_pulse
        self._plan = blueprint.plan()
        self._path = directory.state
        self._journal = Journal(directory.journal)
        self._applied = {name: AppliedMark(directory.path, name) for name in blueprint.targets}
        self._resolver: Resolver | None = None
        self._backlogs: dict[str, OutboxBacklog] = {}
        self._room_bytes = parse_size(blueprint.config.journal.max_size)
        self._full = self._has_room = False
        self._measured_at = float("-inf")
        self._position = 0
        self._totals: dict[tuple[str, ...], int] = {}
        self._steps = Durations()

    def open(self) -> WorkerState:
        """Continue at the state's position."""
        from cdcd.resolve.resolver import Resolver  # noqa: PLC0415

        state = State(self._path)
        self._backlogs = {system: OutboxBacklog(state, system) for system in self._applied}
        self._resolver = Resolver(self._plan, self._journal, state, self._applied, self.pulse)
        self._resolver.start()
        return "running"

    def step(self) -> bool:
        """One commit's worth of the journal. Who adds to it rings our bell afterwards."""
        assert self._resolver is not None, "used before open"
        began_at = time.monotonic()
        worked = not self._full and self._resolver.step()
        if worked:
            self._steps.observe(time.monotonic() - began_at)
        return worked and self._resolver.may_have_more

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
        """Measure what waits for targets: beyond the journal's size limit nothing is added, lest the disk fill (Invariant 11)."""
        now = time.monotonic()
        if self._resolver is not None and now - self._measured_at >= ROOM_SECONDS:
            self._measured_at = now
            waiting = [backlog.look(self._applied[system].read()) for system, backlog in self._backlogs.items()]
            was_full, self._full = self._full, sum(w.size_bytes for w in waiting) >= self._room_bytes
            self._has_room = was_full and not self._full
        return "outbox-full" if self._full else "running"

    def woken(self) -> None:
        """The next step will see what is new."""

    def arrived(self) -> None:
        """There is nothing to arrive but the bell."""

    def filenos(self) -> list[int]:
        """Nothing but the bell."""
        return []

    def wait_seconds(self) -> float:
        """To send a sign of life; until there may be room; not at all when there is some again."""
        if self._has_room:
            self._has_room = False
            return 0.0
        return ROOM_SECONDS if self._full else WAIT_SECONDS

    def progress(self) -> int:
        """The journal seq resolved, and every change decided about."""
        counted = sum(self._totals.values())
        if self._resolver is not None:
            counted += self._resolver.counts.total() + self._resolver.happened.total()
        return self._seq() + counted

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
        """Changes by source, entity and what was decided about them; what accepted ones meant; how long steps took."""
        counted = [Counter(labels[0], labels[1:], value) for labels, value in self._counts().items()]
        return counted + self._steps.counters("resolve_steps")

    def _counts(self) -> dict[tuple[str, ...], int]:
        if self._resolver is None:
            return dict(self._totals)
        now = {("resolved_changes", *labels): value for labels, value in self._resolver.counts.items()}
        now |= {("record_events", *labels): value for labels, value in self._resolver.happened.items()}
        return added(self._totals, now)

    def close(self) -> None:
        """Let go of the resolver and its state; what was counted stays counted."""
        self._totals = self._counts()
        self._seq()
        if self._resolver is not None:
            self._resolver.close()
        self._resolver = None

"""The scheduler: has resolve tell what is owed when its time has come, in portions, as fast as the target takes them.

It lives in the supervisor's thread and keeps nothing that matters in memory: what is owed is in the state database, runs and
pauses are switches in the journal, and every portion is a command there. So it may be killed at any moment. Portions are
small against the outbox, so that what is told in real time goes through in between.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdcd import logs, outbox
from cdcd.blueprint import Blueprint
from cdcd.journal import Command, Journal
from cdcd.scheduling import deliveries, rate_limit, schedule
from cdcd.scheduling.backlogs import Backlogs
from cdcd.scheduling.deliveries import NOTHING, Delivery, Owed
from cdcd.scheduling.owed import owing
from cdcd.scheduling.schedule import Run
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.status import Observer
from cdcd.storage import StorageError
from cdcd.wake import Bell

PORTION_RECORDS: Final = 5_000
LOOK_SECONDS: Final = 1.0
FEEDING_SECONDS: Final = 0.1
STALLED_SECONDS_MAX: Final = 10.0
_log: Final = logging.getLogger("cdcd.scheduling.scheduler")


class _Fed(msgspec.Struct, frozen=True):
    """What was last asked for of a delivery: when, how much was owed then, and how long it is left alone if that does not help."""

    at: float = float("-inf")
    records: int = 0
    pause_seconds: float = 0.0


class Scheduler:
    """Feeds all systems. `turn` after every event of the supervisor, and when `wait_seconds` have passed."""

    def __init__(
        self,
        listed: Sequence[Delivery],
        journal: Journal,
        state: State,
        applied: Callable[[str], int],
        ring: Callable[[], None],
        portions: Mapping[str, int] | None = None,
        backlogs: Backlogs | None = None,
    ) -> None:
        """`applied` tells the last unit that a system has, `ring` wakes resolve; `portions` are smaller ones, by system."""
        self._backlogs = backlogs
        self._journal = journal
        self._state = state
        self._applied = applied
        self._ring = ring
        self._portions = portions or {}
        self._by_system: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in listed:
            self._by_system[delivery.system].append(delivery)
        self._scheduled = any(delivery.schedule.kind in ("every", "cron") for delivery in listed)
        self._asked: dict[str, int] = {}
        self._fed: dict[tuple[str, str], _Fed] = defaultdict(_Fed)
        self._due_us = 0
        self._unfinished = True
        self._look_at = float("-inf")
        self._skipped = False

    def turn(self, now_us: int, now: float) -> None:
        """Look what is to be done, unless that was done a moment ago. `now` are seconds of a clock that never goes back."""
        if now < self._look_at:
            self._skipped = True
            return
        self._skipped = False
        self._look_at = now + LOOK_SECONDS
        position = self._state.position  # before the count: what comes in between is counted twice rather than never
        lanes = owing(self._state)
        owed = deliveries.owed_by_family(lanes)
        try:
            if self._backlogs is not None and self._backlogs.turn(lanes, now):
                self._ring()
            if now_us >= self._due_us or self._unfinished or any(lane.records for lane in owed.values()):
                self._look(owed, position, now_us, now)
        except StorageError as error:  # a full disk, say: nothing is lost, what is owed stays owed
            _log.error("what is due cannot be told", extra=logs.fields(error))

    def wait_seconds(self, now_us: int, now: float) -> float:
        """How long nothing will be due, unless an event comes before."""
        waits = [self._look_at - now] if self._skipped else []
        if self._scheduled:
            waits.append(max((self._due_us - now_us) / 1e6, self._look_at - now))
        return max(0.0, min(waits, default=float("inf")))

    def _look(self, owed: Mapping[tuple[str, str], Owed], position: int, now_us: int, now: float) -> None:
        controls = self._journal.controls()
        due_us = [2**62]
        unfinished = False
        for system, listed in self._by_system.items():
            open_now = []
            for delivery in listed:
                waiting = owed.get((system, delivery.entity), NOTHING)
                run = self._advanced(delivery, waiting.records, position, controls, now_us)
                unfinished = unfinished or run.left > 0
                stopped = deliveries.is_stopped(delivery, waiting, controls)
                if waiting.records and not stopped and schedule.may_tell(delivery.schedule, run, now_us):
                    open_now.append((delivery, waiting.records, run))
                next_us = schedule.next_run_us(delivery.schedule, run, now_us)
                if next_us is not None and next_us > now_us:
                    due_us.append(next_us)
            if open_now:
                self._look_at = now + FEEDING_SECONDS
                self._feed(system, open_now, now)
        self._due_us, self._unfinished = min(due_us), unfinished

    # ---- runs ------------------------------------------------------------------------------------------------

    def _advanced(
        self, delivery: Delivery, records: int, position: int, controls: Mapping[str, str], now_us: int
    ) -> Run:
        """The delivery's run as it stands now: ended when nothing is left of it, begun when its moment has come."""
        if delivery.schedule.kind == "realtime":
            return Run()
        before = deliveries.run_of(delivery, controls)
        # A cron expression's moments before it was known were not missed; an interval's first run begins at once.
        first = Run(considered_us=now_us if delivery.schedule.kind == "cron" else 0)
        run = schedule.believed(delivery.schedule, before or first, now_us)
        if run.left and not records:
            run = msgspec.structs.replace(run, left=0, requested=False)
        if schedule.is_due(delivery.schedule, run, now_us):
            requested = run.requested and run.left > 0
            begun_us = now_us if records else run.begun_us
            run = Run(now_us, begun_us, records, position, requested)
        if run != before:
            self._keep(delivery, run)
        return run

    def _keep(self, delivery: Delivery, run: Run) -> None:
        self._journal.set_control(deliveries.control_of(delivery), deliveries.stored(run))

    # ---- portions --------------------------------------------------------------------------------------------

    def _feed(self, system: str, open_now: Sequence[tuple[Delivery, int, Run]], now: float) -> None:
        """Ask for the next portion, if resolve has done the last one and the target is about through with it."""
        portion = self._portions.get(system, PORTION_RECORDS)
        if self._state.position < self._asked.get(system, 0):
            return
        waiting, _ = outbox.waiting(self._state, system, self._applied(system))
        names = {delivery.entity for delivery, _, _ in open_now}
        free = [found for found in open_now if names.isdisjoint(found[0].after) and not self._rests(found[0], now)]
        if waiting >= portion or not free:
            return
        self._ask(*min(free, key=lambda found: self._fed[system, found[0].entity].at), portion, now)

    def _ask(self, delivery: Delivery, records: int, run: Run, portion: int, now: float) -> None:
        limit = portion
        arguments: dict[str, Any] = {"system": delivery.system, "entity": delivery.entity}
        controls: dict[str, str] = {}
        if delivery.schedule.kind != "realtime":
            limit = min(portion, run.left)
            left = run.left - limit
            arguments["owed_by"] = run.owed_by
            rest = msgspec.structs.replace(run, left=left, requested=run.requested and left > 0)
            controls = {deliveries.control_of(delivery): deliveries.stored(rest)}
        self._asked[delivery.system] = self._journal.command(
            Command("deliver", arguments | {"limit": limit}), controls=controls
        )
        self._asked_for(delivery, records, now)
        self._ring()

    def _asked_for(self, delivery: Delivery, records: int, now: float) -> None:
        """Remember it. If no less was owed in real time than the last time (an entity is suspended), ask again later and later."""
        fed = self._fed[delivery.system, delivery.entity]
        helped = records < fed.records or fed.records == 0 or delivery.schedule.kind != "realtime"
        pause_seconds = 0.0 if helped else min(STALLED_SECONDS_MAX, max(LOOK_SECONDS, 2 * fed.pause_seconds))
        self._fed[delivery.system, delivery.entity] = _Fed(now, records, pause_seconds)

    def _rests(self, delivery: Delivery, now: float) -> bool:
        fed = self._fed[delivery.system, delivery.entity]
        return now < fed.at + fed.pause_seconds


def of_daemon(blueprint: Blueprint, directory: StateDirectory, observer: Observer, resolve: Bell) -> Scheduler:
    """The scheduler of a running daemon. Where a target's rate is limited, a portion is no more than it takes at once."""
    limits = {name: rate_limit.of_system(options) for name, options in blueprint.config.systems.items()}
    journal, state = observer.journal, observer.state

    def applied(system: str) -> int:
        return outbox.read_applied(directory.path, system)

    told: dict[str, list[str]] = {}
    for delivery in observer.deliveries:
        if delivery.system in blueprint.targets and delivery.schedule.kind == "realtime":
            told.setdefault(delivery.system, []).append(delivery.entity)
    portions = {name: min(PORTION_RECORDS, limit.burst_rows) for name, limit in limits.items() if limit is not None}
    backlogs = Backlogs(told, journal, state, applied)
    return Scheduler(observer.deliveries, journal, state, applied, resolve.ring, portions, backlogs)

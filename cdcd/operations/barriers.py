"""`wait`: a barrier, answered when everything committed before it has arrived in all targets."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from cdcd import barriers, outbox, pause_switches
from cdcd.barriers import Barrier
from cdcd.blueprint import Role
from cdcd.control import Answer, Ready
from cdcd.errors import Unavailable
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, named
from cdcd.parking.parked import SCHEMA as PARKED_SCHEMA
from cdcd.report import now_us
from cdcd.resolve import suspension
from cdcd.scheduling import owed
from cdcd.storage import Database

TIMEOUT_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05


class Missing(msgspec.Struct, frozen=True):
    """What a barrier has not passed: a stage of a system, how far it is, and what it waits for."""

    system: str
    stage: str
    what: str


class Left(msgspec.Struct, frozen=True):
    """What has not arrived though the barrier has passed. `subject` is an entity, "tables" of plain copies, or "" for all of a system.

    `records` counts records, and of "tables" the tables.
    """

    system: str
    subject: str
    why: str
    records: int


class Outcome(msgspec.Struct, frozen=True):
    """`places`: up to where each source's log has arrived. `missing` is empty when the barrier was passed."""

    passed: bool
    waited_seconds: float
    places: dict[str, str]
    missing: list[Missing]
    left: list[Left]


def _wait(desk: Desk, arguments: Arguments) -> Ready:
    if not desk.running:
        raise Unavailable(
            "the daemon is not running",
            code="not-running",
            cause="nothing can arrive without it",
            remedy="start it: systemctl start cdcd (or 'cdcd run')",
        )
    timeout_seconds = arguments.get("timeout_seconds", TIMEOUT_SECONDS)
    if not isinstance(timeout_seconds, int | float) or timeout_seconds < 0:
        raise RequestError("the time to wait is a number of seconds", remedy="--timeout 60s")
    until_us = now_us() + int((timeout_seconds + 1) * 1e6)
    barrier = Barrier(uuid.uuid4().hex[:12], _places(desk, arguments), until_us)
    barriers.put_up(desk.journal, barrier)
    desk.ring("capture")
    resolved_only = arguments.get("resolved_only") is True  # a verification waits for the targets itself
    return _Passing(desk, barrier, timeout_seconds, resolved_only=resolved_only)


def _places(desk: Desk, arguments: Arguments) -> dict[str, str | None]:
    """How far each log must have arrived: one of them up to a place, else all that there are, or one, up to now."""
    sources, place = desk.blueprint.sources, arguments.get("position")
    if arguments.get("system") is not None:
        sources = [named("source", arguments["system"], sources)]
    if place is not None and len(sources) != 1:
        raise RequestError("a position belongs to one system's log", remedy="add --system SYSTEM")
    return {source: None if place is None else str(place) for source in sources}


class _Passing:
    """Looks, now and then, how far the barrier is: a `Ready`."""

    def __init__(self, desk: Desk, barrier: Barrier, timeout_seconds: float, *, resolved_only: bool) -> None:
        self._desk = desk
        self._barrier = barrier
        self._began_at = time.monotonic()
        self._until = self._began_at + timeout_seconds
        self._look_at = 0.0
        self._resolved_only = resolved_only

    def __call__(self) -> Answer | None:
        now = time.monotonic()
        if now < min(self._look_at, self._until):
            return None
        self._look_at = now + _LOOK_SECONDS
        desk, barrier = self._desk, self._barrier
        known, refused = barriers.places(desk.journal, barrier)
        for system, why in refused.items():
            barriers.take_down(desk.journal, barrier.id)
            raise RequestError(f"{system}: that is no place in its log", cause=why, remedy="'now', or such a place")
        missing = list(_missing(desk, barrier, known, resolved_only=self._resolved_only))
        if missing and now < self._until:
            return None
        barriers.take_down(desk.journal, barrier.id)
        left = [] if missing else list(_left(desk))
        return Answer(ok=True, result=Outcome(not missing, round(now - self._began_at, 3), known, missing, left))


def _missing(desk: Desk, barrier: Barrier, known: dict[str, str], *, resolved_only: bool) -> Iterator[Missing]:
    noted = barriers.noted(desk.state, barrier.id)
    for system in barrier.places:
        if system not in noted:
            yield _missing_at_source(desk, system, known.get(system))
    if barrier.places.keys() <= noted.keys() and not resolved_only:
        unit = max(noted.values())
        for target in desk.blueprint.targets:
            applied = outbox.read_applied(desk.directory.path, target)
            if outbox.lacks(desk.state, target, applied, unit):
                state = desk.crew.state(Role("deliver", target))
                paused = pause_switches.of_system(target) in desk.journal.controls()
                state_name = "paused" if paused else state
                yield Missing(target, "deliver", f"unit {applied:,} of {unit:,} has arrived, delivery is {state_name}")


def _missing_at_source(desk: Desk, system: str, place: str | None) -> Missing:
    state = desk.crew.state(Role("capture", system))
    if place is None:
        return Missing(system, "capture", f"has not told where its log ends, reading it is {state}")
    come_to = desk.journal.position(system) or "nowhere"
    waiting = desk.journal.last_seq() - desk.state.position
    what = f"its log must be read up to {place}, it has been up to {come_to}, reading it is {state}"
    return Missing(system, "capture", f"{what}; {waiting:,} journal entries are not resolved" if waiting else what)


def _left(desk: Desk) -> Iterator[Left]:
    """What the line keeps back, by its own rules or a person's will."""
    state = desk.state
    for owing in owed.owing(state):
        if owing.records:
            yield Left(
                owing.system,
                owing.entity,
                "paused" if owing.held else "behind" if owing.behind else "scheduled",
                owing.records,
            )
    for target in desk.blueprint.targets:
        if parked := _parked(desk.directory.deliver(target)):
            yield Left(target, "", "parked", parked)
    summary = state.summary()
    if summary.held + summary.conflicts:
        yield Left("", "", "held", summary.held + summary.conflicts)
    if summary.waiting:
        yield Left("", "", "waiting", summary.waiting)
    for entity, phase in sorted(summary.phases.items()):
        if phase != "live":
            yield Left("", entity, "first-copy", 0)
    for subject in sorted(suspension.load(state)):
        yield Left("", subject, "suspended", 0)
    yield from _copying(desk)


def _copying(desk: Desk) -> Iterator[Left]:
    """Plain copies whose tables have not been read whole since they are configured."""
    copied = {pair for subject, pairs in desk.blueprint.entity_tables.items() if ":" in subject for pair in pairs}
    for source in desk.blueprint.sources:
        copies = [copy for copy in desk.journal.backfills(source) if copy.run == 0 and not copy.done]
        if unread := sum((source, copy.table) in copied for copy in copies):
            yield Left(source, "tables", "copying", unread)


def _parked(path: Path) -> int:
    if not path.exists():
        return 0
    database = Database(path, PARKED_SCHEMA, read_only=True)
    try:
        return int(database.connection.execute("SELECT count(*) FROM parked").fetchone()[0])
    finally:
        database.close()


VERBS: Final[dict[str, Verb]] = {"wait": _wait}

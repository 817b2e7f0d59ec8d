"""What is the case now, read from one status: every state that may become an occurrence (`kinds.KINDS`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from cdcd.health import Reason
from cdcd.notices.occurrences import Condition, Key, Sight
from cdcd.pause_switches import BY_OPERATOR
from cdcd.status import DaemonStatus, DeliverStatus, WorkerStatus

POSITION_CODES: Final = frozenset(["position-lost", "position-too-far", "position-ahead", "position-foreign"])
"""Codes of errors that say that a source cannot continue after our position (errors.PositionLost)."""
JOURNAL_SHARE: Final = 0.8
HEADROOM_RATIO: Final = 0.25
DISK_BYTES: Final = 2**30
_AWAY: Final = {"capture": "source-unavailable", "deliver": "target-unavailable"}
_FULL: Final = {
    "journal-full": ("the journal has no room: nothing more is captured", "cdcd journal prune"),
    "outbox-full": ("so much waits for targets that nothing more is resolved", "cdcd status"),
}
_LOOK: Final = "cdcd status"


class Limits(msgspec.Struct, frozen=True):
    """From where on something counts."""

    lag_seconds: float = 900.0


def look(status: DaemonStatus, reasons: Sequence[Reason], limits: Limits) -> Sight:
    """Everything that is the case. `reasons` are those of `health.health`."""
    found: dict[Key, Condition] = {}
    unknown: set[Key] = set()
    for role, worker in status.workers().items():
        found |= _of_worker(role, worker)
        if worker.state in ("starting", "down"):
            unknown.update(_keys_of(role))
    for reason in reasons:
        if reason.stuck or reason.code == "worker-down":
            next_ = f"look at the log; {_LOOK}"
            found[_kind_of(reason), reason.role] = Condition(f"{reason.role}: {reason.message}", next_)
    for conditions in (_resolve(status), _room(status), _sources(status), _drift(status)):
        found |= conditions
    for system, delivery in _deliveries(status):
        found |= dict(_delivery(system, delivery))
        if delivery.worker.figures is None:
            unknown.add(("parked", system))
        _lag(status, system, delivery, limits, found, unknown)
    return Sight(found, frozenset(unknown - found.keys()))


# ---- workers -------------------------------------------------------------------------------------------------


def _keys_of(role: str) -> list[Key]:
    """What only that worker could tell."""
    stage, _, system = role.partition(":")
    codes = ("position-lost", "worker-stopped", "worker-stalled", "journal-full", "outbox-full")
    return [*((code, role) for code in codes), (_AWAY.get(stage, ""), system)]


def _kind_of(reason: Reason) -> str:
    return reason.code if reason.code in ("worker-down", "worker-silent") else "worker-stalled"


def _of_worker(role: str, worker: WorkerStatus) -> dict[Key, Condition]:
    stage, _, system = role.partition(":")
    error = worker.error
    said = error.what + (f" ({error.cause})" if error.cause else "") if error else "it waits for a person"
    next_ = error.remedy if error and error.remedy else _LOOK
    if worker.state == "retrying" and stage in _AWAY:
        return {(_AWAY[stage], system): Condition(f"{system} does not answer: {said}", next_)}
    if worker.state in ("stopped", "retrying"):
        code = "position-lost" if error is not None and error.code in POSITION_CODES else "worker-stopped"
        shown = f"{role} has stopped: {said}" + (f" [{error.code}]" if error else "")
        return {(code, role): Condition(shown, next_)}
    if worker.state in _FULL:
        return {(worker.state, role): Condition(*_FULL[worker.state])}
    return {}


# ---- resolve and the journal -----------------------------------------------------------------------------------


def _resolve(status: DaemonStatus) -> dict[Key, Condition]:
    resolve = status.resolve
    found: dict[Key, Condition] = {}
    for one in resolve.suspended:
        text = f"{one.subject} is suspended: {one.error.what} [{one.error.code}]"
        found["entity-suspended", one.subject] = Condition(text, one.error.remedy or _LOOK)
    if resolve.conflicts:
        text = f"{_counted(resolve.conflicts, 'conflict waits', 'conflicts wait')} for a decision"
        found["conflicts", "resolve"] = Condition(text, "cdcd conflicts list")
    if resolve.held:
        text = f"{_counted(resolve.held, 'row', 'rows')} could not be understood"
        found["held", "resolve"] = Condition(text, "cdcd conflicts list")
    for entity, phase in resolve.phases.items():
        if phase != "live" and "." not in entity:
            found["first-copy", entity] = Condition(f"{entity} is read and settled for the first time", _LOOK)
    return found


def _room(status: DaemonStatus) -> dict[Key, Condition]:
    found: dict[Key, Condition] = {}
    journal, free_bytes = status.journal, status.directory.free_bytes
    share = journal.size_bytes / journal.max_bytes if journal.max_bytes else 0.0
    if share >= JOURNAL_SHARE:
        text = f"the journal has used {share:.0%} of its room (journal.max-size)"
        found["journal-filling", "journal"] = Condition(text, "cdcd journal stats")
    if 0 < free_bytes < DISK_BYTES:
        text = f"the disk of the state directory has {free_bytes / 2**20:,.0f} MiB left"
        found["disk-filling", "daemon"] = Condition(text, "free space there; cdcd journal prune")
    return found


def _sources(status: DaemonStatus) -> dict[Key, Condition]:
    found: dict[Key, Condition] = {}
    for name, system in status.systems.items():
        if system.capture is None:
            continue
        left = sum(not copy.done for copy in system.capture.copies)
        if left:
            text = f"{_counted(left, 'table of', 'tables of')} {name} {'is' if left == 1 else 'are'} being read whole"
            found["copying", name] = Condition(text, "cdcd status --watch")
        log = system.capture.log
        if log.slot_state == "unreserved" or (log.headroom_ratio is not None and log.headroom_ratio < HEADROOM_RATIO):
            text = f"{name} is about to remove log that we have not read"
            if log.headroom_ratio is not None:
                text += f": {log.headroom_ratio:.0%} of what it keeps is still free"
            found["log-headroom", name] = Condition(text, "let capture catch up, or have the server keep more log")
    return found


def _drift(status: DaemonStatus) -> dict[Key, Condition]:
    found: dict[Key, Condition] = {}
    for one in status.drift:
        drifted = one.missing + one.different + one.surplus
        if drifted:
            text = (
                f"{one.entity} in {one.system}: {_counted(drifted, 'record is', 'records are')} not in step:"
                f" {one.missing:,} missing, {one.different:,} different, {one.surplus:,} surplus"
            )
            found["drift", f"{one.entity} in {one.system}"] = Condition(text, f"cdcd verify {one.entity}")
    return found


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


# ---- deliveries ------------------------------------------------------------------------------------------------


def _deliveries(status: DaemonStatus) -> list[tuple[str, DeliverStatus]]:
    return [(name, system.deliver) for name, system in status.systems.items() if system.deliver is not None]


def _delivery(system: str, delivery: DeliverStatus) -> Iterator[tuple[Key, Condition]]:
    if delivery.paused:
        yield ("paused", system), Condition(f"delivery to {system} is paused by an operator", f"cdcd resume {system}")
    if delivery.parked:
        text = (
            f"{_counted(delivery.parked, 'record is', 'records are')} parked: {system} refuses what they should become"
        )
        yield ("parked", system), Condition(text, f"cdcd parked list --system {system}")
    for lane in delivery.later:
        if lane.reason:
            key, text = _held_back(system, lane.entity, lane.reason)
            yield key, Condition(text, f"cdcd resume {lane.entity} --system {system}")


def _held_back(system: str, entity: str, reason: str) -> tuple[Key, str]:
    """Held back by an operator's wish, or by the limit of what may be parked."""
    subject = f"{entity} to {system}"
    if reason == BY_OPERATOR:
        return ("entity-paused", subject), f"{entity} is held back from {system} by an operator"
    return ("parked-limit", subject), f"{entity} is held back from {system}: {reason}"


def _lag(
    status: DaemonStatus,
    system: str,
    delivery: DeliverStatus,
    limits: Limits,
    found: dict[Key, Condition],
    unknown: set[Key],
) -> None:
    """Being behind is news only where nothing else says why: a server that is away, a pause, a copy."""
    workers = [worker for role, worker in status.workers().items() if not role.startswith("deliver:")]
    is_explained = delivery.paused or status.copying()
    if is_explained or any(worker.state != "running" for worker in (*workers, delivery.worker)):
        unknown.add(("lag", system))
    elif delivery.end_to_end_lag_seconds >= limits.lag_seconds:
        text = f"{system} is {delivery.end_to_end_lag_seconds / 60:,.0f} minutes behind"
        found["lag", system] = Condition(text, _LOOK)

"""Whether the daemon is alive and ready, and if not, why: functions of its status.

Alive is about us, not about the servers we talk to: a target that is down for a weekend makes nothing here unhealthy.
Restarting helps against what is stuck (`Reason.stuck`), and not against what waits for a person; systemd's watchdog
is starved for the former only. Stuck is who says nothing, who has work before it and gets nothing done, and who does not
come back from a call. Not stuck is who waits for a server in a call: adapters give up by themselves on one that is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from cdcd.report import DeliverFigures
from cdcd.status import SILENT_SECONDS, DaemonStatus, WorkerStatus

STALLED_SECONDS: Final = 300.0
DOWN_SECONDS: Final = 30.0
CALL_SECONDS: Final = 3600.0
"""No single call to a server, nor a start, takes so long; should one not come back, a restart is worth trying."""


class Reason(msgspec.Struct, frozen=True):
    """Why something is not as it should be."""

    role: str
    code: str
    message: str
    stuck: bool = False


def health(status: DaemonStatus) -> list[Reason]:
    """Why the daemon is not alive and progressing; empty when it is."""
    backlogs = status.backlogs()
    found = []
    for role, worker in status.workers().items():
        reason = _reason(role, worker, backlogs[role], status.at_us)
        if reason is not None:
            found.append(reason)
    suspended = status.resolve.suspended
    return found + [Reason("resolve", s.error.code, f"{s.subject} is suspended: {s.error.what}") for s in suspended]


def _reason(role: str, worker: WorkerStatus, backlog: int, now_us: int) -> Reason | None:
    silent_seconds = (now_us - worker.reported_at_us) / 1e6
    if worker.state == "starting" and worker.error is not None and worker.error.code == "worker-ended":
        return Reason(role, "worker-down", f"its process ended and was started again ({worker.restarts} restarts)")
    if worker.state == "down":
        down_seconds = (now_us - worker.since_us) / 1e6
        stuck = down_seconds > DOWN_SECONDS
        return Reason(role, "worker-down", f"its process ended and is restarted ({worker.restarts} restarts)", stuck)
    if silent_seconds > SILENT_SECONDS:
        return Reason(role, "worker-silent", f"no report for {silent_seconds:.0f} s", stuck=True)
    if worker.state == "stopped":
        error = worker.error
        return Reason(role, error.code if error else "stopped", error.what if error else "waits for a person")
    if worker.state == "journal-full":
        return Reason(role, "journal-full", "capture waits until the journal has room: 'cdcd journal prune'")
    if worker.state == "outbox-full":
        return Reason(role, "outbox-full", "resolve waits until targets have taken what waits for them")
    return _stalled(role, worker, backlog, now_us)


def _stalled(role: str, worker: WorkerStatus, backlog: int, now_us: int) -> Reason | None:
    """Whether it says that it lives, and is stuck all the same."""
    still_seconds = (now_us - worker.moved_at_us) / 1e6
    call_seconds = (now_us - worker.waiting_since_us) / 1e6 if worker.waiting_since_us else 0.0
    if call_seconds > CALL_SECONDS or (worker.state == "starting" and still_seconds > CALL_SECONDS):
        return Reason(role, "worker-stalled", "it does not come back from a call to its server", stuck=True)
    has_work = worker.state == "running" and backlog > 0 and not _limited(worker, now_us)
    if has_work and still_seconds > STALLED_SECONDS and not worker.waiting_since_us:
        return Reason(role, "worker-stalled", f"work waits, and nothing was done for {still_seconds:.0f} s", stuck=True)
    return None


def _limited(worker: WorkerStatus, now_us: int) -> bool:
    """Whether a delivery waits because of its rate limit, or has only just had to."""
    until_us = worker.figures.limited_until_us if isinstance(worker.figures, DeliverFigures) else 0
    return until_us > now_us - STALLED_SECONDS * 1e6


def readiness(status: DaemonStatus) -> list[Reason]:
    """Why capture, resolve or delivery do not run; empty when all do (or are paused on purpose)."""
    return unready(status.workers())


def unready(workers: Mapping[str, WorkerStatus]) -> list[Reason]:
    """`readiness`, of the workers by role."""
    return [
        Reason(role, f"worker-{worker.state}", worker.error.what if worker.error else f"it is {worker.state}")
        for role, worker in workers.items()
        if worker.state not in ("running", "paused")
    ]


def headline(status: DaemonStatus) -> str:
    """One line for systemd: per system, what is the matter or how far behind it is."""
    resolve = status.resolve.worker
    parts = [] if resolve.state == "running" else [f"resolve {_lag(resolve, 0.0)}"]
    for name, system in status.systems.items():
        if system.capture is not None:
            parts.append(f"from {name} {_lag(system.capture.worker, system.capture.lag_seconds)}")
        if system.deliver is not None:
            parts.append(f"to {name} {_lag(system.deliver.worker, system.deliver.lag_seconds)}")
    return ", ".join(parts)


def _lag(worker: WorkerStatus, lag_seconds: float) -> str:
    if worker.state == "running":
        return f"{lag_seconds:.0f} s"
    is_failing = worker.error is not None and worker.state in ("retrying", "stopped", "down", "starting")
    return f"{worker.state} [{worker.error.code}]" if is_failing and worker.error is not None else worker.state

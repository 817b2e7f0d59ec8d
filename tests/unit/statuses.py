"""Statuses for tests of what shows them."""

from typing import Any

import msgspec

from cdcd.report import Counter, ErrorNote
from cdcd.status import (
    CaptureStatus,
    CopyStatus,
    DaemonStatus,
    DeliverStatus,
    JournalStatus,
    ResolveStatus,
    SuspendedStatus,
    SystemStatus,
    WorkerStatus,
)

NOW = 1_795_300_000_000_000
SECOND = 1_000_000


def worker(state: str = "running", **changes: Any) -> WorkerStatus:
    made = WorkerStatus(state=state, since_us=NOW, pid=4711, reported_at_us=NOW, moved_at_us=NOW)  # type: ignore[arg-type]
    return msgspec.structs.replace(made, **changes)


def error(code: str = "not-ready", what: str = "the slot is missing") -> ErrorNote:
    return ErrorNote(code, what, "somebody dropped it", "SELECT pg_create_…", NOW - 5 * SECOND)


def daemon(
    capture: WorkerStatus | None = None,
    resolve: WorkerStatus | None = None,
    deliver: WorkerStatus | None = None,
    *,
    backlog: int = 0,
    copies: tuple[CopyStatus, ...] = (),
    paused: bool = False,
    running: bool = True,
    counters: tuple[Counter, ...] = (),
    suspended: tuple[str, ...] = (),
) -> DaemonStatus:
    """erp is read, shop is written to."""
    erp = SystemStatus("postgres", CaptureStatus(capture or worker(), "0/1", 0.5, backlog, 10, NOW, copies), None)
    delivery = DeliverStatus(deliver or worker(), paused, 7, 1.5, backlog, 30, 2, 2.5, parked_by_entity={"product": 2})
    left_behind = tuple(
        SuspendedStatus(subject, 4, 5, error("schema-changed", "a column is gone")) for subject in suspended
    )
    phases = {"product": "live", "order": "seeding"}
    resolving = ResolveStatus(
        resolve or worker(), 9, 0.0, backlog, phases, 1, 3, left_behind, conflicts_by_entity={"product": 1}
    )
    return DaemonStatus(
        "acme",
        "1.2.3",
        running,
        1,
        NOW,
        NOW - 60 * SECOND,
        {"erp": erp, "shop": SystemStatus("mysql", None, delivery)},
        resolving,
        JournalStatus(12, 1000, 4000),
        counters,
    )

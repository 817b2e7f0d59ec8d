"""Prometheus metrics: every name, label and meaning, in one place; values come from one `DaemonStatus` per scrape.

Names follow prometheus.io's "Metric and label naming". No label holds a key, a position or a value: their number is
that of systems, entities, decisions, states and error codes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from cdcd.report import WorkerState
from cdcd.status import DaemonStatus, DeliverStatus, SystemStatus

COUNTERS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "captured_transactions": (
        "cdcd_transactions_read",
        "Transactions read from the source's log and journalled.",
        ("source",),
    ),
    "captured_changes": ("cdcd_events_read", "Row changes read from the source's log and journalled.", ("source",)),
    "copied_rows": ("cdcd_backfill_rows", "Rows read by table copies (initial or resync).", ("source",)),
    "resolved_changes": (
        "cdcd_events_resolved",
        "Changes by what was decided about them (written, equal, echo, not owner, held, …).",
        ("source", "entity", "decision"),
    ),
    "record_events": (
        "cdcd_events",
        "What accepted changes meant for records: created, updated, deleted, restored.",
        ("system", "entity", "event"),
    ),
    "delivered_writes": ("cdcd_events_applied", "Rows written to the target.", ("target", "op")),
    "applied_transactions": ("cdcd_apply_transactions", "Transactions committed in the target.", ("target",)),
    "parked_records": ("cdcd_events_parked", "Times a record was parked because the target refused it.", ("target",)),
    "waiting_changes": ("cdcd_events_waiting", "Changes that waited behind a parked record.", ("target",)),
    "parked_retries": ("cdcd_parked_retries", "Parked records tried again.", ("target",)),
    "put_aside_records": ("cdcd_put_aside_records", "Records of paused entities that are told later.", ("target",)),
    "errors": ("cdcd_errors", "Errors that made a worker stop and try again.", ("worker", "code")),
    "worker_restarts": ("cdcd_worker_restarts", "Worker processes started again after an unexpected end.", ("worker",)),
}
"""Counters as workers report them: metric name, help, label names."""


def collect(status: DaemonStatus) -> Iterator[Metric]:
    """All metrics of one status."""
    yield InfoMetricFamily("cdcd_build", "Version of cdcd.", {"version": status.version, "daemon": status.daemon})
    yield _gauge("cdcd_start_timestamp_seconds", "When the daemon started.", status.started_at_us / 1e6)
    yield _gauge("cdcd_journal_bytes", "Bytes the journal occupies.", status.journal.size_bytes)
    yield _gauge("cdcd_journal_max_bytes", "Bytes the journal may occupy (journal.max-size).", status.journal.max_bytes)
    yield from _capture(status.systems)
    yield from _resolve(status)
    yield from _deliver(status.systems)
    yield from _workers(status)
    yield from _counters(status)


def _capture(systems: dict[str, SystemStatus]) -> Iterator[Metric]:
    captures = {name: s.capture for name, s in systems.items() if s.capture is not None}
    yield _by(
        "cdcd_source_connected",
        "1 while the source's log is being read.",
        "source",
        ((n, float(c.worker.state == "running")) for n, c in captures.items()),
    )
    yield _by(
        "cdcd_capture_lag_seconds",
        "How far the journal is behind the source; 0 when nothing is ahead.",
        "source",
        ((n, c.lag_seconds) for n, c in captures.items()),
    )
    yield _by(
        "cdcd_capture_lag_bytes",
        "Bytes of log between the source's head and the journal.",
        "source",
        ((n, c.lag_bytes) for n, c in captures.items()),
    )
    yield _by(
        "cdcd_retained_log_bytes",
        "Bytes of log the source keeps for us.",
        "source",
        ((n, c.retained_bytes) for n, c in captures.items()),
    )
    yield _by(
        "cdcd_source_last_commit_timestamp_seconds",
        "Commit time of the newest journalled transaction, or when the source was last known idle.",
        "source",
        ((n, c.captured_at_us / 1e6) for n, c in captures.items()),
    )
    yield _by(
        "cdcd_backfill_unfinished_tables",
        "Tables whose copy is not finished.",
        "source",
        ((n, sum(not copy.done for copy in c.copies)) for n, c in captures.items()),
    )


def _resolve(status: DaemonStatus) -> Iterator[Metric]:
    resolve = status.resolve
    yield _gauge(
        "cdcd_resolve_lag_seconds", "Age of the oldest journal entry not resolved; 0 when none.", resolve.lag_seconds
    )
    yield _gauge("cdcd_resolve_lag_events", "Journal entries not resolved.", resolve.lag_events)
    yield _gauge("cdcd_conflicts", "Conflicts that wait for a person (cdcd conflicts list).", resolve.conflicts)
    yield _gauge("cdcd_held_events", "Rows that could not be understood.", resolve.held)
    yield _gauge("cdcd_waiting_rows", "Rows that refer to rows which nobody has shown yet.", resolve.waiting)
    families = [entity for entity in resolve.phases if "." not in entity]
    left_behind = {found.subject for found in resolve.suspended}
    yield _by(
        "cdcd_entity_suspended",
        "1 when an entity, or the plain copies of a table, can be read no further (see 'cdcd status'), else 0.",
        "entity",
        ((subject, float(subject in left_behind)) for subject in dict.fromkeys([*families, *sorted(left_behind)])),
    )
    yield _by(
        "cdcd_entity_live",
        "1 when the entity's first copy is settled, 0 while it is being seeded.",
        "entity",
        ((entity, float(phase == "live")) for entity, phase in resolve.phases.items()),
    )


def _deliver(systems: dict[str, SystemStatus]) -> Iterator[Metric]:
    delivers = {name: s.deliver for name, s in systems.items() if s.deliver is not None}
    yield _by(
        "cdcd_apply_lag_seconds",
        "Age of the oldest write waiting for the target, by its commit at the source; 0 when none.",
        "target",
        ((n, d.lag_seconds) for n, d in delivers.items()),
    )
    yield _by(
        "cdcd_apply_lag_events",
        "Writes waiting for the target.",
        "target",
        ((n, d.lag_events) for n, d in delivers.items()),
    )
    yield _by(
        "cdcd_outbox_bytes",
        "Bytes of writes waiting for the target.",
        "target",
        ((n, d.waiting_bytes) for n, d in delivers.items()),
    )
    yield _by(
        "cdcd_end_to_end_lag_seconds",
        "Age of the oldest change anywhere in the line that the target does not have yet.",
        "target",
        ((n, d.end_to_end_lag_seconds) for n, d in delivers.items()),
    )
    yield _by(
        "cdcd_parked_events", "Records parked for the target.", "target", ((n, d.parked) for n, d in delivers.items())
    )
    yield from _later(delivers)
    yield _by(
        "cdcd_paused",
        "1 while delivery is paused by an operator.",
        "target",
        ((n, float(d.paused)) for n, d in delivers.items()),
    )


def _later(delivers: dict[str, DeliverStatus]) -> Iterator[Metric]:
    labels = ("target", "entity")
    owed = GaugeMetricFamily(
        "cdcd_owed_records", "Records that a schedule or a pause has the target told later.", labels=labels
    )
    since = GaugeMetricFamily(
        "cdcd_owed_since_timestamp_seconds", "Since when something is owed; 0 when nothing is.", labels=labels
    )
    next_run = GaugeMetricFamily(
        "cdcd_schedule_next_run_timestamp_seconds", "When the entity is told next by its schedule.", labels=labels
    )
    for name, deliver in delivers.items():
        for later in deliver.later:
            owed.add_metric((name, later.entity), later.records)
            since.add_metric((name, later.entity), later.since_us / 1e6)
            if later.next_run_us is not None:
                next_run.add_metric((name, later.entity), later.next_run_us / 1e6)
    yield from (owed, since, next_run)


def _workers(status: DaemonStatus) -> Iterator[Metric]:
    states = GaugeMetricFamily("cdcd_state", "1 for the state a worker is in.", labels=("worker", "state"))
    reported = GaugeMetricFamily(
        "cdcd_worker_last_report_timestamp_seconds", "When the worker was last heard of.", labels=("worker",)
    )
    memory = GaugeMetricFamily("cdcd_worker_resident_memory_bytes", "Memory of the worker process.", labels=("worker",))
    for role, worker in status.workers().items():
        for state in get_args(WorkerState):
            states.add_metric((role, state), float(worker.state == state))
        reported.add_metric((role,), worker.reported_at_us / 1e6)
        memory.add_metric((role,), resident_bytes(worker.pid))
    memory.add_metric(("supervisor",), resident_bytes(status.pid))
    yield from (states, reported, memory)


def _counters(status: DaemonStatus) -> Iterator[Metric]:
    families = {
        name: CounterMetricFamily(metric, text, labels=labels) for name, (metric, text, labels) in COUNTERS.items()
    }
    for counter in status.counters:
        families[counter.name].add_metric(counter.labels, counter.value)
    yield from families.values()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process (proc(5), statm), 0 when it is not there."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - no Path needed for a number
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values:
        family.add_metric((key,), value)
    return family


class StatusCollector:
    """What a Prometheus registry asks at each scrape."""

    def __init__(self, status: Callable[[], DaemonStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        return collect(self._status())

    def describe(self) -> list[Metric]:
        """Nothing ahead of time: registering must not ask the supervisor."""
        return []

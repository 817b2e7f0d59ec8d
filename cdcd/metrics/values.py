"""The values of all gauges, out of one `DaemonStatus`: (name, values of its labels, value)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TypeAlias, get_args

from cdcd import health, pause_switches
from cdcd.adapter import SlotState
from cdcd.report import WorkerState
from cdcd.status import CaptureStatus, DaemonStatus, DeliverStatus, ResolveStatus

Sample: TypeAlias = tuple[str, tuple[str, ...], float]


def gauges(status: DaemonStatus) -> Iterator[Sample]:
    """All of them."""
    yield from _daemon(status)
    yield from _workers(status)
    for name, system in status.systems.items():
        if system.capture is not None:
            yield from _capture((name,), system.capture)
        if system.deliver is not None:
            yield from _deliver((name,), system.deliver)
    yield from _journal(status)
    yield from _resolve(status.resolve)
    yield from _drift(status)


def _daemon(status: DaemonStatus) -> Iterator[Sample]:
    yield "cdcd_start_timestamp_seconds", (), status.started_at_us / 1e6
    yield "cdcd_standby", (), float(bool(status.standby))
    yield "cdcd_state_dir_size_bytes", (), status.directory.size_bytes
    yield "cdcd_state_dir_free_bytes", (), status.directory.free_bytes


def _workers(status: DaemonStatus) -> Iterator[Sample]:
    stuck = {reason.role for reason in health.health(status) if reason.stuck}
    for role, worker in status.workers().items():
        for state in get_args(WorkerState):
            yield "cdcd_state", (role, state), float(worker.state == state)
        yield "cdcd_worker_stuck", (role,), float(role in stuck)
        yield "cdcd_worker_last_progress_timestamp_seconds", (role,), worker.moved_at_us / 1e6
        yield "cdcd_worker_last_report_timestamp_seconds", (role,), worker.reported_at_us / 1e6
        yield "cdcd_worker_resident_memory_bytes", (role,), resident_bytes(worker.pid)
    yield "cdcd_worker_resident_memory_bytes", ("supervisor",), resident_bytes(status.pid)


def _capture(source: tuple[str], capture: CaptureStatus) -> Iterator[Sample]:
    log = capture.log
    yield "cdcd_source_connected", source, float(capture.worker.state == "running")
    yield "cdcd_capture_lag_seconds", source, capture.lag_seconds
    yield "cdcd_capture_lag_bytes", source, capture.lag_bytes
    yield "cdcd_source_heartbeat_timestamp_seconds", source, log.heard_at_us / 1e6
    yield "cdcd_source_last_commit_timestamp_seconds", source, capture.captured_at_us / 1e6
    yield "cdcd_retained_log_bytes", source, capture.retained_bytes
    yield "cdcd_backfill_unfinished_tables", source, sum(not copy.done for copy in capture.copies)
    if log.headroom_ratio is not None:
        yield "cdcd_source_log_headroom_ratio", source, log.headroom_ratio
    if log.never_purged or log.purge_seconds is not None:
        seconds = math.inf if log.purge_seconds is None else log.purge_seconds
        yield "cdcd_source_log_purge_seconds", source, seconds
    if log.slot_state:
        for state in get_args(SlotState):
            yield "cdcd_source_slot_state", (*source, state), float(log.slot_state == state)
    if log.clock_offset_seconds is not None:
        yield "cdcd_source_clock_offset_seconds", source, log.clock_offset_seconds


def _journal(status: DaemonStatus) -> Iterator[Sample]:
    journal = status.journal
    yield "cdcd_journal_bytes", (), journal.size_bytes
    yield "cdcd_journal_max_bytes", (), journal.max_bytes
    yield "cdcd_journal_entries", (), journal.entries
    yield "cdcd_journal_oldest_timestamp_seconds", (), journal.oldest_at_us / 1e6
    yield "cdcd_journal_oldest_unresolved_timestamp_seconds", (), journal.oldest_unresolved_at_us / 1e6


def _resolve(resolve: ResolveStatus) -> Iterator[Sample]:
    yield "cdcd_resolve_lag_seconds", (), resolve.lag_seconds
    yield "cdcd_resolve_lag_events", (), resolve.lag_events
    yield "cdcd_held_events", (), resolve.held
    yield "cdcd_waiting_rows", (), resolve.waiting
    for entity in dict.fromkeys([*resolve.phases, *resolve.conflicts_by_entity]):
        yield "cdcd_conflicts", (entity,), resolve.conflicts_by_entity.get(entity, 0)
    for entity, phase in resolve.phases.items():
        yield "cdcd_entity_live", (entity,), float(phase == "live")
    families = [entity for entity in resolve.phases if "." not in entity]
    left_behind = {found.subject for found in resolve.suspended}
    for subject in dict.fromkeys([*families, *sorted(left_behind)]):
        yield "cdcd_entity_suspended", (subject,), float(subject in left_behind)


def _deliver(target: tuple[str], deliver: DeliverStatus) -> Iterator[Sample]:
    yield "cdcd_apply_lag_seconds", target, deliver.lag_seconds
    yield "cdcd_apply_lag_events", target, deliver.lag_events
    yield "cdcd_end_to_end_lag_seconds", target, deliver.end_to_end_lag_seconds
    yield "cdcd_end_to_end_lag_events", target, deliver.end_to_end_lag_events
    yield "cdcd_outbox_bytes", target, deliver.waiting_bytes
    yield "cdcd_outbox_oldest_timestamp_seconds", target, deliver.oldest_at_us / 1e6
    yield "cdcd_paused", target, float(deliver.paused)
    yield "cdcd_paused_since_timestamp_seconds", target, deliver.paused_since_us / 1e6
    for entity, parked in deliver.parked_by_entity.items():
        yield "cdcd_parked_events", (*target, entity), parked
    for later in deliver.later:
        labels = (*target, later.entity)
        yield "cdcd_owed_records", labels, later.records
        yield "cdcd_owed_since_timestamp_seconds", labels, later.since_us / 1e6
        if later.next_run_us is not None:
            yield "cdcd_schedule_next_run_timestamp_seconds", labels, later.next_run_us / 1e6
        if later.expected_us is not None:
            yield "cdcd_schedule_due_timestamp_seconds", labels, later.expected_us / 1e6
        by_operator = later.reason == pause_switches.BY_OPERATOR
        yield "cdcd_entity_paused", (*labels, "operator"), float(by_operator)
        yield "cdcd_entity_paused", (*labels, "parked-max"), float(bool(later.reason) and not by_operator)


def _drift(status: DaemonStatus) -> Iterator[Sample]:
    for entity, due_us in status.verify_due_us.items():
        yield "cdcd_verify_due_timestamp_seconds", (entity,), due_us / 1e6
    for drift in status.drift:
        labels = (drift.system, drift.entity)
        for kind, records in (("missing", drift.missing), ("different", drift.different), ("surplus", drift.surplus)):
            yield "cdcd_verify_drift_records", (*labels, kind), records
        yield "cdcd_verify_last_success_timestamp_seconds", labels, drift.in_step_at_us / 1e6
        yield "cdcd_verify_last_run_timestamp_seconds", labels, drift.verified_at_us / 1e6


def resident_bytes(pid: int) -> int:
    """Resident memory of a process (proc(5), statm), 0 when it is not there."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - no Path needed for a number
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0

"""Every metric: name, kind, labels, meaning and origin, in one place. docs/metrics.md is made from it.

Names follow prometheus.io's "Metric and label naming": one prefix, base units, the unit last, counters end in `_total`
(which the client adds). No label holds a key, a position or a value: their number is that of systems, entities,
decisions, states, roles and error codes. Ages are not exported but timestamps, except for lags, which are 0 when idle.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["gauge", "counter", "histogram", "info"]


class Described(msgspec.Struct, frozen=True):
    """One metric. `meaning` is its help; `origin` says where the figure comes from, for the documentation."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    origin: str

    @property
    def exposed_name(self) -> str:
        """As a query names it."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")

    @property
    def unit(self) -> str:
        """Seconds, bytes, 0 to 1, …: from the name's end."""
        if self.name.endswith("_timestamp_seconds"):
            return "seconds since 1970 (UTC), 0: never, or none"
        return _UNITS.get(self.name.rpartition("_")[2], _ONE_OF_TWO if self.name in _SWITCHES else "a count")


_UNITS: Final = {"seconds": "seconds", "bytes": "bytes", "ratio": "0 to 1"}
_ONE_OF_TWO: Final = "0 or 1"
_SWITCHES: Final = frozenset(
    {
        "cdcd_build",
        "cdcd_source_connected",
        "cdcd_source_slot_state",
        "cdcd_entity_live",
        "cdcd_entity_suspended",
        "cdcd_paused",
        "cdcd_entity_paused",
        "cdcd_worker_stuck",
        "cdcd_standby",
        "cdcd_state",
    }
)


def _gauge(name: str, labels: tuple[str, ...], meaning: str, origin: str) -> Described:
    return Described(name, "gauge", labels, meaning, origin)


def _counter(name: str, labels: tuple[str, ...], meaning: str, origin: str) -> Described:
    return Described(name, "counter", labels, meaning, origin)


def _histogram(name: str, labels: tuple[str, ...], meaning: str, origin: str) -> Described:
    return Described(name, "histogram", labels, meaning, origin)


_SOURCE: Final = ("source",)
_TARGET: Final = ("target",)
_ENTITY: Final = ("entity",)
_TARGET_ENTITY: Final = ("target", "entity")
_WORKER: Final = ("worker",)

DAEMON: Final = (
    Described("cdcd_build", "info", (), "Version of cdcd, and the daemon's name.", "the installed package"),
    _gauge("cdcd_start_timestamp_seconds", (), "When the daemon started.", "the supervisor"),
    _gauge(
        "cdcd_standby",
        (),
        "1 while another daemon stands by to take this state directory over.",
        "the standby's lock in the state directory",
    ),
    _gauge(
        "cdcd_state",
        ("worker", "state"),
        "1 for the state that a worker is in, 0 for the others.",
        "the worker's reports; down: the supervisor sees that its process is gone",
    ),
    _gauge(
        "cdcd_worker_last_report_timestamp_seconds",
        _WORKER,
        "When the worker was last heard of.",
        "the worker's reports",
    ),
    _gauge(
        "cdcd_worker_last_progress_timestamp_seconds",
        _WORKER,
        "When the worker last got anything done.",
        "the worker's reports",
    ),
    _gauge(
        "cdcd_worker_stuck",
        _WORKER,
        "1 while the worker gets nothing done, and a restart would help.",
        "the same as /healthz and systemd's watchdog",
    ),
    _gauge("cdcd_worker_resident_memory_bytes", _WORKER, "Memory of the process.", "/proc/PID/statm"),
    _counter(
        "cdcd_worker_restarts",
        _WORKER,
        "Worker processes started again after an unexpected end.",
        "the supervisor",
    ),
    _counter(
        "cdcd_errors",
        ("worker", "code"),
        "Errors that made a worker stop and try again.",
        "each worker; the codes are those of 'cdcd status'",
    ),
    _counter(
        "cdcd_notifications",
        ("channel", "result"),
        "Messages to people: sent, attempts that failed, messages dropped.",
        "the daemon's notices; since the state directory was made",
    ),
    _counter(
        "cdcd_page_actions",
        ("verb", "result"),
        "Actions of people on the secured status page: done, failed, refused.",
        "the page, since the daemon started",
    ),
    _gauge("cdcd_state_dir_size_bytes", (), "Bytes that the state directory's files take.", "the file system"),
    _gauge(
        "cdcd_state_dir_free_bytes", (), "Bytes that the state directory's file system has left for us.", "statvfs(3)"
    ),
)

CAPTURE: Final = (
    _gauge("cdcd_source_connected", _SOURCE, "1 while the source's log is being read.", "the capture's state"),
    _gauge(
        "cdcd_capture_lag_seconds",
        _SOURCE,
        "How far the journal is behind the source; 0 when nothing is ahead.",
        "0 while everything was read that the log held when the server was last asked (each second, idle each 10); else the"
        " age of what was last read, which goes on growing while the server is away",
    ),
    _gauge(
        "cdcd_capture_lag_bytes",
        _SOURCE,
        "Bytes of log between the source's head and the journal.",
        "the server's log against our position; also of other databases' changes",
    ),
    _gauge(
        "cdcd_source_heartbeat_timestamp_seconds",
        _SOURCE,
        "When anything last came from the log: changes, keep-alive or heartbeat.",
        "the replication connection",
    ),
    _gauge(
        "cdcd_source_last_commit_timestamp_seconds",
        _SOURCE,
        "Commit time of the newest journalled transaction, or when the source was last known idle.",
        "the journal; by the source's clock",
    ),
    _gauge(
        "cdcd_retained_log_bytes",
        _SOURCE,
        "Bytes of log the source keeps for us.",
        "PostgreSQL: from the slot's restart_lsn to the head; binlog: from the confirmed position to the head",
    ),
    _gauge(
        "cdcd_source_log_headroom_ratio",
        _SOURCE,
        "1 when all of what the server keeps is free, 0 when log is about to be removed that was not read.",
        "PostgreSQL: safe_wal_size of max_slot_wal_keep_size; binlog: the age of what was not read against the time for"
        " which logs are kept, or its size against max_binlog_total_size, whichever is less. Absent: there is no limit",
    ),
    _gauge(
        "cdcd_source_log_purge_seconds",
        _SOURCE,
        "Seconds until the server may remove, for its age, log that was not read; +Inf: it never does.",
        "binlog: binlog_expire_logs_seconds (expire_logs_days) less the age of the file that we are in, all of it while"
        " that is the newest file; PostgreSQL: idle_replication_slot_timeout. Counts down while the server is away."
        " Absent: not known",
    ),
    _gauge(
        "cdcd_source_slot_state",
        ("source", "state"),
        "1 for what the server says of our slot: reserved, extended, unreserved, lost, or none where it is missing.",
        "PostgreSQL: wal_status of pg_replication_slots; absent for binlogs",
    ),
    _gauge(
        "cdcd_source_clock_offset_seconds",
        _SOURCE,
        "The server's clock minus ours: lags in seconds are wrong by so much.",
        "the server's clock against the middle of the round trip",
    ),
    _gauge("cdcd_backfill_unfinished_tables", _SOURCE, "Tables whose copy is not finished.", "the journal"),
    _counter(
        "cdcd_transactions_read", _SOURCE, "Transactions read from the source's log and journalled.", "the capture"
    ),
    _counter("cdcd_events_read", _SOURCE, "Row changes read from the source's log and journalled.", "the capture"),
    _counter("cdcd_backfill_rows", _SOURCE, "Rows read by table copies (initial or resync).", "the capture"),
    _histogram("cdcd_capture_commit_duration_seconds", _SOURCE, "How long commits of the journal took.", "the capture"),
)

RESOLVE: Final = (
    _gauge("cdcd_journal_bytes", (), "Bytes the journal occupies.", "the journal"),
    _gauge("cdcd_journal_max_bytes", (), "Bytes the journal may occupy.", "journal.max-size"),
    _gauge(
        "cdcd_journal_entries",
        (),
        "Entries in the journal, from the oldest that is kept to the newest.",
        "the journal; a transaction of a source is one entry",
    ),
    _gauge(
        "cdcd_journal_oldest_timestamp_seconds", (), "When the oldest entry that is kept was captured.", "the journal"
    ),
    _gauge(
        "cdcd_journal_oldest_unresolved_timestamp_seconds",
        (),
        "When the oldest entry was captured that is not resolved.",
        "the journal",
    ),
    _gauge(
        "cdcd_resolve_lag_seconds",
        (),
        "Age of the oldest journal entry not resolved, by its commit at the source; 0 when none.",
        "the journal",
    ),
    _gauge("cdcd_resolve_lag_events", (), "Journal entries not resolved.", "the journal"),
    _gauge(
        "cdcd_conflicts",
        _ENTITY,
        "Conflicts that wait for a person.",
        "the state; 'cdcd conflicts list' shows them",
    ),
    _gauge("cdcd_held_events", (), "Rows that could not be understood.", "the state"),
    _gauge("cdcd_waiting_rows", (), "Rows that refer to rows which nobody has shown yet.", "the state"),
    _gauge(
        "cdcd_entity_suspended",
        _ENTITY,
        "1 when an entity, or the plain copies of a table, can be read no further, else 0.",
        "the state; 'cdcd status' says why",
    ),
    _gauge(
        "cdcd_entity_live",
        _ENTITY,
        "1 when the entity's first copy is settled, 0 while it is being seeded.",
        "the state",
    ),
    _counter(
        "cdcd_events_resolved",
        ("source", "entity", "decision"),
        "Changes by what was decided about them.",
        "resolve; the decisions are those of 'cdcd history --json' (docs/history.md): echo is one of our own writes read back,"
        " revert a change that was undone where it was made; hold, trigger and unmatched are conflicts for a person; answered counts"
        " besides how often a trigger of a target changed, in one of our own writes, a field of its own",
    ),
    _counter(
        "cdcd_events",
        ("system", "entity", "event"),
        "What accepted changes meant for records: created, updated, deleted, restored.",
        "resolve",
    ),
    _histogram(
        "cdcd_resolve_step_duration_seconds",
        (),
        "How long steps of resolve took, each a batch of journal entries and one commit.",
        "resolve",
    ),
)

DELIVER: Final = (
    _gauge(
        "cdcd_apply_lag_seconds",
        _TARGET,
        "Age of the oldest write waiting for the target, by its commit at the source; 0 when none.",
        "the outbox",
    ),
    _gauge("cdcd_apply_lag_events", _TARGET, "Writes waiting for the target.", "the outbox"),
    _gauge(
        "cdcd_end_to_end_lag_seconds",
        _TARGET,
        "Age of the oldest change anywhere in the line that the target does not have yet.",
        "the greatest of this target's apply lag, the resolve lag and all capture lags",
    ),
    _gauge(
        "cdcd_end_to_end_lag_events",
        _TARGET,
        "Journal entries not resolved and writes waiting for the target.",
        "the journal and the outbox; what is not captured yet is counted in cdcd_capture_lag_bytes only",
    ),
    _gauge("cdcd_outbox_bytes", _TARGET, "Bytes of writes waiting for the target.", "the outbox"),
    _gauge(
        "cdcd_outbox_oldest_timestamp_seconds",
        _TARGET,
        "Commit time at its source of the oldest write waiting for the target.",
        "the outbox; by the source's clock",
    ),
    _gauge(
        "cdcd_parked_events",
        _TARGET_ENTITY,
        "Records parked for the target; of plain copies the entity is SYSTEM:TABLE.",
        "the deliverer; 'cdcd parked list' shows them",
    ),
    _gauge(
        "cdcd_owed_records",
        _TARGET_ENTITY,
        "Records that a schedule or a pause has the target told later.",
        "the state",
    ),
    _gauge("cdcd_owed_since_timestamp_seconds", _TARGET_ENTITY, "Since when something is owed.", "the state"),
    _gauge(
        "cdcd_schedule_next_run_timestamp_seconds",
        _TARGET_ENTITY,
        "When the entity is told next by its schedule.",
        "the configuration",
    ),
    _gauge(
        "cdcd_schedule_due_timestamp_seconds",
        _TARGET_ENTITY,
        "When the next run of the schedule was or is to begin; in the past: it was missed.",
        "the configuration, and what was told last",
    ),
    _gauge(
        "cdcd_entity_paused",
        ("target", "entity", "by"),
        "1 while the entity is held back from the target by an operator, or because too much of it is parked.",
        "the switches that 'cdcd pause' and parked-max set",
    ),
    _gauge("cdcd_paused", _TARGET, "1 while delivery is paused by an operator.", "the switch that 'cdcd pause' sets"),
    _gauge(
        "cdcd_paused_since_timestamp_seconds",
        _TARGET,
        "Since when delivery is paused by an operator.",
        "the switch that 'cdcd pause' sets",
    ),
    _counter(
        "cdcd_events_applied",
        ("target", "entity", "op"),
        "Rows written to the target; of plain copies the entity is SYSTEM:TABLE.",
        "the deliverer; rows of further tables of a record are not counted",
    ),
    _counter("cdcd_apply_transactions", _TARGET, "Transactions committed in the target.", "the deliverer"),
    _counter(
        "cdcd_events_parked", _TARGET, "Times a record was parked because the target refused it.", "the deliverer"
    ),
    _counter("cdcd_events_waiting", _TARGET, "Changes that waited behind a parked record.", "the deliverer"),
    _counter("cdcd_parked_retries", _TARGET, "Parked records tried again.", "the deliverer"),
    _counter("cdcd_put_aside_records", _TARGET, "Records of paused entities that are told later.", "the deliverer"),
    _histogram(
        "cdcd_apply_transaction_duration_seconds",
        _TARGET,
        "How long transactions in the target took, from the first write to the commit.",
        "the deliverer; only those that were committed",
    ),
)

VERIFY: Final = (
    _gauge(
        "cdcd_verify_drift_records",
        ("system", "entity", "kind"),
        "Records that the last finished verification found missing, different or surplus.",
        "'cdcd verify', or its schedule",
    ),
    _gauge(
        "cdcd_verify_last_success_timestamp_seconds",
        ("system", "entity"),
        "When a verification last found every record in step.",
        "'cdcd verify', or its schedule",
    ),
    _gauge(
        "cdcd_verify_due_timestamp_seconds",
        _ENTITY,
        "When the next verification by the schedule was or is to begin; in the past: it was missed.",
        "the configuration, and what was begun last; absent without a schedule",
    ),
    _gauge(
        "cdcd_verify_last_run_timestamp_seconds",
        ("system", "entity"),
        "When a verification last came to its end.",
        "'cdcd verify', or its schedule",
    ),
)

METRICS: Final = {found.name: found for found in (*DAEMON, *CAPTURE, *RESOLVE, *DELIVER, *VERIFY)}
"""All of them by name, in the order in which they are shown."""

COUNTED: Final = {
    "worker_restarts": "cdcd_worker_restarts",
    "errors": "cdcd_errors",
    "notifications": "cdcd_notifications",
    "page_actions": "cdcd_page_actions",
    "captured_transactions": "cdcd_transactions_read",
    "captured_changes": "cdcd_events_read",
    "copied_rows": "cdcd_backfill_rows",
    "capture_commits": "cdcd_capture_commit_duration_seconds",
    "resolved_changes": "cdcd_events_resolved",
    "record_events": "cdcd_events",
    "resolve_steps": "cdcd_resolve_step_duration_seconds",
    "delivered_writes": "cdcd_events_applied",
    "applied_transactions": "cdcd_apply_transactions",
    "parked_records": "cdcd_events_parked",
    "waiting_changes": "cdcd_events_waiting",
    "parked_retries": "cdcd_parked_retries",
    "put_aside_records": "cdcd_put_aside_records",
    "apply_transactions": "cdcd_apply_transaction_duration_seconds",
}
"""The metric of a counter or histogram, by the name under which workers report it."""

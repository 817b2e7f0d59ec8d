"""How long the server keeps the log for a slot that nobody reads, against the outage that the configuration expects.

Settings: PostgreSQL documentation, "Sending Servers". Without a limit the log is kept until the disk is full, which is no
loss of ours. A limit by size is turned into time by the rate at which the server has written since its statistics began.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from cdcd.adapter import LogKeeping, SlotState
from cdcd_postgres.session import Connection
from cdcd_postgres.slots import Slot, read_slot

_LOOK: Final = """
SELECT (SELECT setting::bigint * 1048576 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1'),
  (SELECT setting::bigint * CASE unit WHEN 'min' THEN 60 WHEN 's' THEN 1 END
    FROM pg_catalog.pg_settings WHERE name = 'idle_replication_slot_timeout' AND setting <> '0'),
  (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'),
  (SELECT wal_bytes::bigint FROM pg_catalog.pg_stat_wal),
  (SELECT extract(epoch FROM now() - stats_reset)::bigint FROM pg_catalog.pg_stat_wal)
"""
_OBSERVED_SECONDS_MIN: Final = 3600
_SENDER_TIMEOUT_MS_MIN: Final = 5000


class Retention(msgspec.Struct, frozen=True):
    """What bounds the log of a slot (None: nothing), and what the server has written in how long."""

    keep_bytes: int | None
    idle_seconds: int | None
    sender_timeout_ms: int
    written_bytes: int
    observed_seconds: int


class Problem(NamedTuple):
    """A finding, but for the system's name."""

    severity: Literal["error", "warning"]
    code: str
    subject: str
    message: str
    remedy: str


_KEEPING: Final = """
SELECT extract(epoch FROM clock_timestamp())::float8,
  pg_size_bytes(current_setting('max_slot_wal_keep_size')), pg_size_bytes(current_setting('wal_keep_size')),
  pg_size_bytes(current_setting('wal_segment_size')),
  extract(epoch FROM coalesce(current_setting('idle_replication_slot_timeout', true), '0')::interval)::float8
"""


class Kept(msgspec.Struct, frozen=True):
    """What the server says of a slot's log: its settings (`keep_bytes` -1: any amount), the slot, and its clock."""

    keep_bytes: int
    keep_always_bytes: int
    segment_bytes: int
    idle_seconds: float
    clock_offset_seconds: float
    slot: Slot | None


def read_kept(connection: Connection, slot: str) -> Kept:
    """Ask the server."""
    asked = time.time()
    row = connection.execute(_KEEPING).fetchone()
    answered = time.time()
    assert row is not None
    server_seconds, keep_bytes, keep_always_bytes, segment_bytes, idle_seconds = row
    offset_seconds = server_seconds - (asked + answered) / 2
    return Kept(keep_bytes, keep_always_bytes, segment_bytes, idle_seconds, offset_seconds, read_slot(connection, slot))


def log_keeping(found: Kept) -> LogKeeping:
    """What that means for what was not read. A slot is invalidated for its age only while nobody reads it."""
    return LogKeeping(
        slot_state=_slot_state(found.slot),
        free_ratio=_free_ratio(found),
        keep_seconds=found.idle_seconds,
        purge_seconds=found.idle_seconds or None,
        clock_offset_seconds=found.clock_offset_seconds,
    )


def _slot_state(slot: Slot | None) -> SlotState:
    if slot is None:
        return "none"
    return "lost" if slot.lost else slot.wal_status or "lost"


def _free_ratio(found: Kept) -> float | None:
    """The server keeps whole segments, so that a little more than it promises may be free."""
    slot = found.slot
    if slot is None:
        return None
    if slot.lost:
        return 0.0
    if found.keep_bytes < 0 or slot.safe_wal_size is None:
        return None
    kept_bytes = max(found.keep_bytes, found.keep_always_bytes) or found.segment_bytes
    return min(1.0, max(0.0, slot.safe_wal_size / kept_bytes))


def read_retention(connection: Connection) -> Retention:
    """Ask the server."""
    row = connection.execute(_LOOK).fetchone()
    assert row is not None
    keep_bytes, idle_seconds, sender_timeout_ms, written_bytes, observed_seconds = row
    return Retention(keep_bytes, idle_seconds, sender_timeout_ms, written_bytes or 0, observed_seconds or 0)


def retention_problems(found: Retention, outage_seconds: float) -> Iterator[Problem]:
    """Where an outage of `outage_seconds`, or a reader that is slow, would lose the slot or the connection."""
    if found.idle_seconds is not None and found.idle_seconds < outage_seconds:
        yield Problem(
            "error",
            "slot-idle-timeout",
            "idle_replication_slot_timeout",
            f"a slot is invalidated when it is idle for {found.idle_seconds} seconds, but an outage may last"
            f" {outage_seconds:.0f} seconds (outage)",
            f"ALTER SYSTEM SET idle_replication_slot_timeout = '{outage_seconds:.0f}s'; SELECT pg_reload_conf();",
        )
    if found.keep_bytes is not None:
        yield from _size_problems(found, found.keep_bytes, outage_seconds)
    if 0 < found.sender_timeout_ms < _SENDER_TIMEOUT_MS_MIN:
        yield Problem(
            "warning",
            "sender-timeout",
            "wal_sender_timeout",
            f"the server gives up a reader that is silent for {found.sender_timeout_ms} ms: a busy one may be",
            "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
        )


def _size_problems(found: Retention, keep_bytes: int, outage_seconds: float) -> Iterator[Problem]:
    subject, keep_mib = "max_slot_wal_keep_size", keep_bytes >> 20
    if found.observed_seconds < _OBSERVED_SECONDS_MIN:
        message = f"a slot keeps {keep_mib} MiB of log at most: how long that is, the server cannot tell yet"
        yield Problem("warning", "slot-retention", subject, message, "check again when the server has run for an hour")
        return
    needed_bytes = found.written_bytes / found.observed_seconds * outage_seconds
    if needed_bytes > keep_bytes:
        seconds = keep_bytes * found.observed_seconds / found.written_bytes
        needed_mib = int(needed_bytes * 1.5) >> 20
        yield Problem(
            "error",
            "slot-retention",
            subject,
            f"a slot keeps {keep_mib} MiB of log at most, about {seconds / 3600:.3g} hours as the server has written so far,"
            f" but an outage may last {outage_seconds / 3600:.3g} hours (outage)",
            f"ALTER SYSTEM SET max_slot_wal_keep_size = '{needed_mib}MB'; SELECT pg_reload_conf();",
        )

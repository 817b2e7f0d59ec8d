"""How long the server keeps the log for a slot that nobody reads, against the outage that the configuration expects.

Settings: PostgreSQL documentation, "Sending Servers". Without a limit the log is kept until the disk is full, which is no
loss of ours. A limit by size is turned into time by the rate at which the server has written since its statistics began.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from cdcd_postgres.session import Connection

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

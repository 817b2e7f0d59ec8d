"""The replication slot: what the server tells of it, waiting until it is free, creating it.

Columns: PostgreSQL documentation, "pg_replication_slots". A slot is made with `failover` where the server knows that (17 and
later): a standby that synchronises slots has it too, and after a promotion reading goes on there.
"""

from __future__ import annotations

import time
from typing import Any, Final, Literal

import msgspec
import psycopg

from cdcd.errors import NotReady, Unavailable
from cdcd_postgres.names import quote_identifier
from cdcd_postgres.options import Options
from cdcd_postgres.position import parse_lsn
from cdcd_postgres.session import Connection

FAILOVER_VERSION_MIN: Final = 170_000
_SLOT: Final = """
SELECT plugin::text, database::text, active_pid, wal_status, restart_lsn::text, confirmed_flush_lsn::text,
  coalesce(to_jsonb(slot) ->> 'invalidation_reason', CASE WHEN (to_jsonb(slot) ->> 'conflicting')::bool THEN 'conflict' END),
  (to_jsonb(slot) ->> 'failover')::bool, safe_wal_size
FROM pg_catalog.pg_replication_slots AS slot WHERE slot_name = $1
"""
_CREATE: Final = "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput')"
_CREATE_WITH_FAILOVER: Final = (
    "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput', false, false, true)"
)
_DROP: Final = "SELECT pg_catalog.pg_drop_replication_slot($1)"
_OLDEST_TRANSACTION: Final = """
SELECT pid, extract(epoch FROM now() - xact_start)::int FROM pg_catalog.pg_stat_activity
WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1
"""
_POLL_SECONDS: Final = 0.02


class Slot(msgspec.Struct, frozen=True):
    """A row of pg_replication_slots. `failover` is None where the server does not know it."""

    plugin: str | None
    database: str | None
    active_pid: int | None
    wal_status: Literal["reserved", "extended", "unreserved", "lost"] | None
    restart_lsn: str | None
    confirmed_flush_lsn: str | None
    invalidation: str | None
    failover: bool | None
    safe_wal_size: int | None

    @property
    def lost(self) -> bool:
        """Whether the server has given it up: it can never be read again."""
        return self.wal_status == "lost" or self.invalidation is not None

    @property
    def confirmed_lsn(self) -> int:
        """Up to where it was read."""
        return parse_lsn(self.confirmed_flush_lsn or "0/0")

    def is_ours(self, database: str) -> bool:
        """Whether it is one that we could have made in `database`."""
        return self.plugin == "pgoutput" and self.database == database


def read_slot(connection: Connection, name: str) -> Slot | None:
    """The slot of that name, whoever made it; None when there is none."""
    row: tuple[Any, ...] | None = connection.execute(_SLOT, [name]).fetchone()
    return None if row is None else Slot(*row)


def free_slot(connection: Connection, name: str, wait_seconds: float) -> Slot | None:
    """Our slot once nobody reads it: after a crash the server needs a moment to see that we are gone.

    Raises NotReady when it is not ours, Unavailable when it is still read after `wait_seconds`.
    """
    deadline = time.monotonic() + wait_seconds
    while (slot := _our_slot(connection, name)) is not None and slot.active_pid is not None:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"slot '{name}' is in use by server process {slot.active_pid}",
                cause="another daemon of this name runs, or the server has not noticed yet that its client is gone",
                remedy=f"stop the other daemon, or on the server: SELECT pg_terminate_backend({slot.active_pid});",
                code="slot-active",
            )
        time.sleep(_POLL_SECONDS)
    return slot


def _our_slot(connection: Connection, name: str) -> Slot | None:
    slot = read_slot(connection, name)
    if slot is not None and not slot.is_ours(connection.info.dbname):
        raise NotReady(
            f"slot '{name}' is not ours",
            cause=f"it has plug-in {slot.plugin} in database {slot.database}",
            remedy="set 'slot' in the system's configuration to another name",
            code="slot-foreign",
        )
    return slot


def create_slot(connection: Connection, name: str, options: Options) -> int:
    """Create the slot, which waits for all running transactions; return where it begins."""
    sql = _CREATE_WITH_FAILOVER if connection.info.server_version >= FAILOVER_VERSION_MIN else _CREATE
    try:
        row = connection.execute(sql, [name]).fetchone()
    except psycopg.errors.QueryCanceled as error:
        oldest = connection.execute(_OLDEST_TRANSACTION).fetchone()
        waited = f"; the oldest has run for {oldest[1]} seconds in process {oldest[0]}" if oldest else ""
        raise Unavailable(
            f"slot '{name}' could not be created in {options.statement_timeout_seconds} seconds",
            cause=f"the server waits for transactions that have begun before{waited}",
            remedy="wait for it, or end it",
        ) from error
    assert row is not None
    return parse_lsn(row[0])


def drop_slot(connection: Connection, name: str) -> None:
    """Give it up."""
    connection.execute(_DROP, [name])


def keep_across_failover(replication: Connection, name: str) -> None:
    """Have standbys synchronise a slot that was made without it. Nobody may be reading it."""
    replication.execute(f"ALTER_REPLICATION_SLOT {quote_identifier(name)} (FAILOVER true)")

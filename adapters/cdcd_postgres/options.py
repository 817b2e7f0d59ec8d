"""The `[systems.NAME]` table of a PostgreSQL system."""

from __future__ import annotations

from typing import Annotated

import msgspec

from cdcd.adapter import Identity
from cdcd.config import Secret, parse_duration
from cdcd.model import CHECKPOINT_TABLE
from cdcd_postgres.names import DEFAULT_SCHEMA, TableName, object_name

Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
Duration = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(s|m|h|d|w)$")]
SlotName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,63}$")]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """How to reach the server and what our objects in it are called. What the `dsn` sets wins over our defaults."""

    dsn: str
    """A libpq connection string or URI; without the password."""
    password: Secret | None = None
    """The role's password."""
    slot: SlotName | None = None
    """The replication slot's name; by default `cdcd_DAEMON_SYSTEM`."""
    publication: str | None = None
    """The publication's name; by default `cdcd_DAEMON_SYSTEM`. One of another owner is used and never changed."""
    checkpoint_schema: str = DEFAULT_SCHEMA
    """The schema of `cdcd_checkpoint` and `cdcd_xref`."""
    application_name: str = "cdcd"
    """How we show up in `pg_stat_activity`."""
    connect_timeout_seconds: Seconds = 10
    """How long a connection may take to be made."""
    statement_timeout_seconds: Seconds = 60
    """How long a statement may take."""
    lock_timeout_seconds: Seconds = 10
    """How long a statement may wait for a lock; then it is tried again."""
    slot_wait_seconds: Seconds = 5
    """How long to wait for a slot that another connection still uses."""
    silence_seconds: Seconds = 60
    """How long the server may be silent where it should answer, before it counts as gone."""
    outage: Duration = "3d"
    """How long cdcd may be away: `check` refuses a server that keeps its log for less."""

    @property
    def outage_seconds(self) -> float:
        """How long the server must keep its log."""
        return parse_duration(self.outage)

    def slot_name(self, identity: Identity) -> str:
        """The replication slot of `identity`."""
        return self.slot or object_name(identity)

    def publication_name(self, identity: Identity) -> str:
        """The publication of `identity`."""
        return self.publication or object_name(identity)

    @property
    def checkpoint_table(self) -> TableName:
        """Where the checkpoint rows are."""
        return TableName(self.checkpoint_schema, CHECKPOINT_TABLE)

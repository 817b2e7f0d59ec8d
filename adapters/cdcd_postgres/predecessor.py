"""Ends the connection of whoever did our work before us with the same state, if it left a transaction open.

A client that is gone without a word (a cut network, a frozen host) leaves a transaction behind that holds the checkpoint, or
the lock under which our tables are prepared, for as long as the server's kernel waits for it. So every capture and every
writer shares an advisory lock by the name of its state, for as long as its connection lives: by that a successor finds
those before it. One that is idle holds up nobody; it finds out that it is fenced. Who has other state is not touched:
the checkpoint refuses it.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Final, Literal

import psycopg

from cdcd.adapter import Identity
from cdcd_postgres.session import Connection

_SHARE: Final = "SELECT pg_catalog.pg_advisory_lock_shared($1::int4, $2::int4)"
_END: Final = """
SELECT pg_catalog.pg_terminate_backend(holder.pid)
FROM pg_catalog.pg_locks AS holder JOIN pg_catalog.pg_stat_activity AS activity USING (pid)
WHERE holder.locktype = 'advisory' AND holder.objsubid = 2 AND holder.classid = $1::int4::oid AND holder.objid = $2::int4::oid
  AND activity.datname = pg_catalog.current_database() AND activity.state <> 'idle' AND pid <> pg_catalog.pg_backend_pid()
"""
_POSITIVE: Final = 0x7FFF_FFFF
_SPACES: Final = {part: zlib.crc32(f"cdcd {part}".encode()) & _POSITIVE for part in ("capture", "writer")}


def end_predecessor(connection: Connection, identity: Identity, part: Literal["capture", "writer"]) -> None:
    """Share the lock, and end who is in a transaction with it. Raises the driver's errors.

    Where that is not allowed (the predecessor had another role), the checkpoint's own lock decides.
    """
    name = f"{identity.daemon}\0{identity.system}\0{identity.lineage}".encode()
    key = [str(_SPACES[part]), str(zlib.crc32(name) & _POSITIVE)]
    connection.execute(_SHARE, key)
    with suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute(_END, key)

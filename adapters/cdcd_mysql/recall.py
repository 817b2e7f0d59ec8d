"""Reads the rows of a prepared transaction again, from where the log holds them (`prepared`), with a dump of its own."""

from __future__ import annotations

import contextlib

from cdcd.errors import NotReady
from cdcd.model import Rows
from cdcd_mysql.assembler import Assembler
from cdcd_mysql.captured import CapturedTables
from cdcd_mysql.dump import DumpRequest
from cdcd_mysql.options import Options
from cdcd_mysql.positions import LogPosition
from cdcd_mysql.prepared import PreparedGroup
from cdcd_mysql.session import Server, Session
from cdcd_mysql.stream import BinlogStream


class Recall:
    """A dump that ends with the prepared transaction."""

    def __init__(
        self,
        options: Options,
        server_id: int,
        host_name: str,
        server: Server,
        tables: CapturedTables,
        group: PreparedGroup,
        xid: str,
    ) -> None:
        """`server_id` must not be that of another dump. Raises PositionLost when the server has purged the file."""
        position = LogPosition(group.file, group.offset, server.identity)
        self._assembler = Assembler(tables, position, is_mariadb=server.is_mariadb, verify=False, recalls=xid)
        request = DumpRequest(position, server.is_mariadb)
        self._stream = BinlogStream(options, server_id, host_name, request, self._assembler)

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self._stream.fileno()

    @property
    def is_done(self) -> bool:
        """Whether all rows were read."""
        return self._assembler.is_read

    def read(self) -> list[Rows]:
        """The rows that have arrived, bounded like a poll; `is_done` when there are no more."""
        self._stream.feed()
        events = self._assembler.take()
        return [event for event in events if isinstance(event, Rows)]

    def close(self) -> None:
        """Drop the connection."""
        self._stream.close()


def open_transactions(session: Session, server: Server) -> frozenset[tuple[object, ...]]:
    """The prepared transactions of the server; none when we may not ask for them (XA_RECOVER_ADMIN)."""
    form = "FORMAT='SQL'" if server.is_mariadb else "CONVERT XID"
    with contextlib.suppress(NotReady):
        return frozenset(map(tuple, session.rows(f"XA RECOVER {form}", "list prepared transactions")))
    return frozenset()

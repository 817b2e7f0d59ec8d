"""Notices: what the log does not show of itself, written into it as a logical message, so that it has a place there.

A partition that is attached or detached, a table that was out of the publication for a while, one that was dropped: rows
have come or gone without a trace. The source that notices writes "rows-lost SLOT TABLE" or "table-gone SLOT TABLE" into
the log and reads it back as `Op.ROWS_LOST` or `Op.TABLE_GONE`, in a transaction of its own: at the same position whenever
it is read, and by the source with that slot alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cdcd.errors import ConfigError
from cdcd.model import Op
from cdcd_postgres import statements
from cdcd_postgres.names import TableName, parse_table
from cdcd_postgres.pgoutput import MARKER_PREFIX
from cdcd_postgres.protocol import not_understood
from cdcd_postgres.session import Connection

_WORDS: Final = {Op.ROWS_LOST: "rows-lost", Op.TABLE_GONE: "table-gone"}
_OPS: Final = {word: op for op, word in _WORDS.items()}


def write_notices(connection: Connection, slot: str, op: Op, tables: Iterable[TableName]) -> None:
    """Say that `op` has happened to `tables`. Commits with the transaction that is open."""
    for table in tables:
        connection.execute(statements.EMIT_MESSAGE, [MARKER_PREFIX, f"{_WORDS[op]} {slot} {table.spelled}"])


def read_notice(content: str, slot: str) -> tuple[Op, TableName] | None:
    """What a message says of which table, None when it is something else. Raises DecodeError."""
    kind, _, rest = content.partition(" ")
    named, _, table = rest.partition(" ")
    if kind not in _OPS or named != slot:
        return None
    try:
        return _OPS[kind], parse_table(table)
    except ConfigError:
        raise not_understood("a notice of ours that names no table") from None

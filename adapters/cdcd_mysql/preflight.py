"""Looks at a server before anything is read or written, and says what is wrong and the exact SQL that mends it.

What loses changes without a word is looked at again while the source runs (`LossWatch`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from cdcd.adapter import Finding, Identity, TableNeed
from cdcd.errors import NotReady
from cdcd_mysql.options import Options
from cdcd_mysql.preflight_context import CheckContext, encryption_findings
from cdcd_mysql.preflight_log import check_clock, check_log, check_replication, check_retention
from cdcd_mysql.preflight_privileges import check_source_privileges, check_target_privileges
from cdcd_mysql.preflight_tables import (
    check_captured,
    check_cascades,
    check_checkpoint_table,
    check_table,
    check_written,
)
from cdcd_mysql.schema import read_table
from cdcd_mysql.session import Server, Session

_WATCH_SECONDS: Final = 60.0


def check_source(
    session: Session, server: Server, identity: Identity, options: Options, tables: Sequence[TableNeed]
) -> list[Finding]:
    """Everything that reading the log and chunks of `tables` needs."""
    context = CheckContext(session, server, identity, options)
    captured = [need for need in tables if need.captured]
    findings = [
        *_version(context),
        *encryption_findings(identity, options),
        *check_log(context, captured),
        *check_retention(context),
        *check_replication(context),
        *check_clock(context),
        *check_source_privileges(context, captured),
        *check_cascades(context, captured),
    ]
    for need in captured:
        table = read_table(session, server, need.table, options.database)
        findings += check_table(context, need, table)
        if table is not None and table.is_base:
            findings += check_captured(context, need, table)
    return findings


def check_target(
    session: Session, server: Server, identity: Identity, options: Options, tables: Sequence[TableNeed]
) -> list[Finding]:
    """Everything that writing to `tables` needs."""
    context = CheckContext(session, server, identity, options)
    written = [need for need in tables if need.written]
    looked_up = [need for need in tables if not need.written and not need.captured]
    findings = [
        *_version(context),
        *encryption_findings(identity, options),
        *_writable_server(context),
        *check_target_privileges(context, [*written, *looked_up]),
        *check_checkpoint_table(context),
    ]
    for need in written:
        table = read_table(session, server, need.table, options.database)
        findings += check_table(context, need, table)
        if table is not None and table.is_base:
            findings += check_written(context, need, table)
    for need in looked_up:
        findings += check_table(context, need, read_table(session, server, need.table, options.database))
    return findings


class LossWatch:
    """Notices, while the source runs, that the server begins to leave changes out of its log.

    Someone may add a foreign key with actions, change a global setting, or restart the server with a filter.
    """

    def __init__(self, identity: Identity, options: Options, tables: Sequence[TableNeed]) -> None:
        self._identity = identity
        self._options = options
        self._tables = [need for need in tables if need.captured]
        self._looked_at = float("-inf")

    def look(self, session: Session, server: Server, *, now: bool = False) -> None:
        """Look at most once a minute, or `now`. Raises NotReady with what check would say."""
        if not now and time.monotonic() - self._looked_at < _WATCH_SECONDS:
            return
        self._looked_at = time.monotonic()
        context = CheckContext(session, server, self._identity, self._options)
        findings = [*check_log(context, self._tables), *check_cascades(context, self._tables)]
        for finding in findings:
            if finding.severity == "error":
                cause = "changes may be missing from the log since then"
                remedy = f"{finding.remedy}; then run 'cdcd resync' for what is copied from the tables concerned"
                raise NotReady(finding.message, cause=cause, remedy=remedy, code=finding.code)


def _version(context: CheckContext) -> Iterator[Finding]:
    server = context.server
    oldest = (10, 5, 0) if server.is_mariadb else (8, 0, 0)
    if server.version < oldest:
        name = "MariaDB" if server.is_mariadb else "MySQL"
        version = ".".join(map(str, server.version))
        yield context.error(
            "version", "server", f"{name} {version} is too old", f"upgrade to {name} {oldest[0]}.{oldest[1]}"
        )


def _writable_server(context: CheckContext) -> Iterator[Finding]:
    have = context.settings
    if "ON" in (have.get("read_only"), have.get("super_read_only")):
        remedy = "SET GLOBAL read_only = OFF, or use the primary"
        yield context.warning("read-only", "read_only", "the server is read-only", remedy)
    if have.get("log_bin") == "ON" and have.get("binlog_format") == "STATEMENT":
        yield context.error(
            "binlog-format", "binlog_format", "the server logs statements, which READ COMMITTED cannot write",
            "SET GLOBAL binlog_format = ROW; and the same in the server's configuration",
        )  # fmt: skip

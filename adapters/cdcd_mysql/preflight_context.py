"""What every check of a server needs: a session, the server's settings, and how a finding is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cdcd.adapter import Finding, Identity, TableNeed
from cdcd.errors import NeedsOperator
from cdcd_mysql.captured import TableName, table_name
from cdcd_mysql.options import Options
from cdcd_mysql.session import Server, Session
from cdcd_mysql.statements import quote_text

_SETTINGS: Final = (
    "binlog_error_action", "binlog_expire_logs_auto_purge", "binlog_expire_logs_seconds", "binlog_format",
    "binlog_order_commits", "binlog_row_image", "binlog_row_metadata", "binlog_storage_engine", "expire_logs_days",
    "gtid_mode", "gtid_slave_pos", "innodb_flush_log_at_trx_commit", "innodb_native_foreign_keys", "log_bin",
    "log_replica_updates", "log_slave_updates", "max_binlog_total_size", "read_only", "server_id",
    "slave_connections_needed_for_purge", "super_read_only", "sync_binlog", "wsrep_on",
)  # fmt: skip


class CheckContext:
    """One look at one server. `settings` are the global variables that the checks ask for, those that the server has."""

    def __init__(self, session: Session, server: Server, identity: Identity, options: Options) -> None:
        self.session = session
        self.server = server
        self.identity = identity
        self.options = options
        self.settings = _read_settings(session)

    def error(self, code: str, subject: str, message: str, remedy: str) -> Finding:
        """Something that forbids a start."""
        return Finding("error", code, self.identity.system, subject, message, remedy)

    def warning(self, code: str, subject: str, message: str, remedy: str) -> Finding:
        """Something that a person should know."""
        return Finding("warning", code, self.identity.system, subject, message, remedy)

    def name(self, need: TableNeed) -> TableName:
        """Both names of a table."""
        return table_name(need.table, self.options.database)

    def ask(self, sql: str) -> Sequence[tuple[Any, ...]]:
        """Rows of a query; none where a missing privilege refuses it, for privileges have findings of their own."""
        try:
            return self.session.rows(sql, "look at the server")
        except NeedsOperator:
            return ()


def encryption_findings(identity: Identity, options: Options) -> Iterator[Finding]:
    """Whoever stands in the server's place reads and changes everything."""
    if not options.is_local and not options.verifies:
        yield Finding(
            "warning", "tls-unverified", identity.system, "tls",
            f"tls is {options.tls}: nothing proves that it is the server that answers",
            f'set tls = "verify-full" in [systems.{identity.system}],'
            " with tls-ca where its certificate is of an authority of your own",
        )  # fmt: skip


def _read_settings(session: Session) -> Mapping[str, str]:
    wanted = ", ".join(map(quote_text, _SETTINGS))
    rows = session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({wanted})", "read the server's settings")
    return {str(name): str(value) for name, value in rows}

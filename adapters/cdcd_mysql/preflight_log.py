"""Whether the log holds every change, as rows, for as long as we may be away; and whether only we read it by our id.

What a session leaves out with `SET sql_log_bin = 0` cannot be seen from anywhere: no server counts or logs it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from cdcd.adapter import Finding, TableNeed
from cdcd_mysql.keeping import DAY_SECONDS, limits
from cdcd_mysql.preflight_context import CheckContext

_CLOCK_OFFSET_SECONDS_MAX: Final = 2.0
_FILTERS: Final = ("binlog_do_db", "binlog_ignore_db")


class _Setting(NamedTuple):
    """A variable that must have one of the values `wanted`; the first is the one to set."""

    name: str
    wanted: tuple[str, ...]
    severity: Literal["error", "warning"]
    why: str


_SETTINGS: Final = (
    _Setting("binlog_format", ("ROW",), "error", "changes that are logged as statements do not say which rows they changed"),
    _Setting("binlog_row_metadata", ("FULL",), "error", "the log must say the names and types of columns"),
    _Setting("binlog_error_action", ("ABORT_SERVER",), "error", "a server that cannot write its log goes on without it"),
    _Setting("binlog_order_commits", ("ON", "1"), "warning", "chunks need commits in the order of the log where GTIDs are off"),
    _Setting("sync_binlog", ("1",), "warning", "a crash may lose changes from the log that were already read and delivered"),
    _Setting(
        "innodb_flush_log_at_trx_commit", ("1",), "warning", "a crash may lose changes that were already read and delivered"
    ),
)  # fmt: skip


def check_log(context: CheckContext, tables: Iterable[TableNeed]) -> Iterator[Finding]:
    """Settings of the log that lose changes or make them unreadable; what can change while the server runs among them."""
    have = context.settings
    if have.get("log_bin") != "ON":
        yield context.error(
            "no-binlog", "log_bin", "the server writes no binary log",
            "set log_bin = binlog (and server_id) in the server's configuration, and restart it",
        )  # fmt: skip
        return
    for setting in _SETTINGS:
        value = have.get(setting.name)
        if value is not None and value.upper() not in setting.wanted:
            make = context.error if setting.severity == "error" else context.warning
            yield make(
                setting.name.replace("_", "-"), setting.name, f"{setting.name} is {value}: {setting.why}",
                _set_global(setting.name, setting.wanted[0]),
            )  # fmt: skip
    yield from _row_image(context)
    yield from _unreadable_log(context)
    yield from _filters(context, tables)


def _set_global(name: str, value: object) -> str:
    return f"SET GLOBAL {name} = {value}; and {name} = {value} in the server's configuration; sessions keep what they began with"


def _row_image(context: CheckContext) -> Iterator[Finding]:
    """MINIMAL leaves out what an INSERT fills by default, and what a REPLACE resets to it: such values would be lost.

    NOBLOB does so for columns of BLOB kinds only; their tables are found in `preflight_tables`.
    """
    if context.settings.get("binlog_row_image", "FULL").upper() == "MINIMAL":
        yield context.error(
            "binlog-row-image", "binlog_row_image", "binlog_row_image is MINIMAL: values that are filled in by default are not logged",
            _set_global("binlog_row_image", "FULL"),
        )  # fmt: skip


def _unreadable_log(context: CheckContext) -> Iterator[Finding]:
    have = context.settings
    if "binlog_row_metadata" not in have:
        yield context.error(
            "binlog-row-metadata", "binlog_row_metadata", "the server cannot log column names",
            "upgrade to MariaDB 10.5 or MySQL 8.0",
        )  # fmt: skip
    if engine := have.get("binlog_storage_engine"):
        yield context.error(
            "binlog-storage-engine", "binlog_storage_engine", f"the log is kept in {engine}, without files and offsets",
            "remove binlog_storage_engine from the server's configuration, and restart it",
        )  # fmt: skip


def _filters(context: CheckContext, tables: Iterable[TableNeed]) -> Iterator[Finding]:
    """The filters are no variables before MariaDB 11.7, but the log's status shows them."""
    row = context.ask(context.server.log_status_sql)
    logged, ignored = (set(str(value).split(",")) - {""} for value in row[0][2:4]) if row else (set(), set())
    databases = {context.options.database, *(context.name(need).database for need in tables)}
    for database in sorted(databases):
        if (logged and database not in logged) or database in ignored:
            yield context.error(
                "binlog-filter", database, f"the log leaves out database {database}",
                f"remove {' and '.join(_FILTERS)} from the server's configuration, and restart it",
            )  # fmt: skip


# ---- how long it is kept -------------------------------------------------------------------------------------------


def check_retention(context: CheckContext) -> Iterator[Finding]:
    """Whether the log reaches back as far as the configured outage."""
    have, outage_seconds = context.settings, context.options.outage_seconds
    limit = limits(have)
    seconds = limit.keep_seconds
    if 0 < seconds < outage_seconds:
        name = "binlog_expire_logs_seconds" if "binlog_expire_logs_seconds" in have else "expire_logs_days"
        value = math.ceil(outage_seconds if name.endswith("seconds") else outage_seconds / DAY_SECONDS)
        yield context.error(
            "binlog-expiry", name,
            f"the log is kept for {_hours(seconds)}, but an outage may last {_hours(outage_seconds)} (outage)",
            f"SET GLOBAL {name} = {value}; and the same in the server's configuration;"
            f" or a shorter outage in [systems.{context.identity.system}]",
        )  # fmt: skip
    if limit.size_bytes_max:
        yield context.warning(
            "binlog-size", "max_binlog_total_size", "the log is kept by size: how long it reaches back is not known",
            "SET GLOBAL max_binlog_total_size = 0; or SET GLOBAL slave_connections_needed_for_purge = 1 and give it room",
        )  # fmt: skip


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours"


# ---- the server among others ---------------------------------------------------------------------------------------


def check_replication(context: CheckContext) -> Iterator[Finding]:
    """GTIDs, what a replica logs, and server ids."""
    mode = context.settings.get("gtid_mode", "ON")
    if not context.server.is_mariadb and mode != "ON":
        yield context.warning(
            "gtid-mode", "gtid_mode", f"gtid_mode is {mode}: after a failover to another server the position is lost",
            "SET GLOBAL enforce_gtid_consistency = ON; then gtid_mode through OFF_PERMISSIVE and ON_PERMISSIVE to ON;"
            " and both in the server's configuration",
        )  # fmt: skip
    yield from _replica(context)
    yield from _server_id(context)


def _replica(context: CheckContext) -> Iterator[Finding]:
    """A replica, or a Galera node, that does not log what the others changed."""
    have = context.settings
    name = "log_replica_updates" if "log_replica_updates" in have else "log_slave_updates"
    if have.get("log_bin") != "ON" or have.get(name, "ON") == "ON":
        return
    remedy = f"set {name} = ON in the server's configuration, and restart it; or read the primary"
    if have.get("wsrep_on") == "ON":
        yield context.error(
            "replica-log", name, f"{name} is OFF: changes made on other Galera nodes are not logged", remedy
        )
    elif context.ask(_replica_status_sql(context)):
        yield context.error("replica-log", name, f"the server is a replica, and {name} is OFF: what it replicates is not logged", remedy)  # fmt: skip
    elif have.get("gtid_slave_pos"):
        yield context.warning("replica-log", name, f"the server has been a replica, and {name} is OFF: what it replicates is not logged", remedy)  # fmt: skip


def _replica_status_sql(context: CheckContext) -> str:
    server = context.server
    if server.is_mariadb:
        return "SHOW ALL SLAVES STATUS"
    return "SHOW REPLICA STATUS" if server.version >= (8, 0, 22) else "SHOW SLAVE STATUS"


def _server_id(context: CheckContext) -> Iterator[Finding]:
    """Whether another replica has our server id; ours is known by its host name."""
    ours, own_name = context.options.replica_id(context.identity), f"cdcd-{context.identity.daemon}-"
    if str(ours) == context.settings.get("server_id"):
        yield _server_id_finding(context, f"the server itself has server id {ours}")
        return
    for number, host, *_ in context.ask(context.server.replicas_sql):
        if int(number) == ours and not str(host).startswith(own_name):
            yield _server_id_finding(context, f"another replica ({host}) has server id {ours}")


def _server_id_finding(context: CheckContext, message: str) -> Finding:
    remedy = f"set server-id in [systems.{context.identity.system}] to a number that no server or replica has"
    return context.error("server-id-in-use", "server-id", message, remedy)


def check_clock(context: CheckContext) -> Iterator[Finding]:
    """Whether the server's clock is ours, as far as the answer's way tells."""
    asked = time.time()
    rows = context.session.rows("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) AS CHAR)", "read the server's clock")
    answered = time.time()
    seconds = float(rows[0][0])
    offset_seconds = max(asked - seconds, seconds - answered)
    if offset_seconds > _CLOCK_OFFSET_SECONDS_MAX:
        yield context.warning(
            "clock-offset", "clock", f"the server's clock and ours differ by {offset_seconds:.0f} s: lags will be shown wrong",
            "let both machines follow the same time server (timedatectl set-ntp true)",
        )  # fmt: skip

"""Looks at a server before anything is read or written, and says what is wrong and the exact SQL that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from cdcd.adapter import Finding, Identity, TableNeed
from cdcd.errors import NeedsOperator
from cdcd.model import CHECKPOINT_TABLE
from cdcd_mysql.captured import TableName, table_name
from cdcd_mysql.options import Options
from cdcd_mysql.schema import LiveTable, read_table
from cdcd_mysql.session import Server, Session
from cdcd_mysql.snapshot import BARRIER_TABLE
from cdcd_mysql.statements import quote_name, quote_table, quote_text

_EXPIRY_SECONDS_MIN: Final = 24 * 3600
_CASCADING: Final = ("CASCADE", "SET NULL", "SET DEFAULT")
Severity = Literal["error", "warning"]


class _Context(msgspec.Struct, frozen=True):
    """What every check needs."""

    session: Session
    server: Server
    identity: Identity
    options: Options

    def finding(self, severity: Severity, code: str, subject: str, message: str, remedy: str) -> Finding:
        return Finding(severity, code, self.identity.system, subject, message, remedy)

    def variables(self, *names: str) -> dict[str, str]:
        """Global variables, those that the server has."""
        wanted = ", ".join(map(quote_text, names))
        rows = self.session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({wanted})", "read the settings")
        return {str(name): str(value) for name, value in rows}


def check_source(
    session: Session, server: Server, identity: Identity, options: Options, tables: Sequence[TableNeed]
) -> list[Finding]:
    """Everything that reading the log and chunks of `tables` needs."""
    context = _Context(session, server, identity, options)
    captured = [need for need in tables if need.captured]
    findings = [
        *_version(context),
        *_log_settings(context),
        *_server_id(context),
        *_source_privileges(context, captured),
    ]
    for need in captured:
        table = read_table(session, server, need.table, options.database)
        findings += _table(context, need, table)
        if table is not None:
            findings += [*_readable(context, table), *_cascades(context, table)]
    return findings


def check_target(
    session: Session, server: Server, identity: Identity, options: Options, tables: Sequence[TableNeed]
) -> list[Finding]:
    """Everything that writing to `tables` needs."""
    context = _Context(session, server, identity, options)
    written = [need for need in tables if need.written]
    findings = [*_version(context), *_writable_server(context), *_target_privileges(context, written)]
    for need in written:
        table = read_table(session, server, need.table, options.database)
        findings += _table(context, need, table)
        if table is not None:
            findings += _unique_key(context, need, table)
    return findings


# ---- the server ----------------------------------------------------------------------------------------------------------


def _version(context: _Context) -> Iterator[Finding]:
    server = context.server
    oldest = (10, 5, 0) if server.is_mariadb else (8, 0, 0)
    if server.version < oldest:
        name = "MariaDB" if server.is_mariadb else "MySQL"
        version = ".".join(map(str, server.version))
        yield context.finding(
            "error", "version", "server", f"{name} {version} is too old", f"upgrade to {name} {oldest[0]}.{oldest[1]}"
        )


def _log_settings(context: _Context) -> Iterator[Finding]:
    have = context.variables(*(name for name, *_ in _SETTINGS), "log_bin", *_FILTERS, *_EXPIRY)
    if have.get("log_bin") != "ON":
        yield context.finding(
            "error", "no-binlog", "log_bin", "the server writes no binary log",
            "set log_bin = binlog (and server_id) in the server's configuration, and restart it",
        )  # fmt: skip
        return
    for name, wanted, severity, why in _SETTINGS:
        value = have.get(name)
        if value is not None and value.upper() not in wanted:
            yield context.finding(
                severity, name.replace("_", "-"), name, f"{name} is {value}: {why}",
                f"SET GLOBAL {name} = {wanted[0]}; and {name} = {wanted[0]} in the server's configuration",
            )  # fmt: skip
    if "binlog_row_metadata" not in have:
        yield context.finding(
            "error", "binlog-row-metadata", "binlog_row_metadata", "the server cannot log column names",
            "upgrade to MariaDB 10.5 or MySQL 8.0",
        )  # fmt: skip
    yield from _filters(context)
    yield from _expiry(context, have)


_SETTINGS: Final[tuple[tuple[str, tuple[str, ...], Severity, str], ...]] = (
    ("binlog_format", ("ROW",), "error", "changes must be logged as rows"),
    ("binlog_row_metadata", ("FULL",), "error", "the log must say the names and types of columns"),
    ("binlog_row_image", ("FULL",), "warning", "columns that did not change are missing from updates"),
    ("binlog_transaction_compression", ("OFF", "0"), "error", "compressed transactions are not read yet"),
    ("binlog_row_value_options", ("''", ""), "error", "partial JSON updates are not read"),
    ("binlog_order_commits", ("ON", "1"), "warning", "chunks need commits in the order of the log where GTIDs are off"),
)
_FILTERS: Final = ("binlog_do_db", "binlog_ignore_db")
_EXPIRY: Final = ("binlog_expire_logs_seconds", "expire_logs_days")


def _filters(context: _Context) -> Iterator[Finding]:
    """The filters are no variables before MariaDB 11.7, but the log's status shows them."""
    row = _or_nothing(context, context.server.log_status_sql)
    logged, ignored = (set(str(value).split(",")) - {""} for value in row[0][2:4]) if row else (set(), set())
    database = context.options.database
    if (logged and database not in logged) or database in ignored:
        yield context.finding(
            "error", "binlog-filter", database, f"the log leaves out database {database}",
            f"remove {' and '.join(_FILTERS)} from the server's configuration, and restart it",
        )  # fmt: skip


def _expiry(context: _Context, have: Mapping[str, str]) -> Iterator[Finding]:
    seconds = int(have.get("binlog_expire_logs_seconds", "0"))
    if not seconds:
        seconds = int(float(have.get("expire_logs_days", "0")) * 86_400)
    if 0 < seconds < _EXPIRY_SECONDS_MIN:
        name = "binlog_expire_logs_seconds" if "binlog_expire_logs_seconds" in have else "expire_logs_days"
        value = 7 * 86_400 if name.endswith("seconds") else 7
        yield context.finding(
            "warning", "binlog-expiry", name, f"the log is kept for {seconds / 3600:.0f} hours only",
            f"SET GLOBAL {name} = {value}; and the same in the server's configuration",
        )  # fmt: skip


def _server_id(context: _Context) -> Iterator[Finding]:
    """Whether another replica has our server id; ours is known by its host name."""
    ours, own_name = context.options.replica_id(context.identity), f"cdcd-{context.identity.daemon}-"
    if str(ours) == context.variables("server_id").get("server_id"):
        yield _server_id_finding(context, f"the server itself has server id {ours}")
        return
    rows = _or_nothing(context, context.server.replicas_sql)
    for number, host, *_ in rows:
        if int(number) == ours and not str(host).startswith(own_name):
            yield _server_id_finding(context, f"another replica ({host}) has server id {ours}")


def _server_id_finding(context: _Context, message: str) -> Finding:
    remedy = f"set server-id in [systems.{context.identity.system}] to a number that no server or replica has"
    return context.finding("error", "server-id-in-use", "server-id", message, remedy)


def _or_nothing(context: _Context, sql: str) -> Sequence[tuple[Any, ...]]:
    """Rows of a query that a missing privilege refuses: the privilege has a finding of its own."""
    try:
        return context.session.rows(sql, "look at the server")
    except NeedsOperator:
        return ()


def _writable_server(context: _Context) -> Iterator[Finding]:
    have = context.variables("read_only", "super_read_only", "binlog_format", "log_bin")
    if "ON" in (have.get("read_only"), have.get("super_read_only")):
        yield context.finding(
            "warning",
            "read-only",
            "read_only",
            "the server is read-only",
            "SET GLOBAL read_only = OFF, or use the primary",
        )
    if have.get("log_bin") == "ON" and have.get("binlog_format") == "STATEMENT":
        yield context.finding(
            "error", "binlog-format", "binlog_format", "the server logs statements, which READ COMMITTED cannot write",
            "SET GLOBAL binlog_format = ROW; and the same in the server's configuration",
        )  # fmt: skip


# ---- privileges ------------------------------------------------------------------------------------------------------------

_GRANT: Final = re.compile(r"GRANT (?P<what>.+?) ON (?P<on>.+?) TO ", re.IGNORECASE)
_COLUMN_LIST: Final = re.compile(r"\([^)]*\)")


class _Grants:
    """What the user may do, as SHOW GRANTS says it. Roles count as far as they are active."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._grants: list[tuple[frozenset[str], str]] = []
        for line in lines:
            match = _GRANT.match(line)
            if match:
                what = _COLUMN_LIST.sub("", match["what"]).upper()
                self._grants.append((frozenset(part.strip() for part in what.split(",")), match["on"]))

    def allows(self, privileges: Iterable[str], name: TableName | None) -> bool:
        """Whether any of `privileges` (synonyms) is given on the table, or globally where there is none."""
        wanted = {"ALL PRIVILEGES", "ALL", *privileges}
        return any(wanted & have and _covers(on, name) for have, on in self._grants)


def _covers(on: str, name: TableName | None) -> bool:
    """Whether the object of a grant includes a table: `shop`.*, or with wildcards that a backslash escapes."""
    if on == "*.*":
        return True
    database, _, table = on.partition(".")
    if name is None:
        return False
    database = database.strip("`").replace("``", "`")
    parts = re.split(r"(\\.|%|_)", database)
    wild = {"%": ".*", "_": "."}
    pattern = "".join(wild.get(part) or re.escape(part[-1] if part.startswith("\\") else part) for part in parts)
    is_database = re.fullmatch(pattern, name.database, re.DOTALL) is not None
    return is_database and table in ("*", quote_name(name.table))


def _grants(context: _Context) -> _Grants:
    rows = context.session.rows("SHOW GRANTS", "read our privileges")
    return _Grants(str(row[0]) for row in rows)


def _lacking(grants: _Grants, name: TableName, privileges: Sequence[str]) -> list[str]:
    return [privilege for privilege in privileges if not grants.allows((privilege,), name)]


def _missing(context: _Context, privileges: Sequence[str], on: str) -> Iterator[Finding]:
    """One finding for all that is missing on an object."""
    if privileges:
        names, user = ", ".join(privileges), context.options.user
        yield context.finding(
            "error", "privilege", on, f"user {user} lacks {names} on {on}", f"GRANT {names} ON {on} TO {quote_text(user)}@'…'"
        )  # fmt: skip


def _source_privileges(context: _Context, tables: Sequence[TableNeed]) -> Iterator[Finding]:
    grants = _grants(context)
    status = ("BINLOG MONITOR" if context.server.is_mariadb else "REPLICATION CLIENT", "REPLICATION CLIENT", "SUPER")
    replica = ("REPLICATION SLAVE", "REPLICATION REPLICA")
    yield from _missing(context, [names[0] for names in (replica, status) if not grants.allows(names, None)], "*.*")
    for need in tables:
        name = table_name(need.table, context.options.database)
        yield from _missing(context, _lacking(grants, name, ("SELECT",)), quote_table(name))
    if not context.server.has_gtids:
        barrier = TableName(context.options.database, BARRIER_TABLE)
        yield from _own_table(context, grants, barrier, ("INSERT", "UPDATE"))


def _target_privileges(context: _Context, tables: Sequence[TableNeed]) -> Iterator[Finding]:
    grants = _grants(context)
    checkpoint = TableName(context.options.database, CHECKPOINT_TABLE)
    yield from _own_table(context, grants, checkpoint, ("SELECT", "INSERT", "UPDATE"))
    for need in tables:
        name = table_name(need.table, context.options.database)
        yield from _missing(
            context, _lacking(grants, name, ("SELECT", "INSERT", "UPDATE", "DELETE")), quote_table(name)
        )


def _own_table(context: _Context, grants: _Grants, name: TableName, privileges: Sequence[str]) -> Iterator[Finding]:
    """A table that we make: on one that does not exist yet, rights can be granted only together with CREATE."""
    exists = read_table(context.session, context.server, name.table, name.database) is not None
    lacking = _lacking(grants, name, privileges if exists else ("CREATE", *privileges))
    if lacking and not exists and "CREATE" not in lacking:
        lacking = ["CREATE", *lacking]
    yield from _missing(context, lacking, quote_table(name))


# ---- tables ----------------------------------------------------------------------------------------------------------------


def _table(context: _Context, need: TableNeed, table: LiveTable | None) -> Iterator[Finding]:
    if table is None:
        yield context.finding(
            "error", "table-missing", need.table, f"table {need.table} does not exist",
            "create it, or correct the configuration",
        )  # fmt: skip
        return
    name = quote_table(table.name)
    for column in dict.fromkeys((*need.key, *need.columns)):
        if table.column(column) is None:
            yield context.finding(
                "error", "column-missing", need.table, f"table {need.table} has no column {column}",
                f"ALTER TABLE {name} ADD COLUMN {quote_name(column)} …, or correct the configuration",
            )  # fmt: skip
    if not table.is_base:
        yield context.finding(
            "error", "table-kind", need.table, f"{need.table} is no plain table but a {table.kind.lower()}",
            "name plain tables in the configuration; ALTER TABLE … DROP SYSTEM VERSIONING makes one of a versioned table",
        )  # fmt: skip
    elif table.engine.upper() != "INNODB":
        yield context.finding(
            "warning", "engine", need.table, f"{need.table} has engine {table.engine}, without transactions",
            f"ALTER TABLE {name} ENGINE = InnoDB",
        )  # fmt: skip


def _readable(context: _Context, table: LiveTable) -> Iterator[Finding]:
    """Whether rows can be told apart, and every column be decoded."""
    if not table.primary_key:
        yield context.finding(
            "error", "no-primary-key", table.spelled, f"table {table.spelled} has no primary key",
            f"ALTER TABLE {quote_table(table.name)} ADD PRIMARY KEY (…)",
        )  # fmt: skip
    for column in table.columns:
        if column.charset is not None and column.charset.decode is None:
            yield context.finding(
                "error", "charset", table.spelled,
                f"column {column.name} has character set {column.charset.name}, which is not supported",
                f"ALTER TABLE {quote_table(table.name)} CONVERT TO CHARACTER SET utf8mb4",
            )  # fmt: skip


def _cascades(context: _Context, table: LiveTable) -> Iterator[Finding]:
    """Rows that a foreign key changes are not logged (MySQL bug 32506; logged from MySQL 9.6 on)."""
    actions = ", ".join(map(quote_text, _CASCADING))
    rows = context.session.rows(
        "SELECT constraint_name, referenced_table_name, delete_rule, update_rule"
        " FROM information_schema.referential_constraints"
        f" WHERE constraint_schema = {quote_text(table.name.database)} AND table_name = {quote_text(table.name.table)}"
        f" AND (delete_rule IN ({actions}) OR update_rule IN ({actions}))",
        f"list foreign keys of table {table.spelled}",
    )
    for constraint, parent, on_delete, on_update in rows:
        yield context.finding(
            "warning", "cascade", table.spelled,
            f"foreign key {constraint} to {parent} (ON DELETE {on_delete}, ON UPDATE {on_update}) changes rows of"
            f" {table.spelled} that the log does not show",
            f"ALTER TABLE {quote_table(table.name)} DROP FOREIGN KEY {quote_name(constraint)}, and add it with RESTRICT",
        )  # fmt: skip


def _unique_key(context: _Context, need: TableNeed, table: LiveTable) -> Iterator[Finding]:
    key = need.key or table.primary_key
    if key and any(set(unique) <= set(key) for unique in table.unique_keys):
        return
    columns = ", ".join(map(quote_name, key)) or "…"
    yield context.finding(
        "error", "key-not-unique", need.table, f"key ({', '.join(key)}) of table {need.table} is not unique",
        f"ALTER TABLE {quote_table(table.name)} ADD UNIQUE KEY ({columns})",
    )  # fmt: skip

"""Preflight: what would stop a source or target later, found before, each with the statement that mends it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from msgspec import structs
from psycopg.conninfo import conninfo_to_dict

from cdcd.adapter import Finding, Identity, TableNeed
from cdcd.model import XREF_TABLE
from cdcd_postgres import encryption, statements
from cdcd_postgres.catalog import Catalog, CatalogTable
from cdcd_postgres.grants import listed
from cdcd_postgres.names import TableName, parse_table, quote_identifier
from cdcd_postgres.options import Options
from cdcd_postgres.publication import Publication, read_publication, repairs
from cdcd_postgres.retention import read_retention, retention_problems
from cdcd_postgres.session import Connection
from cdcd_postgres.slots import read_slot
from cdcd_postgres.watch import look

VERSION_MIN: Final = 140_000
_KINDS: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_SOURCE_ROLE: Final = """
SELECT r.rolreplication OR r.rolsuper
  OR EXISTS (SELECT FROM pg_catalog.pg_roles m WHERE m.rolname = 'rds_replication' AND pg_has_role(m.oid, 'MEMBER')),
  r.rolsuper OR r.rolbypassrls, r.rolname::text
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""
_CAPACITY: Final = """
SELECT current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_catalog.pg_replication_slots),
  current_setting('max_wal_senders')::int, (SELECT count(*) FROM pg_catalog.pg_stat_replication)
"""
_PRIVILEGES: Final = """
SELECT wanted.privilege FROM unnest($2::text[]) AS wanted(privilege)
WHERE NOT has_table_privilege($1::oid, wanted.privilege)
  AND NOT (wanted.privilege <> 'DELETE' AND (
    SELECT coalesce(bool_and(has_column_privilege($1::oid, a.attnum, wanted.privilege)), false)
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::oid AND a.attname = ANY ($3::text[])))
"""
_ROW_SECURITY: Final = "SELECT row_security_active($1::oid)"
_SCHEMA: Final = """
SELECT has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace
WHERE nspname = $1
"""


class _Check:
    """What one check has found so far."""

    def __init__(self, connection: Connection, identity: Identity, options: Options) -> None:
        self.connection = connection
        self.identity = identity
        self.options = options
        self.catalog = Catalog(connection)
        self.findings: list[Finding] = []
        row = self.one(statements.SERVER)
        self.version, self.standby, self.wal_level, self.encoding, self.database, self.role = row

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The only row of a query."""
        row = self.connection.execute(sql, parameters).fetchone()
        assert row is not None
        return row

    def error(self, code: str, subject: str, message: str, remedy: str) -> None:
        """Something that keeps us from working."""
        self.add("error", code, subject, message, remedy)

    def warning(self, code: str, subject: str, message: str, remedy: str) -> None:
        """Something that a person should know."""
        self.add("warning", code, subject, message, remedy)

    def add(self, severity: Literal["error", "warning"], code: str, subject: str, message: str, remedy: str) -> None:
        """A finding."""
        self.findings.append(Finding(severity, code, self.identity.system, subject, message, remedy))


def check_source(
    connection: Connection, identity: Identity, options: Options, tables: Sequence[TableNeed]
) -> Sequence[Finding]:
    """Everything that capture needs of the server and of the captured ones of `tables`."""
    check = _Check(connection, identity, options)
    _check_server(check)
    _check_logging(check)
    _check_replication_role(check)
    _check_slot(check)
    for problem in retention_problems(read_retention(connection), options.outage_seconds):
        check.add(*problem)
    captured = [need for need in tables if need.captured]
    found = [table for need, table in _existing(check, captured) if _check_captured(check, need, table)]
    _check_publication(check, found, written=any(need.written for need in tables))
    return check.findings


def check_target(
    connection: Connection, identity: Identity, options: Options, tables: Sequence[TableNeed]
) -> Sequence[Finding]:
    """Everything that delivery needs of the server and of the written ones of `tables`."""
    check = _Check(connection, identity, options)
    _check_server(check)
    _check_checkpoint_table(check)
    for need, table in _existing(check, [need for need in tables if need.written]):
        _check_written(check, need, table)
    for need, table in _existing(check, [need for need in tables if not need.written and not need.captured]):
        _check_readable(check, need, table, "looking rows up")
    return check.findings


# ---- the server --------------------------------------------------------------------------------------------------


def _check_server(check: _Check) -> None:
    _check_encryption(check)
    if check.version < VERSION_MIN:
        check.error("version", "server", f"PostgreSQL {check.version // 10_000} is too old", "upgrade to 14 or later")
    if check.standby:
        check.error("standby", "server", "the server is a standby", "name the primary in the dsn")
    if check.encoding == "SQL_ASCII":
        check.warning(
            "encoding",
            check.database,
            "the database's encoding is SQL_ASCII: a text that is not UTF-8 would stop capture",
            "move the data to a database with encoding UTF8",
        )


def _check_encryption(check: _Check) -> None:
    """Whoever stands in the server's place reads and changes everything."""
    given = conninfo_to_dict(check.options.dsn)
    if encryption.is_local(given, os.environ) or encryption.proves(given, os.environ):
        return
    mode = encryption.ssl_mode(given, os.environ)
    check.warning(
        "tls-unverified",
        "dsn",
        f"sslmode is {mode}: nothing proves that it is the server that answers",
        "write sslmode=verify-full into the dsn, with sslrootcert=… where the certificate is of an authority of your own",
    )


def _check_logging(check: _Check) -> None:
    if check.wal_level != "logical":
        check.error(
            "wal-level",
            "wal_level",
            f"wal_level is {check.wal_level}: the log does not carry rows",
            "ALTER SYSTEM SET wal_level = 'logical'; then restart the server",
        )
    slots_max, slot_count, senders_max, sender_count = check.one(_CAPACITY)
    slot = read_slot(check.connection, check.options.slot_name(check.identity))
    if slot is None and slot_count >= slots_max:
        check.error(
            "slots-used-up",
            "max_replication_slots",
            f"all {slots_max} replication slots are in use",
            f"ALTER SYSTEM SET max_replication_slots = {slots_max + 5}; then restart the server",
        )
    if (slot is None or slot.active_pid is None) and sender_count >= senders_max:
        check.error(
            "senders-used-up",
            "max_wal_senders",
            f"all {senders_max} walsenders are in use",
            f"ALTER SYSTEM SET max_wal_senders = {senders_max + 5}; then restart the server",
        )


def _check_replication_role(check: _Check) -> None:
    replication, _, role = check.one(_SOURCE_ROLE)
    if not replication:
        check.error(
            "privilege",
            role,
            f"role {role} may not replicate",
            f"ALTER ROLE {quote_identifier(role)} REPLICATION;",
        )


def _check_slot(check: _Check) -> None:
    name = check.options.slot_name(check.identity)
    slot = read_slot(check.connection, name)
    if slot is None:
        return
    if not slot.is_ours(check.database):
        check.error(
            "slot-foreign",
            name,
            f"slot {name} exists with plug-in {slot.plugin} in database {slot.database}",
            "set 'slot' in the system's configuration to another name",
        )
    elif slot.lost:
        check.error(
            "slot-lost",
            name,
            f"slot {name} was invalidated ({slot.invalidation or 'wal_removed'}): the log after our position is gone",
            f"run 'cdcd resync' for {check.identity.system}",
        )
    elif slot.wal_status == "unreserved":
        check.warning(
            "slot-endangered",
            name,
            f"slot {name} keeps more log than max_slot_wal_keep_size allows; the next checkpoint may invalidate it",
            "start the daemon and let it catch up, or raise max_slot_wal_keep_size",
        )


def _check_publication(check: _Check, tables: Sequence[CatalogTable], *, written: bool) -> None:
    name = check.options.publication_name(check.identity)
    checkpoint = check.catalog.table(check.options.checkpoint_table)
    tables = [*tables, *([checkpoint] if checkpoint is not None else [])]
    found = read_publication(check.connection, name)
    if found is not None and found.covers(tables):
        return
    sql = repairs(found, name, tables, exactly=check.options.publication is None)
    if found is not None and not found.owned:
        problem = f"publication {name} belongs to role {found.owner} and {_what_it_lacks(found, tables)}"
    elif cause := _why_not_publishable(check, tables, new=found is None):
        problem = (
            f"publication {name} cannot be {'created' if found is None else 'changed'} by role {check.role}: {cause}"
        )
    else:
        return  # `Source.start` will do it
    if written and checkpoint is None:
        problem += "; it must also list the checkpoint table once that exists"
    check.error("publication", name, problem, " ".join(f"{statement};" for statement in sql))


def _what_it_lacks(found: Publication, tables: Sequence[CatalogTable]) -> str:
    if missing := [table.table_name.spelled for table in tables if table.table_name not in found.tables]:
        return f"does not list {', '.join(sorted(missing))}"
    if found.filtered:
        return "leaves out rows or columns: it has a row filter or a column list"
    return "does not carry all of insert, update, delete and truncate, or partitions not under the name of their root"


def _why_not_publishable(check: _Check, tables: Sequence[CatalogTable], *, new: bool) -> str:
    if new and not check.one("SELECT has_database_privilege(current_database(), 'CREATE')")[0]:
        return f"it may not create anything in database {check.database}"
    for table in tables:
        sql = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class WHERE oid = $1::oid"
        if not check.one(sql, [str(table.oid)])[0]:
            return f"it does not own table {table.table_name.spelled}"
    return ""


def _check_checkpoint_table(check: _Check) -> None:
    name = check.options.checkpoint_table
    table = check.catalog.table(name)
    role = quote_identifier(check.role)
    if table is not None:
        if missing := _missing_privileges(check, table, ("SELECT", "INSERT", "UPDATE"), ()):
            check.error(
                "privilege",
                name.spelled,
                f"role {check.role} lacks {', '.join(missing)} on the checkpoint table",
                f"GRANT {', '.join(missing)} ON {name.sql} TO {role};",
            )
        return
    _check_may_create(check, name, "the checkpoint table")


def _check_may_create(check: _Check, name: TableName, what: str) -> None:
    schema = check.connection.execute(_SCHEMA, [name.schema]).fetchone()
    quoted, role = quote_identifier(name.schema), quote_identifier(check.role)
    if schema is None:
        check.error(
            "schema-missing",
            name.schema,
            f"there is no schema {name.schema} for {what}",
            f"CREATE SCHEMA {quoted} AUTHORIZATION {role};",
        )
    elif not all(schema):
        check.error(
            "privilege",
            name.schema,
            f"role {check.role} may not create {what} in schema {name.schema}",
            f"GRANT USAGE, CREATE ON SCHEMA {quoted} TO {role};",
        )


# ---- tables ------------------------------------------------------------------------------------------------------


def _existing(check: _Check, needs: Sequence[TableNeed]) -> Iterator[tuple[TableNeed, CatalogTable]]:
    """Those needs whose table exists and is one; the columns that they name are checked."""
    names = {need.table: parse_table(need.table) for need in needs}
    found = check.catalog.tables(list(names.values()))
    for need in needs:
        table = found.get(names[need.table])
        if table is None and names[need.table].name == XREF_TABLE:
            _check_may_create(check, names[need.table], f"table {XREF_TABLE}")
        elif table is None:
            check.error(
                "table-missing",
                need.table,
                f"table {need.table} does not exist, or its schema is not visible",
                "correct the table in the configuration, or create it" + _similar(check, names[need.table]),
            )
        elif table.kind in _KINDS:
            check.error("not-a-table", need.table, f"{need.table} is {_KINDS[table.kind]}", "name the table behind it")
        else:
            _check_columns(check, need, table)
            yield need, table


def _similar(check: _Check, name: TableName) -> str:
    """Names that differ in case or schema only: the usual reason."""
    sql = """SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE lower(c.relname) = lower($1) AND c.relkind IN ('r', 'p') ORDER BY 1, 2 LIMIT 3"""
    rows = check.connection.execute(sql, [name.name]).fetchall()
    return f"; there is {', '.join(TableName(*row).spelled for row in rows)}" if rows else ""


def _check_columns(check: _Check, need: TableNeed, table: CatalogTable) -> None:
    existing = {column.name for column in table.columns}
    for name in dict.fromkeys((*need.key, *need.columns)):
        if name not in existing:
            check.error(
                "column-missing",
                need.table,
                f"table {need.table} has no column {name}",
                f"correct the column in the configuration; there are {', '.join(sorted(existing))}",
            )


def _check_captured(check: _Check, need: TableNeed, table: CatalogTable) -> bool:
    """Check a table that is read from the log; return whether it can be published."""
    if table.persistence != "p":
        kind = "unlogged" if table.persistence == "u" else "temporary"
        remedy = f"ALTER TABLE {table.table_name.sql} SET LOGGED;"
        check.error("not-logged", need.table, f"table {need.table} is {kind}: its changes are not in the log", remedy)
        return False
    _check_replica_identity(check, need, table)
    _check_partitions(check, need, table)
    _check_key(check, need, table)
    generated = {column.name for column in table.columns if column.generated}
    for name in sorted(generated & {*need.key, *need.columns}):
        message = f"column {name} of {need.table} is generated: the log does not carry it"
        check.error("generated-column", need.table, message, "capture the columns that it is computed from")
    whole = structs.replace(need, columns=())  # the log carries rows whole, and so must the copy
    _check_readable(check, whole, table, "reading the existing rows")
    return True


def _check_readable(check: _Check, need: TableNeed, table: CatalogTable, what: str) -> None:
    if missing := _missing_privileges(check, table, ("SELECT",), need.columns):
        check.error(
            "privilege",
            need.table,
            f"role {check.role} lacks SELECT on {need.table}, which {what} needs",
            f"GRANT {', '.join(missing)} ON {table.table_name.sql} TO {quote_identifier(check.role)};",
        )
    else:
        _check_row_security(check, need, table)


def _check_partitions(check: _Check, need: TableNeed, table: CatalogTable) -> None:
    """Partitions that do not write to the log, or name their rows otherwise than the table does."""
    for part in look(check.connection, [table.table_name])[table.table_name].parts if table.kind == "p" else ():
        if part.kind == "f":
            check.error(
                "not-logged",
                need.table,
                f"partition {part.name} of {need.table} is a foreign table: its changes are not in the log",
                f"ALTER TABLE {table.table_name.sql} DETACH PARTITION {part.name};",
            )
        elif part.persistence != "p":
            message = f"partition {part.name} of {need.table} is unlogged: its changes are not in the log"
            check.error("not-logged", need.table, message, f"ALTER TABLE {part.name} SET LOGGED;")
        elif part.file and part.replica_identity not in (table.replica_identity, "f"):
            identity = {"f": "FULL", "d": "DEFAULT"}.get(table.replica_identity)
            check.add(
                "warning" if part.replica_identity == "d" and table.primary_key else "error",
                "replica-identity",
                need.table,
                f"partition {part.name} of {need.table} has another replica identity than the table",
                f"ALTER TABLE {part.name} REPLICA IDENTITY {identity or 'USING INDEX …'};",
            )


def _check_replica_identity(check: _Check, need: TableNeed, table: CatalogTable) -> None:
    name = table.table_name.sql
    if table.replica_identity == "n":
        check.error(
            "replica-identity",
            need.table,
            f"table {need.table} has REPLICA IDENTITY NOTHING: once it is published, updates and deletes fail",
            f"ALTER TABLE {name} REPLICA IDENTITY DEFAULT;",
        )
    elif table.replica_identity == "d" and not table.primary_key:
        check.error(
            "replica-identity",
            need.table,
            f"table {need.table} has no primary key: once it is published, updates and deletes fail",
            f"ALTER TABLE {name} ADD PRIMARY KEY (…); or ALTER TABLE {name} REPLICA IDENTITY USING INDEX …;",
        )
    elif not table.is_unique(table.identity):
        check.error(
            "no-primary-key",
            need.table,
            f"table {need.table} has no key: its existing rows cannot be read in chunks",
            f"ALTER TABLE {name} ADD PRIMARY KEY (…);",
        )


def _check_key(check: _Check, need: TableNeed, table: CatalogTable) -> None:
    key = need.key or table.primary_key
    if not key:
        message = f"table {need.table} has no primary key, and the configuration names no key"
        check.error("no-primary-key", need.table, message, "name the key columns in the configuration")
    elif {*key} <= {column.name for column in table.columns} and not table.is_unique(key):
        columns = ", ".join(map(quote_identifier, key))
        check.error(
            "key-not-unique",
            need.table,
            f"no unique index says that {', '.join(key)} names one row of {need.table}",
            f"CREATE UNIQUE INDEX CONCURRENTLY ON {table.table_name.sql} ({columns});",
        )


def _check_written(check: _Check, need: TableNeed, table: CatalogTable) -> None:
    _check_key(check, need, table)
    generated = {column.name for column in table.columns if column.generated}
    for name in sorted(generated & {*need.key, *need.columns}):
        message = f"column {name} of {need.table} is generated: it is never written"
        check.warning("generated-column", need.table, message, "remove the column from the configuration")
    lacking = dict(_lacking_to_write(check, need, table))
    if lacking:
        check.error(
            "privilege",
            need.table,
            f"role {check.role} lacks {', '.join(lacking)} on {need.table}",
            f"GRANT {', '.join(listed(lacking))} ON {table.table_name.sql} TO {quote_identifier(check.role)};",
        )
    else:
        _check_row_security(check, need, table)


def _lacking_to_write(
    check: _Check, need: TableNeed, table: CatalogTable
) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """The privileges that are missing, with the columns that they are needed on where the configuration says."""
    bound = (*need.key, *need.columns)
    wanted: dict[str, tuple[str, ...]] = {"SELECT": (), "INSERT": need.inserted, "UPDATE": need.updated}
    if need.numbered:
        wanted["INSERT"] = ()  # which column takes the id is the server's to say
    if need.deleted:
        wanted["DELETE"] = ()
    for privilege, columns in wanted.items():
        suffices = () if privilege == "INSERT" and need.numbered else columns or bound
        if _missing_privileges(check, table, (privilege,), suffices):
            yield privilege, columns or None


def _missing_privileges(
    check: _Check, table: CatalogTable, privileges: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Those of `privileges` that are granted neither on the table nor on all of `columns`."""
    parameters = [str(table.oid), list(privileges), list(columns)]
    return [privilege for (privilege,) in check.connection.execute(_PRIVILEGES, parameters).fetchall()]


def _check_row_security(check: _Check, need: TableNeed, table: CatalogTable) -> None:
    if check.one(_ROW_SECURITY, [str(table.oid)])[0]:
        check.error(
            "row-security",
            need.table,
            f"row security hides rows of {need.table} from role {check.role}",
            f"ALTER ROLE {quote_identifier(check.role)} BYPASSRLS;",
        )

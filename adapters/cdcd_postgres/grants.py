"""What a role needs for our part in a PostgreSQL database, as SQL for its administrator. Pure; `granted` looks at what it has.

The role owns nothing: tables of ours and the publication are made by whoever runs this. It may SELECT captured tables
whole, because the log carries their rows whole; it writes no column but those that the configuration names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from psycopg.conninfo import conninfo_to_dict

from cdcd.adapter import Grant, Identity, TableNeed
from cdcd.errors import ConfigError
from cdcd.model import XREF_TABLE
from cdcd_postgres import statements
from cdcd_postgres.names import TableName, parse_table, quote_identifier, quote_literal
from cdcd_postgres.options import Options

Privileges = Mapping[str, tuple[str, ...] | None]
"""By the name of a privilege the columns that it is needed on; None is the table."""


class TableAccess(msgspec.Struct, frozen=True):
    """What is needed of one table. `sequences_of`: new rows may draw numbers, for columns other than these."""

    name: TableName
    privileges: Privileges
    sequences_of: tuple[str, ...] | None = None


class Access(msgspec.Struct, frozen=True):
    """All that our role needs in one database."""

    role: str
    database: str
    reads: bool
    writes: bool
    tables: tuple[TableAccess, ...]
    published: tuple[TableName, ...]


def access(options: Options, tables: Sequence[TableNeed]) -> Access:
    """What the role of `options` needs for `tables`. Raises ConfigError where the dsn does not say who that is."""
    given = conninfo_to_dict(options.dsn)
    role = given.get("user")
    if not role:
        raise ConfigError(
            "the dsn names no user", remedy='add the role that we are to have: "… user=cdcd"', code="grants-user"
        )
    writes = any(need.written for need in tables)
    checkpoint = options.checkpoint_table
    needed = [_needed(need) for need in tables]
    captured = [parse_table(need.table) for need in tables if need.captured]
    if writes:
        needed.append(TableAccess(checkpoint, {"SELECT": None, "INSERT": None, "UPDATE": None}))
    return Access(
        role=str(role),
        database=str(given.get("dbname") or role),
        reads=bool(captured),
        writes=writes,
        tables=tuple(needed),
        published=(*captured, checkpoint) if writes else tuple(captured),
    )


def _needed(need: TableNeed) -> TableAccess:
    name = parse_table(need.table)
    if not need.written:
        return TableAccess(name, {"SELECT": None})
    inserted = None if need.numbered else need.inserted or None
    privileges: dict[str, tuple[str, ...] | None] = {"SELECT": None, "INSERT": inserted, "UPDATE": need.updated or None}
    if need.deleted:
        privileges["DELETE"] = None
    return TableAccess(name, privileges, None if name.name == XREF_TABLE else need.updated)


def grants(identity: Identity, options: Options, tables: Sequence[TableNeed]) -> list[Grant]:
    """See `cdcd.adapter.Adapter.grants`."""
    wanted = access(options, tables)
    return [
        _role(wanted),
        *_places(wanted, options),
        *_own_tables(wanted, options),
        *(Grant(grant_sql(one, wanted.role), _purpose(one)) for one in wanted.tables),
        *(_sequences(one, wanted.role) for one in wanted.tables if one.sequences_of is not None),
        *([publication(wanted, options.publication_name(identity))] if wanted.reads else []),
    ]


def _role(wanted: Access) -> Grant:
    name, rights = quote_identifier(wanted.role), "LOGIN REPLICATION" if wanted.reads else "LOGIN"
    body = (
        f"BEGIN\n  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {quote_literal(wanted.role)}) THEN\n"
        f"    CREATE ROLE {name} {rights};\n  END IF;\nEND"
    )
    purpose = f"the role, without a password: set one with \\password {wanted.role} in psql"
    if wanted.reads:
        purpose += "; hosted servers give REPLICATION by a role of theirs (rds_replication)"
    return Grant(do(body), purpose)


def _places(wanted: Access, options: Options) -> Iterator[Grant]:
    role = quote_identifier(wanted.role)
    yield Grant(f"GRANT CONNECT ON DATABASE {quote_identifier(wanted.database)} TO {role}", "to connect at all")
    if wanted.writes:
        schema = quote_identifier(options.checkpoint_schema)
        yield Grant(f"CREATE SCHEMA IF NOT EXISTS {schema}", "where the checkpoint is kept")
    for schema in dict.fromkeys(one.name.schema for one in wanted.tables):
        yield Grant(f"GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO {role}", "to see what is in the schema")


def _own_tables(wanted: Access, options: Options) -> Iterator[Grant]:
    """Tables of ours belong to whoever makes them, not to the role."""
    checkpoint = options.checkpoint_table
    if wanted.writes:
        create, comment = statements.create_checkpoint_table(checkpoint)
        yield Grant(_if_missing(create), "how far this daemon has written here; it marks our own transactions")
        yield Grant(comment, "")
        old = statements.add_progress(checkpoint).replace("ADD COLUMN ", "ADD COLUMN IF NOT EXISTS ", 1)
        yield Grant(old, "for a table that an earlier version has made")
    for one in wanted.tables:
        if one.name.name == XREF_TABLE:
            create, comment = statements.create_xref_table(one.name)
            yield Grant(_if_missing(create), "business keys of records whose own table has no column for them")
            yield Grant(comment, "")


def _if_missing(create: str) -> str:
    return create.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)


def grant_sql(one: TableAccess, role: str) -> str:
    """The GRANT of everything that is needed of a table."""
    return f"GRANT {', '.join(listed(one.privileges))} ON {one.name.sql} TO {quote_identifier(role)}"


def listed(privileges: Privileges) -> Iterator[str]:
    """As GRANT and REVOKE write them: SELECT, INSERT ("id", "code")."""
    for name, columns in privileges.items():
        of = "" if columns is None else f" ({', '.join(map(quote_identifier, columns))})"
        yield f"{name}{of}"


def _purpose(one: TableAccess) -> str:
    return "to read and write rows" if len(one.privileges) > 1 else "to read rows"


def sequences_sql(one: TableAccess) -> str:
    """A query for the sequences that columns draw from which a new row is not given."""
    table = f"{quote_literal(one.name.sql)}::regclass"
    given = f"ARRAY[{', '.join(map(quote_literal, one.sequences_of or ()))}]::text[]"
    return (
        "SELECT DISTINCT s.oid::regclass FROM pg_catalog.pg_class s JOIN pg_catalog.pg_depend d ON s.relkind = 'S'\n"
        "    AND d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid\n"
        "    JOIN pg_catalog.pg_attrdef e ON e.oid = d.objid\n"
        "    JOIN pg_catalog.pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum\n"
        f"    WHERE e.adrelid = {table} AND a.attname <> ALL ({given})\n"
        "  UNION SELECT s.oid::regclass FROM pg_catalog.pg_class s JOIN pg_catalog.pg_depend d ON s.relkind = 'S'\n"
        "    AND d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'i'\n"
        "    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid\n"
        f"    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = {table} AND a.attname <> ALL ({given})"
    )


def _sequences(one: TableAccess, role: str) -> Grant:
    body = (
        f"DECLARE drawn regclass;\nBEGIN\n  FOR drawn IN {sequences_sql(one)}\n  LOOP\n"
        f"    EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', drawn, {quote_literal(role)});\n  END LOOP;\nEND"
    )
    return Grant(do(body), f"the numbers of new rows of {one.name.spelled}")


def publication(wanted: Access, name: str) -> Grant:
    """Exactly what is captured, and the checkpoint; made by the owner of the tables, who stays its owner."""
    tables = ", ".join(f"ONLY {table.sql}" for table in wanted.published)
    quoted = quote_identifier(name)
    body = (
        f"BEGIN\n  IF EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = {quote_literal(name)}) THEN\n"
        f"    ALTER PUBLICATION {quoted} SET TABLE {tables};\n"
        f"    {statements.set_publication_options(name)};\n  ELSE\n"
        f"    CREATE PUBLICATION {quoted} FOR TABLE {tables} WITH ({statements.PUBLISH});\n  END IF;\nEND"
    )
    return Grant(do(body), "what the log sends us; run as the owner of these tables, or a superuser")


def do(body: str) -> str:
    """An anonymous block, in dollar quotes that nothing in it can end."""
    number = 0
    while f"$cdcd{number or ''}$" in body:
        number += 1
    quote = f"$cdcd{number or ''}$"
    return f"DO {quote}\n{body}\n{quote}"

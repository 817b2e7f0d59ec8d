"""Compares what our role may do with what it needs (`grants`): what is missing, and what is too much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from cdcd.adapter import Grant, GrantDifference, Identity, TableNeed
from cdcd_postgres.catalog import Catalog
from cdcd_postgres.grants import Access, TableAccess, access, grant_sql, grants, listed, publication, sequences_sql
from cdcd_postgres.names import TableName, quote_identifier
from cdcd_postgres.options import Options
from cdcd_postgres.publication import read_publication
from cdcd_postgres.session import Connection

_OF_TABLES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
_MAINTAIN_VERSION_MIN: Final = 170_000
_ROLE: Final = """
SELECT r.oid::bigint, r.rolsuper, r.rolreplication, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, ARRAY(
  SELECT m.rolname::text FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.roleid
  WHERE a.member = r.oid ORDER BY 1)
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""
_TABLES: Final = """
SELECT n.nspname::text, c.relname::text, pg_has_role(c.relowner, 'USAGE'),
  ARRAY(SELECT p FROM unnest($1::text[]) AS p WHERE has_table_privilege(c.oid, p)),
  ARRAY(SELECT a.privilege_type FROM aclexplode(c.relacl) AS a WHERE a.grantee = $2::oid),
  row_security_active(c.oid), c.relrowsecurity
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""
_COLUMNS: Final = """
SELECT n.nspname::text, c.relname::text, x.privilege_type, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, aclexplode(a.attacl) AS x
WHERE x.grantee = $1::oid AND NOT a.attisdropped GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_LACKS_COLUMNS: Final = """
SELECT NOT bool_and(has_column_privilege($1, a.attnum, $2)) FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1::regclass AND a.attname = ANY ($3::text[])
"""
_SCHEMAS: Final = """
SELECT nspname::text, has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE')
FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1
"""
_DATABASE: Final = "SELECT has_database_privilege(current_database(), 'CREATE'), current_database()::text"
_SEQUENCES: Final = """
SELECT c.oid::regclass::text, ARRAY(SELECT a.privilege_type FROM aclexplode(c.relacl) AS a WHERE a.grantee = $1::oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND n.nspname !~ '^pg_' ORDER BY 1
"""


class _Table(msgspec.Struct, frozen=True):
    """A table as our role sees it: what it may do in any way, and what was granted to itself."""

    name: TableName
    is_ours: bool
    may: frozenset[str]
    direct: frozenset[str]
    hides_rows: bool
    has_policies: bool


def compare(
    connection: Connection, identity: Identity, options: Options, tables: Sequence[TableNeed]
) -> GrantDifference:
    """See `cdcd.adapter.Adapter.compare_grants`."""
    looking = _Comparison(connection, access(options, tables))
    return GrantDifference(tuple(looking.missing(identity, options, tables)), tuple(looking.excess()))


class _Comparison:
    def __init__(self, connection: Connection, wanted: Access) -> None:
        self._connection = connection
        self._wanted = wanted
        self._by_name = {one.name: one for one in wanted.tables}
        self._role = quote_identifier(wanted.role)
        row = self._one(_ROLE)
        self._oid, self._is_super, self._replicates, *powers, self._roles = row
        self._powers = dict(zip(("CREATEROLE", "CREATEDB", "BYPASSRLS"), powers, strict=True))
        privileges = [*_OF_TABLES, *(["MAINTAIN"] if connection.info.server_version >= _MAINTAIN_VERSION_MIN else [])]
        rows = connection.execute(_TABLES, [privileges, str(self._oid)]).fetchall()
        found = [_Table(TableName(s, n), o, frozenset(m), frozenset(d), h, p) for s, n, o, m, d, h, p in rows]
        self._tables = {table.name: table for table in found}
        columns = connection.execute(_COLUMNS, [str(self._oid)]).fetchall()
        self._columns = {(TableName(schema, name), kind): tuple(some) for schema, name, kind, some in columns}

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        row = self._connection.execute(sql, parameters).fetchone()
        assert row is not None
        return row

    # ---- missing -------------------------------------------------------------------------------------------------

    def missing(self, identity: Identity, options: Options, tables: Sequence[TableNeed]) -> Iterator[Grant]:
        """Statements in the order in which they can be run."""
        if self._is_super:
            return
        if self._wanted.reads and not self._replicates and "rds_replication" not in self._roles:
            yield Grant(f"ALTER ROLE {self._role} REPLICATION", "to read the log")
        yield from self._missing_places()
        yield from self._missing_tables(identity, options, tables)
        for one in self._wanted.tables:
            table = self._tables.get(one.name)
            if table is not None:
                yield from self._missing_rights(one, table)
        if self._wanted.reads:
            yield from self._missing_publication(options.publication_name(identity))

    def _missing_places(self) -> Iterator[Grant]:
        may_use = {name for name, use, _ in self._connection.execute(_SCHEMAS).fetchall() if use}
        for schema in dict.fromkeys(one.name.schema for one in self._wanted.tables):
            if schema not in may_use:
                sql = f"GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO {self._role}"
                yield Grant(sql, "to see what is in the schema")

    def _missing_tables(self, identity: Identity, options: Options, tables: Sequence[TableNeed]) -> Iterator[Grant]:
        """Tables of ours that nobody has made yet, with what `grants` says of them."""
        absent = [one.name.sql for one in self._wanted.tables if one.name not in self._tables]
        for grant in grants(identity, options, tables):
            if any(f" {name}" in grant.sql for name in absent) and grant.sql.startswith(("CREATE TABLE", "GRANT")):
                yield grant

    def _missing_rights(self, one: TableAccess, table: _Table) -> Iterator[Grant]:
        lacking = {
            name: columns
            for name, columns in one.privileges.items()
            if name not in table.may and (columns is None or self._lacks(one, name, columns))
        }
        if lacking:
            yield Grant(grant_sql(TableAccess(one.name, lacking), self._wanted.role), "to read and write rows")
        if table.hides_rows:
            yield Grant(f"ALTER ROLE {self._role} BYPASSRLS", f"row security hides rows of {one.name.spelled}")
        if one.sequences_of is not None:
            yield from self._missing_sequences(one)

    def _lacks(self, one: TableAccess, privilege: str, columns: Sequence[str]) -> bool:
        return bool(self._one(_LACKS_COLUMNS, [one.name.sql, privilege, list(columns)])[0])

    def _missing_sequences(self, one: TableAccess) -> Iterator[Grant]:
        for name in self._sequences_of(one):
            if not self._one("SELECT has_sequence_privilege($1, 'USAGE')", [name])[0]:
                what = f"the numbers of new rows of {one.name.spelled}"
                yield Grant(f"GRANT USAGE ON SEQUENCE {name} TO {self._role}", what)

    def _sequences_of(self, one: TableAccess) -> list[str]:
        """Their names, quoted for SQL."""
        found = self._connection.execute(f"SELECT f.oid::text FROM ({sequences_sql(one)}) AS f(oid)").fetchall()
        return [name for (name,) in found]

    def _missing_publication(self, name: str) -> Iterator[Grant]:
        found = read_publication(self._connection, name)
        catalog = Catalog(self._connection)
        tables = list(catalog.tables(list(self._wanted.published)).values())
        may_make = all(table.is_ours for table in self._tables.values() if table.name in self._wanted.published)
        if (found is None and not may_make) or (found is not None and not found.owned and not found.covers(tables)):
            yield publication(self._wanted, name)

    # ---- too much ------------------------------------------------------------------------------------------------

    def excess(self) -> Iterator[Grant]:
        """What the role may do beyond its part; with how to take it back where that is a statement about the role."""
        if self._is_super:
            yield Grant(f"ALTER ROLE {self._role} NOSUPERUSER", "a superuser may do everything, and read every file")
            return
        has_policies = any(table.has_policies for name, table in self._tables.items() if name in self._by_name)
        for power, has in self._powers.items():
            if has and not (power == "BYPASSRLS" and has_policies):
                yield Grant(f"ALTER ROLE {self._role} NO{power}", f"the role has {power}")
        if self._replicates and not self._wanted.reads:
            yield Grant(f"ALTER ROLE {self._role} NOREPLICATION", "nothing is read from this system's log")
        for role in self._roles:
            if role != "rds_replication":
                yield Grant(f"REVOKE {quote_identifier(role)} FROM {self._role}", f"it may do whatever {role} may")
        yield from self._excess_places()
        for table in self._tables.values():
            yield from self._excess_of(table)
        yield from self._excess_of_columns()
        yield from self._excess_of_sequences()

    def _excess_places(self) -> Iterator[Grant]:
        creates, database = self._one(_DATABASE)
        if creates:
            sql = f"REVOKE CREATE ON DATABASE {quote_identifier(database)} FROM {self._role}"
            yield Grant(sql, "it may make schemas and publications")
        for schema, _, may_create in self._connection.execute(_SCHEMAS).fetchall():
            if may_create:
                sql = f"REVOKE CREATE ON SCHEMA {quote_identifier(schema)} FROM {self._role}, PUBLIC"
                yield Grant(sql, f"it may make tables in schema {schema}")

    def _excess_of(self, table: _Table) -> Iterator[Grant]:
        one = self._by_name.get(table.name)
        privileges = {} if one is None else one.privileges
        if table.is_ours:
            yield Grant("", f"the role owns {table.name.spelled}, and may drop it: ALTER TABLE … OWNER TO another role")
            return
        needless = [name for name in sorted(table.may) if name not in privileges or privileges[name] is not None]
        revoked = [name for name in needless if name in table.direct]
        if revoked:
            kept = {name: privileges[name] for name in revoked if privileges.get(name) is not None}
            sql = f"REVOKE {', '.join(revoked)} ON {table.name.sql} FROM {self._role}"
            again = f"; {grant_sql(TableAccess(table.name, kept), self._wanted.role)}" if kept else ""
            yield Grant(sql + again, f"more than is needed of {table.name.spelled}")
        if others := [name for name in needless if name not in table.direct]:
            yield Grant("", f"{', '.join(others)} on {table.name.spelled} by way of PUBLIC or of another role")

    def _excess_of_columns(self) -> Iterator[Grant]:
        for (name, privilege), columns in self._columns.items():
            one = self._by_name.get(name)
            wanted: tuple[str, ...] | None = () if one is None else one.privileges.get(privilege, ())
            needless = [] if wanted is None else [column for column in columns if column not in wanted]
            if needless:
                (what,) = listed({privilege: tuple(needless)})
                yield Grant(f"REVOKE {what} ON {name.sql} FROM {self._role}", f"not written in {name.spelled}")

    def _excess_of_sequences(self) -> Iterator[Grant]:
        drawing = [one for one in self._by_name.values() if one.sequences_of is not None and one.name in self._tables]
        drawn = {name for one in drawing for name in self._sequences_of(one)}
        for name, direct in self._connection.execute(_SEQUENCES, [str(self._oid)]).fetchall():
            needless = [privilege for privilege in direct if not (privilege == "USAGE" and name in drawn)]
            if needless:
                sql = f"REVOKE {', '.join(needless)} ON SEQUENCE {name} FROM {self._role}"
                yield Grant(sql, "not a sequence that new rows draw from")

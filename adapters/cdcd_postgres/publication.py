"""The publication of a source: it must list every captured table and the checkpoint table, or changes are missed silently."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import psycopg

from cdcd.errors import NotReady
from cdcd_postgres import statements
from cdcd_postgres.catalog import CatalogTable
from cdcd_postgres.names import TableName
from cdcd_postgres.session import Connection


class Publication(msgspec.Struct, frozen=True):
    """A publication as it is. `sound`: carries all operations, partitions as their root, no row filter or column list."""

    name: str
    owner: str
    owned: bool
    all_tables: bool
    complete: bool
    filtered: bool
    tables: frozenset[TableName]
    comment: str | None = None

    def covers(self, tables: Sequence[CatalogTable]) -> bool:
        """Whether every change of `tables` comes through whole."""
        return self.complete and not self.filtered and {table.table_name for table in tables} <= self.tables


def read_publication(connection: Connection, name: str) -> Publication | None:
    """The publication of that name, None when there is none."""
    row = connection.execute(statements.PUBLICATION, [name]).fetchone()
    if row is None:
        return None
    owner, owned, all_tables, complete, filtered, comment = row
    tables = connection.execute(statements.PUBLICATION_TABLES, [name]).fetchall()
    return Publication(
        name,
        owner,
        owned,
        all_tables,
        complete,
        filtered,
        frozenset(TableName(schema, table) for schema, table in tables),
        comment,
    )


def repairs(found: Publication | None, name: str, tables: Sequence[CatalogTable], *, exactly: bool) -> list[str]:
    """The statements that make the publication what `tables` need; with `exactly` it lists nothing else."""
    if found is None:
        return [statements.create_publication(name, tables)]
    sql = [] if found.complete else [statements.set_publication_options(name)]
    wanted = {table.table_name for table in tables}
    if found.all_tables or not tables:
        return sql
    if found.filtered or (exactly and wanted != found.tables):
        sql.append(statements.set_publication_tables(name, tables))
    elif missing := [table for table in tables if table.table_name not in found.tables]:
        sql.append(statements.add_publication_tables(name, missing))
    return sql


def ensure_publication(connection: Connection, name: str, tables: Sequence[CatalogTable], *, exactly: bool) -> None:
    """Create or correct the publication. Must run in a transaction that holds `statements.LOCK_OURS`.

    One that another role owns is left as it is, and must cover `tables`. Raises NotReady with the statements to run.
    """
    found = read_publication(connection, name)
    if found is not None and not found.owned and found.covers(tables):
        return
    sql = repairs(found, name, tables, exactly=exactly and (found is None or found.owned))
    if found is not None and not found.owned:
        raise not_ready(name, f"it belongs to role {found.owner}", sql)
    try:
        for statement in sql:
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise not_ready(name, str(error.diag.message_primary), sql) from error


def not_ready(name: str, cause: str, sql: Sequence[str]) -> NotReady:
    """What to tell when somebody else must create or alter the publication."""
    return NotReady(
        f"publication '{name}' does not list what is captured, and cannot be changed",
        cause=cause,
        remedy="as the owner of the tables run: " + " ".join(f"{statement};" for statement in sql),
        code="publication",
    )

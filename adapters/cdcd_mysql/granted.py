"""Asks a server what our account may do, and compares it with what it needs (`grants`)."""

from __future__ import annotations

from collections.abc import Sequence

from cdcd.adapter import Grant, GrantDifference, TableNeed
from cdcd_mysql.captured import TableName
from cdcd_mysql.grants import barrier_access, excess, missing, missing_of_log, needed, own_tables
from cdcd_mysql.options import Options
from cdcd_mysql.preflight_privileges import own_account, own_grants
from cdcd_mysql.schema import read_table
from cdcd_mysql.session import Server, Session, inspect
from cdcd_mysql.snapshot import BARRIER_TABLE, CREATE_BARRIER_SQL
from cdcd_mysql.statements import quote_table


def compare(options: Options, tables: Sequence[TableNeed]) -> GrantDifference:
    """See `cdcd.adapter.Adapter.compare_grants`."""
    session = Session(options)
    try:
        return _compared(session, inspect(session), options, tables)
    finally:
        session.close()


def _compared(session: Session, server: Server, options: Options, tables: Sequence[TableNeed]) -> GrantDifference:
    name, has = own_account(session), own_grants(session, server)
    reads = any(need.captured for need in tables)
    wanted = needed(options, tables)
    lacking: list[Grant] = []
    if reads:
        lacking += missing_of_log(has, is_mariadb=server.is_mariadb, name=name)

    def is_absent(table: TableName) -> bool:
        return read_table(session, server, table.table, table.database) is None

    made = [grant for table, grant in own_tables(options, tables) if is_absent(table)]
    if reads and not server.has_gtids:
        barrier = barrier_access(TableName(options.database, BARRIER_TABLE))
        wanted.append(barrier)
        if is_absent(barrier.name):
            sql = CREATE_BARRIER_SQL.format(table=quote_table(barrier.name))
            made.append(Grant(sql, "a MySQL without GTIDs is read with its help"))
    lacking += [*made, *missing(has, wanted, name)]
    return GrantDifference(tuple(lacking), tuple(excess(has, wanted, name, reads=reads)))

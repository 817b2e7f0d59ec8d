"""Tables of ours in a system, made when they are missing."""

from __future__ import annotations

from collections.abc import Iterable

from cdcd.model import XREF_TABLE
from cdcd_mysql.captured import table_name
from cdcd_mysql.session import Session
from cdcd_mysql.statements import CREATE_XREF_SQL, quote_table, quote_text


def create_table(session: Session, spelled: str, database: str, sql: str) -> None:
    """Only when it is missing: CREATE TABLE commits, and is logged even where the table exists."""
    name = table_name(spelled, database)
    count = session.run(
        "SELECT count(*) FROM information_schema.tables"
        f" WHERE table_schema = {quote_text(name.database)} AND table_name = {quote_text(name.table)}"
    ).rows[0][0]
    if not count:
        session.run(sql.format(table=quote_table(name)))


def columns_of(session: Session, spelled: str, database: str) -> list[str]:
    """The names of a table's columns; none where it does not exist."""
    name = table_name(spelled, database)
    rows = session.run(
        "SELECT column_name FROM information_schema.columns"
        f" WHERE table_schema = {quote_text(name.database)} AND table_name = {quote_text(name.table)}"
    ).rows
    return [str(column).lower() for (column,) in rows]


def create_xref_tables(session: Session, tables: Iterable[str], database: str) -> None:
    """Those of `tables` that keep business keys for us."""
    for spelled in tables:
        if table_name(spelled, database).table == XREF_TABLE:
            create_table(session, spelled, database, CREATE_XREF_SQL)

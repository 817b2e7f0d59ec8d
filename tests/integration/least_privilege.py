"""Roles made by exactly the SQL that `cdcd grants` prints: what a daemon of the tests connects with."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pymysql

from cdcd import granting
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer

NO_SUCH_TABLE, NO_SUCH_COLUMN = 1146, 1054


def statements(config: Path, system: str) -> Iterator[str]:
    """What is printed without "--" before it."""
    yield from (grant.sql for grant in granting.grants(config, system) if grant.sql and not grant.optional)


def grant_in_postgres(server: PostgresServer, database: str, config: Path, system: str) -> None:
    """As superuser; what is about a table that is not there (yet, or any more) is left out."""
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        for sql in statements(config, system):
            try:
                connection.execute(sql.encode())
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
                continue


def grant_in_mysql(server: MySqlFamilyServer, config: Path, system: str, password: str) -> None:
    """As root; the account, which is printed locked, gets its password as the comment above it says."""
    with server.connect() as connection, connection.cursor() as cursor:
        for sql in statements(config, system):
            try:
                cursor.execute(sql)
            except pymysql.Error as error:
                if error.args[0] not in (NO_SUCH_TABLE, NO_SUCH_COLUMN):
                    raise
            if found := re.match(r"CREATE USER IF NOT EXISTS ('.*'@'.*?')", sql):
                cursor.execute(f"ALTER USER {found[1]} IDENTIFIED BY %s ACCOUNT UNLOCK", [password])

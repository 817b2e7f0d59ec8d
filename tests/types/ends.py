"""Databases at the ends of a line: of their own, on servers that all tests share."""

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg

import mysql_cases
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from cdcd_mysql import adapter as mysql_adapter
from cdcd_mysql.options import Options as MySqlOptions
from cdcd_postgres import adapter as postgres_adapter
from cdcd_postgres.options import Options as PostgresOptions
from cdcd_postgres.session import SETTINGS


class End(NamedTuple):
    """A database at one end: how to run SQL in it, and the adapter with its options."""

    server: str
    run: Callable[[str], list[tuple]]
    adapter: Any
    options: Any
    close: Callable[[], None]


def postgres_end(server: PostgresServer) -> End:
    name = f"types_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    friendly = " ".join(f"-c {setting}={value}" for setting, value in SETTINGS.items())
    connection = psycopg.connect(server.dsn(name), options=friendly, autocommit=True)

    def run(sql: str) -> list[tuple]:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []

    return End("postgres", run, postgres_adapter, PostgresOptions(dsn=server.dsn(name)), connection.close)


def mysql_end(server: MySqlFamilyServer) -> End:
    name = f"types_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    connection = server.connect(name)
    flavour = "mariadb" if server.is_mariadb else "mysql"

    def run(sql: str) -> list[tuple]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            while cursor.nextset():
                pass
            return list(cursor.fetchall()) if cursor.description else []

    run(f"SET time_zone = '+00:00', sql_mode = '{mysql_cases.WRITING_SQL_MODE}'")
    options = MySqlOptions(database=name, user="root", unix_socket=str(server.socket))
    return End(flavour, run, mysql_adapter, options, connection.close)

"""The harness of MySQL and MariaDB: an application's view of a database of its own, in SQL that does not use the adapter."""

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pymysql
import pytest

from cdcd.adapter import Identity
from cdcd.config import Secret
from cdcd.model import Row, Value
from cdcd.testing.harness import Column, Harness, Table
from cdcd.testing.servers import MySqlFamilyServer
from cdcd.values import parse_type
from cdcd_mysql import Options
from cdcd_mysql import adapter as mysql_adapter

TYPES = {
    "bytes": "longblob",
    "date": "date",
    "datetime": "datetime(6)",
    "decimal": "decimal",
    "float": "double",
    "instant": "timestamp(6) null",
    "json": "json",
    "text": "longtext",
    "time": "time(6)",
    "uuid": "uuid",
}
INTEGERS = {
    (-(2**7), 2**7 - 1): "tinyint",
    (-(2**15), 2**15 - 1): "smallint",
    (-(2**23), 2**23 - 1): "mediumint",
    (-(2**31), 2**31 - 1): "int",
    (-(2**63), 2**63 - 1): "bigint",
    (0, 2**8 - 1): "tinyint unsigned",
    (0, 2**16 - 1): "smallint unsigned",
    (0, 2**24 - 1): "mediumint unsigned",
    (0, 2**32 - 1): "int unsigned",
    (0, 2**64 - 1): "bigint unsigned",
    (0, 2155): "year",
    (0, 1023): "bit(10)",
}
MARIADB_VALUES: Mapping[str, Sequence[Value]] = {
    "uuid": ("00000000-0000-0000-0000-000000000001", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    "native(inet6)": ("::1", "2001:db8::ff00:42:8329", "::ffff:1.2.3.4"),
}
LOBS = {"text(255)": "tinytext", "text(65535)": "text", "text(16777215)": "mediumtext", "bytes(65535)": "blob"}


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def literal(value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value).removesuffix("Z") if len(str(value)) > 19 else str(value)
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def sql_type(spec: str) -> str:
    parsed = parse_type(spec)
    if spec in LOBS:
        return LOBS[spec]
    if parsed.kind == "native":
        return parsed.arguments[0]
    if parsed.kind == "integer":
        return INTEGERS[parsed.number(0), parsed.number(1)]
    if parsed.kind == "enum":
        return f"enum({', '.join(map(literal, parsed.arguments))})"
    if parsed.kind in ("text", "bytes") and parsed.arguments:
        return f"{'varchar' if parsed.kind == 'text' else 'varbinary'}({parsed.arguments[0]})"
    arguments = f"({','.join(parsed.arguments)})" if parsed.arguments else ""
    return TYPES[parsed.kind] + arguments


def canonical(spec: str, value: Any) -> Value:
    """A value that was read as the server prints it."""
    kind = parse_type(spec).kind
    if value is None or isinstance(value, bytes) or kind in ("text", "decimal", "json", "enum", "date", "uuid"):
        return int.from_bytes(value, "big") if kind == "integer" and isinstance(value, bytes) else value
    if kind in ("integer", "float"):
        return int(value) if kind == "integer" else float(value)
    if kind in ("time", "datetime", "instant"):
        trimmed = value.rstrip("0").rstrip(".") if "." in value else value
        return trimmed + ("Z" if kind == "instant" else "")
    return str(value)


class MySqlWriter:
    def __init__(self, cursor: pymysql.cursors.Cursor) -> None:
        self._cursor = cursor

    def insert(self, table: Table, *rows: Mapping[str, Value]) -> None:
        for row in rows:
            columns = ", ".join(map(quoted, row))
            values = ", ".join(map(literal, row.values()))
            self._cursor.execute(f"INSERT INTO {quoted(table.name)} ({columns}) VALUES ({values})")

    def update(self, table: Table, key: Mapping[str, Value], changes: Mapping[str, Value]) -> None:
        sets = ", ".join(f"{quoted(name)} = {literal(value)}" for name, value in changes.items())
        self._cursor.execute(f"UPDATE {quoted(table.name)} SET {sets} WHERE {conditions(key)}")

    def delete(self, table: Table, key: Mapping[str, Value]) -> None:
        self._cursor.execute(f"DELETE FROM {quoted(table.name)} WHERE {conditions(key)}")


def conditions(key: Mapping[str, Value]) -> str:
    return " AND ".join(f"{quoted(name)} = {literal(value)}" for name, value in key.items())


class MySqlHarness(Harness):
    """A database of a server that runs already, reached over TCP by `options`."""

    adapter = mysql_adapter
    can_lose_log = True
    values: Mapping[str, Sequence[Value]] = {
        "integer(-128,127)": (-128, 0, 127),
        "integer(-32768,32767)": (-32768, 0, 32767),
        "integer(-8388608,8388607)": (-8388608, -1, 8388607),
        "integer(-2147483648,2147483647)": (-(2**31), 2**31 - 1),
        "integer(-9223372036854775808,9223372036854775807)": (-(2**63), 2**63 - 1),
        "integer(0,255)": (0, 255),
        "integer(0,16777215)": (0, 16777215),
        "integer(0,4294967295)": (0, 2**32 - 1),
        "integer(0,18446744073709551615)": (0, 2**64 - 1),
        "integer(0,1023)": (0, 1023),
        "integer(0,2155)": (1901, 2155),
        "decimal(12,4)": ("-99999999.9999", "0.0000", "-0.0001", "99999999.9999"),
        "decimal(3,0)": ("-999", "0", "999"),
        "decimal(30,30)": ("-0." + "9" * 30, "0." + "0" * 29 + "1"),
        "decimal(65,30)": ("9" * 35 + "." + "9" * 30, "-1." + "0" * 29 + "1"),
        "float": (-1.7976931348623157e308, 5e-324, 0.1, 1e22),
        "text": ("", " ", "日本語", "\\N", "\\.", '{a,"b"}', "nul \0 and newline\n"),
        "text(5)": ("日本語テキ", "a\tb\n\\", "😀'\"`;"),
        "text(65535)": ("", "x" * 65535),
        "bytes": (b"", bytes(range(256)), b"\\x"),
        "bytes(16)": (b"", b"\0" * 16),
        "date": ("1000-01-01", "9999-12-31", "2024-02-29"),
        "time": ("00:00:00", "23:59:59.999999", "-00:00:01.1", "-838:59:59", "838:59:59", "100:00:00.5"),
        "datetime": ("1000-01-01 00:00:00", "9999-12-31 23:59:59.999999", "2024-02-29 12:00:00.5"),
        "instant": ("1970-01-01 00:00:01Z", "2038-01-19 03:14:07.5Z", "2026-11-21 23:59:59.000001Z"),
        "json": ('{"a": [1, null, "\\"x\\\\"]}', "[]", "1.5"),
        "enum(a,b c,日本)": ("a", "b c", "日本"),
    }

    def __init__(self, options: Options) -> None:
        self.database = f"contract {uuid.uuid4().hex}"
        self.options = msgspec.structs.replace(options, database="")
        self.sql(f"CREATE DATABASE {quoted(self.database)} CHARACTER SET utf8mb4")
        self.options = msgspec.structs.replace(options, database=self.database)
        self.identity = Identity("daemon", uuid.uuid4().hex, "lineage")

    def create_table(self, table: Table) -> None:
        parts = [
            f"{quoted(column.name)} {sql_type(column.type)}{'' if column.nullable else ' NOT NULL'}"
            f"{' AUTO_INCREMENT' if column.automatic else ''}"
            for column in table.columns
        ]
        parts.append(f"PRIMARY KEY ({', '.join(map(quoted, table.primary_key))})")
        parts += [f"UNIQUE ({', '.join(map(quoted, key))})" for key in table.unique_keys]
        parts += [
            f"FOREIGN KEY ({quoted(reference.column)}) REFERENCES {quoted(reference.table)} ({quoted(reference.to)})"
            for reference in table.references
        ]
        self.sql(f"CREATE TABLE {quoted(table.name)} ({', '.join(parts)})")

    def add_column(self, table: Table, column: Column) -> None:
        self.sql(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {quoted(column.name)} {sql_type(column.type)}")

    @contextmanager
    def transaction(self) -> Iterator[MySqlWriter]:
        connection = self._connect(autocommit=False)
        try:
            yield MySqlWriter(connection.cursor())
            connection.commit()
        finally:
            connection.close()

    def rows(self, table: Table) -> list[Row]:
        columns = ", ".join(quoted(column.name) for column in table.columns)
        order = ", ".join(map(quoted, table.primary_key))
        found = self.sql(f"SELECT {columns} FROM {quoted(table.name)} ORDER BY {order}")
        specs = [column.type for column in table.columns]
        return [[canonical(spec, value) for spec, value in zip(specs, row, strict=True)] for row in found]

    def truncate(self, table: Table) -> None:
        self.sql(f"TRUNCATE TABLE {quoted(table.name)}")

    def lose_log(self) -> None:
        """Purge all files but a new one. A dump that has not noticed yet that its client is gone keeps its file."""
        self.sql("FLUSH BINARY LOGS")
        last = self.sql("SHOW BINARY LOGS")[-1][0]
        while self.sql("SHOW BINARY LOGS")[0][0] != last:
            self.sql("FLUSH BINARY LOGS")
            self.sql(f"PURGE BINARY LOGS TO '{last}'")

    def log_end(self) -> tuple[str, int]:
        """File and offset."""
        file, offset, *_ = self.sql("SHOW BINARY LOG STATUS" if self._says_binary_log else "SHOW MASTER STATUS")[0]
        return file, int(offset)

    def reset_log(self) -> None:
        """Begin the log anew, as if it had never been written."""
        self.sql("RESET BINARY LOGS AND GTIDS" if self._says_binary_log else "RESET MASTER")

    @property
    def _says_binary_log(self) -> bool:
        """MySQL's words from 8.2 on."""
        version = self.sql("SELECT version()")[0][0]
        return "MariaDB" not in version and not version.startswith(("8.0.", "8.1."))

    def sql(self, *statements: str) -> list[tuple]:
        """Run statements in one session; return the last one's rows."""
        connection = self._connect(autocommit=True)
        try:
            with connection.cursor() as cursor:
                for text in statements:
                    cursor.execute(text)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def prepare(self, name: str, *statements: str) -> None:
        """Leave a transaction prepared, for others to decide: they may only when its session has ended in the server, too."""
        connection = self._connect(autocommit=True)
        try:
            with connection.cursor() as cursor:
                for text in (f"XA START '{name}'", *statements, f"XA END '{name}'", f"XA PREPARE '{name}'"):
                    cursor.execute(text)
        finally:
            connection.close()
        while self.sql(f"SELECT 1 FROM information_schema.processlist WHERE id = {connection.thread_id()}"):
            time.sleep(0.01)

    def _connect(self, *, autocommit: bool) -> pymysql.connections.Connection:
        return pymysql.connect(
            host=self.options.host,
            port=self.options.port,
            user=self.options.user,
            password=self.options.password.reveal() if self.options.password else "",
            database=self.options.database,
            charset="utf8mb4",
            autocommit=autocommit,
            ssl_disabled=self.options.password is None,
            conv=pymysql.converters.encoders,
            init_command="SET time_zone = '+00:00'",
        )

    def dispose(self) -> None:
        self.sql(f"DROP DATABASE {quoted(self.database)}")


class PrivateHarness(MySqlHarness):
    """A database of a server of our own, which must not be shared with tests that run at the same time."""

    can_restart = True

    def __init__(self, server: MySqlFamilyServer) -> None:
        self.server = server
        if server.is_mariadb:
            self.values = {**self.values, **MARIADB_VALUES}
        super().__init__(Options(host="127.0.0.1", port=server.port, user="root", database=""))

    def restart(self) -> None:
        self.server.restart()

    def dispose(self) -> None:
        """Of a test that failed, too: what it left prepared holds locks, and would fail those after it."""
        for *_, name in self.sql("XA RECOVER FORMAT = 'SQL'" if self.server.is_mariadb else "XA RECOVER CONVERT XID"):
            self.sql(f"XA ROLLBACK {name if isinstance(name, str) else name.decode()}")
        super().dispose()


class OnPrivateServer:
    @pytest.fixture
    def harness(self, server: MySqlFamilyServer) -> Iterator[PrivateHarness]:
        harness = PrivateHarness(server)
        yield harness
        harness.dispose()


class OnMySql:
    """On MySQL itself: the running one that CDCD_TEST_MYSQL names ("user@host:port"), or else a private one.

    The running one's account has its password in CDCD_TEST_MYSQL_PASSWORD. Its binary logs are purged.
    """

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest) -> Iterator[MySqlHarness]:
        place = os.environ.get("CDCD_TEST_MYSQL")
        if place is None:
            harness: MySqlHarness = PrivateHarness(request.getfixturevalue("mysql"))
        else:
            user, _, address = place.partition("@")
            host, _, port = address.partition(":")
            password = Secret(env="CDCD_TEST_MYSQL_PASSWORD")
            harness = MySqlHarness(Options(host=host, port=int(port), user=user, password=password, database=""))
        yield harness
        harness.dispose()

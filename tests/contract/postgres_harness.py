"""PostgreSQL's harness: an application's view of a database of its own, in SQL that does not use the adapter."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg

from cdcd.adapter import Identity
from cdcd.model import Row, Value
from cdcd.testing.harness import Column, Harness, Table
from cdcd.testing.servers import PostgresServer
from cdcd.values import parse_type
from cdcd_postgres import Options
from cdcd_postgres import adapter as postgres_adapter

TYPES = {
    "boolean": "boolean",
    "bytes": "bytea",
    "date": "date",
    "datetime": "timestamp",
    "decimal": "numeric",
    "float": "double precision",
    "instant": "timestamptz",
    "json": "jsonb",
    "text": "text",
    "time": "time",
    "uuid": "uuid",
}
INTEGERS = {-(2**15): "smallint", -(2**31): "integer", -(2**63): "bigint"}
READ = {"instant": "to_char(%s AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def sql_type(spec: str) -> str:
    parsed = parse_type(spec)
    if parsed.kind == "native":
        return parsed.arguments[0]
    if parsed.kind == "integer":
        return INTEGERS[parsed.number(0)]
    if parsed.kind == "text" and parsed.arguments:
        return f"varchar({parsed.arguments[0]})"
    arguments = f"({','.join(parsed.arguments)})" if parsed.arguments else ""
    return TYPES[parsed.kind] + arguments


def parameter(value: Value) -> str | None:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return None if value is None else str(value)


def canonical(kind: str, value: object) -> Value:
    """A value that was read as text, except for booleans, integers, floats and bytes."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, memoryview | bytes):
        return bytes(value)
    text = str(value)
    if kind == "instant":
        return text.rstrip("0").rstrip(".") + "Z"
    if kind == "decimal(0)" and "." in text:
        return text.rstrip("0").rstrip(".")
    return text


def reading(column: Column) -> str:
    kind = parse_type(column.type).kind
    name = quoted(column.name)
    if kind in ("boolean", "integer", "float", "bytes"):
        return name
    return READ[kind] % name if kind in READ else f"CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END"


class PostgresWriter:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def insert(self, table: Table, *rows: Mapping[str, Value]) -> None:
        for row in rows:
            columns = ", ".join(map(quoted, row))
            places = ", ".join(f"${number + 1}" for number in range(len(row)))
            sql = f"INSERT INTO {quoted(table.name)} ({columns}) VALUES ({places})"
            self._connection.execute(sql, [parameter(value) for value in row.values()])
        for column in table.columns:
            if column.automatic and any(column.name in row for row in rows):
                self._draw_past(table, column)

    def _draw_past(self, table: Table, column: Column) -> None:
        """As an application does that gives numbers itself."""
        highest = f"SELECT max({quoted(column.name)}) FROM {quoted(table.name)}"
        sql = f"SELECT setval(pg_get_serial_sequence($1, $2), ({highest}))"
        self._connection.execute(sql, [quoted(table.name), column.name])

    def update(self, table: Table, key: Mapping[str, Value], changes: Mapping[str, Value]) -> None:
        sets = ", ".join(f"{quoted(name)} = ${number + 1}" for number, name in enumerate(changes))
        where = conditions(key, len(changes))
        values = [parameter(value) for value in (*changes.values(), *key.values())]
        self._connection.execute(f"UPDATE {quoted(table.name)} SET {sets} WHERE {where}", values)

    def delete(self, table: Table, key: Mapping[str, Value]) -> None:
        values = [parameter(value) for value in key.values()]
        self._connection.execute(f"DELETE FROM {quoted(table.name)} WHERE {conditions(key, 0)}", values)


def conditions(key: Mapping[str, Value], offset: int) -> str:
    return " AND ".join(f"{quoted(name)} = ${number + offset + 1}" for number, name in enumerate(key))


class PostgresHarness(Harness):
    """A database of `server`, which must not be shared with tests that run at the same time (it is restarted)."""

    adapter = postgres_adapter
    can_restart = True
    can_lose_log = True
    confirm_discards = True
    stores_nul = False
    values: Mapping[str, Sequence[Value]] = {
        "boolean": (True, False),
        "integer(-32768,32767)": (-32768, 0, 32767),
        "integer(-2147483648,2147483647)": (-(2**31), 2**31 - 1),
        "integer(-9223372036854775808,9223372036854775807)": (-(2**63), 2**63 - 1),
        "decimal(12,4)": ("-99999999.9999", "0.0000", "99999999.9999"),
        "decimal(3,0)": ("-999", "0", "999"),
        "decimal": ("0", "1" + "0" * 100, "-0.00000000000000000000000000000001", "1.5"),
        "float": (-1.7976931348623157e308, 5e-324, -0.0, 0.1, float("inf")),
        "text": ("", " ", "日本語", "\\N", "\\.", '{a,"b"}'),
        "text(5)": ("日本語テキ", "a\tb\n\\"),
        "bytes": (b"", bytes(range(256)), b"\\x"),
        "date": ("0001-01-01", "9999-12-31", "2024-02-29"),
        "time": ("00:00:00", "23:59:59.999999", "12:00:00.5"),
        "datetime": ("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"),
        "instant": ("1970-01-01 00:00:00Z", "2038-01-19 03:14:07.5Z", "9999-12-31 23:59:59.999999Z"),
        "uuid": ("00000000-0000-0000-0000-000000000000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        "json": ('{"a": [1, null, "\\"x\\\\"]}', "[]", "1.50"),
        "native(interval)": ("1 year 2 mons -3 days +04:05:06.5",),
        "native(integer[])": ("{1,NULL,3}", "{{1,2},{3,4}}", "{}"),
        "native(inet)": ("10.1.2.3/24", "::1"),
        "native(int4range)": ("[1,5)", "empty"),
    }

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.database = f"contract {uuid.uuid4().hex}"
        server.create_database(self.database)
        self.identity = Identity("daemon", uuid.uuid4().hex, "lineage")
        self.options = Options(dsn=server.dsn(self.database))

    def create_table(self, table: Table) -> None:
        parts = [
            f"{quoted(column.name)} {sql_type(column.type)}{'' if column.nullable else ' NOT NULL'}"
            f"{' GENERATED BY DEFAULT AS IDENTITY' if column.automatic else ''}"
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
    def transaction(self) -> Iterator[PostgresWriter]:
        with psycopg.connect(self.server.dsn(self.database), cursor_factory=psycopg.RawCursor) as connection:
            yield PostgresWriter(connection)

    def rows(self, table: Table) -> list[Row]:
        columns = ", ".join(reading(column) for column in table.columns)
        order = ", ".join(map(quoted, table.primary_key))
        found = self.sql(f"SELECT {columns} FROM {quoted(table.name)} ORDER BY {order}")
        kinds = ["decimal(0)" if column.type == "decimal" else parse_type(column.type).kind for column in table.columns]
        return [[canonical(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in found]

    def truncate(self, table: Table) -> None:
        self.sql(f"TRUNCATE {quoted(table.name)}")

    def restart(self) -> None:
        """An orderly shutdown waits for walsenders whose client does not answer; the suite's does not meanwhile."""
        self.sql("ALTER SYSTEM SET wal_sender_timeout = '300ms'")
        self.sql("SELECT pg_reload_conf()")
        self.server.stop()
        self.server.start()
        self.sql("ALTER SYSTEM RESET wal_sender_timeout")
        self.sql("SELECT pg_reload_conf()")

    def lose_log(self) -> None:
        self._drop_slot()

    def sql(self, text: str) -> list[tuple]:
        return self.server.execute(self.database, text)

    def dispose(self) -> None:
        self._drop_slot()
        self.server.execute("postgres", f"DROP DATABASE {quoted(self.database)} WITH (FORCE)")

    def _drop_slot(self) -> None:
        """Drop the slot, if there is one; the server may not have noticed yet that its client is gone."""
        slot = f"FROM pg_replication_slots WHERE slot_name = '{self.options.slot_name(self.identity)}'"
        self.server.execute(
            "postgres", f"SELECT pg_terminate_backend(active_pid, 5000) {slot} AND active_pid IS NOT NULL"
        )
        self.server.execute("postgres", f"SELECT pg_drop_replication_slot(slot_name) {slot}")

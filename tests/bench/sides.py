"""The servers of a benchmark: a source and a target of each kind, syncing every commit, with memory for all their data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

import psycopg
import pymysql

from bench import workloads
from cdcd.testing.servers import MariaDBServer, PostgresServer

WAIT_SECONDS = 900.0
_POLL_SECONDS = 0.01
_TROUBLE_SECONDS = 2.0
_POSTGRES = {
    "shared_buffers": "1GB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "wal_sender_timeout": "0",
    "track_commit_timestamp": "on",
    "autovacuum": "off",
    "jit": "off",
    "max_worker_processes": "16",
}
_MARIADB = {
    "innodb-buffer-pool-size": "1G",
    "innodb-log-file-size": "1G",
    "max-binlog-size": "1G",
    "max-allowed-packet": "256M",
    "local-infile": "1",
    "log-slave-updates": "OFF",
    "gtid-strict-mode": "OFF",  # a replica that others write to as well
}


class Side(Protocol):
    """One server and what the benchmark does with it."""

    kind: ClassVar[str]

    @property
    def pid(self) -> int:
        """Its main process."""
        ...

    def create(self, database: str) -> None:
        """A new database with the workloads' tables."""
        ...

    def drop(self, database: str) -> None:
        """Remove a database."""
        ...

    def run(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        """One statement; its rows."""
        ...

    def play(self, database: str, transactions: Iterable[list[str]]) -> None:
        """Commit each of `transactions`."""
        ...

    def settle(self) -> None:
        """Write out what the last work has left behind, so that it does not fall into the next measurement."""
        ...

    def settle_readers(self) -> None:
        """Have those who read the log now begin at its end when they are started next time."""
        ...

    def close(self) -> None:
        """End the server."""
        ...


class PostgresSide:
    """PostgreSQL."""

    kind: ClassVar[str] = "pg"

    def __init__(self) -> None:
        self.server = PostgresServer(durable=True, time_zone="UTC", settings=_POSTGRES)
        self.server.start()

    @property
    def pid(self) -> int:
        return self.server.pid

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.server.dsn(database), autocommit=True)

    def create(self, database: str) -> None:
        self.server.create_database(database)
        self.server.execute(database, workloads.POSTGRES_SCHEMA)

    def drop(self, database: str) -> None:
        self.server.execute("postgres", f'DROP DATABASE "{database}" WITH (FORCE)')

    def run(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        return self.server.execute(database, sql)

    def play(self, database: str, transactions: Iterable[list[str]]) -> None:
        with self.connect(database) as connection:
            for statements in transactions:
                connection.execute(";".join(("BEGIN", *statements, "COMMIT")).encode())

    def settle(self) -> None:
        self.server.execute("postgres", "CHECKPOINT")

    def settle_readers(self) -> None:
        """A slot's next reader has the server decode again from the last list of running transactions that was confirmed."""
        (end,) = self.run("postgres", "SELECT pg_current_wal_insert_lsn()::text")[0]
        self.settle()
        lagging = f"SELECT FROM pg_replication_slots WHERE active AND restart_lsn < '{end}'"
        wait_for_row(self, "postgres", f"SELECT 1 WHERE NOT EXISTS ({lagging})", lambda: "")

    def close(self) -> None:
        self.server.dispose()


class MariaDbSide:
    """MariaDB."""

    kind: ClassVar[str] = "my"

    def __init__(self, server_id: int) -> None:
        self.server = MariaDBServer(durable=True, time_zone="+00:00", server_id=server_id, settings=_MARIADB)
        self.server.start()

    @property
    def pid(self) -> int:
        return self.server.pid

    def create(self, database: str) -> None:
        self.server.create_database(database)
        self.server.execute(workloads.MYSQL_SCHEMA, database)

    def drop(self, database: str) -> None:
        self.server.execute(f"DROP DATABASE `{database}`")

    def run(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        return self.server.execute(sql, database)

    def connect(self, database: str) -> pymysql.connections.Connection[Any]:
        return self.server.connect(database)

    def play(self, database: str, transactions: Iterable[list[str]]) -> None:
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statements in transactions:
                cursor.execute(";".join(("BEGIN", *statements, "COMMIT")))
                while cursor.nextset():
                    pass

    @contextmanager
    def announcing(self, version: str) -> Iterator[None]:
        """Restarted, it calls itself that: for clients that refuse what they do not know."""
        self.server.settings["version"] = version
        self.server.restart()
        try:
            yield
        finally:
            del self.server.settings["version"]
            self.server.restart()

    def settle(self) -> None:
        """InnoDB writes pages for minutes after a large work, unless it may have none that are dirty."""
        self.server.execute("FLUSH LOCAL TABLES")
        self.server.execute(
            "SET GLOBAL innodb_io_capacity_max = 20000, GLOBAL innodb_io_capacity = 20000, GLOBAL innodb_max_dirty_pages_pct = 0"
        )
        dirty = "variable_name = 'INNODB_BUFFER_POOL_PAGES_DIRTY' AND variable_value < 100"
        wait_for_row(self, "mysql", f"SELECT 1 FROM information_schema.global_status WHERE {dirty}", lambda: "")
        self.server.execute(
            "SET GLOBAL innodb_io_capacity = 200, GLOBAL innodb_io_capacity_max = 2000, GLOBAL innodb_max_dirty_pages_pct = 90"
        )

    def settle_readers(self) -> None:
        """A binlog is read from where one was."""

    def close(self) -> None:
        self.server.dispose()


AnySide = PostgresSide | MariaDbSide


def place_marker(side: Side, database: str, number: int) -> None:
    """The last transaction of a workload."""
    side.play(database, [[f"INSERT INTO bench_marker VALUES ({number}, 'end')"]])


def wait_for_marker(side: AnySide, database: str, number: int, trouble: Callable[[], str]) -> None:
    """Until it has arrived. Raises as `wait_for_row`."""
    wait_for_row(side, database, f"SELECT 1 FROM bench_marker WHERE id = {number}", trouble)


def wait_for_row(side: AnySide, database: str, sql: str, trouble: Callable[[], str]) -> None:
    """Until a query that costs the server nothing has a row, looked for over one connection.

    Raises RuntimeError when `trouble` says something, TimeoutError.
    """
    looked_at = time.monotonic()
    deadline = time.monotonic() + WAIT_SECONDS
    connection = side.connect(database)
    try:
        with connection.cursor() as cursor:
            while time.monotonic() < deadline:
                cursor.execute(sql)
                if cursor.fetchone() is not None:
                    return
                if time.monotonic() - looked_at > _TROUBLE_SECONDS:
                    looked_at = time.monotonic()
                    if found := trouble():
                        raise RuntimeError(found)
                time.sleep(_POLL_SECONDS)
    finally:
        connection.close()
    raise TimeoutError(f"nothing within {WAIT_SECONDS:.0f} s: {sql}")


def difference(source: Side, source_database: str, target: Side, target_database: str) -> str:
    """In what the tables of both differ, "" where they do not."""
    for sql in workloads.SUMS:
        ours, theirs = (
            [None if value is None else str(value).rstrip("0") for value in side.run(database, sql)[0]]
            for side, database in ((source, source_database), (target, target_database))
        )
        if ours != theirs:
            return f"{sql}: {ours} here, {theirs} there"
    return ""

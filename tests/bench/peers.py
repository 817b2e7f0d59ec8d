"""What cdcd is measured against: the servers' own replication, their own log clients, and how fast rows can be written at all.

Each peer of a whole line is made ready before a workload is played (so that it has the same backlog), drains it alone, and is stopped again.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pymysql.cursors import DictCursor

from bench import workloads
from bench.measuring import Cost, Meter
from bench.programs import printed
from bench.sides import AnySide, MariaDbSide, PostgresSide, wait_for_marker, wait_for_row

PUBLICATION = "bench"


class Peer(Protocol):
    """Another way to bring a database's changes to a target."""

    name: str

    @property
    def target(self) -> AnySide:
        """The server to which it brings it."""
        ...

    def drain(self, marker: int) -> Cost:
        """Bring everything before the marker to the target, and stop."""
        ...

    def target_database(self) -> str:
        """Where it has brought it."""
        ...

    def close(self) -> None:
        """Leave nothing behind at the source."""
        ...


def publish(source: PostgresSide, database: str, slot: str) -> None:
    """A slot from which the changes of the workloads' tables can be read from now on."""
    if not source.run(database, f"SELECT 1 FROM pg_publication WHERE pubname = '{PUBLICATION}'"):
        source.run(database, f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {', '.join(workloads.TABLES)}")
    source.run(database, f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")


def drop_slot(source: PostgresSide, database: str, slot: str) -> None:
    """Once its last reader has let go of it."""
    wait_for_row(
        source, database, f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}' AND NOT active", lambda: ""
    )
    source.run(database, f"SELECT pg_drop_replication_slot('{slot}')")


class NativePostgres:
    """PostgreSQL's logical replication."""

    name = "PostgreSQL subscription"

    def __init__(self, source: PostgresSide, database: str, target: PostgresSide) -> None:
        self._source, self._database, self.target = source, database, target
        self._copy = f"{database}_native"
        target.create(self._copy)
        publish(source, database, self._copy)
        connection = source.server.dsn(database).replace("'", "''")
        target.run(
            self._copy,
            f"CREATE SUBSCRIPTION {self._copy} CONNECTION '{connection}' PUBLICATION {PUBLICATION}"
            f" WITH (create_slot = false, slot_name = '{self._copy}', copy_data = false, enabled = false)",
        )

    def target_database(self) -> str:
        return self._copy

    def drain(self, marker: int) -> Cost:
        with Meter({"source": self._source.pid, "target": self.target.pid}, "") as meter, self.following():
            meter.begin()
            wait_for_marker(self.target, self._copy, marker, lambda: "")
            return meter.stop()

    @contextmanager
    def following(self) -> Iterator[None]:
        """It reads for as long as the block lasts."""
        self.target.run(self._copy, f"ALTER SUBSCRIPTION {self._copy} ENABLE")
        # Its launcher starts workers at most every five seconds (wal_retrieve_retry_interval).
        reading = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{self._copy}' AND active"
        wait_for_row(self._source, self._database, reading, lambda: "")
        yield
        self._source.settle_readers()
        self.target.run(self._copy, f"ALTER SUBSCRIPTION {self._copy} DISABLE")

    def close(self) -> None:
        self.target.run(self._copy, f"ALTER SUBSCRIPTION {self._copy} SET (slot_name = NONE)")
        self.target.run(self._copy, f"DROP SUBSCRIPTION {self._copy}")
        drop_slot(self._source, self._database, self._copy)


class NativeMariaDb:
    """MariaDB's replication. The copy has the source database's name in the target server."""

    name = "MariaDB replica"

    def __init__(self, source: MariaDbSide, database: str, target: MariaDbSide) -> None:
        self._source, self._database, self.target = source, database, target
        target.create(database)
        file, position = source.run(database, "SHOW MASTER STATUS")[0][:2]
        target.run(
            database,
            f"SET GLOBAL replicate_do_db = '{database}', GLOBAL replicate_wild_ignore_table = '{database}.cdcd%'",
        )
        target.run(
            database,
            f"CHANGE MASTER TO master_host = '127.0.0.1', master_port = {source.server.port}, master_user = 'root',"
            f" master_log_file = '{file}', master_log_pos = {position}, master_use_gtid = no",
        )

    def target_database(self) -> str:
        return self._database

    def drain(self, marker: int) -> Cost:
        with Meter({"source": self._source.pid, "target": self.target.pid}, "") as meter, self.following():
            wait_for_marker(self.target, self._database, marker, self._trouble)
            return meter.stop()

    @contextmanager
    def following(self) -> Iterator[None]:
        """It reads for as long as the block lasts."""
        self.target.run(self._database, "START SLAVE")
        yield
        self.target.run(self._database, "STOP SLAVE")

    def _trouble(self) -> str:
        with self.target.connect(self._database) as connection, connection.cursor(DictCursor) as cursor:
            cursor.execute("SHOW SLAVE STATUS")
            found = cursor.fetchone()
        assert found is not None
        return str(found["Last_SQL_Error"] or found["Last_IO_Error"])

    def close(self) -> None:
        self.target.run(self._database, "RESET SLAVE ALL")


class ReceiveLogical:
    """PostgreSQL's own log client, which throws away what it reads: how fast a server can tell its changes at all."""

    name = "pg_recvlogical"

    def __init__(self, source: PostgresSide, database: str) -> None:
        self._source, self._database = source, database
        self._slot = f"{database}_receive"
        publish(source, database, self._slot)

    def read(self) -> float:
        """Seconds to read all there is."""
        (end,) = self._source.run(self._database, "SELECT pg_current_wal_lsn()::text")[0]
        program = self._source.server.binaries.path / "pg_recvlogical"
        command = [str(program), "--dbname", self._source.server.dsn(self._database), "--slot", self._slot, "--start"]
        options = [
            "-o",
            "proto_version=1",
            "-o",
            f"publication_names={PUBLICATION}",
            "--endpos",
            end,
            "--file",
            "/dev/null",
        ]
        started_at = time.monotonic()
        subprocess.run([*command, *options, "--no-loop"], check=True, capture_output=True)
        return time.monotonic() - started_at

    def close(self) -> None:
        drop_slot(self._source, self._database, self._slot)


class MysqlReplication:
    """The Python library that most Python programs read a binlog with, rows thrown away."""

    name = "mysql-replication"

    def __init__(self, source: MariaDbSide, database: str) -> None:
        self._source, self._database = source, database
        self._file, self._position = source.run(database, "SHOW MASTER STATUS")[0][:2]

    def read(self) -> float:
        """Seconds to read up to the log's present end, after it has connected."""
        file, position = self._source.run(self._database, "SHOW MASTER STATUS")[0][:2]
        places = [self._file, self._position, file, position]
        arguments = [str(self._source.server.port), self._database, *map(str, places)]
        found = printed([sys.executable, "-m", "bench.read_binlog", *arguments])
        self._file, self._position = file, position
        return float(found)


class MultiRowUpserts:
    """How fast one connection can write the products of W1 into MariaDB: 1,000 rows a statement, 10,000 a transaction."""

    name = "multi-row upserts"

    def __init__(self, target: MariaDbSide) -> None:
        self._target = target

    def write(self, scale: float) -> float:
        """Seconds; without making the statements."""
        database = "bench_upserts"
        self._target.create(database)
        update = ", ".join(f"{name} = VALUES({name})" for name in workloads.COLUMNS[1:])
        seconds = 0.0
        with self._target.connect(database) as connection, connection.cursor() as cursor:
            for number, statements in enumerate(workloads.new_products(1, workloads.products(scale))):
                rows = ",".join(statement.split(" VALUES ", 1)[1] for statement in statements)
                sql = f"INSERT INTO product ({', '.join(workloads.COLUMNS)}) VALUES {rows} ON DUPLICATE KEY UPDATE {update}"
                started_at = time.monotonic()
                if number % 10 == 0:
                    cursor.execute("COMMIT")
                    cursor.execute("BEGIN")
                cursor.execute(sql)
                seconds += time.monotonic() - started_at
            started_at = time.monotonic()
            cursor.execute("COMMIT")
            seconds += time.monotonic() - started_at
        self._target.drop(database)
        return seconds

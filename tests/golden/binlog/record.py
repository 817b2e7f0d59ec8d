"""Records what a server logs for the scenarios below: `python tests/golden/binlog/record.py HOST:PORT USER PASSWORD LABEL`.

Use a server that nobody else writes to. A file SCENARIO.LABEL.hex begins with one line of JSON: the server's collation
numbers, and what its tables held in the end. Then comes one event a line, in hexadecimals, as the server sent them.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pymysql

COM_BINLOG_DUMP = 0x12
NON_BLOCKING = 1
HERE = Path(__file__).parent
TABLE = "CREATE TABLE t (id int PRIMARY KEY, v varchar(100), j json)"
OTHER = "CREATE TABLE u (id int PRIMARY KEY, v varchar(100))"
FILL = "INSERT INTO t VALUES (1, 'one', '{\"a\": 1, \"b\": [1, 2]}'), (2, 'two', '[]'), (3, NULL, NULL)"
CHANGES = (
    "START TRANSACTION",
    "UPDATE t SET v = 'changed' WHERE id = 1",
    "UPDATE t SET id = 20 WHERE id = 2",
    "DELETE FROM t WHERE id = 3",
    "INSERT INTO u SELECT seq.n, repeat('x', 90) FROM (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3) AS seq",
    "COMMIT",
)
XA = (
    "XA START 'one', 'branch', 7",
    "INSERT INTO t VALUES (4, 'prepared', NULL)",
    "UPDATE t SET v = 'x' WHERE id = 1",
    "XA END 'one', 'branch', 7",
    "XA PREPARE 'one', 'branch', 7",
    "@other INSERT INTO t VALUES (5, 'between', NULL)",
    "@other XA START 'two'",
    "@other INSERT INTO t VALUES (6, 'never', NULL)",
    "@other XA END 'two'",
    "@other XA PREPARE 'two'",
    "XA COMMIT 'one', 'branch', 7",
    "@other XA ROLLBACK 'two'",
    "XA START 'phase'",
    "INSERT INTO t VALUES (7, 'one phase', NULL)",
    "XA END 'phase'",
    "XA COMMIT 'phase' ONE PHASE",
)
DDL = (
    TABLE,
    FILL,
    "CREATE TABLE t_new LIKE t",
    "INSERT INTO t_new SELECT * FROM t",
    "RENAME TABLE t TO t_old, t_new TO t",
    "DROP TABLE IF EXISTS t_old, missing",
    OTHER,
    "INSERT INTO u VALUES (1, 'a')",
    "TRUNCATE TABLE u",
    "ALTER TABLE u RENAME TO w",
    "DROP TABLE w",
)
JSON_CHANGES = (
    "UPDATE t SET j = JSON_SET(j, '$.a', 'text', '$.b[1]', 3.5) WHERE id = 1",
    "UPDATE t SET j = JSON_REPLACE(j, '$.b[0]', CAST('{\"deep\": [true, null]}' AS JSON)), v = 'both' WHERE id = 1",
    "UPDATE t SET j = JSON_REMOVE(j, '$.b[1]') WHERE id = 1",
    "UPDATE t SET j = JSON_SET(j, '$.b[0].deep[5]', 1, '$.\"a key\"', 2, '$.n', 3) WHERE id = 1",
    "UPDATE t SET j = JSON_SET(j, '$.a', 'other'), id = 30 WHERE id = 1",
)
SCENARIOS = {
    "plain": (TABLE, OTHER, FILL, *CHANGES, "FLUSH BINARY LOGS", "DELETE FROM u WHERE id = 2"),
    "compressed": (TABLE, OTHER, "@compress", FILL, *CHANGES, "UPDATE u SET v = repeat('y', 99)", "@plain"),
    "minimal": (TABLE, OTHER, "SET SESSION binlog_row_image = MINIMAL", FILL, *CHANGES),
    "noblob": (TABLE, OTHER, "SET SESSION binlog_row_image = NOBLOB", FILL, *CHANGES),
    "xa": (TABLE, FILL, *XA),
    "ddl": DDL,
    "partial": (TABLE, FILL, "SET SESSION binlog_row_value_options = PARTIAL_JSON", *JSON_CHANGES),
    "tagged": (
        TABLE,
        "SET gtid_next = 'AUTOMATIC:tag_1'",
        FILL,
        "SET gtid_next = 'AUTOMATIC'",
        "DELETE FROM t WHERE id = 1",
    ),
    "everything": (
        TABLE,
        "@compress",
        "SET SESSION binlog_row_value_options = PARTIAL_JSON, gtid_next = 'AUTOMATIC:tag_1'",
        "SET SESSION binlog_rows_query_log_events = ON",
        FILL,
        *JSON_CHANGES,
        *XA,
    ),
}
ONLY_MYSQL = frozenset({"partial", "tagged", "everything"})


class Recorder:
    """Connections to the server to record from."""

    def __init__(self, place: str, user: str, password: str) -> None:
        host, _, port = place.partition(":")
        self._settings = {"host": host, "port": int(port), "user": user, "password": password, "autocommit": True}
        self._admin = self._connect()
        self.is_mariadb = "MariaDB" in str(self._ask("SELECT version()")[0][0])

    def _connect(self) -> pymysql.Connection:
        return pymysql.connect(**self._settings, charset="utf8mb4")

    def _ask(self, sql: str) -> list:
        with self._admin.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def record(self, statements: tuple[str, ...]) -> tuple[dict, list[bytes]]:
        """Run a scenario; return what the server held in the end, and the events."""
        self._ask("FLUSH BINARY LOGS")
        first = self._ask("SHOW BINARY LOGS")[-1][0]
        self._ask("DROP DATABASE IF EXISTS shop")
        self._ask("CREATE DATABASE shop CHARACTER SET utf8mb4")
        sessions = {"": self._connect(), "other": self._connect()}
        for session in sessions.values():
            session.select_db("shop")
        for statement in statements:
            self._run(sessions, statement)
        for session in sessions.values():
            session.close()
        tables = [name for (name,) in self._ask("SHOW TABLES IN shop")]
        held = {name: [list(row) for row in self._ask(f"SELECT * FROM shop.{name} ORDER BY 1")] for name in tables}
        collations = self._ask(
            "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability"
            if self.is_mariadb
            else "SELECT id, character_set_name FROM information_schema.collations"
        )
        known = {number: name for number, name in collations if number in (8, 33, 45, 46, 63, 224, 255, 2304)}
        return {"collations": known, "tables": held}, self._dump(first)

    def _run(self, sessions: dict[str, pymysql.Connection], statement: str) -> None:
        session = sessions[""]
        if statement.startswith("@other "):
            session, statement = sessions["other"], statement.removeprefix("@other ")
        elif statement.startswith("@"):
            on = "ON" if statement == "@compress" else "OFF"
            variable = "GLOBAL log_bin_compress" if self.is_mariadb else "SESSION binlog_transaction_compression"
            statement = f"SET {variable} = {on}"
        with session.cursor() as cursor:
            cursor.execute(statement)

    def _dump(self, first: str) -> list[bytes]:
        connection = self._connect()
        with connection.cursor() as cursor:
            cursor.execute("SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'")
            cursor.execute("SET @mariadb_slave_capability = 4")
        command = struct.pack("<IHI", 4, NON_BLOCKING, 4_000_000) + first.encode()
        connection._execute_command(COM_BINLOG_DUMP, command)
        events = []
        while True:
            packet = connection._read_packet().get_all_data()
            if packet[:1] != b"\0":
                return events
            events.append(packet[1:])


def main() -> None:
    """Record all scenarios, or those named after the label."""
    place, user, password, label, *names = sys.argv[1:]
    recorder = Recorder(place, user, password)
    for name, statements in SCENARIOS.items():
        if (names and name not in names) or (recorder.is_mariadb and name in ONLY_MYSQL):
            continue
        facts, events = recorder.record(statements)
        lines = [json.dumps(facts, ensure_ascii=False), *(event.hex() for event in events)]
        (HERE / f"{name}.{label}.hex").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

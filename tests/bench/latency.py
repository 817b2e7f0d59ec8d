"""W5: an application commits at a steady rate; how long until each commit can be seen in the target.

`python -m bench.latency KIND PLACE DATABASE FIRST SECONDS` is that application.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import psycopg
import pymysql
from pymysql.constants import CLIENT

from bench import workloads
from bench.sides import AnySide, MariaDbSide, PostgresSide

RATE: Final = 500
SECONDS: Final = 20.0
WARM_UP_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.002
_PAGE: Final = b"\1" * 4096
_SYNCS: Final = 300
FIRST: Final = 100_000_000


class Latency(NamedTuple):
    """In milliseconds, of so many."""

    p50_ms: float
    p99_ms: float
    measured: int


def of_syncs(directory: Path) -> Latency:
    """Of the disk, with nothing beside it: a page that is written over and synced, of which each commit waits for one or two."""
    waits = []
    with (directory / "synced").open("w+b", buffering=0) as file:
        file.write(_PAGE)
        os.fsync(file.fileno())
        for _ in range(_SYNCS):
            started_at = time.monotonic()
            os.pwrite(file.fileno(), _PAGE, 0)
            os.fdatasync(file.fileno())
            waits.append(time.monotonic() - started_at)
    return _latency(waits)


def measure(source: AnySide, database: str, target: AnySide, target_database: str, nth: int = 0) -> Latency:
    """Of commits after the warm-up. By the `nth` who are measured with this source, and bring the orders of those before them, too.

    The writer is a process of its own, so that looking does not slow it down. Both use this machine's monotonic clock.
    """
    first = FIRST + nth * int(RATE * (SECONDS + WARM_UP_SECONDS))
    writer = application(source, database, first, SECONDS + WARM_UP_SECONDS)
    seen = _watch(target, target_database, first, int(RATE * (SECONDS + WARM_UP_SECONDS)))
    output, _ = writer.communicate()
    committed = {int(number): moment for number, moment in json.loads(output).items()}
    counted = first + int(RATE * WARM_UP_SECONDS)
    return _latency(
        seen[number] - moment for number, moment in committed.items() if number >= counted and number in seen
    )


def _latency(seconds: Iterable[float]) -> Latency:
    waits = [wait * 1000 for wait in sorted(seconds)]
    return Latency(waits[len(waits) // 2], waits[int(len(waits) * 0.99)], len(waits))


def application(source: AnySide, database: str, first: int, seconds: float) -> subprocess.Popen[str]:
    """Commits orders from number `first` on for so long; then prints when it has committed each, as a JSON object."""
    place = ["my", str(source.server.port)] if isinstance(source, MariaDbSide) else ["pg", source.server.dsn(database)]
    command = [sys.executable, "-m", "bench.latency", *place, database, str(first), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _watch(target: AnySide, database: str, first: int, count: int) -> dict[int, float]:
    """When each order was first seen."""
    seen: dict[int, float] = {}
    last = first - 1
    deadline = time.monotonic() + SECONDS + WARM_UP_SECONDS + 60
    newer = "SELECT id FROM orders WHERE id > %s"
    with target.connect(database) as connection, connection.cursor() as cursor:
        if isinstance(target, PostgresSide):
            cursor.execute(
                "SET enable_seqscan = off; SET enable_bitmapscan = off"
            )  # it has no statistics of a table that grows just now
        while last < first + count - 1 and time.monotonic() < deadline:
            cursor.execute(newer, (last,))
            rows = cursor.fetchall()
            now = time.monotonic()
            for (number,) in rows:
                seen[number] = now
                last = max(last, number)
            time.sleep(_POLL_SECONDS)
    return seen


def _write(kind: str, place: str, database: str, first: int, seconds: float) -> None:
    moments: dict[int, float] = {}
    started_at = time.monotonic()
    with _connected(kind, place, database) as connection, connection.cursor() as cursor:
        for at in range(int(RATE * seconds)):
            time.sleep(max(0.0, started_at + at / RATE - time.monotonic()))
            number = first + at
            cursor.execute(";".join(("BEGIN", *workloads.order_and_stock(number, 1000), "COMMIT")))
            while cursor.nextset():
                pass
            moments[number] = time.monotonic()
    print(json.dumps(moments))


def _connected(kind: str, place: str, database: str) -> psycopg.Connection | pymysql.connections.Connection:
    if kind == "pg":
        return psycopg.connect(place, autocommit=True)
    return pymysql.connect(
        host="127.0.0.1",
        port=int(place),
        user="root",
        database=database,
        autocommit=True,
        client_flag=CLIENT.MULTI_STATEMENTS,
    )


if __name__ == "__main__":
    _write(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))

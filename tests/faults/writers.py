"""Writes on one side for as long as its standard input is open: a process of its own, which outlives every fault.

`python writers.py SIDE PORT CONNECTIONS TRANSACTIONS_PER_SECOND`; it goes straight to its server, not through the proxy. Lines
on standard input say "go" and "pause"; "paused" is answered when no transaction is open any more.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pymysql

ROUNDS = 40
"""Transactions that one call makes."""
WAIT_SECONDS = 5
UNAVAILABLE_SECONDS = 0.1


def erp_call(port: int, connection: int) -> Callable[[], None]:
    opened = psycopg.connect(
        f"host=127.0.0.1 port={port} dbname=company user=postgres connect_timeout={WAIT_SECONDS}"
        f" options='-c lock_timeout={WAIT_SECONDS}s'",
        autocommit=True,
    )

    def call() -> None:
        opened.execute(f"CALL business({connection}, {ROUNDS})")

    return call


def shop_call(port: int, connection: int) -> Callable[[], None]:
    opened = pymysql.connect(
        host="127.0.0.1", port=port, user="root", database="company", autocommit=True, connect_timeout=WAIT_SECONDS
    )
    cursor = opened.cursor()
    cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {WAIT_SECONDS}")

    def call() -> None:
        cursor.execute(f"CALL business({connection}, {ROUNDS})")

    return call


CALLS = {"erp": erp_call, "shop": shop_call}
CONNECTION_LOST = (psycopg.OperationalError, psycopg.InterfaceError, pymysql.OperationalError, pymysql.InterfaceError)
REFUSED = (psycopg.Error, pymysql.Error)
"""A deadlock or a lock that could not be had: the transaction did not happen, another one will."""


class Writer(threading.Thread):
    """One connection's business, at its pace."""

    def __init__(self, side: str, port: int, connection: int, per_second: float) -> None:
        super().__init__(daemon=True)
        self._side, self._port, self._connection = side, port, connection
        self._interval = ROUNDS / per_second
        self.going = threading.Event()
        self.idle = threading.Event()
        self.idle.set()

    def run(self) -> None:
        call: Callable[[], None] | None = None
        due = time.monotonic()
        while True:
            if not self.going.is_set():
                self.idle.set()
                self.going.wait()
            self.idle.clear()
            try:
                if call is None:
                    call = CALLS[self._side](self._port, self._connection)
                call()
            except CONNECTION_LOST as error:
                if "deadlock" not in str(error).lower():
                    call = None
                    time.sleep(UNAVAILABLE_SECONDS)
            except REFUSED as error:
                print(f"refused {type(error).__name__}: {error}", file=sys.stderr)
            due = max(due + self._interval * random.uniform(0.8, 1.2), time.monotonic() - 1.0)
            time.sleep(max(0.0, due - time.monotonic()))


def main(side: str, port: str, connections: str, per_second: str) -> None:
    count = int(connections)
    writers = [Writer(side, int(port), number, float(per_second) / count) for number in range(count)]
    for writer in writers:
        writer.start()
    for line in sys.stdin:
        if line.strip() == "go":
            for writer in writers:
                writer.idle.clear()
                writer.going.set()
        else:
            for writer in writers:
                writer.going.clear()
            for writer in writers:
                writer.idle.wait()
        with suppress(BrokenPipeError):
            print("going" if line.strip() == "go" else "paused", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

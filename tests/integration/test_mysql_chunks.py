"""Chunks on real servers: prompt, over keys of every type, and never older than the stream."""

import contextlib
import select
import threading
import time

import msgspec
import pymysql
import pytest

from cdcd.model import Op, Rows
from cdcd.testing.stream import named_rows
from contract.mysql_harness import OnMySql
from integration.mysql_reading import NUMBERS, harness, opened, read_changes, read_error, server  # noqa: F401 (fixtures)


def test_a_chunk_on_an_idle_server_comes_at_once(harness, opened):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (1, 'v', 0)")
    reader = opened(harness, heartbeat_seconds=60)
    while reader.poll() or reader.wait(0):
        pass
    started = time.monotonic()
    chunk = reader.read_chunk("t", None, 10)
    assert time.monotonic() - started < 0.5
    assert [change.row["id"] for change in named_rows(chunk.rows)] == [1]


@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        ("enum('z','m','a')", ["'m'", "'a'", "'z'"]),
        ("set('b','a')", ["'a'", "'b'", "'b,a'", "''"]),
        ("decimal(20,10)", ["-1.5", "0", "0.0000000001", "12345.5"]),
        ("float", ["0.1", "-0.1", "3e38", "1e-40"]),
        ("double", ["0.1", "-0.1", "1e300"]),
        ("binary(3)", ["x'00'", "x'ff27'", "x'275c00'"]),
        ("varbinary(5)", ["x'00'", "''", "x'275c'"]),
        ("datetime(3)", ["'2026-01-01 00:00:00.005'", "'2026-01-01 00:00:00'"]),
        ("timestamp(6)", ["'2026-01-01 00:00:00.000005'", "'1970-01-01 00:00:01'"]),
        ("time(2)", ["'-00:00:01.5'", "'-10:00:00'", "'00:00:00'", "'10:00:00'"]),
        ("year", ["1999", "2026"]),
        ("bit(10)", ["1", "1023", "512"]),
        ("bigint unsigned", ["0", "18446744073709551615"]),
        ("varchar(10) character set latin1", ["'ä'", "'a'", "'Z'", "''''"]),
        ("uuid", ["'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "'123e4567-e89b-42d3-a456-426614174000'"]),
        ("inet6", ["'::1'", "'2001:db8::'"]),
        ("date", ["'2026-01-01'", "'1999-12-31'"]),
    ],
)
def test_chunks_of_one_row_walk_over_keys_of_every_type(harness, server, opened, definition, keys):
    if definition in ("uuid", "inet6") and not server.is_mariadb:
        pytest.skip(f"MySQL has no type {definition}")
    harness.sql(f"CREATE TABLE t (k {definition} PRIMARY KEY, v int)")
    harness.sql("INSERT INTO t VALUES " + ", ".join(f"({key}, {place})" for place, key in enumerate(keys)))
    reader = opened(harness)
    seen, after = [], None
    for _ in range(len(keys) + 1):
        chunk = reader.read_chunk("t", after, 1)
        seen += [change.row["v"] for change in named_rows(chunk.rows)]
        if chunk.done:
            break
        after = chunk.last_key
    assert chunk.done
    assert sorted(seen) == list(range(len(keys)))


def test_a_chunk_requested_inside_a_large_transaction_waits_for_its_end(harness, opened):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (-1, 'before', 0)")
    reader = opened(harness)
    values = ", ".join(f"({number}, repeat('x', 100), 0)" for number in range(30000))
    harness.sql(f"INSERT INTO t VALUES {values}", "INSERT INTO t VALUES (-2, 'after', 0)")
    while not any(isinstance(event, Rows) for event in reader.poll()):
        reader.wait(0.05)
    assert not reader.transactions
    chunk = reader.read_chunk("t", None, 5)
    taken = {change.row["id"] for change in named_rows(chunk.rows)}
    assert taken | {-2} == {-2, -1, 0, 1, 2}  # MySQL's chunk may leave out what the stream carried after the first rows
    assert len(reader.transactions) == 2


def test_the_descriptor_wakes_a_waiting_core_for_a_chunk_and_for_what_one_poll_left(harness, opened):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (1, 'v', 0)")
    reader = opened(harness, heartbeat_seconds=60)
    while reader.poll() or reader.wait(0):
        pass
    reader.source.request_chunk("t", None, 10)
    assert select.select([reader.source.fileno()], [], [], 5)[0]
    values = ", ".join(f"({number}, repeat('x', 100), 0)" for number in range(2, 60000))
    harness.sql(f"INSERT INTO t VALUES {values}")
    while not reader.transactions:
        assert select.select([reader.source.fileno()], [], [], 10)[0]
        reader.poll()
    assert len(reader.transactions[0].changes) == 59998


def test_chunks_beside_writers_end_with_the_tables_own_state(harness, opened):
    """Many writers, many chunks: what core would have at the end is what the table has."""
    harness.sql(NUMBERS)
    values = ", ".join(f"({number}, 'v', 0)" for number in range(300))
    harness.sql(f"INSERT INTO t VALUES {values}")
    reader = opened(harness)
    threads = [threading.Thread(target=update_randomly, args=(harness, seed)) for seed in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        after = None
        while True:
            chunk = reader.read_chunk("t", after, 37)
            after = chunk.last_key
            if chunk.done:
                break
    harness.sql("INSERT INTO t VALUES (1000000, 'end', 0)")
    reader.read_until(lambda: any(c.row.get("id") == 1000000 for e in reader.transactions[-3:] for c in e.changes))
    assert replay(reader) == as_numbers(harness.sql("SELECT id, v, n FROM t"))


def update_randomly(harness, seed):
    with contextlib.closing(
        pymysql.connect(unix_socket=str(harness.server.socket), user="root", database=harness.database)
    ) as c:
        cursor = c.cursor()
        for number in range(150):
            key = (number * 7919 + seed * 104729) % 300
            cursor.execute("UPDATE t SET n = n + 1, v = %s WHERE id = %s", (f"{seed}-{number}", key))
            if number % 10 == seed:
                cursor.execute("DELETE FROM t WHERE id = %s", (key,))
            if number % 10 == seed + 1:
                cursor.execute("REPLACE INTO t VALUES (%s, 'new', %s)", (key, number))
            c.commit()


def replay(reader):
    replica = {}
    for event in reader.events:
        if isinstance(event, Rows):
            for row in event.rows:
                if event.op is Op.DELETE:
                    replica.pop(row[0], None)
                else:
                    replica[row[0]] = row
        elif hasattr(event, "last_key"):
            for row in event.rows.rows:
                replica[row[0]] = row
    return replica


def as_numbers(rows):
    return {int(row[0]): [int(row[0]), row[1], None if row[2] is None else int(row[2])] for row in rows}


class TestMySql(OnMySql):
    def test_chunks_without_gtids_cross_a_barrier_of_our_own(self, harness, opened):
        harness.sql(NUMBERS, "INSERT INTO t VALUES (1, 'v', 0)")
        reader = opened(harness)
        server = msgspec.structs.replace(reader.source._server, has_gtids=False)
        reader.source._server = server
        harness.sql("INSERT INTO t VALUES (2, 'v', 0)")
        chunk = reader.read_chunk("t", None, 10)
        assert {change.row["id"] for change in named_rows(chunk.rows)} | {
            change.row["id"] for entry in reader.transactions for change in entry.changes
        } == {1, 2}
        assert harness.sql("SELECT crossed FROM cdcd_barrier") == [("1",)]

"""A writer that is gone without a word, in the middle of a transaction: the next one does not wait until the server notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from cdcd.adapter import TableNeed
from cdcd.errors import Unavailable
from cdcd.model import Batch, TableWrite, WriteKind
from cdcd.testing.proxy import TcpProxy
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from cdcd_mysql import adapter as mysql_adapter
from cdcd_mysql.options import Options as MySqlOptions
from cdcd_postgres import adapter as postgres_adapter
from cdcd_postgres import session, statements
from cdcd_postgres.predecessor import end_predecessor
from contract.mysql_harness import MySqlHarness
from contract.postgres_harness import PostgresHarness

MORE_THAN_IS_SENT_AT_ONCE = [[number, "x" * 1000] for number in range(10, 6000)]
LOCK_TIMEOUT_SECONDS = 20


def taken_over_seconds(harness: Any, adapter: Any, options: Any, proxy: TcpProxy, table: str) -> float:
    """How long a new writer waits for one whose server still believes in it."""
    target = adapter.open_target(harness.identity, options)
    target.open()

    def writes() -> Iterator[TableWrite]:
        yield TableWrite(table, WriteKind.UPSERT, ("k",), ("k", "v"), MORE_THAN_IS_SENT_AT_ONCE)
        yield TableWrite(table, WriteKind.UPSERT, ("k",), ("k", "v"), [[1, "x"]])
        assert proxy.half_open(lost_by="client") == 1
        yield TableWrite(table, WriteKind.UPSERT, ("k",), ("k", "v"), [[2, "x"]])

    target.apply([TableWrite(table, WriteKind.UPSERT, ("k",), ("k", "v"), [[0, "x"]])], Batch(0, 1))
    with pytest.raises(Unavailable):
        target.apply(writes(), Batch(1, 2))
    target.close()
    begun = time.monotonic()
    assert target.open() == 1
    seconds = time.monotonic() - begun
    target.close()
    return seconds


def test_a_successor_in_postgresql_does_not_wait(postgres: PostgresServer) -> None:
    harness = PostgresHarness(postgres)
    harness.sql("CREATE TABLE a (k int PRIMARY KEY, v text)")
    try:
        with TcpProxy(postgres.port) as proxy:
            dsn = psycopg.conninfo.make_conninfo(harness.options.dsn, port=proxy.port)
            options = msgspec.structs.replace(harness.options, dsn=dsn, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS)
            seconds = taken_over_seconds(harness, postgres_adapter, options, proxy, "public.a")
        assert seconds < LOCK_TIMEOUT_SECONDS / 2
        assert harness.sql("SELECT k FROM a") == [(0,)]
    finally:
        harness.dispose()


def test_a_capture_that_was_lost_while_it_prepared_its_tables_keeps_nobody_out(postgres: PostgresServer) -> None:
    harness = PostgresHarness(postgres)
    harness.sql("CREATE TABLE a (k int PRIMARY KEY)")
    needs = [TableNeed("public.a")]
    options = msgspec.structs.replace(harness.options, lock_timeout_seconds=2)
    try:
        with TcpProxy(postgres.port) as proxy:
            through = msgspec.structs.replace(
                options, dsn=psycopg.conninfo.make_conninfo(harness.options.dsn, port=proxy.port)
            )
            connection = session.connect_reading(harness.identity.system, through)
            end_predecessor(connection, harness.identity, "capture")
            connection.execute("BEGIN")
            connection.execute(statements.LOCK_OURS)
            assert proxy.half_open(lost_by="client") == 1
            session.close(connection)
        source = postgres_adapter.open_source(harness.identity, options, needs)
        source.start(None)
        source.close()
        target = postgres_adapter.open_target(harness.identity, options)
        assert target.open() == 0
        target.close()
    finally:
        harness.dispose()


def test_a_successor_in_mariadb_or_mysql_does_not_wait(mariadb: MySqlFamilyServer) -> None:
    harness = MySqlHarness(MySqlOptions(host="127.0.0.1", port=mariadb.port, user="root", database=""))
    harness.sql("CREATE TABLE a (k int PRIMARY KEY, v varchar(2000))")
    try:
        with TcpProxy(mariadb.port) as proxy:
            options = msgspec.structs.replace(
                harness.options, port=proxy.port, lock_timeout_seconds=LOCK_TIMEOUT_SECONDS
            )
            seconds = taken_over_seconds(harness, mysql_adapter, options, proxy, "a")
        assert seconds < LOCK_TIMEOUT_SECONDS / 2
        assert [int(row[0]) for row in mariadb.execute("SELECT k FROM a", harness.database)] == [0]
    finally:
        harness.dispose()

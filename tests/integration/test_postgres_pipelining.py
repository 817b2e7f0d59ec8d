"""Statements of a transaction go to the server together, and it keeps their plans."""

from collections.abc import Iterator

import psycopg
import pytest

from cdcd.model import Batch, TableWrite, WriteKind
from cdcd.testing.servers import PostgresServer
from cdcd_postgres import adapter, pipelining, session
from cdcd_postgres.pipelining import Pipeline, texts
from contract.postgres_harness import PostgresHarness

PREPARED = "SELECT name, statement FROM pg_prepared_statements"


@pytest.fixture
def harness(postgres: PostgresServer) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(postgres)
    yield harness
    harness.dispose()


@pytest.fixture
def connection(harness) -> Iterator[session.Connection]:
    connection = session.connect_writing("shop", harness.options)
    yield connection
    connection.close()


@pytest.fixture
def pipeline(connection) -> Pipeline:
    return Pipeline(connection)


def test_results_come_in_the_order_of_the_statements_whether_prepared_or_not(connection, pipeline):
    for _ in range(2):
        pipeline.send("SELECT $1::text, NULL", ["ünï"])
        pipeline.send("SELECT x FROM unnest($1::text[]) AS x", ["{a,b}"], prepare=False)
        assert [texts(result) for result in pipeline.results()] == [[("ünï", None)], [("a",), ("b",)]]
    assert len(connection.execute(PREPARED).fetchall()) == 1
    assert pipeline.results() == []


def test_the_first_error_is_raised_and_what_was_not_prepared_is_prepared_the_next_time(connection, pipeline):
    pipeline.send("BEGIN")
    pipeline.send("SELECT 1 / $1::int", ["0"])
    pipeline.send("SELECT 'after'")
    with pytest.raises(psycopg.errors.DivisionByZero):
        pipeline.results()
    connection.rollback()
    assert pipeline.rows("SELECT 'after'", [], prepare=True) == [("after",)]
    assert pipeline.rows("SELECT 1 / $1::int", ["1"], prepare=True) == [("1",)]


def test_who_gives_up_leaves_a_usable_connection(connection, pipeline):
    pipeline.send("SELECT 1 / 0")
    with pytest.raises(psycopg.DataError, match="NUL"):
        pipeline.send("SELECT $1::text", ["a\0b"])
    with pytest.raises(UnicodeEncodeError):
        pipeline.send("SELECT $1::text", ["\ud800"])
    pipeline.abandon()
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_oldest_prepared_statement_makes_room_for_a_new_one(connection, pipeline, monkeypatch):
    monkeypatch.setattr(pipelining, "PREPARED_MAX", 2)
    for number in (1, 2, 1, 3):
        assert pipeline.rows(f"SELECT {number}", [], prepare=True) == [(str(number),)]
    assert {sql for _, sql in connection.execute(PREPARED)} == {"SELECT 1", "SELECT 3"}


def test_why_the_server_closed_the_connection_is_told(pipeline):
    pipeline.send("SELECT pg_terminate_backend(pg_backend_pid())")
    pipeline.send("SELECT 1")
    with pytest.raises(psycopg.errors.AdminShutdown):
        pipeline.results()
    with pytest.raises(psycopg.OperationalError):
        pipeline.rows("SELECT 1", [], prepare=False)


def test_a_transaction_of_several_writes_is_one_exchange_with_the_server(harness, monkeypatch):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    target = adapter.open_target(harness.identity, harness.options)
    through = target.open()
    waits = []
    wait = session._Watched.wait
    for number in range(3):
        writes = [TableWrite(f"public.{name}", WriteKind.UPSERT, ("id",), ("id",), [[number]]) for name in "ab"]
        if number == 2:
            monkeypatch.setattr(
                session._Watched, "wait", lambda *given, **more: waits.append(1) or wait(*given, **more)
            )
        target.apply(writes, Batch(through + number, through + number + 1))
    assert len(waits) == 1
    target.close()

"""Connections to a PostgreSQL target that are lost by one end only, or by neither: what is slow is waited for, what is dead is not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import psycopg
import pytest

from cdcd.errors import Unavailable
from cdcd.model import Batch, TableWrite, WriteKind
from cdcd.testing.proxy import TcpProxy
from cdcd.testing.servers import PostgresServer
from cdcd_postgres import PostgresTarget, adapter
from contract.postgres_harness import PostgresHarness

SILENCE_SECONDS = 1


@pytest.fixture
def harness(postgres: PostgresServer) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(postgres)
    harness.sql("CREATE TABLE a (k int PRIMARY KEY, v text)")
    yield harness
    harness.dispose()


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[TcpProxy]:
    with TcpProxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def target(harness: PostgresHarness, proxy: TcpProxy) -> Iterator[PostgresTarget]:
    dsn = psycopg.conninfo.make_conninfo(harness.options.dsn, port=proxy.port)
    options = msgspec.structs.replace(
        harness.options, dsn=dsn, silence_seconds=SILENCE_SECONDS, connect_timeout_seconds=2, lock_timeout_seconds=2
    )
    target = adapter.open_target(harness.identity, options)
    target.open()
    yield target
    target.close()


def write(target: PostgresTarget, number: int) -> None:
    row = TableWrite("public.a", WriteKind.UPSERT, ("k",), ("k", "v"), [[number, "x"]])
    target.apply([row], Batch(number - 1, number))


def test_a_server_that_takes_long_is_waited_for(harness: PostgresHarness, target: PostgresTarget) -> None:
    harness.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({2.5 * SILENCE_SECONDS}); RETURN NULL; END $$;"
        "CREATE TRIGGER slow AFTER INSERT ON a FOR EACH STATEMENT EXECUTE FUNCTION wait()"
    )
    write(target, 1)
    assert harness.sql("SELECT k FROM a") == [(1,)]


@pytest.mark.parametrize("lost_by_whom", ["server", "nobody"])
def test_a_connection_that_leads_nowhere_is_noticed_and_a_new_one_goes_on(
    harness: PostgresHarness, target: PostgresTarget, proxy: TcpProxy, lost_by_whom: str
) -> None:
    write(target, 1)
    if lost_by_whom == "server":
        proxy.half_open(lost_by="server")
    else:
        proxy.black_hole()
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        write(target, 2)
    assert time.monotonic() - begun < 10 * SILENCE_SECONDS
    proxy.heal()
    target.close()
    through = target.open()  # what was held back may have arrived after all
    assert through in ((1,) if lost_by_whom == "server" else (1, 2))
    if through == 1:
        write(target, 2)
    assert harness.sql("SELECT k FROM a ORDER BY k") == [(1,), (2,)]

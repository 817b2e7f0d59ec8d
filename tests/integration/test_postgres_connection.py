"""The connection to a PostgreSQL source: an idle one has no lag, a dead one is noticed, a slow reader keeps it."""

import select
import socket
import threading
import time
from functools import partial

import psycopg
import pytest

from cdcd.errors import Unavailable
from cdcd.model import CHECKPOINT_TABLE, Batch, Op, PrintedRows, TableWrite, WriteKind
from cdcd.testing.servers import PostgresServer
from cdcd_postgres import stream as stream_module
from cdcd_postgres.position import parse_lsn, parse_position
from contract.postgres_harness import PostgresHarness
from integration.postgres_reading import Reading, harness, own_server, reading, slot, wait_until  # noqa: F401 (fixtures)


class Proxy:
    """Passes TCP on to a server until it is told to swallow everything: no end, no reset, no answer."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._swallowing = threading.Event()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def swallow(self) -> None:
        self._swallowing.set()

    def close(self) -> None:
        self._stopped = True
        self._thread.join()
        for end in (self._listener, *self._pairs):
            end.close()

    def _run(self) -> None:
        while not self._stopped:
            readable, _, _ = select.select([self._listener, *self._pairs], [], [], 0.02)
            for end in readable:
                if end is self._listener:
                    self._connect()
                elif end in self._pairs:
                    self._pass_on(end)

    def _connect(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._target)
        self._pairs |= {client: server, server: client}

    def _pass_on(self, end: socket.socket) -> None:
        data = end.recv(1 << 16)
        if not data:
            other = self._pairs.pop(end)
            self._pairs.pop(other)
            end.close()
            other.close()
        elif not self._swallowing.is_set():
            self._pairs[end].sendall(data)


@pytest.fixture
def proxy(postgres: PostgresServer):
    proxy = Proxy(postgres.port)
    yield proxy
    proxy.close()


def through(proxy: Proxy, harness: PostgresHarness) -> str:
    return psycopg.conninfo.make_conninfo(harness.options.dsn, port=proxy.port)


def test_a_connection_that_swallows_everything_is_noticed_on_the_stream(harness, reading, proxy, monkeypatch):
    monkeypatch.setattr(stream_module, "STATUS_INTERVAL_SECONDS", 0.1)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a", dsn=through(proxy, harness), silence_seconds=1)
    session.done()
    proxy.swallow()
    with pytest.raises(Unavailable, match="silent"):
        session.reader.read_until(lambda: False)


def test_a_connection_that_swallows_everything_is_noticed_when_asking_for_the_status(harness, reading, proxy):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a", dsn=through(proxy, harness), statement_timeout_seconds=1, silence_seconds=1)
    session.source.status()
    proxy.swallow()
    with pytest.raises(Unavailable):
        session.source.status()


def test_sockets_have_limits_of_their_own_unless_the_dsn_sets_them(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    for connection in (session.source._connection, session.source._replication):
        with socket.socket(fileno=socket.dup(connection.fileno())) as end:
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_the_server_keeps_a_reader_that_is_slow():
    """The server gives a client up that it has not heard of for wal_sender_timeout; confirming is enough to be heard."""
    with PostgresServer(settings={"wal_sender_timeout": "3s"}) as server:
        harness = PostgresHarness(server)
        harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
        session = Reading(harness, "public.a")
        harness.sql("INSERT INTO a SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n")
        rows = inserted(session)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            session.source.confirm(session.reader.started_at)
            time.sleep(0.3)  # what the stages take
        deadline = time.monotonic() + 60
        while rows < 30_000:
            rows += inserted(session)
            assert time.monotonic() < deadline
        session.source.close()


def inserted(session: Reading) -> int:
    events = session.source.poll()
    return sum(event.count for event in events if isinstance(event, PrintedRows) and event.op is Op.INSERT)


def test_an_idle_source_has_no_lag_and_its_slot_moves_on_while_other_databases_write(harness, reading):
    other = PostgresHarness(harness.server)
    other.sql("CREATE TABLE busy (v text)")
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    start = parse_lsn(slot(harness, "restart_lsn"))

    def read_and_confirm() -> None:
        session.reader.poll()
        session.source.confirm(session.reader.position)
        session.reader.wait(0.05)

    for _ in range(2):
        other.sql("INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
        other.sql("CHECKPOINT")  # tells in the log which transactions run, from where decoding could begin
        head = parse_lsn(other.sql("SELECT pg_current_wal_flush_lsn()")[0][0])
        wait_until(partial(is_read, session, head), read_and_confirm)
        wait_until(lambda: session.source.status().lag_bytes == 0, read_and_confirm)
    wait_until(lambda: parse_lsn(slot(harness, "restart_lsn")) > start + 1_000_000, read_and_confirm)
    assert session.reader.transactions == []
    other.dispose()


def is_read(session: Reading, lsn: int) -> bool:
    return parse_position(session.reader.position).lsn >= lsn


def test_our_own_writes_come_back_though_they_could_be_filtered_by_origin(harness, reading):
    """`origin = none` (PostgreSQL 16) would leave out transactions with an origin; ours have none, and their marks are needed."""
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    target = harness.open_target()
    target.open()
    session = reading("public.a")
    origin = harness.identity.system
    harness.sql(f"SELECT pg_replication_origin_create('{origin}')")
    with psycopg.connect(harness.server.dsn(harness.database), autocommit=True) as connection:
        connection.execute("SELECT pg_replication_origin_session_setup(%s)", [origin])
        connection.execute("INSERT INTO a VALUES (1)")
        connection.execute("SELECT pg_replication_origin_session_reset(), pg_replication_origin_drop(%s)", [origin])
    target.apply([TableWrite("public.a", WriteKind.UPSERT, ("id",), ("id",), [[2]])], Batch(0, 1))
    target.close()
    changes = session.changes()
    assert [(change.table == CHECKPOINT_TABLE, change.row.get("id")) for change in changes] == [
        (False, 1),
        (True, None),
        (False, 2),
    ]

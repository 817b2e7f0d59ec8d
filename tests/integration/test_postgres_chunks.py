"""Chunks of PostgreSQL tables, on a real server: nothing of them is older than what the stream has carried."""

import random
import threading
import time

import psycopg
import pytest

from cdcd.errors import NotReady, Unavailable
from cdcd.model import ABSENT, Chunk, Op
from cdcd.testing.stream import Transaction, named_rows
from cdcd_postgres.snapshot import ChunkReader
from contract.postgres_harness import PostgresHarness
from integration.postgres_reading import Reading, harness, own_server, reading, slot, wait_until  # noqa: F401 (fixtures)

LONG = "".join(chr(33 + number * 7919 % 90) for number in range(9000))
"""Too long to stay in the row, and not compressible enough to get there."""


# ---- chunks ----------------------------------------------------------------------------------------------------------


def test_a_chunk_of_an_idle_server_comes_at_once(harness, reading):
    harness.sql(
        "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT n, 'x' FROM generate_series(1, 500) n"
    )
    session = reading("public.a")
    session.done()
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        assert len(session.reader.read_chunk("public.a", None, 500).rows.rows) == 500
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.1


def test_an_update_between_snapshot_and_marker_is_newer_than_the_chunk(harness, reading, monkeypatch):
    harness.sql(
        "CREATE TABLE doc (id int PRIMARY KEY, body text, n int); ALTER TABLE doc ALTER body SET STORAGE EXTERNAL"
    )
    harness.sql(f"INSERT INTO doc SELECT id, $${LONG}$$, 1 FROM generate_series(1, 6) id")
    session = reading("public.doc")
    select_rows = ChunkReader._select

    def select_and_then_write(*arguments):
        rows = select_rows(*arguments)
        harness.sql(
            "UPDATE doc SET n = 2 WHERE id = 2; UPDATE doc SET body = 'new' WHERE id = 3; DELETE FROM doc WHERE id = 4"
        )
        harness.sql("UPDATE doc SET id = 50, n = 2 WHERE id = 5; INSERT INTO doc VALUES (7, 'new', 1)")
        return rows

    monkeypatch.setattr(ChunkReader, "_select", select_and_then_write)
    chunk = session.reader.read_chunk("public.doc", None, 10)
    assert sorted(chunk.rows.rows) == [[1, LONG, 1], [2, LONG, 2], [6, LONG, 1], [50, LONG, 2]]
    assert (chunk.last_key, chunk.done) == ([6], True)
    assert len(session.reader.transactions) == 2
    after = session.reader.log[session.reader.log.index(chunk) :]
    assert not any(isinstance(entry, Transaction) for entry in after)


class Scribbler(threading.Thread):
    """Inserts, updates, moves and deletes rows of `doc`, mostly without touching their long value."""

    def __init__(self, harness: PostgresHarness, seed: int) -> None:
        super().__init__(daemon=True)
        self._dsn = harness.server.dsn(harness.database)
        self._random = random.Random(seed)

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(f"SET synchronous_commit = {self._random.choice(['on', 'off'])}")
            for number in range(400):
                with connection.transaction():
                    for _ in range(self._random.randrange(1, 4)):
                        self._write(connection, self._random.randrange(80), number)

    def _write(self, connection: psycopg.Connection, key: int, number: int) -> None:
        what = self._random.random()
        if what < 0.7:
            connection.execute("UPDATE doc SET n = n + 1 WHERE id = %s AND pg_try_advisory_xact_lock(id)", [key])
        elif what < 0.8:
            connection.execute("DELETE FROM doc WHERE id = %s AND pg_try_advisory_xact_lock(id)", [key])
        else:
            body = f"{number}{LONG}"
            sql = "INSERT INTO doc SELECT %s, %s, 0 WHERE pg_try_advisory_xact_lock(%s) ON CONFLICT DO NOTHING"
            connection.execute(sql, [key, body, key])


def test_chunks_and_stream_together_give_the_table_whatever_is_written_meanwhile(harness, reading):
    harness.sql(
        "CREATE TABLE doc (id int PRIMARY KEY, body text, n int); ALTER TABLE doc ALTER body SET STORAGE EXTERNAL"
    )
    harness.sql(f"INSERT INTO doc SELECT id, id || $${LONG}$$, 0 FROM generate_series(1, 79, 2) id")
    session = reading("public.doc")
    writers = [Scribbler(harness, seed) for seed in range(3)]
    for writer in writers:
        writer.start()
    after = None
    while True:
        chunk = session.reader.read_chunk("public.doc", after, 5)
        after = chunk.last_key
        if chunk.done:
            if not any(writer.is_alive() for writer in writers):
                break
            after = None
    session.done()
    replica: dict = {}
    for entry in session.reader.log:
        for change in named_rows(entry.rows) if isinstance(entry, Chunk) else getattr(entry, "changes", ()):
            if change.table != "public.doc":
                continue
            if change.op is Op.DELETE:
                replica.pop(change.row["id"], None)
                continue
            known = replica.get(change.row["id"], {})
            replica[change.row["id"]] = {
                **known,
                **{name: value for name, value in change.row.items() if value is not ABSENT},
            }
            if entry.__class__ is Chunk:
                assert ABSENT not in change.row.values()
                assert change.row["n"] >= known.get("n", 0) or change.row["body"] != known["body"]
    assert replica == {
        row[0]: dict(zip(("id", "body", "n"), row, strict=True)) for row in harness.sql("SELECT * FROM doc")
    }


def test_a_chunk_waits_for_a_streamed_transaction_to_become_visible(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1)")
    session = reading("public.a")
    session.done()
    with psycopg.connect(harness.server.dsn(harness.database)) as writer:
        writer.execute("UPDATE a SET v = 2")
        (xid,) = writer.execute("SELECT pg_current_xact_id()::text::bigint % 4294967296").fetchone()
        session.source._decoder.streamed.add(xid)  # as if its commit had been streamed, and were not visible yet
        session.source.request_chunk("public.a", None, 10)
        for _ in range(20):
            session.reader.poll()
            session.reader.wait(0.01)
        assert not any(isinstance(entry, Chunk) for entry in session.reader.log)
    session.reader.read_until(lambda: any(isinstance(entry, Chunk) for entry in session.reader.log))
    chunk = next(entry for entry in session.reader.log if isinstance(entry, Chunk))
    assert chunk.rows.rows == [[1, 2]]


def test_a_chunk_of_a_table_that_changes_meanwhile_is_read_again(harness, reading, monkeypatch):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1), (2, 2)")
    session = reading("public.a")
    read = ChunkReader._read
    altered = []

    def read_and_then_alter(*arguments):
        read(*arguments)
        if not altered:
            arguments[0]._connection.rollback()
            harness.sql("ALTER TABLE a ADD w int DEFAULT 5; UPDATE a SET v = 7 WHERE id = 1")
            altered.append(True)

    monkeypatch.setattr(ChunkReader, "_read", read_and_then_alter)
    chunk = session.reader.read_chunk("public.a", None, 10)
    assert chunk.rows.relation.columns == ("id", "v", "w")
    assert sorted(chunk.rows.rows) == [[1, 7, 5], [2, 2, 5]]


def test_a_chunk_of_a_rewritten_table_is_not_empty(harness, reading):
    """A snapshot older than a rewrite sees no rows: the lock is taken before the snapshot."""
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1)")
    session = reading("public.a")
    with psycopg.connect(harness.server.dsn(harness.database)) as rewriter:
        rewriter.execute("ALTER TABLE a ALTER v TYPE bigint")
        committing = threading.Thread(target=_commit_when_waited_for, args=(harness, rewriter))
        committing.start()
        chunk = session.reader.read_chunk("public.a", None, 10)
        committing.join()
    assert chunk.rows.rows == [[1, 1]]
    assert chunk.rows.relation.types[1] == f"integer({-(2**63)},{2**63 - 1})"


def _commit_when_waited_for(harness: PostgresHarness, connection: psycopg.Connection) -> None:
    blocked = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {connection.info.backend_pid} = ANY (pg_blocking_pids(pid))"
    wait_until(lambda: harness.sql(blocked) == [(1,)])
    connection.commit()


def test_a_table_that_is_locked_for_long_makes_a_chunk_unavailable(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a", lock_timeout_seconds=1)
    with psycopg.connect(harness.server.dsn(harness.database)) as holder:
        holder.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="lock"):
            session.source.request_chunk("public.a", None, 10)


def test_a_table_without_a_key_cannot_be_read_in_chunks(harness, reading):
    harness.sql("CREATE TABLE a (x int); ALTER TABLE a REPLICA IDENTITY FULL")
    session = reading("public.a")
    with pytest.raises(NotReady, match="chunks"):
        session.source.request_chunk("public.a", None, 10)


def test_chunks_continue_after_keys_of_every_kind(harness, reading):
    harness.sql("CREATE TYPE mood AS ENUM ('z', 'a', 'm'); CREATE DOMAIN code AS varchar(8)")
    kinds = {
        "uuid": ["'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"],
        "timestamptz": ["'2026-01-01 00:00:00+00'", "'2026-01-01 00:00:00.5+00'"],
        "bytea": ["'\\x00'", "'\\x00ff'"],
        "boolean": ["false", "true"],
        "float8": ["'-infinity'", "0.1", "'nan'"],
        "numeric(6,2)": ["1.50", "2"],
        "mood": ["'z'", "'a'", "'m'"],
        "code": ["'A'", "'b'"],
        "char(4)": ["'a'", "'a b'"],
        "date": ["'2026-01-01'", "'infinity'"],
        "int[]": ["'{1}'", "'{1,2}'"],
    }
    for number, (kind, values) in enumerate(kinds.items()):
        harness.sql(f"CREATE TABLE k{number} (k {kind} PRIMARY KEY)")
        harness.sql(f"INSERT INTO k{number} VALUES {', '.join(f'({value})' for value in values)}")
    session = reading(*(f"public.k{number}" for number in range(len(kinds))))
    for number, values in enumerate(kinds.values()):
        after, count = None, 0
        while True:
            chunk = session.reader.read_chunk(f"public.k{number}", after, 1)
            count += len(chunk.rows.rows)
            after = chunk.last_key
            if chunk.done:
                break
        assert count == len(values), list(kinds)[number]


# ---- rows that move while a table is copied --------------------------------------------------------------------------


@pytest.fixture
def doc(harness) -> PostgresHarness:
    """Rows 10 to 60 with long values that updates leave out."""
    harness.sql(
        "CREATE TABLE doc (id int PRIMARY KEY, body text, n int); ALTER TABLE doc ALTER body SET STORAGE EXTERNAL"
    )
    harness.sql(f"INSERT INTO doc SELECT id * 10, id || $${LONG}$$, 1 FROM generate_series(1, 6) id")
    return harness


def test_a_row_that_moves_to_where_the_copy_has_been_is_read_with_the_next_chunk(doc, reading):
    session = reading("public.doc")
    assert session.reader.read_chunk("public.doc", None, 2).last_key == [20]
    doc.sql(
        "UPDATE doc SET id = 5, n = 2 WHERE id = 50; UPDATE doc SET id = 6 WHERE id = 60; DELETE FROM doc WHERE id = 6"
    )
    session.done()
    second = session.reader.read_chunk("public.doc", [20], 2)
    assert sorted(second.rows.rows) == [[5, f"5{LONG}", 2], [30, f"3{LONG}", 1], [40, f"4{LONG}", 1]]
    assert (second.last_key, second.done) == ([40], False)
    last = session.reader.read_chunk("public.doc", [40], 2)
    assert (last.rows.rows, last.last_key, last.done) == ([], [40], True)


def test_a_last_chunk_is_not_the_last_when_a_row_has_moved_before_it_and_was_not_streamed_yet(doc, reading):
    """The snapshot of the chunk sees the row at its new key, which it does not read; the stream tells of it only afterwards."""
    session = reading("public.doc")
    session.reader.read_chunk("public.doc", None, 4)
    doc.sql("UPDATE doc SET id = 5, n = 2 WHERE id = 50")
    chunk = session.reader.read_chunk("public.doc", [40], 4)
    assert ([row[0] for row in chunk.rows.rows], chunk.last_key, chunk.done) == ([60], [60], False)
    chunk = session.reader.read_chunk("public.doc", [60], 4)
    assert (chunk.rows.rows, chunk.last_key, chunk.done) == ([[5, f"5{LONG}", 2]], [60], True)


def test_a_move_is_not_forgotten_when_the_process_ends_before_the_next_chunk(doc, reading):
    session = reading("public.doc")
    session.reader.read_chunk("public.doc", None, 2)
    session.done()
    doc.sql("UPDATE doc SET id = 5, n = 2 WHERE id = 50")
    session.done()
    session.source.confirm(session.reader.position)
    session.source.close()
    resumed = reading("public.doc", after=session.reader.position)
    second = resumed.reader.read_chunk("public.doc", [20], 9)
    rows = sorted(second.rows.rows)
    if not second.done:  # the move was read again behind the snapshot
        rows += resumed.reader.read_chunk("public.doc", second.last_key, 9).rows.rows
    assert [5, f"5{LONG}", 2] in rows
    resumed.done()
    resumed.source.confirm(resumed.reader.position)
    wait_until(lambda: slot(doc, "confirmed_flush_lsn") is not None and resumed.source._chunks.needed_lsn is None)


def test_a_copy_begins_when_transactions_that_wrote_before_the_table_was_published_are_over(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE late (id int PRIMARY KEY)")
    session = reading("public.a")
    session.done()
    session.source.close()
    with psycopg.connect(harness.server.dsn(harness.database)) as writer:
        writer.execute("INSERT INTO late VALUES (1)")
        session = reading("public.a", "public.late", after=session.reader.position)
        session.source.request_chunk("public.late", None, 10)
        harness.sql("INSERT INTO late VALUES (2)")
        session.done()
        assert not any(isinstance(entry, Chunk) for entry in session.reader.log)
    session.reader.read_until(lambda: any(isinstance(entry, Chunk) for entry in session.reader.log))
    chunk = next(entry for entry in session.reader.log if isinstance(entry, Chunk))
    assert sorted(chunk.rows.rows) == [[1], [2]]

"""What PostgreSQL refuses for good parks rows, and what passes is tried again: real servers, each version there is."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cdcd.adapter import Identity
from cdcd.errors import Refused, Unavailable
from cdcd.model import Batch, TableWrite, WriteKind
from cdcd.testing.servers import PostgresBinaries, PostgresServer, find_postgres
from cdcd_postgres import Options, PostgresTarget, adapter

SCHEMA = """
CREATE ROLE writer LOGIN;
CREATE SCHEMA AUTHORIZATION writer;
CREATE TABLE t (id int PRIMARY KEY, v varchar(5), w text NOT NULL DEFAULT '', n int CHECK (n > 0), u int UNIQUE);
CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t);
INSERT INTO t (id, v, n, u) VALUES (1, 'old', 1, 1); INSERT INTO child VALUES (1, 1);
GRANT SELECT, DELETE, UPDATE, INSERT ON t, child TO writer;
CREATE TABLE guarded (id int PRIMARY KEY, v text);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY decent ON guarded USING (true) WITH CHECK (v <> 'rude');
CREATE TABLE partly (id int PRIMARY KEY, v text, w text);
CREATE TABLE secret (id int PRIMARY KEY, v text);
GRANT ALL ON guarded TO writer; GRANT SELECT, INSERT (id, v), UPDATE (v) ON partly TO writer;
CREATE TABLE watched (id int PRIMARY KEY, v text); GRANT ALL ON watched TO writer;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF new.v = 'raise' THEN RAISE EXCEPTION 'no s3cret'; END IF;
    IF new.v = 'odd' THEN RAISE EXCEPTION 'no s3cret' USING ERRCODE = 'AB123'; END IF;
    IF new.v = 'denied' THEN INSERT INTO secret VALUES (1, 's3cret'); END IF;
    IF new.v = 'gone' THEN INSERT INTO nothing VALUES (1); END IF;
    RETURN new; END $$;
CREATE TRIGGER watch BEFORE INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION watch();
"""
IDENTITY = Identity("line", "shop", "lineage")


@pytest.fixture(scope="module", params=find_postgres(), ids=lambda found: f"PostgreSQL {found.major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    binaries: PostgresBinaries = request.param
    with PostgresServer(binaries.path) as made:
        made.create_database("shop")
        made.execute("shop", SCHEMA)
        yield made


class Writer:
    """An open target, as a user with few rights."""

    def __init__(self, server: PostgresServer, **options: object) -> None:
        self.server = server
        dsn = server.dsn("shop", "writer")
        self.target: PostgresTarget = adapter.open_target(
            IDENTITY, Options(dsn=dsn, checkpoint_schema="writer", **options)
        )
        try:
            self.through = self.target.open()
        except Unavailable:
            self.target.close()
            raise

    def write(self, kind: WriteKind, table: str, columns: str, *rows: list[object]) -> None:
        names = tuple(columns.split())
        write = TableWrite(f"public.{table}", kind, names[:1], names, list(rows))
        self.target.apply([write], Batch(self.through, self.through + 1))
        self.through += 1

    def refused(self, *arguments: object) -> str:
        with pytest.raises(Refused) as caught:
            self.write(*arguments)
        assert "s3cret" not in str(caught.value)
        return caught.value.code

    def unavailable(self, *arguments: object) -> None:
        with pytest.raises(Unavailable):
            self.write(*arguments)


@pytest.fixture
def writer(server: PostgresServer) -> Iterator[Writer]:
    made = Writer(server)
    yield made
    made.target.close()


UPSERT, UPDATE, DELETE = WriteKind.UPSERT, WriteKind.UPDATE, WriteKind.DELETE


def test_what_is_refused_for_good_is_refused_with_a_code(writer: Writer):
    found = {
        "check": writer.refused(UPSERT, "t", "id n", [2, 0]),
        "not-null": writer.refused(UPSERT, "t", "id w", [2, None]),
        "duplicate-key": writer.refused(UPSERT, "t", "id u", [2, 1]),
        "reference-missing": writer.refused(UPSERT, "child", "id t", [2, 99]),
        "still-referenced": writer.refused(DELETE, "t", "id", [1]),
        "too-long": writer.refused(UPSERT, "t", "id v", [2, "too long"]),
        "out-of-range": writer.refused(UPSERT, "t", "id n", [2, 2**40]),
        "bad-value": writer.refused(UPSERT, "t", "id n", [2, "s3cret"]),
    }
    assert list(found) == list(found.values())


def test_a_privilege_that_lacks_for_some_rows_stops_nothing_else(writer: Writer):
    assert writer.refused(UPSERT, "partly", "id v w", [1, "v", "w"]) == "permission"
    assert writer.refused(UPSERT, "secret", "id v", [1, "v"]) == "permission"
    assert writer.refused(UPSERT, "guarded", "id v", [1, "rude"]) == "permission"  # a policy might hide rows from us
    writer.write(UPSERT, "partly", "id v", [1, "v"])


@pytest.mark.parametrize("value", ["raise", "odd", "denied", "gone"])
def test_what_a_trigger_raises_is_about_its_row_whatever_it_is(writer: Writer, value: str):
    writer.write(UPSERT, "watched", "id v", [1, "fine"])
    assert writer.refused(UPSERT, "watched", "id v", [2, value]) == "trigger"
    writer.write(UPSERT, "watched", "id v", [2, "fine"])


# ---- what passes -----------------------------------------------------------------------------------------------


def test_a_deadlock_is_tried_again(server: PostgresServer, writer: Writer):
    server.execute("shop", "INSERT INTO t (id, n) VALUES (5, 1), (6, 1) ON CONFLICT DO NOTHING")
    with psycopg.connect(server.dsn("shop")) as other:
        other.execute("SET deadlock_timeout = '60s'; UPDATE t SET w = 'x' WHERE id = 6")
        failed: list[BaseException] = []

        def write() -> None:
            try:
                first = TableWrite("public.t", UPDATE, ("id",), ("id", "w"), [[5, "y"]])
                second = TableWrite("public.t", UPDATE, ("id",), ("id", "w"), [[6, "y"]])
                writer.target.apply([first, second], Batch(writer.through, writer.through + 1))
            except Unavailable as error:
                failed.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        blocked = "SELECT 1 FROM pg_stat_activity WHERE usename = 'writer' AND wait_event_type = 'Lock'"
        while not server.execute("shop", blocked):
            assert thread.is_alive()
        other.execute("UPDATE t SET w = 'x' WHERE id = 5")
        thread.join()
    assert failed
    assert "deadlock" in str(failed[0])


@pytest.mark.parametrize("setting", ["statement_timeout_seconds", "lock_timeout_seconds"])
def test_a_row_that_somebody_locks_is_waited_for_and_then_tried_again(server: PostgresServer, setting: str):
    writer = Writer(server, **{setting: 1})
    with psycopg.connect(server.dsn("shop")) as other:
        other.execute("UPDATE t SET v = 'x' WHERE id = 1")
        writer.unavailable(UPDATE, "t", "id v", [1, setting[:5]])
        other.rollback()
    writer.write(UPDATE, "t", "id v", [1, setting[:5]])
    writer.target.close()


def test_a_server_that_only_reads_is_waited_for(server: PostgresServer, writer: Writer):
    writer.write(UPDATE, "t", "id v", [1, "new"])
    server.execute("shop", "ALTER ROLE writer SET default_transaction_read_only = on")
    try:
        with pytest.raises(Unavailable):
            Writer(server)
    finally:
        server.execute("shop", "ALTER ROLE writer RESET default_transaction_read_only")


def test_a_lost_connection_is_opened_anew(server: PostgresServer, writer: Writer):
    server.execute("shop", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'")
    writer.unavailable(UPDATE, "t", "id v", [1, "new"])


def test_too_many_connections_are_waited_for(server: PostgresServer):
    server.execute("shop", "ALTER ROLE writer CONNECTION LIMIT 1")
    try:
        with psycopg.connect(server.dsn("shop", "writer")), pytest.raises(Unavailable):
            Writer(server)
    finally:
        server.execute("shop", "ALTER ROLE writer CONNECTION LIMIT -1")


def test_a_server_that_goes_down_is_waited_for(server: PostgresServer, writer: Writer):
    server.stop()
    try:
        writer.unavailable(UPDATE, "t", "id v", [1, "new"])
        with pytest.raises(Unavailable):
            Writer(server)
    finally:
        server.start()
    Writer(server).target.close()


@pytest.fixture
def small_disk(server: PostgresServer) -> Iterator[Path]:
    """A file system of 2 MB that the server may write to."""
    path = server.directory / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    try:
        owner = (server.directory / "data").stat()
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(0o700)
        yield path
        server.execute("shop", "DROP TABLE large")
        server.execute("shop", "DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_is_waited_for_and_no_record_is_parked(server: PostgresServer, small_disk: Path, writer: Writer):
    server.execute("shop", f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    server.execute("shop", "CREATE TABLE large (id int PRIMARY KEY, v text) TABLESPACE small")
    server.execute("shop", "ALTER TABLE large ALTER v SET STORAGE external; GRANT ALL ON large TO writer")
    rows = [[number, "x" * 400_000] for number in range(10)]
    with pytest.raises(Unavailable) as caught:
        writer.write(UPSERT, "large", "id v", *rows)
    assert "53100" in str(caught.value)

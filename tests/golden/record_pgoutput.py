"""Records what real PostgreSQL servers send: `python tests/golden/record_pgoutput.py [DSN]` writes tests/golden/pgoutput/MAJOR/.

Without DSN a private server of the preferred version is used (CDCD_PG_BIN chooses); with it a database is made and dropped on
that server. Each scenario gives NAME.frames.gz, the contents of CopyData with their lengths (big-endian, 4 bytes), and
NAME.json.gz: the protocol's version and what the tables held afterwards, as SQL told it. Decoded, the one must give the other.
"""

import gzip
import json
import select
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from cdcd.testing.servers import PostgresServer

FOLDER = Path(__file__).parent / "pgoutput"
SETTINGS = {"max_prepared_transactions": "5", "logical_decoding_work_mem": "64kB"}
LONG = "0123456789" * 250
SCHEMA = """
CREATE SCHEMA "odd schema"; CREATE TYPE "odd schema".mood AS ENUM ('sad', 'glad');
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(12,2));
CREATE TABLE doc (id int PRIMARY KEY, body text, n int); ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;
CREATE TABLE everything (id int PRIMARY KEY, body text, n int); ALTER TABLE everything ALTER body SET STORAGE EXTERNAL;
ALTER TABLE everything REPLICA IDENTITY FULL;
CREATE TABLE coded (n int, id text NOT NULL UNIQUE); ALTER TABLE coded REPLICA IDENTITY USING INDEX coded_id_key;
CREATE TABLE logged (id int, what text); ALTER TABLE logged REPLICA IDENTITY NOTHING;
CREATE TABLE "odd schema"."we""ird.table" (id int PRIMARY KEY, "a.b" "odd schema".mood, twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE sale (id int, year int, PRIMARY KEY (id, year)) PARTITION BY LIST (year);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1); CREATE TABLE sale_2 PARTITION OF sale FOR VALUES IN (2);
CREATE TABLE parent (id serial PRIMARY KEY); CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent (id));
CREATE PUBLICATION golden FOR ALL TABLES WITH (publish_via_partition_root = true);
"""
TABLES = (
    "public.item",
    "public.doc",
    "public.everything",
    "public.coded",
    "public.logged",
    'odd schema.we"ird.table',
    "public.sale",
    "public.parent",
    "public.child",
)
PLAIN = f"""
INSERT INTO item VALUES (1, 'a', 1.5), (2, NULL, NULL), (3, '', -0.01); UPDATE item SET price = 2 WHERE id = 1;
UPDATE item SET id = 20 WHERE id = 2; DELETE FROM item WHERE id = 3;
INSERT INTO doc VALUES (1, '{LONG}', 1), (2, 'short', 1); UPDATE doc SET n = 2; UPDATE doc SET id = 9 WHERE id = 1;
INSERT INTO everything VALUES (1, '{LONG}', 1); UPDATE everything SET n = 2; UPDATE everything SET id = 2;
INSERT INTO coded VALUES (1, 'x'), (2, 'y'); UPDATE coded SET id = 'z' WHERE n = 1; DELETE FROM coded WHERE n = 2;
INSERT INTO "odd schema"."we""ird.table" VALUES (1, 'glad'), (2, NULL); DELETE FROM "odd schema"."we""ird.table" WHERE id = 2;
INSERT INTO sale VALUES (1, 1), (2, 2); UPDATE sale SET year = 2 WHERE id = 1; DELETE FROM sale WHERE id = 2;
INSERT INTO logged VALUES (1, 'once'), (1, 'once');
INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1); TRUNCATE parent RESTART IDENTITY CASCADE;
INSERT INTO parent DEFAULT VALUES;
BEGIN; INSERT INTO item VALUES (50, 'kept', 1); SAVEPOINT s; INSERT INTO item VALUES (51, 'undone', 1); ROLLBACK TO s;
INSERT INTO item VALUES (52, 'kept', 1); COMMIT;
SELECT pg_logical_emit_message(true, 'cdcd', 'marker'); SELECT pg_logical_emit_message(true, 'cdcd', 'rows-lost golden public.item'); SELECT pg_logical_emit_message(false, 'other', E'\\\\x00ff');
ALTER TABLE item ADD more boolean DEFAULT true; INSERT INTO item VALUES (60, 'wide', 1, false); UPDATE item SET name = 'w' WHERE id = 60;
ALTER TABLE item DROP price; ALTER TABLE item RENAME name TO title; INSERT INTO item VALUES (61, 'narrow', NULL);
SELECT pg_replication_origin_create('golden'); SELECT pg_replication_origin_session_setup('golden');
INSERT INTO item VALUES (70, 'from elsewhere', true); SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_drop('golden');
"""
LARGE = "INSERT INTO item SELECT n, repeat('x', 600), n FROM generate_series({0}, {0} + 119) AS n;"


def large(connect: Callable[[], psycopg.Connection]) -> None:
    """Transactions that exceed logical_decoding_work_mem, two at a time, with parts and wholes that are undone."""
    with connect() as first, connect() as second:
        first.execute("BEGIN; " + LARGE.format(1000))
        second.execute("BEGIN; " + LARGE.format(2000) + "SAVEPOINT s; " + LARGE.format(3000))
        first.execute(
            "SAVEPOINT a; ALTER TABLE doc ADD extra int; INSERT INTO doc VALUES (5, 'five', 5, 5); ROLLBACK TO a"
        )
        first.execute(
            "SAVEPOINT b; " + LARGE.format(4000) + "SAVEPOINT c; " + LARGE.format(5000) + "RELEASE c; ROLLBACK TO b"
        )
        first.execute(f"INSERT INTO doc VALUES (6, '{LONG}', 6); UPDATE doc SET n = 7 WHERE id = 6; TRUNCATE sale")
        second.execute("ROLLBACK TO s; UPDATE item SET name = 'changed' WHERE id BETWEEN 2000 AND 2009")
        first.execute("SELECT pg_logical_emit_message(true, 'cdcd', 'inside'); " + LARGE.format(6000))
        second.execute("COMMIT")
        first.execute("COMMIT")
        first.execute("BEGIN; " + LARGE.format(7000) + "ROLLBACK; INSERT INTO item VALUES (1, 'last', 1)")


def prepared(connect: Callable[[], psycopg.Connection]) -> None:
    """Prepared transactions: small and large ones, committed and undone."""
    with connect() as connection:
        for number, end in enumerate(("COMMIT", "ROLLBACK", "COMMIT", "ROLLBACK")):
            sql = LARGE.format(1000 * number) if number > 1 else f"INSERT INTO item VALUES ({number}, 'small', 1);"
            connection.execute(f"BEGIN; {sql} UPDATE item SET id = -id; PREPARE TRANSACTION 'it''s'")
            connection.execute("INSERT INTO parent DEFAULT VALUES")
            connection.execute(f"{end} PREPARED 'it''s'")


def plain(connect: Callable[[], psycopg.Connection]) -> None:
    """Every kind of message of version 1."""
    with connect() as connection:
        for statement in _statements(PLAIN):
            connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    return (statement for part in script.split(";\n") for statement in part.split("; ") if statement.strip())


SCENARIOS: dict[str, tuple[int, str, Callable[[Callable[[], psycopg.Connection]], None]]] = {
    "plain": (1, "", plain),
    "large": (1, "", large),
    "prepared_unasked": (1, "", prepared),
    "streaming": (2, ", streaming 'on'", large),
    "two_phase": (3, ", two_phase 'on'", prepared),
    "two_phase_streaming": (3, ", streaming 'on', two_phase 'on'", prepared),
    "parallel": (4, ", streaming 'parallel'", large),
}


@contextmanager
def _server(dsn: str | None) -> Iterator[str]:
    if dsn is not None:
        yield dsn
        return
    with PostgresServer(settings=SETTINGS) as server:
        yield server.dsn()


def record(dsn: str, name: str) -> None:
    """Run one scenario in a database of its own."""
    version, options, act = SCENARIOS[name]
    database = f"golden_{name}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        major = admin.info.server_version // 10_000
        admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'")
    target = psycopg.conninfo.make_conninfo(dsn, dbname=database)

    def connect() -> psycopg.Connection:
        return psycopg.connect(target, autocommit=True)

    with connect() as connection:
        connection.execute(SCHEMA)
        two_phase = "true" if "two_phase" in options else "false"
        connection.execute(f"SELECT pg_create_logical_replication_slot('{database}', 'pgoutput', false, {two_phase})")
        act(connect)
        ending = connection.execute("SELECT pg_logical_emit_message(true, 'golden', 'end')").fetchone()
        state = {table: connection.execute(_select(table)).fetchall() for table in TABLES}
    frames = _receive(target, database, version, options)
    assert ending is not None
    with connect() as connection:
        slot = f"FROM pg_replication_slots WHERE slot_name = '{database}'"
        connection.execute(f"SELECT pg_terminate_backend(active_pid, 5000) {slot} AND active_pid IS NOT NULL")
        connection.execute(f"SELECT pg_drop_replication_slot(slot_name) {slot}")
    folder = FOLDER / str(major)
    folder.mkdir(parents=True, exist_ok=True)
    packed = b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)
    (folder / f"{name}.frames.gz").write_bytes(gzip.compress(packed, 9, mtime=0))
    about = {"protocol": version, "state": {table: [row for (row,) in rows] for table, rows in state.items()}}
    (folder / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(about, sort_keys=True).encode(), 9, mtime=0))


def _select(table: str) -> str:
    schema, name = table.split(".", 1)
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))
    return f"SELECT to_jsonb(t) - 'twice' FROM {quoted} AS t ORDER BY to_jsonb(t)::text COLLATE \"C\""


def _receive(dsn: str, slot: str, version: int, options: str) -> list[bytes]:
    """Everything up to the commit of the last message."""
    frames: list[bytes] = []
    replication = psycopg.connect(
        dsn, autocommit=True, replication="database", options="-c logical_decoding_work_mem=64kB"
    )
    with closing(replication) as stream:
        stream.execute(
            f"START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '{version}', publication_names 'golden',"
            f" messages 'true'{options})"
        )
        deadline = time.monotonic() + 60
        while not (len(frames) > 1 and b"golden\0" in frames[-2] and frames[-1][25:26] == b"C"):
            assert time.monotonic() < deadline, "the end of the scenario did not come"
            length, data = stream.pgconn.get_copy_data(1)
            if length > 0:
                frames.append(bytes(data))
            elif length == 0:
                select.select([stream.pgconn.socket], [], [], 1)
                stream.pgconn.consume_input()
            else:
                raise RuntimeError(stream.pgconn.get_result())
    return [frame for frame in frames if frame[:1] == b"w"]


def main() -> None:
    """Record what the server can do."""
    with _server(sys.argv[1] if len(sys.argv) > 1 else None) as dsn:
        with psycopg.connect(dsn) as connection:
            major = connection.info.server_version // 10_000
            (prepared_max,) = connection.execute("SELECT current_setting('max_prepared_transactions')").fetchone() or (
                "0",
            )
        for name, (version, _, act) in SCENARIOS.items():
            if version <= (4 if major >= 16 else 3) and (act is not prepared or int(prepared_max)):
                record(dsn, name)
                with psycopg.connect(dsn, autocommit=True) as connection:
                    connection.execute(f"DROP DATABASE golden_{name} WITH (FORCE)")


if __name__ == "__main__":
    main()

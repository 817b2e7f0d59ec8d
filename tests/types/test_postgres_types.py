"""Every cell of the PostgreSQL type table: chunk and stream, insert, update, delete and NULL, and written back.

One server, one source and one target session for all. Server, database and role have the settings that print values in
every way but ours: none of it may reach the values.
"""

from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

import psycopg
import pytest

from cases import TypeCase
from cdcd.adapter import Identity, TableNeed
from cdcd.model import Batch, Chunk, Op, Rows, TableWrite, WriteKind
from cdcd.testing.servers import PostgresServer
from cdcd.testing.stream import Change, StreamReader
from cdcd.values import parse_type
from cdcd_postgres import Options, adapter
from cdcd_postgres.session import SETTINGS
from postgres_cases import CASES

UNFRIENDLY = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "America/St_Johns",
    "array_nulls": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "search_path": "elsewhere",
    "xmloption": "document",
}
FRIENDLY = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
IDENTITY = Identity("daemon", "types", "lineage")
NUMBERED = list(enumerate(CASES))
NAMES = [case.ddl for case in CASES]


class Seen(NamedTuple):
    """What was seen of one case. `printed` and `copied` are the server's own texts of the rows, by id."""

    types: tuple[str, str]
    chunk: list[list]
    changes: list[Change]
    printed: list[tuple]
    copied: list[tuple]
    rewritten: bool


@pytest.fixture
def cell(seen: list[Seen], number: int) -> Seen:
    if not seen[number].chunk:
        pytest.skip(f"this server was built without {NAMES[number]}")
    return seen[number]


def samples(case: TypeCase) -> list:
    return [*(sample.value for sample in case.samples), None]


def has(server: PostgresServer, case: TypeCase) -> bool:
    """xml is a matter of how the server was built."""
    try:
        server.execute(
            "types", f"SELECT {case.samples[0].literal_sql}::{case.ddl}" if case.ddl == "xml" else "SELECT 1"
        )
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def create(connection: psycopg.Connection) -> None:
    for statement in dict.fromkeys(statement for case in CASES for statement in case.setup_sql):
        connection.execute(statement.encode())
    for number, case in NUMBERED:
        for table in ("t", "copy"):
            connection.execute(f"CREATE TABLE {table}_{number} (id integer PRIMARY KEY, v {case.ddl})".encode())
        connection.execute(f"ALTER TABLE t_{number} REPLICA IDENTITY FULL".encode())
    connection.execute("CREATE TABLE last (id integer PRIMARY KEY)")


def change(connection: psycopg.Connection, server: PostgresServer) -> None:
    """Insert all samples and NULL; turn the first into NULL and NULL into the first, and both back."""
    for number, case in NUMBERED:
        if not has(server, case):
            continue
        literals = [*(sample.literal_sql for sample in case.samples), "NULL"]
        for row, literal in enumerate(literals):
            connection.execute(f"INSERT INTO t_{number} VALUES ({row}, {literal})".encode())
        last, first = len(literals) - 1, literals[0]
        connection.execute(f"UPDATE t_{number} SET v = NULL WHERE id = 0".encode())
        connection.execute(f"UPDATE t_{number} SET v = {first} WHERE id = {last}".encode())
        connection.execute(f"UPDATE t_{number} SET v = {first} WHERE id = 0".encode())
        connection.execute(f"UPDATE t_{number} SET v = NULL WHERE id = {last}".encode())


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(settings=UNFRIENDLY) as server:
        server.create_database("types")
        server.execute("types", "CREATE ROLE unfriendly SUPERUSER LOGIN")
        for name, value in UNFRIENDLY.items():
            server.execute("types", f"ALTER DATABASE types SET {name} = '{value}'")
            server.execute("types", f"ALTER ROLE unfriendly SET {name} = '{value}'")
        yield server


@pytest.fixture(scope="module")
def seen(server: PostgresServer) -> Iterator[list[Seen]]:
    options = Options(dsn=server.dsn("types", "unfriendly"))
    with psycopg.connect(server.dsn("types"), options=f"{FRIENDLY} -c search_path=public", autocommit=True) as friendly:
        create(friendly)
        needs = [TableNeed(f"public.t_{number}") for number, _ in NUMBERED]
        source = adapter.open_source(IDENTITY, options, [*needs, TableNeed("public.last")])
        reader = StreamReader(source)
        with friendly.transaction():
            change(friendly, server)
        reader.read_until(lambda: len(reader.transactions) == 1)
        chunks = [reader.read_chunk(need.table, None, 1000) for need in needs]
        printed = [texts(friendly, f"t_{number}") for number, _ in NUMBERED]
        with friendly.transaction():
            for number, _ in NUMBERED:
                friendly.execute(f"DELETE FROM t_{number}".encode())
        reader.read_until(lambda: len(reader.transactions) == 2)
        source.close()
        write(options, chunks, 1)
        written = [versions(friendly, number) for number, _ in NUMBERED]
        write(options, chunks, 2)
        yield [
            Seen(
                (streamed_type(reader, need.table) if chunk.rows.rows else "", chunk.rows.relation.types[1]),
                chunk.rows.rows,
                [change for entry in reader.transactions for change in entry.changes if change.table == need.table],
                printed[number],
                texts(friendly, f"copy_{number}"),
                versions(friendly, number) != written[number],
            )
            for number, (need, chunk) in enumerate(zip(needs, chunks, strict=True))
        ]


def write(options: Options, chunks: list[Chunk], through: int) -> None:
    """Write what was read into the copies."""
    target = adapter.open_target(IDENTITY, options)
    target.open()
    writes = [
        TableWrite(f"public.copy_{number}", WriteKind.UPSERT, ("id",), ("id", "v"), chunk.rows.rows)
        for number, chunk in enumerate(chunks)
    ]
    target.apply(writes, Batch(through - 1, through))
    target.close()


def texts(connection: psycopg.Connection, table: str) -> list[tuple]:
    """What the server prints; trailing zeros of a numeric without a scale are no part of its value."""
    unlimited = NAMES[int(table.rpartition("_")[2])] == "numeric"
    value = "trim_scale(v)" if unlimited else "v"
    return connection.execute(f"SELECT id, {value}::text FROM {table} ORDER BY id".encode()).fetchall()


def versions(connection: psycopg.Connection, number: int) -> list[tuple]:
    return connection.execute(f"SELECT xmin::text FROM copy_{number} ORDER BY id".encode()).fetchall()


def streamed_type(reader: StreamReader, table: str) -> str:
    relations = (event.relation for event in reader.events if isinstance(event, Rows))
    return next(relation.types[1] for relation in relations if relation.table == table)


@pytest.mark.parametrize(("number", "case"), NUMBERED, ids=NAMES)
def test_chunk_and_stream_say_the_same_type(cell, number, case):
    assert cell.types == (case.canonical, case.canonical)
    assert str(parse_type(case.canonical)) == case.canonical


@pytest.mark.parametrize(("number", "case"), NUMBERED, ids=NAMES)
def test_a_chunk_has_every_value_exactly(cell, number, case):
    assert repr(cell.chunk) == repr([[row, value] for row, value in enumerate(samples(case))])


@pytest.mark.parametrize(("number", "case"), NUMBERED, ids=NAMES)
def test_the_stream_has_every_value_exactly_inserted_updated_and_deleted(cell, number, case):
    values = samples(case)
    last = len(values) - 1
    found = [(change.op, change.row["id"], change.row["v"]) for change in cell.changes]
    found[-len(values) :] = sorted(found[-len(values) :], key=itemgetter(1))  # deleted in the order of the heap
    inserted = [(Op.INSERT, row, value) for row, value in enumerate(values)]
    updated = [(Op.UPDATE, 0, None), (Op.UPDATE, last, values[0]), (Op.UPDATE, 0, values[0]), (Op.UPDATE, last, None)]
    deleted = [(Op.DELETE, row, value) for row, value in enumerate(values)]
    assert repr(found) == repr([*inserted, *updated, *deleted])


@pytest.mark.parametrize(("number", "case"), NUMBERED, ids=NAMES)
def test_what_was_read_is_written_as_it_was(cell, number, case):
    assert len(cell.printed) == len(case.samples) + 1
    assert cell.copied == cell.printed


@pytest.mark.parametrize(("number", "case"), NUMBERED, ids=NAMES)
def test_an_equal_value_is_not_written_again(cell, number, case):
    assert not cell.rewritten

"""Every column type: what the log says and what a chunk says are the same, to the last character.

The server's defaults are as unlike our sessions' as they can be. All types are written and read once, by one source;
then there is a test for each.
"""

from typing import NamedTuple

import pytest

import mysql_cases
from cdcd.adapter import TableNeed
from cdcd.model import Op
from cdcd.testing.stream import StreamReader, exactly, named_rows
from cdcd.values import parse_type
from contract.mysql_harness import PrivateHarness
from integration.mysql_type_tables import SETTINGS, cells, create_sql, every_case, harness, opened, tables_of, version  # noqa: F401 (fixtures)


class Readings(NamedTuple):
    """Of one table: rows expected after the inserts and after the updates, and what was read, each by id."""

    inserted: dict
    updated: dict
    log: dict
    chunks: dict
    types: set


def samples_of(cases, number):
    return [case.samples[number % len(case.samples)] for case in cases]


def row_count(cases):
    return max(len(case.samples) for case in cases)


@pytest.fixture(scope="module")
def readings(harness, cells):
    """Write every sample, update it to the next, delete it; read the log, and a chunk before and after the updates."""
    tables = tables_of(cells)
    harness.sql(*SETTINGS, *[create_sql(table, cases) for table, cases in tables.items()])
    source = harness.adapter.open_source(harness.identity, harness.options, [TableNeed(table) for table in tables])
    reader = StreamReader(source)
    chunks = {table: [] for table in tables}
    inserted, updated = {}, {}
    for table, cases in tables.items():
        inserted[table] = insert_samples(harness, table, cases)
    row_total = sum(row_count(cases) + 1 for cases in tables.values())
    read_rows(reader, row_total)
    read_chunks(reader, chunks)
    for table, cases in tables.items():
        updated[table] = update_samples(harness, table, cases)
    read_rows(reader, 2 * row_total)
    read_chunks(reader, chunks)
    harness.sql(*[f"DELETE FROM {table}" for table in tables])
    read_rows(reader, 3 * row_total)
    source.close()
    log = {table: {op: {} for op in Op} for table in tables}
    for entry in reader.transactions:
        for change in entry.changes:
            log[change.table][change.op][change.row["id"]] = list(change.row.values())[2:]
    types = {table: set() for table in tables}
    for relation in [event.relation for event in reader.events if hasattr(event, "relation")]:
        types[relation.table].add(relation.types[2:])
    for table, read in chunks.items():
        types[table] |= {chunk.rows.relation.types[2:] for chunk in read}
    return {
        table: Readings(
            inserted[table],
            updated[table],
            log[table],
            [{change.row["id"]: list(change.row.values())[2:] for change in named_rows(chunk.rows)} for chunk in read],
            types[table],
        )
        for table, read in chunks.items()
    }


def insert_samples(harness, table, cases):
    expected = {}
    statements = []
    for identifier in range(row_count(cases)):
        samples = samples_of(cases, identifier)
        literals = ", ".join(sample.literal_sql for sample in samples)
        statements.append(f"INSERT INTO {table} VALUES ({identifier}, 0, {literals})")
        expected[identifier] = [sample.value for sample in samples]
    nulls = ", ".join(f"c{n} = NULL" for n in range(len(cases)))
    statements.append(f"INSERT INTO {table} SET id = {row_count(cases)}, {nulls}")
    expected[row_count(cases)] = [None for _ in cases]
    harness.sql(*SETTINGS, *statements)
    return expected


def update_samples(harness, table, cases):
    """Every row gets the values of the one before, the first NULL."""
    expected = {0: [None for _ in cases]}
    statements = [
        f"UPDATE {table} SET version = 1, {', '.join(f'c{n} = NULL' for n in range(len(cases)))} WHERE id = 0"
    ]
    for identifier in range(1, row_count(cases) + 1):
        samples = samples_of(cases, identifier - 1)
        sets = ", ".join(f"c{n} = {sample.literal_sql}" for n, sample in enumerate(samples))
        statements.append(f"UPDATE {table} SET version = 1, {sets} WHERE id = {identifier}")
        expected[identifier] = [sample.value for sample in samples]
    harness.sql(*SETTINGS, *statements)
    return expected


def read_rows(reader, total):
    """A chunk leaves out rows that the stream is still to show: so these are read first."""
    reader.read_until(lambda: sum(len(entry.changes) for entry in reader.transactions) == total)


def read_chunks(reader, chunks):
    for table, read in chunks.items():
        read.append(reader.read_chunk(table, None, 1000))


def assert_column(rows, expected, place):
    assert rows.keys() == expected.keys()
    for identifier, row in expected.items():
        assert exactly(rows[identifier][place])[:300] == exactly(row[place])[:300]
        assert rows[identifier][place] == row[place]


@every_case
def test_a_type_reads_alike_from_log_and_chunk(number, cells, readings):
    if number not in cells:
        pytest.skip("this server does not have the type")
    table, place = cells[number]
    reading = readings[table]
    assert_column(reading.log[Op.INSERT], reading.inserted, place)
    assert_column(reading.chunks[0], reading.inserted, place)
    assert_column(reading.log[Op.UPDATE], reading.updated, place)
    assert_column(reading.chunks[1], reading.updated, place)
    assert_column(reading.log[Op.DELETE], reading.updated, place)
    assert {types[place] for types in reading.types} == {mysql_cases.CASES[number].canonical}
    assert parse_type(mysql_cases.CASES[number].canonical)


# ---- what concerns more than a value -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes(harness, readings):
    target = harness.adapter.open_target(harness.identity, harness.options)
    yield target.describe(tuple(readings))
    target.close()


@every_case
def test_a_live_column_has_the_type_that_its_log_has(number, cells, shapes):
    if number not in cells:
        pytest.skip("this server does not have the type")
    table, place = cells[number]
    assert shapes[table].columns[place + 2].type == mysql_cases.CASES[number].canonical


def read_both(reader, table, total):
    """The rows from the log and from a chunk, of a table that has just got them."""
    read_rows(reader, total)
    streamed = [change.row for entry in reader.transactions for change in entry.changes if change.table == table]
    return streamed, [change.row for change in named_rows(reader.read_chunk(table, None, 1000).rows)]


def test_generated_invisible_and_automatic_columns_are_in_the_rows(harness, version):
    harness.sql(
        "CREATE TABLE kinds (id int PRIMARY KEY, a int, v int AS (a + 1) VIRTUAL, s int AS (a + 2) STORED,"
        " i int INVISIBLE, made timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, seen datetime(3) DEFAULT NOW(3))"
    )
    with opened(harness, "kinds") as reader:
        harness.sql("SET timestamp = 1790000000.125", "INSERT INTO kinds (id, a, i) VALUES (1, 10, 5)")
        streamed, chunked = read_both(reader, "kinds", 1)
    row = {"id": 1, "a": 10, "v": 11, "s": 12, "i": 5}
    assert streamed == [row | {"made": "2026-09-21 14:13:20Z", "seen": "2026-09-21 14:13:20.125"}]
    assert chunked == streamed


def test_local_times_of_a_summer_time_change_read_alike(harness):
    """02:30 comes twice on the last Sunday of October and never on that of March; what the server makes of it, we read."""
    if not isinstance(harness, PrivateHarness):
        pytest.skip("the running server's own time zone is not Europe/Berlin")
    harness.sql("CREATE TABLE changes (id int PRIMARY KEY, t timestamp NULL, d datetime)")
    local = [
        "2026-10-25 01:59:59",
        "2026-10-25 02:30:00",
        "2026-10-25 03:00:00",
        "2026-03-29 01:59:59",
        "2026-03-29 03:00:00",
    ]
    with opened(harness, "changes") as reader:
        rows = ", ".join(f"({n}, '{text}', '{text}')" for n, text in enumerate(local))
        harness.sql("SET time_zone = 'SYSTEM'", f"INSERT INTO changes VALUES {rows}")
        streamed, chunked = read_both(reader, "changes", len(local))
    assert chunked == streamed
    assert [row["d"] for row in streamed] == local
    assert [row["t"] for row in streamed][::4] == ["2026-10-24 23:59:59Z", "2026-03-29 01:00:00Z"]
    assert streamed[1]["t"] in ("2026-10-25 00:30:00Z", "2026-10-25 01:30:00Z")


OLD_FORMATS = {
    "time": ["-12:13:14", "838:59:59", "00:00:00"],
    "time(1)": ["-00:00:01.1", "838:59:59", "00:00:00"],
    "time(3)": ["-838:59:59.123", "00:00:00.001"],
    "time(6)": ["12:13:14.654321", "-00:00:00.000001"],
    "datetime": ["2026-11-21 01:02:03", "0000-00-00 00:00:00", "2026-00-00 00:00:00"],
    "datetime(1)": ["2026-11-21 01:02:03.9", "0000-00-00 00:00:00"],
    "datetime(4)": ["2026-11-21 01:02:03.9876", "9999-12-31 23:59:59.9999"],
    "datetime(6)": ["9999-12-31 23:59:59.999999", "1000-01-01 00:00:00.000001"],
    "timestamp null": ["2026-11-21 01:02:03Z", "0000-00-00 00:00:00Z", "2038-01-19 03:14:07Z"],
    "timestamp(2) null": ["2026-11-21 01:02:03.98Z", "0000-00-00 00:00:00Z"],
    "timestamp(3) null": ["2026-11-21 01:02:03.987Z", "1970-01-01 00:00:01Z"],
    "timestamp(5) null": ["2026-11-21 01:02:03.98765Z"],
    "timestamp(6) null": ["2026-11-21 01:02:03.000001Z"],
}


def test_dates_and_times_in_the_formats_of_before_mysql_5_6_read_alike(harness, version):
    if version[0] != "mariadb" or not isinstance(harness, PrivateHarness):
        pytest.skip("only MariaDB still writes them, if it is told to")
    columns = ", ".join(f"c{n} {definition}" for n, definition in enumerate(OLD_FORMATS))
    harness.sql("SET GLOBAL mysql56_temporal_format = OFF", f"CREATE TABLE old (id int PRIMARY KEY, {columns})")
    harness.sql("SET GLOBAL mysql56_temporal_format = ON")
    expected = [
        {"id": n} | {f"c{place}": texts[n % len(texts)] for place, texts in enumerate(OLD_FORMATS.values())}
        for n in range(3)
    ]
    expected.append({"id": 3} | {f"c{place}": None for place in range(len(OLD_FORMATS))})
    rows = [", ".join("NULL" if v is None else f"'{str(v).rstrip('Z')}'" for v in row.values()) for row in expected]
    with opened(harness, "old") as reader:
        harness.sql(*SETTINGS, f"INSERT INTO old VALUES ({'), ('.join(rows)})")
        streamed, chunked = read_both(reader, "old", 4)
        relations = {event.relation for event in reader.events if hasattr(event, "relation")}
        relations |= {
            event.rows.relation for event in reader.events if hasattr(event, "rows") and hasattr(event, "done")
        }
    assert streamed == expected
    assert chunked == expected
    assert len(relations) == 1


KEYS = {
    "uuid": ["00000000-0000-0000-0000-000000000001", "01890a5d-ac96-774b-bcce-b302099a8057", "ffffffff-ffff-1fff-ffff-ffffffffffff"],
    "inet6": ["::", "::1", "::ffff:1.2.3.4", "2001:db8::"],
    "inet4": ["10.0.0.0", "10.0.0.1", "255.0.0.1"],
    "date": ["0000-00-00", "2026-00-10", "2026-02-31", "2026-03-01"],
    "year": ["0", "1901", "2155"],
    "enum('z','a','😀')": ["z", "a", "😀"],
    "bit(9)": ["1", "256", "511"],
    "varbinary(4)": ["a", "a\\0", "b"],
}  # fmt: skip


@pytest.mark.parametrize("definition", KEYS)
def test_a_table_is_read_row_by_row_in_the_order_of_any_key(definition, harness, version):
    if definition in ("uuid", "inet6", "inet4") and version[0] != "mariadb":
        pytest.skip("only MariaDB has the type")
    table = f"keyed{list(KEYS).index(definition)}"
    harness.sql(f"CREATE TABLE {table} (k {definition} PRIMARY KEY)")
    rows = ", ".join(
        f"({key if key.isdigit() else repr(key).replace(chr(92) * 2, chr(92))})" for key in KEYS[definition]
    )
    harness.sql(*SETTINGS, f"INSERT INTO {table} VALUES {rows}")
    with opened(harness, table) as reader:
        keys, after, done = [], None, False
        while not done:
            chunk = reader.read_chunk(table, after, 1)
            keys += [row[0] for row in chunk.rows.rows]
            after, done = chunk.last_key or after, chunk.done
    assert len(keys) == len(set(keys)) == len(KEYS[definition])


def test_text_that_is_not_valid_in_its_character_set_stays_bytes_and_stops_nothing(harness):
    harness.sql("CREATE TABLE wrong (id int PRIMARY KEY, a varchar(10) CHARACTER SET sjis, b varchar(10))")
    with opened(harness, "wrong") as reader:
        harness.sql("INSERT INTO wrong VALUES (1, 'ok', 'ok')")
        harness.sql("SET sql_mode = ''", "INSERT INTO wrong VALUES (2, _binary x'8540', 'fine')")
        streamed, chunked = read_both(reader, "wrong", 2)
    assert streamed == [{"id": 1, "a": "ok", "b": "ok"}, {"id": 2, "a": b"\x85\x40", "b": "fine"}]
    assert chunked == streamed

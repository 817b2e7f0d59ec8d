"""Every column type: what the log says, what a chunk says and what was written are the same, to the last character.

The server's defaults are as unlike our sessions' as they can be. All types are written and read once, by one source;
then there is a test for each.
"""

import contextlib
import json
import os
from itertools import count
from typing import NamedTuple

import pytest

import mysql_cases
from cdcd.adapter import TableNeed
from cdcd.config import Secret
from cdcd.errors import Refused
from cdcd.model import Batch, Op, TableWrite, WriteKind
from cdcd.testing.servers import mysql_family_server
from cdcd.testing.stream import StreamReader, exactly, named_rows
from cdcd.values import parse_type
from cdcd_mysql import Options
from contract.mysql_harness import MySqlHarness, PrivateHarness

UNFRIENDLY = {
    "default-time-zone": "SYSTEM",
    "sql-mode": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH,NO_UNSIGNED_SUBTRACTION",
    "character-set-server": "gbk",
    "collation-server": "gbk_bin",
    "div-precision-increment": "0",
    "max-allowed-packet": "16M",
    "explicit-defaults-for-timestamp": "OFF",
}
TIME_MODES = {True: "TIME_ROUND_FRACTIONAL", False: "TIME_TRUNCATE_FRACTIONAL"}
COLUMNS_PER_TABLE = 12
SETTINGS = ("SET SESSION sql_mode = '" + mysql_cases.WRITING_SQL_MODE + "'",)


class Cell(NamedTuple):
    """Where a case is: the `place` of its column in a table, counted after id and version."""

    table: str
    place: int


class Readings(NamedTuple):
    """Of one table: rows expected after the inserts and after the updates, and what was read, each by id."""

    inserted: dict
    updated: dict
    log: dict
    chunks: dict
    types: set


@pytest.fixture(scope="module")
def harness():
    """On a private server, or on the one that CDCD_TEST_MYSQL names."""
    place = os.environ.get("CDCD_TEST_MYSQL")
    if place is not None:
        user, _, address = place.partition("@")
        password = Secret(env="CDCD_TEST_MYSQL_PASSWORD")
        port = int(address.partition(":")[2])
        harness = MySqlHarness(Options(host="127.0.0.1", port=port, user=user, password=password, database=""))
        yield harness
        harness.dispose()
        return
    server = mysql_family_server(settings=UNFRIENDLY)
    server.settings["sql-mode"] += "," + TIME_MODES[server.is_mariadb]
    server.environment = {**server.environment, "TZ": "Europe/Berlin"}
    with server:
        yield PrivateHarness(server)


@pytest.fixture(scope="module")
def version(harness):
    text = harness.sql("SELECT version()")[0][0]
    numbers = tuple(int(part) for part in text.split("-")[0].split(".")[:2])
    return ("mariadb" if "MariaDB" in text else "mysql"), numbers


@pytest.fixture(scope="module")
def cells(version):
    cases = [number for number, case in enumerate(mysql_cases.CASES) if mysql_cases.exists_on(case, *version)]
    return {number: Cell(f"t{n // COLUMNS_PER_TABLE}", n % COLUMNS_PER_TABLE) for n, number in enumerate(cases)}


def tables_of(cells):
    tables = {}
    for number, cell in cells.items():
        tables.setdefault(cell.table, []).append(mysql_cases.CASES[number])
    return tables


def samples_of(cases, number):
    return [case.samples[number % len(case.samples)] for case in cases]


def create_sql(table, cases, more=""):
    columns = ", ".join(f"c{n} {case.ddl}" for n, case in enumerate(cases))
    return f"CREATE TABLE {table} (id int PRIMARY KEY, version int, {columns}{more}) CHARACTER SET utf8mb4"


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


def case_name(number):
    case = mysql_cases.CASES[number]
    return f"{number}-{case.ddl[:40]}"


every_case = pytest.mark.parametrize("number", range(len(mysql_cases.CASES)), ids=case_name)


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


# ---- the same values, written by a target ------------------------------------------------------------------------------

BULK = 40
"""Rows enough for statements over many rows; up to 16 are written one by one where a second key can collide."""


def is_writable(case, value):
    """Not the mark of a value that was refused."""
    return not (case.ddl == "enum('x','y')" and value == "")


def writable_rows(cases, rows):
    values = [[sample.value for sample in case.samples if is_writable(case, sample.value)] for case in cases]
    return [[n, n, *(column[n % len(column)] for column in values)] for n in range(rows)]


@pytest.fixture(scope="module")
def written(harness, cells):
    """Every value written in every way: inserted and updated in bulk, and one by one. Rows by table and way."""
    tables = tables_of(cells)
    target = harness.adapter.open_target(harness.identity, harness.options)
    batches = iter(range(target.open(), 1_000_000))
    found = {}
    for table, cases in tables.items():
        copy = f"w{table}"
        harness.sql(*SETTINGS, create_sql(copy, cases, ", UNIQUE (version)"))
        columns = ("id", "version", *(f"c{n}" for n in range(len(cases))))
        nulls = [[n, n, *[None] * len(cases)] for n in range(BULK)]

        def apply(kind, rows, copy=copy, columns=columns):
            batch = next(batches)
            applied = target.apply([TableWrite(copy, kind, ("id",), columns, rows)], Batch(batch, batch + 1))
            assert applied.missing == ()

        few, many = writable_rows(cases, 16), writable_rows(cases, BULK)
        ways = {"inserted": (WriteKind.UPSERT, many), "nulls": (WriteKind.UPSERT, nulls)}
        ways |= {"updated": (WriteKind.UPSERT, many), "few nulls": (WriteKind.UPDATE, nulls[:16])}
        ways |= {"updated one by one": (WriteKind.UPDATE, few)}
        for way, (kind, rows) in ways.items():
            apply(kind, rows)
            if "null" not in way:
                found[table, way] = copied_rows(harness, copy)
    target.close()
    return found


def copied_rows(harness, table):
    return {row[0]: row[2:] for row in copied(harness, table)}


def plain(case, value):
    """MySQL keeps dates and decimals in JSON as such; written as text, their numbers have no zeros at the end."""
    return json.loads(value) if case.canonical == "json(double)" and value is not None else exactly(value)


@every_case
@pytest.mark.parametrize("way", ["inserted", "updated", "updated one by one"])
def test_a_value_that_is_written_reads_back_the_same(number, way, cells, written):
    if number not in cells:
        pytest.skip("this server does not have the type")
    case = mysql_cases.CASES[number]
    table, place = cells[number]
    values = [sample.value for sample in case.samples if is_writable(case, sample.value)]
    for identifier in range(BULK if way != "updated one by one" else 16):
        got = plain(case, written[table, way][identifier][place])
        assert got == plain(case, values[identifier % len(values)])


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


@contextlib.contextmanager
def opened(harness, *tables):
    source = harness.adapter.open_source(harness.identity, harness.options, [TableNeed(table) for table in tables])
    try:
        yield StreamReader(source)
    finally:
        source.close()


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


REFUSED = [
    ("varchar(9) character set utf8mb3", "é日", "😀"),
    ("varchar(9) character set latin1", "€é", "日"),
    ("text character set gbk", "汉", "é😀"),
    ("char(9) character set ascii", "a", "é"),
    ("text", "日" * 21845, "日" * 21846),
    ("tinytext", "x" * 255, "x" * 256),
    ("tinyblob", bytes(255), bytes(256)),
    ("enum('a','b')", "a", "2"),
    ("enum('a','b')", "a", "A"),
    ("set('a','b')", "a,b", "b,a"),
    ("year", 2026, 26),
    ("bit(64)", 2**64 - 1, -1),
    ("float", 0.1, 0.10000000149011612),
    ("float(7,4)", 1.2346, 1.23456),
    ("float", 3.4028235e38, 3.5e38),
    ("decimal(65,30)", "1." + "0" * 30, "1" * 36),
    ("datetime(6)", "0001-01-01 00:00:00.5", "10000-01-01 00:00:00"),
    ("date", "0001-01-01", "0044-03-15 BC"),
    ("time", "-838:59:59", "24:60:00"),
    ("timestamp null", "2038-01-19 03:14:07Z", "1970-01-01 00:00:00Z"),
    ("timestamp null", "2038-01-19 03:14:07Z", "2106-02-07 06:28:16Z"),
    ("json", '{"a": 1}', '{"a": 1'),
    ("point", mysql_cases.GEOMETRY_SAMPLES["point"], mysql_cases.GEOMETRY_SAMPLES["linestring"]),
    ("geometry", mysql_cases.GEOMETRY_SAMPLES["point"], b"\0\0\0\0\1"),
]


@pytest.fixture(scope="module")
def apply(harness):
    """Applies one write of the columns id, u, v to a table."""
    target = harness.adapter.open_target(harness.identity, harness.options)
    batches = count(target.open())

    def write(table, kind, rows):
        batch = next(batches)
        target.apply([TableWrite(table, kind, ("id",), ("id", "u", "v"), rows)], Batch(batch, batch + 1))

    yield write
    target.close()


@pytest.mark.parametrize("row_count", [1, 20])
@pytest.mark.parametrize(("definition", "good", "bad"), REFUSED)
def test_a_value_that_its_column_would_not_keep_is_refused(definition, good, bad, row_count, harness, apply):
    table = f"refused{REFUSED.index((definition, good, bad))}of{row_count}"
    harness.sql(f"CREATE TABLE {table} (id int PRIMARY KEY, u int UNIQUE, v {definition})")
    rows = [[n, n, good] for n in range(row_count)]
    apply(table, WriteKind.UPSERT, rows)
    kept = harness.sql(f"SELECT HEX(v) FROM {table}")
    for kind in (WriteKind.UPSERT, WriteKind.UPDATE):
        last = row_count - 1
        with pytest.raises(Refused) as caught:
            apply(table, kind, [*rows[:-1], [last, last, bad]])
        assert caught.value.rows == ((0, last),)
        assert harness.sql(f"SELECT HEX(v) FROM {table}") == kept


def copied(harness, table):
    with opened(harness, table) as reader:
        return reader.read_chunk(table, None, 1000).rows.rows

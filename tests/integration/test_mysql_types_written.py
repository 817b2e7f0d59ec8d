"""Every column type, written by a target in every way: it reads back the same, and what a column would not keep is refused."""

import json
from itertools import count

import pytest

import mysql_cases
from cdcd.errors import Refused
from cdcd.model import Batch, TableWrite, WriteKind
from cdcd.testing.stream import exactly
from cdcd_mysql import parameters
from integration.mysql_type_tables import SETTINGS, cells, create_sql, every_case, harness, opened, tables_of, version  # noqa: F401 (fixtures)

BULK = 40
"""Rows enough for statements over many rows; up to 16 are written one by one where a second key can collide."""


def is_writable(case, value):
    """Not the mark of a value that was refused."""
    return not (case.ddl == "enum('x','y')" and value == "")


AS_PARAMETERS = 300
"""Rows enough to be given to MariaDB as parameters, in the columns whose values it takes so."""
NULL_ROW = 7


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
        harness.sql(f"DELETE FROM {copy}")
        live = target._read_tables((copy,))[copy]
        kept = [n for n, name in enumerate(columns) if parameters.takes(live.column(name))]
        rows = [[row[n] for n in kept] for row in writable_rows(cases, AS_PARAMETERS)]
        rows[NULL_ROW][2:] = [None] * (len(kept) - 2)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(parameters, "_ROWS_MIN", 1)  # large values come in statements of few rows
            apply(WriteKind.UPSERT, rows, columns=tuple(columns[n] for n in kept))
        found[table, "as parameters"] = (kept, copied_rows(harness, copy))
    ((_, prepared),) = target._session.run("SHOW SESSION STATUS LIKE 'Com_stmt_prepare'").rows
    assert int(prepared) == (len(tables) if target._session.takes_parameters else 0)
    target.close()
    return found


def copied(harness, table):
    with opened(harness, table) as reader:
        return reader.read_chunk(table, None, 1000).rows.rows


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


@every_case
def test_a_value_that_is_given_as_a_parameter_reads_back_the_same(number, cells, written):
    if number not in cells:
        pytest.skip("this server does not have the type")
    case = mysql_cases.CASES[number]
    table, place = cells[number]
    kept, rows = written[table, "as parameters"]
    if place + 2 not in kept:
        pytest.skip("it is never a parameter")
    values = [sample.value for sample in case.samples if is_writable(case, sample.value)]
    for identifier in range(AS_PARAMETERS):
        expected = None if identifier == NULL_ROW else values[identifier % len(values)]
        assert plain(case, rows[identifier][place]) == plain(case, expected)


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

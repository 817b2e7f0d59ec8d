"""Every column type: what the log says, what a chunk says and what was written are the same, to the last character."""

import pytest

from cdcd.adapter import TableNeed
from cdcd.testing.stream import StreamReader, exactly, named_rows
from cdcd.values import parse_type
from contract.mysql_harness import MariaDbHarness, OnMySql, quoted

ZERO_DATES = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'"

# column definition, then pairs of an SQL literal and the canonical value
COLUMNS = [
    ("tinyint", [("-128", -128), ("127", 127)]),
    ("tinyint unsigned", [("255", 255)]),
    ("tinyint(1)", [("1", 1), ("0", 0), ("-5", -5)]),
    ("smallint", [("-32768", -32768)]),
    ("smallint unsigned", [("65535", 65535)]),
    ("mediumint", [("-8388608", -8388608), ("8388607", 8388607), ("-1", -1)]),
    ("mediumint unsigned", [("16777215", 16777215)]),
    ("int", [("-2147483648", -(2**31))]),
    ("int unsigned", [("4294967295", 2**32 - 1)]),
    ("bigint", [("-9223372036854775808", -(2**63))]),
    ("bigint unsigned", [("18446744073709551615", 2**64 - 1)]),
    ("int(7) unsigned zerofill", [("42", 42)]),
    ("year", [("2026", 2026), ("1901", 1901), ("2155", 2155), ("0000", 0)]),
    ("bit(1)", [("b'1'", 1), ("b'0'", 0)]),
    ("bit(10)", [("b'1111111111'", 1023), ("b'1'", 1)]),
    ("bit(64)", [("18446744073709551615", 2**64 - 1)]),
    ("decimal(12,4)", [("-99999999.9999", "-99999999.9999"), ("0", "0.0000"), ("-0.0001", "-0.0001")]),
    ("decimal(5,0)", [("-99999", "-99999"), ("7", "7")]),
    ("decimal(4,4)", [("-0.0001", "-0.0001"), ("0.1", "0.1000")]),
    ("decimal(20,9)", [("12345678901.000000001", "12345678901.000000001"), ("-9", "-9.000000000")]),
    ("decimal(27,18)", [("-123456789.000000000000000001", "-123456789.000000000000000001")]),
    ("decimal(65,30)", [("-" + "9" * 35 + "." + "9" * 30, "-" + "9" * 35 + "." + "9" * 30)]),
    ("decimal(10,2) unsigned zerofill", [("1.5", "1.50"), ("0", "0.00")]),
    ("float", [("0.1", 0.1), ("-3.4028234e38", -3.4028235e38), ("16777217", 16777216.0), ("1e-45", 1e-45)]),
    ("float unsigned", [("1.5", 1.5)]),
    ("double", [("0.1", 0.1), ("-1.7976931348623157e308", -1.7976931348623157e308), ("5e-324", 5e-324)]),
    ("date", [("'1000-01-01'", "1000-01-01"), ("'9999-12-31'", "9999-12-31"), ("'0000-00-00'", "0000-00-00")]),
    ("date", [("'2026-00-15'", "2026-00-15"), ("'2026-02-31'", "2026-02-31")]),
    ("datetime", [("'2026-11-21 23:59:59'", "2026-11-21 23:59:59"), ("'0000-00-00'", "0000-00-00 00:00:00")]),
    ("datetime(1)", [("'2026-11-21 23:59:59.5'", "2026-11-21 23:59:59.5")]),
    ("datetime(3)", [("'2026-11-21 23:59:59.050'", "2026-11-21 23:59:59.05")]),
    ("datetime(6)", [("'1000-01-01 00:00:00.000001'", "1000-01-01 00:00:00.000001")]),
    ("timestamp null", [("'2038-01-19 03:14:07'", "2038-01-19 03:14:07Z"), ("0", "0000-00-00 00:00:00Z")]),
    ("timestamp(2) null", [("'1970-01-01 00:00:01.25'", "1970-01-01 00:00:01.25Z")]),
    ("timestamp(6) null", [("'2026-03-29 02:30:00.000100'", "2026-03-29 02:30:00.0001Z")]),
    ("time", [("'-838:59:59'", "-838:59:59"), ("'838:59:59'", "838:59:59"), ("'00:00:00'", "00:00:00")]),
    ("time(1)", [("'-00:00:01.1'", "-00:00:01.1"), ("'00:00:01.9'", "00:00:01.9")]),
    ("time(4)", [("'-10:11:12.0009'", "-10:11:12.0009"), ("'-00:00:00.5'", "-00:00:00.5")]),
    ("time(6)", [("'-838:59:58.999999'", "-838:59:58.999999"), ("'12:00:00.000010'", "12:00:00.00001")]),
    ("char(5)", [("'ab   '", "ab"), ("''", ""), ("'日本語😀é'", "日本語😀é")]),
    ("char(255)", [("repeat('é', 255)", "é" * 255), ("'x'", "x")]),
    ("varchar(5)", [("'ab   '", "ab   "), ("''", "")]),
    ("varchar(3000)", [("repeat('日', 3000)", "日" * 3000)]),
    ("tinytext", [("'t'", "t")]),
    ("text", [("repeat('x', 65535)", "x" * 65535), ("''", "")]),
    ("mediumtext", [("repeat('y', 70000)", "y" * 70000)]),
    ("longtext", [("'l'", "l")]),
    ("binary(4)", [("x'01'", b"\1\0\0\0"), ("x'00000000'", b"\0\0\0\0"), ("'a b '", b"a b ")]),
    ("varbinary(4)", [("x'0100'", b"\1\0"), ("''", b"")]),
    ("varbinary(300)", [("repeat('z', 300)", b"z" * 300)]),
    ("tinyblob", [("x'ff00'", b"\xff\0")]),
    ("blob", [("x'fe'", b"\xfe")]),
    ("mediumblob", [("repeat('b', 70000)", b"b" * 70000)]),
    ("longblob", [("''", b"")]),
    (
        "enum('a','b,c','d''e','f\\\\g','日本')",
        [("'a'", "a"), ("'b,c'", "b,c"), ("'d''e'", "d'e"), ("'f\\\\g'", "f\\g")],
    ),
    ("enum('x\\ny', 'tab\t')", [("'x\\ny'", "x\ny"), ("'tab\t'", "tab\t")]),
    ("enum('x')", [("'x'", "x"), ("0", "")]),
    ("set('one','two','three')", [("'three,one'", "one,three"), ("''", ""), ("'two'", "two")]),
    ("set({})".format(",".join(f"'m{n}'" for n in range(64))), [("'m63,m0'", "m0,m63")]),
    ("point", [("ST_GeomFromText('POINT(1 2)')", bytes.fromhex("000000000101000000000000000000f03f0000000000000040"))]),
]
MARIADB_COLUMNS = [
    ("uuid", [("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "6ba7b810-9dad-11d1-80b4-00c04fd430c8")]),
    ("uuid", [("'123e4567-e89b-42d3-a456-426614174000'", "123e4567-e89b-42d3-a456-426614174000")]),
    ("inet6", [("'::ffff:1.2.3.4'", "::ffff:1.2.3.4"), ("'2001:db8::'", "2001:db8::"), ("'::'", "::")]),
    ("inet4", [("'10.0.0.0'", "10.0.0.0")]),
    ("json", [("'{\"a\": [1, 2.50]}'", '{"a": [1, 2.50]}')]),
    ("float(7,2)", [("1.25", 1.25)]),
    ("double(7,2)", [("1.25", 1.25)]),
]
DOUBLES = ["1e0", "1e15", "1e14", "123456789012345e0", "1e-4", "1e-14", "1e-15", "1e-16", "0.1e0", "-0e0", "5e-324"]
DOUBLES += ["1.7976931348623157e308", "1.5e300", "123456.789e0", "1e20", "99999999999999990e0", "100e0", "-1.25e-7"]
MYSQL_JSON = [
    '\'{"b": 1, "a": [null, true, false, "x\\\\ny\\\\"\\\\u0001"], "": {}}\'',
    "'[]'",
    "'[65535, 65536, -32768, -32769, 2147483647, 2147483648, -2147483649, 9223372036854775807, 18446744073709551615]'",
    "'[1.0, 0.1, 1e100, -0.0, 123456789.5]'",
    f"JSON_ARRAY({', '.join(DOUBLES)})",
    "CAST(CAST('2026-11-21 23:59:59.000010' AS DATETIME(6)) AS JSON)",
    "JSON_ARRAY(CAST('2026-11-21 23:59:59.5' AS DATETIME(6)), CAST('2026-11-21' AS DATE), CAST('-01:02:03.5' AS TIME(6)))",
    "JSON_ARRAY(CAST(12.3400 AS DECIMAL(12,4)), CAST(-99999999999.5 AS DECIMAL(30,10)))",
    "JSON_ARRAY(x'00ff', b'101')",
    "CONCAT('[', REPEAT('\"long text 日本\", ', 6000), '1]')",
    "CONCAT('{\"k\": \"', REPEAT('x', 70000), '\"}')",
    "JSON_OBJECT('one', 1, 'three', JSON_OBJECT('deep', JSON_ARRAY(1, JSON_ARRAY(2))), '日本', 'é😀')",
    "'\"just a text\"'",
    "'17'",
    "'null'",
]
MYSQL_COLUMNS = [("json", [(literal, None) for literal in MYSQL_JSON]), ("json not null", [("'1'", "1")])]


@pytest.fixture
def mariadb_harness(mariadb):
    harness = MariaDbHarness(mariadb)
    yield harness
    harness.dispose()


def write_table(harness, columns):
    """A table with one column of each type, and a row for every value; return the rows as they should be read."""
    definitions = ", ".join(f"c{number} {definition}" for number, (definition, _) in enumerate(columns))
    harness.sql(f"CREATE TABLE types (id int PRIMARY KEY, {definitions})")
    expected = []
    count = max(len(values) for _, values in columns)
    for identifier in range(count):
        chosen = [values[identifier % len(values)] for _, values in columns]
        literals = ", ".join(literal for literal, _ in chosen)
        harness.sql(ZERO_DATES, f"INSERT INTO types VALUES ({identifier}, {literals})")
        expected.append([identifier, *(value for _, value in chosen)])
    if not any("not null" in definition for definition, _ in columns):
        harness.sql(f"INSERT INTO types (id) VALUES ({count})")
        expected.append([count, *[None] * len(columns)])
    return expected


def read_both(harness, columns):
    """The rows from the log and from a chunk, and both relations."""
    source = harness.adapter.open_source(harness.identity, harness.options, [TableNeed("types")])
    reader = StreamReader(source)
    expected = write_table(harness, columns)
    reader.read_until(lambda: sum(len(entry.changes) for entry in reader.transactions) == len(expected))
    streamed = [list(change.row.values()) for entry in reader.transactions for change in entry.changes]
    chunk = reader.read_chunk("types", None, 1000)
    chunked = [list(change.row.values()) for change in named_rows(chunk.rows)]
    relations = {event.relation for event in reader.events if hasattr(event, "relation")} | {chunk.rows.relation}
    source.close()
    return expected, streamed, chunked, relations


def assert_same(columns, rows, others):
    for row, other in zip(rows, others, strict=True):
        for place, (value, same) in enumerate(zip(row, other, strict=True)):
            definition = "id" if place == 0 else columns[place - 1][0]
            assert exactly(value)[:300] == exactly(same)[:300], definition
            assert exactly(value) == exactly(same), definition


def test_every_type_of_mariadb_reads_alike_from_log_and_chunk(mariadb_harness):
    columns = COLUMNS + MARIADB_COLUMNS
    expected, streamed, chunked, relations = read_both(mariadb_harness, columns)
    assert_same(columns, streamed, expected)
    assert_same(columns, chunked, expected)
    assert len(relations) == 1
    (relation,) = relations
    assert all(parse_type(spec) for spec in relation.types)


class TestMySql(OnMySql):
    def test_every_type_of_mysql_reads_alike_from_log_and_chunk(self, harness):
        columns = COLUMNS
        expected, streamed, chunked, relations = read_both(harness, columns)
        assert_same(columns, streamed, expected)
        assert_same(columns, chunked, expected)
        assert len(relations) == 1

    def test_binary_json_of_mysql_is_printed_as_the_server_prints_it(self, harness):
        if "MariaDB" in harness.sql("SELECT version()")[0][0]:
            pytest.skip("MariaDB keeps JSON as text")
        _, streamed, chunked, _ = read_both(harness, MYSQL_COLUMNS)
        assert_same(MYSQL_COLUMNS, streamed, chunked)
        assert len(streamed) == len(MYSQL_JSON)


def test_describe_and_the_log_agree_on_types(mariadb_harness):
    columns = COLUMNS + MARIADB_COLUMNS
    *_, (relation,) = read_both(mariadb_harness, columns)
    target = mariadb_harness.open_target()
    shape = target.describe(["types"])["types"]
    target.close()
    assert tuple(column.type for column in shape.columns) == relation.types
    assert tuple(column.name for column in shape.columns) == relation.columns


def test_generated_and_invisible_columns_are_in_the_rows(mariadb_harness):
    mariadb_harness.sql(
        "CREATE TABLE types (id int PRIMARY KEY, a int, v int AS (a + 1) VIRTUAL, s int AS (a + 2) STORED, i int INVISIBLE)"
    )
    source = mariadb_harness.adapter.open_source(
        mariadb_harness.identity, mariadb_harness.options, [TableNeed("types")]
    )
    reader = StreamReader(source)
    mariadb_harness.sql("INSERT INTO types (id, a, i) VALUES (1, 10, 5)")
    reader.read_until(lambda: bool(reader.transactions))
    row = {"id": 1, "a": 10, "v": 11, "s": 12, "i": 5}
    assert reader.transactions[0].changes[0].row == row
    assert [change.row for change in named_rows(reader.read_chunk("types", None, 10).rows)] == [row]
    source.close()


@pytest.mark.parametrize("name", ["utf8mb3", "latin1", "latin2", "cp1251", "koi8r", "greek", "ascii", "ucs2", "utf16"])
def test_text_of_other_character_sets_reads_alike(mariadb_harness, name):
    check_charset(mariadb_harness, name)


@pytest.mark.parametrize("name", ["utf16le", "utf32", "sjis", "cp932", "eucjpms", "ujis", "gbk", "gb2312", "big5"])
def test_text_of_wide_character_sets_reads_alike(mariadb_harness, name):
    check_charset(mariadb_harness, name)


SAMPLES = {
    "latin1": "ÄÖ€ß\x81",
    "latin2": "ĄłŻ",
    "cp1251": "Жук",
    "koi8r": "Жук",
    "greek": "Ωμέγα",
    "ascii": "plain",
    "sjis": "表示カナ漢字",
    "cp932": "①髙ｱ表",
    "eucjpms": "①ｱ表日本語",
    "ujis": "日本語表",
    "gbk": "汉字",
    "gb2312": "汉字",
    "big5": "漢字",
    "utf8mb3": "日本語é",
    "ucs2": "日本語é",
}


def check_charset(harness, name):
    text = SAMPLES.get(name, "日本語é😀")
    literal = "'" + text + "'"
    label = quoted(text.removesuffix("😀")).replace("`", "'")
    harness.sql(
        f"CREATE TABLE types (id int PRIMARY KEY, c char(10), v varchar(20), t text, e enum({label},'x'), s set({label},'y'))"
        f" CHARACTER SET {name}"
    )
    source = harness.adapter.open_source(harness.identity, harness.options, [TableNeed("types")])
    reader = StreamReader(source)
    harness.sql(f"INSERT INTO types VALUES (1, {literal}, {literal}, {literal}, {label}, {label})")
    reader.read_until(lambda: bool(reader.transactions))
    row = {"id": 1, "c": text, "v": text, "t": text, "e": text.removesuffix("😀"), "s": text.removesuffix("😀")}
    chunk = reader.read_chunk("types", None, 10)
    source.close()
    assert reader.transactions[0].changes[0].row == row
    assert [change.row for change in named_rows(chunk.rows)] == [row]
    assert {event.relation for event in reader.events if hasattr(event, "relation")} == {chunk.rows.relation}


def test_text_that_is_not_valid_in_its_character_set_stays_bytes_and_stops_nothing(mariadb_harness):
    mariadb_harness.sql("CREATE TABLE types (id int PRIMARY KEY, a varchar(10) CHARACTER SET sjis, b varchar(10))")
    source = mariadb_harness.adapter.open_source(
        mariadb_harness.identity, mariadb_harness.options, [TableNeed("types")]
    )
    reader = StreamReader(source)
    mariadb_harness.sql("CREATE TABLE raw (a varbinary(10))")
    mariadb_harness.sql("INSERT INTO types VALUES (1, 'ok', 'ok')")
    mariadb_harness.sql("SET sql_mode = ''", "INSERT INTO types VALUES (2, _binary x'8540', 'fine')")
    reader.read_until(lambda: len(reader.transactions) == 2)
    rows = [entry.changes[0].row for entry in reader.transactions]
    assert rows == [{"id": 1, "a": "ok", "b": "ok"}, {"id": 2, "a": b"\x85\x40", "b": "fine"}]
    assert [change.row for change in named_rows(reader.read_chunk("types", None, 10).rows)] == rows
    source.close()

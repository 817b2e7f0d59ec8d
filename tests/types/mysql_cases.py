"""Every column type of MySQL 9.7 and MariaDB 10.11 and 11.8 in canonical terms, with samples.

Sessions that write the samples have time_zone '+00:00', character set utf8mb4 and the sql_mode `WRITING_SQL_MODE`.
A sample's value is what the log says and what a snapshot says. Bits of a geometry or vector are made here by
themselves, from the formats' descriptions.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from cases import Sample, TypeCase
from cdcd.model import Value

WRITING_SQL_MODE: Final = "ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"
MYSQL: Final = ("mysql",)
MARIADB: Final = ("mariadb",)
_TOKEN: Final = re.compile(r"(mysql|mariadb)(?:(>=|<)(\d+)\.(\d+))?")


def exists_on(case: TypeCase, server: str, version: tuple[int, int]) -> bool:
    """Whether `server` ("mysql", "mariadb") of that version has the type."""
    for token in case.servers or (server,):
        match = _TOKEN.fullmatch(token)
        assert match is not None, token
        since_or_before = (int(match[3] or 0), int(match[4] or 0))
        if match[1] == server and (version < since_or_before if match[2] == "<" else version >= since_or_before):
            return True
    return False


def _case(
    ddl: str, canonical: str, *samples: tuple[str, Value], servers: tuple[str, ...] = (), note: str = ""
) -> TypeCase:
    return TypeCase(ddl, canonical, tuple(Sample(*sample) for sample in samples), servers=servers, note=note)


def _integers() -> Iterator[TypeCase]:
    for name, bits in (("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64)):
        low, high, most = -(1 << bits - 1), (1 << bits - 1) - 1, (1 << bits) - 1
        numbers = [(str(number), number) for number in (low, high, 0, -1)]
        yield _case(name, f"integer({low},{high})", *numbers)
        positive = [(str(number), number) for number in (most, 0, high + 1)]
        yield _case(f"{name} unsigned", f"integer(0,{most})", *positive)
        yield _case(f"{name}(3) unsigned zerofill", f"integer(0,{most})", ("7", 7), (str(most), most))


def _bits() -> Iterator[TypeCase]:
    for count in (1, 7, 8, 9, 10, 16, 33, 63, 64):
        most = (1 << count) - 1
        samples = [(str(number), number) for number in dict.fromkeys((0, 1, most, most // 3))]
        yield _case(f"bit({count})", f"integer(0,{most})", *samples)


def _decimals() -> Iterator[TypeCase]:
    nines = "9" * 65
    for precision, scale in ((12, 4), (1, 0), (5, 0), (9, 0), (10, 0), (9, 9), (10, 9), (18, 9), (4, 4), (30, 30)):
        whole, fraction = nines[: precision - scale] or "0", nines[:scale]
        most = f"{whole}.{fraction}" if scale else whole
        least = f"0.{'0' * (scale - 1)}1" if scale else "1"
        zero = f"0.{'0' * scale}" if scale else "0"
        samples = [(text, text) for text in (most, f"-{most}", least, f"-{least}", zero)]
        yield _case(f"decimal({precision},{scale})", f"decimal({precision},{scale})", *samples)
    for precision, scale in ((65, 30), (65, 0), (38, 20), (20, 9), (27, 18)):
        whole, fraction = nines[: precision - scale], nines[:scale]
        most = f"{whole}.{fraction}" if scale else whole
        samples = [(text, text) for text in (most, f"-{most}")]
        samples.append(("-1", f"-1.{'0' * scale}" if scale else "-1"))
        samples.append(("100000000", f"100000000.{'0' * scale}" if scale else "100000000"))
        yield _case(f"decimal({precision},{scale})", f"decimal({precision},{scale})", *samples)
    yield _case("decimal(10,2) unsigned zerofill", "decimal(10,2)", ("1.5", "1.50"), ("0", "0.00"))


NEGATIVE_ZERO: Final = "MariaDB stores -0 as 0"
NUMBERS: Final = (
    *_integers(),
    _case("bool", "integer(-128,127)", ("true", 1), ("false", 0), note="the server knows it as TINYINT(1)"),
    _case("tinyint(1)", "integer(-128,127)", ("1", 1), ("0", 0), ("-5", -5)),
    *_bits(),
    *_decimals(),
    _case(
        "float",
        "float(24,finite)",
        *[("0.1", 0.1), ("-0.1", -0.1), ("16777217", 16777216.0), ("1.5", 1.5), ("0", 0.0)],
        *[("3.4028234663852886e38", 3.4028235e38), ("-3.4028234e38", -3.4028235e38), ("1.17549435e-38", 1.1754944e-38)],
        *[("1e-45", 1e-45), ("1.1754942e-38", 1.1754942e-38), ("123456.79", 123456.79), ("1e10", 1e10)],
        *[("9.7656250e-04", 0.0009765625), ("8.589973e9", 8589974000.0), ("1.4e-45", 1e-45)],
    ),
    _case("float", "float(24,finite)", ("-0.0e0", -0.0), servers=("mysql",), note=NEGATIVE_ZERO),
    _case("double", "float(53,finite)", ("-0.0e0", -0.0), servers=("mysql",), note=NEGATIVE_ZERO),
    _case("float unsigned", "float(24,finite)", ("1.5", 1.5), ("0.1", 0.1)),
    _case("float(7,4)", "float(24,finite)", ("1.23456", 1.2346), ("-999.9999", -999.9999), ("0.1", 0.1)),
    _case(
        "double",
        "float(53,finite)",
        *[("0.1e0", 0.1), ("-1.7976931348623157e308", -1.7976931348623157e308), ("5e-324", 5e-324)],
        *[
            ("1e17", 1e17),
            ("2.2250738585072014e-308", 2.2250738585072014e-308),
            ("9007199254740993e0", 9007199254740992.0),
        ],
        *[("1e22", 1e22), ("1e23", 1e23), ("123456789012345678e0", 123456789012345680.0), ("0", 0.0)],
        *[("5.684341886080802e-14", 5.684341886080802e-14), ("1e15", 1e15), ("123456.7", 123456.7)],
    ),
    _case("double(7,2)", "float(53,finite)", ("1.25", 1.25), ("-12345.67", -12345.67), ("1.005", 1.0)),
    _case("double unsigned", "float(53,finite)", ("1e300", 1e300)),
    _case("year", "integer(0,2155)", ("2026", 2026), ("1901", 1901), ("2155", 2155), ("0", 0), ("'70'", 1970)),
)


def _fractions(
    kind: str, canonical: str, texts: tuple[str, ...], suffix: str = "", null: str = "", zeros: tuple[str, ...] = ()
) -> Iterator[TypeCase]:
    """The type with 0 to 6 digits of fraction; `zeros` are values that no calendar has."""
    note = "zero dates and days that no calendar has arrive as they are" if zeros else ""
    for digits in range(7):
        samples = []
        for text in (*texts, *zeros):
            whole, _, fraction = text.partition(".")
            kept = fraction[:digits].rstrip("0")
            value = f"{whole}.{kept}" if kept else whole.replace("-00:00:00", "00:00:00")
            samples.append((f"'{value}'", f"{value}{suffix}"))
        ddl = f"{kind}({digits}){null}" if digits else f"{kind}{null}"
        yield _case(ddl, canonical.format(digits), *dict.fromkeys(samples), note=note)


DATETIMES: Final = (
    "2026-11-21 23:59:59.987654",
    "1000-01-01 00:00:00.000001",
    "9999-12-31 23:59:59.999999",
    "2026-11-21 12:30:00.500000",
    "2026-03-29 02:30:00.000100",
    "0001-01-01 00:00:00.1",
)
ZERO_DATETIMES: Final = ("0000-00-00 00:00:00", "2026-00-00 01:02:03", "2026-02-31 01:02:03.5", "0000-01-01 00:00:00")
INSTANTS: Final = (
    "1970-01-01 00:00:01.25",
    "2038-01-19 03:14:07.999999",
    "2026-03-29 00:59:59.999999",
    "2026-03-29 01:00:00.000001",
    "2026-10-25 00:30:00.5",
    "2026-10-25 01:30:00.05",
    "2026-11-21 00:00:00",
)
"""Seconds around the starts and ends of Central European Summer Time among them."""
TIMES_OF_DAY: Final = (
    "-838:59:58.999999",
    "838:59:58.999999",
    "-838:59:59",
    "838:59:59",
    "24:00:00",
    "-00:00:01.1",
    "-00:00:00.500001",
    "00:00:00",
    "12:00:00.000010",
    "100:00:00.09",
    "-10:11:12.0009",
)

UNTIL_2038: Final = "1970-01-01 00:00:01,2038-01-19 03:14:07"
UNTIL_2106: Final = "1970-01-01 00:00:01,2106-02-07 06:28:15"


def _instants() -> Iterator[TypeCase]:
    zero = ("0000-00-00 00:00:00",)
    later = (*INSTANTS, "2038-01-19 03:14:08", "2106-02-07 06:28:15.999999")
    for limits, texts, servers in (
        (UNTIL_2038, INSTANTS, ("mysql", "mariadb<11.5")),
        (UNTIL_2106, later, ("mariadb>=11.5",)),
    ):
        for case in _fractions("timestamp", f"instant({{}},{limits})", texts, "Z", " null", zero):
            yield msgspec.structs.replace(case, servers=servers)


TIMES: Final = (
    _case(
        "date",
        "date(0001,9999)",
        *[("'1000-01-01'", "1000-01-01"), ("'9999-12-31'", "9999-12-31"), ("'2024-02-29'", "2024-02-29")],
        *[("'0001-01-01'", "0001-01-01"), ("'0000-00-00'", "0000-00-00"), ("'2026-00-15'", "2026-00-15")],
        *[("'2026-11-00'", "2026-11-00"), ("'2026-02-31'", "2026-02-31"), ("'0000-01-01'", "0000-01-01")],
        note="zero dates, dates with zero parts and days that no calendar has arrive as they are",
    ),
    *_fractions("datetime", "datetime({},0001,9999)", DATETIMES, zeros=ZERO_DATETIMES),
    *_instants(),
    *_fractions("time", "time({},-838,838)", TIMES_OF_DAY),
)

TEXTS: Final = (
    _case("char(5)", "text(5,padded,raw)", ("'ab   '", "ab"), ("''", ""), ("'日本語😀é'", "日本語😀é"), ("' a'", " a")),
    _case("char(0)", "text(0,padded,raw)", ("''", "")),
    _case("char(255)", "text(255,padded,raw)", ("repeat('é', 255)", "é" * 255), ("'x'", "x")),
    _case("varchar(5)", "text(5,raw)", ("'ab   '", "ab   "), ("''", ""), ("'\\0\\n\\\\'", "\0\n\\"), ("' '", " ")),
    _case("varchar(63)", "text(63,raw)", ("repeat('😀', 63)", "😀" * 63)),
    _case("varchar(64)", "text(64,raw)", ("repeat('😀', 64)", "😀" * 64), ("'x'", "x")),
    _case("varchar(3000)", "text(3000,raw)", ("repeat('日', 3000)", "日" * 3000)),
    _case("tinytext", "text(255,raw)", ("'t '", "t "), ("repeat('t', 255)", "t" * 255)),
    _case(
        "text",
        "text(65535,raw)",
        ("repeat('x', 65535)", "x" * 65535),
        ("''", ""),
        ("repeat('日', 21845)", "日" * 21845),
    ),
    _case("mediumtext", "text(16777215,raw)", ("repeat('y', 70000)", "y" * 70000), ("'m'", "m")),
    _case("longtext", "text(raw)", ("'l'", "l"), ("''", "")),
    _case("binary(4)", "bytes(4)", ("x'01'", b"\1\0\0\0"), ("x'00000000'", bytes(4)), ("'a b '", b"a b ")),
    _case("binary(255)", "bytes(255)", ("repeat(x'ff', 255)", b"\xff" * 255)),
    _case("varbinary(4)", "bytes(4)", ("x'0100'", b"\1\0"), ("''", b""), ("x'20'", b" ")),
    _case("varbinary(300)", "bytes(300)", ("repeat('z', 300)", b"z" * 300), ("x'00'", b"\0")),
    _case("tinyblob", "bytes(255)", ("x'ff00'", b"\xff\0"), ("''", b"")),
    _case("blob", "bytes(65535)", ("x'fe'", b"\xfe"), ("repeat(x'00', 65535)", bytes(65535))),
    _case("mediumblob", "bytes(16777215)", ("repeat('b', 70000)", b"b" * 70000)),
    _case("longblob", "bytes", ("''", b""), ("x'00ff'", b"\0\xff")),
)

OF_CHARSETS: Final = {
    "latin1": "ÄÖ€ß\x81",
    "latin2": "ĄłŻ",
    "cp1251": "Жук",
    "koi8r": "Жук",
    "greek": "Ωμέγα",
    "hebrew": "שלום",
    "ascii": "plain",
    "sjis": "表示カナ漢字",
    "cp932": "①髙ｱ表",
    "eucjpms": "①ｱ表日本語",
    "ujis": "日本語表",
    "euckr": "한국어",
    "gbk": "汉字",
    "gb2312": "汉字",
    "big5": "漢字",
    "tis620": "ไทย",
    "utf8mb3": "日本語é",
    "utf8mb4": "日本語é😀",
    "ucs2": "日本語é",
    "utf16": "日本語é😀",
    "utf16le": "日本語é😀",
    "utf32": "日本語é😀",
}
"""A text in each character set, for columns whose set is not that of their table."""


TOTAL_CHARSETS: Final = ("latin1", "latin2", "koi8r")
"""In these every byte is a character: all that is stored is text."""


def _of_charsets() -> Iterator[TypeCase]:
    for name, text in OF_CHARSETS.items():
        raw = "" if name in TOTAL_CHARSETS else ",raw"
        for kind, canonical in (("char(8)", "8,padded"), ("varchar(20)", "20"), ("tinytext", "255")):
            samples = [(f"'{text}'", text), ("'a b'", "a b"), ("''", "")]
            yield _case(f"{kind} character set {name}", f"text({canonical}{raw})", *samples)


def _labels(labels: tuple[str, ...]) -> str:
    return ",".join("'" + label.replace("\\", "\\\\").replace("'", "''") + "'" for label in labels)


def _enum(labels: tuple[str, ...], canonical: str, *, suffix: str = "") -> TypeCase:
    samples = [
        (_labels((label,)), label)
        for label in (labels if len(labels) < 20 else (*labels[:2], *labels[254:258], labels[-1]))
    ]
    return _case(f"enum({_labels(labels)}){suffix}", canonical, *samples)


ODD_LABELS: Final = ("a", "b,c", "d'e", "f\\g", "日本", "x\ny", "tab\tz", '"', "(", "%s{}")
MANY: Final = tuple(f"m{number}" for number in range(64))

LABELS: Final = (
    _enum(("new", "paid"), "enum(new,paid)"),
    _enum(ODD_LABELS, "text(5)"),
    _enum(("😀", "?b", "plain"), "text(5)"),
    _enum(("ä", "ö"), "enum(ä,ö)", suffix=" character set latin1"),
    _enum(("汉", "字"), "enum(汉,字)", suffix=" character set gbk"),
    _enum(("表", "示"), "enum(表,示)", suffix=" character set sjis"),
    _enum(("日", "本"), "enum(日,本)", suffix=" character set utf16"),
    _enum(tuple(f"e{number}" for number in range(300)), f"enum({','.join(f'e{number}' for number in range(300))})"),
    _case("enum('x','y')", "enum(x,y)", ("0", ""), ("'x'", "x"), note="'' is MySQL's mark of a value that was refused"),
    _case("enum('','b')", "text(1)", ("''", ""), ("'b'", "b")),
    _case("set('one','two','three')", "text(13)", ("'three,one'", "one,three"), ("''", ""), ("'two'", "two"), ("7", "one,two,three")),
    _case(f"set({_labels(MANY)})", "text(245)", ("'m63,m0'", "m0,m63"), ("18446744073709551615", ",".join(MANY)), ("''", "")),
    _case("set('😀','b')", "text(3)", ("'b,😀'", "😀,b"), ("'b'", "b")),
    _case("set('汉','b') character set gbk", "text(3)", ("'b,汉'", "汉,b"), ("'b'", "b")),
)  # fmt: skip

BIG: Final = "x" * 70000
MYSQL_JSON: Final = (
    ("'{\"b\": 1, \"a\": [null, true, false, \"x\\\\ny\\\\\"\\\\u0001\"], \"\": {}}'", '{"": {}, "a": [null, true, false, "x\\ny\\"\\u0001"], "b": 1}'),
    ("'[]'", "[]"),
    ("'[65535, 65536, -32768, -32769, 2147483648, -2147483649]'", "[65535, 65536, -32768, -32769, 2147483648, -2147483649]"),
    ("'[9223372036854775807, -9223372036854775808, 18446744073709551615]'", "[9223372036854775807, -9223372036854775808, 18446744073709551615]"),
    ("'[1.0, 0.1, 1e100, -0.0, 123456789.5, 1e17, 1e14, 1e15]'", "[1.0, 0.1, 1e100, -0.0, 123456789.5, 1e17, 100000000000000.0, 1e15]"),
    ("'[1.25e-7, 5e-324, 1.7976931348623157e308]'", "[0.000000125, 5e-324, 1.7976931348623157e308]"),
    ("CAST(CAST('2026-11-21 23:59:59.000010' AS DATETIME(6)) AS JSON)", '"2026-11-21 23:59:59.000010"'),
    ("JSON_ARRAY(CAST('2026-11-21' AS DATE), CAST('-01:02:03.5' AS TIME(6)))", '["2026-11-21", "-01:02:03.500000"]'),
    ("JSON_ARRAY(CAST(12.3400 AS DECIMAL(12,4)), CAST(-99999999999.5 AS DECIMAL(30,10)))", "[12.3400, -99999999999.5000000000]"),
    ("JSON_ARRAY(CAST(0 AS DECIMAL(5,2)), CAST(-1 AS DECIMAL(65,0)))", "[0.00, -1]"),
    ("JSON_ARRAY(x'00ff', b'101')", '["base64:type15:AP8=", "base64:type15:BQ=="]'),
    (f"CONCAT('{{\"k\": \"', REPEAT('x', {len(BIG)}), '\"}}')", f'{{"k": "{BIG}"}}'),
    ("CONCAT('[', REPEAT('1, ', 40000), '1]')", "[" + "1, " * 40000 + "1]"),
    ("CONCAT(REPEAT('[', 90), REPEAT(']', 90))", "[" * 90 + "]" * 90),
    ("JSON_OBJECT('one', 1, 'three', JSON_OBJECT('deep', JSON_ARRAY(1, JSON_ARRAY(2))), '日本', 'é😀')", '{"one": 1, "three": {"deep": [1, [2]]}, "日本": "é😀"}'),
    ("'{\"a\": 1, \"a\": 2}'", '{"a": 2}'),
    ("'\"just a text\"'", '"just a text"'),
    ("'17'", "17"),
    ("'null'", "null"),
    ("'\"\\\\ud83d\\\\ude00 \\\\u00e9 \\\\/ \\\\u2028\"'", '"😀 é / \u2028"'),
)  # fmt: skip


def _mapped(code: int, *parts: bytes) -> bytes:
    """Well-known binary, little-endian (OGC 06-103r4, 8.2)."""
    return struct.pack("<BI", 1, code) + b"".join(parts)


def _points(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


def _count(number: int) -> bytes:
    return struct.pack("<I", number)


_POINT: Final = _mapped(1, _points(1, 2))
_LINE: Final = _mapped(2, _count(2), _points(0, 0, 1, 1))
_RING: Final = _count(4) + _points(0, 0, 1, 0, 1, 1, 0, 0)
_POLYGON: Final = _mapped(3, _count(1), _RING)
GEOMETRIES: Final = {
    "point": ("POINT(1 2)", _POINT),
    "linestring": ("LINESTRING(0 0,1 1)", _LINE),
    "polygon": ("POLYGON((0 0,1 0,1 1,0 0))", _POLYGON),
    "multipoint": ("MULTIPOINT(1 2)", _mapped(4, _count(1), _POINT)),
    "multilinestring": ("MULTILINESTRING((0 0,1 1))", _mapped(5, _count(1), _LINE)),
    "multipolygon": ("MULTIPOLYGON(((0 0,1 0,1 1,0 0)))", _mapped(6, _count(1), _POLYGON)),
    "geometrycollection": ("GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))", _mapped(7, _count(2), _POINT, _LINE)),
}

GEOMETRY_SAMPLES: Final = {kind: _count(0) + wkb for kind, (_, wkb) in GEOMETRIES.items()}


def _geometries() -> Iterator[TypeCase]:
    for kind, (text, wkb) in GEOMETRIES.items():
        plain = (f"ST_GeomFromText('{text}')", _count(0) + wkb)
        placed = (f"ST_GeomFromText('{text}', 3857)", _count(3857) + wkb)
        note = "four bytes SRID, then well-known binary"
        yield _case(kind, "bytes", plain, placed, note=note)
        if kind in ("point", "polygon"):
            yield _case("geometry", "bytes", plain, placed, note=note)


_V3: Final = struct.pack("<3f", 1, -2.5, 0.1)
OTHERS: Final = (
    *_geometries(),
    *[_case("json", "json(double)", sample, servers=MYSQL, note="as MySQL prints it: keys sorted, numbers as it keeps them") for sample in MYSQL_JSON],
    _case(
        "json",
        "json",
        *[("'{\"b\": 1.50, \"a\": [1,  2e3], \"a\": null}'", '{"b": 1.50, "a": [1,  2e3], "a": null}'), ("'[]'", "[]")],
        *[("'null'", "null"), ("'123456789012345678901234567890.10'", "123456789012345678901234567890.10")],
        servers=MARIADB,
        note="text as it was written",
    ),
    _case(
        "uuid",
        "uuid",
        *[(f"'{text}'", text) for text in ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "123e4567-e89b-42d3-a456-426614174000")],
        *[(f"'{text}'", text) for text in ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")],
        *[(f"'{text}'", text) for text in ("01890a5d-ac96-774b-bcce-b302099a8057", "1ec9414c-232a-6b00-b3c8-9f6bdeced846")],
        ("'6BA7B8109DAD11D180B400C04FD43000'", "6ba7b810-9dad-11d1-80b4-00c04fd43000"),
        servers=MARIADB,
    ),
    _case(
        "inet6",
        "native(inet6)",
        *[(f"'{text}'", text) for text in ("::ffff:1.2.3.4", "2001:db8::", "::", "::1", "2001:db8::ff00:42:8329")],
        *[("'2001:DB8:0:0:0:0:0:1'", "2001:db8::1"), ("'::1.2.3.4'", "::1.2.3.4"), ("'1:0:0:2::'", "1:0:0:2::")],
        servers=MARIADB,
    ),
    _case(
        "inet4", "native(inet4)", *[(f"'{text}'", text) for text in ("10.0.0.0", "255.255.255.255", "0.0.0.0")], servers=MARIADB
    ),
    _case("varchar(100) compressed", "text(100,raw)", ("repeat('é', 100)", "é" * 100), ("'short'", "short"), ("''", ""), servers=MARIADB),
    _case("varchar(1000) compressed character set latin1", "text(1000)", ("repeat('é', 900)", "é" * 900), servers=MARIADB),
    _case("varbinary(300) compressed", "bytes(300)", ("repeat(x'00ff', 150)", b"\0\xff" * 150), ("x'00'", b"\0"), servers=MARIADB),
    _case("tinytext compressed", "text(255,raw)", ("repeat('a', 200)", "a" * 200), servers=MARIADB),
    _case("text compressed", "text(65535,raw)", ("repeat('日', 20000)", "日" * 20000), ("'x'", "x"), servers=MARIADB),
    _case("longtext compressed", "text(raw)", ("repeat('日本', 90000)", "日本" * 90000), servers=MARIADB),
    _case("blob compressed", "bytes(65535)", ("repeat(x'00', 60000)", bytes(60000)), ("''", b""), servers=MARIADB),
    _case("vector(3)", "bytes", ("STRING_TO_VECTOR('[1,-2.5,0.1]')", _V3), servers=("mysql>=9.0",), note="32-bit floats, little-endian"),
    _case("vector(3)", "bytes(12)", ("VEC_FromText('[1,-2.5,0.1]')", _V3), servers=("mariadb>=11.7",), note="32-bit floats, little-endian"),
)  # fmt: skip

CASES: Final = (
    *NUMBERS,
    *TIMES,
    *TEXTS,
    *_of_charsets(),
    *LABELS,
    *OTHERS,
)

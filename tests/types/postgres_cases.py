"""Every PostgreSQL type: what it is in canonical terms, with samples. Extremes and specials first of all."""

from cases import Sample, TypeCase
from cdcd.model import Value

INT2 = "integer(-32768,32767)"
INT4 = "integer(-2147483648,2147483647)"
INT8 = "integer(-9223372036854775808,9223372036854775807)"
UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
AWKWARD_LABELS = ("it's", 'say "hi"', "a,b", "(x)", "[y]", "{z}", "back\\slash", "😀", " spaced ", "日本")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def case(
    ddl: str, canonical: str, *samples: tuple[str, Value], setup: tuple[str, ...] = (), note: str = ""
) -> TypeCase:
    return TypeCase(ddl, canonical, tuple(Sample(*sample) for sample in samples), setup, ("postgres",), note)


def as_printed(ddl: str, *texts: str, canonical: str = "", setup: tuple[str, ...] = (), note: str = "") -> TypeCase:
    """A type that is not interpreted: its samples are what the server prints."""
    samples = [(quoted(text), text) for text in texts]
    return case(ddl, canonical or f"native({ddl})", *samples, setup=setup, note=note)


NUMBERS = (
    case("boolean", "boolean", ("true", True), ("false", False)),
    case("smallint", INT2, ("-32768", -(2**15)), ("0", 0), ("32767", 2**15 - 1)),
    case("integer", INT4, ("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)),
    case("bigint", INT8, ("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)),
    case("oid", "integer(0,4294967295)", ("0", 0), ("4294967295", 2**32 - 1)),
    case(
        "numeric",
        "decimal",
        ("0", "0"),
        ("'-0.0'", "0"),
        ("1.500", "1.5"),
        ("100", "100"),
        ("'NaN'", "NaN"),
        ("'Infinity'", "Infinity"),
        ("'-Infinity'", "-Infinity"),
        ("1e400", "1" + "0" * 400),
        ("-1e-400", "-0." + "0" * 399 + "1"),
        (
            "123456789012345678901234567890.123456789012345678901234567890",
            "1234567890" * 3 + "." + "123456789" + "0123456789" * 2,
        ),
        note="Trailing zeros are no part of the value. NaN and infinities go to other columns of unlimited numeric only.",
    ),
    case("numeric(12,4)", "decimal(12,4)", ("-99999999.9999", "-99999999.9999"), ("1.5", "1.5000"), ("'NaN'", "NaN")),
    case("numeric(3,0)", "decimal(3,0)", ("-999", "-999"), ("0", "0")),
    case("numeric(2,-3)", "decimal(2,-3)", ("99000", "99000"), ("-1000", "-1000")),
    case("numeric(3,5)", "decimal(3,5)", ("0.00999", "0.00999"), ("-0.00001", "-0.00001")),
    case(
        "real",
        "float(24)",
        ("0.1", 0.1),
        ("'-0'", -0.0),
        ("1e-45", 1e-45),
        ("3.4028235e38", 3.4028235e38),
        ("16777216", 16777216.0),
        ("5.6843419e-14", 5.684342e-14),
        ("'NaN'", float("nan")),
        ("'Infinity'", float("inf")),
        ("'-Infinity'", float("-inf")),
        note="The value is the shortest decimal that reads back as the same 32-bit float.",
    ),
    case(
        "double precision",
        "float",
        ("0.1", 0.1),
        ("'-0'", -0.0),
        ("5e-324", 5e-324),
        ("2.2250738585072011e-308", 2.2250738585072011e-308),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("0.30000000000000004", 0.30000000000000004),
        ("'NaN'", float("nan")),
        ("'Infinity'", float("inf")),
        ("'-Infinity'", float("-inf")),
    ),
    as_printed(
        "money",
        "-$92,233,720,368,547,758.08",
        "$0.00",
        "$12.34",
        note="How many digits it has after the point depends on a setting of the server; it passes between money columns only, as the number that is stored. Use numeric.",
    ),
)
TEXTS = (
    case(
        "text",
        "text",
        ("''", ""),
        ("' '", " "),
        ("E'\\\\N\\t\\n\\r\\b'", "\\N\t\n\r\b"),
        ("'日本語 😀 e\u0301'", "日本語 😀 e\u0301"),
        ("'{\"a\",NULL}'", '{"a",NULL}'),
        ("repeat('toast', 20000)", "toast" * 20000),
        note="A text with the character NUL (which MySQL keeps) is refused by the server.",
    ),
    case("varchar(5)", "text(5)", ("''", ""), ("'日本語😀!'", "日本語😀!"), ("'a    '", "a    ")),
    case("varchar", "text", ("'x'", "x")),
    case(
        "char(5)",
        "text(5,padded)",
        ("''", ""),
        ("'ab'", "ab"),
        ("'日本語😀!'", "日本語😀!"),
        note="Spaces at the end are padding and not part of the value; a text that ends in one is refused.",
    ),
    case(
        "citext",
        "text",
        ("'MiXed'", "MiXed"),
        setup=("CREATE EXTENSION IF NOT EXISTS citext",),
        note="A change of case alone is a change.",
    ),
    as_printed("name", "pg_catalog", canonical="native(name)", note="It cuts what is longer than 63 bytes."),
    as_printed('"char"', "a", "\\377", canonical='native("char")', note="One byte; not the SQL type char."),
    case(
        "mood",
        "text",
        *((quoted(label), label) for label in AWKWARD_LABELS),
        setup=(f"CREATE TYPE mood AS ENUM ({', '.join(map(quoted, AWKWARD_LABELS))})",),
        note="An enum is the text of its label. A label that the target's enum lacks is refused by the server.",
    ),
    case("bytea", "bytes", ("''", b""), (r"'\x00ff5c27'", b"\x00\xff\\'"), (r"'\x5c78'", b"\\x")),
    case(
        "uuid",
        "uuid",
        (f"'{UUID.upper()}'", UUID),
        ("'{00000000000000000000000000000000}'", "0" * 8 + "-0000" * 3 + "-" + "0" * 12),
    ),
    case(
        "json",
        "json",
        *(
            (quoted(text), text)
            for text in ('{"b": 1.10, "a" : 1e400, "b":[]}', "null", '"\\ud83d\\ude00 \\u00e9"', " 1")
        ),
        note="The text is kept as it is; in an entity it is compared by its content.",
    ),
    case(
        "jsonb",
        "json",
        ('\'{"b": 1.10, "a": [1E2, null], "b": 2}\'', '{"a": [100, null], "b": 2}'),
        ("'1.10'", "1.10"),
        ("'1e400'", "1" + "0" * 400),
        ("'123456789012345678901234567890'", "123456789012345678901234567890"),
        ("'\"\\ud83d\\ude00 \\u00e9\"'", '"😀 é"'),
    ),
    as_printed("xml", "<a>1</a>", "text <b/> only"),
)
TIMES = (
    case(
        "date",
        "date",
        ("'0001-01-01'", "0001-01-01"),
        ("'9999-12-31'", "9999-12-31"),
        ("'2024-02-29'", "2024-02-29"),
        ("'0044-03-15 BC'", "0044-03-15 BC"),
        ("'4713-01-01 BC'", "4713-01-01 BC"),
        ("'5874897-12-31'", "5874897-12-31"),
        ("'infinity'", "infinity"),
        ("'-infinity'", "-infinity"),
        note="Years before 1 and beyond 9999, and infinity, go to other PostgreSQL columns only.",
    ),
    case(
        "timestamp",
        "datetime(6)",
        ("'2026-03-29 02:30:00'", "2026-03-29 02:30:00"),
        ("'0001-01-01 00:00:00.000001'", "0001-01-01 00:00:00.000001"),
        ("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"),
        ("'294276-12-31 23:59:59.999999'", "294276-12-31 23:59:59.999999"),
        ("'0044-03-15 12:00:00.5 BC'", "0044-03-15 12:00:00.5 BC"),
        ("'2026-01-01 24:00:00'", "2026-01-02 00:00:00"),
        ("'infinity'", "infinity"),
        ("'-infinity'", "-infinity"),
    ),
    case("timestamp(0)", "datetime(0)", ("'2026-11-21 23:59:59'", "2026-11-21 23:59:59")),
    case(
        "timestamptz",
        "instant(6)",
        ("'2026-10-25 02:30:00+02'", "2026-10-25 00:30:00Z"),
        ("'2026-10-25 02:30:00+01'", "2026-10-25 01:30:00Z"),
        ("'2038-01-19 03:14:07.999999+00'", "2038-01-19 03:14:07.999999Z"),
        ("'9999-12-31 23:59:59.999999+00'", "9999-12-31 23:59:59.999999Z"),
        ("'1883-11-18 12:03:58-04:56:02'", "1883-11-18 17:00:00Z"),
        ("'0044-03-15 12:00:00.5+00 BC'", "0044-03-15 12:00:00.5Z BC"),
        ("'infinity'", "infinity"),
        ("'-infinity'", "-infinity"),
        note="An instant; the zones of server and session do not matter.",
    ),
    case("timestamptz(3)", "instant(3)", ("'2026-11-21 23:59:59.123+00'", "2026-11-21 23:59:59.123Z")),
    case(
        "time",
        "time(6,0,24)",
        ("'00:00'", "00:00:00"),
        ("'23:59:59.999999'", "23:59:59.999999"),
        ("'24:00'", "24:00:00"),
        ("'12:00:00.500'", "12:00:00.5"),
    ),
    case("time(0)", "time(0,0,24)", ("'23:59:59'", "23:59:59")),
    as_printed("timetz", "23:59:59.999999+14", "00:00:00-15:59", canonical="native(time with time zone)"),
    as_printed(
        "interval",
        "00:00:00",
        "1 year 2 mons -3 days +04:05:06.789",
        "-178000000 years",
        "-1 days +02:03:00",
        "00:00:00.000001",
    ),
    as_printed("interval(0)", "1 day 02:03:04", note="It would round an interval of more digits: none goes there."),
    as_printed("interval year to month", "1 year 2 mons"),
)
NETWORK_AND_BITS = (
    as_printed("bit(3)", "101"),
    as_printed("bit varying", "", "0" * 100 + "1"),
    as_printed("bit varying(4)", "", "0101"),
    as_printed("inet", "10.1.2.3/24", "::ffff:1.2.3.4", "2001:db8::/32"),
    as_printed("cidr", "10.0.0.0/8", "2001:db8::/32"),
    as_printed("macaddr", "08:00:2b:01:02:03"),
    as_printed("macaddr8", "08:00:2b:01:02:03:04:05"),
    as_printed("pg_lsn", "0/0", "FFFFFFFF/FFFFFFFF"),
    as_printed("txid_snapshot", "10:20:10,14,15"),
    as_printed("pg_snapshot", "10:20:10,14,15"),
    as_printed("xid8", "18446744073709551615"),
)
SEARCH_AND_NAMES = (
    as_printed("tsvector", "'a':1A,2 'it''s':3", ""),
    as_printed("tsquery", "'a' & !'b c' | 'd':*A"),
    as_printed("regclass", "pg_class"),
    as_printed("regtype", "integer"),
    as_printed("regprocedure", "abs(integer)"),
    as_printed("regrole", "postgres"),
    as_printed(
        "hstore",
        '"a"=>"1", "\\"q\\""=>"x,y", "b c"=>NULL',
        setup=("CREATE EXTENSION IF NOT EXISTS hstore",),
    ),
    as_printed("ltree", "Top.Science.Astronomy", "", setup=("CREATE EXTENSION IF NOT EXISTS ltree",)),
)
GEOMETRY = (
    as_printed("point", "(1.5,-0)", "(1e+300,NaN)"),
    as_printed("line", "{1,-1,0.1}"),
    as_printed("lseg", "[(0,0),(1,1)]"),
    as_printed("box", "(2,2),(1,1)"),
    as_printed("path", "((0,0),(1,1),(2,0))", "[(0,0),(1,1)]"),
    as_printed("polygon", "((0,0),(1,1),(2,0))"),
    as_printed("circle", "<(0.1,0),0.30000000000000004>"),
)
RANGES = (
    as_printed("int4range", "[1,5)", "empty", "(,)"),
    as_printed("int8range", "[-9223372036854775808,)"),
    as_printed("numrange", "(0.1,1.50]", "[NaN,NaN]"),
    as_printed("daterange", "[2026-01-01,2026-02-01)", "(,infinity)"),
    as_printed("tsrange", '["2026-01-01 00:00:00","2026-01-01 00:00:00.5")'),
    as_printed("tstzrange", '["2026-01-01 00:00:00+00",)'),
    as_printed("int4multirange", "{[1,5),[7,9)}", "{}"),
    as_printed("tstzmultirange", '{["2026-01-01 00:00:00+00","2026-01-02 00:00:00+00")}'),
    as_printed("textrange", '["a,b","c""d")', setup=("CREATE TYPE textrange AS RANGE (subtype = text)",)),
)
COMPOSED = (
    case(
        "amount",
        "decimal(12,4)",
        ("1.5", "1.5000"),
        setup=(
            "CREATE DOMAIN amount_base AS numeric(12,4)",
            "CREATE DOMAIN amount AS amount_base CHECK (VALUE > -1e6)",
        ),
        note="A domain is the type below it; that it checks more is the server's affair.",
    ),
    as_printed("int_list", "{1,2}", canonical="native(integer[])", setup=("CREATE DOMAIN int_list AS integer[]",)),
    as_printed(
        "pair",
        '(1,"a,b ""q"" \\\\")',
        "(,)",
        '(,"")',
        setup=("CREATE TYPE pair AS (number integer, words text)",),
        note="Composite types, arrays, ranges and what follows pass as their text between columns of the same type name.",
    ),
    as_printed("pair[]", '{"(1,\\"a,b\\")",NULL}', setup=("CREATE TYPE pair AS (number integer, words text)",)),
    as_printed("integer[]", "{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={7,8}"),
    as_printed("boolean[]", "{t,f,NULL}"),
    as_printed("bigint[]", "{-9223372036854775808}"),
    as_printed("numeric(10,2)[]", "{1.50,NaN,NULL}"),
    as_printed("real[]", "{0.1,Infinity,NaN,-0}"),
    as_printed("text[]", '{a,"b,c","","NULL",NULL,"q\\"q","back\\\\slash","{}"," x "}'),
    as_printed("varchar(3)[]", "{abc,NULL}", canonical="native(character varying(3)[])"),
    as_printed("char(3)[]", '{"a  ",NULL}', canonical="native(character(3)[])"),
    as_printed("bytea[]", '{"\\\\x00ff",NULL}'),
    as_printed("date[]", '{2026-01-01,infinity,"0044-03-15 BC"}'),
    as_printed("timestamptz[]", '{"2026-01-01 00:00:00+00"}', canonical="native(timestamp with time zone[])"),
    as_printed("interval[]", '{"1 day 02:03:04",NULL}'),
    as_printed("uuid[]", "{" + UUID + "}"),
    as_printed("jsonb[]", '{"{\\"a\\": 1.10}",NULL}'),
    as_printed("inet[]", "{10.1.2.3/24,::1}"),
    as_printed(
        "mood[]",
        '{"a,b",it\'s,"say \\"hi\\"",(x),"{z}"}',
        setup=(f"CREATE TYPE mood AS ENUM ({', '.join(map(quoted, AWKWARD_LABELS))})",),
    ),
    as_printed("int4range[]", '{"[1,5)",empty}'),
    as_printed("point[]", '{"(1,2)"}'),
    as_printed("bit(3)[]", "{101,NULL}"),
    as_printed("money[]", '{"$1,234.50"}'),
)
CASES = (*NUMBERS, *TEXTS, *TIMES, *NETWORK_AND_BITS, *SEARCH_AND_NAMES, *GEOMETRY, *RANGES, *COMPOSED)

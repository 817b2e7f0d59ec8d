"""Rows as parameters, read as a server would (MariaDB's documentation, "COM_STMT_BULK_EXECUTE")."""

import struct
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.constants import FIELD_TYPE

from cdcd.model import TableWrite, WriteKind
from cdcd_mysql.charsets import charset
from cdcd_mysql.jobs import make_job
from cdcd_mysql.parameters import parameters_of, takes
from unit.cdcd_mysql.test_column_literals import column
from unit.cdcd_mysql.test_jobs import TABLE

UTF8 = charset("utf8mb4")
PLENTY = 1 << 24
COLUMNS = {
    "n": (column("bigint", "integer(-9223372036854775808,9223372036854775807)"), st.integers(-(2**63), 2**63 - 1)),
    "u": (column("bigint", "integer(0,18446744073709551615)"), st.integers(0, 2**64 - 1)),
    "d": (column("double"), st.floats(allow_nan=False, allow_infinity=False)),
    "t": (column("varchar", text=True), st.text(st.characters(codec="utf-8"), max_size=400)),
    "b": (column("blob"), st.binary(max_size=400)),
    "p": (column("decimal", precision=9, scale=2), st.decimals(-9, 9, places=2).map(str)),
    "at": (
        column("timestamp", fraction=6),
        st.integers(10**9, 2 * 10**9).map(lambda at: f"{datetime.fromtimestamp(at, UTC):%F %T}Z"),
    ),
}
NAMED = {name: msgspec.structs.replace(made, name=name) for name, (made, _) in COLUMNS.items()}
ROW = st.tuples(*(usual if name == "n" else usual | st.none() for name, (_, usual) in COLUMNS.items())).map(list)


def job_of(columns, rows, **more):
    names = tuple(column.name for column in columns)
    table = msgspec.structs.replace(TABLE, columns=tuple(columns), primary_key=names[:1])
    write = TableWrite("t", WriteKind.UPSERT, names[:1], names, rows, **more)
    return make_job(0, write, table, rows, range(len(rows)))


def read(parameters):
    """The rows that a server reads."""
    types = [tuple(parameters.types[at : at + 2]) for at in range(0, len(parameters.types), 2)]
    left, rows = memoryview(parameters.rows), []
    while left:
        row = []
        for kind in types:
            value, size = (None, 1) if left[0] else read_value(kind, bytes(left[1:]))
            assert left[0] in (0, 1)
            row.append(value)
            left = left[size:]
        rows.append(row)
    return rows


def read_value(kind, data):
    """Of what follows the indicator: the value, and how many bytes it takes with it."""
    if kind[0] in (FIELD_TYPE.LONGLONG, FIELD_TYPE.DOUBLE):
        form = "<d" if kind[0] == FIELD_TYPE.DOUBLE else "<Q" if kind[1] & 0x80 else "<q"
        return struct.unpack_from(form, data)[0], 9
    width = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(data[0], 0)
    size = int.from_bytes(data[1 : 1 + width], "little") if width else data[0]
    value = data[1 + width : 1 + width + size]
    assert len(value) == size
    return value if kind[0] == FIELD_TYPE.BLOB else value.decode(), 2 + width + size


@given(rows=st.lists(ROW, min_size=1, max_size=4))
def test_a_server_reads_what_was_to_be_written(rows):
    many = rows * 50
    expected = [[value.removesuffix("Z") if n == 6 and value else value for n, value in enumerate(row)] for row in many]
    assert read(parameters_of(job_of(NAMED.values(), many), PLENTY)) == expected


@pytest.mark.parametrize("size", [250, 251, 65_535, 65_536, 1 << 24])
def test_texts_of_any_size_have_their_size_before_them(size):
    rows = [[n, "x" * (size if n == 1 else 1)] for n in range(50)]
    found = parameters_of(job_of([NAMED["n"], NAMED["t"]], rows), 1 << 26)
    assert read(found) == rows


def test_only_the_columns_that_are_written_are_parameters():
    computed = msgspec.structs.replace(NAMED["t"], is_generated=True)
    found = parameters_of(job_of([NAMED["n"], computed, NAMED["p"]], [[n, "x", "1.50"] for n in range(60)]), PLENTY)
    assert read(found) == [[n, "1.50"] for n in range(60)]


def test_a_column_of_which_every_value_is_missing_is_one_of_its_type():
    found = parameters_of(job_of([NAMED["n"], NAMED["d"]], [[n, None] for n in range(60)]), PLENTY)
    assert read(found) == [[n, None] for n in range(60)]


@pytest.mark.parametrize(
    ("columns", "rows", "more", "size_max"),
    [
        (["n"], [[1]] * 49, {}, PLENTY),
        (["n", "p"], [[1, "1.00"]] * 60, {"added": ("p",)}, PLENTY),
        (["n", "t"], [[1, "\ud800"]] * 60, {}, PLENTY),
        (["n", "t"], [[1, "x" * 100]] * 60, {}, 60 * 111),
    ],
    ids=["few", "differences", "half a character", "larger than a message"],
)
def test_some_rows_are_better_literals(columns, rows, more, size_max):
    assert parameters_of(job_of([NAMED[name] for name in columns], rows, **more), size_max) is None


OTHERS = [
    *(column(name) for name in ("bit", "year", "float", "set", "uuid", "inet6", "point", "vector")),
    column("char"),  # UUIDs of other systems, kept as bytes
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda column: column.data_type)
def test_columns_whose_parameters_would_be_read_otherwise_are_literals(other):
    assert not takes(other)
    assert all(map(takes, NAMED.values()))

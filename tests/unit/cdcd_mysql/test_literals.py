"""Values as SQL literals: nothing can leave its quotes, nothing is rounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.model import ABSENT
from cdcd_mysql.charsets import charset
from cdcd_mysql.column_literals import encode_column
from cdcd_mysql.literals import UnfitError, literal
from cdcd_mysql.schema import LiveColumn

UTF8 = charset("utf8mb4")


INTEGER_TYPES = {"int": "integer(-2147483648,2147483647)", "tinyint": "integer(-128,127)", "bit": "integer(0,7)"}


def column(data_type, *, text=False, fraction=0, **facts):
    return LiveColumn(
        name="c",
        data_type=data_type,
        type=INTEGER_TYPES.get(data_type, ""),
        nullable=True,
        charset=UTF8 if text else None,
        collation="",
        has_default=False,
        is_generated=False,
        is_automatic=False,
        fraction_digits=fraction,
        **facts,
    )


MONEY = column("decimal", precision=6, scale=2)


def parse_text_literal(sql):
    """As the server reads it, with backslash escapes on."""
    assert sql[0] == sql[-1] == "'"
    out, place, body = [], 0, sql[1:-1]
    while place < len(body):
        if body[place] == "\\":
            out.append(body[place + 1])
            place += 2
        elif body[place] == "'":
            assert body[place + 1] == "'", "the literal ends early"
            out.append("'")
            place += 2
        else:
            out.append(body[place])
            place += 1
    return "".join(out)


@given(st.text())
def test_a_text_is_what_the_server_reads_back(text):
    assert parse_text_literal(literal(column("varchar", text=True), text)) == text


@given(st.binary())
def test_bytes_are_hexadecimal(raw):
    assert literal(column("blob"), raw) == f"x'{raw.hex()}'"


@pytest.mark.parametrize(
    ("target", "value", "sql"),
    [
        (column("int"), None, "NULL"),
        (column("int"), -5, "-5"),
        (column("tinyint"), True, "1"),
        (MONEY, "-1.50", "-1.50"),
        (MONEY, "1.5000", "1.5000"),
        (column("double"), 0.1, "0.1e0"),
        (column("double"), 1e300, "1e+300"),
        (column("timestamp", fraction=1), "2026-01-01 00:00:00.5Z", "'2026-01-01 00:00:00.5'"),
        (column("datetime"), "2026-01-01 00:00:00", "'2026-01-01 00:00:00'"),
        (column("varchar", text=True), 5, "'5'"),
        (column("binary", size=2), b"ab", "x'6162'"),
        (column("float"), 0.1, "0.10000000149011612e0"),
        (column("float"), 3.4028235e38, "3.4028234663852886e+38"),
        (column("float"), 1e-45, "1.401298464324817e-45"),
        (column("float"), -0.0, "-0.0e0"),
        (column("float", rounds_to=4), 1.2346, "1.2345999479293823e0"),
        (column("double", rounds_to=2), -12345.67, "-12345.67e0"),
        (column("year"), 0, "0"),
        (column("year"), 2155, "2155"),
        (column("bit"), 7, "7"),
        (MONEY, "0001234.5", "0001234.5"),
        (MONEY, -9999, "-9999"),
        (column("date"), "0000-00-00", "'0000-00-00'"),
        (column("time", fraction=2), "-838:59:58.99", "'-838:59:58.99'"),
        (column("time"), "24:00:00", "'24:00:00'"),
        (column("timestamp"), "0000-00-00 00:00:00Z", "'0000-00-00 00:00:00'"),
        (column("timestamp", instant_max="2106-02-07 06:28:15"), "2038-01-19 03:14:08Z", "'2038-01-19 03:14:08'"),
        (column("enum", labels=("a", "b,c", "?")), "b,c", "'b,c'"),
        (column("enum", labels=("a", "b,c", "?")), "😀", "'😀'"),
        (column("enum", labels=("", "a")), "", "''"),
        (column("set", labels=("a", "b")), "a,b", "'a,b'"),
        (column("set", labels=("a", "b")), "", "''"),
        (column("json", text=True), "[1.10]", "'[1.10]'"),
        (column("inet6"), "2001:db8::", "'2001:db8::'"),
        (column("inet4"), "10.0.0.1", "'10.0.0.1'"),
    ],
)
def test_values_have_the_literal_of_their_column(target, value, sql):
    assert literal(target, value) == sql


@pytest.mark.parametrize(
    ("target", "value", "code"),
    [
        (column("int"), "5 OR 1=1", "wrong-type"),
        (column("int"), ABSENT, "wrong-type"),
        (MONEY, "1.505", "too-precise"),
        (MONEY, "1); DROP TABLE t", "wrong-type"),
        (MONEY, "\u0661", None),
        (column("double"), float("inf"), "wrong-type"),
        (column("datetime", fraction=3), "2026-01-01 00:00:00.1234", "too-precise"),
        (column("char", text=True), "a ", "trailing-space"),
        (column("binary", size=4), b"a", "too-short"),
        (column("tinyint"), 128, "out-of-range"),
        (column("bit"), -1, "out-of-range"),
        (column("year"), 5, "out-of-range"),
        (column("year"), 1900, "out-of-range"),
        (column("year"), "2026", "wrong-type"),
        (MONEY, "10000.00", "out-of-range"),
        (MONEY, "NaN", "wrong-type"),
        (column("double", rounds_to=2), 1.005, "too-precise"),
        (column("double", keeps_negative_zero=False), -0.0, "bad-value"),
        (column("float"), 0.1 + 0.2, "too-precise"),
        (column("float"), 0.10000000149011612, "too-precise"),
        (column("float"), 1e39, "out-of-range"),
        (column("float", rounds_to=4), 1.23456, "too-precise"),
        (column("float"), float("nan"), "wrong-type"),
        (column("date"), "infinity", "bad-value"),
        (column("date"), "10000-01-01", "bad-value"),
        (column("date"), "0044-03-15 BC", "bad-value"),
        (column("datetime"), "2026-01-01 00:00:00Z", "bad-value"),
        (column("datetime"), b"2026-01-01 00:00:00", "wrong-type"),
        (column("timestamp"), "2026-01-01 00:00:00", "bad-value"),
        (column("timestamp"), "1970-01-01 00:00:00Z", "out-of-range"),
        (column("timestamp"), "2038-01-19 03:14:08Z", "out-of-range"),
        (column("timestamp", instant_max="2106-02-07 06:28:15"), "2106-02-07 06:28:16Z", "out-of-range"),
        (column("time"), "1000:00:00", "bad-value"),
        (column("enum", labels=("a", "b")), "2", "bad-value"),
        (column("enum", labels=("a", "b")), "B", "bad-value"),
        (column("enum", labels=("a", "b")), "", "bad-value"),
        (column("enum", labels=("a", "b")), 1, "wrong-type"),
        (column("set", labels=("a", "b")), "b,a", "bad-value"),
        (column("set", labels=("a", "b")), "a,a", "bad-value"),
        (column("set", labels=("a", "b")), "3", "bad-value"),
        (column("inet6"), "2001:DB8::", "bad-value"),
        (column("inet4"), "10.0.0", "bad-value"),
        (column("varchar", text=True), b"bytes", "wrong-type"),
        (column("blob"), "text", "wrong-type"),
    ],
)
def test_values_that_would_change_are_refused_with_their_place(target, value, code):
    with pytest.raises(UnfitError) as caught:
        encode_column(target, [None, value, value])
    assert caught.value.place == 1
    assert code is None or caught.value.code == code
    assert "1=1" not in str(caught.value)


def test_a_column_is_encoded_whole():
    assert encode_column(column("int"), [1, None, 3]) == ["1", "NULL", "3"]

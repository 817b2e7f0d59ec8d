"""Values as SQL literals: nothing can leave its quotes, nothing is rounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.model import ABSENT
from cdcd_mysql.charsets import charset
from cdcd_mysql.literals import UnfitError, encode_column, literal
from cdcd_mysql.schema import LiveColumn

UTF8 = charset("utf8mb4")


def column(data_type, *, text=False, fraction=0, scale=0, size=0):
    return LiveColumn(
        name="c",
        data_type=data_type,
        type="",
        nullable=True,
        charset=UTF8 if text else None,
        collation="",
        has_default=False,
        is_generated=False,
        is_automatic=False,
        fraction_digits=fraction,
        scale=scale,
        size=size,
    )


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
        (column("decimal", scale=2), "-1.50", "-1.50"),
        (column("decimal", scale=2), "1.5000", "1.5000"),
        (column("double"), 0.1, "0.1e0"),
        (column("double"), 1e300, "1e+300"),
        (column("timestamp", fraction=1), "2026-01-01 00:00:00.5Z", "'2026-01-01 00:00:00.5'"),
        (column("datetime"), "2026-01-01 00:00:00", "'2026-01-01 00:00:00'"),
        (column("varchar", text=True), 5, "'5'"),
        (column("binary", size=2), b"ab", "x'6162'"),
    ],
)
def test_values_have_the_literal_of_their_column(target, value, sql):
    assert literal(target, value) == sql


@pytest.mark.parametrize(
    ("target", "value", "code"),
    [
        (column("int"), "5 OR 1=1", "wrong-type"),
        (column("int"), ABSENT, "wrong-type"),
        (column("decimal", scale=2), "1.505", "too-precise"),
        (column("decimal", scale=2), "1); DROP TABLE t", "wrong-type"),
        (column("decimal", scale=2), "\u0661", None),
        (column("double"), float("inf"), "wrong-type"),
        (column("datetime", fraction=3), "2026-01-01 00:00:00.1234", "too-precise"),
        (column("char", text=True), "a ", "trailing-space"),
        (column("binary", size=4), b"a", "too-short"),
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

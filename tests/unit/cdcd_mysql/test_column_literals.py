"""Whole columns: what is encoded in one go is what value by value would give, and so is every refusal."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd_mysql import column_literals
from cdcd_mysql.charsets import charset
from cdcd_mysql.column_literals import encode_column
from cdcd_mysql.literals import UnfitError, literal
from cdcd_mysql.schema import LiveColumn

UTF8 = charset("utf8mb4")
DIGITS = st.text("0123456789-.,: Z", max_size=30)


def column(data_type, accepts="", *, text=False, fraction=0, **facts):
    return LiveColumn(
        name="c",
        data_type=data_type,
        type=accepts,
        nullable=True,
        charset=UTF8 if text else None,
        collation="",
        has_default=False,
        is_generated=False,
        is_automatic=False,
        fraction_digits=fraction,
        **facts,
    )


def moments(fraction, zone=""):
    return st.datetimes().map(lambda at: at.isoformat(" ")[: 20 + fraction].rstrip(".") + zone)


COLUMNS = [
    (column("int", "integer(-5,5)"), st.integers(-6, 6)),
    (column("bit", "integer(0,7)"), st.integers(-1, 8)),
    (column("year"), st.integers(1900, 2156)),
    (column("decimal", precision=5, scale=2), st.decimals(-2000, 2000, places=3).map(str)),
    (column("decimal", precision=5, scale=0), st.from_regex(r"-?[0-9]{1,6}(\.0{1,3})?", fullmatch=True)),
    (column("decimal", precision=2, scale=2), st.decimals(0, 1, places=2).map(str)),
    (column("double"), st.floats()),
    (column("double", keeps_negative_zero=False), st.floats(width=16)),
    (column("double", rounds_to=2), st.floats(width=16)),
    (column("float"), st.floats(width=32)),
    (column("date"), st.dates().map(str)),
    (column("time", fraction=1), st.from_regex(r"-?[0-9]{1,3}:[0-5]?[0-9]:[0-6][0-9](\.[0-9]{1,2})?", fullmatch=True)),
    (column("datetime", fraction=3), moments(3)),
    (column("datetime"), moments(0)),
    (column("timestamp", fraction=6), moments(6, "Z")),
    (column("char", text=True), st.text("a' \\", max_size=4)),
    (column("char"), st.binary(max_size=4)),
    (column("varchar", text=True), st.text()),
    (column("json", text=True), st.text()),
    (column("uuid"), st.uuids().map(str)),
    (column("enum", labels=("a", "b")), st.sampled_from(["a", "b", "c", "A"])),
    (column("set", labels=("a", "b")), st.sampled_from(["", "a", "a,b", "b,a"])),
    (column("inet4"), st.ip_addresses(v=4).map(str)),
    (column("binary", size=2), st.binary(min_size=1, max_size=2)),
    (column("blob"), st.binary()),
]
STRANGERS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=3), DIGITS)


def one_by_one(target, values):
    literals = []
    for place, value in enumerate(values):
        try:
            literals.append(literal(target, value))
        except UnfitError as error:
            return error.code, f"column {target.name}: {error.cause}", place
    return literals


def whole(target, values):
    try:
        return encode_column(target, values)
    except UnfitError as error:
        return error.code, error.cause, error.place


@pytest.mark.parametrize(("target", "usual"), COLUMNS, ids=lambda part: getattr(part, "data_type", None))
@given(data=st.data())
def test_a_column_in_one_go_is_as_value_by_value(target, usual, data):
    values = data.draw(st.lists(usual | st.none(), max_size=5) | st.lists(usual | STRANGERS, max_size=5))
    assert whole(target, values) == one_by_one(target, values)


@pytest.mark.parametrize(
    ("target", "values"),
    [
        (column("decimal", precision=9, scale=2), ["1,2", "3"]),
        (column("decimal", precision=9, scale=2), ["1.5\n"]),
        (column("date"), ["2026-01-01,2026-01-02"]),
        (column("date"), [""]),
        (column("int", "integer(0,9)"), [True, 5]),
        (column("double"), [math.inf]),
    ],
)
def test_a_value_that_only_looks_like_several_is_seen(target, values):
    assert whole(target, values) == one_by_one(target, values)


def test_usual_columns_are_not_looked_at_value_by_value(monkeypatch):
    def never(*_):
        raise AssertionError("a call for each value")

    monkeypatch.setattr(column_literals, "_one_by_one", never)
    usual = {
        column("bigint", "integer(-9,9)"): [1, None, -3],
        column("decimal", precision=12, scale=4): ["1.5000", "-7", None],
        column("datetime", fraction=6): ["2026-01-01 00:00:00.000001", "2026-01-01 00:00:00"],
        column("timestamp"): ["2026-01-01 00:00:00Z"],
        column("varchar", text=True): ["it's", None, "a\\b", "ü€😀"],
        column("enum", labels=("a",)): ["a", "a"],
        column("double"): [1.0, 1e300],
        column("blob"): [b"", b"\x00"],
    }
    for target, values in usual.items():
        assert len(encode_column(target, values)) == len(values)

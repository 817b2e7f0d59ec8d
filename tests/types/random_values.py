"""Random canonical values of a column's type, and how SQL writes them."""

import datetime as dt
import json
import math

from hypothesis import strategies as st

from cases import TypeCase
from cdcd.model import Value
from cdcd.values import ValueType, parse_type

_LABELLED = ("enum", "set", "mood")
_TIMESTAMPS = (dt.datetime.fromisoformat("1970-01-01 00:00:01"), dt.datetime.fromisoformat("2038-01-19 03:14:07"))


def values(case: TypeCase, server: str) -> st.SearchStrategy[str]:
    """SQL literals of a column's values: its samples, and random ones where its type has a simple rule."""
    samples = st.sampled_from([sample.literal_sql for sample in case.samples])
    kind = parse_type(case.canonical)
    plain = not case.ddl.startswith(_LABELLED) and "character set" not in case.ddl and "(7," not in case.ddl
    random = _random(case, kind, server) if plain else None
    return samples if random is None else samples | random.map(lambda value: literal(value, server))


def literal(value: Value, server: str) -> str:
    """A value as SQL text. PostgreSQL reads it by the type of its column."""
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'" if server == "postgres" else f"x'{value.hex()}'"
    if isinstance(value, float):
        return (
            f"'{value!r}'"
            if server == "postgres"
            else f"{value!r}".replace("inf", "1e400") + "e0" * ("e" not in repr(value))
        )
    text = str(value).replace("'", "''")
    return f"'{text}'" if server == "postgres" else "'" + text.replace("\\", "\\\\") + "'"


def _random(case: TypeCase, kind: ValueType, server: str) -> st.SearchStrategy[Value] | None:  # noqa: C901 (a table)
    match kind.kind:
        case "boolean":
            return st.booleans()
        case "integer" if not case.ddl.startswith("year"):
            return st.integers(kind.number(0), kind.number(1))
        case "decimal":
            return _decimals(kind)
        case "float":
            return _floats(kind, is_positive="unsigned" in case.ddl)
        case "text":
            return _texts(kind, server)
        case "bytes" if case.ddl.startswith(("bytea", "varbinary", "blob")):
            return st.binary(max_size=min(kind.number(0) or 20, 20))
        case "date":
            return st.dates().map(str)
        case "datetime" | "instant" | "time":
            return _moments(kind, server)
        case "uuid":
            return st.uuids().map(str)
        case "json":
            return _JSON
    return None


def _decimals(kind: ValueType) -> st.SearchStrategy[Value]:
    precision, scale = kind.number(0) or 60, kind.number(1) or 0
    if not kind.arguments:
        return st.tuples(st.integers(-(10**60), 10**60), st.integers(-40, 40)).map(lambda pair: f"{pair[0]}e{pair[1]}")
    return st.integers(0, 10**precision - 1).map(lambda digits: f"{digits}e{-scale}")


def _floats(kind: ValueType, *, is_positive: bool) -> st.SearchStrategy[Value]:
    return st.floats(
        min_value=0 if is_positive else None,
        width=32 if kind.number(0) == 24 else 64,
        allow_nan=not kind.has("finite"),
        allow_infinity=not kind.has("finite"),
    )


def _texts(kind: ValueType, server: str) -> st.SearchStrategy[Value]:
    limit = kind.number(0)
    nul = "\0" if server == "postgres" else ""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters=nul)
    return st.text(characters, max_size=20 if limit is None else min(limit, 20))


def _moments(kind: ValueType, server: str) -> st.SearchStrategy[Value]:
    digits = kind.number(0) or 0

    def text(moment: dt.datetime) -> str:
        fraction = f"{moment.microsecond:06d}"[:digits].rstrip("0")
        return (
            moment.strftime("%Y").zfill(4) + moment.strftime("-%m-%d %H:%M:%S") + (f".{fraction}" if fraction else "")
        )

    if kind.kind == "time":
        return st.datetimes().map(lambda moment: text(moment)[11:])
    if kind.kind == "instant" and server != "postgres":
        return st.datetimes(*_TIMESTAMPS).map(text)
    return st.datetimes().map(lambda moment: text(moment) + ("Z" if kind.kind == "instant" else ""))


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False).filter(math.isfinite)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
).map(json.dumps)

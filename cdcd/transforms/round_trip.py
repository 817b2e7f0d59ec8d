"""Whether a field's values come back through its transforms: tried with samples of its type, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from cdcd.config_columns import Column
from cdcd.conversions import stand_in_test, to_column, to_field
from cdcd.numeric import fit_decimal
from cdcd.transforms import chain, maps
from cdcd.transforms.step import DECIMAL, TEXT
from cdcd.type_pairs import column_text
from cdcd.values import ValueRefused, ValueType

_DIGITS_WHERE_NOT_STATED: Final = 6
_LENGTH_WHERE_NOT_STATED: Final = 1000
_TEXTS: Final = {
    "the empty text": "",
    "a text of one letter": "a",
    "a text of several words": "Ab cD eF",
    "a text with white space at its ends": " a\t",
    "a text of blanks": "  ",
    "a text with letters beyond ASCII": "Äß İŉ ﬁ 日本",
    "a text with combining characters": "e\u0301",
    "a text with quotes and signs": "'\"\\%_{}\n",
    "a text that looks like a number": "0",
    "a text that looks like NULL": "NULL",
}
_EDGES: Final = frozenset(["a number of many digits", "the highest", "the lowest", "the longest text", "the last date"])
_BY_KIND: Final[dict[str, dict[str, Any]]] = {
    "boolean": {"true": True, "false": False},
    "bytes": {"no bytes": b"", "bytes that are no text": b"\x00\xff"},
    "float": {"zero": 0.0, "a fraction": -0.1, "a large number": 1e300},
    "date": {"a date": "2026-11-22", "the first date": "0001-01-01", "the last date": "9999-12-31"},
    "uuid": {"a uuid": "00000000-0000-4000-8000-00000000000a"},
    "json": {"an object": '{"a":[1,"b",null]}', "JSON's null": "null"},
}
_DAYS: Final = {
    "a time": "2026-11-22 23:59:59",
    "a midnight": "2024-02-29 00:00:00",
    "an early time": "1000-01-01 00:00:00",
}


def losses(field: ValueType, column: Column) -> Iterator[str]:
    """The kinds of values that do not come back as they were, are not refused, and are not stated to be replaced.

    Raises ValueError where no chain can be made at all. What the column's type will be is not known yet: the one that
    the transforms ask for is taken.
    """
    column_type, steps = ideal_type(field, column), chain.written_steps(column)
    if column.is_read_only:
        return
    inward = chain.reading(steps, column_type, field)  # of a part of a column, `groups` tells whether it is whole again
    outward = chain.writing(steps, field, column_type)
    stands_in = stand_in_test(field, column_type, column)
    for what, value in samples(field, column):
        try:
            written = outward.of(value)
        except ValueRefused:
            continue
        try:
            came_back = inward.of(written)
        except ValueRefused as refused:
            if what in _EDGES:
                continue  # it is refused when it is to be written
            yield f"{what} is written, but cannot be read again ({refused.cause or refused.what})"
            continue
        if came_back != value and (stands_in is None or not stands_in(came_back, value)):
            yield f"{what} comes back as another value"


def ideal_type(field: ValueType, column: Column) -> ValueType:
    """A type of the column that suits the transforms. Raises ValueError when none does, with the reason."""
    steps = chain.steps_of(column)
    wanted = TEXT if column.join is not None or not steps else chain.wants(steps[0])
    candidates = (TEXT, field) if wanted is None else (wanted,)
    refusal: ValueError | None = None
    for candidate in candidates:
        try:
            to_field(candidate, field, column)
            if not column.is_read_only:
                to_column(field, candidate, column)
        except ValueError as error:
            refusal = refusal or error
        else:
            return candidate
    assert refusal is not None
    raise refusal


def samples(field: ValueType, column: Column) -> Iterator[tuple[str, Any]]:
    """Values of a field, each with words for its kind: the edges of the type, and what the configuration names."""
    yield "NULL", None
    yield from _of_type(field).items()
    for step in chain.steps_of(column):
        named = [*maps.named_values(step), *(column_text(v) for v in (*step.nulls, step.null_means) if v is not None)]
        convert = chain.reading((), TEXT, field).convert if field.kind not in ("float", "boolean") else None
        for text in named:
            if convert is not None:
                try:
                    yield "a value that the transform names", convert(text)
                except ValueRefused:
                    continue


def _of_type(field: ValueType) -> dict[str, Any]:
    if field.kind == "text":
        return _texts(field)
    if field.kind == "integer":
        low, high = field.number(0), field.number(1)
        low, high = -(2**63) if low is None else low, 2**63 - 1 if high is None else high
        named = {
            "zero": 0,
            "one": 1,
            "a negative number": -1,
            "an odd number": 12345,
            "the lowest": low,
            "the highest": high,
        }
        return {what: value for what, value in named.items() if low <= value <= high}
    if field.kind == "decimal":
        return _decimals(field)
    if field.kind == "enum":
        return {f"the member {member!r}": member for member in field.arguments}
    if field.kind == "time":
        return {what: text[11:] for what, text in _DAYS.items()}
    if field.kind in ("datetime", "instant"):
        zone = "Z" if field.kind == "instant" else ""
        fraction = {} if field.number(0) == 0 else {"a fraction of a second": f"2026-11-22 12:00:00.5{zone}"}
        return {what: text + zone for what, text in _DAYS.items()} | fraction
    return _BY_KIND.get(field.kind, {})


def _texts(field: ValueType) -> dict[str, Any]:
    limit = field.number(0) or _LENGTH_WHERE_NOT_STATED
    named = {**_TEXTS, "the longest text": "x" * limit}
    return {what: text for what, text in named.items() if len(text) <= limit}


def _decimals(field: ValueType) -> dict[str, Any]:
    precision, scale = field.number(0), field.number(1)
    digits = max(0, _DIGITS_WHERE_NOT_STATED if scale is None else scale)
    whole = max(0, (2 * digits if precision is None else precision) - digits)
    smallest = "0." + "1".rjust(digits, "0") if digits else "1"
    highest = ("9" * whole or "0") + ("." + "9" * digits if digits else "")
    named = {
        "zero": "0",
        "one": "1",
        "a negative number": "-1",
        "the smallest fraction": smallest,
        "a negative fraction": f"-{smallest}",
        "a number of many digits": highest,
        "a half": "2.5",
    }
    fit = fit_decimal(DECIMAL, field)
    found = {}
    for what, text in named.items():
        try:
            found[what] = fit(text)
        except ValueRefused:
            continue
    return found

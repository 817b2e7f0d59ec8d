"""What a column of a canonical type can hold (see `cdcd.values`)."""

from __future__ import annotations

import functools
from typing import Final

from cdcd.model import ABSENT, ColumnShape, Value
from cdcd.values import ValueType, parse_type

FORMS: Final[dict[str, type]] = {"boolean": bool, "integer": int, "float": float, "bytes": bytes}
"""The Python type of a kind; all other kinds are text."""

SIZED: Final = frozenset({"integer", "decimal", "text", "bytes"})
"""The kinds whose arguments are limits."""


_parse = functools.cache(parse_type)


class Violation(Exception):
    """The server refuses a change, as it would an application's. The message holds no values."""


def check_value(column: ColumnShape, value: Value) -> None:
    """Raise Violation when the column cannot hold the value exactly."""
    if value is None:
        if not column.nullable:
            raise Violation(f"column {column.name} is not nullable")
        return
    spec = _parse(column.type)
    if value is ABSENT or type(value) is not FORMS.get(spec.kind, str):
        raise Violation(f"column {column.name} is {spec}, not {type(value).__name__}")
    if not _fits(spec, value):
        raise Violation(f"column {column.name} cannot hold the value: it is {spec}")


def _fits(spec: ValueType, value: Value) -> bool:
    if spec.kind == "enum":
        return value in spec.arguments
    if spec.kind not in SIZED or not spec.arguments:
        return True
    first, second = spec.number(0), spec.number(1)
    assert first is not None
    if isinstance(value, int):
        return value >= first and (second is None or value <= second)
    assert isinstance(value, str | bytes)
    if isinstance(value, bytes) or spec.kind == "text":
        return len(value) <= first
    whole, _, fraction = value.lstrip("-").partition(".")
    return len(fraction) == second and len(whole.lstrip("0")) <= first - second

"""Canonical values to PostgreSQL's text input: single parameters, array literals. Pure.

Whole columns are encoded at once, so that a column of plain texts or integers costs no Python call per value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cdcd.model import Row, Value

_TEXTS: Final[dict[type, Callable[[Any], str]]] = {
    bool: lambda value: "t" if value else "f",
    bytes: lambda value: "\\x" + value.hex(),
    float: repr,
    int: str,
    str: lambda value: value,
}
_PLAIN: Final = frozenset({bool, float, int})
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})


def text_of(value: Value) -> str | None:
    """One value as a text parameter."""
    return None if value is None else _TEXTS[type(value)](value)


def array_literal(values: Sequence[Value]) -> str:
    """The text of a text[] (PostgreSQL documentation, "Array Input and Output Syntax"), every element quoted."""
    texts = _texts(values)
    if None not in texts:
        return '{"' + '","'.join(texts) + '"}' if texts else "{}"  # type: ignore[arg-type]
    return "{" + ",".join("NULL" if text is None else f'"{text}"' for text in texts) + "}"


def transpose(rows: Sequence[Row], picked: Sequence[int] | None = None) -> list[Sequence[Value]]:
    """Rows to columns; with `picked` only those columns."""
    columns: list[Sequence[Value]] = list(zip(*rows, strict=True))
    return columns if picked is None else [columns[number] for number in picked]


def _texts(values: Sequence[Value]) -> Sequence[str | None]:
    """The texts of a column, quotes and backslashes escaped."""
    kinds = set(map(type, values))
    if len(kinds) == 1 and not kinds.isdisjoint(_PLAIN):
        return list(map(_TEXTS[kinds.pop()], values))
    if kinds == {str}:
        texts: Sequence[Any] = values
    else:
        texts = [None if value is None else _TEXTS[type(value)](value) for value in values]
    together = "".join(filter(None, texts))
    if '"' not in together and "\\" not in together:
        return texts
    return [None if text is None else text.translate(_ESCAPES) for text in texts]

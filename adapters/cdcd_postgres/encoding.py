"""Canonical values to PostgreSQL's text input: single parameters, array literals, COPY's text format. Pure.

Whole columns are encoded at once, so that a column of plain texts or integers costs no Python call per value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, Final

from cdcd.model import Row, Value

_TEXTS: Final[dict[type, Callable[[Any], str]]] = {
    bool: lambda value: "t" if value else "f",
    bytes: lambda value: "\\x" + value.hex(),
    float: repr,
    int: str,
    str: lambda value: value,
}
_PLAIN: Final = frozenset({bool, float, int, NoneType})
"""Types whose texts hold nothing that would have to be escaped."""
_BETWEEN: Final = "\x00"
"""Joins a column's texts while they are escaped: no text that PostgreSQL stores holds it."""
_ARRAY_ESCAPES: Final = {"\\": "\\\\", '"': '\\"'}
_COPY_ESCAPES: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
"""Of COPY's text format; the backslash comes first."""


def text_of(value: Value) -> str | None:
    """One value as a text parameter."""
    return None if value is None else _TEXTS[type(value)](value)


def array_literal(values: Sequence[Value]) -> str:
    """The text of a text[] (PostgreSQL documentation, "Array Input and Output Syntax"), every element quoted."""
    if not values:
        return "{}"
    kinds = set(map(type, values))
    texts = _escaped(_texts(values, kinds), kinds, _ARRAY_ESCAPES)
    if NoneType not in kinds:
        return '{"' + '","'.join(texts) + '"}'  # type: ignore[arg-type]
    return "{" + ",".join(["NULL" if text is None else f'"{text}"' for text in texts]) + "}"


def copy_text(columns: Sequence[Sequence[Value]]) -> bytes:
    """Rows, given as columns, as COPY reads them (PostgreSQL documentation, "COPY", "Text Format").

    Raises UnicodeEncodeError for half of a surrogate pair. A text with U+0000 is for the server to refuse.
    """
    return ("\n".join(map("\t".join, zip(*map(_copy_fields, columns), strict=True))) + "\n").encode()


def transpose(rows: Sequence[Row], picked: Sequence[int] | None = None) -> list[Sequence[Value]]:
    """Rows to columns; with `picked` only those columns."""
    columns: list[Sequence[Value]] = list(zip(*rows, strict=True))
    return columns if picked is None else [columns[number] for number in picked]


def _copy_fields(values: Sequence[Value]) -> Sequence[str]:
    kinds = set(map(type, values))
    texts = _escaped(_texts(values, kinds), kinds, _COPY_ESCAPES)
    if NoneType not in kinds:
        return texts  # type: ignore[return-value]
    return ["\\N" if text is None else text for text in texts]


def _texts(values: Sequence[Value], kinds: set[type]) -> Sequence[str | None]:
    if kinds == {str}:
        return values  # type: ignore[return-value]
    if len(kinds) == 1 and NoneType not in kinds:
        return list(map(_TEXTS[next(iter(kinds))], values))
    if kinds <= {str, NoneType}:
        return values  # type: ignore[return-value]
    return [None if value is None else _TEXTS[type(value)](value) for value in values]


def _escaped(texts: Sequence[str | None], kinds: set[type], escapes: dict[str, str]) -> Sequence[str | None]:
    """A column's texts, escaped: all in one text, which takes a tenth of the time of doing it one by one."""
    if kinds <= _PLAIN:
        return texts
    together = _BETWEEN.join(texts) if NoneType not in kinds else _BETWEEN.join([text or "" for text in texts])  # type: ignore[arg-type]
    found = [character for character in escapes if character in together]
    if not found:
        return texts
    if together.count(_BETWEEN) != len(texts) - 1:
        table = str.maketrans(escapes)
        return [text and text.translate(table) for text in texts]
    for character in found:
        together = together.replace(character, escapes[character])
    if NoneType not in kinds:
        return together.split(_BETWEEN)
    return [None if text is None else escaped for text, escaped in zip(texts, together.split(_BETWEEN), strict=True)]

"""Applies what MySQL logs of a JSON column with binlog_row_value_options=PARTIAL_JSON to the document before it. Pure.

Format: MySQL source, sql-common/json_diff.cc, Json_diff_vector::read_binary: operation, path, and but for REMOVE the
new value as binary JSON, one after another. Paths are those of the JSON functions ($.key."any key"[3]).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from cdcd_mysql.jsonb import JsonTree, json_tree, tree_text
from cdcd_mysql.wire import Reader

_REPLACE, _INSERT, _REMOVE = range(3)
_LEG: Final = re.compile(
    r'\s*(?:\.\s*("(?:[^"\\]|\\.)*"|[^\s.\["]+)|\[\s*(\d+|last(?:\s*-\s*\d+)?)\s*\])\s*', re.DOTALL
)


def apply_diffs(document: bytes, diffs: bytes) -> str:
    """The text of `document` (binary JSON) after `diffs`. Raises ValueError, KeyError or IndexError when they do not fit."""
    root: list[JsonTree] = [json_tree(document)]
    reader = Reader(diffs)
    while reader.left:
        operation, path = reader.integer(1), reader.string().decode()
        if operation > _REMOVE:
            raise ValueError("JSON difference of unknown kind")
        value = "" if operation == _REMOVE else json_tree(reader.string())
        _apply(root, operation, [0, *_legs(path)], value)
    return tree_text(root[0])


def _legs(path: str) -> Iterator[str | int]:
    """The steps of a path: keys and places. A negative place counts from the end."""
    if not path.startswith("$"):
        raise ValueError("JSON path without its start")
    place = 1
    while place < len(path):
        match = _LEG.match(path, place)
        if match is None:
            raise ValueError("JSON path that is not understood")
        place = match.end()
        key, index = match.groups()
        if key is not None:
            yield msgspec.json.decode(key, type=str) if key.startswith('"') else key
        elif index.isdigit():
            yield int(index)
        else:
            yield -1 - int(index.removeprefix("last").strip().removeprefix("-").strip() or 0)


def _apply(root: list[JsonTree], operation: int, legs: list[str | int], value: JsonTree) -> None:
    parent: JsonTree = root
    for leg in legs[:-1]:
        parent = _child(parent, leg)
    last = legs[-1]
    if operation == _INSERT:
        _insert(parent, last, value)
        return
    _child(parent, last)  # it must be there
    if operation == _REPLACE:
        parent[last] = value  # type: ignore[index]
    else:
        del parent[last]  # type: ignore[arg-type,union-attr]


def _child(parent: JsonTree, leg: str | int) -> JsonTree:
    if isinstance(parent, dict) and isinstance(leg, str):
        return parent[leg]
    if isinstance(parent, list) and isinstance(leg, int):
        return parent[leg]
    raise ValueError("JSON path that does not lead anywhere")


def _insert(parent: JsonTree, leg: str | int, value: JsonTree) -> None:
    """A new member of an object, or an element before the one at that place; behind the end it is appended."""
    if isinstance(parent, dict) and isinstance(leg, str):
        if leg in parent:
            raise ValueError("JSON member that is there already")
        parent[leg] = value
    elif isinstance(parent, list) and isinstance(leg, int):
        parent.insert(leg, value)
    else:
        _child(parent, leg)  # raises

"""Value maps that are kept in files of their own: read with the configuration, so that the daemon runs on what was checked.

A map file is CSV in UTF-8 with a line of headings, `column,field` or `column,field,way`. `way` is empty, or says that a line
counts for "read" or for "write" only: so several column values may mean one field value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from cdcd import config as c
from cdcd import config_columns as cc
from cdcd.errors import ConfigError

_HEADINGS: Final = (["column", "field"], ["column", "field", "way"])
_WAYS: Final = ("", "read", "write")
_Bound = TypeVar("_Bound", c.Binding, c.ChildBinding)
_Stated = TypeVar("_Stated", cc.Transform, cc.Column)


def with_map_files(config: c.Config, directory: Path) -> c.Config:
    """The configuration with the content of every `map-file`, whose paths begin in `directory`. Raises ConfigError."""
    entities = {}
    for name, entity in config.entities.items():
        bindings = {system: _binding(binding, directory) for system, binding in entity.bindings.items()}
        entities[name] = msgspec.structs.replace(entity, bindings=bindings)
    return msgspec.structs.replace(config, entities=entities)


def _binding(binding: c.Binding, directory: Path) -> c.Binding:
    children = {name: _columns(child, directory) for name, child in binding.children.items()}
    return msgspec.structs.replace(_columns(binding, directory), children=children)


def _columns(binding: _Bound, directory: Path) -> _Bound:
    columns = {
        field: column if isinstance(column, str) else _column(column, directory)
        for field, column in binding.columns.items()
    }
    return msgspec.structs.replace(binding, columns=columns)


def _column(column: cc.Column, directory: Path) -> cc.Column:
    steps = [_filled(step, directory) for step in column.steps]
    return msgspec.structs.replace(_filled(column, directory), steps=steps)


def _filled(stated: _Stated, directory: Path) -> _Stated:
    if stated.map_file is None:
        return stated
    read, write = read_map(directory / stated.map_file)
    return msgspec.structs.replace(stated, map=stated.map or read, write={**write, **stated.write})


def read_map(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What column values mean, and what is written for field values that several mean or none. Raises ConfigError."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"map-file {path}: cannot be read",
            cause=str(error.strerror),
            remedy="a relative path begins in the directory of the configuration file",
            code="map-file",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"map-file {path}: is not UTF-8", remedy="save it as UTF-8", code="map-file") from error
    lines = list(_lines(path, text))
    read = {column: field for _, column, field, way in lines if way != "write"}
    return read, dict(_ways_back(path, lines, read))


_Line = tuple[int, str, str, str]


def _lines(path: Path, text: str) -> Iterator[_Line]:
    rows = csv.reader(text.splitlines(), strict=True)
    headings: list[str] | None = None
    seen: dict[str, int] = {}
    try:
        for cells in rows:
            if not cells:
                continue
            if headings is None:
                headings = [cell.strip() for cell in cells]
                if headings not in _HEADINGS:
                    raise _mistake(path, rows.line_num, "the first line is not column,field or column,field,way")
                continue
            yield _line(path, rows.line_num, cells, headings, seen)
    except csv.Error as error:
        raise _mistake(path, rows.line_num, str(error)) from error
    if headings is None:
        raise _mistake(path, 1, "it is empty; the first line must be column,field or column,field,way")


def _line(path: Path, number: int, cells: list[str], headings: list[str], seen: dict[str, int]) -> _Line:
    if len(cells) != len(headings):
        raise _mistake(path, number, f"it has {len(cells)} cells, the first line has {len(headings)}")
    column, field, way = (*cells, "")[:3]
    if way not in _WAYS:
        raise _mistake(path, number, f"way is {way!r}; leave it empty, or write read or write")
    if way != "write" and seen.setdefault(column, number) != number:
        raise _mistake(path, number, f"column value {column!r} is already in line {seen[column]}")
    return number, column, field, way


def _ways_back(path: Path, lines: list[_Line], read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The field values for which the map read backwards does not say what is written."""
    found: dict[str, tuple[int, str]] = {}
    for number, column, field, way in lines:
        if way == "read":
            continue
        if field in found:
            raise _mistake(
                path,
                number,
                f"{field!r} would be written as here or as in line {found[field][0]}; mark one of them read",
            )
        found[field] = (number, column)
    for number, _, field, _ in lines:
        if field not in found:
            raise _mistake(path, number, f"nothing would be written for {field!r}; leave way empty in one of its lines")
    means = list(read.values())
    for field, (_, column) in found.items():
        if means.count(field) != 1 or read.get(column) != field:
            yield field, column


def _mistake(path: Path, line: int, what: str) -> ConfigError:
    return ConfigError(
        f"map-file {path}:{line}: {what}", remedy="correct the file, then run 'cdcd check'", code="map-file"
    )

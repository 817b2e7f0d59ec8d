"""Every example of docs/transforms.md does what the page says."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from cdcd.config_columns import Column
from cdcd.conversions import stand_in_test, to_column, to_field
from cdcd.transforms import chain
from cdcd.transforms.groups import from_minor_units, joined, parted, to_minor_units, whole
from cdcd.transforms.texts import token
from cdcd.values import ValueRefused, parse_type

PAGE = (Path(__file__).parents[3] / "docs" / "transforms.md").read_text("utf-8")
EXAMPLE = re.compile(r"```toml\n(?P<toml>[^`]*)```\n<!-- example: (?P<kind>.*?) -->\n\n(?P<table>(\|.*\n)+)")
REFUSED = object()


class Row(NamedTuple):
    column: Any
    field: Any
    written: Any
    is_told_apart: bool
    currency: Any = None


def examples() -> Iterator[Any]:
    for match in EXAMPLE.finditer(PAGE):
        columns = {
            name: msgspec.convert(raw, Column)
            for name, raw in tomllib.loads(match["toml"]).items()
            if isinstance(raw, dict)
        }
        headings, _, *lines = [line.strip("|\n").split(" | ") for line in match["table"].splitlines()]
        assert headings[-1].strip() == "written"
        for cells in lines:
            first, *others = [cell.strip() for cell in cells]
            currency = cell(others.pop(0)) if len(headings) == 4 else None
            field, written = others
            row = Row(
                cell(first), cell(field), cell(written.removesuffix(" (told apart)")), "told" in written, currency
            )
            yield pytest.param(columns, match["kind"], row, id=f"{match['kind']}: {first or field}")


def cell(text: str) -> Any:
    """A value as the page shows it; None is "nothing is said"."""
    if text in ("", "refused"):
        return REFUSED if text else ...
    return json.loads(text.strip("`").replace("NULL", "null"))


def outcome(convert: Callable[[], Any]) -> Any:
    try:
        return convert()
    except ValueRefused:
        return REFUSED


@pytest.mark.parametrize(("columns", "kind", "row"), list(examples()))
def test_an_example_does_what_the_page_says(columns: dict[str, Column], kind: str, row: Row):
    read, write, stands_in = functions(columns, kind, row)
    if row.column is not ...:
        assert outcome(lambda: read(row.column)) == row.field
    if row.written is not ...:
        assert outcome(lambda: write(row.field)) == row.written
    if row.written not in (..., REFUSED) and kind != "join":
        came = read(row.written)
        assert (came != row.field) == row.is_told_apart
        assert not row.is_told_apart or stands_in(came, row.field)


def functions(columns: dict[str, Column], kind: str, row: Row) -> tuple[Any, Any, Any]:
    first, *others = columns.values()
    if kind == "join":
        return joined(first.join), parted(first.join), None
    if kind == "split":
        before, after = first.split, others[0].split
        return (
            lambda text: [None if text is None else token(part)(text) for part in (before, after)],
            lambda fields: whole(before, after)(*fields),
            None,
        )
    types = [parse_type(name) for name in kind.removesuffix(" by currency").split(" -> ")]
    if kind.endswith("by currency"):
        read, write = from_minor_units(*types), to_minor_units(*types[::-1])
        return lambda value: read(value, row.currency), lambda value: write(value, row.currency), None
    way_back = None if first.is_read_only else to_column(types[1], types[0], first).of
    return to_field(*types, first).of, way_back, stand_in_test(types[1], types[0], first)


def test_every_transform_has_its_example():
    shown = {
        kind
        for param in examples()
        for column in param.values[0].values()
        for step in (column, *column.steps)
        for kind in (*chain.kinds(step), *(name for name in ("join", "minor_units") if getattr(column, name)))
    }
    assert {*chain.KINDS, "join", "minor_units"} - shown == {"map_file"}
    assert "`constant`" in PAGE

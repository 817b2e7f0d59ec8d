"""Databases drawn by hand for the tests of proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdcd.init.picture import SystemPicture, TablePicture
from cdcd.model import ColumnShape, TableShape
from cdcd.reader import ForeignKey, TableFacts

INTEGER = "integer(-2147483648,2147483647)"


def table(
    name: str,
    columns: Mapping[str, str],
    rows: Sequence[Sequence[Any]] = (),
    *,
    unique: Sequence[tuple[str, ...]] = (),
    refers: Mapping[str, tuple[str, str]] | None = None,
    complete: bool = True,
) -> TablePicture:
    """A table whose first column is its id, numbered by the server. "!" behind a type: NOT NULL."""
    first = next(iter(columns))
    shapes = [
        ColumnShape(column, kind.rstrip("!"), not kind.endswith("!"), has_default=column == first)
        for column, kind in columns.items()
    ]
    shape = TableShape(name, tuple(shapes), (first,), ((first,), *unique))
    keys = tuple(ForeignKey((column,), *(to[0], (to[1],))) for column, to in (refers or {}).items())
    return TablePicture(
        TableFacts(shape, len(rows), keys), list(columns), [list(row) for row in rows], complete=complete, left_out={}
    )


def system(
    name: str, *tables: TablePicture, stored: Mapping[str, Sequence[Sequence[Any]]] | None = None
) -> SystemPicture:
    """A database. `stored` are rows that a fetch finds although the sample does not have them."""

    def fetch(
        table: str, columns: Sequence[str], key: Sequence[str], keys: Sequence[Sequence[object]]
    ) -> list[list[Any]]:
        at = list(columns).index(key[0])
        wanted = {one[0] for one in keys}
        return [list(row) for row in (stored or {}).get(table, ()) if row[at] in wanted]

    return SystemPicture(name, tables, fetch)

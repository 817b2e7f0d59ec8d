"""A table with what hangs on it one to one, as if it were one row: the parts that a binding can have. Pure, but for fetches.

Parts: the row that a column refers to (n:1), a table whose rows refer to this one at most once each (1:1), the same of such
a part, and tables of attributes, one row per name of an attribute (EAV).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, Final

import msgspec

from cdcd.init import names
from cdcd.init.picture import SystemPicture, TablePicture
from cdcd.model import Row
from cdcd.values import ValueType

ATTRIBUTES_MAX: Final = 40
ATTRIBUTE_ROWS_MIN: Final = 12
_ATTRIBUTE_SHARE_MIN: Final = 0.2


class PartPicture(msgspec.Struct, frozen=True):
    """A further table of a record. `options` are those of the configuration, without the table."""

    name: str
    table: str
    options: dict[str, Any]
    why: str


class WideColumn(msgspec.Struct, frozen=True):
    """A column of the main table ("code") or of a part ("template.name"). `values` stand beside the main table's rows."""

    name: str
    type: ValueType
    values: list[Any]
    part: str = ""
    attribute: str = ""

    @property
    def bare(self) -> str:
        """The name without the part; that of the attribute, where the column holds one."""
        return self.attribute or self.name.rpartition(".")[2]


class Wide(msgspec.Struct, frozen=True):
    """A table and its parts."""

    table: TablePicture
    columns: dict[str, WideColumn]
    parts: dict[str, PartPicture]


def widen(system: SystemPicture, table: TablePicture, entities: Collection[str]) -> Wide:
    """`table` with its parts; tables that are entities themselves are none."""
    own = {name: WideColumn(name, table.types[name], table.values(name)) for name in table.columns}
    wide = Wide(table, own, {})
    if table.id_column is None or not table.rows:
        return wide
    apart = {*entities, table.table}
    for part, of, rows in [*_referred(system, table, apart), *_referring(system, table, apart)]:
        _add(wide, part, of, rows)
    for part, rows in _attributes(system, table, apart):
        _add(wide, part, system.tables[part.table], rows)
    return wide


def _add(wide: Wide, part: PartPicture, of: TablePicture, rows: list[Row | None]) -> None:
    """Add a part's columns, but not those that only hold it together."""
    if part.name in wide.parts:
        return
    holding = {of.id_column, part.options.get("parent"), *part.options.get("where", {})}
    wide.parts[part.name] = part
    for at, name in enumerate(of.columns):
        if name not in holding:
            values = [None if row is None else row[at] for row in rows]
            full = f"{part.name}.{name}"
            alone = len(of.columns) - len(holding & {*of.columns}) == 1
            attribute = part.name if "where" in part.options and alone else ""
            wide.columns[full] = WideColumn(full, of.types[name], values, part.name, attribute)


def _referred(
    system: SystemPicture, table: TablePicture, apart: Collection[str]
) -> Iterator[tuple[PartPicture, TablePicture, list[Row | None]]]:
    """n:1, and what hangs one to one on those rows."""
    for key in table.foreign_keys:
        other = system.tables.get(key.table)
        if other is None or other.table in apart or len(key.columns) != 1 or key.columns[0] not in table.columns:
            continue
        if key.referred[0] not in other.columns or not other.rows:
            continue
        column = key.columns[0]
        rows = _first_rows(system, other, key.referred[0], table.values(column))
        name = _part_name([word for word in names.words(column) if word != "id"])
        part = PartPicture(name, other.table, {"at": column}, f"the row that {column} refers to")
        yield part, other, rows
        ids = table.values(column)
        for hung, parent in _satellites(system, other, apart):
            hung_name = _part_name([w for w in hung.words if w not in other.words] or hung.words)
            options = {"of": name, "parent": parent}
            why = f"one row for each of {other.table}"
            yield PartPicture(hung_name, hung.table, options, why), hung, _first_rows(system, hung, parent, ids)


def _referring(
    system: SystemPicture, table: TablePicture, apart: Collection[str]
) -> Iterator[tuple[PartPicture, TablePicture, list[Row | None]]]:
    assert table.id_column is not None
    if table.id_column not in table.columns:
        return
    for other, parent in _satellites(system, table, apart):
        name = _part_name([word for word in other.words if word not in table.words] or other.words)
        part = PartPicture(name, other.table, {"parent": parent}, f"at most one row for each of {table.table}")
        yield part, other, _first_rows(system, other, parent, table.values(table.id_column))


def _satellites(
    system: SystemPicture, table: TablePicture, apart: Collection[str]
) -> Iterator[tuple[TablePicture, str]]:
    """Tables whose rows refer to `table`, no two to the same row."""
    for other, key in system.referring(table.table):
        column = key.columns[0]
        if other.table not in apart and (other.is_unique([column]) or other.seems_unique([column])):
            yield other, column


def _first_rows(system: SystemPicture, table: TablePicture, column: str, values: list[Any]) -> list[Row | None]:
    found = system.rows_of(table, column, values)
    return [None if value is None or value not in found else found[value][0] for value in values]


def _part_name(parts: list[str] | tuple[str, ...]) -> str:
    return "_".join(dict.fromkeys(parts))[:31].strip("_") or "part"


def _attributes(
    system: SystemPicture, table: TablePicture, apart: Collection[str]
) -> Iterator[tuple[PartPicture, list[Row | None]]]:
    """EAV: rows of (parent, name of an attribute, its value). Each frequent name is a part of its own."""
    assert table.id_column is not None
    if table.id_column not in table.columns:
        return
    ids = table.values(table.id_column)
    for other, key in system.referring(table.table):
        named = None if other.table in apart else _attribute_name(other, key.columns[0])
        if named is None:
            continue
        rows = system.rows_of(other, key.columns[0], ids)
        at = other.columns.index(named)
        counts = Counter(row[at] for found in rows.values() for row in found)
        frequent = [name for name, n in counts.most_common(ATTRIBUTES_MAX) if n >= _ATTRIBUTE_SHARE_MIN * len(ids)]
        for attribute in frequent:
            part = _part_name(names.words(str(attribute)))
            options = {"parent": key.columns[0], "where": {named: attribute}}
            picked = [next((row for row in rows.get(value, ()) if row[at] == attribute), None) for value in ids]
            why = f"an attribute of its own row in {other.table}"
            yield PartPicture(part, other.table, options, why), picked


def _attribute_name(table: TablePicture, parent: str) -> str | None:
    """The column that names attributes: few different texts, hardly ever two alike for one parent."""
    if parent not in table.columns or len(table.rows) < ATTRIBUTE_ROWS_MIN:
        return None
    for column in table.columns:
        told = table.told(column)
        if table.types[column].kind not in ("text", "enum") or column == parent or len(told) < len(table.rows):
            continue
        pairs = len(set(zip(table.values(parent), told, strict=True)))
        if 2 <= len(set(told)) <= 0.25 * len(told) and pairs >= 0.9 * len(told):
            return column
    return None


def lift_keys(system: SystemPicture) -> None:
    """Give every table the texts of what hangs on it one to one: a customer's email may stand in a table of its own."""
    for table in system.tables.values():
        if table.id_column is None or not table.rows:
            continue
        wide = Wide(table, {}, {})
        hung = [part for part in _referring(system, table, {table.table}) if part[0].options.get("of") is None]
        for part, of, rows in hung:
            _add(wide, part, of, rows)
        for part, rows in _attributes(system, table, {table.table}):
            _add(wide, part, system.tables[part.table], rows)
        for column in wide.columns.values():
            if column.type.kind == "text" and len(set(column.values)) > 1:
                table.lift(column.name, column.type, column.values)

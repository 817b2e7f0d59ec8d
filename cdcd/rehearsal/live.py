"""What writes would change in a target as it is now: its rows are read by key and compared, value by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import Any, Final

import msgspec

from cdcd.folding.found_ids import hashable, key_parts
from cdcd.json_content import canonical_json
from cdcd.model import ABSENT, Lookup, Row, TableShape, TableWrite, Where, WriteKind
from cdcd.numeric import decimal_text, strip_zeros
from cdcd.reader import Reader
from cdcd.values import ValueRefused

UNKEYED_ROWS: Final = 1_000
"""So many rows are looked at where a lookup has neither key nor condition."""
NOTHING: Final = object()
"""Where a lookup finds no row: one that the same writes would make, perhaps."""


class RowChange(msgspec.Struct, frozen=True):
    """What would happen to one row. `columns` are (before, after) of those that change; `missing`: no such row to update."""

    kind: str
    columns: dict[str, tuple[Any, Any]] = {}


NO_CHANGE: Final = RowChange("equal")


class LiveTables:
    """One target's tables, read by key. Remembers what lookups have found."""

    def __init__(self, reader: Reader, shapes: Mapping[str, TableShape]) -> None:
        self._reader = reader
        self._shapes = shapes
        self._ids: dict[Lookup, dict[Any, Any]] = {}

    def changes(self, write: TableWrite) -> list[RowChange]:
        """What each row of a write would change, in the write's order."""
        if write.kind is WriteKind.CLEAR or not write.rows:
            return []
        rows = self._resolved(write)
        width = len(write.key)
        present = self._rows(write.table, write.columns, write.key, [row[:width] for row in rows], write.where)
        judge = _JUDGES[write.kind]
        return [judge(write, row, present.get(_key(row[:width])), self._equals(write)) for row in rows]

    def _resolved(self, write: TableWrite) -> list[list[Any]]:
        """The rows with ids in the place of business keys."""
        rows = [list(row) for row in write.rows]
        for lookup in write.lookups:
            at = write.columns.index(lookup.column)
            ids = self._look_up(lookup, [row[at] for row in rows])
            for row in rows:
                if row[at] is not None:
                    row[at] = ids.get(hashable(row[at]), NOTHING)
        return rows

    def _look_up(self, lookup: Lookup, values: Sequence[Any]) -> dict[Any, Any]:
        """The ids by business key (`hashable`), as far as there are such rows."""
        known = self._ids.setdefault(lookup, {})
        wanted = {hashable(value): value for value in values if value is not None and hashable(value) not in known}
        keys = dict(zip(wanted, self._key_values(lookup, list(wanted.values())), strict=True))
        possible = {name: parts for name, parts in keys.items() if None not in parts and NOTHING not in parts}
        order = [column for column, _ in lookup.first_by or ()]
        columns = [*lookup.key, lookup.id, *order, *(where.column for where in lookup.where)]
        width = len(lookup.key)
        found: dict[Any, list[Row]] = {}
        for row in self._candidates(lookup, columns, list(possible.values())) if possible else ():
            if _counts(row, columns, lookup.where) and row[width] is not None:
                found.setdefault(_key(row[:width]), []).append(row)
        for name, parts in possible.items():
            rows = found.get(_key(parts))
            if rows:
                known[name] = _first(rows, width, lookup.first_by or ())[width]
        return known

    def _key_values(self, lookup: Lookup, values: Sequence[Any]) -> list[list[Any]]:
        """What the key columns must hold, with ids in the place of keys that are looked up themselves."""
        keys = [list(key_parts(lookup, value)) for value in values]
        for inner in lookup.nested:
            at = lookup.key.index(inner.column)
            ids = self._look_up(inner, [parts[at] for parts in keys])
            for parts in keys:
                if parts[at] is not None:
                    parts[at] = ids.get(hashable(parts[at]), NOTHING)
        return keys

    def _candidates(self, lookup: Lookup, columns: Sequence[str], keys: Sequence[Sequence[Any]]) -> list[Row]:
        """Rows that a lookup may find: by its key, or where it has none, by its conditions."""
        if lookup.key:
            return self._reader.read_rows(lookup.table, columns, lookup.key, keys)
        told = [where for where in lookup.where if None not in where.values]
        if not told:
            return self._reader.sample(lookup.table, columns, UNKEYED_ROWS)
        values = [list(combination) for combination in product(*(where.values for where in told))]
        return self._reader.read_rows(lookup.table, columns, [where.column for where in told], values)

    def _rows(
        self,
        table: str,
        columns: Sequence[str],
        key: Sequence[str],
        keys: Sequence[Sequence[Any]],
        where: Sequence[Where],
    ) -> dict[Any, dict[str, Any]]:
        """Live rows by key. What has no id, or NULL in its key, is not there."""
        wanted = [list(one) for one in {_key(one): one for one in keys}.values()]
        wanted = [one for one in wanted if None not in one and NOTHING not in one]
        read = list(dict.fromkeys([*key, *columns, *(condition.column for condition in where)]))
        rows = self._reader.read_rows(table, read, key, wanted) if wanted else []
        return {_key(row[: len(key)]): dict(zip(read, row, strict=True)) for row in rows if _counts(row, read, where)}

    def _equals(self, write: TableWrite) -> Callable[[str, Any, Any], bool]:
        shape = self._shapes.get(write.table)
        types = {} if shape is None else {column.name: column.type for column in shape.columns}
        return lambda column, one, other: same(types.get(column, ""), one, other)


def same(kind: str, one: Any, other: Any) -> bool:
    """Whether a column of that type holds the same for both values."""
    if one == other or one is ABSENT or other is ABSENT:
        return True
    if one is None or other is None or one is NOTHING or other is NOTHING:
        return False
    if kind.startswith("json"):
        return bool(_content(one) == _content(other))
    if kind.startswith(("decimal", "integer")):
        return _plain_number(one) == _plain_number(other)
    return kind.startswith("text") and "padded" in kind and str(one).rstrip(" ") == str(other).rstrip(" ")


def _content(value: Any) -> Any:
    try:
        return canonical_json(value)
    except ValueRefused:
        return value


def _plain_number(value: Any) -> str:
    return strip_zeros(str(value)) if isinstance(value, str) and "N" not in value else str(value)


def _key(parts: Sequence[Any]) -> tuple[Any, ...]:
    """A key as servers compare it: texts in any case, without spaces at their end, numbers without zeros at theirs."""
    return tuple(part.casefold().rstrip(" ") if isinstance(part, str) else part for part in map(hashable, parts))


def _counts(row: Sequence[Any], columns: Sequence[str], where: Sequence[Where]) -> bool:
    return all(row[columns.index(condition.column)] in condition.values for condition in where)


def _first(rows: list[Row], after: int, first_by: Sequence[tuple[str, bool]]) -> Row:
    """The first in the order of the columns that follow the id; NULL comes last, the id decides at last."""
    ordered = sorted(rows, key=lambda row: repr(row[after]))
    for at, (_, descending) in reversed(list(enumerate(first_by, after + 1))):
        ordered.sort(key=lambda row, at=at: repr(row[at]), reverse=descending)  # type: ignore[misc]
        ordered.sort(key=lambda row, at=at: row[at] is None)  # type: ignore[misc]
    return ordered[0]


Live = dict[str, Any] | None
Equals = Callable[[str, Any, Any], bool]


def _upserted(write: TableWrite, row: list[Any], live: Live, equals: Equals) -> RowChange:
    if live is None:
        told = {name: (None, _shown(value)) for name, value in _told(write, row, new=True) if value is not None}
        return RowChange("create", told)
    return _updated(write, row, live, equals)


def _updated(write: TableWrite, row: list[Any], live: Live, equals: Equals) -> RowChange:
    if live is None:
        return RowChange("missing")
    changed = {}
    for name, value in _told(write, row, new=False):
        after = _sum(live[name], value) if name in write.added else value
        if not equals(name, live[name], after):
            changed[name] = (live[name], _shown(after))
    return RowChange("update", changed) if changed else NO_CHANGE


def _deleted(_write: TableWrite, _row: list[Any], live: Live, _equals: Equals) -> RowChange:
    return NO_CHANGE if live is None else RowChange("delete")


def _rekeyed(write: TableWrite, row: list[Any], live: Live, _equals: Equals) -> RowChange:
    width = len(write.key)
    if live is None:
        return RowChange("missing")
    moved = {name: (old, new) for name, old, new in zip(write.key, row[:width], row[width:], strict=True) if old != new}
    return RowChange("update", moved)


_JUDGES: Final = {
    WriteKind.UPSERT: _upserted,
    WriteKind.UPDATE: _updated,
    WriteKind.DELETE: _deleted,
    WriteKind.REKEY: _rekeyed,
}


def _told(write: TableWrite, row: list[Any], *, new: bool) -> Iterator[tuple[str, Any]]:
    for at, name in enumerate(write.columns):
        if new or (at >= len(write.key) and name not in write.insert_only):
            yield name, row[at]


def _sum(one: Any, other: Any) -> str | int:
    found = Decimal(str(one or 0)) + Decimal(str(other or 0))
    return int(found) if isinstance(one, int) else decimal_text(found)


def _shown(value: Any) -> Any:
    return "(the row that these writes make)" if value is NOTHING else value

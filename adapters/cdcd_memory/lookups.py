"""Finds ids by business keys, for the lookups of writes (see `cdcd.model.Lookup`)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from cdcd.errors import Refused
from cdcd.folding.found_ids import FoundIds, hashable, key_parts
from cdcd.model import Lookup, Row, TableWrite, Value, Where, WriteKind
from cdcd.values import parse_type
from cdcd_memory.server import MemoryTable, MemoryTransaction

Named = dict[str, Value]


def resolved(
    transaction: MemoryTransaction, number: int, write: TableWrite, found: FoundIds
) -> list[tuple[int, Named, Any]]:
    """Place, row with ids in the place of business keys, and business key of each row that can be written.

    Without the rows of a DELETE whose lookups find nothing. A row whose id the server numbers has None as its id.
    """
    rows = [dict(zip(write.columns, row, strict=True)) for row in write.rows]
    keys = [hashable(row[write.key[0]]) if write.key else None for row in rows]
    absent: set[int] = set()
    for lookup in write.lookups:
        known = found.of(write, lookup)
        ids: dict[Any, Value] = {}
        makes = write.numbers_new and lookup.column == write.key[0]
        for place, row in enumerate(rows):
            value = row[lookup.column]
            if value is None:
                continue
            key = hashable(value)
            identifier = known.get(key)
            if identifier is None:
                identifier = _Finder(transaction, write, found, (number, place)).find(lookup, value)
            row[lookup.column] = _as_column(transaction.table(write.table), lookup.column, identifier)
            if identifier is not None:
                ids[key] = identifier
            elif not makes:
                absent.add(place)
        found.keep(write, lookup, ids)
    if absent and write.kind is not WriteKind.DELETE:
        places = tuple((number, place) for place in sorted(absent))
        raise Refused(
            f"table {write.table}: a row refers to one that is not there", rows=places, code="reference-missing"
        )
    return [(place, row, keys[place]) for place, row in enumerate(rows) if place not in absent]


class _Finder:
    """Finds ids for one row of a write."""

    def __init__(
        self, transaction: MemoryTransaction, write: TableWrite, found: FoundIds, place: tuple[int, int]
    ) -> None:
        self._transaction = transaction
        self._write = write
        self._found = found
        self._place = place

    def find(self, lookup: Lookup, value: Any) -> Value:
        """The id of the row with that key, None where there is none."""
        table = self._transaction.table(lookup.table)
        parts = list(key_parts(lookup, value))
        for nested in lookup.nested:
            at = lookup.key.index(nested.column)
            known = self._found.of(self._write, nested).get(hashable(parts[at]))
            parts[at] = self.find(nested, parts[at]) if known is None and parts[at] is not None else known
        if None in parts:
            return None
        key = tuple(_as_column(table, name, part) for name, part in zip(lookup.key, parts, strict=True))
        rows = matching(table, lookup.key, key, lookup.where)
        rows = [row for row in rows if table.values(row, (lookup.id,))[0] is not None]
        if lookup.first_by is not None:
            rows = _sorted(table, rows, (*lookup.first_by, (lookup.id, False)))[:1]
        if len({table.values(row, (lookup.id,)) for row in rows}) > 1:
            raise Refused(
                f"several rows of {lookup.table} have one key", rows=(self._place,), code="reference-ambiguous"
            )
        return table.values(rows[0], (lookup.id,))[0] if rows else None


def matching(table: MemoryTable, key: tuple[str, ...], values: tuple[Value, ...], where: Sequence[Where]) -> list[Row]:
    """The rows with this key among those that count."""
    if key in table.unique:
        row = table.find(key, values)
        rows = [] if row is None else [row]
    else:
        rows = [row for row in table.rows.values() if table.values(row, key) == values]
    return [row for row in rows if all(row[table.index[w.column]] in w.values for w in where)]


def _sorted(table: MemoryTable, rows: list[Row], order: Sequence[tuple[str, bool]]) -> list[Row]:
    """NULL comes last, whichever the direction."""
    for name, descends in reversed(order):
        at = table.index[name]
        is_decimal = parse_type(table.shape.columns[at].type).kind == "decimal"
        some = [row for row in rows if row[at] is not None]
        some.sort(key=lambda row: _comparable(row[at], is_decimal=is_decimal), reverse=descends)
        rows = some + [row for row in rows if row[at] is None]
    return rows


def _comparable(value: Any, *, is_decimal: bool) -> Any:
    return Decimal(value) if is_decimal else value


def _as_column(table: MemoryTable, name: str, value: Any) -> Any:
    """An id as a column of another type writes it: `cdcd_xref` keeps ids as texts."""
    kind = parse_type(table.shape.columns[table.index[name]].type).kind
    if kind == "integer" and isinstance(value, str):
        return int(value)
    return str(value) if kind == "text" and isinstance(value, int) else value

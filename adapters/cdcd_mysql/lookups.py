"""Finds ids by business keys, for the lookups of writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import pymysql

from cdcd.errors import NotReady, Refused
from cdcd.folding.found_ids import FoundIds, hashable, key_parts, tables_of
from cdcd.model import Lookup, Row, TableWrite, Value, Where, WriteKind
from cdcd.values import parse_type
from cdcd_mysql.errors import core_error
from cdcd_mysql.literals import UnfitError, literal
from cdcd_mysql.resultset import convert_rows, select_expression
from cdcd_mysql.schema import LiveColumn, LiveTable
from cdcd_mysql.session import Session
from cdcd_mysql.statements import equals, key_condition, lock_sql, one_of, ordered_sql, select_sql

Key: TypeAlias = tuple[Value, ...]
Resolved: TypeAlias = tuple[Sequence[Row], Sequence[int], dict[int, Row]]
"""Rows with ids in the place of business keys, their places in the write, and the rows that the server must number, by place."""
_QUERY_KEYS_MAX: Final = 1000
_FOUND_KEYS_MAX: Final = 20_000
_NOT_IN_CHARSET: Final = "bad-value"
"""What the server refuses where a key has characters that the column cannot have: no row has it."""
_AMBIGUOUS: Final = object()
"""In the place of an id: several rows have the key."""


class Lookups:
    """Remembers what it found for as long as the tables it was found in are not written."""

    def __init__(self, session: Session, tables: Mapping[str, LiveTable], of_writes: FoundIds) -> None:
        """`of_writes` is what the keys of earlier writes have found."""
        self.of_writes = of_writes
        self._session = session
        self._tables = tables
        self._found: dict[Lookup, dict[Key, Any]] = {}

    def forget(self, table: str) -> None:
        """The table is written now: ask again."""
        if self._found:
            self._found = {lookup: ids for lookup, ids in self._found.items() if table not in tables_of([lookup])}

    def resolve(self, index: int, write: TableWrite) -> Resolved:
        """What can be written of a write, without the rows of a DELETE that refer to nothing.

        Raises Refused with all rows whose key is not found.
        """
        rows = [list(row) for row in write.rows]
        unknown: set[int] = set()
        new: set[int] = set()
        for lookup in sorted(write.lookups, key=lambda lookup: lookup.column != write.locked):
            number = write.columns.index(lookup.column)
            ids = self.ids(index, write, lookup, [row[number] for row in rows])
            if lookup.column == write.locked and write.kind is WriteKind.UPSERT:
                self.lock(lookup, list(dict.fromkeys(ids.values())))
            absent = new if write.numbers_new and number == 0 and write.kind is not WriteKind.DELETE else unknown
            self._put(rows, number, self._columns(write.table, [lookup.column])[0], ids, absent)
            self.of_writes.keep(write, lookup, ids)
        if unknown and write.kind is not WriteKind.DELETE:
            raise Refused(
                f"could not write to table {write.table}",
                cause=f"{len(unknown)} rows refer to rows that do not exist in the target",
                code="reference-missing",
                rows=tuple((index, place) for place in sorted(unknown)),
            )
        places = [place for place in range(len(rows)) if place not in unknown and place not in new]
        return [rows[place] for place in places], places, {place: rows[place] for place in sorted(new)}

    def _put(
        self, rows: Sequence[Row], number: int, column: LiveColumn, ids: Mapping[object, Value], absent: set[int]
    ) -> None:
        """Put ids in the place of keys; add the places of rows whose key has none to `absent`."""
        for place, row in enumerate(rows):
            if row[number] is not None:
                row[number] = as_column(column, ids.get(hashable(row[number])))
                if row[number] is None:
                    absent.add(place)

    def ids(self, index: int, write: TableWrite, lookup: Lookup, values: Sequence[Any]) -> dict[Any, Value]:
        """The ids of business keys, each as `hashable`, that have one. Raises Refused with the rows whose key has several."""
        wanted = dict.fromkeys(hashable(value) for value in values if value is not None)
        known = self.of_writes.of(write, lookup)
        ids: dict[Any, Any] = {key: known[key] for key in wanted if key in known}
        unknown = [key for key in wanted if key not in ids]
        ids |= {
            key: found
            for key, found in zip(unknown, self._ids(write, lookup, unknown), strict=True)
            if found is not None
        }
        places = [place for place, value in enumerate(values) if ids.get(hashable(value)) is _AMBIGUOUS]
        if places:
            raise Refused(
                f"cannot look up a row of table {lookup.table}",
                cause=f"several rows have the same {', '.join(lookup.key)}",
                remedy="make these columns unique, or correct the configuration",
                code="reference-ambiguous",
                rows=tuple((index, place) for place in places),
            )
        return ids

    def lock(self, lookup: Lookup, ids: Sequence[Value]) -> None:
        """Lock the rows with these ids."""
        table = self._tables[lookup.table]
        column = self._columns(lookup.table, [lookup.id])[0]
        for start in range(0, len(ids), _QUERY_KEYS_MAX):
            literals = [literal(column, identifier) for identifier in ids[start : start + _QUERY_KEYS_MAX]]
            self._query([lock_sql(table.name, lookup.id, literals)], lookup)

    def _ids(self, write: TableWrite, lookup: Lookup, wanted: Sequence[Any]) -> list[Any]:
        """The id for each business key; None where there is none, `_AMBIGUOUS` where there are several."""
        columns = self._columns(lookup.table, lookup.key)
        parts = [list(key_parts(lookup, value)) for value in wanted]
        for nested in lookup.nested:
            at = lookup.key.index(nested.column)
            known = self.of_writes.of(write, nested)
            inner = [one for one in dict.fromkeys(part[at] for part in parts) if one is not None and one not in known]
            outer = {**known, **dict(zip(inner, self._ids(write, nested, inner), strict=True))}
            for part in parts:
                part[at] = as_column(columns[at], outer.get(part[at]))
        keys = [tuple(part) for part in parts]
        found = self._found.setdefault(lookup, {})
        if len(found) > _FOUND_KEYS_MAX:
            found.clear()
        unknown = [key for key in dict.fromkeys(keys) if not {None, _AMBIGUOUS} & {*key} and key not in found]
        for start in range(0, len(unknown), _QUERY_KEYS_MAX):
            found |= self._ask(lookup, unknown[start : start + _QUERY_KEYS_MAX])
        return [_AMBIGUOUS if _AMBIGUOUS in key else found.get(key) for key in keys]

    def _ask(self, lookup: Lookup, keys: Sequence[Key]) -> dict[Key, Any]:
        """Ask for all keys at once; then one by one for those not found.

        The server may compare otherwise than we do (letter case, trailing zeros).
        """
        try:
            return self._ask_at_once(lookup, keys)
        except Refused as error:
            if error.code != _NOT_IN_CHARSET:
                raise
        if len(keys) == 1:
            return {}
        return {key: identifier for one in keys for key, identifier in self._ask(lookup, [one]).items()}

    def _ask_at_once(self, lookup: Lookup, keys: Sequence[Key]) -> dict[Key, Any]:
        table = self._tables[lookup.table]
        *columns, identifier = self._columns(lookup.table, [*lookup.key, lookup.id])
        literals = {key: texts for key in keys if (texts := _literals(columns, key)) is not None}
        if not literals:
            return {}
        selected = [*columns, identifier]
        where = where_sql(table, lookup.where)
        order = ordered_sql([*lookup.first_by, (lookup.id, False)]) if lookup.first_by is not None else ""
        found: dict[Key, Any] = {}
        if lookup.key:
            condition = f"({key_condition(lookup.key, list(literals.values()))}){where}"
            rows = self._query([select_sql(table.name, map(select_expression, selected), condition) + order], lookup)[0]
            for row in convert_rows(selected, rows):
                key = tuple(row[:-1])
                if key in literals:
                    _keep(found, lookup, key, row[-1])
        left = [key for key in literals if key not in found]
        questions = [
            select_sql(
                table.name, [select_expression(identifier)], (equals(lookup.key, literals[key]) or "TRUE") + where
            )
            + order
            for key in left
        ]
        for key, answer in zip(left, self._query(questions, lookup), strict=True):
            for row in convert_rows([identifier], answer):
                _keep(found, lookup, key, row[0])
        return found

    def _columns(self, table: str, names: Sequence[str]) -> list[LiveColumn]:
        columns = [self._tables[table].column(name) for name in names]
        present = [column for column in columns if column is not None]
        if len(present) != len(columns):
            raise NotReady(
                f"cannot look up rows of table {table}",
                cause="it lacks a column of the lookup",
                remedy="correct the configuration",
                code="column-missing",
            )
        return present

    def _query(self, statements: Sequence[str], lookup: Lookup) -> list[Sequence[tuple[Any, ...]]]:
        if not statements:
            return []
        try:
            return [result.rows for result in self._session.run_all(statements)]
        except (pymysql.Error, OSError) as error:
            raise core_error(error, f"look up rows of table {lookup.table}") from None


def where_sql(table: LiveTable, where: Sequence[Where], of: str = "") -> str:
    """What rows must hold to count, to be put behind another condition. Raises NotReady where a constant cannot be."""
    found = ""
    for condition in where:
        column = table.column(condition.column)
        literals = [] if column is None else _constants(column, condition.values)
        if column is None or literals is None:
            raise NotReady(
                f"cannot tell rows of table {table.spelled} apart by {condition.column}",
                cause="it has no such column, or another type",
                remedy="correct the configuration",
                code="column-missing",
            )
        found += f" AND {one_of(condition.column, literals, or_null=None in condition.values, of=of)}"
    return found


def _constants(column: LiveColumn, values: Sequence[Value]) -> list[str] | None:
    return _literals([column] * len(values), [value for value in values if value is not None])


def as_column(column: LiveColumn, value: Any) -> Any:
    """An id as a column of another type writes it: `cdcd_xref` keeps ids as texts."""
    kind = parse_type(column.type).kind
    if kind == "integer" and isinstance(value, str):
        return int(value)
    return str(value) if kind == "text" and isinstance(value, int) else value


def _literals(columns: Sequence[LiveColumn], key: Sequence[Value]) -> list[str] | None:
    """None where the key cannot be in these columns at all."""
    try:
        return [literal(column, value) for column, value in zip(columns, key, strict=False)]
    except UnfitError:
        return None


def _keep(found: dict[Key, Any], lookup: Lookup, key: Key, identifier: Value) -> None:
    if identifier is not None and found.setdefault(key, identifier) != identifier and lookup.first_by is None:
        found[key] = _AMBIGUOUS

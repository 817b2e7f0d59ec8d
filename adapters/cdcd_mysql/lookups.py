"""Finds ids by business keys, for the lookups of writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import pymysql

from cdcd.errors import NotReady, Refused
from cdcd.model import Lookup, Value
from cdcd_mysql.errors import core_error
from cdcd_mysql.literals import UnfitError, literal
from cdcd_mysql.resultset import convert_rows, select_expression
from cdcd_mysql.schema import LiveColumn, LiveTable
from cdcd_mysql.session import Session
from cdcd_mysql.statements import equals, key_condition, select_sql

Key: TypeAlias = tuple[Value, ...]
_QUERY_KEYS_MAX: Final = 1000
_FOUND_KEYS_MAX: Final = 20_000
_NOT_IN_CHARSET: Final = "bad-value"
"""What the server refuses where a key has characters that the column cannot have: no row has it."""


class Lookups:
    """Remembers what it found for as long as the table is not written."""

    def __init__(self, session: Session, tables: Mapping[str, LiveTable]) -> None:
        self._session = session
        self._tables = tables
        self._found: dict[Lookup, dict[Key, Value]] = {}

    def forget(self, table: str) -> None:
        """The table is written now: ask again."""
        self._found = {lookup: ids for lookup, ids in self._found.items() if lookup.table != table}

    def ids(self, lookup: Lookup, values: Sequence[Any]) -> list[Value]:
        """The id for each business key; None where there is none, or the key itself is None."""
        keys = [_key(value) for value in values]
        found = self._found.setdefault(lookup, {})
        if len(found) > _FOUND_KEYS_MAX:
            found.clear()
        unknown = [key for key in dict.fromkeys(keys) if key is not None and key not in found]
        for start in range(0, len(unknown), _QUERY_KEYS_MAX):
            found |= self._ask(lookup, unknown[start : start + _QUERY_KEYS_MAX])
        return [None if key is None else found.get(key) for key in keys]

    def _ask(self, lookup: Lookup, keys: Sequence[Key]) -> dict[Key, Value]:
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

    def _ask_at_once(self, lookup: Lookup, keys: Sequence[Key]) -> dict[Key, Value]:
        columns, identifier = self._columns(lookup)
        literals = {key: texts for key in keys if (texts := _literals(columns, key)) is not None}
        if not literals:
            return {}
        table = self._tables[lookup.table]
        selected = [*columns, identifier]
        condition = key_condition(lookup.key, list(literals.values()))
        rows = self._query([select_sql(table.name, map(select_expression, selected), condition)], lookup)[0]
        found: dict[Key, Value] = {}
        for row in convert_rows(selected, rows):
            key = tuple(row[:-1])
            if key in literals:
                _keep(found, lookup, key, row[-1])
        left = [key for key in literals if key not in found]
        questions = [
            select_sql(table.name, [select_expression(identifier)], equals(lookup.key, literals[key])) + " LIMIT 2"
            for key in left
        ]
        for key, answer in zip(left, self._query(questions, lookup), strict=True):
            for row in convert_rows([identifier], answer):
                _keep(found, lookup, key, row[0])
        return found

    def _columns(self, lookup: Lookup) -> tuple[list[LiveColumn], LiveColumn]:
        table = self._tables[lookup.table]
        columns = [table.column(name) for name in (*lookup.key, lookup.id)]
        present = [column for column in columns if column is not None]
        if len(present) != len(columns):
            raise NotReady(
                f"cannot look up rows of table {lookup.table}",
                cause="it lacks a column of the lookup",
                remedy="correct the configuration",
                code="column-missing",
            )
        return present[:-1], present[-1]

    def _query(self, statements: Sequence[str], lookup: Lookup) -> list[Sequence[tuple[Any, ...]]]:
        if not statements:
            return []
        try:
            return [result.rows for result in self._session.run_all(statements)]
        except (pymysql.Error, OSError) as error:
            raise core_error(error, f"look up rows of table {lookup.table}") from None


def _key(value: Any) -> Key | None:
    """A business key of one column comes bare, one of several as a list."""
    if value is None:
        return None
    key = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return None if None in key else key


def _literals(columns: Sequence[LiveColumn], key: Key) -> list[str] | None:
    """None where the key cannot be in these columns at all."""
    try:
        return [literal(column, value) for column, value in zip(columns, key, strict=True)]
    except UnfitError:
        return None


def _keep(found: dict[Key, Value], lookup: Lookup, key: Key, identifier: Value) -> None:
    if found.setdefault(key, identifier) != identifier:
        raise Refused(
            f"cannot look up a row of table {lookup.table}",
            cause=f"several rows have the same {', '.join(lookup.key)}",
            remedy="make these columns unique, or correct the configuration",
            code="reference-ambiguous",
        )

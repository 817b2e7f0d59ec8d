"""A `TableWrite` as set-based SQL: planned once for each table, kind and set of columns. Pure.

The rows of a write are a relation "s" with columns c0, c1, … (and `place`, their number in the statement, where that is
needed), made from one array a column. So one statement text does for any number of rows: it is prepared once, and a
whole transaction goes to the server in one pipeline. Measured against COPY into a temporary table, arrays are as fast up
to thousands of rows, and much faster below; they need no privilege, no extra round trip and nothing at commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from cdcd.errors import NotReady
from cdcd.model import Lookup, TableWrite, Where, WriteKind
from cdcd_postgres.catalog import CatalogColumn, CatalogTable
from cdcd_postgres.copying import copy_sql
from cdcd_postgres.encoding import array_literal
from cdcd_postgres.names import quote_identifier, quote_literal
from cdcd_postgres.statements import only

PlanKey: TypeAlias = tuple[
    str, WriteKind, tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[Where, ...], tuple[str, ...]
]


class WritePlan(msgspec.Struct, frozen=True):
    """How to write: `statements` in order, each with an array parameter for every column in `picked` (None: for all).

    If `reports`, the statement returns the places of rows that do not exist. If `singly`, it is run for each row.
    `constants` are further parameters of every statement. `again` deletes what a DELETE has not seen (`_DELETED_AGAIN`).
    `copy` inserts rows that are new (see `copying`); "" where it would not do. `prepares`: the server may keep the plans.
    """

    picked: tuple[int, ...] | None
    statements: tuple[str, ...]
    reports: bool
    singly: bool = False
    constants: tuple[str, ...] = ()
    again: str = ""
    copy: str = ""
    prepares: bool = False


def plan_key(write: TableWrite) -> PlanKey:
    """What two writes must share to share a plan."""
    return (write.table, write.kind, write.key, write.columns, write.insert_only, write.where, write.added)


def plan_write(write: TableWrite, table: CatalogTable, casts: Mapping[str, str]) -> WritePlan:
    """Plan a write to `table`; `casts` has the SQL type of each of its columns.

    Keys are changed row by row, in the order of the write: one may take what another leaves.

    Raises NotReady when the table lacks a column of the write, or its key cannot be written.
    """
    columns = {column.name: column for column in table.columns}
    for name in (*write.columns, *(where.column for where in write.where)):
        if name not in columns:
            raise _unusable(f"table {write.table} has no column {name}", "column-missing")
        if name in write.key and columns[name].generated:
            raise _unusable(
                f"column {name} of table {write.table} is generated and cannot be a key", "generated-column"
            )
    if write.kind is WriteKind.CLEAR:
        return WritePlan(None, (f"DELETE FROM {only(table)}",), reports=False)
    if write.kind is WriteKind.REKEY:
        return WritePlan(None, (_rekey(write.key, table, casts),), reports=True, singly=True)
    kept = write.columns[: len(write.key)] if write.kind is WriteKind.DELETE else write.columns
    picked = tuple(number for number, name in enumerate(kept) if not columns[name].generated)
    written = [columns[kept[number]] for number in picked]
    sql = _Sql(write, table, written, casts)
    return WritePlan(
        picked if len(picked) < len(write.columns) else None,
        sql.statements(),
        reports=write.kind is WriteKind.UPDATE,
        constants=tuple(constants_of(write.where)),
        again=sql.delete_again() if write.kind is WriteKind.DELETE else "",
        copy=copy_sql(write, table, written, casts),
        prepares=sql.finds_no_rows or table.keeps_plans(write.key),
    )


def _unusable(what: str, code: str) -> NotReady:
    return NotReady(what, remedy="correct the configuration, or the table", code=code)


def _rows(casts: Sequence[str], *, with_places: bool = False) -> str:
    """The parameters as a relation. Elements are texts: an array of arrays would be unnested to its last element."""
    numbers = range(len(casts))
    columns = ", ".join(f"u.c{number}::{cast} AS c{number}" for number, cast in enumerate(casts))
    arrays = ", ".join(f"${number + 1}::text[]" for number in numbers)
    aliases = ", ".join(f"c{number}" for number in numbers)
    if not with_places:
        return f"(SELECT {columns} FROM unnest({arrays}) AS u({aliases})) AS s"
    return f"(SELECT {columns}, u.place - 1 AS place FROM unnest({arrays}) WITH ORDINALITY AS u({aliases}, place)) AS s"


def _rekey(key: Sequence[str], table: CatalogTable, casts: Mapping[str, str]) -> str:
    """Give rows another key, and tell which are missing: the query sees the table as it was before the update."""
    types = [casts[name] for name in key]
    source = _rows([*types, *types], with_places=True)
    target = f"{table.table_name.sql} AS t"
    names = [quote_identifier(name) for name in key]
    matches = " AND ".join(f"t.{name} = s.c{number}" for number, name in enumerate(names))
    sets = ", ".join(f"{name} = s.c{number}" for number, name in enumerate(names, start=len(key)))
    return (
        f"WITH changed AS (UPDATE {target} SET {sets} FROM {source} WHERE {matches}) "
        f"SELECT s.place FROM {source} WHERE NOT EXISTS (SELECT FROM {target} WHERE {matches})"
    )


_BEING_CHANGED: Final = (
    "(t.xmax <> '0'::xid AND"
    " txid_snapshot_xmax(txid_current_snapshot())"
    " - ((txid_snapshot_xmax(txid_current_snapshot()) - t.xmax::text::bigint) & 4294967295)"
    " >= txid_snapshot_xmin(txid_current_snapshot()))"
)
"""Whether the transaction that has last changed or locked a row may not be over for our snapshot.

The log tells a commit a moment before others see it. What is decided by it may be delivered while the row still looks as it
did before, and be equal to that. Such a row is updated nevertheless: so it is waited for, and looked at as it is then. `xmax` has
no epoch, which the snapshot's limits have. Rows that several have locked at once (a MultiXactId) are not recognised.
"""


_DELETED_AGAIN: Final = "t.xmin <> pg_current_xact_id()::xid"
"""For a DELETE that is repeated because it found fewer rows than it was given: what our own transaction has written since stays."""


class _Sql:
    """Builds the statements of one plan."""

    def __init__(
        self, write: TableWrite, table: CatalogTable, columns: Sequence[CatalogColumn], casts: Mapping[str, str]
    ) -> None:
        self._kind = write.kind
        self._key = write.key
        self._added = write.added
        self._table = table
        self._target = f"{table.table_name.sql} AS t"
        self._columns = columns
        self._casts = casts
        self._numbers = {column.name: number for number, column in enumerate(columns)}
        self._set = [
            column.name
            for column in columns
            if column.name not in write.key and column.name not in write.insert_only and column.identity != "a"
        ]
        matches = [f"t.{quote_identifier(name)} = s.c{self._numbers[name]}" for name in write.key]
        self._where = write.where
        self._is_arbitrated = table.arbitrates(write.key) and not write.where
        self._draws_numbers = table.draws_numbers_without(self._numbers)
        self._matches = " AND ".join([*matches, *_conditions(write.where, casts, len(columns))])

    @property
    def finds_no_rows(self) -> bool:
        """Whether it is one INSERT, which has one plan: an index tells it what exists."""
        return self._kind is WriteKind.UPSERT and self._is_arbitrated and not self._draws_numbers

    def statements(self) -> tuple[str, ...]:
        """The statements in order."""
        if self._kind is WriteKind.DELETE:
            return (self._delete(),)
        if self._kind is WriteKind.UPDATE:
            return (self._update_and_report(),)
        return self._upsert()

    def _delete(self) -> str:
        return f"DELETE FROM {self._target} USING {self._source()} WHERE {self._matches}"

    def delete_again(self) -> str:
        """The DELETE for rows that were not to be seen yet."""
        return f"{self._delete()} AND {_DELETED_AGAIN}"

    def _source(self, *, with_places: bool = False) -> str:
        return _rows([self._casts[column.name] for column in self._columns], with_places=with_places)

    def _update(self) -> str:
        """Rows that would change, and those that somebody else may be changing just now (see `_BEING_CHANGED`)."""
        new = {name: self._new_value(name) for name in self._set}
        sets = ", ".join(f"{quote_identifier(name)} = {value}" for name, value in new.items())
        touched = f"({self._differs(new)} OR {_BEING_CHANGED})"
        return f"UPDATE {self._target} SET {sets} FROM {self._source()} WHERE {self._matches} AND {touched}"

    def _new_value(self, name: str) -> str:
        value = f"s.c{self._numbers[name]}"
        return f"(COALESCE(t.{quote_identifier(name)}, 0) + {value})" if name in self._added else value

    def _differs(self, new: Mapping[str, str]) -> str:
        """Whether a row would change, byte for byte: an equal row makes no row version, no log and runs no trigger.

        By `record_image_ne`, as equality is too weak (a collation may ignore case) or absent (json). A domain is
        compared as the type below it, which is what the arrays give.
        """
        ours = ", ".join(f"t.{quote_identifier(name)}::{self._casts[name]}" for name in self._set)
        theirs = ", ".join(f"{new[name]}::{self._casts[name]}" for name in self._set)
        return f"pg_catalog.record_image_ne(ROW({ours}), ROW({theirs}))"

    def _update_and_report(self) -> str:
        """Tell which rows are missing; the query sees the table as it was before the update, whose keys stay.

        It unpacks the arrays of the key alone, which come first: unpacking all of them again took as long as a third
        of the update.
        """
        missing = f"WHERE NOT EXISTS (SELECT FROM {self._target} WHERE {self._matches})"
        if not self._set:
            return f"SELECT s.place FROM {self._source(with_places=True)} {missing}"
        keys = _rows([self._casts[name] for name in self._key], with_places=True)
        return f"WITH changed AS ({self._update()}) SELECT s.place FROM {keys} {missing}"

    def _upsert(self) -> tuple[str, ...]:
        """One statement where a unique index on the key arbitrates, and every row counts.

        Two where not, and where every attempt to insert would draw a number from a sequence: rows that exist
        would use them up. New rows draw theirs in the order of the write.
        """
        conflict = self._on_conflict() if self._is_arbitrated else ""
        if self.finds_no_rows:
            return (self._insert(self._source()) + conflict,)
        new = f" WHERE NOT EXISTS (SELECT FROM {self._target} WHERE {self._matches}) ORDER BY s.place"
        update = (self._update(),) if self._set else ()
        return (*update, self._insert(self._source(with_places=True)) + new + conflict)

    def _insert(self, source: str) -> str:
        listed = ", ".join(quote_identifier(column.name) for column in self._columns)
        overriding = " OVERRIDING SYSTEM VALUE" if any(column.identity == "a" for column in self._columns) else ""
        selected = ", ".join(f"s.c{number}" for number in range(len(self._columns)))
        return f"INSERT INTO {self._target} ({listed}){overriding} SELECT {selected} FROM {source}"

    def _on_conflict(self) -> str:
        key = ", ".join(quote_identifier(name) for name in self._key)
        if not self._set:
            return f" ON CONFLICT ({key}) DO NOTHING"
        new = {name: f"excluded.{quote_identifier(name)}" for name in self._set}
        sets = ", ".join(f"{quote_identifier(name)} = {value}" for name, value in new.items())
        return f" ON CONFLICT ({key}) DO UPDATE SET {sets} WHERE {self._differs(new)}"


def _conditions(where: Sequence[Where], casts: Mapping[str, str], parameter_count: int) -> list[str]:
    """What rows must hold to count; the values are parameters, arrays as `constants_of` gives them."""
    found: list[str] = []
    for condition in where:
        column = f"t.{quote_identifier(condition.column)}"
        alternatives = [f"{column} IS NULL"] if None in condition.values else []
        if alternatives != [f"{column} IS NULL"] or len(condition.values) > 1:
            parameter_count += 1
            alternatives.append(f"{column} = ANY(${parameter_count}::{casts[condition.column]}[])")
        found.append(f"({' OR '.join(alternatives)})")
    return found


def constants_of(where: Sequence[Where]) -> list[str]:
    """The parameters of conditions."""
    some = [[value for value in condition.values if value is not None] for condition in where]
    return [array_literal(values) for values in some if values]


def lookup_sql(lookup: Lookup, table: CatalogTable, casts: Mapping[str, str]) -> str:
    """A query of business keys, one array a column, that returns place, first and last id of those that exist.

    Raises NotReady when the table lacks a column.
    """
    order = lookup.first_by
    for name in (*lookup.key, lookup.id, *(w.column for w in lookup.where), *(name for name, _ in order or ())):
        if name not in casts:
            raise _unusable(f"table {lookup.table} has no column {name}", "column-missing")
    row_id = f"t.{quote_identifier(lookup.id)}"
    matches = [f"t.{quote_identifier(name)} = s.c{number}" for number, name in enumerate(lookup.key)]
    where = " AND ".join([*matches, *_conditions(lookup.where, casts, len(lookup.key)), f"{row_id} IS NOT NULL"])
    source = f"{table.table_name.sql} AS t"
    place = "0"
    if lookup.key:
        source = f"{_rows([casts[name] for name in lookup.key], with_places=True)}, {source}"
        place = "s.place"
    if order is None:
        grouped = f" GROUP BY {place}" if lookup.key else ""
        return f"SELECT {place}, min({row_id}::text), max({row_id}::text) FROM {source} WHERE {where}{grouped}"
    ordered = [f"t.{quote_identifier(name)} {'DESC' if descends else 'ASC'} NULLS LAST" for name, descends in order]
    by = ", ".join(["place", *ordered, row_id])
    return (
        f"SELECT DISTINCT ON (place) {place} AS place, {row_id}::text, {row_id}::text"
        f" FROM {source} WHERE {where} ORDER BY {by}"
    )


def lock_sql(table: CatalogTable, casts: Mapping[str, str], id_column: str) -> str:
    """Lock the rows whose ids are in the one parameter, an array."""
    column = f"t.{quote_identifier(id_column)}"
    return (
        f"SELECT FROM {table.table_name.sql} AS t WHERE {column} = ANY($1::{casts[id_column]}[])"
        f" ORDER BY {column} FOR NO KEY UPDATE"
    )


def draw_sql(table: CatalogTable, column_name: str) -> str:
    """Draw as many ids as the parameter says, as inserts without that column would.

    Raises NotReady when the server gives that column no value.
    """
    column = next((column for column in table.columns if column.name == column_name), None)
    if column is None or not (column.identity or column.expression):
        raise _unusable(
            f"column {column_name} of table {table.table_name.spelled} is not numbered by the server", "id-given"
        )
    names = f"{quote_literal(table.table_name.sql)}, {quote_literal(column_name)}"
    drawn = f"nextval(pg_get_serial_sequence({names}))" if column.identity else column.expression
    return f"SELECT ({drawn})::text FROM generate_series(1, $1::integer)"

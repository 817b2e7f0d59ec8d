"""Finds ids by business keys, and draws ids for new rows: what a write needs to know before it can be sent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec

from cdcd.errors import Refused
from cdcd.folding.found_ids import FoundIds, hashable, key_parts
from cdcd.model import Lookup, Row, TableWrite, Value, WriteKind
from cdcd_postgres.catalog import CatalogTable
from cdcd_postgres.encoding import array_literal, transpose
from cdcd_postgres.pipelining import Pipeline
from cdcd_postgres.writes import constants_of, draw_sql, lock_sql, lookup_sql

Describe: TypeAlias = Callable[[str], tuple[CatalogTable, dict[str, str]]]
"""A table as the catalogue has it, and the SQL types of its columns."""


class Query(NamedTuple):
    """SQL, and whether the server may keep its plan."""

    sql: str
    prepare: bool


class Resolved(msgspec.Struct, frozen=True):
    """Rows with ids in the place of business keys, and their places in the write; those that are `new` apart."""

    rows: list[Row]
    places: Sequence[int]
    new: list[Row]
    new_places: Sequence[int]


class Lookups:
    """The lookups of one batch. `queries` is kept from batch to batch."""

    def __init__(self, pipeline: Pipeline, describe: Describe, queries: dict[Hashable, Query], system: str) -> None:
        self._pipeline = pipeline
        self._describe = describe
        self._queries = queries
        self._system = system
        self._found = FoundIds()

    def resolve(self, number: int, write: TableWrite) -> Resolved:
        """What can be written of a write; a new row that the server numbers has got its id.

        Without the rows of a DELETE that refer to nothing. Raises Refused with the rows that cannot be resolved.
        """
        rows = [list(row) for row in write.rows]
        unresolved: set[int] = set()
        new: list[int] = []
        for lookup in sorted(write.lookups, key=lambda lookup: lookup.column != write.locked):
            column = write.columns.index(lookup.column)
            ids = self._ids_of_rows(number, write, lookup, [row[column] for row in rows])
            if lookup.column == write.locked and write.kind is WriteKind.UPSERT:
                self._lock(lookup, ids.values())
            absent = self._put(rows, column, ids)
            if write.numbers_new and column == 0:
                new = absent if write.kind is not WriteKind.DELETE else []
                self._number(write, lookup, [(rows[place], write.rows[place][0]) for place in new], ids)
            if not (new and column == 0):
                unresolved.update(absent)
            self._found.keep(write, lookup, ids)
        if unresolved and write.kind is not WriteKind.DELETE:
            raise self._refused(number, write, unresolved)
        gone = unresolved.union(new)
        known = [place for place in range(len(rows)) if place not in gone]
        return Resolved([rows[place] for place in known], known, [rows[place] for place in new], new)

    def _put(self, rows: list[Row], column: int, ids: Mapping[Any, Value]) -> list[int]:
        """Put ids in the place of keys; return the places of rows whose key has none."""
        absent: list[int] = []
        for place, row in enumerate(rows):
            if row[column] is not None:
                row[column] = ids.get(hashable(row[column]))
                if row[column] is None:
                    absent.append(place)
        return absent

    def _number(
        self, write: TableWrite, lookup: Lookup, rows: Sequence[tuple[Row, Value]], ids: dict[Any, Value]
    ) -> None:
        """Give new rows an id, in their order, as the server would."""
        if not rows or write.kind is not WriteKind.UPSERT:
            return
        name = ("draw", write.table, lookup.column)
        sql, _ = self._query(name, write.table, (), lambda table, _: draw_sql(table, lookup.column))
        drawn = self._pipeline.rows(sql, [str(len(rows))], prepare=True)
        for (row, key), (identifier,) in zip(rows, drawn, strict=True):
            row[0] = ids[hashable(key)] = identifier

    def _ids_of_rows(self, number: int, write: TableWrite, lookup: Lookup, values: Sequence[Value]) -> dict[Any, Value]:
        """The id of every business key that has one. Raises Refused with the rows whose key has several."""
        wanted = dict.fromkeys(hashable(value) for value in values if value is not None)
        known = self._found.of(write, lookup)
        ids: dict[Any, Value] = {key: known[key] for key in wanted if key in known}
        found, ambiguous = self._find(write, lookup, [key for key in wanted if key not in ids])
        if ambiguous:
            places = [place for place, value in enumerate(values) if hashable(value) in ambiguous]
            raise Refused(
                f"a reference to {lookup.table} is ambiguous in system '{self._system}'",
                cause=f"several of its rows have the same {', '.join(lookup.key)}",
                remedy="remove the duplicates, and create a unique index",
                code="reference-ambiguous",
                rows=tuple((number, place) for place in places),
            )
        return ids | found

    def _find(self, write: TableWrite, lookup: Lookup, wanted: Sequence[Any]) -> tuple[dict[Any, Value], set[Any]]:
        """The ids of keys, and the keys that several ids have."""
        if not wanted:
            return {}, set()
        keys: list[Row] = [list(key_parts(lookup, key)) for key in wanted]
        ambiguous: set[Any] = set()
        for nested in lookup.nested:
            at = lookup.key.index(nested.column)
            inner = dict.fromkeys(key[at] for key in keys if key[at] is not None)
            known = self._found.of(write, nested)
            found, several = self._find(write, nested, [part for part in inner if part not in known])
            found |= known
            for whole, key in zip(wanted, keys, strict=True):
                ambiguous |= {whole} if key[at] in several else set()
                key[at] = found.get(key[at])
        ids: dict[Any, Value] = {}
        for text, identifier, last in self._ask(lookup, keys):
            if identifier is not None:
                place = int(text or 0)
                ids.update(dict.fromkeys(wanted if text is None else wanted[place : place + 1], identifier))
                ambiguous |= {wanted[place]} if identifier != last else set()
        return ids, ambiguous

    def _ask(self, lookup: Lookup, keys: Sequence[Row]) -> Sequence[Any]:
        """Place, id, and the last of the ids, of keys that are found."""
        sql, prepare = self._query(lookup, lookup.table, lookup.key, partial(lookup_sql, lookup))
        parameters = [array_literal(column) for column in transpose(keys)] + constants_of(lookup.where)
        return self._pipeline.rows(sql, parameters, prepare=prepare)

    def _query(
        self, name: Hashable, table_name: str, key: Sequence[str], make: Callable[[CatalogTable, dict[str, str]], str]
    ) -> Query:
        if name not in self._queries:
            table, casts = self._describe(table_name)
            self._queries[name] = Query(make(table, casts), table.keeps_plans(key))
        return self._queries[name]

    def _lock(self, lookup: Lookup, ids: Iterable[Value]) -> None:
        some = sorted({str(identifier) for identifier in ids})
        if some:
            name = ("lock", lookup.table, lookup.id)
            sql, prepare = self._query(name, lookup.table, (lookup.id,), partial(lock_sql, id_column=lookup.id))
            self._pipeline.rows(sql, [array_literal(some)], prepare=prepare)

    def _refused(self, number: int, write: TableWrite, unresolved: set[int]) -> Refused:
        return Refused(
            f"{len(unresolved)} rows for {write.table} refer to records that system '{self._system}' does not have",
            cause="no row of " + " or ".join(sorted({lookup.table for lookup in write.lookups})) + " has that key",
            remedy="they can be written once the records that they refer to have come",
            code="reference-missing",
            rows=tuple((number, place) for place in sorted(unresolved)),
        )

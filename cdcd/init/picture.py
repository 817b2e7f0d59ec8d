"""What was seen of a database: its tables, their sampled rows column by column, how tables hang together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from cdcd.init import names
from cdcd.model import Row
from cdcd.reader import ForeignKey, TableFacts
from cdcd.values import ValueType, parse_type

KEY_VALUES_MIN: Final = 3
SCANNED_ROWS_MAX: Final = 1_000_000
"""A larger table is never read by a column without an index that is known."""
_KEY_KINDS: Final = frozenset({"text", "uuid", "integer", "enum"})
_TEXT_KEY_LENGTH_MAX: Final = 200
Fetch: TypeAlias = Callable[[str, Sequence[str], Sequence[str], Sequence[Sequence[object]]], list[Row]]
"""Rows by key, as `cdcd.reader.Reader.read_rows`."""


class TablePicture:
    """One table: `columns` that were sampled, and their values, row by row. `left_out` says why others were not."""

    def __init__(
        self,
        facts: TableFacts,
        columns: Sequence[str],
        rows: Sequence[Row],
        *,
        complete: bool,
        left_out: dict[str, str],
    ) -> None:
        self.facts = facts
        self.table = facts.table
        self.columns = tuple(columns)
        self.complete = complete
        self.left_out = left_out
        self.types: dict[str, ValueType] = {c.name: parse_type(c.type) for c in facts.shape.columns}
        self.words: tuple[str, ...] = names.words(self.table.rpartition(".")[2])
        self.foreign_keys: list[ForeignKey] = list(facts.foreign_keys)
        self.put(rows)

    def put(self, rows: Sequence[Row]) -> None:
        """Take these rows for the sample. What was lifted from other tables goes."""
        self.rows = list(rows)
        self._values: dict[str, list[Any]] = {}
        self.lifted: list[str] = []

    def lift(self, column: str, kind: ValueType, values: list[Any]) -> None:
        """Values of a part ("contact.value") beside our rows, among which a key may be."""
        self.types[column] = kind
        self._values[column] = values
        self.lifted.append(column)

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows that are not in the sample yet."""
        known = {repr(row) for row in self.rows}
        self.put([*self.rows, *(row for row in rows if repr(row) not in known)])

    def values(self, column: str) -> list[Any]:
        """The sampled values of a column, in the order of the rows."""
        found = self._values.get(column)
        if found is None:
            at = self.columns.index(column)
            found = self._values[column] = [row[at] for row in self.rows]
        return found

    def told(self, column: str) -> list[Any]:
        """Its values that are not NULL."""
        return [value for value in self.values(column) if value is not None]

    @property
    def id_column(self) -> str | None:
        """The primary key, where it is one column."""
        key = self.facts.shape.primary_key
        return key[0] if len(key) == 1 else None

    def is_read_by(self, column: str) -> bool:
        """Whether rows may be asked for by this column: an index leads with it, or the table is small enough without."""
        leads = any(key[0] == column for key in self.facts.shape.unique_keys)
        return leads or self.facts.row_estimate <= SCANNED_ROWS_MAX

    def is_unique(self, columns: Sequence[str]) -> bool:
        """Whether a unique key says that these columns name one row."""
        return any(set(key) <= set(columns) for key in self.facts.shape.unique_keys)

    def seems_unique(self, columns: Sequence[str]) -> bool:
        """Whether no two sampled rows have the same, and there are enough of them to say so."""
        if not all(column in self.columns for column in columns):
            return False
        rows = [row for row in zip(*(self.values(column) for column in columns), strict=True) if None not in row]
        return len(rows) >= KEY_VALUES_MIN and len(set(rows)) == len(rows)

    def is_counted(self, column: str) -> bool:
        """Whether the server numbers this column by itself: such numbers mean nothing in another database."""
        shape = self.facts.shape.column(column)
        return (
            shape is not None
            and self.types[column].kind in ("integer", "decimal")
            and (shape.has_default or column == self.id_column)
            and column in self.facts.shape.primary_key
        )

    def key_candidates(self) -> list[str]:
        """Columns that may hold a business key: unique, or nearly so, and not the server's own numbers."""
        return [column for column in (*self.columns, *self.lifted) if self._may_be_key(column)]

    def _may_be_key(self, column: str) -> bool:
        kind = self.types[column]
        if kind.kind not in _KEY_KINDS or self.is_counted(column) or self.reference(column) is not None:
            return False
        told = self.told(column)
        unique = self.is_unique([column])
        if kind.kind == "integer" and not unique:
            return False
        if any(isinstance(value, str) and len(value) > _TEXT_KEY_LENGTH_MAX for value in told):
            return False
        filled = len(told) >= 0.5 * len(self.rows)
        return unique or (len(told) >= KEY_VALUES_MIN and filled and len(set(told)) >= 0.98 * len(told))

    def reference(self, column: str) -> ForeignKey | None:
        """The foreign key that is this column alone."""
        return next((key for key in self.foreign_keys if key.columns == (column,)), None)


class SystemPicture:
    """One database as it was seen. `fetch` reads rows by key where the sample does not have them."""

    def __init__(self, name: str, tables: Iterable[TablePicture], fetch: Fetch) -> None:
        self.name = name
        self.tables = {table.table: table for table in tables}
        self._fetch = fetch
        for table, found in names.without_prefix(self.tables).items():
            self.tables[table].words = found
        self._infer_foreign_keys()

    def _infer_foreign_keys(self) -> None:
        """Where a database declares none for a column that is called like a table's id, take it for one."""
        by_words = {table.words: table for table in self.tables.values() if table.id_column is not None}
        for table in self.tables.values():
            for column in table.columns:
                parts = names.words(column)
                if len(parts) < 2 or table.reference(column) is not None or table.types[column].kind != "integer":
                    continue
                stem = parts[:-1] if parts[-1] == "id" else parts[1:] if parts[0] == "id" else None
                other = by_words.get(stem) if stem is not None else None
                if other is not None and other is not table and self._all_there(table, column, other):
                    assert other.id_column is not None
                    table.foreign_keys.append(ForeignKey((column,), other.table, (other.id_column,)))

    def _all_there(self, table: TablePicture, column: str, other: TablePicture) -> bool:
        assert other.id_column is not None
        wanted = {value for value in table.told(column) if value != 0}
        if not wanted or other.id_column not in other.columns:
            return False
        there = set(other.told(other.id_column))
        return wanted <= there if other.complete else bool(wanted & there)

    def rows_of(self, table: TablePicture, column: str, values: Iterable[Any]) -> dict[Any, list[Row]]:
        """Rows of `table` (its sampled columns) by the value of `column`, for those values; read where need be."""
        wanted = {value for value in values if value is not None}
        rows = table.rows
        if not table.complete and wanted and table.is_read_by(column):
            rows = self._fetch(table.table, table.columns, [column], [[value] for value in wanted])
        at = table.columns.index(column)
        found: dict[Any, list[Row]] = {}
        for row in rows:
            if row[at] in wanted:
                found.setdefault(row[at], []).append(row)
        return found

    def referring(self, table: str) -> list[tuple[TablePicture, ForeignKey]]:
        """The other tables that refer to `table` by one column."""
        return [
            (other, key)
            for other in self.tables.values()
            for key in other.foreign_keys
            if key.table == table and len(key.columns) == 1 and other.table != table
        ]

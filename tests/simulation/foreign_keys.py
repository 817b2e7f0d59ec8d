"""Memory servers with foreign keys and a log for the judge: what refers to a row keeps it there, as in real databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cdcd.model import Row, Value
from cdcd_memory import MemoryServer, Violation
from cdcd_memory.server import Entry, MemoryTransaction
from values import POISON


class CheckedTransaction(MemoryTransaction):
    """Refuses rows that refer to none, and to delete rows that are referred to, at once."""

    foreign_keys: list[tuple[str, str, str]]
    is_picky = False

    def insert(self, name: str, row: Mapping[str, Value]) -> Row:
        self._check(name, row)
        return super().insert(name, row)

    def update(self, name: str, old: Row, changes: Mapping[str, Value]) -> None:
        self._check(name, changes)
        super().update(name, old, changes)

    def delete(self, name: str, old: Row) -> None:
        for table, column, to in self.foreign_keys:
            if to == name:
                at = self.table(table).index[column]
                if any(row[at] == old[0] for row in self.table(table).rows.values()):
                    raise Violation(f"rows of {table} refer to this row of {name}")
        super().delete(name, old)

    def _check(self, name: str, row: Mapping[str, Value]) -> None:
        if self.is_picky and POISON in row.values():
            raise Violation(f"a check of {name} refuses this row")
        for table, column, to in self.foreign_keys:
            value: Any = row.get(column) if table == name else None
            if value is not None and (value,) not in self.table(to).rows:
                raise Violation(f"there is no row of {to} that {name}.{column} refers to")


class RememberingServer(MemoryServer):
    """Keeps its log for the judge, whatever it lets its readers have. `foreign_keys` are (table, column, table)."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.history: list[Entry] = []
        self.written: list[list[tuple[str, str, dict[str, Any]]]] = []
        self.foreign_keys: list[tuple[str, str, str]] = []
        self.is_picky = False

    @contextmanager
    def begin(self) -> Iterator[MemoryTransaction]:
        before = self.head
        with super().begin() as transaction:
            transaction.__class__ = CheckedTransaction
            assert isinstance(transaction, CheckedTransaction)
            transaction.foreign_keys, transaction.is_picky = self.foreign_keys, self.is_picky
            yield transaction
        if self.head != before:
            self.history.append(self.entries[-1])

    def note_written(self, head_before: int) -> None:
        """Keep what an application has just done, as (op, table, row)."""
        entries = self.history[-1:] if self.head != head_before else []
        events = [event for entry in entries for event in entry.events]
        self.written.append(
            [
                (event.op.name, event.relation.table, dict(zip(event.relation.columns, row, strict=True)))
                for event in events
                for row in event.rows
            ]
        )

"""A database server in memory: tables, transactions, and the log of what they committed.

`prune` makes it forget what a source confirmed, as PostgreSQL does with a slot; without it the log stays, as a binlog
does. `faults` is called with the name of a point (`cdcd.testing.faults`) and may raise there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from weakref import WeakSet, WeakValueDictionary

import msgspec

from cdcd.errors import NotReady, PositionLost, Unavailable
from cdcd.model import ColumnShape, Op, Relation, Row, Rows, TableShape, Value
from cdcd_memory.types import Violation, check_value

Key: TypeAlias = tuple[Value, ...]
Named: TypeAlias = Mapping[str, Value]
Operation: TypeAlias = tuple[str, str, Named] | tuple[str, str, Named, Named]
_servers: WeakValueDictionary[str, MemoryServer] = WeakValueDictionary()


class Entry(msgspec.Struct, frozen=True):
    """A committed transaction in the log. `number` counts from 1."""

    number: int
    committed_at_us: int
    events: tuple[Rows, ...]


class MemoryTable:
    """Rows by primary key, and for each unique key the primary key that has its values."""

    def __init__(self, shape: TableShape) -> None:
        self.rows: dict[Key, Row] = {}
        self.next_number = 1
        self.unique: dict[tuple[str, ...], dict[Key, Key]] = {key: {} for key in shape.unique_keys}
        self.reshape(shape)

    def reshape(self, shape: TableShape) -> None:
        """Take a new shape; columns added at the end are NULL in the rows that exist."""
        self.shape = shape
        names = tuple(column.name for column in shape.columns)
        self.index = {name: number for number, name in enumerate(names)}
        identity = tuple(self.index[name] for name in shape.primary_key)
        self.relation = Relation(shape.table, names, tuple(column.type for column in shape.columns), identity)
        self.rows = {key: row + [None] * (len(names) - len(row)) for key, row in self.rows.items()}

    def values(self, row: Row, columns: Iterable[str]) -> Key:
        """The values that a row has in some columns."""
        return tuple(row[self.index[name]] for name in columns)

    def find(self, columns: tuple[str, ...], values: Key) -> Row | None:
        """The row with these values: by the index where `columns` is a unique key, else the first of a scan."""
        if (index := self.unique.get(columns)) is not None:
            key = index.get(values)
            return None if key is None else self.rows[key]
        return next((row for row in self.rows.values() if self.values(row, columns) == values), None)

    def replace(self, old: Row | None, new: Row | None) -> None:
        """Put `new` in the place of `old` (None: there is none), unless a unique key forbids it."""
        primary = self.shape.primary_key
        for columns, index in self.unique.items():
            owner = None if new is None else index.get(self.values(new, columns))
            if owner is not None and (old is None or owner != self.values(old, primary)):
                raise Violation(f"table {self.shape.table} has a row with the same {', '.join(columns)}")
        if old is not None:
            del self.rows[self.values(old, primary)]
            for columns, index in self.unique.items():
                index.pop(self.values(old, columns), None)
        if new is not None:
            self.rows[self.values(new, primary)] = new
            for columns, index in self.unique.items():
                if None not in (values := self.values(new, columns)):
                    index[values] = self.values(new, primary)


class MemoryTransaction:
    """Changes under way. Rows are replaced, never changed in place, so the log may share them."""

    def __init__(self, tables: dict[str, MemoryTable]) -> None:
        self._tables = tables
        self._undo: list[tuple[MemoryTable, Row | None, Row | None]] = []
        self.events: list[Rows] = []

    def table(self, name: str) -> MemoryTable:
        """The table of that name. Raises NotReady when there is none."""
        if name not in self._tables:
            raise NotReady(f"table {name} does not exist", remedy="create it, or correct the configuration")
        return self._tables[name]

    def insert(self, name: str, row: Named) -> Row:
        """Insert a row; a missing column with a default gets the table's next number, any other NULL."""
        table = self.table(name)
        new = [row.get(c.name, table.next_number if c.has_default else None) for c in table.shape.columns]
        self._replace(table, Op.INSERT, None, new, row)
        return new

    def update(self, name: str, old: Row, changes: Named) -> None:
        """Change some columns of a row."""
        table = self.table(name)
        new = [changes.get(column.name, value) for column, value in zip(table.shape.columns, old, strict=True)]
        self._replace(table, Op.UPDATE, old, new, changes)

    def delete(self, name: str, old: Row) -> None:
        """Delete a row."""
        self._replace(self.table(name), Op.DELETE, old, None, {})

    def truncate(self, name: str) -> None:
        """Delete all rows of a table."""
        table = self.table(name)
        for row in [*table.rows.values()]:
            self._undo.append((table, row, None))
            table.replace(row, None)
        self.events.append(Rows(table.relation, Op.TRUNCATE, []))

    def run(self, operation: Operation) -> None:
        """Do what an application asks: ("insert", table, row), ("update", table, key, changes), ("delete", table, key)."""
        verb, name, row, *rest = operation
        if verb == "insert":
            self.insert(name, row)
            return
        old = self.table(name).find(tuple(row), tuple(row.values()))
        if old is not None and verb == "update":
            self.update(name, old, rest[0])
        elif old is not None:
            self.delete(name, old)

    def roll_back(self) -> None:
        """Put every table back as it was."""
        for table, old, new in reversed(self._undo):
            table.replace(new, old)

    def _replace(self, table: MemoryTable, op: Op, old: Row | None, new: Row | None, given: Named) -> None:
        if unknown := given.keys() - table.index.keys():
            raise NotReady(f"table {table.shape.table} has no column {', '.join(sorted(unknown))}")
        for column, value in zip(table.shape.columns, new or (), strict=False):
            check_value(column, value)
        table.replace(old, new)
        self._undo.append((table, old, new))
        numbers = [value for c, value in zip(table.shape.columns, new or (), strict=False) if c.has_default]
        table.next_number = max([table.next_number, *(n + 1 for n in numbers if isinstance(n, int))])
        self._record(table, op, old, new)

    def _record(self, table: MemoryTable, op: Op, old: Row | None, new: Row | None) -> None:
        last = self.events[-1] if self.events else None
        if last is None or last.op is not op or last.relation is not table.relation:
            last = Rows(table.relation, op, [], [] if op is Op.UPDATE else None)
            self.events.append(last)
        row = new if new is not None else old
        assert row is not None
        last.rows.append(row)
        if last.olds is not None:
            assert old is not None
            moved = any(old[column] != row[column] for column in table.relation.identity)
            last.olds.append(old if moved else None)


class MemoryServer:
    """A server, found by `name` in the options of a system for as long as somebody holds it."""

    def __init__(
        self,
        name: str,
        *,
        prune: bool = False,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        faults: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name, self.prune, self.clock_us, self.faults = name, prune, clock_us, faults
        self.available = True
        self.generation = 0
        self.tables: dict[str, MemoryTable] = {}
        self.lock = threading.RLock()
        self.entries: list[Entry] = []
        self.head = 0
        self.slots: dict[tuple[str, str], int] = {}
        self.listeners: WeakSet[Any] = WeakSet()
        _servers[name] = self

    @classmethod
    def named(cls, name: str) -> MemoryServer:
        """The server of that name. Raises NotReady when there is none."""
        if name not in _servers:
            raise NotReady(f"no memory server {name} in this process", remedy="make a MemoryServer of that name first")
        return _servers[name]

    def create_table(
        self, table: str, columns: Iterable[ColumnShape], primary_key: tuple[str, ...], *unique_keys: tuple[str, ...]
    ) -> None:
        """Create an empty table. An integer column with `has_default` is numbered automatically."""
        self.tables[table] = MemoryTable(TableShape(table, tuple(columns), primary_key, (primary_key, *unique_keys)))

    def add_column(self, table: str, column: ColumnShape) -> None:
        """Add a nullable column at the end."""
        with self.lock:
            shape = self.tables[table].shape
            self.tables[table].reshape(msgspec.structs.replace(shape, columns=(*shape.columns, column)))

    @contextmanager
    def begin(self) -> Iterator[MemoryTransaction]:
        """A transaction that excludes all others, committed at the end, rolled back when the body raises."""
        with self.lock:
            self.connect(None)
            transaction = MemoryTransaction(self.tables)
            try:
                yield transaction
            except BaseException:
                transaction.roll_back()
                raise
            if transaction.events:
                self.head += 1
                self.entries.append(Entry(self.head, self.clock_us(), tuple(transaction.events)))
            for listener in self.listeners:
                listener.wake()

    def transaction(self, operations: Iterable[Operation]) -> None:
        """Run an application's transaction (see `MemoryTransaction.run`). Raises Violation, and then changes nothing."""
        with self.begin() as transaction:
            for operation in operations:
                transaction.run(operation)

    def connect(self, generation: int | None) -> int:
        """Raise Unavailable when the server is down, or was restarted since `generation`; return the generation."""
        if not self.available or generation not in (None, self.generation):
            raise Unavailable(f"memory server {self.name} is gone", cause="it was stopped or restarted")
        return self.generation

    def restart(self) -> None:
        """Cut all connections; tables and log stay."""
        self.generation += 1

    def lose_log(self) -> None:
        """Forget all log entries and slots."""
        with self.lock:
            self.entries.clear()
            self.slots.clear()

    @property
    def floor(self) -> int:
        """The number of the oldest position from which the log can be read."""
        return self.entries[0].number - 1 if self.entries else self.head

    def position(self, number: int) -> str:
        """The place just after entry `number`, as text."""
        return f"{self.name}:{number}"

    def number(self, position: str, slot: tuple[str, str]) -> int:
        """The entry before `position`. Raises PositionLost when the log of this slot cannot be read from there."""
        name, _, digits = position.rpartition(":")
        number = int(digits) if name == self.name and digits.isdecimal() else -1
        floor = max(self.slots.get(slot, self.head + 1), self.floor) if self.prune else self.floor
        if not floor <= number <= self.head:
            raise PositionLost(
                f"memory server {self.name} cannot be read on from {position}",
                cause="its log does not hold what came after that",
                remedy="bring the server back that has this log",
            )
        return number

    def confirm(self, slot: tuple[str, str], number: int) -> None:
        """Let the server forget what every slot has confirmed, if it prunes."""
        with self.lock:
            self.slots[slot] = max(number, self.slots.get(slot, 0))
            if self.prune:
                del self.entries[: max(0, min(self.slots.values()) - self.floor)]

    def after(self, number: int, limit: int | None = None) -> list[Entry]:
        """The entries after entry `number`."""
        with self.lock:
            first = max(0, number - self.floor)
            return self.entries[first : None if limit is None else first + limit]

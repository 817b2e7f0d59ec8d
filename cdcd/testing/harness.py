"""What an adapter's author writes to run the contract suites: a `Harness`, an application's view of a real server.

The suites describe tables neutrally, in canonical types (see `cdcd.values`), and change rows as an application would.
A harness turns that into its database's own DDL and SQL, without using the adapter under test. What a database cannot
do is a capability that is off, and the suites skip by capability, never by the name of a database.

A test file of an adapter holds a harness and little more:

    @pytest.fixture
    def harness(mydb: MyServer) -> Iterator[MyHarness]: ...

    class TestMySource(SourceContract): ...

    class TestMyTarget(TargetContract): ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from cdcd.adapter import Adapter, Identity, Source, TableNeed, Target
from cdcd.model import Row, Value
from cdcd.reader import Reader

INTEGER = "integer(-2147483648,2147483647)"
"""The integer that the suites use for keys and counters; every server has it."""


class Column(msgspec.Struct, frozen=True):
    """A column to create. `automatic`: the server gives an integer when an insert does not (serial, auto-increment)."""

    name: str
    type: str = INTEGER
    nullable: bool = True
    automatic: bool = False


class Reference(msgspec.Struct, frozen=True):
    """A foreign key: `column` holds a value of `to` in `table`."""

    column: str
    table: str
    to: str


class Table(msgspec.Struct, frozen=True):
    """A table to create. `name` is bare: the adapter's `table_name` spells it in full."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[tuple[str, ...], ...] = ()
    references: tuple[Reference, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns in the order in which they are created."""
        return tuple(column.name for column in self.columns)


class Writer(Protocol):
    """An application's open transaction. Values are canonical."""

    def insert(self, table: Table, *rows: Mapping[str, Value]) -> None:
        """Insert rows; columns that a row does not name get their default."""
        ...

    def update(self, table: Table, key: Mapping[str, Value], changes: Mapping[str, Value]) -> None:
        """Set columns of the row whose primary key is `key`; `changes` may hold key columns."""
        ...

    def delete(self, table: Table, key: Mapping[str, Value]) -> None:
        """Delete the row whose primary key is `key`."""
        ...


class Harness(ABC):
    """One empty database that `adapter` reads and writes. Made new for every test, and usable from several threads.

    `identity` is unique to this harness (its slot or server id must not meet another test's). `values` holds, for every
    canonical type that the database can store, values that must survive exactly: the extremes first of all.
    """

    adapter: Adapter
    options: msgspec.Struct
    identity: Identity
    values: Mapping[str, Sequence[Value]]

    can_restart: bool = False
    can_lose_log: bool = False
    confirm_discards: bool = False
    """Whether the server forgets what was confirmed (PostgreSQL does, a binlog does not)."""
    stores_nul: bool = True
    """Whether a text may hold the character U+0000."""
    enforces_references: bool = True
    speaks_sql: bool = True
    reports_truncate: bool = True

    @abstractmethod
    def create_table(self, table: Table) -> None:
        """Create the table, its unique keys and foreign keys. Names may hold any character but a dot."""

    @abstractmethod
    def add_column(self, table: Table, column: Column) -> None:
        """Add a nullable column at the end of the table."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Writer]:
        """A transaction on a connection of its own: commits at the end, rolls back when the body raises."""

    @abstractmethod
    def rows(self, table: Table) -> list[Row]:
        """All rows in the order of the primary key, canonical, columns in the order of `table.columns`."""

    def truncate(self, table: Table) -> None:
        """Empty the table in the database's fast way. Needed where `reports_truncate`."""
        raise AssertionError(f"{table.name}: a harness that reports truncates must override `truncate`")

    def restart(self) -> None:
        """Restart the server in its orderly way. Needed where `can_restart`."""
        raise AssertionError("a harness that can restart must override `restart`")

    def lose_log(self) -> None:
        """Make every position so far impossible to resume from (drop the slot, purge the log). Needed where `can_lose_log`."""
        raise AssertionError("a harness that can lose its log must override `lose_log`")

    def full_name(self, table: Table) -> str:
        """The table as the adapter spells it."""
        return self.adapter.table_name(table.name)

    def open_source(self, *tables: Table) -> Source:
        """A source of `tables` under our identity."""
        needs = [TableNeed(self.full_name(table), table.primary_key) for table in tables]
        return self.adapter.open_source(self.identity, self.options, needs)

    def open_target(self, identity: Identity | None = None) -> Target:
        """A target under our identity, or another."""
        return self.adapter.open_target(identity or self.identity, self.options)

    def open_reader(self) -> Reader:
        """A reader under our identity."""
        return self.adapter.open_reader(self.identity, self.options)

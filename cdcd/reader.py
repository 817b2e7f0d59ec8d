"""Looking at a live database beside the stream: which tables there are, some of their rows, rows by key. Writes nothing.

Part of the adapter contract (see `cdcd.adapter`) for those who propose a configuration (`cdcd init`) or try one
(`cdcd plan`). Every query is bounded: by rows, by an index, and by the system's statement timeout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cdcd.model import Row, TableShape


class ForeignKey(msgspec.Struct, frozen=True):
    """`columns` hold the values of `referred` in a row of `table` (as the adapter spells it)."""

    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]


class TableFacts(msgspec.Struct, frozen=True):
    """A table of a live database. `row_estimate` is the server's own guess, which may be far off."""

    shape: TableShape
    row_estimate: int
    foreign_keys: tuple[ForeignKey, ...] = ()

    @property
    def table(self) -> str:
        """Its name as the adapter spells it."""
        return self.shape.table


class Reader(Protocol):
    """Reads one system's tables. Lifecycle: (`catalog` | `sample` | `page` | `read_rows`)* · `close`. Connects when first used.

    Values are canonical, of the types that `catalog` tells. Raises NotReady for a table or column that is not there.
    """

    def catalog(self) -> Sequence[TableFacts]:
        """All plain tables of the database that we may see, by name; a partitioned one once."""
        ...

    def sample(self, table: str, columns: Sequence[str], row_limit: int, *, spread: bool = False) -> list[Row]:
        """Rows of `table`: all where it has no more than `row_limit`, else that many.

        The first in the order of the primary key; with `spread` half of them the first and half the last.
        """
        ...

    def page(
        self, table: str, columns: Sequence[str], after: Sequence[object] | None, row_limit: int, *, where: str = ""
    ) -> list[Row]:
        """The next `row_limit` rows in the order of the primary key, behind the one whose key is `after` (None: the first).

        With `where` (SQL of an operator) only rows that satisfy it; FilterRefused where the server does not take it. Raises
        NotReady for a table without a primary key.
        """
        ...

    def read_rows(
        self, table: str, columns: Sequence[str], key: Sequence[str], keys: Sequence[Sequence[object]]
    ) -> list[Row]:
        """The rows whose columns `key` hold one of `keys`, as the server compares them, in any order.

        No part of a key is NULL. Fast only where an index leads with these columns. A key that the columns cannot hold
        has no row.
        """
        ...

    def check_filter(self, table: str, condition: str) -> None:
        """Have the server look whether `condition`, SQL of an operator, can choose rows of `table`; none are read.

        Raises FilterRefused, also for one that is whole only together with what stands around it.
        """
        ...

    def close(self) -> None:
        """Release connections. Never raises."""
        ...

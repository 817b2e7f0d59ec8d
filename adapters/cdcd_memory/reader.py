"""Looks at a memory server's tables (`cdcd.reader.Reader`)."""

from __future__ import annotations

from collections.abc import Sequence

from cdcd.errors import FilterRefused, NotReady
from cdcd.model import Row
from cdcd.reader import TableFacts
from cdcd_memory.server import MemoryServer, MemoryTable


class MemoryReader:
    """See the contract."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    def catalog(self) -> list[TableFacts]:
        """See the contract. Memory servers have no foreign keys."""
        self._server.connect(None)
        return [TableFacts(table.shape, len(table.rows)) for _, table in sorted(self._server.tables.items())]

    def sample(self, table: str, columns: Sequence[str], row_limit: int, *, spread: bool = False) -> list[Row]:
        """See the contract."""
        live, picked = self._columns(table, columns)
        rows = [[row[at] for at in picked] for _, row in sorted(live.rows.items())]
        if len(rows) <= row_limit or not spread:
            return rows[:row_limit]
        return rows[: row_limit - row_limit // 2] + rows[-(row_limit // 2) :]

    def page(
        self, table: str, columns: Sequence[str], after: Sequence[object] | None, row_limit: int, *, where: str = ""
    ) -> list[Row]:
        """See the contract."""
        if where:
            self.check_filter(table, where)
        live, picked = self._columns(table, columns)
        key = live.shape.primary_key
        rows = sorted((row for row in live.rows.values()), key=lambda row: _sortable(live.values(row, key)))
        behind = [row for row in rows if after is None or _sortable(live.values(row, key)) > _sortable(after)]
        return [[row[at] for at in picked] for row in behind[:row_limit]]

    def read_rows(
        self, table: str, columns: Sequence[str], key: Sequence[str], keys: Sequence[Sequence[object]]
    ) -> list[Row]:
        """See the contract."""
        live, picked = self._columns(table, columns)
        wanted = {tuple(one) for one in keys}
        rows = [row for row in live.rows.values() if live.values(row, key) in wanted]
        return [[row[at] for at in picked] for row in rows]

    def check_filter(self, table: str, condition: str) -> None:  # noqa: ARG002 - the contract's names
        """See the contract. There is no SQL here."""
        raise FilterRefused(f"rows of {table} cannot be chosen like this", cause="a memory server knows no SQL")

    def _columns(self, table: str, columns: Sequence[str]) -> tuple[MemoryTable, list[int]]:
        self._server.connect(None)
        live = self._server.tables.get(table)
        missing = [table] if live is None else [name for name in columns if name not in live.index]
        if live is None or missing:
            raise NotReady(f"{table} cannot be read", cause=f"there is no {missing[0]}", code="table-missing")
        return live, [live.index[name] for name in columns]

    def close(self) -> None:
        """See the contract."""


def _sortable(key: Sequence[object]) -> list[tuple[str, object]]:
    return [(type(part).__name__, part) for part in key]

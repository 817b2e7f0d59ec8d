"""Writes to a memory server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cdcd.adapter import Applied, Checkpoint, Finding, Identity, TableNeed
from cdcd.errors import Fenced, NeedsOperator, Refused
from cdcd.folding.found_ids import FoundIds
from cdcd.model import CHECKPOINT_TABLE, XREF_TABLE, Batch, ColumnShape, Row, TableShape, TableWrite, Value, WriteKind
from cdcd.numeric import added
from cdcd.values import parse_type
from cdcd_memory.lookups import Named, matching, resolved
from cdcd_memory.server import MemoryServer, MemoryTransaction
from cdcd_memory.types import Violation

CHECKPOINT_KEY = ("daemon", "system")
PROGRESS_COLUMN = ColumnShape("progress", "text")
CHECKPOINT_COLUMNS = (
    *(
        ColumnShape(name, kind, nullable=False)
        for name, kind in (
            ("daemon", "text(64)"),
            ("system", "text(64)"),
            ("lineage", "text(64)"),
            ("epoch", "integer"),
            ("batch_after", "integer"),
            ("batch_through", "integer"),
        )
    ),
    PROGRESS_COLUMN,
)
XREF_COLUMNS = tuple(ColumnShape(name, "text(255)", nullable=False) for name in ("entity", "key", "id"))


class MemoryTarget:
    """See `cdcd.adapter.Target`."""

    def __init__(self, server: MemoryServer, identity: Identity) -> None:
        self._server, self._identity = server, identity
        self._generation: int | None = None
        self._epoch = 0

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        """See the contract."""
        return check_tables(self._server, self._identity.system, tables)

    def describe(self, tables: Sequence[str]) -> Mapping[str, TableShape]:
        """See the contract."""
        self._server.connect(self._generation)
        return {name: self._server.tables[name].shape for name in tables if name in self._server.tables}

    def checkpoint(self) -> Checkpoint | None:
        """See the contract."""
        with self._server.lock:
            self._server.connect(None)
            table = self._server.tables.get(CHECKPOINT_TABLE)
            row = None if table is None else table.find(CHECKPOINT_KEY, (self._identity.daemon, self._identity.system))
            if table is None or row is None:
                return None
            lineage, epoch, through = table.values(row, ("lineage", "epoch", "batch_through"))
            progress = row[table.index["progress"]] if "progress" in table.index else None
        assert isinstance(epoch, int)
        assert isinstance(through, int)
        return Checkpoint(str(lineage), epoch, through, str(progress or ""))

    def open(self, *, xref_table: str = "", adopt: str = "") -> int:
        """See the contract."""
        self._server.faults("open")
        self._generation = self._server.connect(None)
        if xref_table and xref_table not in self._server.tables:
            self._server.create_table(xref_table, XREF_COLUMNS, ("entity", "key"))
        if CHECKPOINT_TABLE not in self._server.tables:
            self._server.create_table(CHECKPOINT_TABLE, CHECKPOINT_COLUMNS, CHECKPOINT_KEY)
        elif "progress" not in self._server.tables[CHECKPOINT_TABLE].index:
            self._server.add_column(CHECKPOINT_TABLE, PROGRESS_COLUMN)
        us = self._identity
        with self._server.begin() as transaction:
            row = self._checkpoint(transaction)
            if row is None:
                first: Row = [us.daemon, us.system, us.lineage, 0, 0, 0, None]
                names = (column.name for column in CHECKPOINT_COLUMNS)
                row = transaction.insert(CHECKPOINT_TABLE, dict(zip(names, first, strict=True)))
            _, _, lineage, epoch, _, through, _ = row
            if lineage not in (us.lineage, adopt):
                raise NeedsOperator(
                    f"the checkpoint in {us.system} was written by another state directory",
                    remedy="start with that state directory; if it is lost: 'cdcd recover'",
                    code="other-lineage",
                )
            assert isinstance(epoch, int)
            assert isinstance(through, int)
            self._epoch = epoch + 1
            transaction.update(CHECKPOINT_TABLE, row, {"epoch": self._epoch, "lineage": us.lineage})
        return through

    def apply(self, writes: Iterable[TableWrite], batch: Batch) -> Applied:
        """See the contract."""
        self._server.connect(self._generation)
        missing: list[tuple[int, int]] = []
        with self._server.begin() as transaction:
            row = self._checkpoint(transaction)
            if row is None or row[2:4] != [self._identity.lineage, self._epoch]:
                raise Fenced(f"another daemon took over {self._identity.system}", remedy="stop one of the two")
            moved: dict[str, Value] = {"batch_after": batch.after, "batch_through": batch.through}
            transaction.update(CHECKPOINT_TABLE, row, moved | ({"progress": batch.progress} if batch.progress else {}))
            found = FoundIds()
            for number, write in enumerate(writes):
                missing += [(number, place) for place in _apply(transaction, number, write, found)]
            self._server.faults("apply:before-commit")
        self._server.faults("apply:after-commit")
        return Applied(tuple(missing))

    def close(self) -> None:
        """See the contract."""
        self._generation = -1

    def _checkpoint(self, transaction: MemoryTransaction) -> Row | None:
        table = transaction.table(CHECKPOINT_TABLE)
        return table.find(CHECKPOINT_KEY, (self._identity.daemon, self._identity.system))


def _apply(transaction: MemoryTransaction, number: int, write: TableWrite, found: FoundIds) -> list[int]:
    """Do one write; return the places of UPDATE and REKEY rows that do not exist."""
    if write.kind is WriteKind.CLEAR:
        for doomed in [*transaction.table(write.table).rows.values()]:
            transaction.delete(write.table, doomed)
        return []
    if write.kind is WriteKind.REKEY:
        return _rekey(transaction, number, write)
    missing: list[int] = []
    given: dict[Any, Value] = {}
    for place, row, key in resolved(transaction, number, write, found):
        try:
            is_new = _write_row(transaction, number, place, write, row)
        except Violation as violation:
            raise Refused(
                f"table {write.table} refuses a row", cause=str(violation), rows=((number, place),)
            ) from violation
        if is_new and write.kind is WriteKind.UPDATE:
            missing.append(place)
        elif write.numbers_new and row.get(write.key[0]) is not None:
            given[key] = row[write.key[0]]
    if write.numbers_new:
        found.keep(write, next(lookup for lookup in write.lookups if lookup.column == write.key[0]), given)
    return missing


def _write_row(transaction: MemoryTransaction, number: int, place: int, write: TableWrite, row: Named) -> bool:
    """Write one row; return whether it did not exist. A new row's id is put into `row`."""
    table = transaction.table(write.table)
    old = matching(table, write.key, tuple(row[name] for name in write.key), write.where)
    if write.kind is WriteKind.DELETE:
        for doomed in old:
            transaction.delete(write.table, doomed)
    elif len(old) > 1:
        raise Refused(f"several rows of {write.table} have one key", rows=((number, place),), code="key-ambiguous")
    elif old:
        fixed = {*write.insert_only, *write.key}
        changes = {name: value for name, value in row.items() if name not in fixed}
        for name in write.added:
            column = table.index[name]
            changes[name] = added(old[0][column], row[name], parse_type(table.shape.columns[column].type))
        transaction.update(write.table, old[0], changes)
    elif write.kind is WriteKind.UPSERT:
        new = {name: value for name, value in row.items() if not (write.numbers_new and name == write.key[0])}
        row |= zip(write.key, table.values(transaction.insert(write.table, new), write.key), strict=True)
    return not old


def _rekey(transaction: MemoryTransaction, number: int, write: TableWrite) -> list[int]:
    missing: list[int] = []
    for place, row in enumerate(write.rows):
        old = transaction.table(write.table).find(write.key, tuple(row[: len(write.key)]))
        if old is None:
            missing.append(place)
            continue
        try:
            transaction.update(write.table, old, dict(zip(write.key, row[len(write.key) :], strict=True)))
        except Violation as violation:
            raise Refused(
                f"table {write.table} refuses a row", cause=str(violation), rows=((number, place),)
            ) from violation
    return missing


def check_tables(server: MemoryServer, system: str, tables: Sequence[TableNeed]) -> list[Finding]:
    """Findings about tables, columns and keys that are not there."""
    server.connect(None)
    found: list[Finding] = []
    for need in tables:
        table = server.tables.get(need.table)
        if table is None and need.table == XREF_TABLE:
            problems = []
        elif table is None:
            problems = [("table-missing", "does not exist", "create the table, or correct the configuration")]
        else:
            absent = [name for name in (*need.columns, *need.key) if name not in table.index]
            problems = [("column-missing", f"has no column {name}", "correct the configuration") for name in absent]
            if need.key and not any(set(key) <= set(need.key) for key in table.shape.unique_keys):
                problems.append(("key-not-unique", f"has no unique key ({', '.join(need.key)})", "create one"))
        found += [
            Finding("error", code, system, need.table, f"{need.table} {text}", way) for code, text, way in problems
        ]
    return found

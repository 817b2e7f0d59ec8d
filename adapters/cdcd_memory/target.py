"""Writes to a memory server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cdcd.adapter import Applied, Finding, Identity, TableNeed
from cdcd.errors import Fenced, NeedsOperator, Refused
from cdcd.model import CHECKPOINT_TABLE, Batch, ColumnShape, Row, TableShape, TableWrite, Value, WriteKind
from cdcd_memory.server import MemoryServer, MemoryTransaction
from cdcd_memory.types import Violation

CHECKPOINT_KEY = ("daemon", "system")
CHECKPOINT_COLUMNS = tuple(
    ColumnShape(name, kind, nullable=False)
    for name, kind in (
        ("daemon", "text(64)"),
        ("system", "text(64)"),
        ("lineage", "text(64)"),
        ("epoch", "integer"),
        ("batch_after", "integer"),
        ("batch_through", "integer"),
    )
)
Named = dict[str, Value]


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

    def open(self) -> int:
        """See the contract."""
        self._server.faults("open")
        self._generation = self._server.connect(None)
        if CHECKPOINT_TABLE not in self._server.tables:
            self._server.create_table(CHECKPOINT_TABLE, CHECKPOINT_COLUMNS, CHECKPOINT_KEY)
        with self._server.begin() as transaction:
            row = self._checkpoint(transaction)
            if row is None:
                us = self._identity
                first: Row = [us.daemon, us.system, us.lineage, 0, 0, 0]
                names = (column.name for column in CHECKPOINT_COLUMNS)
                row = transaction.insert(CHECKPOINT_TABLE, dict(zip(names, first, strict=True)))
            _, _, lineage, epoch, _, through = row
            if lineage != self._identity.lineage:
                raise NeedsOperator(
                    f"the checkpoint in {self._identity.system} was written by another state directory",
                    remedy="restore that state directory, or let this one take over",
                    code="other-lineage",
                )
            assert isinstance(epoch, int)
            assert isinstance(through, int)
            self._epoch = epoch + 1
            transaction.update(CHECKPOINT_TABLE, row, {"epoch": self._epoch})
        return through

    def apply(self, writes: Iterable[TableWrite], batch: Batch) -> Applied:
        """See the contract."""
        self._server.connect(self._generation)
        missing: list[tuple[int, int]] = []
        with self._server.begin() as transaction:
            row = self._checkpoint(transaction)
            if row is None or row[2:4] != [self._identity.lineage, self._epoch]:
                raise Fenced(f"another daemon took over {self._identity.system}", remedy="stop one of the two")
            transaction.update(CHECKPOINT_TABLE, row, {"batch_after": batch.after, "batch_through": batch.through})
            for number, write in enumerate(writes):
                missing += [(number, place) for place in _apply(transaction, number, write)]
            self._server.faults("apply:before-commit")
        self._server.faults("apply:after-commit")
        return Applied(tuple(missing))

    def close(self) -> None:
        """See the contract."""
        self._generation = -1

    def _checkpoint(self, transaction: MemoryTransaction) -> Row | None:
        table = transaction.table(CHECKPOINT_TABLE)
        return table.find(CHECKPOINT_KEY, (self._identity.daemon, self._identity.system))


def _apply(transaction: MemoryTransaction, number: int, write: TableWrite) -> list[int]:
    """Do one write; return the places of UPDATE and REKEY rows that do not exist."""
    if write.kind is WriteKind.CLEAR:
        for doomed in [*transaction.table(write.table).rows.values()]:
            transaction.delete(write.table, doomed)
        return []
    if write.kind is WriteKind.REKEY:
        return _rekey(transaction, number, write)
    missing: list[int] = []
    table = transaction.table(write.table)
    for place, row in _resolved(transaction, number, write):
        old = table.find(write.key, tuple(row[name] for name in write.key))
        try:
            if write.kind is WriteKind.DELETE:
                if old is not None:
                    transaction.delete(write.table, old)
            elif old is not None:
                changes = {name: value for name, value in row.items() if name not in write.insert_only}
                transaction.update(write.table, old, changes)
            elif write.kind is WriteKind.UPSERT:
                transaction.insert(write.table, row)
            else:
                missing.append(place)
        except Violation as violation:
            raise Refused(
                f"table {write.table} refuses a row", cause=str(violation), rows=((number, place),)
            ) from violation
    return missing


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


def _resolved(transaction: MemoryTransaction, number: int, write: TableWrite) -> Iterator[tuple[int, Named]]:
    """The rows with their lookups replaced by ids, without those of a DELETE whose lookup finds nothing."""
    rows = [dict(zip(write.columns, row, strict=True)) for row in write.rows]
    absent: set[int] = set()
    for lookup in write.lookups:
        table = transaction.table(lookup.table)
        for place, row in enumerate(rows):
            value = row[lookup.column]
            if value is not None:
                key = tuple(value) if isinstance(value, list) else (value,)
                found = table.find(lookup.key, key)
                row[lookup.column] = None if found is None else table.values(found, (lookup.id,))[0]
                absent |= {place} if found is None else set()
    if absent and write.kind is not WriteKind.DELETE:
        places = tuple((number, place) for place in sorted(absent))
        raise Refused(
            f"table {write.table}: a row refers to one that is not there", rows=places, code="reference-missing"
        )
    return ((place, row) for place, row in enumerate(rows) if place not in absent)


def check_tables(server: MemoryServer, system: str, tables: Sequence[TableNeed]) -> list[Finding]:
    """Findings about tables, columns and keys that are not there."""
    server.connect(None)
    found: list[Finding] = []
    for need in tables:
        table = server.tables.get(need.table)
        if table is None:
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

"""A state with an outbox, a target that does as it is told, and a deliverer between them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from cdcd import backlog, outbox
from cdcd.adapter import Applied, Checkpoint
from cdcd.deliver import Deliverer
from cdcd.errors import Refused
from cdcd.folding import in_place, spill
from cdcd.journal import Journal, decode_command
from cdcd.model import Batch, ColumnShape, Op, Relation, Rows, TableShape
from cdcd.outbox import AppliedMark, OutboxWriter, RecordWrite
from cdcd.parking import parked as parked_module
from cdcd.parking.parked import ParkedRecords
from cdcd.resolve.keys import encode_key
from cdcd.state import State
from unit.small_line import plan_of

TEXT = """
[entities.product]
key = ["sku"]
fields = { sku = { type = "text", owner = "erp" }, name = { type = "text", owner = "erp" } }
in.erp = { table = "item", columns = { sku = "code", name = "name" } }
in.shop = { table = "products", columns = { sku = "sku", name = "title" } }
[[replicate]]
from = "erp"
to = "shop"
tables = ["carrier"]
"""
SHAPES = {
    "products": TableShape(
        "products", (ColumnShape("sku", "text"), ColumnShape("title", "text(10)")), ("sku",), (("sku",),)
    ),
    "carrier": TableShape(
        "carrier",
        (ColumnShape("id", "integer"), ColumnShape("name", "text(10)"), ColumnShape("note", "text")),
        ("id",),
        (("id",),),
    ),
}
CARRIER = Relation("carrier", ("id", "name", "note"), ("integer", "text", "text"), (0,))
FULL, UPDATE, DELETE = RecordWrite.FULL, RecordWrite.UPDATE, RecordWrite.DELETE


class ScriptedTarget:
    """Commits batches, unless `refuses` says so of a row, or something is next in `errors`."""

    def __init__(self) -> None:
        self.applied = 0
        self.lineage = ""
        self.epoch = 0
        self.progress = ""
        self.refuses: Callable[[str, list], bool] = lambda _table, _row: False
        self.missing: set[str] = set()
        self.errors: list[BaseException | None] = []
        self.errors_after: list[BaseException] = []
        self.names_refused: Callable[[list], Refused | None] = lambda _rows: None
        self.refuses_clear = False
        self.cleared: list[str] = []
        self.tries = 0
        self.batches: list[tuple[list[tuple[str, str, list]], Batch]] = []
        self.closed = False

    def checkpoint(self):
        is_there = self.epoch or self.applied
        return Checkpoint(self.lineage, self.epoch, self.applied, self.progress) if is_there else None

    def open(self, *, xref_table: str = "", adopt: str = "") -> int:  # noqa: ARG002
        self.epoch += 1
        return self.applied

    def describe(self, tables):
        return {name: SHAPES[name] for name in tables if name in SHAPES}

    def apply(self, writes, batch):
        self.tries += 1
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        writes = list(writes)
        rows = [(w.table, w.kind.name, row) for w in writes for row in w.rows]
        bad = [row for table, _, row in rows if self.refuses(table, row)]
        if bad:
            raise Refused("the target refuses rows", cause="a rule of its own")
        if (refused := self.names_refused(rows)) is not None:
            raise refused
        cleared = [write.table for write in writes if write.kind.name == "CLEAR"]
        if cleared and self.refuses_clear:
            raise Refused("the table cannot be emptied")
        self.cleared += cleared
        self.batches.append((rows, Batch(batch.after, batch.through)))
        self.progress = batch.progress or self.progress
        self.applied = batch.through
        if self.errors_after:
            raise self.errors_after.pop(0)
        return Applied(
            tuple(
                (at, index)
                for at, write in enumerate(writes)
                for index, row in enumerate(write.rows)
                if write.kind.name == "UPDATE" and row[0] in self.missing
            )
        )

    def close(self):
        self.closed = True

    @property
    def written(self):
        """All rows ever committed: (table, kind, row)."""
        return [row for rows, _ in self.batches for row in rows]


class Line:
    """A state with an outbox, a target, and a deliverer between them."""

    def __init__(self, directory):
        self.directory = directory
        self.plan = plan_of(TEXT)
        self.state = State(directory / "state.db", durable=False)
        self.journal = Journal(directory / "journal.db", durable=False)
        self.journal.encode("erp", [Rows(CARRIER, Op.INSERT, [])])
        self.target = ScriptedTarget()
        self.target.lineage = self.state.lineage
        self.resources = []
        self.start()

    def start(self):
        """The deliverer, as a new process would make it."""
        self.parked = ParkedRecords(self.directory / "deliver.db", durable=False)
        self.mark = AppliedMark(self.directory, "shop")
        self.resources += [self.parked, self.mark]
        self.deliverer = Deliverer("shop", self.plan, self.target, self.state, self.journal, self.parked, self.mark)
        self.deliverer.start()

    def units(self, *units):
        """One step of resolve with these units, each a list of items."""
        with self.state.transaction():
            writer = OutboxWriter(self.state)
            for items in units:
                for item in items:
                    writer.add("shop", item, 5, writes=len(item[3]) if item[0] < 0 else 1)
                writer.end_unit()
            writer.flush()
            self.state.put("units", writer.units)

    def deliver(self):
        while self.deliverer.step():
            pass

    def commands(self):
        entries = self.journal.read(0)
        return [decode_command(entry.note) for entry in entries if entry.note is not None]

    def close(self):
        for resource in (*self.resources, self.state, self.journal):
            resource.close()


@pytest.fixture(params=["in memory", "in place", "by way of the disk"])
def line(tmp_path, request, monkeypatch):
    if request.param != "in memory":
        monkeypatch.setattr(outbox, "PART_WRITES", 2 if request.param == "in place" else 1)
        monkeypatch.setattr(backlog, "LARGE_WRITES", 1)
        monkeypatch.setattr(spill, "PAGE_ITEMS", 2)
    if request.param == "by way of the disk":
        monkeypatch.setattr(in_place, "KEYS_MAX", 0)
    line = Line(tmp_path)
    yield line
    line.close()


in_memory = pytest.mark.parametrize("line", ["in memory"], indirect=True)
"""For what is said of small units alone."""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(parked_module, "RETRY_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(parked_module, "RETRY_LAST_SECONDS", 0.0)


def full(sku, name="n"):
    return [0, int(FULL), encode_key([sku]), 3, [sku, name], 0, []]


def update(sku, name):
    return [0, int(UPDATE), encode_key([sku]), 2, [name], 0, []]


def delete(sku):
    return [0, int(DELETE), encode_key([sku]), 0, [], 0, []]


def carriers(op, *rows, olds=None):
    return [-1, int(op), 1, [list(row) for row in rows], olds or ([None] * len(rows) if op == Op.UPDATE else None)]


def subject(sku):
    return (0, encode_key([sku]))


def owe(line, system, *, whole):
    """A record that is owed to a system, whatever else is kept of it."""
    columns = [row[1] for row in line.state.connection.execute("PRAGMA table_info(owed)")]
    known = {"system": line.plan.vocabulary.systems.index(system), "key": b"\0", "whole": whole, "known_as": None}
    with line.state.transaction() as connection:
        line.state.put("vocabulary", msgspec.msgpack.encode(line.plan.vocabulary))
        marks = ",".join("?" * len(columns))
        connection.execute(f"INSERT INTO owed VALUES ({marks})", [known.get(name, 0) for name in columns])

"""deliver: a record in several tables is written whole or parked whole, whichever table refuses it."""

from __future__ import annotations

import pytest

from cdcd import backlog, outbox
from cdcd.adapter import Identity
from cdcd.deliver import Deliverer
from cdcd.folding import in_place, spill
from cdcd.journal import Journal, decode_command
from cdcd.model import ColumnShape
from cdcd.outbox import AppliedMark, OutboxWriter, RecordWrite
from cdcd.parking import parked as parked_module
from cdcd.parking.parked import ParkedRecords
from cdcd.resolve.keys import encode_key
from cdcd.state import State
from cdcd_memory import MemoryServer
from cdcd_memory.target import MemoryTarget
from unit.small_line import plan_of

TEXT = """
[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
fields = { sku = { type = "text", owner = "erp" }, name = { type = "text", owner = "erp" }, price = { type = "text", owner = "erp" } }
in.erp = { table = "item", columns = { sku = "code", name = "name", price = "price" } }
[entities.product.in.shop]
table = "post"
columns = { sku = "sku.content", name = "title", price = "price.content" }
[entities.product.in.shop.parts.sku]
table = "meta"
parent = "post_id"
where = { name = "_sku" }
[entities.product.in.shop.parts.price]
table = "meta"
parent = "post_id"
where = { name = "_price" }
"""
ID = ColumnShape("id", "integer", nullable=False, has_default=True)


class PartsLine:
    """A state with an outbox, a memory server, and a deliverer between them."""

    def __init__(self, directory):
        self.server = MemoryServer(f"parts {directory}")
        self.server.create_table("post", (ID, ColumnShape("title", "text(10)")), ("id",))
        values = (ColumnShape("post_id", "integer"), ColumnShape("name", "text"), ColumnShape("content", "text(5)"))
        self.server.create_table("meta", (ID, *values), ("id",))
        self.state = State(directory / "state.db", durable=False)
        self.journal = Journal(directory / "journal.db", durable=False)
        self.parked = ParkedRecords(directory / "deliver.db", durable=False)
        self.mark = AppliedMark(directory, "shop")
        target = MemoryTarget(self.server, Identity("daemon", "shop", "lineage"))
        self.deliverer = Deliverer("shop", plan_of(TEXT), target, self.state, self.journal, self.parked, self.mark)
        self.deliverer.start()

    def unit(self, *items):
        """One unit, delivered."""
        with self.state.transaction():
            writer = OutboxWriter(self.state)
            for item in items:
                writer.add("shop", item, 5)
            writer.end_unit()
            writer.flush()
            self.state.put("units", writer.units)
        while self.deliverer.step():
            pass

    @property
    def products(self):
        """Title, and names and contents, by sku; a post without sku has none."""
        metas = [row[1:] for row in self.server.tables["meta"].rows.values()]
        found = {}
        for number, title in self.server.tables["post"].rows.values():
            held = {name: content for post, name, content in metas if post == number}
            found[held.pop("_sku", None)] = (title, held.get("_price"))
        assert len(found) == len(self.server.tables["post"].rows)
        return found

    def retried(self):
        commands = [decode_command(entry.note) for entry in self.journal.read(0) if entry.note is not None]
        return [key for command in commands for _, key in command.arguments["records"]]

    def close(self):
        for resource in (self.parked, self.mark, self.state, self.journal):
            resource.close()


@pytest.fixture(params=["in memory", "in place", "by way of the disk"])
def line(tmp_path, request, monkeypatch):
    if request.param != "in memory":
        monkeypatch.setattr(outbox, "PART_WRITES", 2 if request.param == "in place" else 1)
        monkeypatch.setattr(backlog, "LARGE_WRITES", 1)
        monkeypatch.setattr(spill, "PAGE_ITEMS", 2)
    if request.param == "by way of the disk":
        monkeypatch.setattr(in_place, "KEYS_MAX", 0)
    line = PartsLine(tmp_path)
    yield line
    line.close()


def full(sku, name="n", price="1"):
    return [0, int(RecordWrite.FULL), encode_key([sku]), 6, [name, price], 0, []]


def update(sku, price):
    return [0, int(RecordWrite.UPDATE), encode_key([sku]), 4, [price], 0, []]


def delete(sku):
    return [0, int(RecordWrite.DELETE), encode_key([sku]), 0, [], 0, []]


def test_records_in_several_tables_are_made_changed_and_deleted(line):
    line.unit(full("A"), full("B", price=None), full("C"))
    assert line.products == {"A": ("n", "1"), "B": ("n", None), "C": ("n", "1")}
    line.unit(update("A", "2"), full("B", "nn"), update("C", None))
    assert line.products == {"A": ("n", "2"), "B": ("nn", "1"), "C": ("n", None)}
    line.unit(delete("A"), full("D"), delete("gone"))
    assert line.products == {"B": ("nn", "1"), "C": ("n", None), "D": ("n", "1")}
    assert len(line.server.tables["meta"].rows) == 5
    assert len(line.parked) == 0
    assert line.deliverer.applied[0, "upsert"] == 5


@pytest.mark.parametrize(
    "bad", [full("bad", price="too long"), full("bad", name="a title too long"), full("too long sku")]
)
def test_a_record_that_one_table_refuses_is_parked_whole_and_the_others_are_written(line, bad):
    line.unit(full("A"), full("B"), bad, full("C"), full("D", price=None))
    assert set(line.products) == {"A", "B", "C", "D"}
    assert [parked for parked in [(0, bad[2])] if parked in line.parked] == [(0, bad[2])]
    assert len(line.parked) == 1


def test_a_change_of_a_record_that_is_not_there_is_parked(line):
    line.unit(full("A"))
    line.unit(update("A", "2"), update("gone", "3"))
    assert line.products == {"A": ("n", "2")}
    assert (0, encode_key(["gone"])) in line.parked
    assert len(line.parked) == 1


def test_a_record_that_is_told_whole_again_leaves_the_parking(line, monkeypatch):
    monkeypatch.setattr(parked_module, "RETRY_FIRST_SECONDS", 0.0)
    line.unit(full("A"), full("B", price="too long"))
    line.deliverer.retry_due()
    assert line.retried()[0] == encode_key(["B"])
    line.unit(full("B", price="3"))
    assert line.products == {"A": ("n", "1"), "B": ("n", "3")}
    assert len(line.parked) == 0


def rename(old, new):
    return [0, int(RecordWrite.REKEY), encode_key([new]), 0, [old], 0, []]


def test_a_record_that_gets_another_key_keeps_its_rows(line):
    line.unit(full("A", "a"), full("B", "b"), full("C", "c"), full("D", "d"))
    line.unit(update("A", "2"), rename("A", "AA"), update("AA", "3"), rename("B", "A"), delete("C"), rename("D", "C"))
    assert line.products == {"AA": ("a", "3"), "A": ("b", "1"), "C": ("d", "1")}
    assert sorted(key[0] for key in line.server.tables["post"].rows) == [1, 2, 4]
    assert len(line.parked) == 0


def test_a_rename_of_what_is_not_there_is_parked_by_its_new_key_unless_all_is_told(line):
    line.unit(full("A"))
    line.unit(rename("gone", "new"), full("whole"), rename("whole", "moved"))
    assert set(line.products) == {"A", "moved"}
    assert (0, encode_key(["new"])) in line.parked
    assert len(line.parked) == 1


def test_a_record_that_is_found_twice_is_parked_alone(line):
    line.unit(full("A"), full("B"))
    line.server.transaction([("insert", "meta", {"post_id": 1, "name": "_sku", "content": "B"})])
    line.unit(update("A", "2"), update("B", "2"))
    assert len(line.parked) == 1
    assert (0, encode_key(["B"])) in line.parked

"""References to records of the same batch are set when all rows are there."""

from __future__ import annotations

import pytest

from cdcd.folding.fold import Folder
from cdcd.folding.large import LargeFold
from cdcd.folding.spill import Spill
from cdcd.model import ColumnShape, TableShape
from cdcd.outbox import RecordWrite, Unit
from cdcd.resolve.keys import encode_key
from unit.small_line import plan_of

TEXT = """
[entities.category]
key = ["code"]
create = ["erp"]
fields = { code = { type = "text" }, parent = { type = "ref(category)", owner = "erp" } }
in.erp = { table = "category", columns = { code = "code", parent = "parent" } }
in.shop = { table = "category", columns = { code = "code", parent = "parent_id" } }
[entities.customer]
key = ["number"]
create = ["erp"]
fields = { number = { type = "text" }, address = { type = "ref(address)", owner = "erp" } }
in.erp = { table = "customer", columns = { number = "number", address = "address" } }
in.shop = { table = "customer", columns = { number = "number", address = "address_id" } }
[entities.address]
key = ["code"]
create = ["erp"]
fields = { code = { type = "text" }, customer = { type = "ref(customer)", owner = "erp" } }
in.erp = { table = "address", columns = { code = "code", customer = "customer" } }
in.shop = { table = "address", columns = { code = "code", customer = "customer_id" } }
"""
FULL, UPDATE, DELETE = (int(kind) for kind in (RecordWrite.FULL, RecordWrite.UPDATE, RecordWrite.DELETE))


def shape(table: str, *columns: str, nullable: bool = True) -> TableShape:
    shapes = [ColumnShape("id", "integer", nullable=False)]
    shapes += [ColumnShape(name, "integer" if name.endswith("_id") else "text", nullable=nullable) for name in columns]
    return TableShape(table, tuple(shapes), ("id",), (("id",), (columns[0],)))


def folder(*, nullable: bool = True) -> Folder:
    shapes = (
        shape("category", "code", "parent_id", nullable=nullable),
        shape("customer", "number", "address_id", nullable=nullable),
        shape("address", "code", "customer_id", nullable=nullable),
    )
    return Folder(plan_of(TEXT), "shop", {s.table: s for s in shapes}, lambda _number: None)  # type: ignore[arg-type, return-value]


def category(kind: int, code: str, parent: str | None = None) -> list:
    return [
        0,
        kind,
        encode_key([code]),
        0b11 if kind == FULL else 0b10,
        [code, parent][-2 if kind == FULL else -1 :],
        0,
        [],
    ]


def written(found) -> list:
    return [
        (g.write.kind.name, g.write.table, g.write.columns, g.write.rows)
        for g in found.ordered(deletes_first=False).between(0)
    ]


def test_a_category_gets_its_parent_when_all_categories_are_there():
    folded, _ = folder().fold([Unit(1, 0, [category(FULL, "b", "a"), category(FULL, "a")])], None)
    assert written(folded) == [
        ("UPSERT", "category", ("code",), [["b"], ["a"]]),
        ("UPDATE", "category", ("code", "parent_id"), [["b", "a"], ["a", None]]),
    ]


def test_a_changed_parent_is_set_after_everything_else():
    folded, _ = folder().fold([Unit(1, 0, [category(UPDATE, "b", "c"), category(FULL, "c")])], None)
    assert [(kind, rows) for kind, _, _, rows in written(folded)] == [
        ("UPSERT", [["c"]]),
        ("UPDATE", [["b", "c"], ["c", None]]),
    ]


def test_records_that_name_one_another_are_written_before_they_do():
    customer = [2, FULL, encode_key(["1"]), 0b11, ["1", "x"], 0, []]
    address = [1, FULL, encode_key(["x"]), 0b11, ["x", "1"], 0, []]
    folded, _ = folder().fold([Unit(1, 0, [customer, address])], None)
    assert [(kind, table) for kind, table, _, _ in written(folded)] == [
        ("UPSERT", "address"),
        ("UPSERT", "customer"),
        ("UPDATE", "address"),
    ]


def test_a_column_that_cannot_be_null_is_written_with_its_row():
    folded, _ = folder(nullable=False).fold([Unit(1, 0, [category(FULL, "b", "a")])], None)
    assert written(folded) == [("UPSERT", "category", ("code", "parent_id"), [["b", "a"]])]


def test_a_deleted_category_is_only_deleted():
    folded, _ = folder().fold(
        [Unit(1, 0, [category(FULL, "b", "a"), [0, DELETE, encode_key(["b"]), 0, [], 0, []]])], None
    )
    assert [kind for kind, *_ in written(folded)] == ["DELETE"]


@pytest.mark.parametrize("deletes_first", [False, True])
def test_by_way_of_the_disk_it_is_the_same(tmp_path, deletes_first):
    spill = Spill(tmp_path / "spill")
    large = LargeFold(folder(), spill, set(), lambda _unwritable: None)  # type: ignore[arg-type]
    large.add(Unit(1, 0, [category(FULL, "b", "a"), category(FULL, "a")]))
    groups = large.ordered(deletes_first=deletes_first).between(0)
    assert [(g.write.kind.name, g.write.rows) for g in groups] == [
        ("UPSERT", [["a"], ["b"]]),
        ("UPDATE", [["a", None], ["b", "a"]]),
    ]
    spill.close()

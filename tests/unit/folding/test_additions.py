"""Differences that are added to totals: one write a record, behind what else is written of it."""

import pytest

from cdcd.folding.fold import Folder
from cdcd.model import ColumnShape, TableShape, WriteKind
from cdcd.outbox import RecordWrite, Unit
from cdcd.resolve.keys import encode_key
from unit.small_line import plan_of

ITEM = """
[entities.item]
key = ["sku"]
create = ["erp"]
[entities.item.fields]
sku = { type = "text(20)", owner = "erp" }
stock = { type = "integer", owner = "sum" }
weight = { type = "decimal(12,2)", owner = "sum" }
name = { type = "text(20)", owner = "erp" }
[entities.item.in.erp]
table = "item"
columns = { sku = "code", stock = "on_hand", weight = "weight", name = "name" }
[entities.item.in.shop]
table = "goods"
[entities.item.in.shop.columns]
sku = "sku"
stock = "quantity"
name = "title"
weight = { column = "grams", scale = 100 }
"""
STOCK, WEIGHT = 0b0010, 0b0100
GRAMS = ColumnShape("grams", "integer(0,4294967295)")


def folder(text=ITEM, grams=GRAMS, quantity="integer(0,255)"):
    columns = (
        ColumnShape("id", "integer", nullable=False, has_default=True),
        ColumnShape("sku", "text(20)", nullable=False),
        ColumnShape("quantity", quantity),
        grams,
        ColumnShape("title", "text(20)"),
        ColumnShape("visible", "boolean"),
    )
    shape = TableShape("goods", columns, ("id",), (("id",), ("sku",)))
    return Folder(plan_of(text), "shop", {"goods": shape}, lambda _number: None)


def add(sku, mask, *differences):
    return [0, RecordWrite.ADD, encode_key([sku]), mask, list(differences), 0, []]


def full(sku, name, stock):
    return [0, RecordWrite.FULL, encode_key([sku]), 0b1001, [sku, name], STOCK, [stock]]


def fold(folder, *items):
    folded, _ = folder.fold([Unit(1, 0, list(items))], None)
    return folded


def writes(folded):
    groups = folded.ordered(deletes_first=False).between(0)
    return [(w.kind.name, w.columns, w.added, w.rows) for group in groups for w in group.writes()]


def test_differences_of_a_record_are_one_write():
    assert writes(fold(folder(), add("A", STOCK, -1), add("B", STOCK, 5), add("A", STOCK, 4))) == [
        ("UPDATE", ("sku", "quantity"), ("quantity",), [["A", 3], ["B", 5]])
    ]


def test_differences_are_written_as_the_column_counts_and_may_be_negative_where_it_may_not():
    assert writes(fold(folder(), add("A", WEIGHT, "-0.25"), add("A", STOCK, -300))) == [
        ("UPDATE", ("sku", "quantity", "grams"), ("quantity", "grams"), [["A", -300, -25]])
    ]


def test_what_adds_up_to_nothing_is_not_written():
    assert writes(fold(folder(), add("A", STOCK, -1), add("A", STOCK, 1))) == []


def test_a_difference_comes_after_what_else_is_written_of_its_record_and_stays_with_it():
    folded = fold(folder(), full("A", "ball", 10), full("B", "bat", 1), add("B", STOCK, 7))
    assert writes(folded) == [
        ("UPSERT", ("sku", "title", "quantity"), (), [["A", "ball", 10], ["B", "bat", 1]]),
        ("UPDATE", ("sku", "quantity"), ("quantity",), [["B", 7]]),
    ]
    (group,) = folded.changes
    assert [w.rows for w in group.only([0]).writes()] == [[["A", "ball", 10]]]
    assert [w.rows for w in group.only([1]).writes()] == [[["B", "bat", 1]], [["B", 7]]]
    assert group.number_of(1, 0) == 1


def test_a_record_that_is_deleted_gets_no_difference():
    delete = [0, RecordWrite.DELETE, encode_key(["A"]), 0, [], 0, []]
    assert [w[0] for w in writes(fold(folder(), add("A", STOCK, 1), delete, add("A", STOCK, 2)))] == ["DELETE"]
    again = fold(folder(), add("A", STOCK, 1), delete, full("A", "ball", 3), add("A", STOCK, 4))
    assert [(w[0], w[3]) for w in writes(again)] == [("UPSERT", [["A", "ball", 3]]), ("UPDATE", [["A", 4]])]


def test_a_difference_that_has_no_faithful_form_keeps_its_whole_record_back():
    tonnes = folder(ITEM.replace("scale = 100", "scale = 10"))
    folded = fold(tonnes, full("A", "ball", 10), full("B", "bat", 1), add("A", WEIGHT, "0.25"))
    assert [(w[0], w[3]) for w in writes(folded)] == [("UPSERT", [["B", "bat", 1]])]
    assert [found.subject for found in folded.unwritable] == [(0, encode_key(["A"]))]


@pytest.mark.parametrize("kind", ["text(20)", "boolean"])
def test_nothing_is_added_to_a_column_that_is_no_number(kind):
    folded = fold(folder(quantity=kind), add("A", STOCK, 1))
    assert writes(folded) == []
    (found,) = folded.unwritable
    assert found.refused.code in ("target-not-a-number", "target-type-mismatch")


def test_records_with_values_for_new_rows_get_their_differences_too():
    text = ITEM + "[entities.item.in.shop.new]\nvisible = true\n"
    folded = fold(folder(text), full("A", "ball", 10), add("A", STOCK, 2), add("B", STOCK, -1))
    found = writes(folded)
    assert [(kind, added, len(rows)) for kind, _, added, rows in found] == [
        ("UPSERT", (), 1),
        ("UPDATE", ("quantity",), 1),
        ("UPDATE", ("quantity",), 1),
    ]
    assert found[1][3] == [["A", 2]]
    assert found[2][3] == [["B", -1]]
    assert all(group.write.kind is not WriteKind.DELETE for group in folded.changes)

"""Records that get another key: before what else is said of them, in the order in which they got it."""

from __future__ import annotations

from cdcd.model import Lookup, WriteKind
from cdcd.outbox import RecordWrite
from cdcd.resolve.keys import encode_key
from unit.folding import test_fold
from unit.folding.test_fold import DELETE, FULL, UPDATE, packed, product

TITLE = ("sku", "title")


def rename(entity, old, new):
    return [entity, int(RecordWrite.REKEY), encode_key(new), 0, old, 0, []]


def changes(*items):
    folded, _ = test_fold.folder().fold([test_fold.unit(*items)], set())
    assert folded.unwritable == []
    groups = [*folded.ordered(deletes_first=False).between(0)]
    return [(group.write.kind.name, group.write.key, group.write.rows) for group in groups]


def update(key, **fields):
    return [0, int(UPDATE), encode_key([key]), *packed(fields), 0, []]


def test_a_record_gets_its_key_before_it_changes():
    assert changes(update("A", name="one"), rename(0, ["A"], ["B"]), update("B", price="1.0000")) == [
        ("REKEY", ("sku",), [["A", "B"]]),
        ("UPDATE", ("sku",), [["B", "one", 100]]),
    ]


def test_renames_that_meet_no_other_go_together_and_others_follow():
    items = [rename(0, ["A"], ["B"]), rename(0, ["C"], ["D"]), rename(0, ["B"], ["E"]), rename(0, ["F"], ["A"])]
    assert changes(*items) == [
        ("REKEY", ("sku",), [["A", "B"], ["C", "D"]]),
        ("REKEY", ("sku",), [["B", "E"], ["F", "A"]]),
    ]


def test_what_had_the_key_is_deleted_before():
    items = [product(DELETE, "B"), product(DELETE, "X"), rename(0, ["A"], ["B"])]
    assert changes(*items) == [
        ("DELETE", ("sku",), [["B"]]),
        ("REKEY", ("sku",), [["A", "B"]]),
        ("DELETE", ("sku",), [["X"]]),
    ]


def test_a_record_that_is_deleted_after_all_is_deleted_by_its_last_key():
    assert changes(rename(0, ["A"], ["B"]), product(DELETE, "B")) == [
        ("REKEY", ("sku",), [["A", "B"]]),
        ("DELETE", ("sku",), [["B"]]),
    ]


def test_the_row_of_a_record_that_is_told_whole_may_be_missing():
    folded, _ = test_fold.folder().fold([test_fold.unit(product(FULL, "A"), rename(0, ["A"], ["B"]))], set())
    first, second = folded.ordered(deletes_first=False).between(0)
    assert (first.missing_is_fine, first.prepares) == (True, False)
    assert (second.write.kind, second.write.rows[0][0]) == (WriteKind.UPSERT, "B")


def test_a_child_is_found_through_its_parent_by_its_id():
    folder = test_fold.folder()
    lines = next(record for record in folder.records.values() if record.entity.name == "order.lines")
    item = rename(lines.entity.number, ["N", 1, "P"], ["N", 2, "P"])
    folded, _ = folder.fold([test_fold.unit(item)], set())
    (group,) = folded.ordered(deletes_first=False).between(0)
    found = Lookup(
        "id",
        "items",
        ("order_id", "line_no", "product_id"),
        "id",
        nested=(Lookup("order_id", "orders", ("number",), "id"), Lookup("product_id", "products", ("sku",), "id")),
    )
    assert (group.write.kind, group.write.key, group.write.numbers_new) == (WriteKind.UPDATE, ("id",), True)
    assert group.write.columns == ("id", "line_no", "product_id")
    assert group.write.lookups == (found, Lookup("product_id", "products", ("sku",), "id"))
    assert group.write.rows == [[["N", 1, "P"], 2, "P"]]

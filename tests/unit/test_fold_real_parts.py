"""Records in several tables, as the templates for real applications have them: what is only read, and what new rows need."""

from __future__ import annotations

import pytest

from cdcd.model import WriteKind
from cdcd.outbox import Unit
from cdcd.resolve.keys import encode_key
from unit.folding.test_parts import DELETE, FIELDS, FULL, UPDATE, Line, head, shape

POST = shape("post", "sku", "title", ("born", "date"), ("shelf_id", "integer"), unique=(("sku",),))
SHELF = shape("shelf", "hall")


def test_a_part_that_is_only_read_has_no_say_in_what_is_written_though_the_binding_asks_for_it():
    """As a line of a sale is known by its sale, but counts only where the sale is one of the shop's."""
    parts = """
[entities.product.in.shop.parts.shelf]
table = "shelf"
at = "shelf_id"
where = { hall = "A" }
write = "never"
"""
    text = head(FIELDS, parts, 'sku = "sku", name = "title"', 'where = { "shelf.hall" = "A" }')
    line = Line(text, POST, SHELF)
    (main,) = line.fold(line.item("product", FULL, ["A"], name="n", price=None, unit=None))
    assert (main.key, main.columns, main.rows) == (("sku",), ("sku", "title"), [["A", "n"]])


def test_the_commit_time_is_a_day_where_the_column_holds_days():
    text = head(FIELDS, "", 'sku = "sku", name = "title"', 'new = { born = { commit-time = "Asia/Tokyo" } }')
    line = Line(text, POST)
    item = line.item("product", FULL, ["A"], name="n", price=None, unit=None)
    (main,) = line.fold(item, at_us=1_767_193_200_000_000)  # 2025-12-31 15:00 UTC
    assert dict(zip(main.columns, main.rows[0], strict=True))["born"] == "2026-01-01"


def test_a_change_of_a_part_whose_new_row_would_need_more_than_is_told_changes_the_row_that_is_there():
    """Else every change of a customer's address would be refused first, and told whole only some seconds later."""
    parts = """
[entities.product.in.shop.parts.price]
table = "price"
parent = "post_id"
new = { label = { template = "{name}" } }
"""
    line = Line(
        head(FIELDS, parts, 'sku = "sku", name = "title", price = "price.amount"'),
        POST,
        shape("price", ("post_id", "integer"), ("amount", "decimal(12,2)"), "label"),
    )
    _, price = line.fold(line.item("product", UPDATE, ["A"], price="2.00"))
    assert (price.kind, price.columns, price.rows) == (WriteKind.UPDATE, ("id", "amount"), [["A", "2.00"]])
    _, price = line.fold(line.item("product", FULL, ["A"], name="n", price="2.00", unit=None))
    assert (price.kind, price.insert_only) == (WriteKind.UPSERT, ("post_id", "label"))


@pytest.mark.parametrize("is_gathered", [True, False])
def test_a_delete_that_a_system_ignores_only_says_that_nothing_is_parked_any_more(is_gathered: bool):
    """A record that is parked there may be deleted elsewhere meanwhile; the retry is told so, and its row stays."""
    more = 'on-delete = "ignore"' + ("\nwhere = { shelf_id = 3 }" if is_gathered else "")
    line = Line(head(FIELDS, "", 'sku = "sku", name = "title"', more), POST)
    folded, _ = line.folder.fold([Unit(1, 0, [line.item("product", DELETE, ["A"])])], None)
    (group,) = folded.changes
    assert (group.write.kind, group.write.columns, group.write.rows) == (WriteKind.UPDATE, ("sku",), [["A"]])
    assert ([*group.subjects], group.missing_is_fine, folded.deletes) == ([(0, encode_key(["A"]))], True, [])

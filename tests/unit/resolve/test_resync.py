"""Operator's commands: a resync finds what was missed, a rewind and a retry tell the present truth only."""

from __future__ import annotations

import pytest

from cdcd.errors import NeedsOperator
from unit.small_line import Told, delete, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": "n", "body": "w"}


@pytest.fixture
def line(products):
    """Products A and B in both systems."""
    products.apps["erp"].write(insert("item", id=1, **ROW), insert("item", id=2, **ROW | {"code": "B"}))
    products.resolve()
    products.apps["shop"].echo(
        insert("products", id=70, **SHOP_ROW), insert("products", id=71, **SHOP_ROW | {"sku": "B"})
    )
    products.resolve()
    products.told("shop")
    return products


def behind_our_back(line, system, table, id, **changes):  # noqa: A002
    """Something that no log showed."""
    rows = line.apps[system].rows[table]
    if changes:
        rows[id] |= changes
    else:
        del rows[id]


# ---- resync ----------------------------------------------------------------------------------------------------


def test_a_resync_of_what_is_in_step_tells_nothing(line):
    line.resync("product")
    assert line.told("shop") == line.told("erp") == []


def test_a_resync_finds_changes_that_no_log_showed(line):
    behind_our_back(line, "erp", "item", 1, name="two")
    behind_our_back(line, "shop", "products", 71, title="bent", body="mine")
    line.resync("product")
    assert line.told("shop") == [
        Told("product", "UPDATE", ("A",), {"name": "two"}),
        Told("product", "UPDATE", ("B",), {"name": "one"}),
    ]
    assert line.told("erp") == [Told("product", "UPDATE", ("B",), {"body": "mine"})]


def test_a_delete_that_was_missed_is_a_delete_where_the_system_may_delete(line):
    behind_our_back(line, "erp", "item", 1)
    line.resync("product")
    assert {(told.kind, told.key) for told in line.told("shop")} == {("DELETE", ("A",))}
    assert line.values("product", "A") is None


def test_a_delete_that_was_missed_is_undone_where_the_system_may_not_delete(line):
    behind_our_back(line, "shop", "products", 70)
    line.resync("product")
    assert [(told.kind, told.key) for told in line.told("shop")] == [("FULL", ("A",))]
    assert line.told("erp") == []


def test_a_row_that_is_there_but_cannot_be_understood_is_not_missing(line):
    behind_our_back(line, "erp", "item", 1, state="unheard-of")
    line.resync("product")
    assert line.held() == ["value-refused"]
    assert line.told("shop") == line.told("erp") == []
    assert line.values("product", "A")["name"] == "one"


def test_while_a_row_hides_its_key_no_record_counts_as_missing(line):
    line.apps["erp"].rows["item"][3] = line.apps["erp"].rows["item"][1] | {"id": 3, "code": None}
    behind_our_back(line, "erp", "item", 1)
    line.resync("product")
    assert line.told("shop") == []
    behind_our_back(line, "erp", "item", 3)
    line.resync("product")
    assert {(told.kind, told.key) for told in line.told("shop")} == {("DELETE", ("A",))}


def test_a_row_that_waits_for_another_is_not_missing(orders):
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    orders.apps["shop"].write(insert("orders", id=1, number="O1", customer_id=5, status="new", total="1.00"))
    orders.resolve()
    orders.told("erp")
    behind_our_back(orders, "shop", "orders", 1, customer_id=6)
    orders.resync("order")
    assert orders.waiting() == 1
    assert orders.values("order", "O1")["customer"] == "C1"


def test_what_the_log_says_while_a_resync_runs_is_seen_too(line):
    run = line.command("resync", entity="product")
    line.apps["erp"].copy("item", done=False, run=run)
    line.apps["erp"].write(insert("item", id=3, **ROW | {"code": "C"}), delete("item", 2))
    line.resolve()
    line.apps["erp"].copy("item", run=run)
    line.apps["shop"].copy("products", run=run)
    line.resolve()
    assert [(told.kind, told.key) for told in line.told("shop")][:2] == [("FULL", ("C",)), ("DELETE", ("B",))]
    assert line.values("product", "C") is not None


def test_a_copy_of_an_older_run_does_not_end_a_resync(line):
    old = line.command("resync", entity="product")
    new = line.command("resync", entity="product")
    behind_our_back(line, "erp", "item", 1)
    line.apps["erp"].copy("item", run=old)
    line.resolve()
    assert line.told("shop") == []
    line.apps["erp"].copy("item", run=new)
    line.resolve()
    assert [told.kind for told in line.told("shop")] == ["DELETE"]


def test_a_rest_of_a_deleted_record_goes(line):
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    line.told("shop")
    line.apps["shop"].through = line.newest_unit("shop")
    line.resync("product")
    assert [(told.kind, told.key) for told in line.told("shop")] == [("DELETE", ("A",))]


def test_a_resync_of_an_order_covers_its_lines(orders):
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    orders.apps["shop"].write(
        insert("orders", id=1, number="O1", customer_id=5, status="new", total="1.00"),
        insert("order_items", id=10, order_id=1, position=1, quantity=3),
    )
    orders.resolve()
    orders.told("erp")
    behind_our_back(orders, "shop", "order_items", 10)
    orders.resync("order")
    assert ("order.lines", "DELETE", ("O1", 1)) in [(t.entity, t.kind, t.key) for t in orders.told("erp")]


# ---- rewind and retry ------------------------------------------------------------------------------------------


def test_a_rewind_tells_the_present_truth_of_what_was_touched_since(line):
    since_us = line.now_us + 1
    line.apps["erp"].write(update("item", 1, name="two"))
    line.apps["erp"].write(update("item", 1, name="three"))
    line.resolve()
    line.told("shop")
    line.command("rewind", system="shop", since_us=since_us)
    line.resolve()
    told = line.told("shop")
    assert [(t.kind, t.key, t.fields["name"], t.initial) for t in told] == [("FULL", ("A",), "three", {"body": "w"})]
    assert line.told("erp") == []


def test_a_rewind_tells_of_records_that_are_deleted_now_that_they_are(line):
    since_us = line.now_us + 1
    line.apps["erp"].write(update("item", 1, name="two"))
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    line.told("shop")
    line.command("rewind", system="shop", since_us=since_us)
    line.resolve()
    assert line.told("shop") == [Told("product", "DELETE", ("A",), {})]


def test_a_retry_tells_the_present_truth_of_the_records_it_names(line):
    number = line.plan.entities["product"].number
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.told("shop")
    line.command("retry", system="shop", records=[[number, b"\xa1A"], [number, b"\xa1Z"]])
    line.resolve()
    assert [(told.kind, told.key) for told in line.told("shop")] == [("FULL", ("A",)), ("DELETE", ("Z",))]


def test_a_retry_leaves_alone_what_the_system_is_not_to_have(products):
    products.apps["shop"].rows["products"][70] = {"id": 70, **SHOP_ROW}
    products.resync("product")
    number = products.plan.entities["product"].number
    products.command("retry", system="erp", records=[[number, b"\xa1A"], [999, b"\xa1A"]])
    products.resolve()
    assert [told.kind for told in products.told("erp")] in ([], ["DELETE"])


def test_an_unknown_command_stops_before_it(line):
    line.command("dance")
    with pytest.raises(NeedsOperator, match="unknown command 'dance'"):
        line.resolve()

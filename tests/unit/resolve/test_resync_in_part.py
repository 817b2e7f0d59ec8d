"""Resyncs of one system, of some rows, of named records; and what is read from a later place of a log."""

from __future__ import annotations

import pytest

from cdcd.model import ABSENT, Op
from cdcd.outbox import read
from cdcd.resolve.keys import encode_key
from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.resolve.test_ownership_sum import ERP_ROW, STOCK, TABLES
from unit.resolve.test_ownership_sum import SHOP_ROW as GOODS_ROW
from unit.resolve.test_resync import ROW, SHOP_ROW, behind_our_back
from unit.resolve.test_suspension import drop
from unit.small_line import Told, delete, insert, update

MOVES = """
[[replicate]]
from = "erp"
to = "shop"
tables = ["stock_move"]
"""


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


def named(line, *keys, system="erp"):
    return line.command(
        "resync", entity="product", systems=[system], filtered=True, keys=[encode_key([key]) for key in keys]
    )


def told(line, system="shop"):
    return [(one.kind, one.key) for one in line.told(system)]


# ---- one system ------------------------------------------------------------------------------------------------


def test_a_resync_of_one_system_misses_only_what_that_one_lacks(line):
    behind_our_back(line, "erp", "item", 1)
    behind_our_back(line, "shop", "products", 71)
    run = line.command("resync", entity="product", systems=["erp"])
    line.apps["erp"].copy("item", run=run)
    line.apps["shop"].copy("products", run=run)
    line.resolve()
    assert set(told(line)) == {("DELETE", ("A",))}


def test_a_later_copy_of_a_table_for_somebody_else_ends_a_resync_too(line):
    line.command("resync", entity="product", systems=["erp"])
    behind_our_back(line, "erp", "item", 1)
    line.apps["erp"].copy("item", run=line.command("resync", entity="other", systems=["erp"]))
    line.resolve()
    assert told(line) == [("DELETE", ("A",))]


def test_a_cancelled_resync_misses_nobody(line):
    run = line.command("resync", entity="product")
    behind_our_back(line, "erp", "item", 1)
    line.command("cancel-resync", entity="product")
    line.apps["erp"].copy("item", run=run)
    line.resolve()
    assert told(line) == []


# ---- some rows -------------------------------------------------------------------------------------------------


def test_where_some_rows_are_read_nobody_is_missing(line):
    behind_our_back(line, "erp", "item", 1)
    behind_our_back(line, "erp", "item", 2, name="two")
    run = line.command("resync", entity="product", systems=["erp"], filtered=True)
    line.apps["erp"].copy("item", run=run, only={2})
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("B",), {"name": "two"})]


def test_a_copy_of_some_rows_is_no_first_copy(make_line, line):
    seeding = make_line(line.text, {a.system: columns(a) for a in line.apps.values()}, live=False)
    seeding.apps["erp"].copy("item", only=set())
    seeding.apps["shop"].copy("products")
    seeding.resolve()
    assert seeding.state.summary().phases == {"product": "seeding"}


def columns(app):
    return {
        table: dict(zip(relation.columns, relation.types, strict=True)) for table, relation in app.relations.items()
    }


def test_a_named_record_that_its_owner_does_not_show_is_gone(line):
    behind_our_back(line, "erp", "item", 1)
    line.apps["erp"].copy("item", run=named(line, "A", "B", "Z"), only={2})
    line.resolve()
    assert told(line) == [("DELETE", ("A",))]


def test_a_named_record_that_the_log_shows_meanwhile_is_not_missing(line):
    behind_our_back(line, "erp", "item", 1)
    run = named(line, "A")
    line.apps["erp"].write(insert("item", id=9, **ROW))
    line.apps["erp"].copy("item", run=run, only=set())
    line.resolve()
    assert told(line) == []


def test_a_named_record_is_told_to_a_system_that_never_had_it(line):
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    assert told(line) == [("FULL", ("A",))]
    line.apps["shop"].echo()
    line.apps["shop"].copy("products", run=named(line, "B", system="shop"), only=set())
    line.resolve()
    assert told(line) == [("FULL", ("B",))]


def test_what_was_named_outlives_a_restart(line):
    behind_our_back(line, "erp", "item", 1)
    run = named(line, "A", "B")
    line.apps["erp"].copy("item", run=run, only={2})
    line.start()
    line.resolve()
    assert told(line) == [("DELETE", ("A",))]


def test_while_a_row_hides_its_key_no_named_record_is_missing(line):
    line.apps["erp"].rows["item"][3] = line.apps["erp"].rows["item"][1] | {"id": 3, "code": None}
    behind_our_back(line, "erp", "item", 1)
    line.apps["erp"].copy("item", run=named(line, "A"), only={3})
    line.resolve()
    assert told(line) == []


def test_children_of_a_named_record_that_are_not_shown_are_gone(orders):
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    for number in (1, 2):
        orders.apps["shop"].write(
            insert("orders", id=number, number=f"O{number}", customer_id=5, status="new", total="1.00"),
            insert("order_items", id=10 * number, order_id=number, position=1, quantity=3),
        )
    orders.resolve()
    orders.told("erp")
    behind_our_back(orders, "shop", "order_items", 10)
    behind_our_back(orders, "shop", "order_items", 20)
    run = orders.command("resync", entity="order", systems=["shop"], filtered=True, keys=[encode_key(["O1"])])
    orders.apps["shop"].copy("orders", run=run, only={1})
    orders.apps["shop"].copy("order_items", run=run, only=set())
    orders.resolve()
    assert [(t.entity, t.kind, t.key) for t in orders.told("erp")] == [("order.lines", "DELETE", ("O1", 1))]


def test_named_rows_of_a_plain_copy_that_its_source_lacks_are_deleted(make_line):
    line = make_line(MOVES, {"erp": {"stock_move": {"id": "integer", "qty": "integer"}}, "shop": {}})
    line.apps["erp"].write(insert("stock_move", id=1, qty=3), insert("stock_move", id=2, qty=3))
    line.resolve()
    run = line.command(
        "resync", entity="erp:stock_move", systems=["erp"], filtered=True, columns=["id"], rows=[[1], [2], [7]]
    )
    line.apps["erp"].copy("stock_move", run=run, only={2})
    line.resolve()
    items = [item for stored in read(line.state, "shop", 0, 0) for unit in stored.units() for item in unit.items]
    assert [(Op(item[1]), item[3]) for item in items[-2:]] == [
        (Op.READ, [[2, 3]]),
        (Op.DELETE, [[1, ABSENT], [7, ABSENT]]),
    ]


# ---- another place of the log ----------------------------------------------------------------------------------


def test_what_arrived_in_the_gap_is_no_more_on_its_way(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.told("shop")
    behind_our_back(line, "shop", "products", 70, title="bent")
    line.apps["shop"].reposition(line.newest_unit("shop"))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "two"})]


def test_what_is_still_on_its_way_is_not_told_twice(line):
    before = line.newest_unit("shop")
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].reposition(before)
    line.resolve()
    assert line.told("shop") == []


def test_what_was_changed_made_and_deleted_in_the_gap_counts_as_changes_of_now(line):
    behind_our_back(line, "erp", "item", 1)
    behind_our_back(line, "erp", "item", 2, name="two")
    line.apps["erp"].rows["item"][3] = line.apps["erp"].rows["item"][2] | {"id": 3, "code": "C"}
    line.apps["erp"].reposition(line.newest_unit("erp"))
    line.resolve()
    assert sorted(told(line)) == [("DELETE", ("A",)), ("FULL", ("C",)), ("UPDATE", ("B",))]


def test_a_record_that_was_made_there_and_deleted_in_the_gap_is_made_again(line):
    line.apps["erp"].write(insert("item", id=3, **ROW | {"code": "C"}))
    line.resolve()
    assert told(line) == [("FULL", ("C",))]
    line.apps["shop"].reposition(line.newest_unit("shop"))
    line.resolve()
    assert told(line) == [("FULL", ("C",))]
    assert line.values("product", "C") is not None


def test_an_entity_that_is_still_copied_for_the_first_time_believes_only_what_is_read_after_the_gap(make_line, line):
    seeding = make_line(line.text, {a.system: columns(a) for a in line.apps.values()}, live=False)
    erp, shop = seeding.apps["erp"], seeding.apps["shop"]
    erp.rows["item"] = {1: {"id": 1, **ROW}, 2: {"id": 2, **ROW, "code": "B"}}
    erp.copy("item")
    seeding.resolve()
    del erp.rows["item"][1]
    erp.reposition(0)
    shop.copy("products")
    seeding.resolve()
    assert seeding.values("product", "A") is None
    assert told(seeding) == [("FULL", ("B",))]


def test_an_echo_that_is_read_late_takes_nothing_back(line):
    line.apps["shop"].reposition(line.newest_unit("shop"))
    line.resolve()
    before = line.state.get("echoed:shop")
    line.apps["shop"].through = 0
    line.apps["shop"].echo(through=1)
    line.resolve()
    assert line.state.get("echoed:shop") == before


def test_a_total_stays_as_the_others_know_it(make_line):
    line = make_line(STOCK, TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.resolve()
    line.apps["shop"].echo(insert("goods", id=7, **GOODS_ROW))
    line.resolve()
    line.told("shop")
    behind_our_back(line, "shop", "goods", 7, quantity=4)
    line.apps["shop"].reposition(line.newest_unit("shop"))
    line.resolve()
    assert line.values("item", "A")["stock"] == 10
    assert [(t.kind, t.fields) for t in line.told("shop")] == [("ADD", {"stock": 6})]


# ---- records that are put together -------------------------------------------------------------------------------


GOODS = """
[entities.good]
key = ["code"]
create = ["erp"]
delete = ["erp"]
[entities.good.fields]
code = { type = "text(20)", owner = "erp" }
name = { type = "text(20)", owner = "erp" }
[entities.good.in.erp]
table = "item"
where = { kind = "good" }
columns = { code = "code", name = "name" }
[entities.good.in.shop]
table = "goods"
columns = { code = "sku", name = "title" }
"""
GOODS_TABLES = {
    "erp": {"item": {"id": "integer", "code": "text(20)", "name": "text(20)", "kind": "text(10)"}},
    "shop": {"goods": {"id": "integer", "sku": "text(20)", "title": "text(20)"}},
}


def test_named_records_whose_rows_are_kept_are_compared_too(make_line):
    line = make_line(GOODS, GOODS_TABLES)
    erp = line.apps["erp"]
    for number, code in enumerate("ABCD", start=1):
        erp.write(insert("item", id=number, code=code, name="one", kind="good"))
    line.resolve()
    line.told("shop")
    behind_our_back(line, "erp", "item", 1)
    behind_our_back(line, "erp", "item", 2, kind="bad")
    behind_our_back(line, "erp", "item", 3, name="two")
    run = line.command(
        "resync", entity="good", systems=["erp"], filtered=True, keys=[encode_key([code]) for code in "ABC"]
    )
    erp.copy("item", run=run, only={2, 3})
    line.resolve()
    assert sorted(told(line)) == [("DELETE", ("A",)), ("DELETE", ("B",)), ("UPDATE", ("C",))]


def test_what_is_suspended_meets_the_gap_at_its_own_place(make_line):
    line = make_line(PRODUCT, PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    drop(line, "note")
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.told("shop")
    behind_our_back(line, "erp", "item", 1, name="three")
    line.apps["shop"].rows["products"][70] = {"id": 70, **SHOP_ROW, "body": "gap"}
    arrived = line.newest_unit("shop")
    line.apps["shop"].reposition(arrived)
    line.apps["erp"].reposition(0)
    line.resolve()
    assert line.told("shop") == line.told("erp") == []
    line.start(PRODUCT.replace(', note = "note", body = "web"', ', body = "web"'))
    line.resolve()
    assert [t.fields["name"] for t in line.told("shop") if t.kind == "UPDATE"] == ["two", "three"]
    assert line.values("product", "A")["body"] == "gap"
    assert line.values("product", "A")["name"] == "three"

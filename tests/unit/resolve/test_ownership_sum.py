"""Fields that add up (owner = "sum"): what counts is the difference to what a system's log showed before."""

import pytest

from cdcd.outbox import AppliedMark
from cdcd.resolve import trimming
from unit.small_line import delete, insert, update

STOCK = """
[entities.item]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
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
columns = { sku = "sku", stock = "quantity", weight = "weight", name = "title" }
"""
TABLES = {
    "erp": {
        "item": {
            "id": "integer",
            "code": "text(20)",
            "on_hand": "integer",
            "weight": "decimal(12,2)",
            "name": "text(20)",
        }
    },
    "shop": {
        "goods": {
            "id": "integer",
            "sku": "text(20)",
            "quantity": "integer",
            "weight": "decimal(12,2)",
            "title": "text(20)",
        }
    },
}
ERP_ROW = {"code": "A", "on_hand": 10, "weight": "5.00", "name": "ball"}
SHOP_ROW = {"sku": "A", "quantity": 10, "weight": "5.00", "title": "ball"}


@pytest.fixture
def line(make_line):
    """Item A, 10 pieces, in both systems."""
    line = make_line(STOCK, TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.resolve()
    line.apps["shop"].echo(insert("goods", id=7, **SHOP_ROW))
    line.resolve()
    line.told("shop")
    return line


def stock(line):
    return line.values("item", "A")["stock"]


def told(line, system):
    return [(one.kind, one.fields) for one in line.told(system)]


def test_a_new_record_has_the_total_of_who_created_it_written_only_where_it_is_new(make_line):
    line = make_line(STOCK, TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.resolve()
    assert [(one.kind, one.initial) for one in line.told("shop")] == [("FULL", {"stock": 10, "weight": "5.00"})]


@pytest.mark.parametrize("erp_first", [True, False])
def test_differences_of_several_systems_add_up_in_either_order_of_the_logs(line, erp_first):
    def received():
        line.apps["erp"].write(update("item", 1, on_hand=20))

    def sold():
        line.apps["shop"].write(update("goods", 7, quantity=9))

    for change in (received, sold) if erp_first else (sold, received):
        change()
    line.resolve()
    assert stock(line) == 19
    assert told(line, "shop") == [("ADD", {"stock": 10})]
    assert told(line, "erp") == [("ADD", {"stock": -1})]


def test_what_was_changed_meanwhile_is_in_the_row_that_our_difference_is_read_back_from(line):
    line.apps["erp"].write(update("item", 1, on_hand=20))
    line.resolve()
    line.apps["shop"].write(update("goods", 7, quantity=9))
    line.apps["shop"].echo(update("goods", 7, quantity=19))
    line.apps["shop"].write(update("goods", 7, quantity=16))
    line.resolve()
    assert stock(line) == 16
    assert [fields for _, fields in told(line, "erp")] == [{"stock": -1}, {"stock": -3}]
    line.apps["erp"].echo(update("item", 1, on_hand=16))
    line.resolve()
    assert told(line, "shop") == [("ADD", {"stock": 10})]
    assert line.told("erp") == []


def test_decimals_add_up_exactly(line):
    line.apps["shop"].write(update("goods", 7, weight="4.90"))
    line.apps["erp"].write(update("item", 1, weight="5.05"))
    line.resolve()
    assert line.values("item", "A")["weight"] == "4.95"
    assert told(line, "erp") == [("ADD", {"weight": "-0.10"})]
    assert told(line, "shop") == [("ADD", {"weight": "0.05"})]


def test_a_change_of_another_field_says_nothing_about_the_total(line):
    line.apps["shop"].write(update("goods", 7, quantity=4))
    line.apps["erp"].write(update("item", 1, name="Ball"))
    line.resolve()
    assert stock(line) == 4
    assert told(line, "shop") == [("UPDATE", {"name": "Ball"})]


def test_null_counts_as_nothing(line):
    line.apps["shop"].write(update("goods", 7, quantity=None))
    line.resolve()
    assert stock(line) == 0
    assert told(line, "erp") == [("ADD", {"stock": -10})]


def test_a_trigger_that_changes_the_total_in_our_transaction_adds_up_too(line):
    line.apps["erp"].write(update("item", 1, on_hand=20))
    line.resolve()
    line.apps["shop"].echo(update("goods", 7, quantity=18), update("goods", 7, quantity=18, title="x"))
    line.resolve()
    assert stock(line) == 18
    assert told(line, "erp") == [("ADD", {"stock": -2})]


def test_a_record_that_our_transaction_shows_before_and_after_is_counted_once(line):
    line.apps["erp"].write(update("item", 1, on_hand=20, name="Ball"))
    line.resolve()
    line.apps["shop"].echo(update("goods", 7, title="Ball"), update("goods", 7, quantity=20), update("goods", 7))
    line.resolve()
    assert stock(line) == 20
    assert line.told("erp") == []


def test_a_new_row_and_a_difference_in_one_transaction_of_ours_are_no_change(make_line):
    line = make_line(STOCK, TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.apps["erp"].write(update("item", 1, on_hand=13))
    line.resolve()
    line.apps["shop"].echo(insert("goods", id=7, **SHOP_ROW), update("goods", 7, quantity=13))
    line.resolve()
    assert stock(line) == 13
    assert line.told("erp") == []
    assert told(line, "shop")[1:] == [("ADD", {"stock": 3})]


def test_a_row_that_was_there_already_gets_what_it_lacks_of_the_total(make_line):
    line = make_line(STOCK, TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.apps["shop"].write(insert("goods", id=7, **SHOP_ROW | {"quantity": 4}))
    line.resolve()
    assert stock(line) == 10
    assert ("ADD", {"stock": 6}) in told(line, "shop")
    line.apps["shop"].echo(update("goods", 7, quantity=10))
    line.resolve()
    assert line.told("shop") == line.told("erp") == []


def test_at_first_the_creating_systems_total_is_true_and_others_are_told_the_difference(make_line):
    line = make_line(STOCK, TABLES, live=False)
    line.apps["erp"].rows["item"][1] = {"id": 1, **ERP_ROW}
    line.apps["shop"].rows["goods"][7] = {"id": 7, **SHOP_ROW, "quantity": 4}
    line.go_live()
    assert stock(line) == 10
    assert told(line, "shop") == [("ADD", {"stock": 6})]


def test_a_sale_during_the_first_copy_is_not_lost(make_line):
    line = make_line(STOCK, TABLES, live=False)
    line.apps["erp"].rows["item"][1] = {"id": 1, **ERP_ROW}
    line.apps["shop"].rows["goods"][7] = {"id": 7, **SHOP_ROW, "quantity": 4}
    line.go_live()
    line.apps["shop"].write(update("goods", 7, quantity=3))
    line.apps["shop"].echo(update("goods", 7, quantity=9))
    line.resolve()
    assert stock(line) == 9
    assert told(line, "erp") == [("ADD", {"stock": -1})]


def test_the_system_whose_total_is_true_at_first_can_be_stated(make_line):
    text = STOCK.replace('"integer", owner = "sum"', '"integer", owner = "sum", initial = "shop"')
    line = make_line(text, TABLES, live=False)
    line.apps["erp"].rows["item"][1] = {"id": 1, **ERP_ROW}
    line.apps["shop"].rows["goods"][7] = {"id": 7, **SHOP_ROW, "quantity": 4}
    line.go_live()
    assert stock(line) == 4
    assert told(line, "erp") == [("ADD", {"stock": -6})]


def test_a_rewind_does_not_touch_totals(line):
    line.apps["shop"].write(update("goods", 7, quantity=9))
    line.resolve()
    line.apps["erp"].echo(update("item", 1, on_hand=9))
    line.command("rewind", system="shop", since_us=0)
    line.resolve()
    assert [(one.kind, one.fields.get("stock")) for one in line.told("shop")] == [("FULL", None)]


def test_a_difference_that_was_parked_is_told_again_once_it_is_seen_to_be_lacking(line):
    line.apps["erp"].write(update("item", 1, on_hand=20))
    line.resolve()
    assert told(line, "shop") == [("ADD", {"stock": 10})]
    entity = line.plan.entities["item"].number
    key = line.state.connection.execute("SELECT key FROM golden").fetchone()[0]
    line.command("retry", system="shop", records=[[entity, key]])
    line.resolve()
    assert [one.kind for one in line.told("shop")] == ["FULL"], "nobody knows yet that it was lost"
    line.apps["shop"].echo()
    line.resolve()
    assert told(line, "shop") == [("ADD", {"stock": 10})]
    line.apps["shop"].echo(update("goods", 7, quantity=20))
    line.resolve()
    assert stock(line) == 20
    assert line.told("shop") == line.told("erp") == []


def test_a_retry_of_what_arrived_after_all_adds_nothing(line):
    line.apps["erp"].write(update("item", 1, on_hand=20))
    line.resolve()
    added = line.newest_unit("shop")
    entity = line.plan.entities["item"].number
    key = line.state.connection.execute("SELECT key FROM golden").fetchone()[0]
    line.command("retry", system="shop", records=[[entity, key]])
    line.resolve()
    line.apps["shop"].echo(update("goods", 7, quantity=20), through=added)
    line.apps["shop"].echo()
    line.resolve()
    assert [one.kind for one in line.told("shop")] == ["ADD", "FULL"]


def test_a_row_that_was_deleted_against_the_rules_comes_back_with_the_present_total(line):
    line.apps["shop"].write(update("goods", 7, quantity=8))
    line.apps["shop"].write(delete("goods", 7))
    line.resolve()
    assert [(one.kind, one.initial) for one in line.told("shop")] == [("FULL", {"stock": 8, "weight": "5.00"})]
    line.apps["shop"].echo(insert("goods", id=8, **SHOP_ROW | {"quantity": 8}))
    line.resolve()
    assert stock(line) == 8
    assert line.told("shop") == []


def test_who_does_not_share_the_field_has_its_difference_taken_back(make_line):
    text = STOCK.replace('"integer", owner = "sum"', '"integer", owner = "sum", between = ["erp"]')
    line = make_line(text, TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.resolve()
    line.apps["shop"].echo(insert("goods", id=7, **SHOP_ROW))
    line.apps["erp"].write(update("item", 1, on_hand=12))
    line.apps["shop"].write(update("goods", 7, quantity=3))
    line.resolve()
    assert stock(line) == 12
    assert told(line, "shop")[1:] == [("ADD", {"stock": 2}), ("ADD", {"stock": 7})]
    assert line.conflicts(kept=True) == [("item", ("A",), "shop", "reverted", "stock", -7)]


def test_a_field_that_becomes_a_total_later_is_levelled_when_its_rows_are_seen(make_line):
    line = make_line(STOCK.replace('owner = "sum"', 'owner = "erp"'), TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.resolve()
    line.apps["shop"].echo(insert("goods", id=7, **SHOP_ROW))
    line.resolve()
    line.start(STOCK)
    line.apps["shop"].write(update("goods", 7, quantity=9))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(update("goods", 7, quantity=10))
    line.apps["shop"].write(update("goods", 7, quantity=8))
    line.resolve()
    assert stock(line) == 8
    assert told(line, "erp") == [("ADD", {"stock": -2})]


def test_a_difference_on_its_way_to_a_row_that_was_made_anew_is_taken_back(line):
    line.apps["shop"].write(update("goods", 7, quantity=8))
    line.resolve()
    assert told(line, "erp") == [("ADD", {"stock": -2})]
    first = line.newest_unit("erp")
    line.apps["erp"].write(delete("item", 1))
    line.apps["erp"].write(insert("item", id=2, **ERP_ROW | {"on_hand": 100}))
    line.resolve()
    assert stock(line) == 100
    assert told(line, "erp") == [("ADD", {"stock": 2})]
    line.apps["erp"].echo(update("item", 2, on_hand=98), through=first)
    line.apps["erp"].echo(update("item", 2, on_hand=100))
    line.resolve()
    assert (stock(line), told(line, "erp")) == (100, [])


def test_a_difference_that_found_no_row_is_not_taken_back_for_good(line):
    line.apps["shop"].write(update("goods", 7, quantity=8))
    line.resolve()
    first = line.newest_unit("erp")
    line.apps["erp"].write(delete("item", 1))
    line.apps["erp"].write(insert("item", id=2, **ERP_ROW | {"on_hand": 100}))
    line.resolve()
    line.told("erp")
    second = line.newest_unit("erp")
    line.apps["erp"].echo(through=first)  # it was parked
    line.apps["erp"].echo(update("item", 2, on_hand=102), through=second)
    line.resolve()
    assert (stock(line), told(line, "erp")) == (100, [("ADD", {"stock": -2})])


def test_a_unit_that_comes_in_parts_is_kept_until_the_last_of_them_was_read_back(make_line, tmp_path, monkeypatch):
    """What a target refuses is found by halving: the parts are transactions of their own, and trimming may come between."""
    monkeypatch.setattr(trimming, "TRIM_SECONDS", 0.0)
    line = make_line(STOCK, TABLES)
    line._marks["shop"] = applied = AppliedMark(tmp_path, "shop")
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW), insert("item", id=2, **ERP_ROW | {"code": "B"}))
    line.resolve()
    line.apps["shop"].echo(insert("goods", id=7, **SHOP_ROW), insert("goods", id=8, **SHOP_ROW | {"sku": "B"}))
    line.resolve()
    line.told("erp")
    line.apps["erp"].write(update("item", 1, on_hand=15), update("item", 2, on_hand=15))
    line.resolve()
    applied.write(line.newest_unit("shop"))
    for change in (update("goods", 7, quantity=15), update("goods", 8, quantity=15), None):
        line.apps["shop"].echo(*filter(None, [change]), is_part=change is not None)
        line.resolve()
    assert [line.values("item", key)["stock"] for key in "AB"] == [15, 15]
    assert told(line, "erp") == []
    assert line.newest_unit("shop") == 0  # trimmed

"""Ownership that moves with the record's state: judged by the state a transaction found, and by what it changed itself."""

from __future__ import annotations

import pytest

from unit.small_line import delete, insert, update

ORDER_ROW = {"number": "O1", "customer_id": 5, "status": "new", "total": "9.00"}


def order_told(line, system):
    return [(told.kind, told.fields) for told in line.told(system) if told.entity == "order"]


@pytest.fixture
def line(orders):
    """Order O1, created in the shop, and there in the ERP."""
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    orders.apps["shop"].write(insert("orders", id=1, **ORDER_ROW))
    orders.resolve()
    orders.apps["erp"].echo(
        insert("partner", id=50, no="C1", name="c"),
        insert("sales_order", id=100, no="O1", partner_id=50, state="new", amount="9.00"),
    )
    orders.resolve()
    orders.told("erp")
    return orders


def shown(line, **changes):
    """The ERP's log shows that what it was told has arrived."""
    line.resolve()
    line.apps["erp"].echo(update("sales_order", 100, **changes))
    line.resolve()


def test_the_transaction_that_hands_over_is_the_former_owners_as_a_whole(line):
    line.apps["shop"].write(update("orders", 1, status="picking", total="8.00"), update("orders", 1, total="7.00"))
    line.resolve()
    assert order_told(line, "erp") == [
        ("UPDATE", {"status": "picking", "total": "8.00"}),
        ("UPDATE", {"total": "7.00"}),
    ]
    assert line.told("shop") == []


def test_the_next_transaction_is_judged_by_the_new_state(line):
    line.apps["shop"].write(update("orders", 1, status="picking"))
    line.apps["shop"].write(update("orders", 1, total="1.00"))
    line.resolve()
    assert order_told(line, "erp") == [("UPDATE", {"status": "picking"})]
    assert order_told(line, "shop") == [("UPDATE", {"total": "9.00"})]
    shown(line, state="picking")
    line.apps["erp"].write(update("sales_order", 100, state="shipped", amount="6.00"))
    line.resolve()
    assert order_told(line, "shop") == [("UPDATE", {"status": "shipped", "total": "6.00"})]


def test_a_system_that_does_not_own_the_record_yet_is_reverted(line):
    line.apps["erp"].write(update("sales_order", 100, amount="1.00", tracking="T"))
    line.resolve()
    assert order_told(line, "erp") == [("UPDATE", {"total": "9.00"})]
    assert order_told(line, "shop") == [("UPDATE", {"tracking": "T"})], "tracking is its own in any state"


def test_ownership_may_come_back(line):
    line.apps["shop"].write(update("orders", 1, status="picking"))
    shown(line, state="picking")
    line.apps["erp"].write(update("sales_order", 100, state="paid"))
    line.resolve()
    assert order_told(line, "shop") == [("UPDATE", {"status": "paid"})]
    line.apps["shop"].echo(update("orders", 1, status="paid"))
    line.apps["shop"].write(update("orders", 1, total="5.00"))
    line.resolve()
    assert line.values("order", "O1")["total"] == "5.00"


def test_while_nobody_owns_the_record_whoever_changes_it_is_believed(line):
    line.apps["shop"].write(update("orders", 1, status="lost"))
    shown(line, state="lost")
    line.told("erp")
    line.apps["erp"].write(update("sales_order", 100, amount="2.00"))
    line.resolve()
    assert order_told(line, "shop") == [("UPDATE", {"total": "2.00"})]
    line.apps["shop"].echo(update("orders", 1, total="2.00"))
    line.apps["shop"].write(update("orders", 1, total="3.00"))
    line.resolve()
    assert order_told(line, "erp") == [("UPDATE", {"total": "3.00"})]


def test_an_image_that_still_shows_an_old_value_does_not_take_back_what_is_on_its_way(line):
    line.apps["shop"].write(update("orders", 1, total="8.00"))
    line.apps["shop"].write(update("orders", 1, status="picking"))
    line.apps["erp"].write(update("sales_order", 100, tracking="T"))  # its image holds new and 9.00
    line.resolve()
    assert line.values("order", "O1") | {"customer": "C1"} == {
        "number": "O1",
        "customer": "C1",
        "status": "picking",
        "total": "8.00",
        "tracking": "T",
    }
    assert order_told(line, "shop") == [("UPDATE", {"tracking": "T"})]


def test_an_owners_image_in_the_new_state_does_not_take_back_a_value_that_it_never_touched(line):
    line.apps["shop"].write(update("orders", 1, status="picking"))
    shown(line, state="picking")
    line.apps["shop"].write(update("orders", 1, customer_id=5, total="9.00"))
    line.apps["erp"].write(update("sales_order", 100, tracking="T"))
    line.resolve()
    assert line.values("order", "O1")["total"] == "9.00"
    assert order_told(line, "shop") == [("UPDATE", {"tracking": "T"})]


def test_a_copy_repairs_what_differs_though_nobody_changed_it(line):
    line.apps["erp"].rows["sales_order"][100]["amount"] = "4.00"  # changed while nobody looked
    line.resync("order")
    assert line.values("order", "O1")["total"] == "9.00"
    assert ("UPDATE", {"total": "9.00"}) in order_told(line, "erp")


# ---- our own writes, read back ------------------------------------------------------------------------------


def test_an_echo_that_is_as_told_changes_nothing(line):
    line.apps["shop"].write(update("orders", 1, total="8.00"))
    shown(line, amount="8.00")
    assert order_told(line, "erp") == [("UPDATE", {"total": "8.00"})]
    line.resolve()
    assert line.told("shop") == line.told("erp") == []


def test_an_echo_of_an_older_write_is_no_change_while_a_newer_one_is_on_its_way(line):
    line.apps["shop"].write(update("orders", 1, total="8.00"))
    line.resolve()
    first = line.newest_unit("erp")
    line.apps["shop"].write(update("orders", 1, total="7.00"))
    line.resolve()
    line.apps["erp"].echo(update("sales_order", 100, amount="8.00"), through=first)
    line.resolve()
    assert line.values("order", "O1")["total"] == "7.00"
    assert order_told(line, "erp") == [("UPDATE", {"total": "8.00"}), ("UPDATE", {"total": "7.00"})]
    assert line.told("shop") == []


def test_a_late_write_of_ours_that_hit_a_newer_value_of_the_new_owner_is_corrected(line):
    line.apps["shop"].write(update("orders", 1, total="8.00"))
    line.apps["shop"].write(update("orders", 1, status="picking"))
    line.resolve()
    line.apps["erp"].write(update("sales_order", 100, state="picking", amount="5.00"))
    line.resolve()
    assert line.values("order", "O1")["total"] == "5.00"
    line.told("erp")
    line.apps["erp"].echo(update("sales_order", 100, amount="8.00", state="picking"))
    line.resolve()
    assert line.values("order", "O1")["total"] == "5.00"
    assert order_told(line, "erp") == [("UPDATE", {"total": "5.00"})], "its own newer value was lost under our write"


def test_what_a_trigger_did_in_our_transaction_to_a_field_of_its_own_is_a_change(line):
    line.apps["shop"].write(update("orders", 1, total="8.00"))
    shown(line, amount="8.00", tracking="by trigger")
    assert order_told(line, "shop") == [("UPDATE", {"tracking": "by trigger"})]


def test_what_a_trigger_did_to_a_field_that_its_system_does_not_own_is_reported_and_not_fought(line):
    line.apps["shop"].write(update("orders", 1, total="8.00"))
    shown(line, amount="8.50")
    assert line.values("order", "O1")["total"] == "8.00"
    assert line.conflicts() == [("order", ("O1",), "erp", "trigger", "total", "8.50")]
    assert order_told(line, "erp") == [("UPDATE", {"total": "8.00"})], "reverting would call the trigger again"


def test_a_record_that_its_system_deleted_and_our_late_write_brought_back_is_deleted_again(line):
    line.apps["shop"].write(update("orders", 1, status="picking"))
    shown(line, state="picking")
    line.apps["erp"].write(update("sales_order", 100, amount="1.00"))
    line.apps["shop"].write(delete("orders", 1))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(insert("orders", id=1, **ORDER_ROW | {"total": "1.00"}))
    line.resolve()
    assert order_told(line, "shop") == [("DELETE", {})]
    line.apps["shop"].echo(delete("orders", 1))
    line.resolve()
    assert line.values("order", "O1") is None
    assert line.told("shop") == []


def test_a_record_that_its_system_created_anew_and_our_late_delete_took_comes_back(line):
    line.apps["shop"].write(delete("orders", 1))
    line.apps["shop"].write(insert("orders", id=2, **ORDER_ROW | {"total": "4.00"}))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(delete("orders", 2))
    line.resolve()
    assert [kind for kind, _ in order_told(line, "shop")] == ["FULL"]


def test_the_echo_of_a_delete_ends_it(line):
    line.apps["shop"].write(delete("orders", 1))
    line.resolve()
    line.apps["erp"].echo(delete("sales_order", 100))
    line.resolve()
    line.told("erp")
    line.resync("order")
    assert line.told("erp") == line.told("shop") == []

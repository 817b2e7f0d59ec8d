"""A collection lives and dies with its parent, and belongs to whom the parent belongs."""

from __future__ import annotations

import pytest

from unit.resolve.conftest import ORDER, ORDER_TABLES
from unit.small_line import Told, delete, insert, update

ORDER_ROW = {"number": "O1", "customer_id": 5, "status": "new", "total": "9.00"}
LINE = "order.lines"


def lines_told(told):
    return [(t.kind, t.key, t.fields) for t in told if t.entity == LINE]


def new_order(line, **values):
    line.apps["shop"].write(
        insert("orders", id=1, **ORDER_ROW | values),
        insert("order_items", id=10, order_id=1, position=1, quantity=3),
        insert("order_items", id=11, order_id=1, position=2, quantity=4),
    )


@pytest.fixture
def line(orders):
    """Order O1 with two lines, created in the shop, and there in the ERP."""
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    new_order(orders)
    orders.resolve()
    orders.told("erp")
    arrive(orders)
    orders.told("erp")
    return orders


def arrive(line):
    """What the ERP's log shows of it."""
    line.apps["erp"].echo(
        insert("partner", id=50, no="C1", name="c"),
        insert("sales_order", id=100, no="O1", partner_id=50, state="new", amount="9.00"),
        insert("sales_line", id=1000, order_id=100, line_no=1, qty=3),
        insert("sales_line", id=1001, order_id=100, line_no=2, qty=4),
    )
    line.resolve()


def test_children_are_created_with_their_parent_under_its_key(orders):
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    new_order(orders)
    orders.resolve()
    assert [(t.entity, t.kind, t.key) for t in orders.told("erp")] == [
        ("customer", "FULL", ("C1",)),
        ("order", "FULL", ("O1",)),
        (LINE, "FULL", ("O1", 1)),
        (LINE, "FULL", ("O1", 2)),
    ]


def test_a_childs_change_is_told_alone(line):
    line.apps["shop"].write(update("order_items", 10, quantity=30))
    line.resolve()
    assert line.told("erp") == [Told(LINE, "UPDATE", ("O1", 1), {"quantity": 30})]


def test_the_owner_of_the_parents_state_adds_and_removes_children(line):
    line.apps["shop"].write(delete("order_items", 10), insert("order_items", id=12, order_id=1, position=3, quantity=1))
    line.resolve()
    assert lines_told(line.told("erp")) == [
        ("DELETE", ("O1", 1), {}),
        ("FULL", ("O1", 3), {"line_no": 3, "quantity": 1}),
    ]


def test_what_another_system_does_to_children_is_reverted(line):
    line.apps["erp"].write(
        update("sales_line", 1000, qty=99),
        delete("sales_line", 1001),
        insert("sales_line", id=1002, order_id=100, line_no=7, qty=7),
    )
    line.resolve()
    assert lines_told(line.told("erp")) == [
        ("UPDATE", ("O1", 1), {"quantity": 3}),
        ("FULL", ("O1", 2), {"line_no": 2, "quantity": 4}),
        ("DELETE", ("O1", 7), {}),
    ]
    assert line.told("shop") == []


def test_after_the_hand_over_the_children_are_the_new_owners(line):
    line.apps["shop"].write(update("orders", 1, status="picking"))
    line.apps["erp"].echo(update("sales_order", 100, state="picking"))
    line.apps["erp"].write(update("sales_line", 1000, qty=2), delete("sales_line", 1001))
    line.apps["shop"].write(update("order_items", 11, quantity=44))
    line.resolve()
    assert lines_told(line.told("shop")) == [("UPDATE", ("O1", 1), {"quantity": 2}), ("DELETE", ("O1", 2), {})]


def test_the_transaction_that_hands_over_may_still_change_the_children(line):
    line.apps["shop"].write(
        update("orders", 1, status="picking"),
        update("order_items", 10, quantity=8),
        delete("order_items", 11),
        insert("order_items", id=12, order_id=1, position=3, quantity=1),
    )
    line.resolve()
    assert [(kind, key) for kind, key, _ in lines_told(line.told("erp"))] == [
        ("UPDATE", ("O1", 1)),
        ("DELETE", ("O1", 2)),
        ("FULL", ("O1", 3)),
    ]


def test_an_order_born_in_its_last_state_brings_its_children_in_the_same_transaction(orders):
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    new_order(orders, status="picking")
    orders.resolve()
    assert [t.key for t in orders.told("erp") if t.entity == LINE] == [("O1", 1), ("O1", 2)]
    assert orders.told("shop") == []


@pytest.mark.parametrize("lines_first", [True, False])
def test_children_are_deleted_with_their_parent(line, lines_first):
    gone = [delete("order_items", 10), delete("order_items", 11)]
    line.apps["shop"].write(*[*gone, delete("orders", 1)] if lines_first else [delete("orders", 1), *gone])
    line.resolve()
    assert [(t.entity, t.kind, t.key) for t in line.told("erp")] == [
        (LINE, "DELETE", ("O1", 1)),
        (LINE, "DELETE", ("O1", 2)),
        ("order", "DELETE", ("O1",)),
    ]
    assert line.values(LINE, "O1", 1) is None


def test_a_parent_deleted_without_the_right_comes_back_with_its_children(line):
    line.apps["erp"].write(delete("sales_order", 100))
    line.resolve()
    assert [(t.entity, t.kind, t.key) for t in line.told("erp")] == [
        ("order", "FULL", ("O1",)),
        (LINE, "FULL", ("O1", 1)),
        (LINE, "FULL", ("O1", 2)),
    ]


def test_a_child_whose_parent_nobody_has_shown_waits_for_it_and_then_goes_on(orders):
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    orders.apps["shop"].write(insert("order_items", id=10, order_id=1, position=1, quantity=3))
    orders.resolve()
    assert orders.waiting() == 1
    assert orders.told("erp") == [Told("customer", "FULL", ("C1",), {"number": "C1", "name": "c"})]
    orders.apps["shop"].write(insert("orders", id=1, **ORDER_ROW))
    orders.resolve()
    assert orders.waiting() == 0
    assert [(t.entity, t.key) for t in orders.told("erp")] == [("order", ("O1",)), (LINE, ("O1", 1))]


def test_children_of_a_parent_that_cannot_be_understood_wait_until_it_can(orders):
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    new_order(orders, status="nonsense")
    orders.resolve()
    assert (orders.held(), orders.waiting()) == (["value-refused"], 2)
    assert [t.entity for t in orders.told("erp")] == ["customer"]
    orders.apps["shop"].write(update("orders", 1, status="paid"))
    orders.resolve()
    assert (orders.held(), orders.waiting()) == ([], 0)
    assert [(t.entity, t.key) for t in orders.told("erp")] == [("order", ("O1",)), (LINE, ("O1", 1)), (LINE, ("O1", 2))]


def test_a_waiting_child_that_is_deleted_is_forgotten(orders):
    orders.apps["shop"].write(insert("order_items", id=10, order_id=1, position=1, quantity=3))
    orders.apps["shop"].write(delete("order_items", 10))
    orders.resolve()
    assert orders.waiting() == 0


def test_a_waiting_row_goes_on_as_what_it_was(line):
    """A rename of a row waits, and must still be a rename when it goes on."""
    line.apps["shop"].write(update("order_items", 10, order_id=2))
    line.resolve()
    assert line.waiting() == 1
    line.apps["shop"].write(insert("orders", id=2, **ORDER_ROW | {"number": "O2"}))
    line.resolve()
    assert lines_told(line.told("erp")) == [
        ("DELETE", ("O1", 1), {}),
        ("FULL", ("O2", 1), {"line_no": 1, "quantity": 3}),
    ]


def test_waiting_rows_are_compiled_for_once(orders):
    for number in range(50):
        orders.apps["shop"].write(insert("order_items", id=number, order_id=1, position=number, quantity=3))
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"), insert("orders", id=1, **ORDER_ROW))
    orders.resolve()
    assert orders.waiting() == 0
    assert len(orders.resolver._reader.main.readers) <= 6


# ---- children of records whose row stays --------------------------------------------------------------------


@pytest.mark.parametrize("on_delete", ['"ignore"', '{ archive = { tracking = "gone" } }'])
def test_children_stay_where_the_row_of_their_deleted_parent_stays(make_line, on_delete):
    text = ORDER.replace('table = "sales_order"\n', f'table = "sales_order"\non-delete = {on_delete}\n')
    line = make_line(text, ORDER_TABLES)
    line.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    new_order(line)
    line.resolve()
    arrive(line)
    line.told("erp")
    line.apps["shop"].write(delete("order_items", 10), delete("orders", 1), delete("order_items", 11))
    line.resolve()
    told = line.told("erp")
    assert lines_told(told) == [("DELETE", ("O1", 1), {})], "only what was removed from the living order"
    line.apps["erp"].echo(delete("sales_line", 1000))
    line.resolve()
    line.resync("order")
    assert lines_told(line.told("erp")) == []
    line.apps["shop"].write(
        insert("orders", id=1, **ORDER_ROW), insert("order_items", id=10, order_id=1, position=1, quantity=1)
    )
    line.resolve()
    assert [(kind, key) for kind, key, _ in lines_told(line.told("erp"))] == [
        ("DELETE", ("O1", 2)),
        ("FULL", ("O1", 1)),
    ], "the order is back without its second line"


def test_children_with_owned_fields_still_follow_the_owner_of_their_parents_state(make_line):
    text = ORDER.replace('line_no = { type = "integer" }', 'line_no = { type = "integer", owner = "shop" }').replace(
        'quantity = { type = "integer" }', 'quantity = { type = "integer", owner = "shop" }'
    )
    line = make_line(text, ORDER_TABLES)
    line.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    new_order(line)
    line.resolve()
    arrive(line)
    line.apps["erp"].write(delete("sales_line", 1000))
    line.resolve()
    assert lines_told(line.told("shop")) == [], "the ERP may not delete a line yet"
    assert [kind for kind, _, _ in lines_told(line.told("erp"))][-1] == "FULL"

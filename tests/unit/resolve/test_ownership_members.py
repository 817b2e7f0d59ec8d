"""A collection with an owner of its own: only that system adds and removes children, whoever owns the parent just then."""

from __future__ import annotations

import pytest

from unit.resolve.conftest import ORDER, ORDER_TABLES
from unit.resolve.test_decide_children import arrive, lines_told, new_order
from unit.small_line import delete, insert, update

LINES = '[entities.order.children.lines]\nkey = ["line_no"]\n'
OWNED = ORDER.replace(LINES, LINES + 'owner = "shop"\n')
ADDED = insert("sales_line", id=1002, order_id=100, line_no=7, qty=7)


def begin(make_line, status):
    """Order O1 with two lines, created in the shop, handed over to its status, and there in the ERP."""
    line = make_line(OWNED, ORDER_TABLES)
    line.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    new_order(line)
    line.resolve()
    arrive(line)
    line.apps["shop"].write(update("orders", 1, status=status))
    line.resolve()
    line.apps["erp"].echo(update("sales_order", 100, state=status))
    line.resolve()
    line.told("erp")
    return line


@pytest.mark.parametrize("status", ["new", "picking", "lost"])
def test_what_another_system_adds_or_removes_is_put_right_in_every_state_of_the_parent(make_line, status):
    line = begin(make_line, status)
    line.apps["erp"].write(delete("sales_line", 1001), ADDED)
    line.resolve()
    assert [told[:2] for told in lines_told(line.told("erp"))] == [("FULL", ("O1", 2)), ("DELETE", ("O1", 7))]
    assert line.told("shop") == []


def test_its_owner_adds_and_removes_also_what_it_has_handed_over(make_line):
    line = begin(make_line, "picking")
    line.apps["shop"].write(delete("order_items", 10), insert("order_items", id=12, order_id=1, position=3, quantity=1))
    line.resolve()
    assert [(kind, key) for kind, key, _ in lines_told(line.told("erp"))] == [
        ("DELETE", ("O1", 1)),
        ("FULL", ("O1", 3)),
    ]


def test_a_parent_that_must_not_be_deleted_comes_back_with_its_children(make_line):
    line = begin(make_line, "picking")
    line.apps["erp"].write(delete("sales_line", 1000), delete("sales_line", 1001), delete("sales_order", 100))
    line.resolve()
    assert [(t.entity, t.kind, t.key) for t in line.told("erp")][-3:] == [
        ("order", "FULL", ("O1",)),
        ("order.lines", "FULL", ("O1", 1)),
        ("order.lines", "FULL", ("O1", 2)),
    ]
    assert line.told("shop") == []

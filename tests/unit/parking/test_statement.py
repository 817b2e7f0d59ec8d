"""What would be written of a parked record: as resolve would tell it now and deliver would write it, with its owners."""

from __future__ import annotations

import pytest

from cdcd.model import ColumnShape, TableShape
from cdcd.parking.statement import Previewer
from cdcd.resolve.keys import encode_key
from cdcd.sensitive import Masks
from cdcd.state import State
from unit.resolve import conftest
from unit.resolve.conftest import ORDER_TABLES
from unit.small_line import delete, insert

make_line, orders = conftest.make_line, conftest.orders
SHAPES = {
    table: TableShape(table, tuple(ColumnShape(n, t) for n, t in columns.items()), ("id",), (("id",),))
    for table, columns in ORDER_TABLES["erp"].items()
}


@pytest.fixture
def line(orders):
    shop = orders.apps["shop"]
    shop.write(insert("customers", id=5, number="K1", name="Kim"))
    shop.write(insert("orders", id=7, number="O1", customer_id=5, status="new", total="9.50"))
    shop.write(insert("order_items", id=8, order_id=7, position=1, quantity=2))
    orders.resolve()
    orders.told("erp")
    return orders


def previewer(line, shapes=SHAPES):
    state = State(line.state.database.path, read_only=True)
    return Previewer(Masks(line.plan, state.database.path.parent), state, "erp", shapes), state


def of(line, entity, *key, shapes=SHAPES, **changed):
    plan = line.plan.entities[entity]
    slots = {field.name: slot for slot, field in enumerate(plan.fields)}
    made, state = previewer(line, shapes)
    try:
        return made.record(plan, encode_key(key), {slots[name]: value for name, value in changed.items()})
    finally:
        state.close()


def test_a_record_is_shown_as_its_row_would_be_written_with_who_owns_each_field_by_which_rule(line):
    found = of(line, "order", "O1")
    rule = "shop (while record.status in ['new', 'paid'])"
    assert [(f.field, f.column, f.value, f.owner, f.only_new) for f in found.fields] == [
        ("number", "no", "O1", "the key", False),
        ("customer", "partner_id", "K1", rule, False),
        ("status", "state", "new", rule, False),
        ("total", "amount", "9.50", rule, False),
        ("tracking", "tracking", None, "erp", True),
    ]
    (write,) = found.writes
    assert (write.table, write.kind, write.key, write.found_by) == ("sales_order", "upsert", ("no",), ("partner_id",))
    assert dict(zip(write.columns, write.values, strict=True))["amount"] == "9.50"
    assert found.misfit == ""


def test_a_childs_row_is_found_by_its_parent(line):
    found = of(line, "order.lines", "O1", 1)
    (write,) = found.writes
    assert (write.table, write.key, write.found_by) == ("sales_line", ("order_id", "line_no"), ("order_id",))
    assert [(f.field, f.value) for f in found.fields] == [("line_no", 1), ("quantity", 2)]


def test_other_values_can_be_tried_and_what_does_not_fit_is_said(line):
    narrow = SHAPES | {
        "sales_order": TableShape(
            "sales_order",
            tuple(
                ColumnShape(n, "decimal(4,2)" if n == "amount" else t)
                for n, t in ORDER_TABLES["erp"]["sales_order"].items()
            ),
            ("id",),
            (("id",),),
        )
    }
    assert of(line, "order", "O1", shapes=narrow).misfit == ""
    assert "decimal(4,2)" in of(line, "order", "O1", shapes=narrow, total="123.00").misfit
    assert of(line, "order", "O1").fields[3].value == "9.50", "nothing was changed by trying"


def test_a_record_that_is_gone_is_to_be_deleted(line):
    line.apps["shop"].write(delete("orders", 7))
    line.resolve()
    found = of(line, "order", "O1")
    assert found.fields == ()
    assert [(w.table, w.kind) for w in found.writes] == [("sales_order", "delete")]


def test_without_the_targets_tables_the_fields_are_shown_all_the_same(line):
    found = of(line, "order", "O1", shapes={})
    assert len(found.fields) == 5
    assert found.writes == ()
    assert "not been looked at" in found.misfit

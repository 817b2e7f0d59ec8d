"""A record that gets another key is the same record: in targets, for its children, and for what refers to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdcd.resolve.keys import encode_key
from unit.small_line import SmallLine, Told, delete, insert, update

ORDER = """
[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
[entities.product.fields]
sku = { type = "text" }
name = { type = "text", owner = "erp" }
body = { type = "text", owner = "shop" }
[entities.product.in.erp]
table = "item"
columns = { sku = "code", name = "name" }
[entities.product.in.shop]
table = "product"
columns = { sku = "sku", name = "title", body = "body" }

[entities.order]
key = ["number"]
create = ["shop"]
delete = ["shop"]
[entities.order.fields]
number = { type = "text" }
note = { type = "text", owner = "shop" }
product = { type = "ref(product)", owner = "shop" }
[entities.order.children.lines]
key = ["line"]
[entities.order.children.lines.fields]
line = { type = "integer" }
quantity = { type = "integer", owner = "shop" }
[entities.order.in.shop]
table = "order"
columns = { number = "number", note = "note", product = "product" }
children.lines = { table = "line", parent = "order", columns = { line = "line", quantity = "quantity" } }
[entities.order.in.erp]
table = "sale"
columns = { number = "number", note = "note", product = "product" }
children.lines = { table = "sale_line", parent = "sale", columns = { line = "line", quantity = "quantity" } }
"""
TABLES = {
    "erp": {
        "item": {"id": "integer", "code": "text", "name": "text"},
        "sale": {"id": "integer", "number": "text", "note": "text", "product": "integer"},
        "sale_line": {"id": "integer", "sale": "integer", "line": "integer", "quantity": "integer"},
    },
    "shop": {
        "product": {"id": "integer", "sku": "text", "title": "text", "body": "text"},
        "order": {"id": "integer", "number": "text", "note": "text", "product": "integer"},
        "line": {"id": "integer", "order": "integer", "line": "integer", "quantity": "integer"},
    },
}


@pytest.fixture
def line(tmp_path: Path):
    """Product A is in both systems, with order 1 of one line in the shop and the ERP."""
    line = SmallLine(tmp_path, ORDER, TABLES)
    line.apps["erp"].write(insert("item", id=1, code="A", name="Desk"))
    line.resolve()
    line.apps["shop"].echo(insert("product", id=7, sku="A", title="Desk", body="nice"))
    line.apps["shop"].write(
        insert("order", id=3, number="1", note="", product=7), insert("line", id=4, order=3, line=1, quantity=2)
    )
    line.resolve()
    line.apps["erp"].echo(
        insert("sale", id=30, number="1", note="", product=1), insert("sale_line", id=40, sale=30, line=1, quantity=2)
    )
    line.resolve()
    line.told("shop"), line.told("erp")
    yield line
    line.close()


RENAMED = Told("product", "REKEY", ("B",), {"old sku": "A"})


def test_a_renamed_record_is_renamed_in_the_targets(line):
    line.apps["erp"].write(update("item", 1, code="B"))
    line.resolve()
    assert line.told("shop") == [RENAMED]
    assert line.values("product", "A") is None
    assert line.values("product", "B") == {"sku": "B", "name": "Desk", "body": "nice"}
    assert line.counted("erp", "product")["renamed"] == 2


def test_what_else_changed_in_the_row_is_told_under_the_new_key(line):
    line.apps["erp"].write(update("item", 1, code="B", name="Table"))
    line.resolve()
    assert line.told("shop") == [RENAMED, Told("product", "UPDATE", ("B",), {"name": "Table"})]


def test_the_rename_read_back_is_no_change(line):
    line.apps["erp"].write(update("item", 1, code="B"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(update("product", 7, sku="B"))
    line.apps["shop"].write(update("product", 7, body="nicer"))
    line.resolve()
    assert line.told("shop") == line.told("erp") == []
    assert line.values("product", "B")["body"] == "nicer"


def test_a_change_by_a_target_that_has_the_old_key_still_is_a_change_of_the_record(line):
    line.apps["erp"].write(update("item", 1, code="B"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].write(update("product", 7, body="nicer", title="x"))
    line.resolve()
    assert line.values("product", "B") == {"sku": "B", "name": "Desk", "body": "nicer"}
    assert line.told("shop") == [Told("product", "UPDATE", ("B",), {"name": "Desk"})]


def test_a_row_with_the_old_key_that_a_target_deletes_is_the_record(line):
    line.apps["erp"].write(update("item", 1, code="B"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].write(delete("product", 7))
    line.resolve()
    assert [(told.kind, told.key) for told in line.told("shop")] == [("FULL", ("B",))]  # only the ERP deletes


def test_what_refers_to_the_record_refers_to_its_new_key(line):
    line.apps["erp"].write(update("item", 1, code="B"))
    line.resolve()
    line.told("erp")
    line.apps["shop"].write(update("order", 3, note="hurry"))
    line.resolve()
    assert line.told("erp") == [Told("order", "UPDATE", ("1",), {"note": "hurry"})]
    assert line.values("order", "1")["product"] == "B"


def test_another_record_may_get_the_old_key(line):
    line.apps["erp"].write(update("item", 1, code="B"))
    line.apps["erp"].write(insert("item", id=2, code="A", name="Lamp"))
    line.resolve()
    assert line.values("product", "A")["name"] == "Lamp"
    assert line.values("product", "B")["name"] == "Desk"
    assert line.values("order", "1")["product"] == "B"
    assert [(told.kind, told.key) for told in line.told("shop")] == [("REKEY", ("B",)), ("FULL", ("A",))]
    line.apps["shop"].write(update("order", 3, note="hurry"), update("product", 7, body="nicer"))
    line.resolve()
    assert line.values("order", "1")["product"] == "B"
    assert line.values("product", "B")["body"] == "nicer"


def test_a_record_may_get_its_old_key_back(line):
    line.apps["erp"].write(update("item", 1, code="B"))
    line.apps["erp"].write(update("item", 1, code="A"))
    line.resolve()
    assert [(told.kind, told.key) for told in line.told("shop")] == [("REKEY", ("B",)), ("REKEY", ("A",))]
    assert line.values("product", "A")["name"] == "Desk"
    assert line.values("order", "1")["product"] == "A"


def test_children_go_with_their_parent(line):
    line.apps["shop"].write(update("order", 3, number="2"))
    line.resolve()
    assert line.told("erp") == [Told("order", "REKEY", ("2",), {"old number": "1"})]
    assert line.values("order.lines", "2", 1)["quantity"] == 2
    line.apps["shop"].write(update("line", 4, quantity=5))
    line.resolve()
    assert line.told("erp") == [Told("order.lines", "UPDATE", ("2", 1), {"quantity": 5})]
    line.apps["shop"].log(*_deleted(line, "line", 4))
    line.resolve()
    assert line.told("erp") == [Told("order.lines", "DELETE", ("2", 1), {})]


def _deleted(line, table, number):
    """A delete of which the log carries nothing but the id."""
    from cdcd.model import ABSENT, Op, Rows  # noqa: PLC0415

    relation = line.apps["shop"].relations[table]
    return [Rows(relation, Op.DELETE, [[number] + [ABSENT] * (len(relation.columns) - 1)])]


def test_a_child_may_get_another_key_in_its_parent(line):
    line.apps["shop"].write(update("line", 4, line=9))
    line.resolve()
    assert line.told("erp") == [Told("order.lines", "REKEY", ("1", 9), {"old line": 1})]


def test_a_rename_by_a_system_that_may_not_is_put_back(line):
    line.apps["shop"].write(update("product", 7, sku="Z", body="mine"))
    line.resolve()
    assert line.told("shop") == [Told("product", "REKEY", ("A",), {"old sku": "Z"})]
    assert line.values("product", "A")["body"] == "mine"
    line.apps["shop"].echo(update("product", 7, sku="A"))
    line.resolve()
    assert line.told("shop") == line.told("erp") == []


def test_a_key_that_another_record_has_is_not_taken_by_a_rename(line):
    line.apps["erp"].write(insert("item", id=2, code="B", name="Lamp"))
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(delete("item", 2), update("item", 1, code="B"))
    line.resolve()
    assert [(told.kind, told.key) for told in line.told("shop")] == [("DELETE", ("B",)), ("REKEY", ("B",))]


def test_a_rename_survives_a_restart(line):
    line.apps["erp"].write(update("item", 1, code="B"))
    line.resolve()
    line.start()
    line.told("erp")
    line.apps["shop"].write(update("order", 3, note="hurry"))
    line.resolve()
    assert line.told("erp") == [Told("order", "UPDATE", ("1",), {"note": "hurry"})]


def test_a_rename_counts_while_the_whole_record_is_on_its_way_to_who_renames(line):
    """What is on its way names the key that the row has had, which is no reason to take the new one for an old one."""
    line.command("retry", system="erp", records=[[line.plan.entities["product"].number, encode_key(["A"])]])
    line.resolve()
    assert [(told.kind, told.key) for told in line.told("erp")] == [("FULL", ("A",))]
    line.apps["erp"].write(update("item", 1, code="B"))
    line.resolve()
    assert line.told("shop") == [RENAMED]
    assert line.values("product", "B")["name"] == "Desk"

"""Records in several tables that refer to one another: keys in parts, children of parts' records, rows that wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.small_line import SmallLine, Told, delete, insert, update

ORDER = """
[entities.customer]
key = ["email"]
create = ["shop", "erp"]
[entities.customer.fields]
email = { type = "text" }
name = { type = "text", owner = "shop" }
city = { type = "text", owner = "shop" }
[entities.customer.in.shop]
table = "user"
columns = { email = "email", name = "name", city = "address.city" }
parts.address = { table = "address", parent = "user", where = { main = true } }
[entities.customer.in.erp]
table = "party"
columns = { email = "email.value", name = "name", city = "address.city" }
parts.email = { table = "contact", parent = "party", where = { type = "email" }, first-by = ["rank"] }
parts.address = { table = "party_address", parent = "party", first-by = ["rank"] }

[entities.order]
key = ["number"]
create = ["shop"]
delete = ["shop"]
[entities.order.fields]
number = { type = "text" }
customer = { type = "ref(customer)", owner = "shop" }
currency = { type = "text", owner = "shop" }
state = { type = "text", owner = "shop" }
[entities.order.children.lines]
key = ["number"]
[entities.order.children.lines.fields]
number = { type = "integer" }
quantity = { type = "integer", owner = "shop" }
[entities.order.in.shop]
table = "order"
columns = { number = "number", customer = "user", currency = "currency", state = "state" }
children.lines = { table = "line", parent = "order", columns = { number = "number", quantity = "quantity" } }
[entities.order.in.erp]
table = "sale"
where = { "web.name" = "shop" }
columns = { number = "web_id", customer = "party", currency = "currency.code", state = "state" }
parts.web = { table = "web", at = "web" }
parts.currency = { table = "currency", at = "currency" }
[entities.order.in.erp.children.lines]
table = "sale_line"
parent = "sale"
where = { type = "line" }
columns = { number = "number", quantity = "quantity" }
"""
SHOP = {
    "user": {"id": "integer", "email": "text", "name": "text"},
    "address": {"id": "integer", "user": "integer", "city": "text", "main": "integer"},
    "order": {"id": "integer", "number": "text", "user": "integer", "currency": "text", "state": "text"},
    "line": {"id": "integer", "order": "integer", "number": "integer", "quantity": "integer"},
}
ERP = {
    "party": {"id": "integer", "name": "text"},
    "contact": {"id": "integer", "party": "integer", "type": "text", "value": "text", "rank": "integer"},
    "party_address": {"id": "integer", "party": "integer", "city": "text", "rank": "integer"},
    "web": {"id": "integer", "name": "text"},
    "currency": {"id": "integer", "code": "text"},
    "sale": {
        "id": "integer",
        "web_id": "text",
        "web": "integer",
        "party": "integer",
        "currency": "integer",
        "state": "text",
    },
    "sale_line": {"id": "integer", "sale": "integer", "type": "text", "number": "integer", "quantity": "integer"},
}
ANNA = (
    insert("user", id=5, email="a@x", name="Anna"),
    insert("address", id=1, user=5, city="Łódź", main=1),
    insert("address", id=2, user=5, city="Ulm", main=0),
)
ORDER_1 = (
    insert("order", id=9, number="S1", user=5, currency="EUR", state="new"),
    insert("line", id=1, order=9, number=1, quantity=2),
)
ANNA_IN_ERP = (
    insert("party", id=70, name="Anna"),
    insert("contact", id=1, party=70, type="phone", value="1", rank=1),
    insert("contact", id=2, party=70, type="email", value="a@x", rank=2),
    insert("party_address", id=1, party=70, city="Łódź", rank=None),
)
SALE_1 = (
    insert("sale", id=90, web_id="S1", web=1, party=70, currency=1, state="new"),
    insert("sale_line", id=4, sale=90, type="line", number=1, quantity=2),
)


@pytest.fixture
def line(tmp_path: Path):
    line = SmallLine(tmp_path, ORDER, {"shop": SHOP, "erp": ERP})
    line.apps["erp"].write(insert("web", id=1, name="shop"), insert("currency", id=1, code="EUR"))
    line.resolve()
    yield line
    line.close()


def test_a_reference_to_a_record_in_several_tables_is_its_key(line):
    line.apps["shop"].write(*ORDER_1, *ANNA)
    line.resolve()
    assert line.values("customer", "a@x") == {"email": "a@x", "name": "Anna", "city": "Łódź"}
    assert line.values("order", "S1")["customer"] == "a@x"
    assert [told.entity for told in line.told("erp")] == ["customer", "order", "order.lines"]
    assert line.waiting() == 0


def test_our_own_rows_read_back_are_no_change_also_where_they_waited_for_one_another(line):
    line.apps["shop"].write(*ANNA, *ORDER_1)
    line.resolve()
    line.told("erp")
    line.apps["erp"].echo(*reversed(SALE_1), *reversed(ANNA_IN_ERP))
    line.resolve()
    assert line.told("erp") == line.told("shop") == []
    assert {name: line.counted("erp", name) for name in ("customer", "order", "order.lines")} == {
        "customer": {"echo": 1},
        "order": {"echo": 1},
        "order.lines": {"echo": 1},
    }


def test_a_row_of_the_application_that_waited_is_judged_as_its_own_when_ours_releases_it(line):
    line.apps["shop"].write(*ANNA)
    line.resolve()
    line.apps["erp"].write(*SALE_1)  # refers to a party whose email nobody has shown
    line.resolve()
    assert line.waiting() == 2
    line.apps["erp"].echo(*ANNA_IN_ERP)
    line.resolve()
    assert line.waiting() == 0
    assert [told.kind for told in line.told("erp") if told.entity == "order"] == [
        "DELETE"
    ]  # the shop alone makes orders


def test_a_child_that_is_no_such_child_any_more_is_gone(line):
    line.apps["shop"].write(*ANNA, *ORDER_1)
    line.resolve()
    line.apps["erp"].echo(*ANNA_IN_ERP, *SALE_1)
    line.resolve()
    line.told("erp")
    line.apps["erp"].write(update("sale_line", 4, type="comment"))
    line.resolve()
    assert [(told.entity, told.kind) for told in line.told("erp")] == [("order.lines", "FULL")]  # put back


def test_a_sale_that_is_none_of_the_shops_is_no_order(line):
    line.apps["erp"].write(*ANNA_IN_ERP, insert("web", id=2, name="other"), update("sale", 1))
    line.apps["erp"].write(insert("sale", id=91, web_id="X", web=2, party=70, currency=1, state="new"))
    line.resolve()
    assert line.record("order", "X") is None


def test_a_changed_key_in_a_part_renames_the_record(line):
    line.apps["erp"].write(*ANNA_IN_ERP)
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(update("contact", 2, value="b@x"))
    line.resolve()
    assert line.values("customer", "b@x") is not None
    assert line.told("shop") == [Told("customer", "REKEY", ("b@x",), {"old email": "a@x"})]


def test_deleting_the_whole_family_deletes_it_once(line):
    line.apps["shop"].write(*ANNA, *ORDER_1)
    line.resolve()
    line.apps["erp"].echo(*ANNA_IN_ERP, *SALE_1)
    line.resolve()
    line.told("erp")
    line.apps["shop"].write(delete("line", 1), delete("order", 9))
    line.resolve()
    assert line.told("erp") == [
        Told("order.lines", "DELETE", ("S1", 1), {}),
        Told("order", "DELETE", ("S1",), {}),
    ]


# ---- two rows with one key ------------------------------------------------------------------------------------------

ANNAS_TWIN = (
    insert("party", id=71, name="Anna B."),
    insert("contact", id=9, party=71, type="email", value="a@x", rank=1),
)


def test_a_second_row_with_the_key_of_a_record_is_held_and_takes_its_place_when_it_goes(line):
    line.apps["erp"].write(*ANNA_IN_ERP)
    line.apps["erp"].write(*ANNAS_TWIN)
    line.resolve()
    assert line.held() == ["key-twice"]
    line.told("shop")
    line.apps["erp"].write(delete("contact", 2), delete("party", 70))
    line.resolve()
    assert line.held() == []
    assert line.record("customer", "a@x")[3]


def test_two_rows_may_change_their_keys_with_one_another(line):
    line.apps["erp"].write(
        *ANNA_IN_ERP, *ANNAS_TWIN[:1], insert("contact", id=9, party=71, type="email", value="b@x", rank=1)
    )
    line.resolve()
    line.apps["erp"].write(update("contact", 2, value="b@x"), update("contact", 9, value="a@x"))
    line.resolve()
    assert line.held() == []
    assert {line.values("customer", key) is not None for key in ("a@x", "b@x")} == {True}

"""The first copy: systems side by side, ownership says what is true, only differences are told."""

from __future__ import annotations

import pytest

from unit.resolve.conftest import ORDER, ORDER_TABLES, PRODUCT, PRODUCT_TABLES
from unit.small_line import Told, delete, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "erp's"}
SHOP_ROW = {"sku": "A", "title": "old", "status": "active", "stock": 5, "note": None, "body": "shop's"}


@pytest.fixture
def products(make_line):
    return make_line(PRODUCT, PRODUCT_TABLES, live=False)


def present(app, table, **row):
    """A row from before cdcd: no log ever showed it."""
    app.rows[table][row["id"]] = dict.fromkeys(app.relations[table].columns) | row


# ---- one entity of two systems --------------------------------------------------------------------------------


def test_nothing_is_told_before_every_system_was_read_whole(products):
    present(products.apps["erp"], "item", id=1, **ROW)
    products.apps["erp"].copy("item")
    products.apps["shop"].copy("products", done=False)
    products.resolve()
    assert products.phase("product") == "seeding"
    assert products.told("shop") == products.told("erp") == []
    products.apps["shop"].copy("products")
    products.resolve()
    assert products.phase("product") == "live"
    assert [told.kind for told in products.told("shop")] == ["FULL"]


def test_each_system_is_told_where_it_differs_from_the_owner(products):
    present(products.apps["erp"], "item", id=1, **ROW)
    present(products.apps["shop"], "products", id=70, **SHOP_ROW)
    products.go_live()
    assert products.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "one", "note": "n"})]
    assert products.told("erp") == [Told("product", "UPDATE", ("A",), {"body": "shop's"})]
    assert products.values("product", "A") == {
        "sku": "A",
        "name": "one",
        "status": "active",
        "stock": 5,
        "note": "n",
        "body": "shop's",
    }


def test_systems_that_agree_are_told_nothing(products):
    present(products.apps["erp"], "item", id=1, **ROW)
    present(products.apps["shop"], "products", id=70, **SHOP_ROW | {"title": "one", "note": "n", "body": "erp's"})
    products.go_live()
    assert products.told("shop") == products.told("erp") == []


def test_a_record_that_only_its_creator_has_is_created_elsewhere(products):
    present(products.apps["erp"], "item", id=1, **ROW)
    products.go_live()
    assert products.told("shop") == [
        Told(
            "product",
            "FULL",
            ("A",),
            {"sku": "A", "name": "one", "status": "active", "stock": 5, "note": "n"},
            {"body": "erp's"},
        )
    ]


def test_a_record_that_only_another_system_has_is_left_alone_and_reported(products):
    present(products.apps["shop"], "products", id=70, **SHOP_ROW)
    products.go_live()
    assert products.told("shop") == products.told("erp") == []
    assert products.conflicts() == [("product", ("A",), "shop", "unmatched", None, None)]
    products.resync("product")
    assert products.told("shop") == products.told("erp") == [], "nor does a resync spread or delete it"


def test_a_record_that_was_unmatched_is_shared_once_its_creator_has_it(products):
    present(products.apps["shop"], "products", id=70, **SHOP_ROW)
    products.go_live()
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    assert products.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "one", "note": "n"})]
    assert products.told("erp") == [Told("product", "UPDATE", ("A",), {"body": "shop's"})]


def test_what_the_log_says_during_the_copy_wins_over_what_was_copied_before_it(products):
    present(products.apps["erp"], "item", id=1, **ROW)
    present(products.apps["erp"], "item", id=2, **ROW | {"code": "B"})
    products.apps["erp"].copy("item")
    products.apps["erp"].write(update("item", 1, name="newer"), delete("item", 2))
    products.apps["erp"].write(insert("item", id=3, **ROW | {"code": "C"}))
    products.resolve()
    products.apps["shop"].copy("products")
    products.resolve()
    assert [(told.key, told.fields["name"]) for told in products.told("shop")] == [(("A",), "newer"), (("C",), "one")]


def test_a_copy_continues_after_a_restart(products):
    present(products.apps["erp"], "item", id=1, **ROW)
    products.apps["erp"].copy("item")
    products.resolve()
    products.start()
    products.apps["shop"].copy("products")
    products.resolve()
    assert [told.kind for told in products.told("shop")] == ["FULL"]


def test_a_row_that_could_not_be_understood_does_not_make_its_record_anothers(products):
    present(products.apps["erp"], "item", id=1, **ROW | {"state": "nonsense"})
    present(products.apps["shop"], "products", id=70, **SHOP_ROW)
    products.go_live()
    assert products.told("shop") == products.told("erp") == []
    products.apps["erp"].write(update("item", 1, state="active"))
    products.resolve()
    assert products.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "one", "note": "n"})]


def test_a_system_that_joins_later_gets_what_it_lacks(make_line):
    tables = PRODUCT_TABLES | {"web": {"articles": {"id": "integer", "sku": "text(20)", "title": "text(50)"}}}
    line = make_line(PRODUCT, tables, live=False)
    line.apps["erp"].copy("item")
    line.apps["shop"].copy("products")
    line.apps["erp"].write(insert("item", id=1, **ROW), insert("item", id=2, **ROW | {"code": "B"}))
    line.resolve()
    line.start(PRODUCT + '[entities.product.in.web]\ntable = "articles"\ncolumns = { sku = "sku", name = "title" }\n')
    present(line.apps["web"], "articles", id=9, sku="B", title="other")
    line.apps["web"].copy("articles")
    line.resolve()
    assert sorted((t.kind, t.key, t.fields["name"]) for t in line.told("web")) == [
        ("FULL", ("A",), "one"),
        ("UPDATE", ("B",), "one"),
    ]


# ---- ownership that moves ---------------------------------------------------------------------------------------


@pytest.fixture
def orders(make_line):
    line = make_line(ORDER, ORDER_TABLES, live=False)
    present(line.apps["shop"], "customers", id=5, number="C1", name="c")
    present(line.apps["erp"], "partner", id=50, no="C1", name="c")
    return line


def order_in_both(line, shop_status, erp_status):
    present(line.apps["shop"], "orders", id=1, number="O1", customer_id=5, status=shop_status, total="1.00")
    present(line.apps["erp"], "sales_order", id=100, no="O1", partner_id=50, state=erp_status, amount="2.00")


@pytest.mark.parametrize(
    ("shop_status", "erp_status", "believed"),
    [
        ("paid", "new", {"status": "paid", "total": "1.00"}),  # only the shop names itself
        ("shipped", "picking", {"status": "picking", "total": "2.00"}),  # only the ERP names itself
        ("paid", "picking", {"status": "picking", "total": "2.00"}),  # both do: the hand-over went down the list
        ("picking", "new", {"status": "picking", "total": "1.00"}),  # neither does: the creator's row
        ("lost", "lost", {"status": "lost", "total": "1.00"}),
    ],
)
def test_the_system_whose_own_row_names_it_as_owner_is_believed(orders, shop_status, erp_status, believed):
    order_in_both(orders, shop_status, erp_status)
    orders.go_live()
    values = orders.values("order", "O1")
    assert {name: values[name] for name in believed} == believed


def test_a_field_with_an_owner_of_its_own_is_the_owners_whoever_is_believed(orders):
    order_in_both(orders, "paid", "new")
    orders.apps["erp"].rows["sales_order"][100]["tracking"] = "T"
    orders.go_live()
    assert orders.values("order", "O1")["tracking"] == "T"
    assert [t.fields for t in orders.told("shop") if t.entity == "order"] == [{"tracking": "T"}]


def test_a_record_settled_by_the_first_copy_is_not_fought_over_afterwards(orders):
    order_in_both(orders, "paid", "picking")
    orders.go_live()
    orders.told("shop")
    orders.apps["shop"].echo(update("orders", 1, status="picking", total="2.00"))
    orders.apps["erp"].write(update("sales_order", 100, state="shipped"))
    orders.resolve()
    assert [t.fields for t in orders.told("shop")] == [{"status": "shipped"}]
    assert [t for t in orders.told("erp") if t.entity == "order"] == []


def test_of_two_collections_of_children_the_owners_is_the_true_one(orders):
    order_in_both(orders, "paid", "new")
    present(orders.apps["shop"], "order_items", id=10, order_id=1, position=1, quantity=1)
    present(orders.apps["shop"], "order_items", id=11, order_id=1, position=2, quantity=2)
    present(orders.apps["erp"], "sales_line", id=1000, order_id=100, line_no=2, qty=9)
    present(orders.apps["erp"], "sales_line", id=1001, order_id=100, line_no=3, qty=3)
    orders.go_live()
    assert [(t.kind, t.key) for t in orders.told("erp") if t.entity == "order.lines"] == [
        ("FULL", ("O1", 1)),
        ("UPDATE", ("O1", 2)),
        ("DELETE", ("O1", 3)),
    ]
    assert [t for t in orders.told("shop") if t.entity == "order.lines"] == []


def test_children_of_an_order_that_its_owner_does_not_have_are_kept(orders):
    present(orders.apps["shop"], "orders", id=1, number="O1", customer_id=5, status="shipped", total="1.00")
    present(orders.apps["shop"], "order_items", id=10, order_id=1, position=1, quantity=1)
    orders.go_live()
    assert [(t.kind, t.key) for t in orders.told("erp") if t.entity != "customer"] == [
        ("FULL", ("O1",)),
        ("FULL", ("O1", 1)),
    ]


def test_children_of_an_unmatched_parent_are_left_alone(orders):
    present(orders.apps["erp"], "sales_order", id=100, no="O9", partner_id=50, state="picking", amount="2.00")
    present(orders.apps["erp"], "sales_line", id=1000, order_id=100, line_no=1, qty=9)
    orders.go_live()
    assert orders.told("erp") == []
    assert [t for t in orders.told("shop") if t.entity != "customer"] == []
    assert ("order", ("O9",), "erp", "unmatched", None, None) in orders.conflicts()


def test_entities_settle_after_what_they_refer_to(orders):
    order_in_both(orders, "paid", "new")
    for table in ("orders", "order_items"):
        orders.apps["shop"].copy(table)
    for table in ("sales_order", "sales_line"):
        orders.apps["erp"].copy(table)
    orders.resolve()
    assert orders.phase("order") == "seeding"
    orders.apps["shop"].copy("customers")
    orders.apps["erp"].copy("partner")
    orders.resolve()
    assert [orders.phase(name) for name in ("customer", "order", "order.lines")] == ["live"] * 3
    assert orders.values("order", "O1")["customer"] == "C1"


CIRCLE = """
[entities.customer]
key = ["number"]
create = ["erp"]
[entities.customer.fields]
number = { type = "text(20)", owner = "erp" }
main = { type = "ref(contact)", owner = "erp" }
[entities.customer.in.erp]
table = "partner"
columns = { number = "no", main = "main_id" }
[entities.customer.in.shop]
table = "customers"
columns = { number = "no", main = "main_id" }
[entities.contact]
key = ["email"]
create = ["erp"]
[entities.contact.fields]
email = { type = "text(20)", owner = "erp" }
customer = { type = "ref(customer)", owner = "erp" }
[entities.contact.in.erp]
table = "contact"
columns = { email = "email", customer = "partner_id" }
[entities.contact.in.shop]
table = "contacts"
columns = { email = "email", customer = "customer_id" }
"""
CIRCLE_TABLES = {
    "erp": {
        "partner": {"id": "integer", "no": "text(20)", "main_id": "integer"},
        "contact": {"id": "integer", "email": "text(20)", "partner_id": "integer"},
    },
    "shop": {
        "customers": {"id": "integer", "no": "text(20)", "main_id": "integer"},
        "contacts": {"id": "integer", "email": "text(20)", "customer_id": "integer"},
    },
}


def test_entities_that_refer_to_each_other_settle_when_all_of_them_were_read(make_line):
    line = make_line(CIRCLE, CIRCLE_TABLES, live=False)
    present(line.apps["erp"], "partner", id=1, no="C1", main_id=None)
    present(line.apps["erp"], "partner", id=2, no="C2", main_id=7)
    present(line.apps["erp"], "contact", id=7, email="a@b", partner_id=1)
    for system, table in (("erp", "contact"), ("shop", "contacts"), ("shop", "customers")):
        line.apps[system].copy(table)
        line.resolve()
        assert line.told("shop") == []
    line.apps["erp"].copy("partner")
    line.resolve()
    assert line.waiting() == 0
    assert {(t.entity, t.key): t.fields for t in line.told("shop")} == {
        ("contact", ("a@b",)): {"email": "a@b", "customer": "C1"},
        ("customer", ("C1",)): {"number": "C1", "main": None},
        ("customer", ("C2",)): {"number": "C2", "main": "a@b"},
    }


KNOT = """
[entities.customer]
key = ["number"]
create = ["shop"]
fields = { number = { type = "text" }, address = { type = "ref(address)", owner = "shop" } }
in.shop = { table = "customer", columns = { number = "number", address = "main_address" } }
in.erp = { table = "customer", columns = { number = "number", address = "main_address" } }
[entities.address]
key = ["code"]
create = ["shop"]
fields = { code = { type = "text" }, customer = { type = "ref(customer)", owner = "shop" } }
in.shop = { table = "address", columns = { code = "code", customer = "customer" } }
in.erp = { table = "address", columns = { code = "code", customer = "customer" } }
"""
KNOT_TABLES = {
    "customer": {"id": "integer", "number": "text", "main_address": "integer"},
    "address": {"id": "integer", "code": "text", "customer": "integer"},
}


@pytest.mark.parametrize("live", [False, True])
def test_records_that_refer_to_one_another_do_not_wait_for_ever(make_line, live):
    line = make_line(KNOT, {"shop": KNOT_TABLES, "erp": KNOT_TABLES}, live=live)
    rows = [
        ("customer", {"id": 1, "number": "C1", "main_address": 7}),
        ("address", {"id": 7, "code": "A7", "customer": 1}),
    ]
    if live:
        line.apps["shop"].write(*(insert(table, **row) for table, row in rows))
        line.resolve()
    else:
        for table, row in rows:
            line.apps["shop"].rows[table][row["id"]] = row
        line.go_live()
    assert line.waiting() == 0
    assert line.values("customer", "C1") == {"number": "C1", "address": "A7"}
    assert line.values("address", "A7") == {"code": "A7", "customer": "C1"}

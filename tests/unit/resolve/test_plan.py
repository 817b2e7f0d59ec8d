"""The configuration compiled: numbers that only grow, parents before children, and what cannot work refused."""

from __future__ import annotations

import pytest

from cdcd.adapter import TableNeed
from cdcd.errors import ConfigError
from cdcd.resolve.plan import DEAD
from cdcd.resolve.planning import build
from cdcd.values import parse_type
from unit.small_line import load, plan_of

ORDER = """
[entities.order]
key = ["number"]
[entities.order.fields]
number = { type = "text(20)", owner = "shop" }
customer = { type = "ref(customer)", owner = "shop" }
paid = { type = "boolean", owner = "shop" }
total = { type = "decimal(9,2)", owner = "shop" }
[entities.order.children.lines]
key = ["line_no"]
fields = { line_no = { type = "integer", owner = "shop" }, product = { type = "text", owner = "shop" } }
[entities.order.in.erp]
table = "public.sales_order"
columns = { number = "no", customer = "partner_id", paid = "paid", total = "total" }
[entities.order.in.erp.children.lines]
table = "public.sales_line"
parent = "order_id"
columns = { line_no = "line_no", product = "item" }
[entities.order.in.shop]
table = "orders"
id = "local_id"
columns = { customer = "customer_id", paid = "paid", total = "total" }
key = { number = "number" }
on-delete = { archive = { paid = false, total = 0 } }
"""
CUSTOMER = """
[entities.customer]
key = ["number"]
fields = { number = { type = "text(20)", owner = "erp" } }
in.erp = { table = "partner", columns = { number = "no" } }
in.shop = { table = "customers", columns = { number = "no" } }
"""
COPY = (
    '[[replicate]]\nfrom = "erp"\nto = "shop"\ntables = ["public.carrier", "depot"]\nrename = { depot = "warehouse" }\n'
)


def test_what_is_referred_to_comes_before_what_refers_and_parents_before_children():
    assert list(plan_of(ORDER + CUSTOMER).entities) == ["customer", "order", "order.lines"]


def test_a_circle_of_references_keeps_the_order_of_the_configuration():
    circle = CUSTOMER.replace('owner = "erp" } }', 'owner = "erp" }, last = { type = "ref(order)", owner = "erp" } }')
    assert set(plan_of(ORDER + circle).entities) == {"customer", "order", "order.lines"}


def test_a_child_is_an_entity_of_its_own_whose_key_starts_with_its_parents():
    lines = plan_of(ORDER + CUSTOMER).entities["order.lines"]
    assert (lines.parent, lines.key, lines.key_width) == ("order", (0,), 2)
    assert set(lines.bindings) == {"erp"}
    assert lines.bindings["erp"].parent_column == "order_id"


def test_numbers_stay_when_the_configuration_is_reordered_shortened_and_extended():
    first = plan_of(ORDER + CUSTOMER + COPY)
    later = plan_of(
        CUSTOMER.replace("number", "no_") + "[entities.new]" + CUSTOMER.split("[entities.customer]")[1],
        known=first.vocabulary,
    )
    again = plan_of(COPY + CUSTOMER + ORDER, known=later.vocabulary)
    for plan in (later, again):
        for name, entity in plan.entities.items():
            if name in first.entities:
                assert entity.number == first.entities[name].number
    assert later.entities["new"].number == 3
    assert [route.number for route in again.routes] == [route.number for route in first.routes]
    fields = [field.name for field in again.entities["customer"].fields]
    assert fields == ["number", "no_"]
    assert again.entities["customer"].fields[1].type == DEAD
    assert again.entities["customer"].live_slots == (0,)


def test_systems_keep_their_numbers():
    first = plan_of(CUSTOMER, ("shop", "erp"))
    assert plan_of(CUSTOMER, ("erp", "shop"), first.vocabulary).vocabulary.systems == ("shop", "erp")


def test_a_binding_needs_its_columns_its_parents_and_its_id():
    plan = plan_of(ORDER + CUSTOMER + COPY)
    needs = {need.table: need for need in plan.tables("shop")}
    assert needs["orders"] == TableNeed(
        "orders",
        ("number",),
        ("local_id", "customer_id", "paid", "total", "number"),
        captured=True,
        written=True,
        inserted=("customer_id", "paid", "total", "number"),
        updated=("customer_id", "paid", "total", "number"),
        deleted=False,
    )
    assert needs["warehouse"] == TableNeed("warehouse", captured=False, written=True)
    erp = {need.table: need for need in plan.tables("erp")}
    assert erp["public.sales_line"] == TableNeed(
        "public.sales_line",
        ("order_id", "line_no"),
        ("order_id", "line_no", "item"),
        captured=True,
        written=True,
        inserted=("order_id", "line_no", "item"),
        updated=("order_id", "line_no", "item"),
    )
    assert next(iter(erp)) == "partner", "tables are copied in the order of references"
    assert erp["depot"] == TableNeed("depot", captured=True, written=False)


def test_a_table_that_is_bound_and_copied_is_needed_as_a_whole():
    both = COPY.replace('"public.carrier"', '"partner"')
    need = {need.table: need for need in plan_of(ORDER + CUSTOMER + both).tables("erp")}["partner"]
    assert need == TableNeed("partner", ("no",), (), captured=True, written=True, inserted=("no",), updated=("no",))


def test_columns_are_left_out_of_the_copy_of_their_own_table():
    plan = plan_of(COPY + 'leave-out = ["depot.note", "public.carrier.a", "public.carrier.b"]\n')
    assert [route.leave_out for route in plan.routes] == [frozenset({"a", "b"}), frozenset({"note"})]


def test_routes_are_spelled_in_full_by_each_adapter():
    plan = build(load(CUSTOMER + COPY), lambda system, table: table if "." in table else f"{system}_{table}")
    assert [(r.source_table, r.target_table) for r in plan.routes] == [
        ("public.carrier", "shop_carrier"),
        ("erp_depot", "shop_warehouse"),
    ]
    assert list(plan.routes_from("erp")) == ["public.carrier", "erp_depot"]
    assert [route.leave_out for route in plan.routes] == [frozenset(), frozenset()]
    assert plan.routes_from("shop") == {}


def test_a_system_is_a_source_or_a_target_by_what_lives_there():
    plan = plan_of(COPY)
    assert (plan.is_source("erp"), plan.is_target("erp")) == (True, False)
    assert (plan.is_source("shop"), plan.is_target("shop")) == (False, True)


def test_archive_values_are_values_of_their_fields():
    archive = plan_of(ORDER + CUSTOMER).entities["order"].bindings["shop"].archive
    assert archive == {2: False, 3: "0.00"}


def test_an_archive_value_that_its_field_cannot_have_is_refused():
    with pytest.raises(ConfigError, match=r"entities.order.in.shop.on-delete.archive: 'soon' is no boolean"):
        plan_of(ORDER.replace("paid = false", 'paid = "soon"') + CUSTOMER)


def test_the_types_of_a_key_are_the_parents_then_its_own_with_references_resolved():
    plan = plan_of(ORDER + CUSTOMER)
    assert plan.key_types("order.lines") == (parse_type("text(20)"), parse_type("integer"))
    assert plan.plain_type(parse_type("ref(customer)")) == parse_type("text(20)")


def test_the_tables_of_an_entity_are_its_own_and_its_childrens():
    assert plan_of(ORDER + CUSTOMER).entities_tables("order") == [
        ("erp", "public.sales_order"),
        ("shop", "orders"),
        ("erp", "public.sales_line"),
    ]


# ---- references that cannot work --------------------------------------------------------------------------------


def test_a_reference_by_id_needs_the_other_entity_in_the_same_system():
    nowhere = "\n".join(line for line in CUSTOMER.splitlines() if not line.startswith("in.shop"))
    with pytest.raises(ConfigError, match="refers to 'customer', which does not live in 'shop'"):
        plan_of(ORDER + nowhere)
    by_key = ORDER.replace('customer = "customer_id"', 'customer = { column = "customer_no", reference = "key" }')
    assert plan_of(by_key + nowhere)


def test_a_reference_cannot_go_to_a_key_that_is_itself_a_reference_by_id():
    card = """
[entities.card]
key = ["order"]
fields = { order = { type = "ref(order)", owner = "shop" } }
in.shop = { table = "cards", columns = { order = "order_id" } }
[entities.stamp]
key = ["id"]
fields = { id = { type = "integer", owner = "shop" }, card = { type = "ref(card)", owner = "shop" } }
in.shop = { table = "stamps", columns = { id = "id", card = "card_id" } }
"""
    with pytest.raises(ConfigError, match="refers to 'card', whose key is itself a reference"):
        plan_of(ORDER + CUSTOMER + card)


def test_one_column_cannot_hold_a_key_of_several_parts():
    wide = (
        CUSTOMER.replace('key = ["number"]', 'key = ["number", "country"]')
        .replace('owner = "erp" } }', 'owner = "erp" }, country = { type = "text", owner = "erp" } }')
        .replace('{ number = "no" }', '{ number = "no", country = "country" }')
    )
    by_key = ORDER.replace('customer = "customer_id"', 'customer = { column = "customer_no", reference = "key" }')
    assert plan_of(ORDER + wide)
    with pytest.raises(ConfigError, match="one column cannot hold the key of 'customer'"):
        plan_of(by_key + wide)

"""What does not fit is found before the start, with the words that reading and delivering would use."""

import msgspec
import pytest

from cdcd import fitting
from cdcd.model import ColumnShape, TableShape
from unit.small_line import plan_of

PARTS = """
[entities.product]
key = ["sku"]
create = ["erp"]
[entities.product.fields]
sku = { type = "text(20)", owner = "erp" }
price = { type = "decimal(12,2)", owner = "erp" }
[entities.product.in.erp]
table = "item"
columns = { sku = "code", price = "price" }
[entities.product.in.shop]
table = "products"
columns = { sku = "sku", price = "price.amount" }
[entities.product.in.shop.parts.price]
table = "prices"
parent = "product_id"
where = { active = true }
"""
PRODUCT = """
[entities.product]
key = ["sku"]
[entities.product.fields]
sku = { type = "text(20)", owner = "erp" }
price = { type = "decimal(12,2)", owner = "erp" }
[entities.product.in.erp]
table = "item"
columns = { sku = "code", price = "price" }
[entities.product.in.shop]
table = "products"
columns = { sku = "sku", price = "price" }
"""
COPY = """
[[replicate]]
from = "erp"
to = "shop"
tables = ["move"]
leave-out = ["move.note"]
"""
ERP = {
    "item": {"id": "integer", "code": "text(20)", "price": "decimal(12,2)"},
    "move": {"id": "integer", "qty": "decimal(10,2)", "note": "text"},
}
SHOP = {
    "products": {"id": "integer", "sku": "text(20)", "price": "decimal(12,2)"},
    "move": {"id": "integer", "qty": "decimal(10,2)"},
}


def shapes(tables, keys=()):
    made = {}
    for name, columns in tables.items():
        key = dict(keys).get(name, ("id",))
        listed = tuple(ColumnShape(column, kind) for column, kind in columns.items())
        made[name] = TableShape(name, listed, key, (key,))
    return made


def found(erp=ERP, shop=SHOP, keys=()):
    plan = plan_of(PRODUCT + COPY)
    listed = fitting.findings(plan, {"erp": shapes(erp), "shop": shapes(shop, keys)})
    assert all(finding.message and finding.remedy for finding in listed)
    return [(finding.system, finding.subject, finding.code) for finding in listed]


@pytest.mark.parametrize(
    ("amount", "active", "codes"),
    [
        ("decimal(12,2)", "boolean", []),
        ("decimal(12,2)", "integer", []),
        ("decimal(12,2)", "date", ["target-type-mismatch"]),
        ("date", "boolean", ["type-mismatch", "target-type-mismatch"]),
    ],
)
def test_the_tables_of_parts_are_looked_at_too(amount, active, codes):
    prices = {"id": "integer", "product_id": "integer", "amount": amount, "active": active}
    made = shapes({"products": {"id": "integer", "sku": "text(20)"}, "prices": prices})
    numbered = [msgspec.structs.replace(c, has_default=True) for c in made["prices"].columns]
    made["prices"] = msgspec.structs.replace(made["prices"], columns=tuple(numbered))
    made["products"] = msgspec.structs.replace(made["products"], unique_keys=(("sku",),))
    listed = fitting.findings(plan_of(PARTS), {"erp": shapes(ERP), "shop": made})
    assert [finding.code for finding in listed] == codes


def test_tables_that_fit_have_no_findings():
    assert found() == []


@pytest.mark.parametrize(
    ("shop", "expected"),
    [
        (
            {"products": {"id": "integer", "sku": "text(20)", "price": "bytes"}},
            [("shop", "products", "type-mismatch"), ("shop", "products", "target-type-mismatch")],
        ),
        ({"move": {"id": "integer"}}, [("shop", "move", "target-column-missing")]),
        ({"move": {"id": "integer", "qty": "uuid"}}, [("shop", "move", "target-type-mismatch")]),
    ],
)
def test_what_does_not_fit_is_found(shop, expected):
    assert found(shop=SHOP | shop) == expected


def test_a_copy_whose_key_the_source_does_not_log_with_deletes_is_found():
    assert found(keys=[("move", ("qty",))]) == [("shop", "move", "key-not-logged")]


def test_what_a_systems_own_check_has_said_is_not_said_again():
    assert found(erp={}, shop={"products": {"id": "integer"}}) == []

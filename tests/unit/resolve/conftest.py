"""Fixtures for resolve: a product with fields of both systems, and an order that is handed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unit.small_line import SmallLine

PRODUCT = """
[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
not-owner = { fields = { stock = "ignore", note = "hold" } }
[entities.product.fields]
sku = { type = "text(20)" , owner = "erp" }
name = { type = "text(10)", owner = "erp" }
status = { type = "enum(active,retired)", owner = "erp" }
stock = { type = "integer", owner = "erp" }
note = { type = "text", owner = "erp" }
body = { type = "text", owner = "shop" }
[entities.product.in.erp]
table = "item"
columns = { sku = "code", name = "name", status = "state", stock = "stock", note = "note", body = "web" }
[entities.product.in.shop]
table = "products"
columns = { sku = "sku", name = "title", status = "status", stock = "stock", note = "note", body = "body" }
"""
PRODUCT_TABLES = {
    "erp": {
        "item": {
            "id": "integer",
            "code": "text(20)",
            "name": "text(50)",
            "state": "text(10)",
            "stock": "integer",
            "note": "text",
            "web": "text",
        }
    },
    "shop": {
        "products": {
            "id": "integer",
            "sku": "text(20)",
            "title": "text(50)",
            "status": "text(10)",
            "stock": "integer",
            "note": "text",
            "body": "text",
        }
    },
}

ORDER = """
[entities.customer]
key = ["number"]
create = ["erp", "shop"]
delete = ["erp"]
[entities.customer.fields]
number = { type = "text(20)", owner = "shop" }
name = { type = "text(50)", owner = "shop" }
[entities.customer.in.erp]
table = "partner"
columns = { number = "no", name = "name" }
[entities.customer.in.shop]
table = "customers"
columns = { number = "number", name = "name" }

[entities.order]
key = ["number"]
create = ["shop"]
delete = ["shop"]
[entities.order.fields]
number = { type = "text(20)" }
customer = { type = "ref(customer)" }
status = { type = "enum(new,paid,picking,shipped,lost)" }
total = { type = "decimal(12,2)" }
tracking = { type = "text(20)", owner = "erp" }
[[entities.order.ownership]]
when = "record.status in ['new', 'paid']"
owner = "shop"
[[entities.order.ownership]]
when = "record.status in ['picking', 'shipped']"
owner = "erp"
[entities.order.children.lines]
key = ["line_no"]
[entities.order.children.lines.fields]
line_no = { type = "integer" }
quantity = { type = "integer" }
[entities.order.in.erp]
table = "sales_order"
columns = { number = "no", customer = "partner_id", status = "state", total = "amount", tracking = "tracking" }
[entities.order.in.erp.children.lines]
table = "sales_line"
parent = "order_id"
columns = { line_no = "line_no", quantity = "qty" }
[entities.order.in.shop]
table = "orders"
columns = { number = "number", customer = "customer_id", status = "status", total = "total", tracking = "tracking" }
[entities.order.in.shop.children.lines]
table = "order_items"
parent = "order_id"
columns = { line_no = "position", quantity = "quantity" }
"""
ORDER_TABLES = {
    "erp": {
        "partner": {"id": "integer", "no": "text(20)", "name": "text(50)"},
        "sales_order": {
            "id": "integer",
            "no": "text(20)",
            "partner_id": "integer",
            "state": "text(10)",
            "amount": "decimal(12,2)",
            "tracking": "text(20)",
        },
        "sales_line": {"id": "integer", "order_id": "integer", "line_no": "integer", "qty": "integer"},
    },
    "shop": {
        "customers": {"id": "integer", "number": "text(20)", "name": "text(50)"},
        "orders": {
            "id": "integer",
            "number": "text(20)",
            "customer_id": "integer",
            "status": "text(10)",
            "total": "decimal(12,2)",
            "tracking": "text(20)",
        },
        "order_items": {"id": "integer", "order_id": "integer", "position": "integer", "quantity": "integer"},
    },
}
MakeLine = Callable[..., SmallLine]


@pytest.fixture
def make_line(tmp_path: Path) -> Iterator[MakeLine]:
    """Makes lines in directories of their own, closed at the end."""
    made: list[SmallLine] = []

    def make(text: str, tables: dict, *, live: bool = True) -> SmallLine:
        directory = tmp_path / f"line-{len(made)}"
        directory.mkdir()
        made.append(SmallLine(directory, text, tables, live=live))
        return made[-1]

    yield make
    for line in made:
        line.close()


@pytest.fixture
def products(make_line: MakeLine) -> SmallLine:
    """Products: the ERP creates, deletes and owns all but the body, which is the shop's."""
    return make_line(PRODUCT, PRODUCT_TABLES)


@pytest.fixture
def orders(make_line: MakeLine) -> SmallLine:
    """Orders with lines: the shop's until picking, the ERP's from then on; tracking is always the ERP's."""
    return make_line(ORDER, ORDER_TABLES)

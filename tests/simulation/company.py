"""A small company on two memory servers: schemas, configuration, and applications that write at random.

Its ledger remembers, without any code of the line, what each owner last wrote.
"""

from __future__ import annotations

import tomllib
from random import Random
from typing import Any

from cdcd import config as configuration
from cdcd import config_rules
from cdcd.model import ColumnShape
from cdcd_memory import MemoryOptions, MemoryServer, adapter

CONFIG = """
[daemon]
name = "sim"
state-dir = "/nowhere"
[systems.erp]
adapter = "memory"
[systems.shop]
adapter = "memory"

[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
[entities.product.fields]
sku = { type = "text(20)" , owner = "erp" }
name = { type = "text(50)", owner = "erp" }
price = { type = "decimal(12,4)", owner = "erp" }
description = { type = "text", owner = "shop" }
status = { type = "enum(active,retired)", owner = "erp" }
[entities.product.in.erp]
table = "item"
[entities.product.in.erp.columns]
sku = "code"
name = "name"
price = "list_price"
description = "web_text"
[entities.product.in.erp.columns.status]
column = "active"
map = { true = "active", false = "retired" }
[entities.product.in.shop]
table = "products"
[entities.product.in.shop.columns]
sku = "sku"
name = "title"
description = "body"
[entities.product.in.shop.columns.price]
column = "price_cents"
scale = 100
[entities.product.in.shop.columns.status]
column = "is_live"
map = { 1 = "active", 0 = "retired" }

[entities.customer]
key = ["number"]
create = ["erp", "shop"]
[entities.customer.fields]
number = { type = "text(20)", owner = "shop" }
name = { type = "text(50)", owner = "shop" }
credit = { type = "decimal(12,2)", owner = "erp" }
[entities.customer.in.erp]
table = "partner"
columns = { number = "no", name = "name", credit = "credit" }
[entities.customer.in.shop]
table = "customers"
columns = { number = "number", name = "full_name", credit = "credit" }

[entities.order]
key = ["number"]
create = ["shop"]
delete = ["shop"]
[entities.order.fields]
number = { type = "text(20)" }
customer = { type = "ref(customer)" }
status = { type = "enum(new,paid,picking,shipped)" }
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
product = { type = "ref(product)" }
quantity = { type = "integer" }
[entities.order.in.erp]
table = "sales_order"
columns = { number = "no", customer = "partner_id", status = "state", total = "amount", tracking = "tracking" }
[entities.order.in.erp.children.lines]
table = "sales_line"
parent = "order_id"
columns = { line_no = "line_no", product = "item_id", quantity = "qty" }
[entities.order.in.shop]
table = "orders"
columns = { number = "number", customer = "customer_id", status = "status", total = "total", tracking = "tracking" }
[entities.order.in.shop.children.lines]
table = "order_items"
parent = "order_id"
columns = { line_no = "position", product = "product_id", quantity = "quantity" }
"""

ID = ColumnShape("id", "integer", nullable=False, has_default=True)
NAMES = {
    "erp": {"product": "item", "customer": "partner", "order": "sales_order", "line": "sales_line"},
    "shop": {"product": "products", "customer": "customers", "order": "orders", "line": "order_items"},
}
KEYS = {
    "item": "code",
    "products": "sku",
    "partner": "no",
    "customers": "number",
    "sales_order": "no",
    "orders": "number",
}
TABLES: dict[str, dict[str, list[tuple[str, str]]]] = {
    "erp": {
        "item": [
            ("code", "text(20)"),
            ("name", "text(50)"),
            ("list_price", "decimal(12,4)"),
            ("web_text", "text"),
            ("active", "boolean"),
        ],
        "partner": [("no", "text(20)"), ("name", "text(50)"), ("credit", "decimal(12,2)")],
        "sales_order": [
            ("no", "text(20)"),
            ("partner_id", "integer"),
            ("state", "text(10)"),
            ("amount", "decimal(12,2)"),
            ("tracking", "text(20)"),
        ],
        "sales_line": [("order_id", "integer"), ("line_no", "integer"), ("item_id", "integer"), ("qty", "integer")],
    },
    "shop": {
        "products": [
            ("sku", "text(20)"),
            ("title", "text(50)"),
            ("price_cents", "integer"),
            ("body", "text"),
            ("is_live", "integer(0,1)"),
        ],
        "customers": [("number", "text(20)"), ("full_name", "text(50)"), ("credit", "decimal(12,2)")],
        "orders": [
            ("number", "text(20)"),
            ("customer_id", "integer"),
            ("status", "text(10)"),
            ("total", "decimal(12,2)"),
            ("tracking", "text(20)"),
        ],
        "order_items": [
            ("order_id", "integer"),
            ("position", "integer"),
            ("product_id", "integer"),
            ("quantity", "integer"),
        ],
    },
}
PRODUCT_FIELDS = {
    "erp": {"name": "name", "price": "list_price", "description": "web_text", "status": "active"},
    "shop": {"name": "title", "price": "price_cents", "description": "body", "status": "is_live"},
}
ORDER_FIELDS = {
    "erp": {"customer": "partner_id", "status": "state", "total": "amount", "tracking": "tracking"},
    "shop": {"customer": "customer_id", "status": "status", "total": "total", "tracking": "tracking"},
}


def load_config() -> configuration.Config:
    raw = tomllib.loads(CONFIG)
    config: configuration.Config = configuration.convert(raw, configuration.Config, "sim.toml", "")
    config_rules.check(config, "sim.toml")
    return config


def shapes(*columns: tuple[str, str]) -> list[ColumnShape]:
    return [ID, *(ColumnShape(name, kind) for name, kind in columns)]


class Company:
    """Two servers, two applications, one ledger."""

    def __init__(self, random: Random, *, prune: bool = True, faults: Any = lambda _point: None) -> None:
        self.random = random
        self.now_us = 1_000_000
        self.erp = MemoryServer(f"erp-{id(self)}", prune=prune, clock_us=self._clock, faults=faults)
        self.shop = MemoryServer(f"shop-{id(self)}", prune=False, clock_us=self._clock, faults=faults)
        self.servers = {"erp": self.erp, "shop": self.shop}
        self.adapters = {name: (adapter, MemoryOptions(server.name)) for name, server in self.servers.items()}
        self.written: dict[tuple[str, str, str], Any] = {}
        self.deleted_products: set[str] = set()
        self.numbers = 0
        self._create_tables()

    def _clock(self) -> int:
        self.now_us += 1000
        return self.now_us

    def _create_tables(self) -> None:
        for system, tables in TABLES.items():
            for table, columns in tables.items():
                key = ("order_id", columns[1][0]) if columns[0][0] == "order_id" else (KEYS[table],)
                self.servers[system].create_table(table, shapes(*columns), ("id",), key)

    # ---- reading -----------------------------------------------------------------------------------------

    def rows(self, system: str, table: str) -> list[dict[str, Any]]:
        found = self.servers[system].tables[table]
        return [dict(zip(found.index, row, strict=True)) for row in found.rows.values()]

    def any_row(self, system: str, kind: str) -> dict[str, Any] | None:
        rows = self.rows(system, NAMES[system][kind])
        return self.random.choice(rows) if rows else None

    def by_id(self, system: str, kind: str) -> dict[Any, str]:
        table = NAMES[system][kind]
        return {row["id"]: row[KEYS[table]] for row in self.rows(system, table)}

    # ---- what the applications do ------------------------------------------------------------------------

    def act(self) -> None:
        actions = [
            self.new_product,
            self.reprice,
            self.reprice,
            self.retitle,
            self.describe,
            self.shop_meddles,
            self.erp_describes,
            self.new_customer,
            self.rename_customer,
            self.credit,
            self.shop_credits,
            self.new_order,
            self.new_order,
            self.edit_order,
            self.edit_order,
            self.edit_lines,
            self.pay,
            self.hand_over,
            self.hand_over,
            self.ship,
            self.ship,
            self.erp_meddles_with_order,
            self.shop_meddles_with_order,
            self.delete_product,
            self.shop_deletes_product,
            self.shop_invents_product,
        ]
        self.random.choice(actions)()

    def number(self, prefix: str) -> str:
        self.numbers += 1
        return f"{prefix}{self.numbers}"

    def price(self) -> str:
        return f"{self.random.randint(1, 99999) / 100:.2f}"

    def new_product(self) -> None:
        sku = self.number(self.random.choice("PPPD"))  # D: never ordered, so that it may be deleted
        price = self.price() + "00"
        row = {"code": sku, "name": f"n{self.numbers}", "list_price": price, "web_text": "from erp", "active": True}
        self.erp.transaction([("insert", "item", row)])
        self.written |= {
            ("product", sku, "name"): row["name"],
            ("product", sku, "price"): price,
            ("product", sku, "status"): "active",
        }

    def _set_product(self, system: str, column: str, value: Any) -> str | None:
        row = self.any_row(system, "product")
        if row is None:
            return None
        table = NAMES[system]["product"]
        self.servers[system].transaction([("update", table, {"id": row["id"]}, {column: value})])
        return str(row[KEYS[table]])

    def reprice(self) -> None:
        price = self.price() + "00"
        if sku := self._set_product("erp", "list_price", price):
            self.written["product", sku, "price"] = price

    def retitle(self) -> None:
        name = self.number("title ü ")
        if sku := self._set_product("erp", "name", name):
            self.written["product", sku, "name"] = name

    def describe(self) -> None:
        text = self.number("説明")
        if sku := self._set_product("shop", "body", text):
            self.written["product", sku, "description"] = text

    def shop_meddles(self) -> None:
        self._set_product("shop", "price_cents", self.random.randint(1, 10**6))

    def erp_describes(self) -> None:
        self._set_product("erp", "web_text", self.number("not mine "))

    def delete_product(self) -> None:
        row = self.any_row("erp", "product")
        if row is not None and row["code"].startswith("D"):
            self.erp.transaction([("delete", "item", {"id": row["id"]})])
            self.deleted_products.add(row["code"])

    def shop_deletes_product(self) -> None:
        row = self.any_row("shop", "product")
        if row is not None and row["sku"].startswith("D"):
            self.shop.transaction([("delete", "products", {"id": row["id"]})])

    def shop_invents_product(self) -> None:
        row = {"sku": self.number("X"), "title": "not allowed", "price_cents": 1, "body": "", "is_live": 1}
        self.shop.transaction([("insert", "products", row)])

    def new_customer(self) -> None:
        number = self.number("C")
        if self.random.random() < 0.5:
            self.erp.transaction([("insert", "partner", {"no": number, "name": "e", "credit": "10.00"})])
            self.written["customer", number, "credit"] = "10.00"
        else:
            self.shop.transaction([("insert", "customers", {"number": number, "full_name": "s", "credit": "0.00"})])
            self.written["customer", number, "name"] = "s"

    def rename_customer(self) -> None:
        row = self.any_row("shop", "customer")
        if row is not None:
            name = self.number("имя ")
            self.shop.transaction([("update", "customers", {"id": row["id"]}, {"full_name": name})])
            self.written["customer", row["number"], "name"] = name

    def credit(self) -> None:
        row = self.any_row("erp", "customer")
        if row is not None:
            credit = self.price()
            self.erp.transaction([("update", "partner", {"id": row["id"]}, {"credit": credit})])
            self.written["customer", row["no"], "credit"] = credit

    def shop_credits(self) -> None:
        row = self.any_row("shop", "customer")
        if row is not None:
            self.shop.transaction([("update", "customers", {"id": row["id"]}, {"credit": self.price()})])

    def new_order(self) -> None:
        customer, product = self.any_row("shop", "customer"), self.any_row("shop", "product")
        if customer is None or product is None or not product["sku"].startswith("P"):
            return
        number = self.number("O")
        with self.shop.begin() as transaction:
            order = transaction.insert(
                "orders", {"number": number, "customer_id": customer["id"], "status": "new", "total": self.price()}
            )
            for position in range(1, self.random.randint(2, 4)):
                transaction.insert(
                    "order_items",
                    {"order_id": order[0], "position": position, "product_id": product["id"], "quantity": position},
                )

    def _set_order(self, system: str, states: tuple[str, ...], changes: dict[str, Any]) -> None:
        fields = ORDER_FIELDS[system]
        rows = [row for row in self.rows(system, NAMES[system]["order"]) if row[fields["status"]] in states]
        if rows:
            row = self.random.choice(rows)
            named = {fields[name]: value for name, value in changes.items()}
            self.servers[system].transaction([("update", NAMES[system]["order"], {"id": row["id"]}, named)])

    def edit_order(self) -> None:
        self._set_order("shop", ("new", "paid"), {"total": self.price()})

    def edit_lines(self) -> None:
        lines = self.rows("shop", "order_items")
        if lines:
            line = self.random.choice(lines)
            if self.random.random() < 0.3:
                self.shop.transaction([("delete", "order_items", {"id": line["id"]})])
            else:
                self.shop.transaction(
                    [("update", "order_items", {"id": line["id"]}, {"quantity": self.random.randint(1, 99)})]
                )

    def pay(self) -> None:
        self._set_order("shop", ("new",), {"status": "paid"})

    def hand_over(self) -> None:
        self._set_order("shop", ("paid",), {"status": "picking", "total": self.price()})

    def ship(self) -> None:
        self._set_order("erp", ("picking",), {"status": "shipped", "tracking": self.number("T"), "total": self.price()})

    def erp_meddles_with_order(self) -> None:
        self._set_order("erp", ("new", "paid", "picking", "shipped"), {"total": self.price()})

    def shop_meddles_with_order(self) -> None:
        self._set_order("shop", ("picking", "shipped"), {"total": self.price(), "tracking": "mine"})

"""A small line over the memory adapter with something of everything in its state; used by what makes the stored states too.

It only uses what versions had when they wrote a state that is stored here.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from cdcd import config as configuration
from cdcd import config_rules
from cdcd.model import ColumnShape, Op, Relation, Rows, TableShape
from cdcd.testing.simulator import Simulation
from cdcd_memory import MemoryOptions, MemoryServer
from cdcd_memory import adapter as memory_adapter
from cdcd_memory.server import Entry

SYSTEMS = ("erp", "shop")
TEXT = """
[daemon]
name = "formats"
state-dir = "/nowhere"

[entities.customer]
key = ["number"]
create = ["shop"]
fields = { number = { type = "text" }, name = { type = "text", owner = "shop" } }
in.shop = { table = "customers", columns = { number = "number", name = "name" } }
in.erp = { table = "partner", columns = { number = "no", name = "name" } }

[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
fields.sku = { type = "text", owner = "erp" }
fields.name = { type = "text", owner = "erp" }
fields.price = { type = "decimal(9,2)", owner = "erp" }
fields.stock = { type = "integer", owner = "shop" }
not-owner.fields = { price = "hold" }
in.erp = { table = "item", columns = { sku = "code", name = "name", price = "price", stock = "stock" } }
in.shop = { table = "products", columns = { sku = "sku", name = "title", price = "price", stock = "stock" } }

[entities.order]
key = ["number"]
create = ["shop"]
delete = ["shop"]
fields.number = { type = "text" }
fields.customer = { type = "ref(customer)" }
fields.status = { type = "enum(new, paid, picking, shipped)" }
fields.total = { type = "decimal(9,2)" }
ownership = [
    { when = "record.status in ['new', 'paid']", owner = "shop" },
    { when = "record.status in ['picking', 'shipped']", owner = "erp" },
]
children.lines.key = ["position"]
children.lines.fields = { position = { type = "integer" }, quantity = { type = "integer" } }
[entities.order.in.shop]
table = "orders"
columns = { number = "number", customer = "customer_id", status = "status", total = "total" }
children.lines = { table = "order_items", parent = "order_id", columns = { position = "position", quantity = "quantity" } }
[entities.order.in.erp]
table = "sales_order"
columns = { number = "no", customer = "partner_id", status = "state", total = "total" }
children.lines = { table = "sales_line", parent = "order_id", columns = { position = "position", quantity = "quantity" } }

[entities.hint]
key = ["code"]
create = ["erp"]
fields = { code = { type = "text", owner = "erp" }, body = { type = "text", owner = "erp" } }
in.erp = { table = "hint", columns = { code = "code", body = "body" } }
in.shop = { table = "hints", columns = { code = "code", body = "body" } }

[[replicate]]
from = "erp"
to = "shop"
tables = ["carrier"]
"""
_NUMBERED = ("id", "integer")
_ORDER = (("status", "text"), ("total", "decimal(9,2)"))
TABLES = {
    "erp": {
        "partner": (_NUMBERED, ("no", "text"), ("name", "text")),
        "item": (_NUMBERED, ("code", "text"), ("name", "text"), ("price", "decimal(9,2)"), ("stock", "integer")),
        "sales_order": (
            _NUMBERED,
            ("no", "text"),
            ("partner_id", "integer"),
            ("state", "enum(new,paid,picking,shipped)"),
            ("total", "decimal(9,2)"),
        ),
        "sales_line": (_NUMBERED, ("order_id", "integer"), ("position", "integer"), ("quantity", "integer")),
        "hint": (_NUMBERED, ("code", "text"), ("body", "text")),
        "carrier": (_NUMBERED, ("name", "text")),
    },
    "shop": {
        "customers": (_NUMBERED, ("number", "text"), ("name", "text")),
        "products": (
            _NUMBERED,
            ("sku", "text"),
            ("title", "text(20)"),
            ("price", "decimal(9,2)"),
            ("stock", "integer"),
        ),
        "orders": (_NUMBERED, ("number", "text"), ("customer_id", "integer"), *_ORDER),
        "order_items": (_NUMBERED, ("order_id", "integer"), ("position", "integer"), ("quantity", "integer")),
        "hints": (_NUMBERED, ("code", "text"), ("body", "text")),
        "carrier": (_NUMBERED, ("name", "text")),
    },
}
UNIQUE = {
    "partner": ("no",),
    "item": ("code",),
    "sales_order": ("no",),
    "sales_line": ("order_id", "position"),
    "hint": ("code",),
    "customers": ("number",),
    "products": ("sku",),
    "orders": ("number",),
    "order_items": ("order_id", "position"),
    "hints": ("code",),
}


def new_servers() -> dict[str, MemoryServer]:
    """Servers with empty tables."""
    servers = {name: MemoryServer(f"formats-{name}") for name in SYSTEMS}
    for system, tables in TABLES.items():
        for table, columns in tables.items():
            shapes = [ColumnShape(name, kind, has_default=name == "id") for name, kind in columns]
            unique = [UNIQUE[table]] if table in UNIQUE else []
            servers[system].create_table(table, shapes, ("id",), *unique)
    return servers


def store(server: MemoryServer) -> bytes:
    """A server as bytes."""
    tables = [
        {"shape": table.shape, "rows": list(table.rows.values()), "next_number": table.next_number}
        for table in server.tables.values()
    ]
    return msgspec.msgpack.encode({"tables": tables, "entries": server.entries, "head": server.head})


def load(name: str, body: bytes) -> MemoryServer:
    """A server as it was stored."""
    stored = msgspec.msgpack.decode(body)
    server = MemoryServer(f"formats-{name}")
    for found in stored["tables"]:
        shape = msgspec.convert(found["shape"], TableShape)
        others = [key for key in shape.unique_keys if key != shape.primary_key]
        server.create_table(shape.table, shape.columns, shape.primary_key, *others)
        table = server.tables[shape.table]
        for row in found["rows"]:
            table.replace(None, row)
        table.next_number = found["next_number"]
    for entry in stored["entries"]:
        events = [_run(event) for event in entry["events"]]
        server.entries.append(Entry(entry["number"], entry["committed_at_us"], tuple(events)))
    server.head = stored["head"]
    return server


def _run(event: dict[str, Any]) -> Rows:
    return Rows(msgspec.convert(event["relation"], Relation), Op(event["op"]), event["rows"], event["olds"])


def simulation(servers: dict[str, MemoryServer], directory: Path) -> Simulation:
    """The line, on a state directory."""
    raw = tomllib.loads(TEXT) | {"systems": {name: {"adapter": "memory"} for name in SYSTEMS}}
    config: configuration.Config = configuration.convert(raw, configuration.Config, "formats.toml", "")
    config_rules.check(config, "formats.toml")
    adapters = {name: (memory_adapter, MemoryOptions(server=server.name)) for name, server in servers.items()}
    return Simulation(config, adapters, directory, Random(1))

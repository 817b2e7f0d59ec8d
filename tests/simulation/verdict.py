"""What must hold when the line is quiet, checked without any code of the line's own rules."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from cdcd.journal import Journal, Kind
from cdcd.model import CHECKPOINT_TABLE, Op
from cdcd.resolve.keys import decode_key
from cdcd.state import State
from company import KEYS, NAMES, ORDER_FIELDS, PRODUCT_FIELDS, Company


def products(company: Company, system: str) -> dict[str, dict[str, Any]]:
    table = NAMES[system]["product"]
    names = PRODUCT_FIELDS[system]
    found = {}
    for row in company.rows(system, table):
        fields = {field: row[column] for field, column in names.items()}
        if system == "shop":
            fields["price"] = None if fields["price"] is None else f"{Decimal(fields['price']) / 100:.4f}"
            fields["status"] = {1: "active", 0: "retired"}[fields["status"]]
        else:
            fields["status"] = "active" if fields["status"] else "retired"
        found[row[KEYS[table]]] = fields
    return found


def customers(company: Company, system: str) -> dict[str, dict[str, Any]]:
    name = {"erp": "name", "shop": "full_name"}[system]
    table = NAMES[system]["customer"]
    return {r[KEYS[table]]: {"name": r[name], "credit": r["credit"]} for r in company.rows(system, table)}


def orders(company: Company, system: str) -> dict[str, dict[str, Any]]:
    table = NAMES[system]["order"]
    names = ORDER_FIELDS[system]
    customer = company.by_id(system, "customer")
    found = {}
    for row in company.rows(system, table):
        fields = {field: row[column] for field, column in names.items()}
        fields["customer"] = customer.get(fields["customer"], f"dangling {fields['customer']}")
        found[row[KEYS[table]]] = fields
    return found


def lines(company: Company, system: str) -> dict[tuple[str, int], tuple[Any, Any]]:
    number = company.by_id(system, "order")
    product = company.by_id(system, "product")
    parent, position, item, quantity = {
        "erp": ("order_id", "line_no", "item_id", "qty"),
        "shop": ("order_id", "position", "product_id", "quantity"),
    }[system]
    return {
        (number.get(r[parent], "orphan"), r[position]): (product.get(r[item]), r[quantity])
        for r in company.rows(system, NAMES[system]["line"])
    }


def check(company: Company, directory: Path) -> None:
    """Both systems hold the same, it is what the owners wrote, and nothing was applied twice."""
    reported = unmatched(directory)
    for read in (products, customers, orders, lines):
        erp, shop = read(company, "erp"), read(company, "shop")  # type: ignore[operator]
        shop = {key: fields for key, fields in shop.items() if key not in reported or key in erp}
        assert erp == shop, f"{read.__name__} differ: {differences(erp, shop)}"
    held = {"product": products(company, "erp"), "customer": customers(company, "erp")}
    for (entity, key, field), value in company.written.items():
        if key.startswith("X"):
            continue  # what the shop invents is taken back, or reported
        if entity == "product" and key in company.deleted_products:
            assert key not in held[entity], f"deleted product {key} is still there"
            continue
        assert held[entity][key][field] == value, f"{entity} {key}.{field} is not what its owner wrote"
    assert not [sku for sku in held["product"] if sku.startswith("X")], "the shop may not create products"
    assert all(key.startswith("X") for key in reported), f"reported as unmatched: {reported}"
    judge = OrderJudge(company)
    judge.replay(directory)
    assert orders(company, "erp") == judge.orders, differences(orders(company, "erp"), judge.orders)
    check_batches(company)


def unmatched(directory: Path) -> set[str]:
    """Keys of records that were found in one system only at the first copy: left alone, and reported."""
    state = State(directory / "state.db", durable=False)
    rows = state.connection.execute("SELECT entity, key FROM conflicts WHERE kind = 'unmatched'").fetchall()
    vocabulary = state.vocabulary
    state.close()
    assert vocabulary is not None
    names = [(vocabulary.entities[entity], key) for entity, key in rows]
    assert all(entity == "product" for entity, _ in names), f"reported as unmatched: {names}"
    return {decode_key(key, 1)[0] for _, key in names}


def differences(one: dict[Any, Any], other: dict[Any, Any]) -> list[Any]:
    return [(key, one.get(key), other.get(key)) for key in {*one, *other} if one.get(key) != other.get(key)][:5]


def check_batches(company: Company) -> None:
    """The batches in each target's log follow one another without gap or overlap."""
    for name, server in company.servers.items():
        through = 0
        if server.prune:
            continue
        for entry in server.after(0):
            for event in entry.events:
                if event.relation.table == CHECKPOINT_TABLE and event.op is Op.UPDATE:
                    columns = event.relation.columns
                    after, now = (event.rows[-1][columns.index(c)] for c in ("batch_after", "batch_through"))
                    if now == through:
                        continue
                    assert after == through, f"{name}: batch ({after}, {now}] follows {through}"
                    through = now  # type: ignore[assignment]


class OrderJudge:
    """Who was right about orders, told from the journal alone: what did each transaction change, and was it its owner?"""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._seen: dict[tuple[str, str, Any], dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}

    def replay(self, directory: Path) -> None:
        with closing(Journal(directory / "journal.db", durable=False)) as journal:
            after = 0
            while entries := journal.read(after):
                for entry in entries:
                    if entry.kind is not Kind.COMMAND:
                        before = {number: fields["status"] for number, fields in self.orders.items()}
                        for rows in journal.rows(entry):
                            self._rows(entry.source, rows, before, entry)
                after = entries[-1].seq

    def _rows(self, system: str, rows: Any, before: dict[str, str], entry: Any) -> None:
        if rows.relation.table != NAMES[system]["order"]:
            return
        for row in rows.rows:
            named = dict(zip(rows.relation.columns, row, strict=True))
            old = self._seen.get((system, "order", named["id"]))
            self._seen[system, "order", named["id"]] = named
            if entry.mark is None:
                self._change(system, named, old, before)

    def _change(self, system: str, row: dict[str, Any], old: dict[str, Any] | None, before: dict[str, str]) -> None:
        names = ORDER_FIELDS[system]
        number = row[KEYS[NAMES[system]["order"]]]
        changed = {f: row[c] for f, c in names.items() if old is None or old[c] != row[c]}
        if "customer" in changed:
            changed["customer"] = self._company.by_id(system, "customer")[changed["customer"]]
        if number not in self.orders:
            self.orders[number] = changed
            return
        before.setdefault(number, self.orders[number]["status"])
        owner = "shop" if before[number] in ("new", "paid") else "erp"
        for field, value in changed.items():
            if system == ("erp" if field == "tracking" else owner):
                self.orders[number][field] = value

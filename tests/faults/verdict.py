"""Whether both databases hold what was committed: by their own content, read with SQL, without anything of cdcd's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

Row = tuple[Any, ...]
SHOWN_MAX: Final = 8
ERP_RECORDS: Final = {
    "item": "SELECT code, name, price_version, (list_price * 100)::bigint, web_version, web_text, on_hand FROM item",
    "partner": "SELECT number, name_version, name, credit_version, (credit * 100)::bigint FROM partner",
    "order": "SELECT order_no, state, note_version, note, ship_version, tracking FROM sales_order",
    "line": "SELECT order_no, line_no, code, qty FROM sales_order_line JOIN sales_order o ON o.id = order_id"
    " JOIN item i ON i.id = item_id",
    "movement": "SELECT id, code, delta FROM movement",
    "visit": "SELECT id, code, delta FROM visit",
}
SHOP_RECORDS: Final = {
    "item": "SELECT sku, title, price_version, cents, web_version, body, quantity FROM products",
    "partner": "SELECT number, name_version, name, credit_version, CAST(credit * 100 AS SIGNED) FROM partners",
    "order": "SELECT number, status, note_version, note, ship_version, tracking_code FROM orders",
    "line": "SELECT number, position, sku, i.quantity FROM order_items i JOIN orders o ON o.id = order_id"
    " JOIN products p ON p.id = product_id",
    "movement": "SELECT id, code, delta FROM movement",
    "visit": "SELECT id, code, delta FROM visit",
}
OWNED_BY_SHOP: Final = {"visit"}
"""Kinds whose rows come from the shop alone. Of the others the ERP has all but orders and partners made by the shop."""
KEY_SIZE: Final = {"line": 2}
STOCK: Final = 6


class Side(msgspec.Struct, frozen=True):
    """One database: its records by kind, what was made and deleted there, and the version numbers that went back."""

    records: dict[str, dict[Any, Row]]
    doubled: dict[str, list[Any]]
    made: dict[str, int]
    gone: dict[str, set[str]]
    regressions: list[Row]
    transactions: int


class Verdict(msgspec.Struct, frozen=True):
    """What is wrong, in words with the records' keys. Both empty: nothing was lost and nothing came twice."""

    lost: list[str]
    duplicated: list[str]
    transactions: int

    @property
    def right(self) -> bool:
        return not self.lost and not self.duplicated

    def __str__(self) -> str:
        shown = [f"lost: {what}" for what in self.lost[:SHOWN_MAX]]
        shown += [f"duplicated: {what}" for what in self.duplicated[:SHOWN_MAX]]
        counts = f"{self.transactions} transactions, {len(self.lost)} lost, {len(self.duplicated)} duplicated"
        return "\n".join([counts, *shown])


def read(side: str, query: Any, labels: str) -> Side:
    """Everything of one database; `query` runs a statement there and returns its rows.

    `labels` are the columns of the labels that are kept in step just now, if any.
    """
    records: dict[str, dict[Any, Row]] = {}
    doubled: dict[str, list[Any]] = {}
    statements = dict(ERP_RECORDS if side == "erp" else SHOP_RECORDS)
    if labels:
        statements["label"] = f"SELECT {labels} FROM {'label' if side == 'erp' else 'labels'}"
    for kind, sql in statements.items():
        rows = records[kind] = {}
        size = KEY_SIZE.get(kind, 1)
        for row in query(sql):
            key = row[0] if size == 1 else row[:size]
            if key in rows:
                doubled.setdefault(kind, []).append(key)
            rows[key] = tuple(row)
    gone: dict[str, set[str]] = {}
    for kind, number in query("SELECT kind, number FROM gone"):
        gone.setdefault(kind, set()).add(number)
    return Side(
        records,
        doubled,
        dict(query("SELECT kind, count FROM made")),
        gone,
        list(query("SELECT kind, number FROM regression")),
        int(query("SELECT sum(transactions) FROM progress")[0][0]),
    )


def compare(erp: Side, shop: Side) -> Verdict:
    """The verdict on what both sides hold when nothing is on its way any more."""
    lost: list[str] = []
    duplicated: list[str] = []
    for kind, left in erp.records.items():
        right = shop.records[kind]
        source, copy = (right, left) if kind in OWNED_BY_SHOP else (left, right)
        there = "ERP" if kind in OWNED_BY_SHOP else "shop"
        lost += [f"{kind} {key} is missing in the {there}" for key in source.keys() - copy.keys()]
        extra = copy.keys() - source.keys()
        duplicated += [f"{kind} {key} is in the {there} alone" for key in extra]
        lost += [
            f"{kind} {key} differs: {source[key]} and {copy[key]}"
            for key in source.keys() & copy.keys()
            if source[key] != copy[key]
        ]
    for name, side in (("ERP", erp), ("shop", shop)):
        duplicated += [f"{kind} {key} is in the {name} twice" for kind, keys in side.doubled.items() for key in keys]
        lost += [f"{kind} {number} went back to an older version in the {name}" for kind, number in side.regressions]
        for kind, expected in _expected(erp, shop).items():
            found = side.records[kind].keys()
            lost += [f"{kind} {key} was made and is not in the {name}" for key in expected - found]
            duplicated += [f"{kind} {key} was deleted, or never made, and is in the {name}" for key in found - expected]
    for name, side in (("ERP", erp), ("shop", shop)):
        _judge_stocks(name, side, erp, shop, lost, duplicated)
    return Verdict(lost, duplicated, erp.transactions + shop.transactions)


def _expected(erp: Side, shop: Side) -> dict[str, set[str]]:
    """Keys of all records that were made and not deleted, by what each side committed itself."""
    gone = {kind: erp.gone.get(kind, set()) | shop.gone.get(kind, set()) for kind in ("order", "partner", "item")}
    return {
        "order": _numbers("O", shop.made["order"]) - gone["order"],
        "partner": (_numbers("E", erp.made["partner"]) | _numbers("S", shop.made["partner"])) - gone["partner"],
    }


def _numbers(prefix: str, count: int) -> set[str]:
    return {f"{prefix}{number}" for number in range(1, count + 1)}


def _judge_stocks(name: str, side: Side, erp: Side, shop: Side, lost: list[str], duplicated: list[str]) -> None:
    """Every stock is the sum of all that was moved on both sides, as each side has it in its own book."""
    sums: dict[str, int] = {}
    for _, code, delta in _chained(erp.records["movement"].values(), shop.records["visit"].values()):
        sums[code] = sums.get(code, 0) + delta
    for code, row in side.records["item"].items():
        off = row[STOCK] - sums.get(code, 0)
        if off:
            (duplicated if off > 0 else lost).append(f"the stock of {code} is off by {off:+} in the {name}")


def _chained(*parts: Iterable[Row]) -> Iterable[Row]:
    for part in parts:
        yield from part

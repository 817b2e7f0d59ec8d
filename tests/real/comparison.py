"""Whether both applications say the same, each asked through its own API: what each field is, and who has the say.

Who owns what and how a value is spelled on each side is written down here a second time and by hand: nothing of the
checking is shared with what is checked.
"""

import math
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from real.applications.catalogue import GUESTS_EMAIL
from real.erp import Erp
from real.shop import Shop

STATUSES = {
    "draft": "Pending",
    "quotation": "Pending",
    "confirmed": "Being processed",
    "processing": "Being processed",
    "done": "Complete",
    "cancelled": "Cancelled",
}


def differences(erp: Erp, shop: Shop) -> list[str]:
    """Everything in which the applications are not in step; empty when they are."""
    merged = frozenset(erp.tell("merged_away"))
    return [
        *_products(erp.tell("products"), shop.tell("products")),
        *_customers(erp.tell("customers"), shop.tell("customers"), merged),
        *_orders(erp.tell("orders"), shop.tell("orders"), merged),
    ]


def _products(erp: dict[str, Any], shop: dict[str, Any]) -> Iterator[str]:
    for sku in sorted(erp.keys() - shop.keys()):
        yield f"product {sku}: the shop has none"
    for sku in sorted(shop.keys() - erp.keys()):
        if shop[sku]["active"]:
            yield f"product {sku}: the ERP has none, the shop still shows it"
    for sku in sorted(erp.keys() & shop.keys()):
        ours, theirs = erp[sku], shop[sku]
        expected = {
            "name": ours["name"][:255],
            "price": str(Decimal(ours["price"]).quantize(Decimal("0.01"), ROUND_HALF_UP)),
            "stock": max(0, math.floor(ours["quantity"])),
            "active": ours["active"],
            "description": ours["description"] or "",
        }
        yield from _different(f"product {sku}", expected, theirs)


def _customers(erp: dict[str, Any], shop: dict[str, Any], merged: frozenset[str]) -> Iterator[str]:
    for email in sorted(erp.keys() ^ shop.keys()):
        if email not in merged:
            yield f"customer {email}: only {'the ERP' if email in erp else 'the shop'} has it"
    for email in sorted(erp.keys() & shop.keys()):
        yield from _different(
            f"customer {email}",
            {"name": erp[email]["name"], **_place(erp[email])},
            {**shop[email], **_place(shop[email])},
        )


def _orders(erp: dict[str, Any], shop: dict[str, Any], merged: frozenset[str]) -> Iterator[str]:
    for number in sorted(erp.keys() ^ shop.keys()):
        yield f"order {number}: only {'the ERP' if number in erp else 'the shop'} has it"
    for number in sorted(erp.keys() & shop.keys()):
        ours, theirs = erp[number], shop[number]
        expected = {
            "status": STATUSES[ours["state"]],
            "currency": ours["currency"],
            "lines": _lines(ours),
            "recipient": (ours["address"] or {}).get("recipient"),
            "total": Decimal(ours["total"]),
            **_place(ours),
        }
        shown = {
            **{name: theirs[name] for name in ("status", "currency")},
            "lines": _lines(theirs),
            "recipient": (theirs["address"] or {}).get("recipient"),
            "total": Decimal(theirs["total"]),
            **_place(theirs),
        }
        yield from _different(f"order {number}", expected, shown)
        customer = GUESTS_EMAIL if theirs["guest"] else theirs["customer"]
        if customer not in ours["customer"] and customer not in merged:
            yield f"order {number}: customer is {ours['customer']} in the ERP, {customer} in the shop"


def _lines(order: dict[str, Any]) -> dict[str, tuple[float, Decimal]]:
    return {sku: (float(quantity), Decimal(price)) for sku, (quantity, price) in order["lines"].items()}


def _place(record: dict[str, Any]) -> dict[str, Any]:
    address = record["address"] or {}
    return {name: address.get(name) or "" for name in ("street", "city", "postcode", "country")}


def _different(what: str, expected: dict[str, Any], shown: dict[str, Any]) -> Iterator[str]:
    for name, value in expected.items():
        if value != shown[name]:
            yield f"{what}: {name} is {value!r} in the ERP, {shown[name]!r} in the shop"

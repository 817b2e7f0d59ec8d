"""The demo's own words: which records there are, their fields, and who owns each one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

Side: TypeAlias = Literal["erp", "shop"]
Key: TypeAlias = str | tuple[str, int]
"""A product's sku, a customer's number, a contact's email, an order's number; (order number, line number)."""
Record: TypeAlias = dict[str, Any]
Books: TypeAlias = dict[str, dict[Key, Record]]
"""Everything one side holds: kind → key → fields."""

BY_STATUS: Final = "by status"
OWNERS: Final[Mapping[str, Mapping[str, str]]] = {
    "product": {
        "name": "erp",
        "price": "erp",
        "currency": "erp",
        "stock": "erp",
        "status": "erp",
        "attributes": "erp",
        "description": "shop",
    },
    "customer": {
        "name": "shop",
        "segment": "shop",
        "country": "shop",
        "registered_at": "shop",
        "newsletter": "shop",
        "credit_limit": "erp",
        "account": "erp",
    },
    "contact": {
        "customer": "shop",
        "name": "shop",
        "phone": "shop",
        "contract_terms": "erp",
        "discount_percent": "erp",
        "contract_until": "erp",
    },
    "order": {
        "customer": BY_STATUS,
        "status": BY_STATUS,
        "placed_at": BY_STATUS,
        "total": BY_STATUS,
        "currency": BY_STATUS,
        "note": BY_STATUS,
        "promised_on": "erp",
        "tracking": "erp",
        "shipped_at": "erp",
    },
    "order_line": {"product": BY_STATUS, "quantity": BY_STATUS, "price": BY_STATUS},
}
KINDS: Final = tuple(OWNERS)
SHOP_STATUSES: Final = frozenset({"new", "paid"})
"""An order in one of these belongs to the shop, in any other to the ERP."""

KEY_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "product": ("sku",),
    "customer": ("number",),
    "contact": ("email",),
    "order": ("number",),
    "order_line": ("number", "line_no"),
}


def owner(kind: str, field: str, order_status: str | None = None) -> Side:
    """Who owns the field; `order_status` is that of the order itself, or of the order a line belongs to."""
    stated = OWNERS[kind][field]
    if stated == BY_STATUS:
        return "shop" if order_status in SHOP_STATUSES else "erp"
    return "erp" if stated == "erp" else "shop"


def order_status(kind: str, key: Key, record: Record, books: Books) -> str | None:
    """The status that decides who owns a record's fields; None where no status does."""
    if kind == "order":
        return str(record["status"])
    if kind == "order_line":
        return str(books["order"][key[0]]["status"])
    return None


def named_key(kind: str, key: Key) -> Record:
    """The key as fields, for a statement's parameters."""
    return dict(zip(KEY_FIELDS[kind], key if isinstance(key, tuple) else (key,), strict=True))


def empty_books() -> Books:
    """Books without a record."""
    return {kind: {} for kind in KINDS}

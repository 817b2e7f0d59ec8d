"""The state both databases are in before cdcd has ever seen them: partly the same, partly different, partly alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

from demo import wording
from demo.records import OWNERS, Books, Key, Record, Side, empty_books, order_status, owner

BARRIER: Final = "DEMO-BARRIER"
"""A product whose stock and description the demo writes at the end, to see them arrive on the other side."""
ORDER_STATUSES: Final = ("new", "paid", "picking", "shipped", "cancelled")


class Opening:
    """Both sides' opening books. `products` sets the size; the other kinds follow from it."""

    def __init__(self, rng: Random, products: int) -> None:
        self._rng = rng
        self.erp = empty_books()
        self.shop = empty_books()
        for number in range(1, products + 1):
            self._product(f"P-{number:05}")
        for number in range(1, products // 2 + 1):
            self._customer(f"C{number:05}")
        for number in range(1, products // 2 + 1):
            self._order(f"S-{number:06}")
        self._barrier()

    def _product(self, sku: str) -> None:
        """Three of four on both sides with differences, the rest only in the ERP."""
        self.erp["product"][sku] = product(self._rng)
        if self._rng.random() < 0.75:
            self.shop["product"][sku] = _differing("product", self.erp["product"][sku], product(self._rng), self._rng)

    def _barrier(self) -> None:
        self.erp["product"][BARRIER] = product(self._rng)
        self.shop["product"][BARRIER] = dict(self.erp["product"][BARRIER])

    def _customer(self, number: str) -> None:
        """Most on both sides, some web customers the ERP has never seen, some partners without a shop account."""
        first = customer(self._rng)
        second = _differing("customer", first, customer(self._rng), self._rng)
        where = self._rng.random()
        if where < 0.85:
            self.erp["customer"][number] = first
        if where >= 0.1:
            self.shop["customer"][number] = second
        for index in range(self._rng.randint(1, 3)):
            self._contact(f"{number.lower()}.{index}@example.net", number)

    def _contact(self, email: str, number: str) -> None:
        first = contact(self._rng, number)
        second = _differing("contact", first, contact(self._rng, number), self._rng)
        if number in self.erp["customer"] and self._rng.random() < 0.9:
            self.erp["contact"][email] = first
        if number in self.shop["customer"]:
            self.shop["contact"][email] = second

    def _order(self, number: str) -> None:
        """All in the shop, half of them in the ERP too: there with the same status, but other owners' fields differ."""
        buyer = self._rng.choice(list(self.shop["customer"]))
        record = order(self._rng, str(buyer))
        self.shop["order"][number] = record
        lines = [self._line() for _ in range(self._rng.randint(1, 5))]
        record["total"] = total(lines)
        known = buyer in self.erp["customer"] and self._rng.random() < 0.5
        if known:
            other = {**order(self._rng, str(buyer)), "currency": record["currency"]}
            self.erp["order"][number] = {**_differing("order", record, other, self._rng), "status": record["status"]}
        for line_no, line in enumerate(lines, 1):
            self.shop["order_line"][number, line_no] = line
            if known:
                differing = {**line, "price": wording.money(self._rng, "EUR")}
                self.erp["order_line"][number, line_no] = differing if self._rng.random() < 0.3 else dict(line)

    def _line(self) -> Record:
        sku = self._rng.choice(list(self.shop["product"]))
        return line(self._rng, str(sku), self.erp["product"][sku]["price"])

    def truth(self) -> Books:
        """What both sides must hold when the opening state has been copied."""
        return merge(self.erp, self.shop)


def merge(erp: Books, shop: Books) -> Books:
    """Each field as its owner has it; where the owner does not have the record, as the one who created it has it."""
    books: dict[Side, Books] = {"erp": erp, "shop": shop}
    merged = empty_books()
    for kind in OWNERS:
        for key in {**erp[kind], **shop[kind]}:
            merged[kind][key] = _merged_record(kind, key, books, merged)
    return merged


def _merged_record(kind: str, key: Key, books: dict[Side, Books], merged: Books) -> Record:
    held = {side: side_books[kind][key] for side, side_books in books.items() if key in side_books[kind]}
    anyone = next(iter(held.values()))
    status = order_status(kind, key, anyone, merged)
    return {field: held.get(owner(kind, field, status), anyone)[field] for field in OWNERS[kind]}


def _differing(kind: str, record: Record, other: Record, rng: Random) -> Record:
    """A copy of `record` in which about one field in three is taken from `other`."""
    return {field: (other if rng.random() < 0.33 else record)[field] for field in OWNERS[kind]}


def product(rng: Random) -> Record:
    """Any product."""
    currency = rng.choice(wording.CURRENCIES)
    return {
        "name": wording.product_name(rng),
        "price": wording.money(rng, currency),
        "currency": currency,
        "stock": rng.randint(0, 500),
        "status": "active" if rng.random() < 0.9 else "retired",
        "attributes": wording.attributes(rng),
        "description": wording.text(rng),
    }


def customer(rng: Random) -> Record:
    """Any customer."""
    return {
        "name": wording.person_name(rng),
        "segment": rng.choice(("retail", "trade")),
        "country": rng.choice(wording.COUNTRIES),
        "registered_at": wording.past_instant(rng),
        "newsletter": rng.random() < 0.5,
        "credit_limit": wording.money(rng, "EUR", 20_000),
        "account": "blocked" if rng.random() < 0.1 else "open",
    }


def contact(rng: Random, number: str) -> Record:
    """Any contact of a customer."""
    return {
        "customer": number,
        "name": wording.person_name(rng),
        "phone": wording.phone(rng),
        "contract_terms": wording.text(rng),
        "discount_percent": Decimal(rng.randrange(0, 4000)).scaleb(-2),
        "contract_until": wording.future_day(rng) if rng.random() < 0.7 else None,
    }


def order(rng: Random, number: str) -> Record:
    """Any order of a customer, without its lines."""
    status = rng.choice(ORDER_STATUSES)
    placed_at = wording.past_instant(rng)
    shipped = status == "shipped"
    return {
        "customer": number,
        "status": status,
        "placed_at": placed_at,
        "total": wording.money(rng, "EUR"),
        "currency": rng.choice(wording.CURRENCIES),
        "note": wording.text(rng) if rng.random() < 0.3 else None,
        "promised_on": wording.future_day(rng) if rng.random() < 0.5 else None,
        "tracking": f"TRK{rng.randrange(10**9):09}" if shipped else None,
        "shipped_at": placed_at + timedelta(days=2, microseconds=rng.randrange(10**6)) if shipped else None,
    }


def line(rng: Random, sku: str, price: Any) -> Record:
    """Any order line of a product."""
    quantity = Decimal(rng.randint(1, 9)) if rng.random() < 0.8 else Decimal(rng.randint(1, 9000)).scaleb(-3)
    return {"product": sku, "quantity": quantity, "price": price}


def total(lines: Iterable[Record]) -> Decimal:
    """What the lines come to, in whole cents."""
    return sum((line["quantity"] * line["price"] for line in lines), Decimal(0)).quantize(Decimal("0.01"))


def is_kept_open(number: str) -> bool:
    """One order in ten the shop never hands over: those the ERP may edit wrongly, and nobody can call it right."""
    return number.endswith("7")

"""What people do in the ERP: purchasing, pricing, sales contracts, fulfilment, and a few things they should not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, ClassVar

import psycopg

from demo import erp, opening, wording
from demo.desk import Desk
from demo.ledger import Ledger
from demo.records import SHOP_STATUSES, Side


class ErpBusiness(Desk):
    """The ERP's side of the business. An action that finds its record not (yet) there does nothing."""

    side: Side = "erp"
    weights: ClassVar[Mapping[str, int]] = {
        "book_stock": 30,
        "change_prices": 20,
        "ship": 20,
        "promise_date": 10,
        "agree_terms": 8,
        "rename_product": 6,
        "new_product": 6,
        "toggle_product": 5,
        "set_credit": 5,
        "new_partner": 3,
        "deliver_short": 3,
        "cancel_order": 2,
        "raise_prices": 1,
        "wrongly_rewrite_text": 4,
        "wrongly_change_phone": 3,
        "wrongly_edit_open_order": 3,
        "wrongly_enter_order": 1,
        "wrongly_delete_contact": 1,
    }

    def __init__(self, dsn: str, ledger: Ledger, rng: Random) -> None:
        super().__init__(erp, ledger, rng)
        self._dsn = dsn

    def open(self) -> None:
        """Connect."""
        self._connection = erp.connect(self._dsn)
        self._cursor = self._connection.cursor()

    def lost_a_lock(self, error: Exception) -> bool:
        """Whether PostgreSQL asks to try again."""
        return isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.LockNotAvailable)

    # ---- products ----------------------------------------------------------------------------------------

    def book_stock(self) -> str | None:
        """Goods come in and go out."""
        skus = self._pick_products(20)
        for sku in skus:
            self._set("product", sku, stock=self._rng.randint(0, 500))
        return self._commit(f"stock booked for {len(skus)} products")

    def change_prices(self) -> str | None:
        """New prices for a few products, now and then in another currency."""
        skus = self._pick_products(5)
        for sku in skus:
            currency = self._rng.choice(wording.CURRENCIES)
            self._set("product", sku, price=wording.money(self._rng, currency), currency=currency)
        return self._commit(f"price of {skus[0]} and {len(skus) - 1} more changed")

    def raise_prices(self) -> str | None:
        """A new price list: a few hundred products in one statement."""
        skus = self._pick_products(400)
        statement = """UPDATE public.item SET list_price = round(list_price * 1.02, 2) WHERE code = ANY(%s)
                       RETURNING code, list_price"""
        for row in self._cursor.execute(statement, (skus,)).fetchall():
            self._note_write("product", row["code"], price=row["list_price"])
        return self._commit(f"price list: {len(skus)} products 2 % dearer")

    def rename_product(self) -> str | None:
        """A better name, and a new data sheet."""
        sku = self._pick_product()
        fields = {"name": wording.product_name(self._rng), "attributes": wording.attributes(self._rng)}
        return self._commit(f"{sku} is now {fields['name']}") if self._set("product", sku, **fields) else None

    def new_product(self) -> str | None:
        """A product that the shop has never heard of. Sometimes purchasing already has a text for it."""
        sku, record = f"N-{self._next():05}", opening.product(self._rng)
        if self._rng.random() < 0.7:
            record["description"] = None
        return self._commit(f"new product {sku} {record['name']}") if self._add("product", sku, record) else None

    def toggle_product(self) -> str | None:
        """A product is retired, or comes back."""
        sku = self._pick_product()
        status = "retired" if self._ledger.get("product", sku)["status"] == "active" else "active"
        return self._commit(f"{sku} is {status}") if self._set("product", sku, status=status) else None

    # ---- customers ---------------------------------------------------------------------------------------

    def set_credit(self) -> str | None:
        """Accounting decides what we trust a customer with."""
        number = self._pick("customer")
        limit = wording.money(self._rng, "EUR", 50_000)
        account = "blocked" if self._rng.random() < 0.2 else "open"
        done = self._set("customer", number, credit_limit=limit, account=account)
        return self._commit(f"credit of {number}: {limit}, {account}") if done else None

    def new_partner(self) -> str | None:
        """Sales brings a customer with contacts; what the shop owns of them starts with what sales knows."""
        number, record = f"E{self._next():05}", opening.customer(self._rng)
        self._add("customer", number, record)
        count = self._rng.randint(1, 3)
        for index in range(count):
            self._add("contact", f"{number.lower()}.{index}@example.com", opening.contact(self._rng, number))
        return self._commit(f"new partner {number} {record['name']} with {count} contacts")

    def agree_terms(self) -> str | None:
        """Sales and a contact agree on terms."""
        email = self._pick("contact")
        done = self._set(
            "contact",
            email,
            contract_terms=wording.text(self._rng),
            discount_percent=Decimal(self._rng.randrange(0, 4000)).scaleb(-2),
            contract_until=wording.future_day(self._rng),
        )
        return self._commit(f"terms agreed with {email}") if done else None

    # ---- orders ------------------------------------------------------------------------------------------

    def promise_date(self) -> str | None:
        """Planning promises a delivery date; that field is the ERP's in every state of the order."""
        number = self._pick("order")
        day = wording.future_day(self._rng)
        return self._commit(f"{number} promised for {day}") if self._set("order", number, promised_on=day) else None

    def _in_picking(self) -> str | None:
        """An order that has been handed over to us, and was not only set to picking by somebody here."""
        statement = """SELECT order_no FROM public.sales_order WHERE state = 'picking' ORDER BY id LIMIT 20
                       FOR UPDATE SKIP LOCKED"""
        numbers = [str(row["order_no"]) for row in self._cursor.execute(statement).fetchall()]
        ours = [number for number in numbers if self._ledger.get("order", number)["status"] == "picking"]
        return self._rng.choice(ours) if ours else None

    def ship(self) -> str | None:
        """An order leaves the warehouse."""
        number = self._in_picking()
        if number is None:
            return None
        tracking = f"TRK{self._rng.randrange(10**9):09}"
        self._set("order", number, status="shipped", tracking=tracking, shipped_at=datetime.now(UTC))
        return self._commit(f"{number} shipped, {tracking}")

    def cancel_order(self) -> str | None:
        """Fulfilment finds that an order cannot be delivered."""
        number = self._in_picking()
        if number is None:
            return None
        self._set("order", number, status="cancelled", note="out of stock / 在庫切れ")
        return self._commit(f"{number} cancelled by fulfilment")

    def deliver_short(self) -> str | None:
        """There is less than was ordered: a line and the total change, and the order is the ERP's by now."""
        number = self._in_picking()
        lines = self._ledger.lines(number) if number else {}
        if number is None or not lines:
            return None
        line_no = self._rng.choice(list(lines))
        lines[line_no]["quantity"] = (lines[line_no]["quantity"] / 2).quantize(Decimal("0.001")) + Decimal("0.001")
        self._set("order_line", (number, line_no), quantity=lines[line_no]["quantity"])
        self._set("order", number, total=opening.total(lines.values()))
        return self._commit(f"{number}: line {line_no} delivered short")

    # ---- what they have no right to ----------------------------------------------------------------------

    def wrongly_rewrite_text(self) -> str | None:
        """The shop's text, changed in the ERP; half the time together with a price, which counts."""
        sku = self._pick_product()
        if not self._wrongly_set("product", sku, description=f"ERP text №{self._next()}"):
            return None
        if self._rng.random() < 0.5:
            self._set("product", sku, price=wording.money(self._rng, "EUR"))
        return self._commit_wrong(f"rewrites the shop's text of {sku}")

    def wrongly_change_phone(self) -> str | None:
        """A contact's phone number is the shop's to change."""
        email = self._pick("contact")
        done = self._wrongly_set("contact", email, phone=f"ERP {self._next()}")
        return self._commit_wrong(f"changes the phone number of {email}") if done else None

    def wrongly_edit_open_order(self) -> str | None:
        """An order that the shop will never hand over, treated as if it were the ERP's."""
        number = self._pick_where("order", self._stays_with_the_shop)
        if number is None:
            return None
        fields: dict[str, Any] = {"total": Decimal("0.01")} if self._rng.random() < 0.5 else {"status": "picking"}
        done = self._wrongly_set("order", number, note=f"ERP note {self._next()}", **fields)
        return self._commit_wrong(f"edits {number}, which is the shop's") if done else None

    def _stays_with_the_shop(self, number: str) -> bool:
        return opening.is_kept_open(number) and self._ledger.get("order", number)["status"] in SHOP_STATUSES

    def wrongly_enter_order(self) -> str | None:
        """Orders are created in the shop, nowhere else."""
        customer = self._pick("customer")
        number = f"X-{self._next():06}"
        done = self._wrongly_add("order", number, {**opening.order(self._rng, customer), "status": "paid"})
        return self._commit_wrong(f"enters order {number} by hand") if done else None

    def wrongly_delete_contact(self) -> str | None:
        """Contacts are deleted in the shop, nowhere else."""
        email = self._pick("contact")
        done = self._wrongly_remove("contact", email)
        return self._commit_wrong(f"deletes the contact {email}") if done else None

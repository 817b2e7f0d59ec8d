"""What people do in the shop: editors, customers and their contacts, checkout, and a few things they should not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, ClassVar, Final

import pymysql
from pymysql.constants import ER

from demo import opening, shop, wording
from demo.desk import Desk
from demo.ledger import Ledger
from demo.records import SHOP_STATUSES, Record, Side

LINES_MAX: Final = 12


class ShopBusiness(Desk):
    """The shop's side of the business. An action that finds its record not (yet) there does nothing."""

    side: Side = "shop"
    weights: ClassVar[Mapping[str, int]] = {
        "place_order": 20,
        "pay_order": 15,
        "hand_over": 15,
        "write_text": 20,
        "view_products": 10,
        "edit_order": 10,
        "edit_contact": 10,
        "edit_customer": 5,
        "new_customer": 5,
        "cancel_order": 3,
        "remove_contact": 1,
        "wrongly_change_price": 5,
        "wrongly_change_terms": 4,
        "wrongly_edit_handed_over": 6,
        "wrongly_add_line": 2,
        "wrongly_set_tracking": 2,
        "wrongly_create_product": 1,
        "wrongly_delete_product": 1,
    }

    def __init__(self, port: int, ledger: Ledger, rng: Random) -> None:
        super().__init__(shop, ledger, rng)
        self._port = port
        orders = {str(number): ledger.get("order", number)["status"] for number in ledger.keys("order")}
        self._open = [number for number, status in orders.items() if status in SHOP_STATUSES]
        self._handed_over = [number for number, status in orders.items() if status not in SHOP_STATUSES]

    def open(self) -> None:
        """Connect."""
        self._connection = shop.connect(self._port)
        self._cursor = self._connection.cursor()

    def lost_a_lock(self, error: Exception) -> bool:
        """Whether MariaDB asks to try again, or says that a product has just been ordered after all."""
        meetings = (ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.ROW_IS_REFERENCED_2)
        return isinstance(error, pymysql.err.Error) and error.args[0] in meetings

    # ---- products ----------------------------------------------------------------------------------------

    def write_text(self) -> str | None:
        """Marketing writes."""
        sku = self._pick_product()
        done = self._set("product", sku, description=wording.text(self._rng))
        return self._commit(f"new text for {sku}") if done else None

    def view_products(self) -> str | None:
        """Visitors: a column of the shop's own, in many rows at once."""
        first = self._rng.randrange(2000)
        viewed = self._cursor.execute(
            "UPDATE products SET view_count = view_count + 1 WHERE id BETWEEN %s AND %s", (first, first + 50)
        )
        return self._commit(f"{viewed} products viewed") if viewed else None

    # ---- customers ---------------------------------------------------------------------------------------

    def edit_customer(self) -> str | None:
        """A customer edits the account."""
        number, fields = self._pick("customer"), opening.customer(self._rng)
        changed = {name: fields[name] for name in self._rng.sample(("name", "segment", "country", "newsletter"), 2)}
        return self._commit(f"{number} edits the account") if self._set("customer", number, **changed) else None

    def new_customer(self) -> str | None:
        """Somebody registers, with a contact."""
        number = f"W{self._next():05}"
        record = {**opening.customer(self._rng), "credit_limit": Decimal(0), "account": "open"}
        no_terms = {"contract_terms": None, "discount_percent": Decimal(0), "contract_until": None}
        self._add("customer", number, record)
        self._add("contact", f"{number.lower()}@example.org", {**opening.contact(self._rng, number), **no_terms})
        return self._commit(f"{record['name']} registers as {number}")

    def edit_contact(self) -> str | None:
        """A contact keeps name and phone number up to date."""
        email = self._pick("contact")
        done = self._set("contact", email, phone=wording.phone(self._rng), name=wording.person_name(self._rng))
        return self._commit(f"{email} has a new phone number") if done else None

    def remove_contact(self) -> str | None:
        """A contact leaves."""
        email = self._pick("contact")
        return self._commit(f"contact {email} removed") if self._remove("contact", email) else None

    # ---- orders ------------------------------------------------------------------------------------------

    def place_order(self) -> str | None:
        """A cart becomes an order."""
        number, customer = f"O-{self._next():06}", self._pick("customer")
        lines = {line_no: line for line_no in range(1, self._rng.randint(2, 7)) if (line := self._line())}
        placed_at = datetime.now(UTC).replace(microsecond=0)
        nothing_yet = {"status": "new", "promised_on": None, "tracking": None, "shipped_at": None}
        record = {**opening.order(self._rng, customer), **nothing_yet, "placed_at": placed_at}
        record["total"] = opening.total(lines.values())
        if not lines or not self._add("order", number, record):
            return None
        for line_no, line in lines.items():
            self._add("order_line", (number, line_no), line)
        self._open.append(number)
        return self._commit(f"order {number} by {customer}: {len(lines)} lines, {record['total']} {record['currency']}")

    def _line(self) -> Record | None:
        """A line of a product that has arrived in the shop; locked, so that it is still there when it is ordered."""
        sku = self._pick_product()
        statement = "SELECT price_cents / 100 AS price FROM products WHERE sku = %s LOCK IN SHARE MODE"
        if not self._cursor.execute(statement, (sku,)):
            return None
        row = self._cursor.fetchone()
        assert row is not None
        return opening.line(self._rng, sku, row["price"].quantize(Decimal("0.01")))

    def _pick_open(self, *, to_hand_over: bool = False) -> str | None:
        """An order that is still the shop's."""
        candidates = self._rng.choices(self._open, k=5) if self._open else []
        return next((n for n in candidates if not (to_hand_over and opening.is_kept_open(n))), None)

    def pay_order(self) -> str | None:
        """An order is paid."""
        number = self._pick_open()
        done = number is not None and self._set("order", number, status="paid")
        return self._commit(f"{number} is paid") if done else None

    def hand_over(self) -> str | None:
        """A paid order goes to fulfilment: the last thing about it that the shop decides."""
        number = self._pick_open(to_hand_over=True)
        if number is None or self._ledger.get("order", number)["status"] != "paid":
            return None
        return self._leave(number, "picking", f"{number} goes to fulfilment: the ERP's from now on")

    def cancel_order(self) -> str | None:
        """The customer has thought better of it."""
        number = self._pick_open(to_hand_over=True)
        return self._leave(number, "cancelled", f"{number} cancelled by the customer") if number else None

    def _leave(self, number: str, status: str, text: str) -> str | None:
        if not self._set("order", number, status=status):
            return None
        self._open.remove(number)
        self._handed_over.append(number)
        return self._commit(text)

    def edit_order(self) -> str | None:
        """The customer changes, adds or removes a line, and with it the total."""
        number = self._pick_open()
        lines = self._ledger.lines(number) if number else {}
        if number is None or not lines:
            return None
        how = self._rng.choice((self._add_line, self._remove_line, self._change_line))
        text = how(number, lines)
        if text is None:
            return None
        self._set("order", number, total=opening.total(lines.values()))
        return self._commit(f"{number}: {text}")

    def _add_line(self, number: str, lines: dict[int, Record]) -> str | None:
        line_no, line = max(lines) + 1, self._line()
        if line is None or line_no > LINES_MAX or not self._add("order_line", (number, line_no), line):
            return None
        lines[line_no] = line
        return f"line {line_no} added"

    def _remove_line(self, number: str, lines: dict[int, Record]) -> str | None:
        line_no = self._rng.choice(list(lines))
        if len(lines) == 1 or not self._remove("order_line", (number, line_no)):
            return None
        del lines[line_no]
        return f"line {line_no} removed"

    def _change_line(self, number: str, lines: dict[int, Record]) -> str | None:
        line_no = self._rng.choice(list(lines))
        lines[line_no]["quantity"] = Decimal(self._rng.randint(1, 99))
        done = self._set("order_line", (number, line_no), quantity=lines[line_no]["quantity"])
        return f"line {line_no} changed" if done else None

    # ---- what they have no right to ----------------------------------------------------------------------

    def wrongly_change_price(self) -> str | None:
        """A price and a stock, changed in the shop; half the time together with a text, which counts."""
        sku = self._pick_product()
        price = wording.money(self._rng, "EUR")
        if not self._wrongly_set("product", sku, price=price, stock=self._rng.randint(1000, 9999)):
            return None
        if self._rng.random() < 0.5:
            self._set("product", sku, description=wording.text(self._rng))
        return self._commit_wrong(f"changes the price of {sku} to {price}")

    def wrongly_change_terms(self) -> str | None:
        """A contact improves the contract; the phone number given in the same form counts."""
        email = self._pick("contact")
        wrong = {"contract_terms": "everything free / 全部無料", "discount_percent": Decimal("99.99")}
        if not self._wrongly_set("contact", email, **wrong):
            return None
        if self._rng.random() < 0.5:
            self._set("contact", email, phone=wording.phone(self._rng))
        return self._commit_wrong(f"{email} changes the contract terms")

    def wrongly_edit_handed_over(self) -> str | None:
        """The shop edits an order that is the ERP's by now, or takes it back."""
        if not self._handed_over:
            return None
        number = self._rng.choice(self._handed_over)
        fields: dict[str, Any] = {"status": "paid"} if self._rng.random() < 0.5 else {"total": Decimal("1.00")}
        done = self._wrongly_set("order", number, note=f"please hurry {self._next()}", **fields)
        return self._commit_wrong(f"edits {number} after the hand-over") if done else None

    def wrongly_add_line(self) -> str | None:
        """One more line, or one less, for an order that is the ERP's by now."""
        if not self._handed_over:
            return None
        number, line = self._rng.choice(self._handed_over), self._line()
        if self._rng.random() < 0.5:
            done = self._wrongly_remove("order_line", (number, 1))
        else:
            done = line is not None and self._wrongly_add("order_line", (number, 90 + self._next()), line)
        return self._commit_wrong(f"changes the lines of {number} after the hand-over") if done else None

    def wrongly_set_tracking(self) -> str | None:
        """Tracking is the ERP's in every state of the order."""
        number = self._pick("order")
        done = self._wrongly_set("order", number, tracking=f"FAKE{self._next()}")
        return self._commit_wrong(f"gives {number} a tracking code") if done else None

    def wrongly_create_product(self) -> str | None:
        """Products are created in the ERP, nowhere else."""
        sku = f"BAD-{self._next():05}"
        done = self._wrongly_add("product", sku, opening.product(self._rng))
        return self._commit_wrong(f"creates product {sku}") if done else None

    def wrongly_delete_product(self) -> str | None:
        """A product that nobody has ordered is deleted in the shop."""
        sku = self._pick_where("product", self._is_unordered)
        done = sku is not None and self._wrongly_remove("product", sku)
        return self._commit_wrong(f"deletes product {sku}") if done else None

    def _is_unordered(self, sku: str) -> bool:
        statement = "SELECT 1 FROM products JOIN order_items ON product_id = products.id WHERE sku = %s LIMIT 1"
        return sku != opening.BARRIER and not self._cursor.execute(statement, (sku,))

"""What `TargetContract` works with: its tables, and the session that writes them and reads them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest

from cdcd.errors import Refused
from cdcd.model import Batch, Lookup, Row, TableWrite, Value, WriteKind
from cdcd.testing.harness import INTEGER, Column, Harness, Reference, Table
from cdcd.testing.stream import NamedRow

ITEM = Table(
    "item",
    (
        Column("id", nullable=False),
        Column("name", "text(64)"),
        Column("stock", INTEGER),
        Column("price", "decimal(12,4)"),
        Column("required", nullable=False),
    ),
    ("id",),
)
PRODUCT = Table(
    "product",
    (
        Column("id", nullable=False, automatic=True),
        Column("sku", "text(64)", nullable=False),
        Column("name", "text(200)"),
        Column("stock"),
    ),
    ("id",),
    (("sku",),),
)
CUSTOMER = Table(
    "customer",
    (
        Column("id", nullable=False, automatic=True),
        Column("country", "text(2)", nullable=False),
        Column("email", "text(100)", nullable=False),
    ),
    ("id",),
    (("email",), ("country", "email")),
)
ORDER = Table(
    "orders",
    (
        Column("id", nullable=False, automatic=True),
        Column("number", "text(32)", nullable=False),
        Column("customer_id"),
        Column("note", "text(200)"),
    ),
    ("id",),
    (("number",),),
    (Reference("customer_id", "customer", "id"),),
)
LINE = Table(
    "order_line",
    (Column("order_id", nullable=False), Column("line_no", nullable=False), Column("quantity")),
    ("order_id", "line_no"),
    (),
    (Reference("order_id", "orders", "id"),),
)
UPSERT, UPDATE, DELETE = WriteKind.UPSERT, WriteKind.UPDATE, WriteKind.DELETE
REKEY, CLEAR = WriteKind.REKEY, WriteKind.CLEAR
ITEM_COLUMNS = ("id", "name", "required")


class TargetSession:
    """A harness and an open target, and the words to write with."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.target = harness.open_target()
        self.through = self.target.open()

    def write(
        self,
        kind: WriteKind,
        table: Table,
        key: tuple[str, ...],
        columns: tuple[str, ...],
        rows: Sequence[Row],
        *,
        insert_only: tuple[str, ...] = (),
        lookups: tuple[Lookup, ...] = (),
    ) -> TableWrite:
        """A write to `table`."""
        return TableWrite(self.harness.full_name(table), kind, key, columns, list(rows), insert_only, lookups)

    def items(self, kind: WriteKind, *rows: Row) -> TableWrite:
        """A write to ITEM by its id, with ITEM_COLUMNS, or only the id to delete."""
        return self.write(kind, ITEM, ("id",), ("id",) if kind is DELETE else ITEM_COLUMNS, rows)

    def apply(self, *writes: TableWrite) -> tuple[tuple[int, int], ...]:
        """Apply the next batch; return what was missing."""
        batch = Batch(self.through, self.through + 1)
        self.through += 1
        return self.target.apply(writes, batch).missing

    def refuse(self, *writes: TableWrite) -> Refused:
        """Apply the next batch, which must be refused and leave the checkpoint where it was; return the error."""
        before = self.through
        with pytest.raises(Refused) as caught:
            self.apply(*writes)
        self.through = before
        assert self.reopen() == before
        return caught.value

    def reopen(self) -> int:
        """Close the target and open another under the same identity; return its checkpoint."""
        self.target.close()
        self.target = self.harness.open_target()
        return self.target.open()

    def lookup(self, column: str, table: Table, *key: str) -> Lookup:
        """A lookup of the id of `table` by `key`."""
        return Lookup(column, self.harness.full_name(table), key, "id")

    def insert(self, table: Table, *rows: Mapping[str, Value]) -> None:
        """Insert rows as an application would."""
        with self.harness.transaction() as writer:
            writer.insert(table, *rows)

    def ids(self) -> list[Value]:
        """The ids in ITEM."""
        return [row[0] for row in self.harness.rows(ITEM)]

    def rows(self, table: Table, *columns: str) -> list[NamedRow]:
        """All rows of a table, some of the columns, in the order of the primary key."""
        named = [dict(zip(table.column_names, row, strict=True)) for row in self.harness.rows(table)]
        return [{name: row[name] for name in columns or table.column_names} for row in named]


def item(number: int, name: str | None = None, stock: int | None = None, price: str | None = None) -> NamedRow:
    """A row of ITEM."""
    return {"id": number, "name": name, "stock": stock, "price": price, "required": 1}


def numbered(numbers: Iterable[int], text: str) -> list[Row]:
    """Rows of ITEM_COLUMNS for `numbers`."""
    return [[number, f"{text} {number}", 1] for number in numbers]


def create_orders(session: TargetSession) -> None:
    """Create CUSTOMER, with two customers, ORDER and LINE."""
    for table in (CUSTOMER, ORDER, LINE):
        session.harness.create_table(table)
    session.insert(CUSTOMER, {"country": "de", "email": "a@x"}, {"country": "jp", "email": "b@x"})


def customers_of_orders(session: TargetSession) -> dict[Value, Value]:
    """The customer's email of every order number."""
    emails = {row["id"]: row["email"] for row in session.rows(CUSTOMER)}
    return {
        row["number"]: None if row["customer_id"] is None else emails[row["customer_id"]] for row in session.rows(ORDER)
    }


def order_lines(session: TargetSession) -> list[tuple[Value, Value, Value]]:
    """Order number, line number and quantity of every line."""
    numbers = {row["id"]: row["number"] for row in session.rows(ORDER)}
    return [(numbers[row["order_id"]], row["line_no"], row["quantity"]) for row in session.rows(LINE)]

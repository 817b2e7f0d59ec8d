"""Deterministic workloads on a small shop's tables: every row is a function of its number, so all systems get the same.

| name | what | transactions | row changes |
|------|------|--------------|-------------|
| W1   | new products, 1,000 rows a transaction as 10 INSERTs of 100          |     700 | 700,000 |
| W2   | an order, its 3 lines, one product's stock                           | 100,000 | 500,000 |
| W3   | single-row UPDATEs of 1,000 hot products, 10 a transaction           |  30,000 | 300,000 |
| W4   | one UPDATE of all products                                           |       1 | 700,000 |

`scale` divides the counts and the 700,000 products that W2 to W4 find there; the 1,000 hot ones stay. The last transaction of each
workload inserts a row into `bench_marker`: when it has arrived, everything has.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

PRODUCTS: Final = 700_000
WORKLOADS: Final = ("W1", "W2", "W3", "W4")
TABLES: Final = ("product", "orders", "order_line", "bench_marker")
COLUMNS: Final = ("id", "sku", "name", "price", "stock", "status", "updated_at", "description", "attrs")
_ROWS: Final = {"W1": PRODUCTS, "W2": 100_000, "W3": 300_000, "W4": PRODUCTS}
_STATUS: Final = ("active", "draft", "archived", "oos")
_TEXT: Final = (
    "Hardened steel body with a corrosion proof coating, suits indoor and outdoor use. Delivered with mounting kit, "
    "spare seals and a printed guide. Colour may differ slightly between batches; see the data sheet. Größe nach DIN. "
)
_BEGINNING: Final = 1_700_000_000

POSTGRES_SCHEMA: Final = """
CREATE TABLE product (id int PRIMARY KEY, sku varchar(32) NOT NULL UNIQUE, name varchar(120) NOT NULL,
  price numeric(12,4) NOT NULL, stock int NOT NULL, status varchar(16) NOT NULL, updated_at timestamp(6) NOT NULL,
  description text, attrs jsonb);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int NOT NULL, status varchar(16) NOT NULL,
  total numeric(12,2) NOT NULL, placed_at timestamp(6) NOT NULL, note varchar(80));
CREATE TABLE order_line (id bigint PRIMARY KEY, order_id bigint NOT NULL, line_no int NOT NULL, product_id int NOT NULL,
  qty int NOT NULL, price numeric(12,4) NOT NULL);
CREATE INDEX ON order_line (order_id);
CREATE TABLE bench_marker (id int PRIMARY KEY, note varchar(64))
"""
MYSQL_SCHEMA: Final = """
CREATE TABLE product (id int PRIMARY KEY, sku varchar(32) NOT NULL UNIQUE, name varchar(120) NOT NULL,
  price decimal(12,4) NOT NULL, stock int NOT NULL, status enum('active','draft','archived','oos') NOT NULL,
  updated_at datetime(6) NOT NULL, description text, attrs json);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int NOT NULL, status varchar(16) NOT NULL,
  total decimal(12,2) NOT NULL, placed_at datetime(6) NOT NULL, note varchar(80));
CREATE TABLE order_line (id bigint PRIMARY KEY, order_id bigint NOT NULL, line_no int NOT NULL, product_id int NOT NULL,
  qty int NOT NULL, price decimal(12,4) NOT NULL, KEY (order_id));
CREATE TABLE bench_marker (id int PRIMARY KEY, note varchar(64))
"""
SUMS: Final = (
    "SELECT count(*), sum(stock), sum(price), sum(id), max(updated_at), sum(char_length(description)), min(status) FROM product",
    "SELECT count(*), sum(id), sum(total), max(placed_at) FROM orders",
    "SELECT count(*), sum(id), sum(qty), sum(price) FROM order_line",
)
"""What must be equal in both databases after a workload."""


def products(scale: float) -> int:
    """How many products there are before W2 to W4."""
    return int(PRODUCTS * scale)


def changes(workload: str, scale: float) -> int:
    """Row changes of a workload."""
    rows = int(_ROWS[workload] * scale)
    return rows * 5 if workload == "W2" else rows


def transactions(workload: str, scale: float) -> Iterator[list[str]]:
    """The statements of each transaction of a workload."""
    if workload == "W1":
        yield from new_products(1, products(scale))
    elif workload == "W2":
        yield from _orders(int(_ROWS["W2"] * scale), products(scale))
    elif workload == "W3":
        yield from _hot_updates(int(_ROWS["W3"] * scale), products(scale))
    else:
        yield [f"UPDATE product SET price = price * 1.01, stock = stock + 1, updated_at = '{_time(0)}.000001'"]


def new_products(first: int, last: int) -> Iterator[list[str]]:
    """Products `first` to `last`, 1,000 a transaction."""
    columns = ", ".join(COLUMNS)
    for start in range(first, last + 1, 1000):
        end = min(start + 1000, last + 1)
        yield [
            f"INSERT INTO product ({columns}) VALUES {','.join(map(_product, range(at, min(at + 100, end))))}"
            for at in range(start, end, 100)
        ]


def order_and_stock(number: int, among: int) -> list[str]:
    """W5: an order that is noticed at the target, and the stock of one of `among` products."""
    moment = _time(number % PRODUCTS)
    return [
        f"INSERT INTO orders VALUES ({number}, 1, 'new', 10.00, '{moment}', 'latency')",
        f"UPDATE product SET stock = stock - 1, updated_at = '{moment}' WHERE id = {number % among + 1}",
    ]


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(_BEGINNING + seconds))


def _product(number: int) -> str:
    """One product's row as SQL: about 430 bytes of text."""
    mixed = (number * 2654435761) & 0xFFFFFFFF
    cut = mixed % 60
    attributes = (
        f'{{"ean": "{mixed * 37:013d}", "weight": {mixed % 30}.{mixed % 10}, "tags": ["t{mixed % 7}", "t{mixed % 11}"], '
        f'"dims": {{"w": {mixed % 90}, "h": {mixed % 80}}}}}'
    )
    name = f"Article {number} {'ABCDEFGHIJ'[mixed % 10]}{mixed % 1000:03d} premium line"
    return (
        f"({number},'SKU-{number:08d}-{mixed % 97:02d}','{name}',{mixed % 100000 / 10:.4f},{mixed % 500},'{_STATUS[mixed % 4]}',"
        f"'{_time(number)}.{mixed % 1000000:06d}','{_TEXT[cut:]}{_TEXT[:cut]}','{attributes}')"
    )


def _orders(count: int, among: int) -> Iterator[list[str]]:
    rng = random.Random(2)
    for number in range(1, count + 1):
        chosen = [rng.randint(1, among) for _ in range(3)]
        quantities = [rng.randint(1, 9) for _ in range(3)]
        moment = f"{_time(number)}.{number % 1000000:06d}"
        lines = ",".join(
            f"({number * 10 + line},{number},{line},{chosen[line]},{quantities[line]},{chosen[line] % 1000 / 7:.4f})"
            for line in range(3)
        )
        yield [
            f"INSERT INTO orders VALUES ({number},{rng.randint(1, 50000)},'new',{sum(quantities) * 19.9:.2f},'{moment}','web order {number}')",
            f"INSERT INTO order_line VALUES {lines}",
            f"UPDATE product SET stock = stock - {quantities[0]}, updated_at = '{moment}' WHERE id = {chosen[0]}",
        ]


def _hot_updates(count: int, among: int) -> Iterator[list[str]]:
    rng = random.Random(3)
    hot = rng.sample(range(1, among + 1), min(1000, among))
    for start in range(0, count, 10):
        yield [
            f"UPDATE product SET price = {rng.randint(100, 999999) / 100:.4f}, stock = {rng.randint(0, 500)},"
            f" updated_at = '{_time(at)}.{at % 1000000:06d}' WHERE id = {rng.choice(hot)}"
            for at in range(start, start + 10)
        ]

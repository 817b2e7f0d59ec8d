"""The storefront's database (MariaDB) in the demo's words: how each field is spelled there, to write it and to read it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import pymysql
import pymysql.connections
from pymysql.constants import CLIENT
from pymysql.cursors import DictCursor

from demo.records import KEY_FIELDS, KINDS, Books, Key, Record, named_key

Connection: TypeAlias = "pymysql.connections.Connection[DictCursor]"
WALL_CLOCKS: Final = {
    "registered_at": ZoneInfo("Europe/Berlin"),
    "placed_at": ZoneInfo("Asia/Tokyo"),
    "shipped_at": ZoneInfo("Asia/Tokyo"),
}
STATUS_CODE: Final = """CASE %(status)s WHEN 'new' THEN 10 WHEN 'paid' THEN 20 WHEN 'picking' THEN 30
                                        WHEN 'shipped' THEN 40 WHEN 'cancelled' THEN 90 END"""
INSERTS: Final = {
    "product": """
        INSERT INTO products (sku, title, price_cents, currency_code, quantity, status_code, attributes, body_html)
        VALUES (%(sku)s, %(name)s, %(price)s * 100, %(currency)s, %(stock)s, IF(%(status)s = 'active', 10, 90),
                %(attributes)s, %(description)s)""",
    "customer": """
        INSERT INTO customers (customer_no, full_name, segment, country_code, registered_at, newsletter, credit_cents,
                               account_state)
        VALUES (%(number)s, %(name)s, %(segment)s, %(country)s, %(registered_at)s, %(newsletter)s,
                %(credit_limit)s * 100, %(account)s)""",
    "contact": """
        INSERT INTO contacts (customer_id, email, display_name, phone, terms, discount_bp, terms_until)
        SELECT id, %(email)s, %(name)s, %(phone)s, %(contract_terms)s, %(discount_percent)s * 100, %(contract_until)s
        FROM customers WHERE customer_no = %(customer)s""",
    "order": f"""
        INSERT INTO orders (customer_id, number, status, placed_at, total_cents, currency, customer_note, promised_date,
                            tracking_code, shipped_at)
        SELECT id, %(number)s, {STATUS_CODE}, %(placed_at)s, %(total)s * 100, %(currency)s, %(note)s, %(promised_on)s,
               %(tracking)s, %(shipped_at)s
        FROM customers WHERE customer_no = %(customer)s""",
    "order_line": """
        INSERT INTO order_items (order_id, position, product_id, quantity, unit_cents)
        SELECT orders.id, %(line_no)s, products.id, %(quantity)s, %(price)s * 100
        FROM orders, products WHERE number = %(number)s AND sku = %(product)s""",
}
ASSIGNMENTS: Final = {
    "product": {
        "price": "price_cents = %(price)s * 100",
        "stock": "quantity = %(stock)s",
        "description": "body_html = %(description)s",
    },
    "customer": {
        "name": "full_name = %(name)s",
        "segment": "segment = %(segment)s",
        "country": "country_code = %(country)s",
        "newsletter": "newsletter = %(newsletter)s",
        "credit_limit": "credit_cents = %(credit_limit)s * 100",
    },
    "contact": {
        "name": "display_name = %(name)s",
        "phone": "phone = %(phone)s",
        "contract_terms": "terms = %(contract_terms)s",
        "discount_percent": "discount_bp = %(discount_percent)s * 100",
    },
    "order": {
        "status": f"status = {STATUS_CODE}",
        "total": "total_cents = %(total)s * 100",
        "note": "customer_note = %(note)s",
        "tracking": "tracking_code = %(tracking)s",
    },
    "order_line": {"quantity": "quantity = %(quantity)s"},
}
TABLES: Final = {
    "product": ("products", "sku = %(sku)s"),
    "customer": ("customers", "customer_no = %(number)s"),
    "contact": ("contacts", "email = %(email)s"),
    "order": ("orders", "number = %(number)s"),
    "order_line": (
        "order_items",
        "position = %(line_no)s AND order_id = (SELECT id FROM orders WHERE number = %(number)s)",
    ),
}
SELECTS: Final = {
    "product": """
        SELECT sku, title AS name, price_cents / 100 AS price, currency_code AS currency, quantity AS stock,
               CASE status_code WHEN 10 THEN 'active' WHEN 90 THEN 'retired' END AS status, attributes,
               body_html AS description
        FROM products""",
    "customer": """
        SELECT customer_no AS number, full_name AS name, segment, country_code AS country, registered_at, newsletter,
               credit_cents / 100 AS credit_limit, account_state AS account
        FROM customers""",
    "contact": """
        SELECT email, customer_no AS customer, display_name AS name, phone, terms AS contract_terms,
               discount_bp / 100 AS discount_percent, terms_until AS contract_until
        FROM contacts JOIN customers ON customers.id = customer_id""",
    "order": """
        SELECT number, customer_no AS customer,
               CASE status WHEN 10 THEN 'new' WHEN 20 THEN 'paid' WHEN 30 THEN 'picking' WHEN 40 THEN 'shipped'
                           WHEN 90 THEN 'cancelled' END AS status,
               placed_at, total_cents / 100 AS total, currency, customer_note AS note, promised_date AS promised_on,
               tracking_code AS tracking, shipped_at
        FROM orders JOIN customers ON customers.id = customer_id""",
    "order_line": """
        SELECT number, position AS line_no, sku AS product, order_items.quantity, unit_cents / 100 AS price
        FROM order_items JOIN orders ON orders.id = order_id JOIN products ON products.id = product_id""",
}


def connect(port: int) -> Connection:
    """A connection that commits when told to, gives rows as dicts, and counts rows found (not only rows changed)."""
    return pymysql.connect(
        host="127.0.0.1",
        port=port,
        user="root",
        database="shop",
        charset="utf8mb4",
        client_flag=CLIENT.FOUND_ROWS,
        cursorclass=DictCursor,
    )


def insert(cursor: DictCursor, kind: str, key: Key, record: Record, /) -> bool:
    """Insert one record; whether it was inserted (not, when what it refers to is not there)."""
    return cursor.execute(INSERTS[kind], {**named_key(kind, key), **_on_the_wall(record)}) == 1


def update(cursor: DictCursor, kind: str, key: Key, /, **fields: Any) -> bool:
    """Set fields of one record; whether it is there."""
    table, condition = TABLES[kind]
    assignments = ", ".join(ASSIGNMENTS[kind][field] for field in fields)
    statement = f"UPDATE {table} SET {assignments} WHERE {condition}"
    return cursor.execute(statement, {**named_key(kind, key), **fields}) == 1


def delete(cursor: DictCursor, kind: str, key: Key, /) -> bool:
    """Delete one record; whether it was there."""
    table, condition = TABLES[kind]
    return cursor.execute(f"DELETE FROM {table} WHERE {condition}", named_key(kind, key)) == 1


def load(connection: Connection, books: Books) -> None:
    """Insert everything, in one transaction."""
    with connection.cursor() as cursor:
        for kind in KINDS:
            rows = [{**named_key(kind, key), **_on_the_wall(record)} for key, record in books[kind].items()]
            cursor.executemany(INSERTS[kind], rows)
    connection.commit()


def read(connection: Connection) -> Books:
    """Everything, as one snapshot (REPEATABLE READ is the default here)."""
    connection.commit()
    books: Books = {}
    with connection.cursor() as cursor:
        for kind in KINDS:
            cursor.execute(SELECTS[kind])
            books[kind] = _keyed(kind, cursor.fetchall())
    connection.commit()
    return books


def read_one(connection: Connection, kind: str, key: Key) -> Record:
    """One record as it is now."""
    connection.commit()
    condition = " AND ".join(f"{name} = %({name})s" for name in KEY_FIELDS[kind])
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({SELECTS[kind]}) AS record WHERE {condition}", named_key(kind, key))
        (record,) = _keyed(kind, cursor.fetchall()).values()
    connection.commit()
    return record


def _on_the_wall(record: Record) -> Record:
    """Times as the shop keeps them: the wall clock of one place, without a zone."""
    local = {
        field: record[field].astimezone(zone).replace(tzinfo=None)
        for field, zone in WALL_CLOCKS.items()
        if isinstance(record.get(field), datetime)
    }
    return {**record, **local}


def _keyed(kind: str, rows: Iterable[dict[str, Any]]) -> dict[Key, Record]:
    found: dict[Key, Record] = {}
    for row in rows:
        names = KEY_FIELDS[kind]
        key = tuple(row.pop(name) for name in names)
        for field, zone in WALL_CLOCKS.items():
            if row.get(field) is not None:
                row[field] = row[field].replace(tzinfo=zone).astimezone(UTC)
        if "newsletter" in row:
            row["newsletter"] = {0: False, 1: True}.get(row["newsletter"], row["newsletter"])
        found[key if len(names) > 1 else key[0]] = row
    return found

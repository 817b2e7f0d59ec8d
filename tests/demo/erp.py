"""The ERP's database (PostgreSQL) in the demo's words: how each field is spelled there, to write it and to read it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.rows import dict_row

from demo.records import KEY_FIELDS, KINDS, Books, Key, Record, named_key

Connection: TypeAlias = psycopg.Connection[dict[str, Any]]
INSERTS: Final = {
    "product": """
        INSERT INTO public.item (code, name, list_price, currency, on_hand, active, attributes, web_text)
        VALUES (%(sku)s, %(name)s, %(price)s, %(currency)s, %(stock)s, %(status)s = 'active', %(attributes)s::jsonb,
                %(description)s)""",
    "customer": """
        INSERT INTO public.partner (partner_no, name, partner_group, country, registered_at, newsletter, credit_limit,
                                    blocked)
        VALUES (%(number)s, %(name)s, upper(left(%(segment)s, 1)), %(country)s, %(registered_at)s, %(newsletter)s,
                %(credit_limit)s, %(account)s = 'blocked')""",
    "contact": """
        INSERT INTO public.partner_contact (partner_id, email, full_name, phone, contract_terms, discount_percent,
                                            contract_until)
        SELECT id, %(email)s, %(name)s, %(phone)s, %(contract_terms)s, %(discount_percent)s, %(contract_until)s
        FROM public.partner WHERE partner_no = %(customer)s""",
    "order": """
        INSERT INTO public.sales_order (partner_id, order_no, state, ordered_at, amount_total, currency, remark,
                                        promised_on, tracking_ref, shipped_at)
        SELECT id, %(number)s, CASE %(status)s WHEN 'new' THEN 'open' WHEN 'shipped' THEN 'done'
                                               WHEN 'cancelled' THEN 'void' ELSE %(status)s END,
               %(placed_at)s, %(total)s, %(currency)s, %(note)s, %(promised_on)s, %(tracking)s, %(shipped_at)s
        FROM public.partner WHERE partner_no = %(customer)s""",
    "order_line": """
        INSERT INTO public.sales_order_line (order_id, line_no, item_id, qty, unit_price)
        SELECT sales_order.id, %(line_no)s, item.id, %(quantity)s, %(price)s
        FROM public.sales_order, public.item WHERE order_no = %(number)s AND code = %(product)s""",
}
ASSIGNMENTS: Final = {
    "product": {
        "name": "name = %(name)s",
        "price": "list_price = %(price)s",
        "currency": "currency = %(currency)s",
        "stock": "on_hand = %(stock)s",
        "status": "active = (%(status)s = 'active')",
        "attributes": "attributes = %(attributes)s::jsonb",
        "description": "web_text = %(description)s",
    },
    "customer": {
        "name": "name = %(name)s",
        "credit_limit": "credit_limit = %(credit_limit)s",
        "account": "blocked = (%(account)s = 'blocked')",
    },
    "contact": {
        "phone": "phone = %(phone)s",
        "contract_terms": "contract_terms = %(contract_terms)s",
        "discount_percent": "discount_percent = %(discount_percent)s",
        "contract_until": "contract_until = %(contract_until)s",
    },
    "order": {
        "status": "state = CASE %(status)s WHEN 'shipped' THEN 'done' WHEN 'cancelled' THEN 'void' ELSE %(status)s END",
        "total": "amount_total = %(total)s",
        "note": "remark = %(note)s",
        "promised_on": "promised_on = %(promised_on)s",
        "tracking": "tracking_ref = %(tracking)s",
        "shipped_at": "shipped_at = %(shipped_at)s",
    },
    "order_line": {"quantity": "qty = %(quantity)s"},
}
TABLES: Final = {
    "product": ("public.item", "code = %(sku)s"),
    "customer": ("public.partner", "partner_no = %(number)s"),
    "contact": ("public.partner_contact", "email = %(email)s"),
    "order": ("public.sales_order", "order_no = %(number)s"),
    "order_line": (
        "public.sales_order_line",
        "line_no = %(line_no)s AND order_id = (SELECT id FROM public.sales_order WHERE order_no = %(number)s)",
    ),
}
SELECTS: Final = {
    "product": """
        SELECT code AS sku, name, list_price AS price, currency, on_hand AS stock,
               CASE WHEN active THEN 'active' ELSE 'retired' END AS status,
               attributes::text AS attributes, web_text AS description
        FROM public.item""",
    "customer": """
        SELECT partner_no AS number, name, CASE partner_group WHEN 'R' THEN 'retail' ELSE 'trade' END AS segment, country,
               registered_at, newsletter, credit_limit, CASE WHEN blocked THEN 'blocked' ELSE 'open' END AS account
        FROM public.partner""",
    "contact": """
        SELECT email, partner_no AS customer, full_name AS name, phone, contract_terms, discount_percent, contract_until
        FROM public.partner_contact JOIN public.partner ON partner.id = partner_id""",
    "order": """
        SELECT order_no AS number, partner_no AS customer,
               CASE state WHEN 'open' THEN 'new' WHEN 'done' THEN 'shipped' WHEN 'void' THEN 'cancelled'
                          ELSE state END AS status,
               ordered_at AS placed_at, amount_total AS total, currency, remark AS note, promised_on,
               tracking_ref AS tracking, shipped_at
        FROM public.sales_order JOIN public.partner ON partner.id = partner_id""",
    "order_line": """
        SELECT order_no AS number, line_no, code AS product, qty AS quantity, unit_price AS price
        FROM public.sales_order_line JOIN public.sales_order ON sales_order.id = order_id
        JOIN public.item ON item.id = item_id""",
}


def connect(dsn: str) -> Connection:
    """A connection that commits when told to, and gives rows as dicts."""
    return psycopg.connect(dsn, row_factory=dict_row)


def insert(cursor: psycopg.Cursor[Any], kind: str, key: Key, record: Record, /) -> bool:
    """Insert one record; whether it was inserted (not, when what it refers to is not there)."""
    return cursor.execute(INSERTS[kind], {**named_key(kind, key), **record}).rowcount == 1


def update(cursor: psycopg.Cursor[Any], kind: str, key: Key, /, **fields: Any) -> bool:
    """Set fields of one record; whether it is there."""
    table, condition = TABLES[kind]
    assignments = ", ".join(ASSIGNMENTS[kind][field] for field in fields)
    statement = f"UPDATE {table} SET {assignments} WHERE {condition}"
    return cursor.execute(statement.encode(), {**named_key(kind, key), **fields}).rowcount == 1


def delete(cursor: psycopg.Cursor[Any], kind: str, key: Key, /) -> bool:
    """Delete one record; whether it was there."""
    table, condition = TABLES[kind]
    return cursor.execute(f"DELETE FROM {table} WHERE {condition}".encode(), named_key(kind, key)).rowcount == 1


def load(connection: Connection, books: Books) -> None:
    """Insert everything, in one transaction."""
    with connection.cursor() as cursor:
        for kind in KINDS:
            cursor.executemany(INSERTS[kind].encode(), [{**named_key(kind, k), **r} for k, r in books[kind].items()])
    connection.commit()


def read(connection: Connection) -> Books:
    """Everything, as one snapshot."""
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        books = {kind: _keyed(kind, cursor.execute(SELECTS[kind].encode())) for kind in KINDS}
    connection.commit()
    return books


def read_one(connection: Connection, kind: str, key: Key) -> Record:
    """One record as it is now."""
    condition = " AND ".join(f"{name} = %({name})s" for name in KEY_FIELDS[kind])
    with connection.cursor() as cursor:
        statement = f"SELECT * FROM ({SELECTS[kind]}) AS record WHERE {condition}"
        (record,) = _keyed(kind, cursor.execute(statement.encode(), named_key(kind, key))).values()
    connection.commit()
    return record


def _keyed(kind: str, rows: Iterable[dict[str, Any]]) -> dict[Key, Record]:
    found: dict[Key, Record] = {}
    for row in rows:
        names = KEY_FIELDS[kind]
        key = tuple(row.pop(name) for name in names)
        for field in ("placed_at", "shipped_at", "registered_at"):
            if row.get(field) is not None:
                row[field] = row[field].astimezone(UTC)
        found[key if len(names) > 1 else key[0]] = row
    return found

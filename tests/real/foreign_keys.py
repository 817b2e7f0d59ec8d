"""Every foreign key of both databases looked at by SQL: rows that refer to nothing."""

from collections.abc import Iterator

from real.erp import Erp
from real.shop import Shop

POSTGRES_KEYS = """
SELECT c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text, f.attname
FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
WHERE c.contype = 'f' AND cardinality(c.conkey) = 1
"""
MARIADB_KEYS = f"""
SELECT concat('`', table_name, '`'), column_name, concat('`', referenced_table_name, '`'), referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema = '{Shop.database}' AND referenced_table_name IS NOT NULL
"""


def broken(erp: Erp, shop: Shop) -> list[str]:
    """Foreign keys with rows that refer to nothing, with how many; both databases have hundreds of keys."""
    return [*_broken_in(erp, POSTGRES_KEYS, '"'), *_broken_in(shop, MARIADB_KEYS, "`"), *_text_references(erp)]


def _broken_in(system: Erp | Shop, keys: str, quote: str) -> Iterator[str]:
    found = system.sql(keys)
    assert len(found) > 90
    for table, column, other, other_column in found:
        mine, theirs = (f"{quote}{name}{quote}" for name in (column, other_column))
        ((count,),) = system.sql(
            f"SELECT count(*) FROM {table} t LEFT JOIN {other} o ON o.{theirs} = t.{mine}"
            f" WHERE t.{mine} IS NOT NULL AND o.{theirs} IS NULL"
        )
        if count:
            yield f"{table}.{column}: {count} rows refer to no row of {other}"


def _text_references(erp: Erp) -> Iterator[str]:
    """Tryton's references of the form "model,id", which no constraint watches."""
    for table, column, model, other in (
        ("stock_move", "origin", "sale.line", "sale_line"),
        ("stock_move", "shipment", "stock.shipment.out", "stock_shipment_out"),
        ("account_invoice_line", "origin", "sale.line", "sale_line"),
    ):
        ((count,),) = erp.sql(
            f"SELECT count(*) FROM {table} t WHERE t.{column} LIKE '{model},%'"
            f" AND NOT EXISTS (SELECT 1 FROM {other} o WHERE '{model},' || o.id = t.{column})"
        )
        if count:
            yield f"{table}.{column}: {count} rows refer to no row of {other}"

"""Tables that change under a running daemon: what is not mapped goes unnoticed, what is holds up its own entity only."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.status import DaemonStatus
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

COPY = """
[[replicate]]
from = "erp"
to = "shop"
tables = ["price"]
"""


@pytest.fixture
def line(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer
) -> Iterator[Line]:
    """Products in step, and a plain copy of prices. The parameter: whether the ERP's role owns the tables."""
    made = Line(tmp_path, postgres, mariadb, more=COPY, owns_tables=getattr(request, "param", False))
    try:
        made.erp("CREATE TABLE price (id integer PRIMARY KEY, amount numeric(10,2))")
        made.shop("CREATE TABLE price (id integer PRIMARY KEY, amount decimal(10,2))")
        made.erp("INSERT INTO item (code, name, list_price) VALUES ('A', 'a', 1), ('B', 'b', 2)")
        made.start()
        made.wait_in_step()
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def prices_flow(line: Line, number: int) -> None:
    """A price gets through, whatever else is held up."""
    line.erp(f"INSERT INTO price VALUES ({number}, {number}.5)")
    wait_until(lambda: line.shop(f"SELECT 1 FROM price WHERE id = {number}"), "the copy flows")


def suspended(line: Line, subject: str, code: str) -> DaemonStatus:
    def reached(status: DaemonStatus) -> bool:
        return [(s.subject, s.error.code) for s in status.resolve.suspended] == [(subject, code)]

    return line.wait_for(reached, f"{subject} is suspended with {code}")


def test_columns_of_no_binding_come_go_and_move_unnoticed(line: Line):
    line.erp("ALTER TABLE item ADD COLUMN colour text DEFAULT 'red'; UPDATE item SET name = 'a2' WHERE code = 'A'")
    line.shop("ALTER TABLE products ADD COLUMN rank_no integer FIRST; UPDATE products SET body = 'x' WHERE sku = 'A'")
    line.shop("ALTER TABLE products MODIFY body text AFTER rank_no; UPDATE products SET body = 'y' WHERE sku = 'B'")
    line.erp("ALTER TABLE item DROP COLUMN colour; UPDATE item SET list_price = 7 WHERE code = 'B'")
    line.shop("ALTER TABLE products DROP COLUMN rank_no; UPDATE products SET body = 'z' WHERE sku = 'B'")
    line.wait_in_step()
    assert line.erp("SELECT web_text FROM item ORDER BY code") == [("x",), ("z",)]
    assert line.status().resolve.suspended == ()


def test_a_renamed_mapped_column_holds_up_its_entity_until_the_configuration_fits(line: Line):
    line.erp("ALTER TABLE item RENAME COLUMN name TO title; UPDATE item SET title = 'renamed' WHERE code = 'A'")
    status = suspended(line, "product", "schema-changed")
    assert "no column name" in status.resolve.suspended[0].error.cause
    prices_flow(line, 1)
    line.erp("INSERT INTO item (code, title, list_price) VALUES ('C', 'c', 3); DELETE FROM item WHERE code = 'B'")
    prices_flow(line, 2)
    assert line.shop("SELECT title FROM products ORDER BY sku") == [("a",), ("b",)]
    shown = " ".join(line.cli("status").stdout.split())
    assert "suspended: product" in shown
    assert "cdcd resync product" in shown

    line.reconfigure('name = "name", price', 'name = "title", price')
    wait_until(
        lambda: line.shop("SELECT sku, title FROM products ORDER BY sku") == [("A", "renamed"), ("C", "c")],
        "it went on from its place",
    )
    line.wait_for(lambda s: s.resolve.suspended == (), "nothing is suspended")


def test_a_daemon_whose_tables_changed_while_it_was_down_starts_and_holds_up_the_entity_only(line: Line):
    assert line.end() == 0
    line.erp("ALTER TABLE item RENAME COLUMN web_text TO body; UPDATE item SET body = 'b' WHERE code = 'A'")
    line.start()
    suspended(line, "product", "schema-changed")
    prices_flow(line, 1)


def test_a_column_of_another_type_is_named_with_the_type_it_has_now(line: Line):
    line.erp("ALTER TABLE item ALTER list_price TYPE bytea USING '\\x00'::bytea")
    line.erp("UPDATE item SET list_price = '\\x01' WHERE code = 'A'")
    status = suspended(line, "product", "type-mismatch")
    assert "item.list_price" in status.resolve.suspended[0].error.cause
    prices_flow(line, 1)


def test_a_truncated_table_waits_for_a_person_and_a_resync_tells_the_truth(line: Line):
    line.erp("TRUNCATE item")
    suspended(line, "product", "truncated")
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('B', 'again', 5)")
    prices_flow(line, 1)
    assert line.shop("SELECT sku FROM products ORDER BY sku") == [("A",), ("B",)]
    assert line.cli("resync", "product").returncode == 0
    line.wait_in_step()
    assert line.shop("SELECT sku, title FROM products") == [("B", "again")]


def test_a_truncated_plain_table_empties_its_copy(line: Line):
    prices_flow(line, 1)
    line.erp("TRUNCATE price; INSERT INTO price VALUES (2, 2)")
    wait_until(lambda: line.shop("SELECT id FROM price") == [(2,)], "emptied and filled")


def test_a_shop_table_swapped_by_an_online_schema_change_flows_on(line: Line):
    line.shop("CREATE TABLE _products_gho LIKE products; ALTER TABLE _products_gho ADD COLUMN rank_no integer FIRST")
    line.shop(
        "INSERT INTO _products_gho (id, sku, title, cents, body) SELECT id, sku, title, cents, body FROM products"
    )
    line.shop("RENAME TABLE products TO _products_del, _products_gho TO products; DROP TABLE _products_del")
    line.shop("UPDATE products SET body = 'after the swap' WHERE sku = 'A'")
    line.erp("UPDATE item SET name = 'after the swap too' WHERE code = 'B'")
    line.wait_in_step()
    assert line.erp("SELECT web_text FROM item WHERE code = 'A'") == [("after the swap",)]


def test_a_dropped_shop_table_holds_up_its_entity(line: Line):
    line.shop("RENAME TABLE products TO products_kept")
    suspended(line, "product", "table-gone")
    line.shop("RENAME TABLE products_kept TO products; UPDATE products SET body = 'back' WHERE sku = 'A'")
    assert line.cli("resync", "product").returncode == 0
    line.wait_in_step()


def test_a_renamed_erp_table_holds_up_its_entity(line: Line):
    line.erp("ALTER TABLE item RENAME TO item_kept; UPDATE item_kept SET name = 'x' WHERE code = 'A'")
    suspended(line, "product", "table-gone")
    prices_flow(line, 1)


def test_a_plain_copy_that_the_target_has_no_column_for_is_parked_until_it_has(line: Line):
    line.erp("ALTER TABLE price ADD COLUMN currency char(3); INSERT INTO price VALUES (1, 1, 'EUR')")
    line.wait_for(lambda s: s.systems["shop"].deliver.parked == 1, "the row is parked")
    line.erp("UPDATE item SET name = 'flows' WHERE code = 'A'")
    line.wait_in_step()
    line.shop("ALTER TABLE price ADD COLUMN currency char(3)")
    wait_until(lambda: line.shop("SELECT currency FROM price WHERE id = 1") == [("EUR",)], "it went through by itself")
    line.wait_for(lambda s: s.systems["shop"].deliver.parked == 0, "nothing is parked")


def test_records_whose_target_column_is_gone_are_parked_until_it_is_back(line: Line):
    line.shop("ALTER TABLE products DROP COLUMN cents")
    line.erp("UPDATE item SET list_price = 9 WHERE code = 'A'")
    line.wait_for(lambda s: s.systems["shop"].deliver.parked == 1, "the record is parked")
    prices_flow(line, 1)
    line.shop("ALTER TABLE products ADD COLUMN cents integer")
    wait_until(lambda: line.shop("SELECT cents FROM products WHERE sku = 'A'") == [(900,)], "it is told anew")


@pytest.mark.parametrize("line", [True], ids=["the role owns the tables"], indirect=True)
def test_an_erp_table_that_is_swapped_holds_up_its_entity_and_a_resync_reads_the_new_one(line: Line):
    line.erp("CREATE TABLE item_new (LIKE item INCLUDING ALL); INSERT INTO item_new SELECT * FROM item")
    line.erp("UPDATE item_new SET name = 'swapped' WHERE code = 'A'")
    line.erp("ALTER TABLE item RENAME TO item_old; ALTER TABLE item_new RENAME TO item")
    suspended(line, "product", "rows-lost")
    prices_flow(line, 1)
    assert line.cli("resync", "product").returncode == 0
    line.wait_in_step()
    assert line.shop("SELECT title FROM products WHERE sku = 'A'") == [("swapped",)]

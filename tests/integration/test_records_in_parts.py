"""Records that lie in several tables, between a real PostgreSQL and a real MariaDB, both ways round."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.parts_line import PartsLine


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[PartsLine]:
    made = PartsLine(tmp_path, postgres, mariadb)
    try:
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def test_records_in_several_tables_come_into_step_and_stay_there(line: PartsLine):
    for number in range(30):
        line.add_product(f"P{number}", f"product {number}", f"{number}.50")
    line.shop("INSERT INTO post (title, kind, state, born, slug) VALUES ('a page', 'page', 'publish', now(), 'page')")
    line.shop("INSERT INTO users (email, name) VALUES ('a@x', 'A'), ('b@x', 'B')")
    line.shop("INSERT INTO orders (number, user_id) SELECT 'N1', id FROM users WHERE email = 'b@x'")
    line.erp("INSERT INTO party (name) VALUES ('an own one')")
    line.erp("INSERT INTO note (number, body, product_id) SELECT 'T' || id, 'a note', id FROM product WHERE id < 4")
    line.start()
    line.wait_in_step()
    assert line.shop(
        "SELECT count(*), count(DISTINCT slug) FROM post WHERE state = 'publish' AND kind = 'product'"
    ) == [(30, 30)]
    assert line.orders_of_erp() == [("N1", "b@x", "draft", "EUR")]
    line.erp("UPDATE template SET name = 'renamed' WHERE name = 'product 1'")
    line.erp(
        "UPDATE note SET body = 'another', product_id = 1 WHERE number = 'T2'; DELETE FROM note WHERE number = 'T3'"
    )
    line.erp("INSERT INTO note (number, body) VALUES ('T9', 'of nothing')")
    line.erp("UPDATE list_price SET amount = 99.99 WHERE amount = 2.50")
    line.erp("UPDATE template SET unit_id = NULL WHERE name = 'product 3'")
    line.erp("UPDATE template SET unit_id = (SELECT id FROM unit WHERE symbol = 'u') WHERE name = 'product 4'")
    line.shop("UPDATE post SET body = 'told by the shop' WHERE title IN ('product 5', 'product 6')")
    line.shop("UPDATE users SET name = 'AA' WHERE email = 'a@x'")
    line.shop("INSERT INTO users (email, name) VALUES ('c@x', 'C')")
    line.shop("INSERT INTO orders (number, user_id) SELECT 'N2', id FROM users WHERE email = 'c@x'")
    line.shop("UPDATE orders SET user_id = (SELECT id FROM users WHERE email = 'a@x') WHERE number = 'N1'")
    line.wait_in_step()
    line.end(signal.SIGKILL)
    line.add_product("LATE", "after the kill", "5.00", "u")
    line.shop("UPDATE meta SET content = '1.00' WHERE name = '_price' AND content = '7.50'")
    line.start()
    line.wait_in_step()
    assert line.shop("SELECT count(*) FROM meta WHERE name = '_unit'") == [(30,)]
    assert line.shop("SELECT count(*) FROM meta WHERE name IN ('_sku', '_price')") == [(62,)]
    assert line.erp("SELECT count(*) FROM party") == [(4,)]
    line.erp("DELETE FROM list_price WHERE amount = 5.00; DELETE FROM product WHERE code = 'LATE'")
    line.wait_in_step()
    assert line.shop("SELECT count(*) FROM meta WHERE name = '_sku'") == [(30,)]
    assert line.shop("SELECT count(*) FROM post") == [(31,)]
    assert line.shop("SELECT count(*) FROM remark") == line.shop("SELECT count(*) FROM cdcd_xref") == [(3,)]
    assert line.end() == 0

"""A log that does not reach back any more: `cdcd reposition`, with changes on both sides in the gap."""

import json
from collections.abc import Iterator

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


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mariadb: MySqlFamilyServer
) -> Iterator[Line]:
    """Products and a plain copy of prices, in step. Each test leaves it so, with products of its own changed."""
    made = Line(tmp_path_factory.mktemp("line"), postgres, mariadb, more=COPY)
    try:
        made.erp("CREATE TABLE price (id integer PRIMARY KEY, amount numeric(10,2))")
        made.shop("CREATE TABLE price (id integer PRIMARY KEY, amount decimal(10,2))")
        made.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 30) g")
        made.erp("INSERT INTO price SELECT g, g FROM generate_series(1, 30) g")
        made.start()
        made.wait_in_step()
        made.shop("UPDATE products SET body = 'text'")
        made.wait_in_step()
        made.wait_for(lambda s: not s.copying(), "the first copy is over")
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def lost(line: Line, system: str) -> DaemonStatus:
    status = line.wait_for_states(**{f"capture_{system}": "stopped"})
    capture = status.systems[system].capture
    assert capture is not None
    error = capture.worker.error
    assert error is not None
    assert error.code in ("position-lost", "position-ahead")
    assert f"'cdcd reposition {system}'" in error.remedy
    return status


def reposition(line: Line, system: str) -> None:
    unasked = line.cli("reposition", system)
    assert (unasked.returncode, "[confirmation]" in unasked.stderr) == (1, True)
    shown = json.loads(line.cli("reposition", system, "--dry-run", "--json").stdout)
    assert shown["result"]["system"] == system
    done = line.cli("reposition", system, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    line.wait_for_states()


def purged(line: Line) -> bool:
    """Whether only the newest file is left. One that is still being sent to somebody stays."""
    line.shop("FLUSH BINARY LOGS")
    line.shop(f"PURGE BINARY LOGS TO '{line.shop('SHOW BINARY LOGS')[-1][0]}'")
    return len(line.shop("SHOW BINARY LOGS")) == 1


def prices(line: Line) -> bool:
    query = "SELECT id, amount FROM price ORDER BY id"
    return line.erp(query) == line.shop(query)


def test_a_dropped_slot_is_replaced_and_what_the_gap_held_is_found(line: Line):
    assert line.end() == 0
    line.drop_slot()
    line.erp("DELETE FROM item WHERE code = 'S1'; UPDATE item SET name = 'gap' WHERE code = 'S2'")
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('G', 'made in the gap', 5)")
    line.erp(
        "DELETE FROM price WHERE id = 1; UPDATE price SET amount = 99 WHERE id = 2; INSERT INTO price VALUES (50, 5)"
    )
    line.start()
    lost(line, "erp")
    line.shop("UPDATE products SET body = 'written into the gap' WHERE sku IN ('S3', 'S4')")
    wait_until(lambda: len(line.erp("SELECT 1 FROM item WHERE web_text = 'written into the gap'")) == 2, "delivered")
    line.erp("UPDATE item SET web_text = 'not theirs to say' WHERE code IN ('S4', 'S5')")
    reposition(line, "erp")
    line.wait_in_step()
    wait_until(lambda: prices(line), "the plain copy is as its source")
    assert line.erp("SELECT web_text FROM item WHERE code IN ('S4', 'S5') ORDER BY code") == [
        ("written into the gap",),
        ("text",),
    ]
    assert line.shop("SELECT sku FROM products WHERE sku IN ('S1', 'G')") == [("G",)]
    line.erp("UPDATE item SET name = 'after' WHERE code = 'S6'")
    line.shop("UPDATE products SET body = 'after' WHERE sku = 'S6'")
    line.wait_in_step()
    needless = line.cli("reposition", "erp", "--yes")
    assert (needless.returncode, "reposition-not-needed" in needless.stderr) == (2, True)


def test_a_purged_binlog_is_left_and_what_the_gap_held_is_found(line: Line):
    assert line.end() == 0
    line.shop("UPDATE products SET body = 'gap' WHERE sku = 'S11'; DELETE FROM products WHERE sku = 'S12'")
    line.shop("UPDATE products SET title = 'not theirs to say' WHERE sku = 'S13'")
    wait_until(lambda: purged(line), "nobody reads the log that is purged")
    line.shop("UPDATE products SET body = 'gap, too' WHERE sku = 'S14'")
    line.erp("UPDATE item SET name = 'meanwhile' WHERE code = 'S15'; DELETE FROM item WHERE code = 'S16'")
    line.start()
    lost(line, "shop")
    wait_until(lambda: line.shop("SELECT 1 FROM products WHERE title = 'meanwhile'"), "the shop is still told")
    line.shop("UPDATE products SET title = 'not theirs, either' WHERE sku = 'S15'")
    reposition(line, "shop")
    line.wait_in_step()
    assert line.shop("SELECT title, body FROM products WHERE sku IN ('S11', 'S12', 'S13', 'S15') ORDER BY sku") == [
        ("n", "gap"),
        ("n", "text"),
        ("n", "text"),
        ("meanwhile", "text"),
    ]
    assert line.shop("SELECT 1 FROM products WHERE sku = 'S16'") == []


def test_a_new_place_is_taken_while_no_daemon_runs_and_found_at_the_start(line: Line):
    assert line.end() == 0
    line.drop_slot()
    line.erp("UPDATE item SET name = 'gap' WHERE code = 'S22'; DELETE FROM item WHERE code = 'S23'")
    done = line.cli("reposition", "erp", "--yes")
    assert done.returncode == 0, done.stderr
    line.start()
    line.wait_for_states()
    line.wait_in_step()

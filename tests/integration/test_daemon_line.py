"""The daemon between a real PostgreSQL and a real MariaDB: what a person would see who runs it."""

import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer, mysql_family_server
from integration.daemon_process import wait_until
from integration.erp_and_shop import PASSWORD, Line
from unit.notices.sinks import http_sink

TOLD_AT_ONCE = """
[notices]
after = {{ target-unavailable = "1s" }}
[notify.page]
webhook = {{ url = "http://127.0.0.1:{port}/" }}
codes = ["target-unavailable"]
"""


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Line]:
    made = Line(tmp_path, postgres, mariadb)
    try:
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def test_check_finds_everything_ready_and_changes_nothing(line: Line, mariadb: MySqlFamilyServer):
    durable = "SET GLOBAL sync_binlog = {}; SET GLOBAL innodb_flush_log_at_trx_commit = {}"
    tables = line.shop("SHOW TABLES")
    mariadb.execute(durable.format(1, 1))
    try:
        checked = line.cli("check")
    finally:
        mariadb.execute(durable.format(0, 2))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "everything is ready (2 systems, 2 tables)" in checked.stdout
    assert not line.directory.path.exists()
    assert line.shop("SHOW TABLES") == tables


def test_check_names_a_missing_table_and_a_missing_column_together(line: Line):
    line.erp("ALTER TABLE item DROP COLUMN web_text")
    line.shop("DROP TABLE products")
    checked = line.cli("check", "--json")
    assert checked.returncode == 3
    found = {(f["system"], f["severity"]) for f in json.loads(checked.stdout)["result"]["findings"]}
    assert {("erp", "error"), ("shop", "error")} <= found
    started = line.cli("run")
    assert started.returncode == 3
    assert "not started" in started.stdout
    assert not line.directory.path.exists()


def test_two_databases_come_into_step_and_stay_there(line: Line):
    line.erp(
        "INSERT INTO item (code, name, list_price) SELECT 'S' || g, '商品 ' || g, g + 0.25 FROM generate_series(1, 3000) g"
    )
    line.shop("INSERT INTO products (sku, title, cents, body) VALUES ('S1', 'old', 1, 'a text from before 🛒')")
    line.start()
    line.wait_in_step()
    assert line.erp("SELECT web_text FROM item WHERE code = 'S1'") == [("a text from before 🛒",)]
    line.erp("UPDATE item SET list_price = 9.99 WHERE code = 'S2'; INSERT INTO item (code, name) VALUES ('N1', 'new')")
    line.shop("UPDATE products SET body = 'nice' WHERE sku = 'S3'")
    line.shop("UPDATE products SET cents = 1 WHERE sku = 'S4'")
    line.erp("DELETE FROM item WHERE code = 'S5'")
    line.wait_in_step()
    assert line.shop("SELECT cents FROM products WHERE sku = 'S4'") == [(425,)]
    assert line.shop("SELECT count(*) FROM products") == [(3000,)]
    status = line.wait_for(lambda s: not s.backlogs()["resolve"] and s.systems["shop"].deliver.lag_events == 0, "idle")
    assert status.resolve.conflicts == 0
    shown = json.loads(line.cli("status", "--json").stdout)
    assert shown["ok"]
    assert shown["result"]["systems"]["shop"]["deliver"]["lag_seconds"] == 0
    assert line.end() == 0
    log = line.log.read_text()
    assert PASSWORD not in log
    assert "商品" not in log


def test_killed_processes_change_nothing_in_the_outcome(line: Line):
    random.seed(7)
    line.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 500) g")
    line.start()
    line.wait_for(lambda s: s.journal.last_seq > 0, "it has begun")
    for n in range(12):
        line.erp(f"UPDATE item SET name = 'n{n}', list_price = list_price + 1 WHERE id % 12 = {n}")
        line.shop(f"UPDATE products SET body = 'b{n}' WHERE id % 12 = {n}")
        status = line.try_status()
        pids = [worker.pid for worker in status.workers().values() if worker.pid] if status is not None else []
        if n == 6:
            line.end(signal.SIGKILL)
            line.start()
        elif pids:
            with suppress(ProcessLookupError):  # the status may be half a second old
                os.kill(random.choice(pids), signal.SIGKILL)
    line.wait_in_step()
    assert line.erp("SELECT count(*) FROM item WHERE name = 'n'") == [(0,)]
    assert line.end() == 0


def test_a_paused_target_gets_everything_once_it_is_resumed(line: Line):
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('A', 'a', 1)")
    line.start()
    line.wait_in_step()
    assert line.cli("pause", "shop").returncode == 0
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('B', 'b', 1)")
    status = line.wait_for(lambda s: s.systems["shop"].deliver.lag_events == 1, "one write waits")
    assert status.systems["shop"].deliver.paused
    assert line.shop("SELECT sku FROM products") == [("A",)]
    assert line.cli("resume", "shop").returncode == 0
    line.wait_in_step()
    assert line.end() == 0


def test_a_value_the_target_cannot_hold_parks_its_record_and_the_rest_flows(line: Line):
    line.start()
    line.wait_for_states()
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('BIG', 'b', 99999999999), ('OK', 'o', 1)")
    status = line.wait_for(lambda s: s.systems["shop"].deliver.parked == 1, "one record is parked")
    wait_until(lambda: line.shop("SELECT sku FROM products") == [("OK",)], "the other one is there")
    assert status.systems["shop"].deliver.worker.state == "running"
    line.erp("UPDATE item SET list_price = 5 WHERE code = 'BIG'")
    line.wait_for(lambda s: s.systems["shop"].deliver.parked == 0, "its next value fits")
    line.wait_in_step()
    assert line.end() == 0


def test_resync_mends_what_was_changed_behind_our_back(line: Line):
    line.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 50) g")
    line.start()
    line.wait_in_step()
    line.shop("SET sql_log_bin = 0; UPDATE products SET title = 'forged' WHERE id % 2 = 0; SET sql_log_bin = 1")
    line.shop("SET sql_log_bin = 0; DELETE FROM products WHERE sku = 'S3'; SET sql_log_bin = 1")
    line.wait_for(lambda s: not s.copying(), "the first copy is over")
    assert line.differences()
    assert line.cli("resync", "product").returncode == 0
    line.wait_for(lambda s: not s.copying(), "the resync has read everything")
    line.wait_in_step()
    assert line.end() == 0


def test_rewind_brings_back_the_present_to_a_target_that_lost_it(line: Line):
    line.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 20) g")
    line.start()
    line.wait_in_step()
    line.erp("UPDATE item SET name = 'newer' WHERE code = 'S1'")
    line.wait_in_step()
    line.shop("SET sql_log_bin = 0; UPDATE products SET title = 'older'; SET sql_log_bin = 1")
    rewound = line.cli("rewind", "shop", "--to", "1h ago", "--yes")
    assert (rewound.returncode, rewound.stderr) == (0, "")
    line.wait_in_step()
    assert line.shop("SELECT title FROM products WHERE sku = 'S1'") == [("newer",)]
    assert line.end() == 0


def test_a_target_that_is_away_is_waited_for_while_the_journal_goes_on(tmp_path: Path, postgres: PostgresServer):
    with mysql_family_server() as mariadb, http_sink() as sink:
        line = Line(tmp_path, postgres, mariadb, more=TOLD_AT_ONCE.format(port=sink.port))
        try:
            line.erp("INSERT INTO item (code, name, list_price) VALUES ('A', 'a', 1)")
            line.start()
            line.wait_in_step()
            mariadb.stop()
            line.wait_for_states(capture_shop="retrying", deliver_shop="running")
            line.erp("UPDATE item SET name = 'while you were away'")
            line.wait_for_states(capture_shop="retrying", deliver_shop="retrying")
            line.wait_for(lambda s: s.systems["shop"].deliver.lag_events == 1, "one write waits")
            sink.wait_for(1)
            mariadb.start()
            line.wait_in_step()
            line.wait_for_states()
            told = [notice for _, body in sink.wait_for(2) for notice in json.loads(body)["notices"]]
            assert [(notice["kind"], notice["subject"]) for notice in told] == [("begun", "shop"), ("ended", "shop")]
            assert "while you were away" not in json.dumps(told)
            assert line.end() == 0
        finally:
            line.dispose()
            line.drop_slot()


def test_a_full_journal_stops_capture_until_there_is_room(
    tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer
):
    line = Line(tmp_path, postgres, mariadb, keep="1s", max_size="2MiB")
    try:
        line.start()
        line.wait_for_states()
        text = "x" * 1000
        line.erp(
            f"INSERT INTO item (code, name, web_text) SELECT 'S' || g, '{text[:150]}', '{text}' FROM generate_series(1, 4000) g"
        )
        line.wait_for(lambda s: s.workers()["capture:erp"].state == "journal-full", "capture waits")
        line.erp("UPDATE item SET name = 'last' WHERE code = 'S1'")
        line.wait_in_step()
        line.wait_for_states()
        assert line.end() == 0
    finally:
        line.dispose()
        line.drop_slot()

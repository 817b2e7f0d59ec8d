"""`cdcd wait`: the barrier, on a running daemon between real servers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.erp_and_shop import Line
from integration.idle_daemon import IdleDaemon


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Line]:
    made = Line(tmp_path, postgres, mariadb)
    try:
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def wait(line: Line | IdleDaemon, *arguments: str) -> dict[str, Any]:
    """The result of `cdcd wait --json`, which must agree with its exit code."""
    done = line.cli("wait", "--json", *arguments)
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    assert result["passed"] == (done.returncode == 0), done.stdout
    return result


@contextmanager
def constant_load(line: Line) -> Iterator[None]:
    """Somebody writes into both databases all the time."""
    end = threading.Event()

    def write() -> None:
        while not end.is_set():
            line.erp("UPDATE item SET list_price = list_price + 1 WHERE code = 'BUSY'")
            line.shop("UPDATE products SET body = concat('b', id, now(6)) WHERE sku = 'BUSY'")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_what_was_committed_before_has_arrived_in_both_directions_while_others_go_on_writing(line: Line):
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('BUSY', 'b', 1), ('A', 'a', 1)")
    line.start()
    line.wait_in_step()
    with constant_load(line):
        for n in range(3):
            line.erp(f"UPDATE item SET name = 'n{n}' WHERE code = 'A'")
            line.shop(f"UPDATE products SET body = 'b{n}' WHERE sku = 'A'")
            assert set(wait(line)["places"]) == {"erp", "shop"}
            assert line.shop("SELECT title FROM products WHERE sku = 'A'") == [(f"n{n}",)]
            assert line.erp("SELECT web_text FROM item WHERE code = 'A'") == [(f"b{n}",)]
    wait(line)
    assert wait(line)["waited_seconds"] < 5
    line.shop("FLUSH BINARY LOGS")
    line.erp("SELECT pg_switch_wal()")
    assert wait(line)["missing"] == []
    line.erp("UPDATE item SET name = 'by place' WHERE code = 'A'")
    ((place,),) = line.erp("SELECT pg_current_wal_lsn()::text")
    assert wait(line, "--for", place, "--system", "erp")["places"] == {"erp": place}
    assert line.shop("SELECT title FROM products WHERE sku = 'A'") == [("by place",)]
    line.shop("UPDATE products SET body = 'by gtid' WHERE sku = 'A'")
    ((gtid,),) = line.shop("SELECT @@gtid_binlog_pos" if line.mariadb.is_mariadb else "SELECT @@gtid_executed")
    wait(line, "--for", gtid, "--system", "shop")
    assert line.erp("SELECT web_text FROM item WHERE code = 'A'") == [("by gtid",)]
    wrong = line.cli("wait", "--for", "yesterday", "--system", "erp")
    assert wrong.returncode == 2
    assert "a place in PostgreSQL's log reads 0/16B3748" in wrong.stderr
    assert line.end() == 0


def test_what_is_kept_back_is_said_and_a_paused_target_keeps_the_barrier(line: Line):
    line.start()
    line.wait_for(lambda s: not s.copying(), "the first copy")
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('BIG', 'b', 99999999999), ('OK', 'o', 1)")
    result = wait(line)
    assert [(left["system"], left["why"], left["records"]) for left in result["left"]] == [("shop", "parked", 1)]
    assert line.shop("SELECT sku FROM products") == [("OK",)]
    assert line.cli("pause", "shop").returncode == 0
    line.erp("UPDATE item SET name = 'later' WHERE code = 'OK'")
    late = line.cli("wait", "--timeout", "2s")
    assert late.returncode == 1
    assert "delivery is paused" in late.stdout
    assert "not everything has arrived after 2s" in late.stdout
    assert line.cli("resume", "shop").returncode == 0
    wait(line)
    assert line.shop("SELECT title FROM products") == [("later",)]
    assert line.end() == 0


def test_a_source_that_is_down_is_named(tmp_path: Path):
    daemon = IdleDaemon(tmp_path, tmp_path / "state")
    try:
        daemon.start()
        daemon.wait_for(lambda s: not s.copying() and s.resolve.phases.get("item") == "live", "the first copy")
        wait(daemon)
        daemon.switch("a/down")
        daemon.wait_for_states(capture_a="retrying", deliver_a="running")
        result = wait(daemon, "--timeout", "1s")
        assert [(missing["system"], missing["stage"]) for missing in result["missing"]] == [("a", "capture")]
        assert "reading it is retrying" in result["missing"][0]["what"]
        assert wait(daemon, "--system", "b")["passed"]
        assert daemon.end() == 0
    finally:
        daemon.dispose()

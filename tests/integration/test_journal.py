"""`cdcd journal` and `cdcd support-bundle` beside a running daemon between a real PostgreSQL and a real MariaDB."""

import json
import os
import signal
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import PASSWORD, Line
from unit.journals import damage

CANARY = "canary-7f3a"


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Line]:
    made = Line(tmp_path, postgres, mariadb)
    try:
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def begun(line: Line) -> Line:
    """With some products in step."""
    line.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'item ' || g, g FROM generate_series(1, 20) g")
    line.start()
    line.wait_in_step()
    line.wait_for(lambda s: s.workers()["resolve"].state == "running", "resolve runs")
    return line


def journal(line: Line, *arguments: str, code: int = 0) -> dict:
    done = line.cli("journal", *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_journal_is_looked_into_exported_and_pruned_beside_the_daemon(line: Line, tmp_path: Path):
    begun(line)
    followed = tmp_path / "followed.jsonl"
    with followed.open("w") as output:
        arguments = ("journal", "tail", "-f", "-n", "0", "--table", "products", "--values", "--json")
        follower = subprocess.Popen(line.command(*arguments), env=line.environment, stdout=output)
    try:

        def shows_the_change() -> bool:
            line.shop(f"UPDATE products SET body = '{CANARY} {time.monotonic_ns()}' WHERE sku = 'S3'")
            return CANARY in followed.read_text()

        wait_until(shows_the_change, "the follower shows the change")
        assert {json.loads(text)["source"] for text in followed.read_text().splitlines()} == {"shop"}
    finally:
        follower.terminate()
        follower.wait()
    line.wait_in_step()
    shown = line.cli("journal", "tail", "--entity", "product").stdout
    assert "products" in shown
    assert "(ours: units" in shown
    assert CANARY not in shown

    stats = journal(line, "stats")["result"]
    assert stats["sources"].keys() >= {"erp", "shop"}
    assert stats["sources"]["shop"]["own_transactions"] >= 1
    assert 0 < stats["size_bytes"] < stats["max_bytes"]

    file = tmp_path / "export.jsonl"
    assert journal(line, "export", "--source", "shop", "-o", str(file))["result"]["entries"] >= 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    assert {one["type"] for one in lines} == {"entry", "table", "row"}
    assert any(one["type"] == "row" and CANARY in str(one["row"].get("body")) for one in lines)
    assert line.cli("journal", "export", "-o", str(file)).returncode == 2

    dry = journal(line, "prune", "--keep", "0s", "--dry-run")["result"]
    assert line.cli("journal", "prune", "--keep", "0s").returncode == 1, "it wants a confirmation"
    assert journal(line, "prune", "--keep", "0s", "--yes")["result"]["entries"] >= dry["entries"] > 0
    line.erp("UPDATE item SET name = 'after' WHERE code = 'S1'")
    line.wait_in_step()
    assert "the journal is whole" in journal(line, "verify")["summary"]


def test_a_full_journal_with_a_long_keep_waits_for_a_person_who_prunes(
    tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer
):
    line = Line(tmp_path, postgres, mariadb, keep="14d", max_size="2MiB")
    try:
        line.start()
        line.wait_for_states()
        text = "x" * 1000
        line.erp(
            f"INSERT INTO item (code, name, web_text) SELECT 'S' || g, 'n', '{text}' FROM generate_series(1, 4000) g"
        )
        status = line.wait_for(lambda s: s.workers()["capture:erp"].state == "journal-full", "capture waits")
        line.erp("UPDATE item SET name = 'last' WHERE code = 'S1'")
        shown = " ".join(line.cli("status").stdout.split())
        assert "cdcd journal prune" in shown
        assert "cdcd journal prune" in line.log.read_text()
        wait_until(lambda: line.status().resolve.seq == line.status().journal.last_seq, "all is resolved")
        assert journal(line, "stats")["result"]["full_in_hours"] == 0
        assert status.workers()["capture:erp"].state == "journal-full"
        while line.differences():
            journal(line, "prune", "--keep", "0s", "--yes")
        line.wait_for_states()
        assert line.end() == 0
    finally:
        line.dispose()
        line.drop_slot()


def damaged(line: Line, write: str, of: str) -> int:
    """A transaction that is journalled, but not resolved, has a bit flipped in its rows; return its seq."""
    pid = line.status().workers()["resolve"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        before = line.status().journal.last_seq
        getattr(line, of)(write)
        wait_until(lambda: line.status().journal.last_seq > before, "journalled")
        source = "UPDATE entries SET body=flipped(body) WHERE seq=? AND source=?"
        damage(line.directory.journal, source, before + 1, of)
    finally:
        os.kill(pid, signal.SIGCONT)
    line.wait_for_states(resolve="stopped")
    return before + 1


def test_a_damaged_entry_stops_resolve_and_is_read_again_from_mariadbs_log(line: Line):
    begun(line)
    line.shop("UPDATE products SET body = 'before' WHERE sku = 'S1'")
    line.wait_in_step()
    seq = damaged(line, "UPDATE products SET body = 'damaged' WHERE sku = 'S2'", "shop")
    line.shop("UPDATE products SET body = 'later' WHERE sku = 'S3'")
    line.erp("UPDATE item SET name = 'later' WHERE code = 'S3'")
    shown = " ".join(line.cli("status").stdout.split())
    assert f"journal entry {seq} is damaged (from shop, at " in shown
    assert "cdcd journal repair" in shown
    found = journal(line, "verify", code=3)["result"]["damaged"]
    assert [(one["seq"], one["part"], one["source"], one["needed"]) for one in found] == [(seq, "body", "shop", True)]
    assert journal(line, "repair", "--dry-run")["result"]["mended"] == [seq]
    assert journal(line, "verify", code=3)["result"]["damaged"] == found, "a dry run changes nothing"
    assert journal(line, "repair")["result"]["mended"] == [seq]
    line.wait_in_step()
    assert line.erp("SELECT web_text FROM item WHERE code = 'S2'") == [("damaged",)]
    line.wait_for_states()
    assert journal(line, "verify")["result"]["damaged"] == []
    assert "nothing to repair" in journal(line, "repair")["summary"]
    line.shop("UPDATE products SET body = 'and on' WHERE sku = 'S4'")
    line.wait_in_step()


def test_what_postgresql_does_not_show_again_is_copied_anew(line: Line):
    begun(line)
    line.erp("UPDATE item SET name = 'before' WHERE code = 'S1'")  # an entry from which the log could be read
    line.wait_in_step()
    seq = damaged(line, "DELETE FROM item WHERE code = 'S2'; INSERT INTO item (code, name) VALUES ('N1', 'new')", "erp")
    line.erp("UPDATE item SET list_price = 77 WHERE code IN ('N1', 'S3')")
    refused = journal(line, "repair", code=3)["result"]
    assert [one["seq"] for one in refused["left"]] == [seq]
    assert "cannot be read a second time" in refused["left"][0]["why"]
    assert refused["resync"] == ["product"]
    assert line.differences(), "nothing was skipped"
    assert line.cli("journal", "repair", "--resync").returncode == 1, "it wants a confirmation"
    assert journal(line, "repair", "--resync", "--yes")["result"]["resync"] == ["product"]
    line.wait_in_step()
    assert line.shop("SELECT title FROM products WHERE sku = 'S2'") == []
    assert line.shop("SELECT cents FROM products WHERE sku = 'N1'") == [(7700,)]
    line.wait_for_states()
    assert journal(line, "verify")["result"]["damaged"] == []


def test_a_support_bundle_holds_no_value_and_no_secret_with_the_daemon_running_hanging_and_stopped(
    line: Line, tmp_path: Path
):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, said in (
        ("systemctl", f"[Service]\nEnvironment=SHOP_PASSWORD={PASSWORD} X={CANARY}\nExecStart=cdcd run"),
        ("journalctl", f"cdcd: could not connect: password={CANARY} to mysql://u:{CANARY}@h, {PASSWORD}"),
    ):
        (programs / name).write_text(f"#!/bin/sh\nprintf '{said}\n'\n")
        (programs / name).chmod(0o755)
    line.environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "CDCD_TEST_CANARY": CANARY}
    line.shop("ALTER TABLE products ADD CHECK (title <> 'canary-7f3a refused')")
    line.erp(f"INSERT INTO item (code, name) VALUES ('{CANARY}-key', '{CANARY}')")
    line.erp(f"INSERT INTO item (code, name) VALUES ('{CANARY}-parked', '{CANARY} refused')")
    line.start()
    line.wait_for(lambda s: s.systems["shop"].deliver and s.systems["shop"].deliver.parked, "one is parked")
    assert_tells_nothing(line, tmp_path / "running.tar.gz", running=True)
    os.kill(line.pid, signal.SIGSTOP)
    try:
        assert_tells_nothing(line, tmp_path / "hanging.tar.gz")
    finally:
        os.kill(line.pid, signal.SIGCONT)
    assert line.end() == 0
    assert_tells_nothing(line, tmp_path / "stopped.tar.gz")


def assert_tells_nothing(line: Line, file: Path, *, running: bool = False) -> None:
    arguments = () if running else ("--offline",)
    done = line.cli("support-bundle", "-o", str(file), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as archive:
        parts = {one.name.rpartition("/")[2]: archive.extractfile(one).read().decode() for one in archive}
    assert parts.keys() >= {"manifest.json", "status.json", "config.json", "queues.json", "unit.txt", "log.txt"}
    for name, text in parts.items():
        assert CANARY not in text, name
        assert PASSWORD not in text, name
    manifest = json.loads(parts["manifest.json"])["parts"]
    assert [part for part in manifest if part["error"]] == []
    assert json.loads(parts["config.json"])["systems"]["shop"]["password"] == {"env": "SHOP_PASSWORD"}
    (parked,) = json.loads(parts["queues.json"])["parked"]["deliver-shop"]
    assert parked[0] == "product"
    assert parked[2] == 1
    assert ("check.json" in parts) == running
    assert json.loads(parts["status.json"])["status"]["running"] == running
    assert {"sku", "title"} <= {c for t in json.loads(parts["tables.json"]) for c in t["columns"]}

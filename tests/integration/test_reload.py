"""`cdcd reload` on a running daemon: taken over as a whole, or refused as a whole."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import DaemonProcess, wait_until
from integration.erp_and_shop import Line
from integration.idle_daemon import IdleDaemon, SystemdEar

THIRD = """
[systems.c]
adapter = "idle"
directory = "{directory}/a"
[entities.item.in.c]
table = "item"
columns = {{ id = "id", name = "name" }}
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[IdleDaemon]:
    made = IdleDaemon(tmp_path, tmp_path / "state")
    try:
        yield made
    finally:
        made.dispose()


def pids(daemon: DaemonProcess) -> dict[str, int]:
    return {role: worker.pid for role, worker in daemon.status().workers().items()}


def test_systems_come_and_go_while_the_daemon_runs_on(daemon: IdleDaemon):
    daemon.start()
    before = daemon.wait_for(lambda s: not s.copying() and s.resolve.phases.get("item") == "live", "the first copy")
    text = daemon.config.read_text()
    daemon.config.write_text(text + THIRD.format(directory=daemon.base))
    shown = daemon.cli("status").stdout
    assert "was changed since it was loaded: 'cdcd reload --dry-run'" in " ".join(shown.split())
    dry = daemon.cli("reload", "--dry-run")
    assert dry.returncode == 0
    assert "added systems: c" in dry.stdout
    assert "added workers: deliver:c, capture:c" in dry.stdout
    assert f"{daemon.config} would be taken over" in dry.stdout
    assert set(pids(daemon)) == set(before.workers())
    reloaded = json.loads(daemon.cli("reload", "--json").stdout)
    assert reloaded["result"]["changes"]["changed"]["entities"] == ["item"]
    status = daemon.wait_for_states()
    assert {"capture:c", "deliver:c"} < set(status.workers())
    assert status.pid == before.pid
    assert not status.remarks
    assert {c.name: c.value for c in status.counters if c.labels == ("a",)}["captured_transactions"] >= 0
    daemon.wait_for(lambda s: not s.copying(), "what is new was copied")
    daemon.config.write_text(text)
    assert "removed systems: c" in daemon.cli("reload").stdout
    daemon.wait_for(lambda s: set(s.workers()) == set(before.workers()), "as before")
    daemon.wait_for_states()
    assert daemon.end() == 0


def test_a_wrong_file_a_finding_or_another_name_is_refused_and_nothing_changes(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    before, text = pids(daemon), daemon.config.read_text()
    daemon.config.write_text(text.replace('owner = "a"', 'owner = "aa"'))
    refused = daemon.cli("reload")
    assert refused.returncode == 2
    assert f"{daemon.config}: entities.item.fields.name" in refused.stderr
    assert "was not taken over" in " ".join(daemon.status().remarks)
    daemon.config.write_text(text.replace('name = "idle"', 'name = "other"'))
    refused = daemon.cli("reload", "--dry-run")
    assert refused.returncode == 2
    assert "[reload-fixed]" in refused.stderr
    assert "daemon.name is 'idle'" in refused.stderr
    daemon.config.write_text(text)
    daemon.switch("a/finding")
    refused = daemon.cli("reload")
    assert refused.returncode == 3
    assert "[reload-findings]" in refused.stderr
    assert "remove the file" in refused.stderr
    assert pids(daemon) == before
    assert "reload refused, going on as before" in daemon.log.read_text()
    assert daemon.end() == 0


def test_sighup_reloads_and_systemd_hears_when_it_begins_and_ends(daemon: IdleDaemon):
    ear = SystemdEar(daemon.base / "notify")
    with ear.socket:
        daemon.start(NOTIFY_SOCKET=str(daemon.base / "notify"))
        daemon.wait_for_states()
        ear.wait_for(lambda line: line == "READY=1")
        before = pids(daemon)
        ear.heard.clear()
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        daemon.process.send_signal(signal.SIGHUP)
        ear.wait_for(lambda line: line.startswith("MONOTONIC_USEC="))
        assert ear.heard[ear.heard.index("RELOADING=1") + 1].startswith("MONOTONIC_USEC=")
        ear.wait_for(lambda line: line == "READY=1")
        status = daemon.wait_for(
            lambda s: set(before.values()).isdisjoint(w.pid for w in s.workers().values()), "all workers are new"
        )
        assert not any(worker.restarts for worker in status.workers().values())
    assert daemon.end() == 0


def test_a_stop_ends_a_reload_that_is_under_way(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.end() == 0
    assert "stopping" in daemon.log.read_text()


def test_a_field_that_a_reload_adds_is_copied_and_kept_in_step_while_changes_flow(
    tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer
):
    line = Line(tmp_path, postgres, mariadb)
    try:
        line.erp("ALTER TABLE item ADD COLUMN unit text")
        line.shop("ALTER TABLE products ADD COLUMN unit varchar(20)")
        line.erp("INSERT INTO item (code, name, unit) SELECT 'S' || g, 'n', 'pcs' FROM generate_series(1, 200) g")
        line.start()
        line.wait_in_step()
        before = {(c.name, c.labels): c.value for c in line.status().counters}
        text = line.config.read_text()
        text = text.replace("price = { type", 'unit = { type = "text(20)", owner = "erp" }\nprice = { type')
        line.config.write_text(text.replace('name = "name", price', 'name = "name", unit = "units", price'))
        refused = line.cli("reload")
        assert refused.returncode == 3
        assert "has no column units [column-missing]" in refused.stderr
        line.config.write_text(
            text.replace('name = "name", price', 'name = "name", unit = "unit", price').replace(
                'name = "title", price', 'name = "title", unit = "unit", price'
            )
        )
        line.erp("UPDATE item SET name = 'before' WHERE id % 2 = 0")
        line.grant()
        reloaded = line.cli("reload")
        assert (reloaded.returncode, reloaded.stderr) == (0, "")
        assert "changed entities: product" in reloaded.stdout
        line.erp("UPDATE item SET unit = 'kg' WHERE id % 3 = 0")
        line.wait_in_step()
        wanted = [("kg", 66), ("pcs", 134)]
        wait_until(
            lambda: line.shop("SELECT unit, count(*) FROM products GROUP BY unit ORDER BY unit") == wanted,
            "the new field",
        )
        line.wait_for_states()
        after = {(c.name, c.labels): c.value for c in line.status().counters}
        assert all(after[key] >= value for key, value in before.items())
        assert line.end() == 0
    finally:
        line.dispose()
        line.drop_slot()

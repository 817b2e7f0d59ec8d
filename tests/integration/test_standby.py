"""A second daemon on the same state directory, standing by: it takes over within ten seconds, and never beside the first."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cdcd.state_directory import Lock
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import DaemonProcess, alive, wait_until
from integration.erp_and_shop import PASSWORD, Line
from integration.idle_daemon import IdleDaemon, SystemdEar

TAKEOVER_SECONDS = 10


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[IdleDaemon]:
    made = IdleDaemon(tmp_path, tmp_path / "state")
    try:
        yield made
    finally:
        made.dispose()


def second_of(first: DaemonProcess, directory: Path) -> DaemonProcess:
    """Another daemon with the same configuration and a log of its own."""
    second = DaemonProcess(first.config, first.directory.path)
    second.environment = dict(first.environment)
    second.log = directory / "second.log"
    return second


@pytest.fixture
def second(daemon: IdleDaemon, tmp_path: Path) -> Iterator[DaemonProcess]:
    made = second_of(daemon, tmp_path)
    try:
        yield made
    finally:
        made.dispose()


def wait_for_line(daemon: DaemonProcess, text: str) -> None:
    wait_until(lambda: daemon.log.exists() and text in daemon.log.read_text(), f"{text} in {daemon.log}")


def stand_by(daemon: DaemonProcess, second: DaemonProcess, *arguments: str) -> None:
    daemon.start()
    daemon.wait_for_states()
    second.start("--standby", *arguments)
    wait_for_line(second, "standing by while")


def kill(daemon: DaemonProcess) -> None:
    os.kill(daemon.pid, signal.SIGKILL)


def freeze(daemon: DaemonProcess) -> None:
    """The supervisor and all its workers."""
    os.killpg(daemon.pid, signal.SIGSTOP)


def freeze_the_supervisor(daemon: DaemonProcess) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)


@pytest.mark.parametrize("strike", [kill, freeze_the_supervisor])
def test_a_standby_takes_over_from_a_daemon_that_died_or_froze(
    daemon: IdleDaemon, second: DaemonProcess, strike: Callable[[DaemonProcess], None]
):
    stand_by(daemon, second)
    assert daemon.process is not None
    assert f"standby: pid {second.pid}" in daemon.cli("status").stdout
    workers = [worker.pid for worker in daemon.status().workers().values()]
    strike(daemon)
    struck_at = time.monotonic()
    daemon.process.wait(TAKEOVER_SECONDS)
    second.wait_for_states()
    assert time.monotonic() - struck_at < TAKEOVER_SECONDS
    assert not any(alive(pid) for pid in workers)
    assert second.status().pid == second.pid
    assert 'event="taking over"' in second.log.read_text()
    wait_for_line(second, "takeover_seconds=")
    wait_until(lambda: "a standby took over" in second.cli("events").stdout, "the takeover is an event")
    assert second.end() == 0


def test_a_daemon_that_was_stopped_on_purpose_is_not_succeeded_until_one_is_started_again(
    daemon: IdleDaemon, second: DaemonProcess
):
    stand_by(daemon, second)
    assert daemon.end() == 0
    wait_for_line(second, "was stopped on purpose")
    assert "[not-running]" not in daemon.cli("pause", "b").stderr  # commands still find the state directory free
    daemon.start()
    daemon.wait_for_states(deliver_b="paused")
    kill(daemon)
    second.wait_for_states(deliver_b="paused")
    assert second.end() == 0


def test_a_standby_may_be_told_to_take_over_after_a_stop_and_systemd_hears_of_it(
    daemon: IdleDaemon, second: DaemonProcess
):
    ear = SystemdEar(daemon.base / "notify")
    with ear.socket:
        daemon.start()
        daemon.wait_for_states()
        second.start("--standby", "--take-over-after-stop", NOTIFY_SOCKET=str(daemon.base / "notify"))
        ear.wait_for(lambda line: line.startswith("STATUS=standing by while pid"))
        assert "READY=1" in ear.heard
        assert daemon.end() == 0
        second.wait_for_states()
        assert second.end() == 0


def test_a_standby_ends_when_it_is_told_to_and_starts_where_nobody_runs(daemon: IdleDaemon, second: DaemonProcess):
    stand_by(daemon, second)
    assert second.end() == 0
    assert daemon.end() == 0
    second.start("--standby")
    second.wait_for_states()
    assert second.end() == 0


def test_a_silent_daemon_on_another_host_is_not_ended_but_named(daemon: IdleDaemon, second: DaemonProcess):
    daemon.directory.prepare()
    lock = Lock(daemon.directory.lock("supervisor"))
    assert lock.acquire(wait=False)
    lock.path.write_text(f"{os.getpid()} 1 elsewhere:0123456789ab:1\n")
    second.start("--standby")
    wait_for_line(second, f"pid {os.getpid()} on elsewhere is silent and holds the lock")
    assert second.process is not None
    assert second.process.poll() is None
    lock.release()
    second.wait_for_states()
    assert second.end() == 0


def test_a_daemon_whose_lock_another_one_has_ends_with_an_error(daemon: IdleDaemon, second: DaemonProcess):
    daemon.start()
    workers = [worker.pid for worker in daemon.wait_for_states().workers().values()]
    daemon.directory.lock("supervisor").unlink()
    second.start()
    assert daemon.process is not None
    assert daemon.process.wait(TAKEOVER_SECONDS) == 3
    assert "[fenced] another daemon has taken over this state directory" in daemon.log.read_text()
    wait_until(lambda: not any(alive(pid) for pid in workers), "its workers ended")
    second.wait_for_states()
    assert second.end() == 0


def test_nothing_is_lost_when_a_frozen_daemon_is_succeeded_and_who_is_fenced_stays_away(
    tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer
):
    line = Line(tmp_path, postgres, mariadb)
    second = second_of(line, tmp_path)
    try:
        line.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 500) g")
        stand_by(line, second)
        for n in range(6):
            line.erp(f"UPDATE item SET name = 'n{n}', list_price = list_price + 1 WHERE id % 6 = {n}")
            line.shop(f"UPDATE products SET body = 'b{n}' WHERE id % 6 = {n}")
            if n == 3:
                freeze(line)
        assert line.process is not None
        line.process.wait(TAKEOVER_SECONDS)
        second.wait_for_states()
        wait_until(lambda: not line.differences(), "in step")
        assert line.erp("SELECT count(*) FROM item WHERE name = 'n'") == [(0,)]
        assert PASSWORD not in second.log.read_text()
        line.shop("UPDATE cdcd_checkpoint SET epoch = epoch + 1")
        line.erp("UPDATE item SET name = 'fenced' WHERE code = 'S1'")
        status = second.wait_for(lambda s: s.workers()["deliver:shop"].state == "stopped", "it does not write any more")
        error = status.workers()["deliver:shop"].error
        assert error is not None
        assert error.code == "fenced"
        assert line.shop("SELECT title FROM products WHERE sku = 'S1'") != [("fenced",)]
        assert second.end() == 0
        another = tmp_path / "another.toml"
        another.write_text(line.config.read_text().replace(str(line.directory.path), str(tmp_path / "another")))
        refused = line.cli("run", "--config", str(another))
        assert refused.returncode == 3
        assert "[other-lineage]" in refused.stdout
        assert not (tmp_path / "another").exists()
    finally:
        line.dispose()
        second.dispose()
        line.drop_slot()

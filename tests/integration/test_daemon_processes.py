"""The daemon as processes: they wait for each other, start each other again, and end together."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.daemon_process import DaemonProcess, alive, wait_until
from integration.idle_daemon import IdleDaemon, SystemdEar


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[IdleDaemon]:
    made = IdleDaemon(tmp_path, tmp_path / "state")
    try:
        yield made
    finally:
        made.dispose()


def pids(daemon: DaemonProcess) -> dict[str, int]:
    return {role: worker.pid for role, worker in daemon.status().workers().items()}


def test_a_daemon_starts_serves_and_ends_with_zero_on_sigterm(daemon: IdleDaemon):
    daemon.start()
    status = daemon.wait_for_states()
    workers = [worker.pid for worker in status.workers().values()]
    assert daemon.get("/healthz")[0] == 200
    assert daemon.get("/readyz")[0] == 200
    code, metrics = daemon.get("/metrics")
    assert code == 200
    assert 'cdcd_state{state="running",worker="capture:a"} 1.0' in metrics
    assert "idle" in daemon.get("/")[1]
    assert daemon.end() == 0
    assert not any(alive(pid) for pid in workers)
    assert not daemon.directory.control_socket.exists()


def test_ctrl_c_at_the_terminal_ends_everything_with_zero(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    os.killpg(daemon.pid, signal.SIGINT)
    assert daemon.process is not None
    assert daemon.process.wait(30) == 0
    assert "defect" not in daemon.log.read_text()


@pytest.mark.parametrize("role", ["capture:a", "resolve", "deliver:b"])
def test_a_killed_worker_is_started_again(daemon: IdleDaemon, role: str):
    daemon.start()
    before = daemon.wait_for_states().workers()[role].pid
    os.kill(before, signal.SIGKILL)
    status = daemon.wait_for(
        lambda s: s.workers()[role].state == "running" and s.workers()[role].pid != before, f"{role} came back"
    )
    worker = status.workers()[role]
    assert worker.restarts == 1
    assert worker.error is not None
    assert worker.error.code == "worker-ended"
    assert daemon.end() == 0


def test_killing_the_supervisor_ends_all_workers_and_another_daemon_can_start_at_once(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    workers = pids(daemon)
    daemon.end(signal.SIGKILL)
    daemon.start()
    wait_until(lambda: not any(alive(pid) for pid in workers.values()), "the workers ended")
    daemon.wait_for_states()
    assert set(workers.values()).isdisjoint(pids(daemon).values())
    assert daemon.end() == 0


def test_a_stopped_worker_does_not_survive_its_supervisor(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    worker = pids(daemon)["deliver:a"]
    os.kill(worker, signal.SIGSTOP)
    daemon.end(signal.SIGKILL)
    wait_until(lambda: not alive(worker), "the stopped worker ended")


def test_a_second_daemon_on_the_same_state_directory_is_refused(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    second = daemon.cli("run")
    assert second.returncode == 3
    assert "[already-running]" in second.stderr
    assert f"pid {daemon.pid}" in second.stderr
    assert daemon.end() == 0


def test_a_system_that_is_down_at_the_start_is_waited_for(daemon: IdleDaemon):
    daemon.switch("b/down")
    daemon.start()
    status = daemon.wait_for_states(capture_b="retrying", deliver_b="retrying")
    error = status.workers()["deliver:b"].error
    assert error is not None
    assert error.code == "unavailable"
    assert daemon.get("/healthz")[0] == 200
    code, body = daemon.get("/readyz")
    assert code == 503
    assert {reason["role"] for reason in json.loads(body)["reasons"]} == {"capture:b", "deliver:b"}
    daemon.switch("b/down", on=False)
    daemon.wait_for_states()
    assert "b is not reachable" in daemon.log.read_text()
    assert daemon.end() == 0


def test_a_finding_stops_the_start_before_anything_is_written(daemon: IdleDaemon):
    daemon.switch("a/finding")
    run = daemon.cli("run")
    assert run.returncode == 3
    assert "something is missing [idle-finding]" in run.stdout
    assert "remove the file" in run.stdout
    assert not daemon.directory.path.exists()
    as_json = json.loads(daemon.cli("check", "--json").stdout)
    assert (as_json["command"], as_json["ok"], as_json["error"]) == ("check", False, None)
    assert as_json["result"]["findings"][0]["code"] == "idle-finding"


def test_what_needs_a_person_stops_one_worker_until_resume(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    daemon.switch("a/broken")
    daemon.wait_for(lambda s: s.workers()["capture:a"].state == "stopped", "capture:a stopped")
    code, body = daemon.get("/healthz")
    assert code == 503
    assert json.loads(body)["reasons"] == [
        {"role": "capture:a", "code": "not-ready", "message": "the server lacks something", "stuck": False}
    ]
    shown = daemon.cli("status")
    assert shown.returncode == 1
    assert "remove the file" in shown.stdout
    daemon.switch("a/broken", on=False)
    resumed = daemon.cli("resume", "a", "--json")
    assert "capture:a" in json.loads(resumed.stdout)["result"]["restarted"]
    daemon.wait_for_states()
    assert daemon.end() == 0


def test_a_pause_holds_over_a_restart_of_the_daemon(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    paused = daemon.cli("pause", "b")
    assert (paused.returncode, "is paused" in paused.stdout) == (0, True)
    assert daemon.status().workers()["deliver:b"].state == "paused"
    assert daemon.get("/readyz")[0] == 200
    assert daemon.end() == 0
    daemon.start()
    daemon.wait_for_states(deliver_b="paused")
    assert daemon.cli("resume", "b").returncode == 0
    daemon.wait_for_states()
    assert daemon.end() == 0


def test_a_resync_copies_the_tables_of_the_entity_again(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for(lambda s: not s.copying() and s.resolve.phases.get("item") == "live", "the first copy is done")
    seq = daemon.status().journal.last_seq
    assert daemon.cli("resync", "item").returncode == 0
    daemon.wait_for(lambda s: s.journal.last_seq >= seq + 3 and not s.copying(), "a command and two chunks")
    assert daemon.end() == 0


def test_a_wrong_name_is_answered_with_the_right_one(daemon: IdleDaemon):
    daemon.start()
    daemon.wait_for_states()
    wrong = daemon.cli("resync", "itme")
    assert wrong.returncode == 2
    assert "did you mean 'item'?" in wrong.stderr
    assert daemon.end() == 0


def test_status_without_a_daemon_reads_the_state_directory_and_says_so(daemon: IdleDaemon):
    assert "[not-running]" in daemon.cli("status").stderr
    daemon.start()
    daemon.wait_for_states()
    assert daemon.end() == 0
    shown = daemon.cli("status")
    assert shown.returncode == 1
    assert "idle is not running" in shown.stdout
    result = json.loads(daemon.cli("status", "--json").stdout)["result"]
    assert result["running"] is False
    assert result["systems"]["a"]["capture"]["position"] == "0"


def test_a_state_directory_may_lie_deeper_than_a_socket_name_is_long(tmp_path: Path):
    daemon = IdleDaemon(tmp_path, tmp_path / ("deep" * 20) / ("deeper" * 20) / "state")
    try:
        daemon.start()
        daemon.wait_for_states()
        assert daemon.end() == 0
    finally:
        daemon.dispose()


def test_systemd_hears_ready_a_status_the_watchdog_and_the_stop(daemon: IdleDaemon):
    ear = SystemdEar(daemon.base / "notify")
    with ear.socket:
        daemon.start(NOTIFY_SOCKET=str(daemon.base / "notify"), WATCHDOG_USEC="3000000")
        ear.wait_for(lambda line: line == "READY=1")
        ear.wait_for(lambda line: line == "WATCHDOG=1")
        ear.wait_for(lambda line: line.startswith("STATUS=from a 0 s"))
        assert daemon.end() == 0
        ear.wait_for(lambda line: line == "STOPPING=1")


def test_systemd_hears_ready_only_when_everything_runs(daemon: IdleDaemon):
    ear = SystemdEar(daemon.base / "notify")
    daemon.switch("b/down")
    with ear.socket:
        daemon.start(NOTIFY_SOCKET=str(daemon.base / "notify"), WATCHDOG_USEC="3000000")
        away = "from b retrying [unavailable], to b retrying [unavailable]"
        ear.wait_for(lambda line: line.startswith("STATUS=waits until everything runs: from a 0 s") and away in line)
        ear.wait_for(lambda line: line == "EXTEND_TIMEOUT_USEC=60000000")
        assert "READY=1" not in ear.heard
        daemon.switch("b/down", on=False)
        ear.wait_for(lambda line: line == "READY=1")
        daemon.wait_for_states()


def test_a_server_that_stays_away_does_not_hold_up_the_boot_for_ever(daemon: IdleDaemon):
    hurry = "import cdcd.supervisor; cdcd.supervisor.READY_SECONDS = 0.3; from cdcd.cli import main; main()"
    daemon.command = lambda *arguments: [sys.executable, "-c", hurry, *arguments]
    ear = SystemdEar(daemon.base / "notify")
    daemon.switch("b/down")
    with ear.socket:
        daemon.start(NOTIFY_SOCKET=str(daemon.base / "notify"), WATCHDOG_USEC="3000000")
        ear.wait_for(lambda line: line == "READY=1")
        ear.wait_for(lambda line: line.startswith("STATUS=from a 0 s, to a 0 s, from b retrying [unavailable]"))
        ear.wait_for(lambda line: line == "WATCHDOG=1")
    assert 'event="ready without" worker=deliver:b code=worker-' in daemon.log.read_text()


def test_a_server_that_takes_long_over_one_call_does_not_starve_the_watchdog(daemon: IdleDaemon):
    hurry = "import cdcd.health; cdcd.health.SILENT_SECONDS = 11; from cdcd.cli import main; main()"
    daemon.command = lambda *arguments: [sys.executable, "-c", hurry, *arguments]
    ear = SystemdEar(daemon.base / "notify")
    with ear.socket:
        daemon.start(NOTIFY_SOCKET=str(daemon.base / "notify"), WATCHDOG_USEC="3000000")
        ear.wait_for(lambda line: line == "READY=1")
        daemon.switch("a/slow")
        waits = daemon.wait_for(lambda status: status.workers()["capture:a"].waiting_since_us, "in the call")
        since_us = waits.workers()["capture:a"].waiting_since_us
        daemon.wait_for(lambda status: status.at_us - since_us > 12_000_000, "for longer than silence is borne")
        ear.heard.clear()
        ear.wait_for(lambda line: line == "WATCHDOG=1")
        daemon.switch("a/slow", on=False)
        daemon.wait_for(lambda status: not status.workers()["capture:a"].waiting_since_us, "back from the call")
        ear.wait_for(lambda line: line == "WATCHDOG=1")
        assert not [line for line in ear.heard if line.startswith("STATUS=stuck")]


def test_why_a_daemon_does_not_start_stands_in_the_status_line_and_has_a_priority(daemon: IdleDaemon):
    ear = SystemdEar(daemon.base / "notify")
    daemon.switch("a/finding")
    daemon.log.touch()
    stderr = daemon.log.stat()
    with ear.socket:
        daemon.start(NOTIFY_SOCKET=str(daemon.base / "notify"), JOURNAL_STREAM=f"{stderr.st_dev}:{stderr.st_ino}")
        ear.wait_for(lambda line: line.startswith("STATUS=not started: 1 error"))
    assert daemon.process is not None
    assert daemon.process.wait(30) == 3
    assert '<3>level=error role=supervisor event="not started: 1 error' in daemon.log.read_text()


def test_under_the_journal_lines_carry_a_priority_and_no_time(daemon: IdleDaemon):
    daemon.log.touch()
    stderr = daemon.log.stat()
    daemon.start(JOURNAL_STREAM=f"{stderr.st_dev}:{stderr.st_ino}")
    daemon.wait_for_states()
    assert daemon.end() == 0
    lines = daemon.log.read_text().splitlines()
    assert lines[0].startswith("<6>level=info role=supervisor event=started")


def test_a_missing_configuration_exits_with_two(tmp_path: Path):
    daemon = DaemonProcess(tmp_path / "nowhere.toml", tmp_path / "state")
    missing = subprocess.run(daemon.command("run"), env=daemon.environment, capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert "cannot be read" in missing.stderr
    assert "Traceback" not in missing.stderr

"""A daemon tells what happens: by webhook and by a command, once, also across a crash; and lists it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.daemon_process import wait_until
from integration.idle_daemon import IdleDaemon
from unit.notices.sinks import HttpSink, http_sink

NOTIFY = """
[notices]
after = {{ target-unavailable = "1s", worker-stopped = "1s" }}
[notify.page]
webhook = {{ url = "http://127.0.0.1:{port}/", headers = {{ Authorization = {{ env = "PAGE_TOKEN" }} }} }}
[notify.log]
severity = "critical"
command = {{ run = ["{script}"] }}
"""
TOKEN = "page-t0ken"


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as opened:
        yield opened


@pytest.fixture
def daemon(tmp_path: Path, sink: HttpSink) -> Iterator[IdleDaemon]:
    made = IdleDaemon(tmp_path, tmp_path / "state")
    script = tmp_path / "tell"
    script.write_text(f"#!/bin/sh\ncat >> {tmp_path}/told\n")
    script.chmod(0o755)
    made.config.write_text(made.config.read_text() + NOTIFY.format(port=sink.port, script=script))
    made.environment["PAGE_TOKEN"] = TOKEN
    yield made
    made.dispose()


def told(sink: HttpSink, count: int) -> list[tuple[str, str]]:
    posted = sink.wait_for(count)
    return [(n["kind"], n["code"]) for _, body in posted for n in json.loads(body)["notices"]]


def events(daemon: IdleDaemon, *arguments: str) -> list[tuple[str, bool]]:
    """What `cdcd events` lists, the oldest first: the code, and whether it lasts."""
    done = daemon.cli("events", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return [(one["code"], one["ended_at_us"] is None) for one in json.loads(done.stdout)["result"]]


def test_a_target_that_is_away_is_told_once_and_its_return_once_whatever_happens_to_us(
    daemon: IdleDaemon, sink: HttpSink
):
    down = daemon.base / "b" / "down"
    down.touch()
    daemon.start()
    assert told(sink, 1) == [("begun", "target-unavailable")]
    assert sink.posted[0][0]["Authorization"] == TOKEN
    assert ("target-unavailable", True) in events(daemon, "--open")
    assert "b does not answer" in daemon.cli("events").stdout

    daemon.end(signal.SIGKILL)
    daemon.start()
    assert told(sink, 2)[1] == ("begun", "crashed")
    daemon.wait_for_states(deliver_b="retrying", capture_b="retrying")
    down.unlink()
    assert told(sink, 3)[2] == ("ended", "target-unavailable")
    listed = events(daemon)
    assert ("target-unavailable", False) in listed
    assert [code for code, _ in listed if code == "target-unavailable"] == ["target-unavailable"]
    assert len({headers["Idempotency-Key"] for headers, _ in sink.posted}) == 3
    sent = 'cdcd_notifications_total{channel="page",result="sent"} 3.0'
    wait_until(lambda: sent in daemon.get("/metrics")[1], "they are counted")

    assert daemon.end() == 0
    kept = [code for code, _ in events(daemon, "--since", "1h ago")]
    assert kept == [code for code, _ in listed], "all of it is kept, and a stop is no occurrence"
    assert TOKEN not in daemon.log.read_text()
    assert not (daemon.base / "told").exists(), "the command hears of what is critical only"


def test_channels_are_tried_by_the_daemon_and_what_does_not_work_shows(daemon: IdleDaemon, sink: HttpSink):
    daemon.start()
    daemon.wait_for_states()
    done = daemon.cli("notify", "--test")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 test messages arrived" in done.stdout
    assert told(sink, 1) == [("test", "test")]
    assert json.loads((daemon.base / "told").read_text())["notices"][0]["kind"] == "test"

    sink.answers = [403]
    done = daemon.cli("notify", "--test", "page", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["result"] == [
        {"channel": "page", "error": "the receiver answered with 403 Forbidden"}
    ]
    assert daemon.cli("notify", "--test", "pag").returncode == 2

    (daemon.base / "b" / "broken").touch()
    assert daemon.cli("pause", "b").returncode == 0
    wait_until(lambda: ("paused", True) in events(daemon), "the pause is noted")
    assert daemon.cli("resume", "b").returncode == 0
    daemon.wait_for(lambda status: any("channel page" in remark for remark in status.remarks), "a remark")
    wait_until(lambda: "worker-stopped" in (daemon.base / "told").read_text(), "the command is told")
    wait_until(lambda: ("paused", False) in events(daemon), "the pause is over")
    wait_until(lambda: "do not reach channel page" in daemon.cli("status").stdout, "the status says so")

    (daemon.base / "b" / "broken").unlink()
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace("[notify.page]", "[notify.pager]").replace('"1s"', '"2s"'))
    assert daemon.cli("reload").returncode == 0
    daemon.wait_for(lambda status: not any("channel page" in remark for remark in status.remarks), "no remark")
    daemon.config.write_text(text.replace("target-unavailable", "target-unavailabel"))
    assert daemon.cli("reload").returncode == 2
    wait_until(lambda: {"reloaded", "reload-refused"} <= {code for code, _ in events(daemon)}, "reloads are noted")


def test_without_a_daemon_the_command_itself_sends_the_test(daemon: IdleDaemon, sink: HttpSink):
    assert daemon.cli("events").stdout == "0 events, 0 of them last\n"
    done = daemon.cli("notify", "--test", "page")
    assert (done.returncode, done.stderr) == (0, "")
    assert told(sink, 1) == [("test", "test")]
    listed = daemon.cli("notify")
    assert "page             webhook  from warning on" in listed.stdout
    assert TOKEN not in listed.stdout

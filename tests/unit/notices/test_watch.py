"""The thread that watches a daemon: what it keeps, whom it has told, and that nothing of it can hold up anybody."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdcd.config import Config, Daemon
from cdcd.config_notices import Notices
from cdcd.errors import ConfigError, Unavailable
from cdcd.notices import watch as module
from cdcd.notices.store import Store, path_of, recent
from cdcd.notices.trial import ChannelError
from cdcd.notices.watch import Watch
from cdcd.report import DeliverFigures, now_us
from cdcd.sqlite_driver import sqlite
from cdcd.state_directory import Holder, StateDirectory
from cdcd.status import DaemonStatus
from integration.daemon_process import wait_until
from unit.notices.sinks import HttpSink, http_sink
from unit.statuses import daemon, error, worker

AT_ONCE = dict.fromkeys(["target-unavailable", "worker-stopped"], "0s")


class Scene:
    """A daemon whose status a test sets, and what watches it."""

    def __init__(self, path: Path, notify: dict[str, Any], after: dict[str, str]) -> None:
        self.directory = StateDirectory(path)
        self.config = Config(Daemon("acme", str(path)), {}, notices=Notices(after=after), notify=notify)
        self.failure: Unavailable | None = None
        self.delivery = "running"
        self.watch = self.made()

    def made(self) -> Watch:
        return Watch(self.directory, self.config, self.status, "1.2.3")

    def status(self) -> DaemonStatus:
        if self.failure is not None:
            raise self.failure
        now = now_us()
        alive = {"since_us": now, "reported_at_us": now, "moved_at_us": now}
        shop = worker(self.delivery, figures=DeliverFigures(), error=error("refused", "no"), **alive)
        status = daemon(worker(**alive), worker(**alive), shop)
        resolve = msgspec.structs.replace(status.resolve, conflicts=0, held=0, phases={})
        delivery = msgspec.structs.replace(status.systems["shop"].deliver, parked=0)
        shop_status = msgspec.structs.replace(status.systems["shop"], deliver=delivery)
        systems = {**status.systems, "shop": shop_status}
        return msgspec.structs.replace(status, at_us=now, resolve=resolve, systems=systems)

    def codes(self) -> list[str]:
        """What was kept, the oldest first; what lasts with a plus."""
        found = reversed(recent(self.directory))
        return [one.code + ("+" if one.ended_at_us is None else "") for one in found]

    def wait_for(self, *codes: str) -> None:
        wait_until(lambda: self.codes() == list(codes), f"{codes}, but {self.codes()}")


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as opened:
        yield opened


@pytest.fixture
def scene(tmp_path: Path, sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    kinds = {
        code: msgspec.structs.replace(kind, over_seconds=0.0)
        for code, kind in module.KINDS.items()
        if not kind.is_moment
    }
    monkeypatch.setattr(module, "KINDS", module.KINDS | kinds)
    page = {"webhook": {"url": f"http://127.0.0.1:{sink.port}/"}}
    made = Scene(tmp_path, {"page": page}, AT_ONCE)
    yield made
    made.watch.close()


def told(sink: HttpSink, count: int) -> list[tuple[str, str]]:
    posted = sink.wait_for(count)
    return [(n["kind"], n["code"]) for _, body in posted for n in msgspec.json.decode(body)["notices"]]


def test_a_target_that_goes_away_and_comes_back_is_told_twice(scene: Scene, sink: HttpSink):
    scene.watch.start(None)
    scene.wait_for("started")
    scene.delivery = "retrying"
    scene.wait_for("started", "target-unavailable+")
    scene.delivery = "running"
    scene.wait_for("started", "target-unavailable")
    assert told(sink, 2) == [("begun", "target-unavailable"), ("ended", "target-unavailable")]
    wait_until(lambda: [c.value for c in scene.watch.counters()] == [2], "both are counted")
    assert scene.watch.counters()[0].labels == ("page", "sent")


def test_a_crash_tells_nothing_again_and_what_ended_meanwhile_is_closed(scene: Scene, sink: HttpSink):
    scene.delivery = "stopped"
    scene.watch.start(None)
    scene.wait_for("started", "worker-stopped+")
    told(sink, 1)
    wait_until(scene.watch.counters, "it is noted as sent")
    scene.watch.close()
    scene.watch = scene.made()
    scene.watch.start(Holder(4711))
    scene.wait_for("started", "worker-stopped+", "crashed")
    scene.watch.close()
    scene.delivery = "running"
    scene.watch = scene.made()
    scene.watch.start(Holder(4711, stopped=True))
    scene.wait_for("started", "worker-stopped", "crashed", "started")
    assert sorted(told(sink, 3)) == [("begun", "crashed"), ("begun", "worker-stopped"), ("ended", "worker-stopped")]


def test_a_moment_that_repeats_itself_is_kept_each_time_and_told_once(scene: Scene, sink: HttpSink):
    scene.watch.start(None, silent_since_us=now_us() - 2_000_000)
    refused = ConfigError("no such key", code="config-key", remedy="correct the file")
    scene.watch.note_refusal(refused)
    scene.wait_for("taken-over", "reload-refused")
    scene.watch.note_refusal(refused)
    scene.watch.note("reloaded", "daemon", "it was taken over")
    scene.wait_for("taken-over", "reload-refused", "reload-refused", "reloaded")
    assert sorted(told(sink, 2)) == [("begun", "reload-refused"), ("begun", "taken-over")]


def test_what_is_critical_and_lasts_is_told_again(tmp_path: Path, sink: HttpSink, scene: Scene):
    page = {**scene.config.notify["page"], "repeat-every": "100ms", "severity": "critical"}
    scene.config = msgspec.structs.replace(scene.config, notify={"page": page})
    scene.watch.follow(scene.config)
    scene.delivery = "stopped"
    scene.watch.start(None)
    assert told(sink, 3)[:3] == [("begun", "worker-stopped"), ("again", "worker-stopped"), ("again", "worker-stopped")]


def test_another_configuration_tells_others(scene: Scene, sink: HttpSink):
    scene.watch.start(None)
    scene.wait_for("started")
    with http_sink() as other:
        page = {"webhook": {"url": f"http://127.0.0.1:{other.port}/"}, "resolved": False}
        scene.watch.follow(msgspec.structs.replace(scene.config, notify={"other": page}))
        scene.delivery = "retrying"
        assert told(other, 1) == [("begun", "target-unavailable")]
        scene.delivery = "running"
        scene.wait_for("started", "target-unavailable")
        scene.delivery = "stopped"
        assert told(other, 2) == [("begun", "target-unavailable"), ("begun", "worker-stopped")]
    assert sink.posted == []


def test_a_channel_that_does_not_work_is_a_remark(scene: Scene, sink: HttpSink):
    sink.answers = [500]
    scene.delivery = "stopped"
    scene.watch.start(None)
    wait_until(scene.watch.remarks, "a remark")
    (remark,) = scene.watch.remarks()
    assert "do not reach channel page (1 wait): the receiver answered with 500" in remark
    assert "cdcd notify --test page" in remark


def test_a_supervisor_that_does_not_answer_is_asked_again(scene: Scene):
    scene.failure = Unavailable("the supervisor does not answer")
    scene.watch.start(None)
    scene.failure = None
    scene.wait_for("started")


def test_a_file_that_is_damaged_is_a_remark_and_ends_nothing(scene: Scene):
    path_of(scene.directory).write_bytes(b"no database at all" * 1000)
    scene.watch.start(None)
    wait_until(scene.watch.remarks, "a remark")
    assert "occurrences cannot be kept or told" in scene.watch.remarks()[0]
    scene.watch.close()


def test_a_disk_that_is_full_loses_nothing_that_happened(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "STORE_PAUSE_SECONDS", 0.02)
    keep, refusals = Store.keep, iter([sqlite.OperationalError("database or disk is full")])

    def full_once(store: Store, *arguments: Any) -> None:
        refused = next(refusals, None)
        if refused is not None:
            raise refused
        keep(store, *arguments)

    monkeypatch.setattr(Store, "keep", full_once)
    scene.watch.start(None)
    scene.wait_for("started")


def test_a_test_message_goes_to_the_channel_that_is_named(scene: Scene, sink: HttpSink):
    ready = scene.watch.trial("page")
    wait_until(ready, "an answer")
    assert [(one.channel, one.error) for one in ready().result] == [("page", "")]
    assert told(sink, 1) == [("test", "test")]
    sink.answers = [403]
    ready = scene.watch.trial(None)
    wait_until(ready, "an answer")
    assert [one.error for one in ready().result] == ["the receiver answered with 403 Forbidden"]
    with pytest.raises(ChannelError, match="unknown channel 'pag'"):
        scene.watch.trial("pag")


def test_a_receiver_that_hangs_holds_up_neither_the_watch_nor_our_end(scene: Scene, sink: HttpSink):
    sink.answers = [None]
    scene.delivery = "stopped"
    scene.watch.start(None)
    sink.wait_for(1)
    scene.watch.note("reloaded", "daemon", "it was taken over")
    scene.wait_for("started", "worker-stopped+", "reloaded")
    began_at = time.monotonic()
    scene.watch.close()
    assert time.monotonic() - began_at < 5
    with closing(Store(path_of(scene.directory))) as store:
        assert len(store.waiting("page", 9)) == 1, "the next daemon tells it"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_of_the_watch_is_a_remark(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> Any:
        raise ValueError("s3cret")

    monkeypatch.setattr(module, "look", broken)
    scene.watch.start(None)
    wait_until(scene.watch.remarks, "a remark")
    assert "nobody watches" in scene.watch.remarks()[0]

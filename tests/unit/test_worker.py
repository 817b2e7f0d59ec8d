"""A worker around a scripted stage: what it does about errors, bells, signals and the supervisor's end."""

import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from cdcd import worker as w
from cdcd.blueprint import Blueprint, Role, parse_role
from cdcd.config import Config, Daemon
from cdcd.errors import CdcdError, ConfigError, DecodeError, Fenced, NotReady, Unavailable
from cdcd.report import Counter, Receiver, Report, ResolveFigures, WorkerState
from cdcd.sqlite_driver import sqlite
from cdcd.storage import StorageError
from cdcd.wake import Bell, Signals, wait


class ScriptedStage:
    """Does what the test says at each step; ends the worker when the script is over."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.script: list[CdcdError | str] = []
        self.opens: list[CdcdError] = []
        self.log: list[str] = []
        self.state: WorkerState = "running"
        self.done = 0
        self.wait = 0.0
        self.pulse: Callable[[], None] = lambda: None
        self._end = end

    def open(self) -> WorkerState:
        self.log.append("open")
        if self.opens:
            raise self.opens.pop(0)
        return self.state

    def step(self) -> bool:
        if not self.script:
            self._end()
            return False
        what = self.script.pop(0)
        if isinstance(what, Exception):
            raise what
        self.log.append(what)
        if what == "long work":
            for _ in range(3):
                self.done += 1
                self.pulse()
        self.done += 1
        return what == "work"

    def news(self) -> list[str]:
        return ["deliver:shop"] if self.log[-1] == "work" else []

    def tick(self) -> WorkerState:
        return self.state

    def woken(self) -> None:
        self.log.append("woken")

    def arrived(self) -> None:
        self.log.append("arrived")

    def filenos(self) -> list[int]:
        return []

    def wait_seconds(self) -> float:
        return self.wait

    def progress(self) -> int:
        return self.done

    def position(self) -> str:
        return str(self.done)

    def figures(self) -> ResolveFigures:
        return ResolveFigures(self.done)

    def counters(self) -> list[Counter]:
        return [Counter("resolved_changes", ("erp", "product", "written"), self.done)]

    def close(self) -> None:
        self.log.append("close")


class Bench:
    """A worker for `resolve`, its stage, and the supervisor's ends of everything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cdcd.backoff.FIRST_SECONDS", 0.001)
        monkeypatch.setattr(w, "OPERATOR_SECONDS", 0.001)
        self.receiver = Receiver()
        self.life_read, self.life_write = os.pipe()
        self.bell, self.downstream = Bell.create(), Bell.create()
        bells = {"resolve": self.bell.fd, "deliver:shop": self.downstream.fd}
        wiring = w.Wiring(os.getpid(), os.dup(self.receiver.workers_fd), self.life_read, bells)
        self.signals = Signals([signal.SIGTERM])
        self.stage = ScriptedStage(lambda: os.kill(os.getpid(), signal.SIGTERM))
        self.worker = w.Worker(Role("resolve"), self.stage, wiring, self.signals)
        self.worker._backoff._first_seconds = 0.001

    def run(self, *script: CdcdError | str) -> list[Report]:
        self.stage.script = list(script)
        assert self.worker.run() == 0
        return self.receiver.take()

    def close(self) -> None:
        self.signals.close()
        self.receiver.close()
        self.worker._signs.close()
        self.worker._signs._sender._socket.close()
        self.bell.close()
        self.downstream.close()
        for fd in (self.life_read, self.life_write):
            os.close(fd)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(monkeypatch)
    yield made
    made.close()


def states(reports: list[Report]) -> list[str]:
    found = [report.state for report in reports]
    return [state for n, state in enumerate(found) if n == 0 or found[n - 1] != state]


def test_a_worker_steps_reports_and_closes_when_it_is_told_to_end(bench: Bench):
    reports = bench.run("work", "work")
    assert bench.stage.log == ["open", "work", "work", "close"]
    assert states(reports) == ["starting", "running"]
    assert reports[-1].error is None
    assert reports[-1].pid == os.getpid()


def test_work_done_rings_the_next_stage(bench: Bench):
    bench.run("work")
    assert wait([bench.downstream.fd], 0) == {bench.downstream.fd}


def test_nothing_done_wakes_nobody(bench: Bench):
    bench.run("nothing")
    assert wait([bench.downstream.fd], 0) == set()


def test_a_bell_is_silenced_before_the_stage_looks_again(bench: Bench):
    bench.bell.ring()
    bench.run("nothing", "nothing")
    assert bench.stage.log == ["open", "nothing", "woken", "nothing", "close"]


def test_an_unavailable_server_is_tried_again_with_everything_opened_anew(bench: Bench):
    reports = bench.run(Unavailable("gone"), Unavailable("gone"), "work")
    assert bench.stage.log == ["open", "close", "open", "close", "open", "work", "close"]
    assert states(reports) == ["starting", "running", "retrying", "running", "retrying", "running"]
    error = reports[-1].error
    assert error is not None
    assert (error.code, error.what) == ("unavailable", "gone")
    assert Counter("errors", ("resolve", "unavailable"), 2) in [c for report in reports for c in report.counters]


def test_a_server_that_is_down_at_the_start_is_tried_again_too(bench: Bench):
    bench.stage.opens = [Unavailable("not yet")]
    assert states(bench.run("work")) == ["starting", "retrying", "running"]


class Knot:
    """Refers to itself, as a TLS context of a connection that failed does."""

    def __init__(self) -> None:
        self.own = self


def test_what_a_failed_attempt_leaves_is_let_go_before_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    left: list[weakref.ref[Knot]] = []
    alive: list[int] = []

    def attempt() -> WorkerState:
        alive.append(sum(1 for one in left if one() is not None))
        if len(alive) == 4:
            return "running"
        left.append(weakref.ref(Knot()))
        raise Unavailable("away")

    monkeypatch.setattr(bench.stage, "open", attempt)
    gc.disable()
    try:
        bench.run("work")
    finally:
        gc.enable()
    assert alive == [0, 0, 0, 0]


def test_backoff_starts_over_once_something_was_done(bench: Bench):
    bench.run(Unavailable("gone"), Unavailable("gone"), "work", "work")
    assert bench.worker._backoff.attempts == 0


@pytest.mark.parametrize(
    "error", [NotReady("no slot", remedy="make one"), DecodeError("what is this"), ConfigError("no password")]
)
def test_what_needs_a_person_is_shown_as_stopped_and_tried_slowly(bench: Bench, error: CdcdError):
    reports = bench.run(error, "work")
    assert states(reports) == ["starting", "running", "stopped", "running"]
    stopped = next(report for report in reports if report.state == "stopped")
    assert stopped.error is not None
    assert (stopped.error.code, stopped.error.remedy) == (error.code, error.remedy)


def test_a_target_that_was_taken_over_is_not_taken_back_by_itself(bench: Bench):
    bench.stage.script = [Fenced("taken over", remedy="stop one of the two")]
    ending = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    ending.start()
    assert bench.worker.run() == 0
    ending.join()
    assert bench.stage.log == ["open", "close"]
    error = bench.receiver.take()[-1].error
    assert error is not None
    assert error.code == "fenced"
    assert "only by 'cdcd resume SYSTEM'" in error.remedy


def test_a_configuration_that_cannot_be_used_says_what_becomes_of_it(bench: Bench):
    stopped = next(report for report in bench.run(ConfigError("no password"), "work") if report.state == "stopped")
    assert stopped.error is not None
    assert "'cdcd reload'" in stopped.error.remedy


def test_a_failed_state_directory_is_reported_and_ends_the_process(bench: Bench):
    bench.stage.script = [StorageError("no room")]
    with pytest.raises(StorageError):
        bench.worker.run()
    last = bench.receiver.take()[-1]
    assert last.error is not None
    assert last.error.code == "storage"
    assert bench.stage.log[-1] == "close"


def test_a_damaged_file_of_the_state_is_for_a_person(bench: Bench):
    reports = bench.run(sqlite.DatabaseError("database disk image is malformed"), "work")  # type: ignore[arg-type]
    codes = [report.error.code for report in reports if report.error is not None]
    assert "storage-damaged" in codes
    assert bench.stage.log.count("open") == 2


def test_the_supervisors_death_ends_a_waiting_worker(bench: Bench):
    bench.stage.wait = 30.0
    bench.stage.script = ["nothing"]
    ending = threading.Timer(0.05, lambda: os.close(bench.life_write))
    ending.start()
    assert bench.worker.run() == 0
    ending.join()
    bench.life_write = os.dup(bench.life_read)


def test_sigterm_ends_a_worker_that_waits_for_its_next_try(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(w, "OPERATOR_SECONDS", 30.0)
    bench.stage.opens = [NotReady("no slot")]
    ending = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM))
    ending.start()
    assert bench.worker.run() == 0
    ending.join()
    assert bench.stage.log == ["open", "close"]


def test_a_paused_worker_does_not_listen_to_its_bell(bench: Bench):
    bench.stage.state = "paused"
    bench.bell.ring()
    reports = bench.run("nothing", "nothing")
    assert "woken" not in bench.stage.log
    assert states(reports) == ["starting", "paused"]


def test_a_long_step_reports_what_it_has_done_on_its_way(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(w, "REPORT_SECONDS", 0.0)
    progress = [report.progress for report in bench.run("long work") if report.state == "running"]
    assert progress[:4] == [0, 1, 2, 3]


def test_many_quick_steps_make_few_reports(bench: Bench):
    reports = bench.run(*["work"] * 500)
    assert len(reports) < 10


def test_roles_print_as_they_parse():
    for role in (Role("capture", "erp"), Role("resolve"), Role("deliver", "web_shop")):
        assert parse_role(str(role)) == role
    assert Role("capture", "erp").file_name == "capture-erp"


def test_an_assignment_is_read_by_many_from_one_descriptor():
    blueprint = Blueprint("cdcd.toml", Config(Daemon("acme", "/state"), {}), {}, {}, {})
    assignment = w.Assignment(blueprint, w.Wiring(1, 2, 3, {"resolve": 4}))
    fd = w.write_assignment(assignment)
    assert w.read_assignment(fd) == assignment
    assert w.read_assignment(fd) == assignment
    os.close(fd)

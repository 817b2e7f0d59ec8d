"""The supervisor's view of a worker: totals that never go back, states that say who is there."""

import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from cdcd.blueprint import Role
from cdcd.report import CaptureFigures, Counter, Report, now_us
from cdcd.wake import Bell
from cdcd.worker_process import Spawner, WorkerProcess


class AnyProcess(Spawner, frozen=True):
    """Starts a process that only sleeps."""

    def start(self, _role: Role):
        return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    bell = Bell.create()
    made = WorkerProcess(Role("capture", "erp"), bell, AnyProcess("cdcd.toml", 0, ()))
    made.start()
    yield made
    made.kill()
    ended(made)
    bell.close()


def ended(worker: WorkerProcess) -> int | None:
    """Wait for the process and let the worker notice."""
    process = worker._process
    if process is None:
        return None
    process.wait(30)
    assert process.stdin is not None
    process.stdin.close()
    return worker.reap()


def report(worker: WorkerProcess, count: int, **changes: object) -> Report:
    made = Report(
        role="capture:erp",
        pid=worker.pid,
        at_us=now_us(),
        state="running",
        state_since_us=1,
        progress=count,
        counters=(Counter("captured_changes", ("erp",), count),),
    )
    return msgspec.structs.replace(made, **changes)


def captured(worker: WorkerProcess) -> int:
    return next(c.value for c in worker.counters() if c.name == "captured_changes")


def test_totals_go_on_growing_over_restarts(worker: WorkerProcess):
    worker.take(report(worker, 10))
    worker.kill()
    assert ended(worker) == -9
    assert captured(worker) == 10
    worker.start()
    assert captured(worker) == 10
    worker.take(report(worker, 3))
    assert captured(worker) == 13
    assert Counter("worker_restarts", ("capture:erp",), 1) in worker.counters()


def test_a_late_report_of_the_predecessor_is_not_counted_again(worker: WorkerProcess):
    late = report(worker, 10)
    worker.take(late)
    worker.kill()
    ended(worker)
    worker.start()
    worker.take(late)
    assert captured(worker) == 10
    assert worker.status().state == "starting"


def test_a_worker_is_down_until_its_next_process_and_starting_until_its_first_report(worker: WorkerProcess):
    assert worker.status().state == "starting"
    worker.take(report(worker, 1, state="retrying"))
    assert worker.status().state == "retrying"
    worker.kill()
    ended(worker)
    status = worker.status()
    assert status.state == "down"
    assert status.error is not None
    assert status.error.what == "capture:erp ended by signal 9"
    assert worker.start_due_seconds() is not None


def test_an_unexpected_end_waits_and_a_wanted_one_does_not(worker: WorkerProcess):
    worker.kill()
    ended(worker)
    due = worker.start_due_seconds()
    assert due is not None
    assert 0 < due <= 0.2
    worker.start()
    worker.restart()
    ended(worker)
    assert worker.start_due_seconds() == 0.0
    assert worker.counters()[-1].value == 1


def test_less_ahead_of_a_capture_is_movement_and_more_is_not(worker: WorkerProcess):
    def heard(at_us: int, lag_bytes: int) -> int:
        worker.take(report(worker, 5, at_us=at_us, figures=CaptureFigures(lag_bytes=lag_bytes)))
        return worker.status().moved_at_us

    assert heard(1_000, 500) == 1_000
    assert heard(2_000, 600) == 1_000
    assert heard(3_000, 100) == 3_000

"""The supervisor's view of one worker: its process, what it last reported, and when it is started again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from cdcd.backoff import Backoff
from cdcd.blueprint import Role
from cdcd.forking import Process, Template, WorkerRequest, public_environment
from cdcd.report import CaptureFigures, Counter, DeliverFigures, ErrorNote, Report, WorkerState, now_us
from cdcd.status import WorkerStatus
from cdcd.wake import Bell

STEADY_SECONDS: Final = 10.0
"""A worker that ended after so long was not in a loop of starting and failing: the next one starts at once."""


class Spawner(msgspec.Struct, frozen=True):
    """What it takes to start a worker: the configuration's name, for the process list, and what it inherits."""

    file: str
    assignment: int
    descriptors: tuple[int, ...]
    template: Template | None = None

    def start(self, role: Role) -> Process:
        """Start the worker of a role. Call it from the main thread: the worker dies with the thread that made it."""
        return self._forked(role) or self._executed(role)

    def _forked(self, role: Role) -> Process | None:
        """By the template, which has imported already what a worker needs."""
        if self.template is None:
            return None
        asked = self.template.ask(WorkerRequest(str(role), self.file), (self.assignment, *self.descriptors))
        return asked.process() if asked is not None else None

    def _executed(self, role: Role) -> Process:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cdcd.worker", str(role), self.file, str(self.assignment)],
            stdin=subprocess.DEVNULL,
            pass_fds=(self.assignment, *self.descriptors),
            env=public_environment(),
        )


class WorkerProcess:
    """One role: started, watched, ended, started again."""

    def __init__(self, role: Role, bell: Bell, spawner: Spawner) -> None:
        self.role = role
        self.bell = bell
        self._spawner = spawner
        self._process: Process | None = None
        self._backoff = Backoff()
        self._started_at = 0.0
        self._start_at = 0.0
        self._restarts = 0
        self._asked_to_end = False
        self._changed_at_us = now_us()
        self._moved_at_us = now_us()
        self._report: Report | None = None
        self._error: ErrorNote | None = None
        self._counted: dict[tuple[str, tuple[str, ...]], int] = {}
        """What the present process has counted, as far as it has told us."""
        self._earlier: dict[tuple[str, tuple[str, ...]], int] = {}

    @property
    def restarting(self) -> bool:
        """Whether we ended the process ourselves."""
        return self._asked_to_end

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its pid, 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def running_seconds(self) -> float:
        """How long ago the process was started, 0 when there is none."""
        return time.monotonic() - self._started_at if self.alive else 0.0

    def start_due_seconds(self) -> float | None:
        """How long until it is to be started, None while it runs."""
        return None if self.alive else max(0.0, self._start_at - time.monotonic())

    def start(self) -> None:
        """Start the process."""
        assert self._process is None, f"{self.role} runs already"
        self._process = self._spawner.start(self.role)
        self._started_at = time.monotonic()
        self._asked_to_end = False
        self._changed_at_us = now_us()

    def follow(self, spawner: Spawner) -> None:
        """Start the next process with another configuration, as soon as it is to be started."""
        self._spawner = spawner
        self._start_at = 0.0
        self._backoff.reset()

    def restart(self) -> None:
        """Have the present process finish its step and end; a new one starts at once. For changed switches."""
        self._start_at = 0.0
        self._backoff.reset()
        self.end()

    def end(self) -> None:
        """Ask the process to finish its step and exit."""
        if self._process is not None:
            self._asked_to_end = True
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process without asking."""
        if self._process is not None:
            self._process.kill()

    def reap(self) -> int | None:
        """Notice that the process has ended and plan the next one; return how it ended, None when it has not."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return None
        self._process = None
        self._changed_at_us = now_us()
        self._settle_counters()
        if self._asked_to_end:
            self._start_at = 0.0
            return code
        if time.monotonic() - self._started_at >= STEADY_SECONDS:
            self._backoff.reset()
        self._restarts += 1
        self._start_at = time.monotonic() + self._backoff.next_seconds()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        cause = self._report.error.what if code > 0 and self._report is not None and self._report.error else ""
        remedy = "its log lines tell where; if it repeats, report it"
        self._error = ErrorNote("worker-ended", f"{self.role} ended {how}", cause, remedy, now_us())
        return code

    def take(self, report: Report) -> None:
        """Remember what the process says of itself."""
        if report.pid != self.pid:
            return  # from a predecessor, already accounted for
        last = self._report
        if last is None or last.pid != report.pid or _moved(last, report):
            self._moved_at_us = report.at_us
        self._report = report
        self._counted |= {(counter.name, counter.labels): counter.value for counter in report.counters}
        self._error = report.error or self._error

    def _settle_counters(self) -> None:
        """Add what this life counted to the earlier ones, so that totals never go back."""
        for key, value in self._counted.items():
            self._earlier[key] = self._earlier.get(key, 0) + value
        self._counted.clear()

    def counters(self) -> list[Counter]:
        """Totals over all lives of this worker, as far as they were reported."""
        totals = dict(self._earlier)
        for key, value in self._counted.items():
            totals[key] = totals.get(key, 0) + value
        found = [Counter(name, labels, value) for (name, labels), value in totals.items()]
        return [*found, Counter("worker_restarts", (str(self.role),), self._restarts)]

    def status(self) -> WorkerStatus:
        """As it is shown."""
        report = self._report
        figures = report.figures if report is not None else None
        known = figures if isinstance(figures, CaptureFigures | DeliverFigures) else None
        if self._process is None or report is None or report.pid != self.pid:
            state = "down" if self._process is None else "starting"
            heard_us = self._changed_at_us
            position = report.position if report is not None else ""
            return WorkerStatus(
                "down" if state == "down" else "starting",
                heard_us,
                self.pid,
                self._restarts,
                heard_us,
                self._moved_at_us,
                position,
                self._error,
                known,
            )
        return WorkerStatus(
            report.state,
            report.state_since_us,
            self.pid,
            self._restarts,
            report.at_us,
            self._moved_at_us,
            report.position,
            self._error,
            known,
            report.waiting_since_us,
        )


def _moved(last: Report, report: Report) -> bool:
    """Whether anything got done between two reports: for a capture in a long transaction, that less lies ahead."""
    if (last.progress, last.position, last.state) != (report.progress, report.position, report.state):
        return True
    before, after = last.figures, report.figures
    return (
        isinstance(before, CaptureFigures) and isinstance(after, CaptureFigures) and after.lag_bytes < before.lag_bytes
    )


class Crew:
    """All workers, for the operator's verbs (see `operations.desk.Crew`)."""

    def __init__(self, workers: Mapping[Role, WorkerProcess]) -> None:
        self._workers = workers

    def state(self, role: Role) -> WorkerState:
        """What the worker last said of itself."""
        worker = self._workers.get(role)
        return "down" if worker is None else worker.status().state

    def restart(self, role: Role) -> None:
        """Have the worker finish its step and begin anew."""
        if role in self._workers:
            self._workers[role].restart()

    def ring(self, role: Role) -> None:
        """Have the worker look whether there is something new."""
        if role in self._workers:
            self._workers[role].bell.ring()

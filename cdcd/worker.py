"""A worker process: drives one loop until it is told to end.

The supervisor has the template fork it (see `template`), or starts it (`python -P -m cdcd.worker ROLE CONFIG FD`), and
hands down open descriptors, FD among them, which holds the `Assignment`. CONFIG is for the process list only. The worker
waits for events only: its bell, its source, signals, the supervisor's death. What goes wrong becomes a state with an error
that people can see, and is tried again; a defect or a failed disk ends the process, and the supervisor starts another.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from cdcd import core_dumps, logs, stages, storage
from cdcd.backoff import Backoff
from cdcd.blueprint import Blueprint, Role, parse_role
from cdcd.config import use_state_key
from cdcd.death_signal import end_with_the_supervisor
from cdcd.errors import CdcdError, ConfigError, Fenced, Unavailable
from cdcd.report import (
    HEARTBEAT_SECONDS,
    REPORT_SECONDS,
    Counter,
    ErrorNote,
    Report,
    Sender,
    WorkerState,
    error_note,
    now_us,
)
from cdcd.sign_of_life import SignsOfLife
from cdcd.sqlite_driver import sqlite
from cdcd.stages.stage import Stage, is_storage_failure
from cdcd.state_directory import Lock, StateDirectory
from cdcd.wake import Bell, Signals, wait

OPERATOR_SECONDS: Final = 60.0
GC_THRESHOLD: Final = (50_000, 20, 100)
"""A batch is thousands of small lists and no cycles: looking for some after every 700 costs a fifth of resolve, half of fold."""
_FENCED_NEXT: Final = "it is not tried again by itself, only by 'cdcd resume SYSTEM'"
_CONFIG_NEXT: Final = (
    "then it is tried again within a minute, at once by 'cdcd resume SYSTEM'; a changed file needs 'cdcd reload'"
)
_log: Final = logging.getLogger("cdcd.worker")


class Wiring(msgspec.Struct, frozen=True):
    """Descriptors a worker inherits: where reports go, the supervisor's life, bells by role."""

    supervisor_pid: int
    report: int
    life: int
    bells: dict[str, int]

    def descriptors(self) -> list[int]:
        """All of them."""
        return [self.report, self.life, *self.bells.values()]

    def renumbered(self, descriptors: Sequence[int]) -> Wiring:
        """The same in a process that has them under other numbers, given in the order of `descriptors`."""
        report, life, *bells = descriptors
        return Wiring(self.supervisor_pid, report, life, dict(zip(self.bells, bells, strict=True)))


class Assignment(msgspec.Struct, frozen=True):
    """What the supervisor hands to all its workers."""

    blueprint: Blueprint
    wiring: Wiring


def write_assignment(assignment: Assignment) -> int:
    """A descriptor of an anonymous file that holds it (memfd_create(2)): nothing of it is on any disk."""
    fd = os.memfd_create("cdcd-assignment", os.MFD_CLOEXEC)
    encoded = memoryview(msgspec.msgpack.encode(assignment))
    while encoded:
        encoded = encoded[os.write(fd, encoded) :]
    return fd


def read_assignment(fd: int) -> Assignment:
    """What `write_assignment` wrote. By offset: the descriptor's own place in the file is shared by all workers."""
    return msgspec.msgpack.decode(os.pread(fd, os.fstat(fd).st_size, 0), type=Assignment)


class Worker:
    """Drives one stage: steps while there is work, waits for events, retries what fails, reports."""

    def __init__(self, role: Role, stage: Stage, wiring: Wiring, signals: Signals) -> None:
        self._role = role
        self._stage = stage
        stage.pulse = self._pulse
        self._life = wiring.life
        self._bells = {name: Bell(fd) for name, fd in wiring.bells.items()}
        self._bell = self._bells[str(role)]
        self._signs = SignsOfLife(Sender(wiring.report))
        self._signals = signals
        self._backoff = Backoff()
        self._ended = False
        self._state: WorkerState = "starting"
        self._state_since_us = now_us()
        self._error: ErrorNote | None = None
        self._is_fenced = False
        self._errors: dict[str, int] = {}
        self._reported_at = float("-inf")
        self._reported: tuple[WorkerState, int] | None = None
        self._was_woken = False
        """Whether an event ended the last wait: then there is news, as far as is worth to know before a report is due."""

    def run(self) -> int:
        """Work until told to end; return the exit code. A failed state directory raises."""
        self._enter("starting")
        while not self._ended:
            try:
                self._enter(self._stage.open())
                self._drive()
            except Unavailable as error:
                self._note(error, "retrying")
            except CdcdError as error:
                self._stop_for(error)
            except sqlite.DatabaseError as error:
                self._stop_for(storage.translated(error))
            finally:
                self._stage.close()
            gc.collect()  # a failed attempt leaves cycles (a TLS context is a MiB), and a server may be away for days
            if not self._ended:
                self._sit(self._pause_seconds())
        return 0

    def _stop_for(self, error: CdcdError) -> None:
        self._note(_for_a_person(error), "stopped")
        if is_storage_failure(error):
            raise error

    def _pause_seconds(self) -> float:
        """How long to wait before the next try.

        For ever where another daemon took over: to open the target again would fence that one, which would take it back, and so on.
        """
        if self._state == "retrying":
            return self._backoff.next_seconds()
        return math.inf if self._is_fenced else OPERATOR_SECONDS

    def _drive(self) -> None:
        """Step and wait until told to end, or until something raises."""
        started_at = self._stage.progress()
        while not self._ended:
            has_more = self._stage.step()
            for name in self._stage.news():
                self._bells[name].ring()
            if self._backoff.attempts and self._stage.progress() != started_at:
                self._backoff.reset()
            self._enter(self._stage.tick())
            self._report()
            self._wait(0.0 if has_more else self._stage.wait_seconds())

    def _wait(self, seconds: float) -> None:
        """Until an event, or that long; with 0 only look."""
        bell = [] if self._state == "paused" else [self._bell.fd]
        seconds = min(seconds, self._report_due_seconds()) if seconds else 0.0
        sources = self._stage.filenos()
        ready = wait([self._signals.fileno(), self._life, *bell, *sources], seconds)
        self._was_woken = bool(ready)
        self._look_for_the_end(ready)
        if not ready.isdisjoint(sources):
            self._stage.arrived()
        if self._bell.fd in ready:
            self._bell.silence()
            self._stage.woken()

    def _sit(self, seconds: float) -> None:
        """Wait before trying again; only the end interrupts it."""
        until = time.monotonic() + seconds
        while not self._ended and (left := until - time.monotonic()) > 0:
            self._report()
            ready = wait([self._signals.fileno(), self._life], min(left, self._report_due_seconds()))
            self._look_for_the_end(ready)

    def _look_for_the_end(self, ready: set[int]) -> None:
        told = self._signals.fileno() in ready and signal.SIGTERM in self._signals.take()
        self._ended = self._ended or told or self._life in ready

    def _note(self, error: CdcdError, state: WorkerState) -> None:
        """Make an error visible. The same one again is not logged again."""
        repeated = self._error is not None and (self._error.code, self._error.what) == (error.code, error.what)
        if not (repeated and self._state == state):
            _log.log(logging.WARNING if state == "retrying" else logging.ERROR, state, extra=logs.fields(error))
        self._error = error_note(error)
        self._is_fenced = isinstance(error, Fenced)
        self._errors[error.code] = self._errors.get(error.code, 0) + 1
        self._enter(state)

    def _enter(self, state: WorkerState) -> None:
        if state != self._state:
            if state == "running" and self._state != "starting":
                _log.info("running again", extra={"after": self._state})
            elif state == "journal-full":
                _log.error(
                    "the journal is full, capture waits",
                    extra={"next": "'cdcd journal prune' makes room; or raise journal.max-size"},
                )
            elif state == "outbox-full":
                _log.error("the outbox is full, resolve waits", extra={"next": "see which target is away: cdcd status"})
            self._state, self._state_since_us = state, now_us()
        if self._reported is None or self._reported[0] != state:
            self._report()

    def _report_due_seconds(self) -> float:
        """How long until the next report is due: soon when there is news, or may be, else a sign of life."""
        left = self._reported_at + REPORT_SECONDS - time.monotonic()
        if self._was_woken and left > 0:
            return left
        news = self._signs.is_behind or self._reported != (self._state, self._stage.progress())
        due = self._reported_at + (REPORT_SECONDS if news else HEARTBEAT_SECONDS)
        return max(0.0, due - time.monotonic())

    def _pulse(self) -> None:
        """Called for every run of rows of a step: nothing is computed until a report could be due."""
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        is_known = self._reported is not None and self._reported[0] == self._state
        if is_known and (time.monotonic() - self._reported_at < REPORT_SECONDS or self._report_due_seconds() > 0):
            return
        now = (self._state, self._stage.progress())
        errors = [Counter("errors", (str(self._role), code), count) for code, count in self._errors.items()]
        report = Report(
            role=str(self._role),
            pid=os.getpid(),
            at_us=now_us(),
            state=self._state,
            state_since_us=self._state_since_us,
            position=self._stage.position(),
            progress=now[1],
            counters=tuple(self._stage.counters() + errors),
            figures=self._stage.figures(),
            error=self._error,
        )
        if self._signs.send(report):
            self._reported = now
        self._reported_at = time.monotonic()


def _for_a_person(error: CdcdError) -> CdcdError:
    """With what becomes of it by itself, where that is not plain: only secrets and drivers can heal a configuration."""
    follows = _FENCED_NEXT if isinstance(error, Fenced) else _CONFIG_NEXT if isinstance(error, ConfigError) else ""
    error.remedy = "; ".join(filter(None, [error.remedy, follows]))
    return error


def main(arguments: list[str]) -> int:
    """Run the worker that the supervisor asked for, in a process of its own making."""
    return work(parse_role(arguments[0]), int(arguments[2]))


def work(role: Role, assignment_fd: int, wired: Sequence[int] = ()) -> int:
    """Be the worker of a role until told to end; return the exit code. `wired` see `Wiring.renumbered`."""
    logs.setup(str(role))
    core_dumps.forbid()
    assignment = read_assignment(assignment_fd)
    wiring, blueprint = assignment.wiring, assignment.blueprint
    wiring = wiring.renumbered(wired) if wired else wiring
    os.close(assignment_fd)
    for fd in wiring.descriptors():
        os.set_inheritable(fd, False)
    if not end_with_the_supervisor(wiring.supervisor_pid):
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the terminal; the supervisor passes it on
    use_state_key(blueprint.config)
    directory = StateDirectory(Path(blueprint.config.daemon.state_dir))
    lock = Lock(directory.lock(role.file_name))
    lock.acquire(wait=True, note=False)
    gc.set_threshold(*GC_THRESHOLD)
    signals = Signals([signal.SIGTERM])
    try:
        return Worker(role, stages.build(role, blueprint, directory), wiring, signals).run()
    finally:
        lock.release()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

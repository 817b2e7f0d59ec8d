"""The supervisor: starts one worker per loop, hears them, starts them again, answers people, tells systemd.

One thread does everything by event; web requests come from other threads through a `Mailbox`. It touches no database
server: those that do are workers, and the checks before the start are a process of their own.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import signal
import time
from typing import Final

from cdcd import health, logs, notify, operations
from cdcd.blueprint import Blueprint, Role
from cdcd.config import parse_duration, parse_size
from cdcd.control import Answer, Ready, Request, Server
from cdcd.mailbox import Mailbox
from cdcd.operations.desk import Desk
from cdcd.report import Counter, Receiver, now_us
from cdcd.state_directory import Lock, StateDirectory
from cdcd.status import DaemonStatus, Observer
from cdcd.storage import StorageError
from cdcd.wake import Bell, Signals, wait
from cdcd.worker import Assignment, Wiring, write_assignment
from cdcd.worker_process import Crew, Spawner, WorkerProcess

HOUSEKEEPING_SECONDS: Final = 5.0
TRIM_SECONDS: Final = 60.0
TRIM_PAUSE_SECONDS: Final = 0.05
TRIM_ENTRIES: Final = 10_000
STOP_SECONDS: Final = 30.0
STATUS_SECONDS: Final = 0.5
_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log: Final = logging.getLogger("cdcd.supervisor")


def version() -> str:
    """The installed version of cdcd."""
    return importlib.metadata.version("cdcd")


class Supervisor:
    """One daemon. Create it holding the state directory's lock, `start` it, then `run` it to its end."""

    def __init__(self, blueprint: Blueprint, directory: StateDirectory, lock: Lock) -> None:
        self._blueprint = blueprint
        self._directory = directory
        self._lock = lock
        self._observer = Observer(blueprint, directory)
        self._receiver = Receiver()
        self._bells = {role: Bell.create() for role in blueprint.roles()}
        self._life_read, self._life_write = os.pipe()
        self.mailbox = Mailbox(self._current_status)
        self._workers = self._make_workers()
        self._desk = Desk(blueprint, self._observer.journal, self._observer.state, Crew(self._workers))
        self._control = Server(directory.control_socket)
        self._signals = Signals([*_STOPS, signal.SIGCHLD])
        self._max_bytes = parse_size(blueprint.config.journal.max_size)
        self._keep_us = int(parse_duration(blueprint.config.journal.keep) * 1e6)
        self._started_at_us = now_us()
        self._stop_by: float | None = None
        self._kept_house_at = self._trim_at = float("-inf")
        self._ready = False
        self._status: DaemonStatus | None = None
        self._status_at = float("-inf")

    def _make_workers(self) -> dict[Role, WorkerProcess]:
        wiring = Wiring(
            supervisor_pid=os.getpid(),
            report=self._receiver.workers_fd,
            life=self._life_read,
            bells={str(role): bell.fd for role, bell in self._bells.items()},
        )
        assignment = write_assignment(Assignment(self._blueprint, wiring))
        spawner = Spawner(self._blueprint.file, assignment, tuple(wiring.descriptors()))
        return {role: WorkerProcess(role, bell, spawner) for role, bell in self._bells.items()}

    def start(self) -> None:
        """Start all workers."""
        for worker in self._workers.values():
            worker.start()
        _log.info(
            "started",
            extra={"daemon": self._blueprint.config.daemon.name, "workers": len(self._workers), "pid": os.getpid()},
        )

    def run(self) -> int:
        """Serve until told to stop and all workers have ended; return the exit code."""
        while self._stop_by is None or any(worker.alive for worker in self._workers.values()):
            ready = wait(self._filenos(), self._wait_seconds())
            self._take_signals()
            for report in self._receiver.take():
                self._workers[_role_named(self._workers, report.role)].take(report)
            self._look_after_workers()
            self._control.serve(ready, self._handle)
            self.mailbox.answer()
            self._housekeeping()
        self._close()
        return 0

    def _filenos(self) -> list[int]:
        return [
            self._signals.fileno(),
            self._receiver.fileno(),
            self.mailbox.fileno(),
            *self._control.filenos(),
        ]

    def _wait_seconds(self) -> float:
        waits = [HOUSEKEEPING_SECONDS]
        if self._stop_by is not None:
            waits.append(self._stop_by - time.monotonic())
        else:
            due = [worker.start_due_seconds() for worker in self._workers.values()]
            waits += [seconds for seconds in due if seconds is not None]
            waits.append(self._trim_at - time.monotonic())
        return max(0.0, min(waits))

    # ---- workers ------------------------------------------------------------------------------------------

    def _look_after_workers(self) -> None:
        for role, worker in self._workers.items():
            code = worker.reap()
            if code is not None and self._stop_by is None and not worker.restarting:
                _log.warning("worker ended", extra={"worker": str(role), "code": code})
            if self._stop_by is None and worker.start_due_seconds() == 0.0:
                worker.start()
        if self._stop_by is not None and time.monotonic() >= self._stop_by:
            for worker in self._workers.values():
                worker.kill()

    def _take_signals(self) -> None:
        for number in self._signals.take() & set(_STOPS):
            self.stop(signal.Signals(number).name)

    def stop(self, reason: str) -> None:
        """Let every worker finish its step and end; asked a second time, end them at once."""
        if self._stop_by is not None:
            self._stop_by = time.monotonic()
            return
        _log.info("stopping", extra={"reason": reason})
        notify.notify("STOPPING=1", "STATUS=stopping")
        self._stop_by = time.monotonic() + STOP_SECONDS
        for worker in self._workers.values():
            worker.end()

    # ---- people -------------------------------------------------------------------------------------------

    def _handle(self, request: Request) -> Answer | Ready:
        if request.command == "status":
            self._status = None  # who has just paused a system wants to see it paused
            return Answer(ok=True, result=self._current_status())
        if request.command == "stop":
            self.stop("asked by an operator")
            return Answer(ok=True, result={"stopping": True})
        return operations.handle(self._desk, request)

    def _current_status(self) -> DaemonStatus:
        if self._status is None or time.monotonic() - self._status_at >= STATUS_SECONDS:
            workers = {role: worker.status() for role, worker in self._workers.items()}
            systems, resolve, journal = self._observer.observe(workers)
            counters: list[Counter] = [c for worker in self._workers.values() for c in worker.counters()]
            self._status = DaemonStatus(
                self._blueprint.config.daemon.name,
                version(),
                True,
                os.getpid(),
                now_us(),
                self._started_at_us,
                systems,
                resolve,
                journal,
                tuple(counters),
            )
            self._status_at = time.monotonic()
        return self._status

    # ---- housekeeping -------------------------------------------------------------------------------------

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if not self._ready and self._stop_by is None:
            self._look_whether_ready()
        if self._stop_by is None and now >= self._trim_at:
            self._trim()
        if now - self._kept_house_at < min(HOUSEKEEPING_SECONDS, (notify.watchdog_seconds() or 60.0) / 3):
            return
        self._kept_house_at = now
        if self._stop_by is None:
            self._tell_systemd()
        if self._observer.journal.size_bytes() >= self._max_bytes:
            self._trim_at = now  # captures wait for room

    def _trim(self) -> None:
        """Forget journal entries that are older than they need be kept, a little at a time."""
        journal, before_us = self._observer.journal, now_us() - self._keep_us
        # Bounded by seq as well: without, a journal in which nothing is old enough would be scanned each time.
        through = min(self._observer.state.needed_after, journal.seq_at(before_us))
        trimmed = 0
        try:
            trimmed = journal.trim(through, before_us, limit=TRIM_ENTRIES)
        except StorageError as error:  # a full disk, say: the next try may find room
            _log.error("the journal cannot be trimmed", extra=logs.fields(error))
        self._trim_at = time.monotonic() + (TRIM_SECONDS if trimmed < TRIM_ENTRIES else TRIM_PAUSE_SECONDS)

    def _look_whether_ready(self) -> None:
        """Ready means that every worker knows where it stands; a server that is down must not fail our start."""
        if all(worker.status().state not in ("down", "starting") for worker in self._workers.values()):
            self._ready = True
            notify.notify("READY=1")
            _log.info("ready")

    def _tell_systemd(self) -> None:
        """Feed the watchdog unless something is stuck that a restart would free."""
        status = self._current_status()
        stuck = [reason for reason in health.health(status) if reason.stuck]
        for reason in stuck:
            _log.error("stuck", extra={"worker": reason.role, "code": reason.code, "what": reason.message})
        notify.notify(f"STATUS={health.headline(status)}", *([] if stuck else ["WATCHDOG=1"]))

    def _close(self) -> None:
        self._control.close()
        self._observer.close()
        self._signals.close()
        self._receiver.close()
        self._lock.release()
        _log.info("stopped")


def _role_named(workers: dict[Role, WorkerProcess], name: str) -> Role:
    return next(role for role in workers if str(role) == name)

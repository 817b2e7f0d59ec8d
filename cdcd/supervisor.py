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
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from cdcd import barriers, health, logs, notify, operations, standby
from cdcd.blueprint import Blueprint, Role
from cdcd.config import parse_duration, parse_size
from cdcd.control import Answer, Ready, Request, Server, failure
from cdcd.errors import CdcdError, Fenced
from cdcd.failpoints import reach
from cdcd.forgetting.job import is_begun
from cdcd.forking import Template
from cdcd.mailbox import Mailbox
from cdcd.notices.watch import Watch
from cdcd.operations.desk import Desk
from cdcd.preflight import Outcome
from cdcd.reloading import Reload, changes, file_stamp
from cdcd.report import now_us
from cdcd.scheduling import scheduler
from cdcd.state_directory import Heartbeat, Lock, StateDirectory
from cdcd.status import DaemonStatus, Observer
from cdcd.storage import DiskFailed, StorageError
from cdcd.verifying.keeper import Keeper
from cdcd.wake import Signals, wait
from cdcd.web.daemon import Daemon
from cdcd.web.samples import Samples
from cdcd.web.site import Prepared, Site
from cdcd.worker_process import Crew
from cdcd.workforce import Workforce

HOUSEKEEPING_SECONDS: Final = 5.0
TRIM_SECONDS: Final = 60.0
TRIM_PAUSE_SECONDS: Final = 0.05
TRIM_ENTRIES: Final = 10_000
STOP_SECONDS: Final = 30.0
READY_SECONDS: Final = 60.0
"""So long READY is held back for a server that is away: it must not hold up the boot, or an upgrade, of our machine."""
STATUS_SECONDS: Final = 0.5
WAITED_FOR_SECONDS: Final = 0.05
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_log: Final = logging.getLogger("cdcd.supervisor")


def version() -> str:
    """The installed version of cdcd."""
    return importlib.metadata.version("cdcd")


class Supervisor:
    """One daemon. Create it holding the state directory's lock, `start` it, then `run` it to its end."""

    def __init__(
        self,
        blueprint: Blueprint,
        directory: StateDirectory,
        lock: Lock,
        *,
        stamp: tuple[int, int] = (0, 0),
        silent_since_us: int = 0,
        template: Template | None = None,
    ) -> None:
        """`stamp` is what the configuration's file was like when `blueprint` was drawn (`reloading.file_stamp`).

        `silent_since_us`: when the daemon that this one succeeds last gave a sign of life, 0 when it succeeds nobody.
        `template`: one that imports already.
        """
        self._directory = directory
        self._lock = lock
        self._heartbeat = Heartbeat(lock)
        self._observer = Observer(blueprint, directory)
        self._workforce = Workforce(blueprint, template)
        self._workers = self._workforce.workers
        self.mailbox = Mailbox(self._current_status)
        self._samples = Samples()
        page = Daemon(directory, self.mailbox.ask, self._samples.history, lambda: self._blueprint)
        self.site = Site(page)
        self._prepared: Prepared | None = None
        self._notices = Watch(directory, blueprint.config, self.mailbox.ask, version())
        self._verifications = Keeper(directory)
        self._crew = Crew(self._workers)
        self._control = Server(directory.control_socket)
        self._signals = Signals([*_STOPS, signal.SIGHUP, signal.SIGCHLD])
        # Hung up by its terminal a daemon ends; without one, this is how systemd asks for a reload.
        self._stops = {*_STOPS, signal.SIGHUP} if os.isatty(0) else {*_STOPS}
        self._started_at_us = now_us()
        self._silent_since_us = silent_since_us
        self._stop_by: float | None = None
        self._reload: Reload | None = None
        self._reload_again = False
        self._refused: tuple[tuple[int, int], CdcdError] | None = None
        self._kept_house_at = self._trim_at = float("-inf")
        self._failure: DiskFailed | None = None
        self._ready = False
        self._ready_by = float("inf")
        self._status: DaemonStatus | None = None
        self._status_at = float("-inf")
        barriers.take_all_down(self._observer.journal)
        self._follow(blueprint, stamp)

    def _follow(self, blueprint: Blueprint, stamp: tuple[int, int]) -> None:
        """Everything here that depends on the configuration; the observer and the workforce follow it already."""
        self._blueprint = blueprint
        self._stamp = stamp
        self._desk = Desk(blueprint, self._observer.journal, self._observer.state, self._crew)
        resolve = self._workers[Role("resolve")].bell
        self._scheduler = scheduler.of_daemon(blueprint, self._directory, self._observer, resolve)
        self._max_bytes = parse_size(blueprint.config.journal.max_size)
        self._keep_us = int(parse_duration(blueprint.config.journal.keep) * 1e6)
        self._notices.follow(blueprint.config)
        standby.remember(self._directory, standby.Running(blueprint, stamp))
        self._verifications.follow(blueprint)

    def start(self) -> None:
        """Start all workers."""
        self._workforce.start()
        self._ready_by = time.monotonic() + READY_SECONDS
        self._notices.start(self._lock.previous, silent_since_us=self._silent_since_us)
        _log.info(
            "started",
            extra={"daemon": self._blueprint.config.daemon.name, "workers": len(self._workers), "pid": os.getpid()},
        )

    def run(self) -> int:
        """Serve until told to stop and all workers have ended; return the exit code. Raises Fenced, DiskFailed."""
        while self._stop_by is None or self._workforce.alive:
            ready = wait(self._filenos(), self._wait_seconds())
            if self._heartbeat.lost:
                self._give_way()
            self._take_signals()
            self._workforce.hear()
            self._look_after_workers()
            self._go_on_reloading()
            self._control.serve(ready, self._handle)
            if self._failure is not None:
                raise self._failure
            if self._stop_by is None:
                self._scheduler.turn(now_us(), time.monotonic())
                self._verifications.turn(now_us(), time.monotonic())
            self.mailbox.answer()
            self._housekeeping()
        self._close()
        return 0

    def _filenos(self) -> list[int]:
        return [
            self._signals.fileno(),
            self._workforce.fileno(),
            self._heartbeat.fileno(),
            self.mailbox.fileno(),
            *self._control.filenos(),
        ]

    def _wait_seconds(self) -> float:
        waits = [HOUSEKEEPING_SECONDS]
        if self._stop_by is not None:
            waits.append(self._stop_by - time.monotonic())
        else:
            waits += [] if self._is_switching else self._workforce.start_due_seconds()
            waits.append(self._trim_at - time.monotonic())
            waits.append(self._scheduler.wait_seconds(now_us(), time.monotonic()))
            waits.append(self._verifications.wait_seconds(time.monotonic()))
        if self._reload is not None:
            waits.append(self._reload.end_by - time.monotonic())
        if self._control.is_waited_for:
            waits.append(WAITED_FOR_SECONDS)
        return max(0.0, min(waits))

    # ---- workers ------------------------------------------------------------------------------------------

    def _look_after_workers(self) -> None:
        for role, worker in self._workers.items():
            code = worker.reap()
            if code is not None and self._stop_by is None and not worker.restarting:
                _log.warning("worker ended", extra={"worker": str(role), "code": code})
        if self._stop_by is None and not self._is_switching:
            self._workforce.start()
        if self._stop_by is not None and time.monotonic() >= self._stop_by:
            self._workforce.kill()

    def _take_signals(self) -> None:
        signals = self._signals.take()
        for number in signals & self._stops:
            self.stop(signal.Signals(number).name)
        if signal.SIGHUP in signals - self._stops and self._stop_by is None:
            if self._reload is None:
                self._begin_reload(is_dry=False)
            else:
                self._reload_again = True  # the file may have been written anew since

    def stop(self, reason: str) -> None:
        """Let every worker finish its step and end; asked a second time, end them at once."""
        if self._stop_by is not None:
            self._stop_by = time.monotonic()
            return
        _log.info("stopping", extra={"reason": reason})
        self._notices.stop()
        self._verifications.stop()
        notify.notify("STOPPING=1", "STATUS=stopping")
        self._stop_by = time.monotonic() + STOP_SECONDS
        if self._reload is not None:
            stopping = CdcdError("the daemon is stopping", code="stopping", remedy="the next start reads the file")
            self._end_reload(failure(stopping))
        self._workforce.end()

    def _give_way(self) -> NoReturn:
        """Our lock is another daemon's. Nobody may write for us any more, and nothing of it is ours to clean up."""
        self._workforce.kill()
        raise Fenced(
            "another daemon has taken over this state directory",
            cause=f"{self._lock.path} is not ours any more: it belongs to {self._lock.holder() or 'nobody'}",
            remedy="'cdcd status' shows the one that runs; end it before you start this one again",
        )

    # ---- reloading ----------------------------------------------------------------------------------------

    def _begin_reload(self, *, is_dry: bool) -> Reload:
        if self._ready and not is_dry:
            notify.reloading()
        _log.info("reload: checking the configuration", extra={"file": self._blueprint.file})
        self._reload = Reload(Path(self._blueprint.file), is_dry=is_dry)
        return self._reload

    @property
    def _is_switching(self) -> bool:
        """Whether a new configuration was accepted, and the workers of the old one are to end."""
        return self._reload is not None and self._reload.outcome is not None

    def _go_on_reloading(self) -> None:
        reload = self._reload
        if reload is None:
            return
        if reload.outcome is None:
            self._check_reload(reload)
        elif not self._workforce.alive:
            self._switch(reload, reload.outcome)
        elif time.monotonic() >= reload.end_by:
            self._workforce.kill()

    def _check_reload(self, reload: Reload) -> None:
        """Refuse it as a whole, or begin to switch."""
        try:
            outcome = reload.checked(self._blueprint)
            self._prepared = None if outcome is None else self.site.prepare(outcome.blueprint.config)
        except CdcdError as error:
            _log.error("reload refused, going on as before", extra=logs.fields(error))
            if not reload.is_dry:
                self._refused = (reload.stamp, error)
                self._notices.note_refusal(error)
            self._end_reload(failure(error))
            return
        if outcome is None:
            return
        if reload.is_dry:
            self._discard_prepared()
            self._end_reload(self._reloaded(reload, outcome))
            return
        reload.outcome = outcome
        reload.end_by = time.monotonic() + STOP_SECONDS
        self._workforce.end()
        self._workforce.expect_change()

    def _switch(self, reload: Reload, outcome: Outcome) -> None:
        """No worker is there: go on with the new configuration."""
        answer = self._reloaded(reload, outcome)
        known = self._observer.state.get("vocabulary") or b""
        blueprint = msgspec.structs.replace(outcome.blueprint, vocabulary=known)
        self._observer.follow(blueprint)
        self._workforce.follow(blueprint)
        self._follow(blueprint, reload.stamp)
        if self._prepared is not None:
            self.site.adopt(self._prepared)
            self._prepared = None
        self._workforce.start()
        self._refused = self._status = None
        self._ready = False
        self._ready_by = time.monotonic() + READY_SECONDS
        _log.info("reloaded", extra={"workers": len(self._workers)})
        self._notices.note("reloaded", "daemon", f"{blueprint.file} was taken over")
        self._end_reload(answer)

    def _discard_prepared(self) -> None:
        if self._prepared is not None:
            self._prepared.discard()
            self._prepared = None

    def _reloaded(self, reload: Reload, outcome: Outcome) -> Answer:
        found = changes(self._blueprint, outcome.blueprint)
        file = self._blueprint.file
        result = {"file": file, "changes": found, "lines": found.lines(), "findings": outcome.findings}
        return Answer(
            ok=True,
            result={**result, "unreachable": outcome.unreachable, "reloaded": not reload.is_dry, "any": found.any},
        )

    def _end_reload(self, answer: Answer) -> None:
        assert self._reload is not None
        self._discard_prepared()
        self._reload.answer = answer
        self._reload.close()
        is_dry, self._reload = self._reload.is_dry, None
        if self._ready and not is_dry and self._stop_by is None:
            notify.notify("READY=1")
        if self._reload_again and self._stop_by is None:
            self._reload_again = False
            self._begin_reload(is_dry=False)

    # ---- people -------------------------------------------------------------------------------------------

    def _handle(self, request: Request) -> Answer | Ready:
        if request.command == "status":
            self._status = None  # who has just paused a system wants to see it paused
            return Answer(ok=True, result=self._current_status())
        if request.command == "stop":
            self.stop("asked by an operator")
            return Answer(ok=True, result={"stopping": True})
        if request.command == "reload":
            return self._handle_reload(is_dry=request.arguments.get("dry_run") is True)
        if request.command == "notify-test":
            return self._notices.trial(request.arguments.get("channel"))
        reach("supervisor.before-verb")
        try:
            answer = operations.handle(self._desk, request)
        except DiskFailed as error:
            self._failure = error  # when the operator has been told
            raise
        reach("supervisor.after-verb")
        return answer

    def _handle_reload(self, *, is_dry: bool) -> Ready:
        if self._stop_by is not None or self._reload is not None:
            raise CdcdError(
                "the daemon is stopping" if self._stop_by is not None else "a reload is under way",
                code="reload-busy",
                cause="there is one after the other",
                remedy="try again in a moment",
            )
        reload = self._begin_reload(is_dry=is_dry)
        return lambda: reload.answer

    def _current_status(self) -> DaemonStatus:
        if self._status is None or time.monotonic() - self._status_at >= STATUS_SECONDS:
            workers = {role: worker.status() for role, worker in self._workers.items()}
            systems, resolve, journal = self._observer.observe(workers)
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
                (*self._workforce.counters(), *self._notices.counters()),
                standby.waiting(self._directory),
                tuple(self._remarks()),
                self._observer.directory_status(),
                *self._observer.verified(),
            )
            self._status_at = time.monotonic()
        return self._status

    def _remarks(self) -> Iterator[str]:
        """What a person may have forgotten, or must know."""
        yield from self._notices.remarks()
        if is_begun(self._observer.journal):
            yield "a record is not wholly forgotten yet: 'cdcd forget --finish' goes on, if no 'cdcd forget' runs"
        file = self._blueprint.file
        stamp = file_stamp(Path(file))
        if self._refused is not None and stamp == self._refused[0]:
            yield f"{file} was not taken over: {self._refused[1].what} [{self._refused[1].code}]; 'cdcd reload' tells more"
        elif any(self._stamp) and stamp != self._stamp:
            yield f"{file} was changed since it was loaded: 'cdcd reload --dry-run' says what it would change"

    # ---- housekeeping -------------------------------------------------------------------------------------

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if not self._ready and self._stop_by is None:
            self._look_whether_ready()
        if self._stop_by is None and now >= self._trim_at:
            self._trim()
        if self._stop_by is None and not self._is_switching:
            self._workforce.spare_template()
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
        reach("supervisor.before-trim")
        try:
            trimmed = journal.trim(through, before_us, limit=TRIM_ENTRIES)
            reach("supervisor.after-trim")
        except DiskFailed:
            raise
        except StorageError as error:  # a full disk, say: the next try may find room
            _log.error("the journal cannot be trimmed", extra=logs.fields(error))
        self._trim_at = time.monotonic() + (TRIM_SECONDS if trimmed < TRIM_ENTRIES else TRIM_PAUSE_SECONDS)

    def _look_whether_ready(self) -> None:
        """Ready means that everything runs; or that we have waited for the rest long enough, and have said so."""
        missing = health.unready({str(role): worker.status() for role, worker in self._workers.items()})
        if missing and time.monotonic() < self._ready_by:
            return
        self._ready = True
        self._status = None
        since_us, self._silent_since_us = self._silent_since_us, 0
        extra = {"takeover_seconds": f"{(now_us() - since_us) / 1e6:.1f}"} if since_us else {}
        for reason in missing:
            _log.warning("ready without", extra={"worker": reason.role, "code": reason.code, "what": reason.message})
        _log.info("ready", extra=extra)
        # After the log: who waits for us to be ready finds there what is missing.
        notify.notify("READY=1", f"STATUS={health.headline(self._current_status())}")

    def _tell_systemd(self) -> None:
        """Feed the watchdog, and ask for time before we are ready, unless something is stuck that a restart would free."""
        status = self._current_status()
        self._samples.take(status)
        stuck = [reason for reason in health.health(status) if reason.stuck]
        for reason in stuck:
            _log.error("stuck", extra={"worker": reason.role, "code": reason.code, "what": reason.message})
        headline = health.headline(status)
        if stuck:
            notify.notify(f"STATUS=stuck: {', '.join(reason.role for reason in stuck)}; {headline}")
        elif self._ready:
            notify.notify(f"STATUS={headline}", "WATCHDOG=1")
        else:
            notify.extend_timeout(READY_SECONDS, f"waits until everything runs: {headline}")
            notify.notify("WATCHDOG=1")  # a reload is no start: the watchdog goes on

    def _close(self) -> None:
        self.mailbox.close()
        self._notices.close()
        self._verifications.close()
        self._control.close()
        self._observer.close()
        self._signals.close()
        self._workforce.close()
        self._heartbeat.close()
        self._lock.release(stopped=True)
        _log.info("stopped")

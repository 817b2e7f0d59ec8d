"""The supervisor's part: begins verifications when their time has come, and keeps the process that carries them out."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Final

from cdcd import logs
from cdcd.backoff import Backoff
from cdcd.blueprint import Blueprint
from cdcd.errors import CdcdError, NeedsOperator
from cdcd.forking import public_environment
from cdcd.resolve.plan import Plan
from cdcd.scheduling import schedule
from cdcd.scheduling.schedule import Run
from cdcd.sqlite_driver import sqlite
from cdcd.state_directory import StateDirectory
from cdcd.storage import DiskFailed, StorageError, translated
from cdcd.verifying import scratch, timetable
from cdcd.verifying.results import Asked, Results, path_in

LOOK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 60.0
_log: Final = logging.getLogger("cdcd.verifying")


class Keeper:
    """Turned by the supervisor's loop. Without schedules, and before anybody has asked for anything, it does nothing."""

    def __init__(self, directory: StateDirectory) -> None:
        self._directory = directory
        self._path = path_in(directory.path)
        self._results: Results | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff()
        self._look_at = self._start_at = float("-inf")
        self._timed: list[timetable.Timed] = []
        self._entities: tuple[str, ...] = ()
        self._plan: Plan | None = None
        self._is_forgotten = False
        """Whether how things stand that are not configured any more was forgotten."""

    def follow(self, blueprint: Blueprint) -> None:
        """Go by this configuration: what is under way begins its comparison anew."""
        self._timed = timetable.of_config(blueprint.config)
        self._entities = tuple(blueprint.config.entities)
        self._plan = blueprint.plan()
        self._is_forgotten = False
        self._start_at = self._look_at = float("-inf")
        self.stop()

    def turn(self, now_us: int, now: float) -> None:
        """Look what is to be done. `now` are seconds of a clock that never goes back. A file that fails is no reason to stop."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        try:
            self._look(now_us, now)
        except DiskFailed:
            raise
        except (StorageError, NeedsOperator) as error:
            self._give_up(error, now)
        except sqlite.DatabaseError as error:
            self._give_up(translated(error), now)

    def _give_up(self, error: CdcdError, now: float) -> None:
        _log.error("nothing can be verified", extra=logs.fields(error))
        self._look_at = now + AGAIN_SECONDS
        if self._results is not None:
            self._results.close()
            self._results = None

    def _look(self, now_us: int, now: float) -> None:
        if self._results is None and (self._timed or self._path.exists()):
            self._results = Results(self._path)
        results, plan = self._results, self._plan
        if results is None or plan is None:
            return
        if not self._is_forgotten:
            results.forget(timetable.parts(plan, self._entities))
            self._is_forgotten = True
        for timed in self._timed:
            self._begin_if_due(results, plan, timed, now_us)
        self._reap(now)
        if self._process is None and now >= self._start_at and results.has_work():
            self._process = self._started()

    def wait_seconds(self, now: float) -> float:
        """How long it need not be turned."""
        is_idle = not self._timed and not self._path.exists()
        return float("inf") if is_idle else max(0.0, self._look_at - now)

    def _begin_if_due(self, results: Results, plan: Plan, timed: timetable.Timed, now_us: int) -> None:
        considered_us = results.considered_us(timed.name)
        if considered_us is None:  # moments before the schedule was known were not missed
            results.consider(timed.name, now_us)
            return
        run = schedule.believed(timed.schedule, Run(considered_us), now_us)
        if not schedule.is_due(timed.schedule, run, now_us):
            return
        results.consider(timed.name, now_us)
        asked = Asked(timed.entities, scheduled=True)
        if any(known.asked == asked and known.state in ("waiting", "running") for known in results.runs()):
            _log.warning("a verification is due while the last one goes on", extra={"entities": len(timed.entities)})
            return
        results.ask(asked, timetable.parts(plan, timed.entities))

    # ---- the process -----------------------------------------------------------------------------------------

    def _started(self) -> subprocess.Popen[bytes]:
        """From the main thread: it dies with the thread that made it."""
        arguments = [str(self._directory.path), str(os.getpid())]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cdcd.verifying.process", *arguments],
            stdin=subprocess.DEVNULL,
            env=public_environment(),
        )

    def _reap(self, now: float) -> None:
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return
        self._process = None
        if code == 0:
            self._backoff.reset()
            return
        self._start_at = now + self._backoff.next_seconds()
        _log.warning("the verifying process ended", extra={"code": code})

    def stop(self) -> None:
        """End the process at once: it has nothing to lose."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        scratch.remove_left(self._directory.path)

    def close(self) -> None:
        """End it, and close the file."""
        self.stop()
        if self._results is not None:
            self._results.close()

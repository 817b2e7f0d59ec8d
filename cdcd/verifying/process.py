"""The process that verifies (`python -m cdcd.verifying.process STATE-DIRECTORY SUPERVISOR-PID`).

It works through the runs that are asked for in `verify.db`, one comparison after the other, and ends when there is none
left. Killed at any moment it leaves nothing but a comparison that begins anew. It writes to no system, and to nothing of
the state directory but its own files.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from msgspec import structs

from cdcd import logs, plugins, standby
from cdcd.adapter import Identity
from cdcd.blueprint import Blueprint
from cdcd.config import use_state_key
from cdcd.death_signal import end_with_the_supervisor
from cdcd.errors import CdcdError, Unavailable
from cdcd.report import now_us
from cdcd.resolve.plan import Plan
from cdcd.scheduling import schedule
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.verifying import candidates, live_records, reference, scratch, timetable
from cdcd.verifying.comparing import Comparing, NotComparable
from cdcd.verifying.line import RunningLine
from cdcd.verifying.live_records import Tables
from cdcd.verifying.pace import Cancelled, Pace, Wish
from cdcd.verifying.results import Comparison, Difference, Results, Run, path_in

ATTEMPTS: Final = 3
AGAIN_SECONDS: Final = 5.0
TELL_SECONDS: Final = 0.5
NICENESS: Final = 10
"""The line itself comes first."""
_log: Final = logging.getLogger("cdcd.verifying")


class Verifier:
    """Works on the runs of one state directory."""

    def __init__(self, blueprint: Blueprint, directory: StateDirectory, results: Results) -> None:
        self._blueprint = blueprint
        self._directory = directory
        self._results = results
        self._plan: Plan = blueprint.plan()

    def work(self) -> None:
        """All that there is."""
        while (run := self._results.next()) is not None:
            self._results.begin(run.id)
            try:
                for place, comparison in enumerate(run.comparisons):
                    if not comparison.is_over:
                        _Part(self._blueprint, self._plan, self._directory, self._results, run, place).compare()
            except Cancelled:
                _log.info("verification cancelled", extra={"run": run.id})
                continue
            self._results.end(run.id)
            found = self._results.run(run.id)
            drift = 0 if found is None else found.drift
            log = _log.warning if drift else _log.info
            log("verified", extra={"run": run.id, "drift": drift})


class _Part:
    """One comparison of a run."""

    def __init__(
        self, blueprint: Blueprint, plan: Plan, directory: StateDirectory, results: Results, run: Run, place: int
    ) -> None:
        self._blueprint = blueprint
        self._plan = plan
        self._directory = directory
        self._results = results
        self._run = run
        self._place = place
        self._begun = run.comparisons[place]
        self._schedule = timetable.schedule_of(blueprint.config, self._begun.subject)
        self._pace = Pace(blueprint.config.verify.rows_per_second, self._wish)
        self._told_at = float("-inf")

    def compare(self) -> None:
        """Compare, and keep what was found. Tried again where a server goes away. Raises Cancelled."""
        found, differences = self._tried()
        self._results.keep(self._run.id, self._place, found, differences, whole=self._run.asked.is_whole)
        log = _log.warning if found.drift or found.state == "failed" else _log.info
        subject = {"subject": found.subject, "system": found.system, "state": found.state}
        log("compared", extra={**subject, "records": found.records, "drift": found.drift})

    def _tried(self) -> tuple[Comparison, Sequence[Difference]]:
        attempt = 1
        while True:
            try:
                return self._compared()
            except NotComparable as refusal:
                return self._over("skipped", refusal.why), ()
            except CdcdError as error:
                if error.code == "not-running":
                    raise  # who starts the daemon again starts this one, too
                _log.warning("comparison failed", extra={"subject": self._begun.subject, **logs.fields(error)})
                if attempt == ATTEMPTS or not isinstance(error, Unavailable):
                    return self._over("failed", f"{error.what}: {error.cause}" if error.cause else error.what), ()
            attempt += 1
            time.sleep(AGAIN_SECONDS)

    def _over(self, state: str, why: str) -> Comparison:
        return structs.replace(self._begun, state=state, why=why, ended_at_us=now_us())

    def _compared(self) -> tuple[Comparison, Sequence[Difference]]:
        entity = self._plan.entities.get(self._begun.subject)
        if entity is None or self._begun.system not in entity.bindings:
            raise NotComparable("it is not configured any more")
        with self._comparing() as comparing:
            asked = self._run.asked
            if asked.keys:
                found = comparing.named(asked.keys)
            elif asked.where:
                found = comparing.chosen(asked.where)
            else:
                found = comparing.whole()
            return found, comparing.differences

    @contextmanager
    def _comparing(self) -> Iterator[Comparing]:
        path, begun = self._directory.path, self._begun
        found = self._blueprint.systems[begun.system]
        with ExitStack() as opened:
            known = opened.enter_context(reference.opened(self._plan, path))
            adapter = plugins.load(found.reference, extra=found.adapter)
            options = plugins.options(self._blueprint.config, self._blueprint.file, begun.system, adapter)
            identity = Identity(self._blueprint.config.daemon.name, begun.system, "")
            tables = Tables(opened.enter_context(closing(adapter.open_reader(identity, options))))
            rows = path / scratch.ROWS
            records = live_records.of_entity(self._plan, begun.subject, begun.system, tables, known, self._pace, rows)
            line = RunningLine(
                known,
                self._directory.control_socket,
                begun.system,
                is_source=found.is_source,
                is_target=found.is_target,
                look=self._pace.look,
            )
            left = opened.enter_context(candidates.opened(path / scratch.CANDIDATES))
            yield Comparing(known, records, left, line, begun, self._tell)

    def _tell(self, comparison: Comparison) -> None:
        if time.monotonic() >= self._told_at + TELL_SECONDS:
            self._results.keep(self._run.id, self._place, comparison)
            self._told_at = time.monotonic()

    def _wish(self) -> Wish:
        wish = self._results.wish(self._run.id)
        is_closed = self._run.asked.scheduled and not schedule.in_window(self._schedule, now_us())
        return "pause" if wish == "go-on" and is_closed else wish


def main(arguments: list[str]) -> int:
    """Verify what is asked for."""
    logs.setup("verify")
    directory = StateDirectory(Path(arguments[0]))
    if not end_with_the_supervisor(int(arguments[1])):
        return 0
    os.nice(NICENESS)
    running = standby.remembered(directory.running)
    if running is None:
        _log.error("nothing is verified", extra={"cause": f"{directory.running} cannot be read"})
        return 1
    blueprint = running.blueprint
    use_state_key(blueprint.config)
    with closing(State(directory.state, read_only=True)) as state:
        blueprint = structs.replace(blueprint, vocabulary=state.get("vocabulary") or b"")
    try:
        with closing(Results(path_in(directory.path))) as results:
            Verifier(blueprint, directory, results).work()
    except CdcdError as error:
        _log.error("verification stopped", extra=logs.fields(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

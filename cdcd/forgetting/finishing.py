"""The part of forgetting that the command does itself: journal, deliverers' files, the note that it was done, the bytes.

Every step may be repeated, and what is left to do is read from the files: so `finish` goes on wherever an earlier one was
killed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from cdcd.failpoints import reach
from cdcd.forgetting import job as jobs
from cdcd.forgetting.entries import JournalEraser
from cdcd.forgetting.files import compact, erase_from_deliverers, erase_from_verifications
from cdcd.forgetting.job import CONTROL, Job, Tombstone
from cdcd.journal import Journal
from cdcd.report import now_us
from cdcd.resolve.plan import Plan
from cdcd.state import State
from cdcd.state_directory import StateDirectory

Progress = Callable[[int], None]


class Finisher:
    """Finishes what resolve has begun, in one state directory."""

    def __init__(
        self, directory: StateDirectory, plan: Plan, note: Callable[[Tombstone], None], progress: Progress
    ) -> None:
        """`note` has resolve keep a tombstone in the place of the job, and returns when it has."""
        self._directory = directory
        self._plan = plan
        self._note = note
        self._progress = progress

    def finish(self, seq: int) -> None:
        """Erase everything but the bytes of one job, and see that it is noted."""
        with ExitStack() as opened:
            journal = opened.enter_context(closing(Journal(self._directory.journal)))
            state = opened.enter_context(closing(State(self._directory.state, read_only=True)))
            job = jobs.job_of(state, seq)
            if job is not None:
                self._note(self._erase(journal, job))
            journal.set_control(f"{CONTROL}{seq}", "")

    def _erase(self, journal: Journal, job: Job) -> Tombstone:
        journal.database.connection.execute("PRAGMA secure_delete=ON")
        rows = JournalEraser(self._plan, journal, job, self._progress).erase()
        root = next(entity for entity in self._plan.entities.values() if entity.number == job.entity)
        family = [entity.number for entity in self._plan.entities.values() if entity.family == root.name]
        parked = erase_from_deliverers(self._directory, self._plan, family, job)
        verified = erase_from_verifications(self._directory, self._plan, family, job)
        reach("forget.before-note")
        counts = {**job.counts, "journal": rows, "parked": parked, "verified": verified}
        left = {name: count for name, count in counts.items() if count}
        return Tombstone(job.seq, job.entity, now_us(), job.by, job.salt, job.digest, left)

    def compact(self, done: Callable[[Path], None] = lambda _path: None) -> None:
        """Have no byte of what was erased left in any file, and remember nothing of what was begun."""
        compact(sorted(self._directory.path.glob("*.db")), done)
        with closing(Journal(self._directory.journal)) as journal:
            for name in [name for name in journal.controls() if name.startswith(CONTROL)]:
                journal.set_control(name, None)

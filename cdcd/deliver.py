"""deliver: one target's outbox units into its tables, checkpoint in the same transaction (Invariant 4).

A step takes whole units, folds them, writes them and publishes how far it came. What the target refuses for good is
isolated by halving and parked by record; everything else flows (Invariant 9). What the target cannot take just now is
`Unavailable`, which the loop around us answers by opening everything anew: the checkpoint says where to go on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

from cdcd import outbox
from cdcd.adapter import Target
from cdcd.errors import CdcdError, NeedsOperator, Refused
from cdcd.fold import Folder
from cdcd.folded import Folded, Grouped, subgroups
from cdcd.journal import Command, Journal
from cdcd.model import Batch
from cdcd.outbox import AppliedMark, StoredUnits, Unit
from cdcd.parked import Parked, ParkedRecords, Subject
from cdcd.resolve.plan import Plan
from cdcd.state import State
from cdcd.values import ValueRefused

_log: Final = logging.getLogger(__name__)


class Deliverer:
    """The deliver loop's state for one target."""

    def __init__(
        self,
        system: str,
        plan: Plan,
        target: Target,
        state: State,
        journal: Journal,
        parked: ParkedRecords,
        applied: AppliedMark,
    ) -> None:
        """`state` is only read; `journal` resolves the shapes of plain copies and takes retries as commands."""
        self.counts: Counter[str] = Counter()
        self.parked = parked
        self._system = system
        self._plan = plan
        self._target = target
        self._state = state
        self._journal = journal
        self._applied = applied
        self._unit = 0
        self._row = 0
        self._folder: Folder | None = None
        self._ahead: list[StoredUnits] = []
        self._parked_now: set[Subject] = set()

    def start(self) -> None:
        """Take over the target and learn where it stands. Raises NeedsOperator when its checkpoint is ahead of us."""
        self._unit = self._target.open()
        newest = self._state.units
        if self._unit > newest:
            raise NeedsOperator(
                f"target {self._system!r} has applied unit {self._unit}, but the state directory knows only {newest}",
                code="state-behind",
                cause="the state directory was restored from an older copy",
                remedy="restore the newest copy, or start with an empty state directory and copy anew",
            )
        self._applied.write(self._unit)
        shapes = self._target.describe([need.table for need in self._plan.tables(self._system)])
        self._folder = Folder(self._plan, self._system, shapes, self._journal.relation)

    @property
    def applied_unit(self) -> int:
        """The last unit that the target has."""
        return self._unit

    def step(self) -> bool:
        """Deliver the next batch of whole units; return whether there was one."""
        rows = self._take_rows()
        if not rows:
            return False
        units = _joined([unit for row in rows for unit in row.units()])
        self._parked_now.clear()
        self._deliver([unit for unit in units if unit.number > self._unit])
        self._row = rows[-1].id
        self._retry_due()
        return True

    def _take_rows(self) -> list[StoredUnits]:
        """Rows up to a batch's worth. A unit that is stored in many rows is taken whole: it is one transaction."""
        taken: list[StoredUnits] = []
        size_bytes = 0
        while size_bytes < outbox.READ_BYTES or taken[-1].more:
            if not self._ahead:
                after = taken[-1].id if taken else self._row
                self._ahead = outbox.read(self._state, self._system, after, self._unit)
            if not self._ahead:
                assert not taken or not taken[-1].more, "a part of an outbox unit is missing"
                break
            taken.append(self._ahead.pop(0))
            size_bytes += len(taken[-1].body)
        return taken

    # ---- a batch -----------------------------------------------------------------------------------------

    def _deliver(self, units: Sequence[Unit]) -> None:
        """Write units, halving what is refused; afterwards the checkpoint is at the last of them."""
        assert self._folder is not None, "start was not called"
        folded, waiting = self._folder.fold(units, self.parked)
        batch = Batch(self._unit, units[-1].number)
        for unwritable in folded.unwritable:
            self._park([(unwritable.subject, unwritable.kept)], batch.through, unwritable.refused)
        error = self._try(folded, batch)
        if error is not None and len(units) > 1:
            middle = len(units) // 2
            self._deliver(units[:middle])
            self._deliver(units[middle:])
            return
        if error is not None:
            self._isolate(folded.ordered(deletes_first=False), batch, error)
        self.parked.wait_behind(waiting)
        self.counts["waiting"] += len(waiting)

    def _try(self, folded: Folded, batch: Batch) -> Refused | None:
        """Write a batch with its deletes last, or else first (unique values may move either way); what was refused."""
        error: Refused | None = None
        for deletes_first in (False, True) if folded.deletes else (False,):
            try:
                self._apply(folded.ordered(deletes_first=deletes_first), batch)
            except Refused as refused:
                error = refused
            else:
                return None
        return error

    def _apply(self, groups: list[Grouped], batch: Batch) -> None:
        """One transaction of the target. Records that it turns out not to have are parked."""
        applied = self._target.apply([group.write for group in groups], batch)
        missing = [(groups[write], row) for write, row in applied.missing if not groups[write].missing_is_fine]
        if missing:
            self._park([(group.subjects[i], group.kept(i)) for group, i in missing], batch.through, self._row_missing())
        self._advance(batch.through)
        if len(self.parked):
            gone = {group.subjects[row] for group, row in missing}
            self.parked.release(subject for group in groups for subject in group.subjects if subject not in gone)
        for group in groups:
            self.counts[group.write.kind.name.lower()] += len(group.write.rows)

    def _advance(self, through: int) -> None:
        assert through >= self._unit, f"the checkpoint would go back: {self._unit} -> {through}"
        self._unit = through
        self._applied.write(through)
        self.counts["transactions"] += 1

    def _isolate(self, groups: list[Grouped], batch: Batch, error: Refused) -> None:
        """Find the refused records of one unit by halving.

        All its records are parked before the first half is tried: the checkpoint moves with the first part that
        succeeds, and a crash in between must not lose the others. Every part says that it carries the unit: its echo
        is judged by that.
        """
        rows = [(subject, group.kept(i)) for group in groups for i, subject in enumerate(group.subjects)]
        self._park(rows, batch.through, error, log=False)
        self._isolate_part(groups, batch, error)
        if self._unit < batch.through:  # every part was refused
            self._apply([], batch)

    def _isolate_part(self, groups: list[Grouped], batch: Batch, error: Refused) -> None:
        count = sum(len(group.subjects) for group in groups)
        try:
            self._apply(groups, batch)
        except Refused as refused:
            error = refused
        else:
            return
        if count == 1:
            self._park([(groups[0].subjects[0], None)], batch.through, error)
            return
        pieces = list(subgroups(groups, max(1, (max(len(g.subjects) for g in groups) + 1) // 2)))
        if len(pieces) == len(groups):  # groups of one row each: halve the list of groups instead
            middle = len(groups) // 2
            self._isolate_part(groups[:middle], batch, error)
            self._isolate_part(groups[middle:], batch, error)
            return
        for piece in pieces:
            self._isolate_part([piece], batch, error)

    def _park(
        self, rows: Sequence[tuple[Subject, bytes | None]], unit: int, error: CdcdError, *, log: bool = True
    ) -> None:
        cause = f"{error.what}: {error.cause}" if error.cause else error.what
        self.parked.park(rows, unit, error.code, cause, same_attempt=self._parked_now)
        self._parked_now.update(subject for subject, _ in rows)
        if log:
            self.counts["parked"] += len(rows)
            _log.warning("parked system=%s count=%d code=%s unit=%d", self._system, len(rows), error.code, unit)

    def _row_missing(self) -> Refused:
        return Refused(
            f"a row to update is not in {self._system!r}",
            code="row-missing",
            cause="it was deleted there, or never arrived",
            remedy="nothing, if its deletion is on its way; else 'cdcd resync' for its entity",
        )

    # ---- parked records ----------------------------------------------------------------------------------

    def retry_due(self) -> bool:
        """Try parked records whose time has come; return whether any were tried."""
        return self._retry_due()

    def _retry_due(self) -> bool:
        if not len(self.parked):
            return False
        due = self.parked.due()
        records = [parked.subject for parked in due if parked.row is None]
        if records:
            self._journal.command(Command("retry", {"system": self._system, "records": [list(s) for s in records]}))
            self.counts["retries"] += len(records)
        for parked in due:
            if parked.row is not None:
                self._retry_row(parked, parked.row)
        return bool(due)

    def _retry_row(self, parked: Parked, row: bytes) -> None:
        """Try a plain copy's kept row again: nothing newer of its key was delivered, or it would be released."""
        assert self._folder is not None, "start was not called"
        self.counts["retries"] += 1
        self._parked_now.clear()
        try:
            group = self._folder.retried(parked.subject, row)
            if group is not None:
                self._apply([group], Batch(self._unit, self._unit))
        except (Refused, ValueRefused) as refused:
            self._park([(parked.subject, None)], self._unit, refused, log=False)

    def due_in_seconds(self) -> float | None:
        """Seconds until the next retry of a parked record, None when nothing is parked."""
        return self.parked.due_in_seconds() if len(self.parked) else None

    def close(self) -> None:
        """Let go of the target. Safe to repeat."""
        self._target.close()


def _joined(units: list[Unit]) -> list[Unit]:
    """Units with the parts of a split one put together."""
    joined: list[Unit] = []
    for unit in units:
        if joined and joined[-1].number == unit.number:
            joined[-1].items.extend(unit.items)
        else:
            joined.append(unit)
    return joined

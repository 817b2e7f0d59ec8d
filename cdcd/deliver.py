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

import msgspec

from cdcd import outbox
from cdcd.adapter import Target
from cdcd.errors import CdcdError, NeedsOperator, Refused
from cdcd.fold import Folder, Grouped, subgroups
from cdcd.journal import Command, Journal
from cdcd.model import Batch, TableWrite, WriteKind
from cdcd.outbox import AppliedMark, StoredUnits, Unit
from cdcd.parked import Parked, ParkedRecords, Subject
from cdcd.resolve.plan import Plan
from cdcd.state import State

BATCH_WRITES: Final = 5_000
_log: Final = logging.getLogger(__name__)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


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
        assert self._folder is not None, "start was not called"
        rows = self._take_rows()
        if not rows:
            return False
        if rows[-1].more:
            self._deliver_huge(rows)
        else:
            self._deliver([unit for row in rows for unit in row.units()])
        self._row = rows[-1].id
        self._retry_due()
        return True

    def _take_rows(self) -> list[StoredUnits]:
        """Rows up to a batch's worth: whole units, or the first part of one that is too large for a batch."""
        if not self._ahead:
            self._ahead = outbox.read(self._state, self._system, self._row, self._unit)
        taken: list[StoredUnits] = []
        while self._ahead:
            row = self._ahead.pop(0)
            taken.append(row)
            if row.more or sum(len(r.body) for r in taken) >= outbox.READ_BYTES:
                break
        return taken

    def _deliver_huge(self, rows: list[StoredUnits]) -> None:
        """A unit in many rows: parts are folded one after another, but all are one transaction of the target."""
        parts = [rows]
        while parts[-1][-1].more:
            more = outbox.read(self._state, self._system, parts[-1][-1].id, self._unit)[:1]
            assert more, "a part of an outbox unit is missing"
            parts.append(more)
        self._deliver(_joined([unit for part in parts for row in part for unit in row.units()]))
        rows[:] = parts[-1]
        self._ahead = []

    # ---- a batch -----------------------------------------------------------------------------------------

    def _deliver(self, units: Sequence[Unit]) -> None:
        """Write units, halving what is refused; afterwards the checkpoint is at the last of them."""
        folder = self._folder
        assert folder is not None
        folded, waiting = folder.fold(units, self.parked)
        through = units[-1].number
        for subject in waiting:
            self.parked.wait_behind(subject)
            self.counts["waiting"] += 1
        for subject, refused in folded.refused:
            self._park([(subject, None)], through, refused)
        error: Refused | None = None
        for deletes_first in (False, True):
            try:
                self._apply(folded.ordered(deletes_first=deletes_first), through)
            except Refused as refused:
                error = refused
                if not folded.deletes:
                    break
            else:
                return
        assert error is not None
        if len(units) > 1:
            middle = len(units) // 2
            self._deliver(units[:middle])
            self._deliver(units[middle:])
        else:
            self._isolate(folded.ordered(deletes_first=False), through, error)

    def _apply(self, groups: list[Grouped], through: int) -> None:
        """One transaction of the target. Records that it turns out not to have are parked, also durably before."""
        applied = self._target.apply([group.write for group in groups], Batch(self._unit, through))
        missing = [
            (groups[write].subjects[row], None) for write, row in applied.missing if not groups[write].missing_is_fine
        ]
        if missing:
            self._park(missing, through, _row_missing(self._system))
        self._advance(through)
        delivered = [subject for group in groups for subject in group.subjects] if len(self.parked) else []
        gone = {subject for subject, _ in missing}
        self.parked.release(subject for subject in delivered if subject not in gone)
        for group in groups:
            self.counts[group.write.kind.name.lower()] += len(group.write.rows)

    def _advance(self, through: int) -> None:
        assert through >= self._unit, f"the checkpoint would go back: {self._unit} -> {through}"
        self._unit = through
        self._applied.write(through)
        self.counts["transactions"] += 1

    def _isolate(self, groups: list[Grouped], through: int, error: Refused) -> None:
        """Find the refused records of one unit by halving.

        All its records are parked before the first half is tried: the checkpoint moves with the first part that
        succeeds, and a crash in between must not lose the others.
        """
        rows = [(subject, self._kept(group, i)) for group in groups for i, subject in enumerate(group.subjects)]
        self._park(rows, through, error, log=False)
        self._isolate_part(groups, through, error)

    def _isolate_part(self, groups: list[Grouped], through: int, error: Refused) -> None:
        count = sum(len(group.subjects) for group in groups)
        try:
            self._apply(groups, through)
        except Refused as refused:
            error = refused
        else:
            return
        if count == 1:
            self._park([(groups[0].subjects[0], None)], through, error)
            return
        pieces = list(subgroups(groups, max(1, (max(len(g.subjects) for g in groups) + 1) // 2)))
        if len(pieces) == len(groups):  # groups of one row each: halve the list of groups instead
            middle = len(groups) // 2
            self._isolate_part(groups[:middle], through, error)
            self._isolate_part(groups[middle:], through, error)
            return
        for piece in pieces:
            self._isolate_part([piece], through, error)

    def _kept(self, group: Grouped, index: int) -> bytes | None:
        """The row of a plain copy, as it must be kept to be tried again; records are told anew by resolve."""
        if group.subjects[index][0] >= 0:
            return None
        write = group.write
        return _encode([write.table, write.kind, write.key, write.columns, write.rows[index]])

    def _park(
        self, subjects: Sequence[tuple[Subject, bytes | None]], unit: int, error: CdcdError, *, log: bool = True
    ) -> None:
        cause = f"{error.what}: {error.cause}" if error.cause else error.what
        self.parked.park(subjects, unit, error.code, cause)
        if log:
            self.counts["parked"] += len(subjects)
            _log.warning("parked system=%s count=%d code=%s unit=%d", self._system, len(subjects), error.code, unit)

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
        self.counts["retries"] += 1
        try:
            self._apply([Grouped(_kept_write(row), [parked.subject])], self._unit)
        except Refused as refused:
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


def _kept_write(kept: bytes) -> TableWrite:
    table, kind, key, columns, row = _decode(kept)
    return TableWrite(table, WriteKind(kind), tuple(key), tuple(columns), [row])


def _row_missing(system: str) -> Refused:
    return Refused(
        f"a row to update is not in {system!r}",
        code="row-missing",
        cause="it was deleted there, or never arrived",
        remedy="nothing, if its deletion is on its way; else 'cdcd resync' for its entity",
    )



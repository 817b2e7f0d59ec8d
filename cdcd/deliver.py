"""deliver: one target's outbox units into its tables, checkpoint in the same transaction (Invariant 4).

A step takes whole units, folds them, writes them and publishes how far it came. What the target refuses for good is
isolated by halving and parked by record; everything else flows (Invariant 9). What the target cannot take just now is
`Unavailable`, which the loop around us answers by opening everything anew: the checkpoint says where to go on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

import msgspec

from cdcd import outbox
from cdcd.adapter import Target
from cdcd.backlog import Backlog
from cdcd.durations import Durations
from cdcd.errors import CdcdError, NeedsOperator, Refused
from cdcd.failpoints import reach
from cdcd.folding.fold import Folder
from cdcd.folding.folded import Folded, Grouped, Groups, ListedGroups, Unwritable
from cdcd.folding.in_place import InPlaceFold
from cdcd.folding.large import LargeFold
from cdcd.folding.spill import Spill
from cdcd.journal import Journal
from cdcd.lingering import Linger
from cdcd.model import Batch, TableShape, TableWrite
from cdcd.outbox import AppliedMark, StoredUnits, Unit
from cdcd.parking.cures import Cures
from cdcd.parking.isolating import Isolating
from cdcd.parking.limits import ParkedLimits
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.parking.paused_entities import PausedEntities
from cdcd.parking.retries import Retries
from cdcd.recovering.delivery_progress import DeliveryProgress
from cdcd.recovering.taking_over import TakeOver
from cdcd.report import now_us
from cdcd.resolve.plan import Plan
from cdcd.state import State

_log: Final = logging.getLogger(__name__)


class _Prepared(msgspec.Struct, frozen=True):
    """A batch that was folded ahead, by `folder`, for a target that has the units through `after`."""

    after: int
    rows: list[StoredUnits]
    units: list[Unit]
    folder: Folder
    folded: Folded


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
        pulse: Callable[[], None] = lambda: None,
        transactions: Durations | None = None,
    ) -> None:
        """`state` is only read; `journal` resolves the shapes of plain copies and takes retries as commands.

        `pulse` is called on the way of a long step; `transactions` is told how long those that were committed took.
        """
        self.counts: Counter[str] = Counter()
        self.applied: Counter[tuple[int, str]] = Counter()
        """Rows by what they are of (see `Subject`) and what was done."""
        self.handled = 0
        """Rows that were taken in hand, whether or not their transaction came to its end."""
        self.rows_max: int | None = None
        """How many rows the next step may take; the units of one transaction stay together whatever it says."""
        self._pulse = pulse
        self._transactions = Durations() if transactions is None else transactions
        self.parked = parked
        self._system = system
        self._plan = plan
        self._target = target
        self._state = state
        self._journal = journal
        self._applied = applied
        self._progress = DeliveryProgress(system, state, journal)
        self._unit = 0
        self._backlog = Backlog(system, state)
        self._prepares_behind: int | None = None
        """The unit behind which the next batch is prepared, while the one through it is under way."""
        self._prepared: _Prepared | None = None
        self._linger = Linger()
        self._changes = 0
        """Of the batch that a step takes, before it is folded, until it was written once; 0 while parts or retries are written."""
        self._shapes: Mapping[str, TableShape] = {}
        self._folder: Folder | None = None
        self._paused = PausedEntities(system, plan, journal, self.counts)
        self._limits = ParkedLimits(system, plan, state, journal, parked)
        self._cures = Cures(plan, system, parked)
        self._isolating = Isolating(system, self, parked, self._paused, self._limits)
        self._retries = Retries(system, self, journal, parked, self._paused, self.counts)

    def start(self) -> None:
        """Take over the target and learn where it stands. Raises NeedsOperator when that is not where we left it."""
        reach("deliver.before-open")
        take_over = TakeOver(self._system, self._target, self._state, self._journal, self._applied)
        self._unit = take_over.carry_out(self._plan.xref_table(self._system))
        reach("deliver.after-open")
        self._describe()
        self._paused.look()
        self._retries.look_back(self._state, self._started(), self._applied.read(), self._unit)
        self._applied.write(self._unit)
        self._cures.started()

    def _describe(self) -> None:
        """Look at the target's tables, and fold for what they are now."""
        shapes = self._target.describe([need.table for need in self._plan.tables(self._system)])
        if self._folder is None or shapes != self._shapes:
            self._shapes = shapes
            self._fold_afresh()
            self._cures.described(shapes)

    def _fold_afresh(self) -> None:
        self._folder = Folder(self._plan, self._system, self._shapes, self._journal.relation)

    def look_at_switches(self) -> bool:
        """Entities may have been paused; return whether any are so no more: then what is parked of them is due."""
        freed = self._paused.look()
        self.parked.hurry(freed)
        return bool(freed)

    def _started(self) -> Folder:
        assert self._folder is not None, "start was not called"
        return self._folder

    @property
    def applied_unit(self) -> int:
        """The last unit that the target has."""
        return self._unit

    @property
    def may_have_more(self) -> bool:
        """Whether another step may have something to do, though there are no new units since this one."""
        return self._prepared is not None or not self._backlog.is_drained

    def linger_seconds(self) -> float:
        """How long the next step should wait for more to take along (see `lingering`)."""
        if not self._linger.pays or self._prepared is not None or self.rows_max is not None:
            return 0.0
        rows = self._backlog.take(self._unit)
        self._backlog.put_back(rows)
        if self._backlog.is_full(rows):
            return 0.0
        more_is_journalled = self._journal.last_seq() > self._state.position
        return self._linger.left_seconds(rows, time.monotonic(), now_us(), more_is_journalled=more_is_journalled)

    def step(self) -> bool:
        """Deliver the next batch of whole units; return whether there was one.

        A table that was changed under us is looked at again before a person is asked.
        """
        try:
            return self._step()
        except NeedsOperator:
            before, self._prepared = self._shapes, None
            self._describe()
            if self._shapes == before:
                raise
            self._backlog.forget()
            return True

    def _step(self) -> bool:
        prepared = self._take_prepared()
        rows = prepared.rows if prepared is not None else self._backlog.take(self._unit, self.rows_max)
        if not rows:
            return False
        self.parked.next_attempt()
        self._changes = sum([row.writes for row in rows])
        if rows[-1].more:
            self._deliver_large(rows[0])
        else:
            units = prepared.units if prepared is not None else self._units_of(rows, self._unit)
            ahead = self._paused.without(outbox.within(units, self.rows_max))
            self._prepares_behind = self._prepares_after(rows, ahead)
            try:
                self._deliver(ahead, None if prepared is None else prepared.folded)
            finally:
                self._prepares_behind = None
            self._backlog.put_back([row for row in rows if row.through > self._unit])
        self._limit_parked()
        self._retries.try_due()
        return True

    def _units_of(self, rows: Sequence[StoredUnits], after: int) -> list[Unit]:
        return [unit for unit in outbox.joined(rows) if unit.number > after]

    def _limit_parked(self) -> None:
        """Pause entities of which too many records are parked."""
        if self._limits.reached():
            self._paused.look()

    # ---- the next batch, while the target works --------------------------------------------------------------

    def _prepares_after(self, rows: Sequence[StoredUnits], units: Sequence[Unit]) -> int | None:
        """The unit behind which to prepare a batch: where this one is full, so that there are likely to be more."""
        return units[-1].number if self._backlog.is_full(rows) and self._folds_as_told() else None

    def _folds_as_told(self) -> bool:
        """Whether what a batch becomes depends on nothing but itself and the tables."""
        return self.rows_max is None and not len(self.parked) and not self._paused.numbers

    def _prepare(self) -> None:
        """Called when all of a batch is handed to the target, which has still to write it: fold the next one meanwhile.

        Whatever is wrong with it is found again when it has its turn. It is not used if anything happens before that.
        """
        after, self._prepares_behind = self._prepares_behind, None
        if after is None or self._prepared is not None or not self._folds_as_told():
            return
        rows = self._backlog.take(after)
        if not rows or rows[-1].more or (self._linger.pays and not self._backlog.is_full(rows)):
            self._backlog.put_back(rows)
            return
        units, folder = self._units_of(rows, after), self._started()
        try:
            folded, _ = folder.fold(units, self.parked)
        except NeedsOperator:
            self._fold_afresh()
            self._backlog.put_back(rows)
        else:
            self._prepared = _Prepared(after, rows, units, folder, folded)

    def _take_prepared(self) -> _Prepared | None:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return None
        if prepared.after == self._unit and prepared.folder is self._folder and self._folds_as_told():
            return prepared
        self._backlog.put_back(prepared.rows)
        return None

    # ---- a batch -----------------------------------------------------------------------------------------

    def _deliver(self, units: Sequence[Unit], folded: Folded | None = None) -> None:
        """Write units, halving what is refused; afterwards the checkpoint is at the last of them."""
        waiting: list[Subject] = []
        if folded is None:
            folded, waiting = self._started().fold(units, self.parked)
        batch = Batch(self._unit, units[-1].number)
        self._supersede(folded.cleared)
        self._park_unwritable(folded.unwritable, batch.through)
        error = self._try(folded, batch)
        self._changes = 0
        if error is not None and len(units) > 1:
            middle = len(units) // 2
            self._deliver(units[:middle])
            self._deliver(units[middle:])
            return
        if error is not None:
            self._isolating.isolate(folded.ordered(deletes_first=False), batch, error)
        self.parked.wait_behind(waiting)
        self.counts["waiting"] += len(waiting)

    def _deliver_large(self, first: StoredUnits) -> None:
        """Write the one unit that begins with this row: where it lies, or by way of the disk."""
        number = first.through
        in_place = self._in_place(first, number)
        if in_place is not None:
            self._write_large(in_place, number)
        else:
            spill = Spill(self.parked.database.path.with_suffix(".spill"))
            try:
                self._write_large(self._spilled(first, number, spill), number)
            finally:
                spill.close()
        self._backlog.forget(first.id - 1)

    def _in_place(self, first: StoredUnits, number: int) -> InPlaceFold | None:
        """The unit to be folded where it lies, if it can be."""
        if len(self.parked) or self._paused.numbers:
            return None
        found = InPlaceFold(
            self._started(), number, self._backlog.row, lambda unwritable: self._park_unwritable(unwritable, number)
        )
        for row in self._backlog.unit_from(first, self._unit):
            if not found.take(row):
                return None
            self._take_in_hand(1)  # a sign of life; what its writes are is counted when they are written
        return found if found.is_fit() else None

    def _spilled(self, first: StoredUnits, number: int, spill: Spill) -> LargeFold:
        """The unit put aside in the order of its records."""
        large = LargeFold(
            self._started(), spill, self.parked, lambda unwritable: self._park_unwritable(unwritable, number)
        )
        for row in self._backlog.unit_from(first, self._unit):
            for unit in self._paused.without([unit for unit in row.units() if unit.number == number]):
                large.add(unit)
            self._take_in_hand(row.writes)
        return large

    def _write_large(self, large: LargeFold | InPlaceFold, number: int) -> None:
        batch = Batch(self._unit, number)
        self._supersede(large.cleared)
        error = self._try(large, batch)
        self._changes = 0
        if error is not None:
            self._isolating.isolate(large.ordered(deletes_first=False), batch, error)
        self.counts["waiting"] += large.count_waiting()

    def _supersede(self, copies: Sequence[int]) -> None:
        """Whatever was parked of these copies is gone from their sources."""
        for number in copies:
            self.parked.release_all(number)

    def _park_unwritable(self, unwritable: Sequence[Unwritable], unit: int) -> None:
        reasons: dict[tuple[str, str], list[Unwritable]] = {}
        for found in unwritable:
            reasons.setdefault((found.refused.code, str(found.refused)), []).append(found)
        for alike in reasons.values():
            self.park([(found.subject, found.kept) for found in alike], unit, alike[0].refused)

    def _try(self, folded: Folded | LargeFold | InPlaceFold, batch: Batch) -> Refused | None:
        """Write a batch with its deletes last, or else first (unique values may move either way); what was refused."""
        error: Refused | None = None
        for deletes_first in (False, True) if folded.has_deletes else (False,):
            try:
                self.apply(folded.ordered(deletes_first=deletes_first), batch)
            except Refused as refused:
                error = refused
            else:
                return None
        return error

    def apply(self, groups: Groups, batch: Batch, first: int = 0, last: int | None = None) -> None:
        """Write the groups [first, last) in one transaction of the target. Records that it turns out not to have are parked."""
        counts: Counter[tuple[int, str]] = Counter()
        places: list[tuple[int, int]] = []
        reach("deliver.before-apply")
        batch = Batch(batch.after, batch.through, self._progress.through(batch.through))
        began_at = time.monotonic()
        applied = self._target.apply(self._writes(groups.between(first, last), counts, places), batch)
        self._transactions.observe(time.monotonic() - began_at)
        reach("deliver.after-commit")
        lacking = [(*places[write], row) for write, row in applied.missing]
        missing = self._park_missing(groups, lacking, first, batch.through)
        self._unit_applied(batch.through)
        if len(self.parked):
            reach("deliver.before-release")
            before, _ = outbox.units_of_mark((batch.after, batch.through))
            for group in groups.between(first, last):
                if group.prepares:
                    continue
                self.parked.release((subject for subject in group.subjects if subject not in missing), before)
            reach("deliver.after-release")
        self.applied.update(counts)

    def _writes(
        self, groups: Iterable[Grouped], counts: Counter[tuple[int, str]], places: list[tuple[int, int]]
    ) -> Iterator[TableWrite]:
        """The writes one after the other, counted by record. `places` gets for each its group, and its place in that."""
        for number, group in enumerate(groups):
            if group.write.rows:
                counts[group.subjects[0][0], group.write.kind.name.lower()] += len(group.write.rows)
            for place, write in enumerate(group.writes()):
                places.append((number, place))
                yield write
            self._take_in_hand(len(group.write.rows))
        if self._changes:
            self._linger.folded(self._changes, sum(counts.values()))
            self._backlog.full_reads = self._linger.full_reads
            self._changes = 0
        self._prepare()
        reach("deliver.before-commit")  # all is written, and the target's transaction still open

    def _take_in_hand(self, count: int) -> None:
        self.handled += count
        self._pulse()

    def _park_missing(
        self, groups: Groups, missing: Sequence[tuple[int, int, int]], first: int, unit: int
    ) -> set[Subject]:
        """Park records that the target turned out not to have (group, write in it, row); return who they are."""
        found: set[Subject] = set()
        places = groupby(sorted(missing), key=itemgetter(0))
        for number, rows in places:
            group = groups.at(first + number)
            if not group.missing_is_fine:
                records = dict.fromkeys(group.number_of(write, row) for _, write, row in rows)
                lacking = [(group.subjects[record], group.kept(record)) for record in records]
                self.park(lacking, unit, self._row_missing())
                found.update(subject for subject, _ in lacking)
        return found

    def _unit_applied(self, through: int) -> None:
        assert through >= self._unit, f"the checkpoint would go back: {self._unit} -> {through}"
        self._unit = through
        self._applied.write(through)
        reach("deliver.after-mark")
        self.counts["transactions"] += 1

    def park(
        self, rows: Iterable[tuple[Subject, bytes | None]], unit: int, error: CdcdError, *, log: bool = True
    ) -> None:
        """Park these rows (and what is kept of them), which units through `unit` told of, durably."""
        cause = f"{error.what}: {error.cause}" if error.cause else error.what
        listed = list(rows)
        reach("deliver.before-park")
        self.parked.park(listed, unit, error.code, cause, min(unit, self._unit + 1))
        reach("deliver.after-park")
        if log:
            self.note_parked(len(listed), error.code, unit)

    def note_parked(self, count: int, code: str, unit: int) -> None:
        """So many have been parked."""
        self.counts["parked"] += count
        _log.warning("parked system=%s count=%d code=%s unit=%d", self._system, count, code, unit)

    def _row_missing(self) -> Refused:
        return Refused(
            f"a row to update is not in {self._system!r}",
            code="row-missing",
            cause="it was deleted there, or never arrived",
            remedy="nothing, if its deletion is on its way; else 'cdcd resync' for its entity",
        )

    def tell_progress(self) -> None:
        """Have the target keep how far the logs have come into it, where that is news and no delivery has said it."""
        text = self._progress.unsaid(self._unit)
        if text:
            self._target.apply([], Batch(self._unit, self._unit, text))

    # ---- parked records ----------------------------------------------------------------------------------

    def retry_due(self) -> bool:
        """Try parked records whose time has come; return whether any were tried."""
        return self._retries.try_due()

    def due_in_seconds(self) -> float | None:
        """Seconds until the next retry of a parked record, None when nothing is parked."""
        return self._retries.due_in_seconds()

    def look_at_tables(self) -> Folder:
        """See `retries.Delivery`."""
        self._describe()
        return self._started()

    def write_again(self, groups: list[Grouped]) -> None:
        """See `retries.Delivery`."""
        self.apply(ListedGroups(groups), Batch(self._unit, self._unit))

    def park_again(self, subject: Subject, error: CdcdError) -> None:
        """See `retries.Delivery`."""
        self.park([(subject, None)], self._unit, error, log=False)

    def close(self) -> None:
        """Let go of the target. Safe to repeat."""
        self._target.close()

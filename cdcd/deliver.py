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

from cdcd import outbox
from cdcd.adapter import Target
from cdcd.durations import Durations
from cdcd.errors import CdcdError, NeedsOperator, Refused
from cdcd.failpoints import reach
from cdcd.folding.fold import Folder
from cdcd.folding.folded import Folded, Grouped, Groups, ListedGroups, Unmoved, Unwritable
from cdcd.folding.large import LargeFold
from cdcd.folding.spill import Spill
from cdcd.journal import Journal
from cdcd.journal_care.suspects import Suspects
from cdcd.model import Batch, TableShape, TableWrite, WriteKind
from cdcd.outbox import AppliedMark, StoredUnits, Unit
from cdcd.parking.cures import Cures
from cdcd.parking.limits import ParkedLimits
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.parking.paused_entities import PausedEntities
from cdcd.parking.retries import Retries
from cdcd.recovering.delivery_progress import DeliveryProgress
from cdcd.recovering.taking_over import TakeOver
from cdcd.resolve.plan import Plan
from cdcd.state import State

LARGE_WRITES: Final = 20_000
LARGE_BYTES: Final = 16 * 2**20
"""A unit of more, as it is stored, is folded by way of the disk (Invariant 11)."""
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
        self._row = 0
        self._shapes: Mapping[str, TableShape] = {}
        self._folder: Folder | None = None
        self._ahead: list[StoredUnits] = []
        self._refused: Counter[int] = Counter()
        """By entity, how many records were refused one by one in the unit that is being isolated."""
        self._paused = PausedEntities(system, plan, journal, self.counts)
        self._limits = ParkedLimits(system, plan, state, journal, parked)
        self._cures = Cures(plan, system, parked)
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
            self._folder = Folder(self._plan, self._system, shapes, self._journal.relation)
            self._cures.described(shapes)

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

    def step(self) -> bool:
        """Deliver the next batch of whole units; return whether there was one.

        A table that was changed under us is looked at again before a person is asked.
        """
        try:
            return self._step()
        except NeedsOperator:
            before = self._shapes
            self._describe()
            if self._shapes == before:
                raise
            self._ahead.clear()
            return True

    def _step(self) -> bool:
        rows = self._take_rows()
        if not rows:
            return False
        self.parked.next_attempt()
        if rows[-1].more:
            self._deliver_large(rows)
        else:
            units = _units_joined([unit for row in rows for unit in row.units()])
            ahead = outbox.within([unit for unit in units if unit.number > self._unit], self.rows_max)
            self._deliver(self._paused.without(ahead))
            left = [row for row in rows if row.through > self._unit]
            self._ahead[:0] = left
            self._row = self._row if left else rows[-1].id
        self._limit_parked()
        self._retries.try_due()
        return True

    def _limit_parked(self) -> None:
        """Pause entities of which too many records are parked."""
        if self._limits.reached():
            self._paused.look()

    def _take_rows(self) -> list[StoredUnits]:
        """Rows up to a batch's worth. A unit that is stored in many rows is taken whole: it is one transaction.

        Of a large unit only the first rows, alone: the last of them says that there are more.
        """
        taken: list[StoredUnits] = []
        size_bytes = writes = whole = 0
        while not taken or taken[-1].more or self._is_room(size_bytes, writes):
            row = self._next_row(taken[-1].id if taken else self._row)
            if row is None:
                assert not taken or not taken[-1].more, "a part of an outbox unit is missing"
                break
            taken.append(row)
            whole = whole if row.more else len(taken)
            size_bytes += len(row.body)
            writes += row.writes
            if row.more and (writes >= LARGE_WRITES or size_bytes >= LARGE_BYTES):
                self._ahead[:0] = taken[whole:] if whole else []
                return taken[:whole] if whole else taken
        return taken

    def _is_room(self, size_bytes: int, writes: int) -> bool:
        """Whether a batch that has so much may have more."""
        return size_bytes < outbox.READ_BYTES and (self.rows_max is None or writes < self.rows_max)

    def _next_row(self, after: int) -> StoredUnits | None:
        if not self._ahead:
            self._ahead = outbox.read(self._state, self._system, after, self._unit)
        return self._ahead.pop(0) if self._ahead else None

    # ---- a batch -----------------------------------------------------------------------------------------

    def _deliver(self, units: Sequence[Unit]) -> None:
        """Write units, halving what is refused; afterwards the checkpoint is at the last of them."""
        folded, waiting = self._started().fold(units, self.parked)
        batch = Batch(self._unit, units[-1].number)
        self._supersede(folded.cleared)
        self._park_unwritable(folded.unwritable, batch.through)
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

    def _deliver_large(self, rows: list[StoredUnits]) -> None:
        """Write one unit by way of the disk. `rows` are its first ones; the last one may hold other units too."""
        number = rows[0].through
        batch = Batch(self._unit, number)
        spill = Spill(self.parked.database.path.with_suffix(".spill"))
        try:
            large = LargeFold(
                self._started(), spill, self.parked, lambda unwritable: self._park_unwritable(unwritable, number)
            )
            for row in self._rows_of_unit(rows):
                for unit in self._paused.without([unit for unit in row.units() if unit.number == number]):
                    large.add(unit)
                self._take_in_hand(row.writes)
            self._supersede(large.cleared)
            error = self._try(large, batch)
            if error is not None:
                self._isolate(large.ordered(deletes_first=False), batch, error)
            self.counts["waiting"] += large.count_waiting()
        finally:
            spill.close()
        self._ahead = []

    def _rows_of_unit(self, rows: list[StoredUnits]) -> Iterator[StoredUnits]:
        """All rows of a large unit. The last one stays to be read again for what else is in it."""
        row: StoredUnits | None = None
        while row is None or row.more:
            self._row = self._row if row is None else row.id
            row = rows.pop(0) if rows else self._next_row(self._row)
            assert row is not None, "a part of an outbox unit is missing"
            yield row

    def _supersede(self, copies: Sequence[int]) -> None:
        """Whatever was parked of these copies is gone from their sources."""
        for number in copies:
            self.parked.release_all(number)

    def _park_unwritable(self, unwritable: Sequence[Unwritable], unit: int) -> None:
        reasons: dict[tuple[str, str], list[Unwritable]] = {}
        for found in unwritable:
            reasons.setdefault((found.refused.code, str(found.refused)), []).append(found)
        for alike in reasons.values():
            self._park([(found.subject, found.kept) for found in alike], unit, alike[0].refused)

    def _try(self, folded: Folded | LargeFold, batch: Batch) -> Refused | None:
        """Write a batch with its deletes last, or else first (unique values may move either way); what was refused."""
        error: Refused | None = None
        for deletes_first in (False, True) if folded.has_deletes else (False,):
            try:
                self._apply(folded.ordered(deletes_first=deletes_first), batch)
            except Refused as refused:
                error = refused
            else:
                return None
        return error

    def _apply(self, groups: Groups, batch: Batch, first: int = 0, last: int | None = None) -> None:
        """One transaction of the target. Records that it turns out not to have are parked."""
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
                self._park(lacking, unit, self._row_missing())
                found.update(subject for subject, _ in lacking)
        return found

    def _unit_applied(self, through: int) -> None:
        assert through >= self._unit, f"the checkpoint would go back: {self._unit} -> {through}"
        self._unit = through
        self._applied.write(through)
        reach("deliver.after-mark")
        self.counts["transactions"] += 1

    def _isolate(self, groups: Groups, batch: Batch, error: Refused) -> None:
        """Find the refused records of one unit by halving.

        All its records are parked before the first part is tried: the checkpoint moves with the first part that
        succeeds, and a crash in between must not lose the others. Every part says that it carries a part of the unit:
        its echo is judged by that; the last transaction, empty, says that there are no more. Tables are cleared in a
        part of their own, before anything else.
        """
        part = Batch(outbox.as_part(batch.after), batch.through)
        self._refused.clear()
        count = clear_count = 0
        for group in groups.between(0):
            count += 1
            clear_count += group.write.kind is WriteKind.CLEAR
            if not group.prepares:
                rows = ((subject, group.kept(i)) for i, subject in enumerate(group.subjects))
                self._park(rows, batch.through, error, log=False)
        if clear_count:
            self._clear(groups, part, clear_count)
        unmoved: set[Subject] = set()
        groups = Unmoved(groups, unmoved)
        if count - clear_count == 1:
            self._isolate_rows(groups.at(clear_count), part, error, unmoved)
        elif count > clear_count:
            self._halve(groups, clear_count, count, part, unmoved)
        self._apply(ListedGroups([]), batch)

    def _clear(self, groups: Groups, batch: Batch, count: int) -> None:
        first = next((n for n, group in enumerate(groups.between(0)) if group.write.kind is WriteKind.CLEAR), 0)
        try:
            self._apply(groups, batch, first, first + count)
        except Refused as refused:
            raise NeedsOperator(
                f"a table of {self._system!r} cannot be emptied as its source was",
                code="clear-refused",
                cause=refused.cause or refused.what,
                remedy="let nothing refer to its rows any more, then 'cdcd resume'",
            ) from refused

    def _halve(self, groups: Groups, first: int, last: int, batch: Batch, unmoved: set[Subject]) -> None:
        """Write the groups [first, last), which were refused together."""
        middle = (first + last) // 2
        for start, end in ((first, middle), (middle, last)):
            try:
                self._apply(groups, batch, start, end)
            except Refused as refused:
                if end - start > 1:
                    self._halve(groups, start, end, batch, unmoved)
                elif end > start:
                    self._isolate_rows(groups.at(start), batch, refused, unmoved)

    def _isolate_rows(self, group: Grouped, batch: Batch, error: Refused, unmoved: set[Subject]) -> None:
        """Write the rows of a group that was refused: those that the target names are parked, others by halving.

        Where too many are refused, what is left of the entity is not tried any more: it is paused, and owed.
        """
        suspects = Suspects(group)
        codes: Counter[str] = Counter()
        named = suspects.refused(range(len(group.subjects)), error)
        while True:
            if named:
                self._park([(group.subjects[n], None) for n in named], batch.through, suspects.error, log=False)
                codes[suspects.error.code] += len(named)
                self._refused[group.subjects[named[0]][0]] += len(named)
                if group.prepares:
                    unmoved.update(group.subjects[n] for n in named)
            part = suspects.next_part()
            if part is None:
                break
            if self._gives_up(group, part):
                named = []
                continue
            some = group.only(part)
            try:
                self._apply(ListedGroups([some]), batch)
                named = []
            except Refused as again:
                named = suspects.refused_of_part(part, some, again)
        for code, count in codes.items():
            self._note_parked(count, code, batch.through)

    def _gives_up(self, group: Grouped, part: Sequence[int]) -> bool:
        """Whether so many of the entity were refused that it is paused: then these rows, which are parked, are owed instead."""
        number = group.subjects[part[0]][0]
        if number not in self._paused.numbers and self._limits.is_reached_by(number, self._refused[number]):
            self._paused.look()
        if number not in self._paused.numbers:
            return False
        subjects = [group.subjects[n] for n in part]
        self._paused.owe(subjects)
        self.parked.release(subjects)
        return True

    def _park(
        self, rows: Iterable[tuple[Subject, bytes | None]], unit: int, error: CdcdError, *, log: bool = True
    ) -> None:
        cause = f"{error.what}: {error.cause}" if error.cause else error.what
        listed = list(rows)
        reach("deliver.before-park")
        self.parked.park(listed, unit, error.code, cause, min(unit, self._unit + 1))
        reach("deliver.after-park")
        if log:
            self._note_parked(len(listed), error.code, unit)

    def _note_parked(self, count: int, code: str, unit: int) -> None:
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
        self._apply(ListedGroups(groups), Batch(self._unit, self._unit))

    def park_again(self, subject: Subject, error: CdcdError) -> None:
        """See `retries.Delivery`."""
        self._park([(subject, None)], self._unit, error, log=False)

    def close(self) -> None:
        """Let go of the target. Safe to repeat."""
        self._target.close()


def _units_joined(units: list[Unit]) -> list[Unit]:
    """Units with the parts of a split one put together."""
    joined: list[Unit] = []
    for unit in units:
        if joined and joined[-1].number == unit.number:
            joined[-1].items.extend(unit.items)
        else:
            joined.append(unit)
    return joined

"""A refused unit, taken apart until what is refused in it is known: that is parked by record, everything else flows.

See Invariant 9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from cdcd import outbox
from cdcd.errors import CdcdError, NeedsOperator, Refused
from cdcd.folding.folded import Grouped, Groups, ListedGroups, Unmoved
from cdcd.journal_care.suspects import Suspects
from cdcd.model import Batch, WriteKind
from cdcd.parking.limits import ParkedLimits
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.parking.paused_entities import PausedEntities


class Delivery(Protocol):
    """What isolating needs of the deliverer."""

    def apply(self, groups: Groups, batch: Batch, first: int = 0, last: int | None = None) -> None:
        """Write the groups [first, last) in a transaction. Raises Refused."""
        ...

    def park(
        self, rows: Iterable[tuple[Subject, bytes | None]], unit: int, error: CdcdError, *, log: bool = True
    ) -> None:
        """Park rows, which units through `unit` told of, durably."""
        ...

    def note_parked(self, count: int, code: str, unit: int) -> None:
        """Say that so many were parked."""
        ...


class Isolating:
    """Takes units of one target apart."""

    def __init__(
        self, system: str, delivery: Delivery, parked: ParkedRecords, paused: PausedEntities, limits: ParkedLimits
    ) -> None:
        self._system = system
        self._delivery = delivery
        self._parked = parked
        self._paused = paused
        self._limits = limits
        self._refused: Counter[int] = Counter()
        """By entity, how many records were refused one by one in the unit that is being isolated."""

    def isolate(self, groups: Groups, batch: Batch, error: Refused) -> None:
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
                self._delivery.park(rows, batch.through, error, log=False)
        if clear_count:
            self._clear(groups, part, clear_count)
        unmoved: set[Subject] = set()
        groups = Unmoved(groups, unmoved)
        if count - clear_count == 1:
            self._isolate_rows(groups.at(clear_count), part, error, unmoved)
        elif count > clear_count:
            self._halve(groups, clear_count, count, part, unmoved)
        self._delivery.apply(ListedGroups([]), batch)

    def _clear(self, groups: Groups, batch: Batch, count: int) -> None:
        first = next((n for n, group in enumerate(groups.between(0)) if group.write.kind is WriteKind.CLEAR), 0)
        try:
            self._delivery.apply(groups, batch, first, first + count)
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
                self._delivery.apply(groups, batch, start, end)
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
                self._delivery.park(
                    [(group.subjects[n], None) for n in named], batch.through, suspects.error, log=False
                )
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
                self._delivery.apply(ListedGroups([some]), batch)
                named = []
            except Refused as again:
                named = suspects.refused_of_part(part, some, again)
        for code, count in codes.items():
            self._delivery.note_parked(count, code, batch.through)

    def _gives_up(self, group: Grouped, part: Sequence[int]) -> bool:
        """Whether so many of the entity were refused that it is paused: then these rows, which are parked, are owed instead."""
        number = group.subjects[part[0]][0]
        if number not in self._paused.numbers and self._limits.is_reached_by(number, self._refused[number]):
            self._paused.look()
        if number not in self._paused.numbers:
            return False
        subjects = [group.subjects[n] for n in part]
        self._paused.owe(subjects)
        self._parked.release(subjects)
        return True

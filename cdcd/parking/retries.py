"""Parked records tried again: when their time has come, when an operator says so, when something changed that may cure them.

Of an entity's record resolve is asked, in the journal, to tell it anew; a kept row of a plain copy is written as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from cdcd import outbox
from cdcd.errors import Refused
from cdcd.folding.fold import Folder
from cdcd.folding.folded import Folded, Grouped, joined
from cdcd.journal import Command, Journal
from cdcd.model import WriteKind
from cdcd.outbox import CHANGES
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.parking.paused_entities import PausedEntities
from cdcd.state import State
from cdcd.values import ValueRefused

RETRY_RECORDS: Final = 500
_RETRY_ROUNDS: Final = 10


class Delivery(Protocol):
    """What retrying needs of the deliverer."""

    def look_at_tables(self) -> Folder:
        """See the target's tables as they are now, and fold for them."""
        ...

    def write_again(self, groups: list[Grouped]) -> None:
        """Write these rows in a transaction of their own, which carries no unit. Raises Refused."""
        ...

    def park_again(self, subject: Subject, error: Refused | ValueRefused) -> None:
        """It was refused once more."""
        ...


class Retries:
    """The retries of one target."""

    def __init__(
        self,
        system: str,
        delivery: Delivery,
        journal: Journal,
        parked: ParkedRecords,
        paused: PausedEntities,
        counts: Counter[str],
    ) -> None:
        """`counts["retries"]` grows by the records that are tried. What is `paused` is not tried."""
        self._system = system
        self._delivery = delivery
        self._journal = journal
        self._parked = parked
        self._paused = paused
        self._counts = counts

    def try_due(self) -> bool:
        """Try parked records whose time has come; return whether any were tried."""
        tried = False
        for _ in range(_RETRY_ROUNDS):
            count = self._try_some() if len(self._parked) else 0
            tried = tried or count > 0
            if count < RETRY_RECORDS:
                break
        return tried

    def due_in_seconds(self) -> float | None:
        """Seconds until the next retry, None when nothing is to be tried."""
        return self._parked.due_in_seconds(without=self._paused.numbers) if len(self._parked) else None

    def _try_some(self) -> int:
        due = self._parked.due(RETRY_RECORDS, without=self._paused.numbers)
        folder = self._delivery.look_at_tables() if due else None
        self._ask_for([parked.subject for parked in due if parked.row is None])
        if due:
            self._parked.put_off(due)
        rows = [(parked.subject, parked.row) for parked in due if parked.row is not None]
        if rows and folder is not None:
            self._counts["retries"] += len(rows)
            self._parked.next_attempt()
            self._write(folder, rows)
        return len(due)

    def _ask_for(self, records: Sequence[Subject]) -> None:
        """Have resolve tell these records anew."""
        for start in range(0, len(records), RETRY_RECORDS):
            part = [list(subject) for subject in records[start : start + RETRY_RECORDS]]
            self._journal.command(Command("retry", {"system": self._system, "records": part}))
            self._counts["retries"] += len(part)

    def _write(self, folder: Folder, rows: Sequence[tuple[Subject, bytes]]) -> None:
        """Try kept rows of plain copies again: nothing newer of their keys was delivered, or they would be released."""
        groups: list[Grouped] = []
        tried: list[tuple[Subject, bytes]] = []
        for subject, kept in rows:
            try:
                groups += folder.retried(subject, kept)
            except (Refused, ValueRefused) as refused:
                self._delivery.park_again(subject, refused)
            else:
                tried.append((subject, kept))
        if groups:
            self._write_some(folder, groups, tried)

    def _write_some(self, folder: Folder, groups: list[Grouped], rows: Sequence[tuple[Subject, bytes]]) -> None:
        try:
            self._delivery.write_again(joined(groups))
        except Refused as refused:
            if len(rows) == 1:
                self._delivery.park_again(rows[0][0], refused)
                return
            middle = len(rows) // 2
            self._write(folder, rows[:middle])
            self._write(folder, rows[middle:])

    # ---- after a crash ---------------------------------------------------------------------------------------

    def look_back(self, state: State, folder: Folder, after: int, through: int) -> None:
        """Have told anew whatever may have been missing in the target, in units (after, through].

        The target tells only when its transaction is committed that a row was not there to be updated; whoever died then
        could not park it any more. Those units are committed, and not known here to be: they are still in the outbox.
        """
        for unit in outbox.between(state, self._system, after, through):
            items = [item for item in unit.items if item[0] >= 0 and item[1] in CHANGES]
            self._ask_for(list(dict.fromkeys((item[0], bytes(item[2])) for item in items)))
            unit.items = [item for item in unit.items if item[0] < 0]
            self._write_updates(folder.fold([unit], self._parked)[0] if unit.items else Folded())

    def _write_updates(self, folded: Folded) -> None:
        """Of plain copies, only rows of which the log told not all values can be missing: written again, that shows again."""
        updates = [group for group in folded.changes if group.write.kind == WriteKind.UPDATE]
        try:
            if updates:
                self._delivery.write_again(updates)
        except Refused:
            pass  # what could be refused then was parked before the transaction that was committed

"""Entities that are held back from a target, as its deliverer meets them: what is on its way already is put aside.

resolve holds back what it decides from the pause on. What it had put into the outbox before is owed again: the names of
those records are journalled, durably before the checkpoint moves past them, and resolve tells their present truth when
the pause is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from cdcd import pause_switches
from cdcd.journal import Command, Journal
from cdcd.outbox import Item, RecordWrite, Unit
from cdcd.parking.parked import Subject
from cdcd.resolve.keys import encode_key
from cdcd.resolve.plan import Plan

OWED_RECORDS: Final = 2_000
"""So many records are named by one journalled command."""


class PausedEntities:
    """What is held back from one target. `numbers` are entities with their children; mostly there are none."""

    def __init__(self, system: str, plan: Plan, journal: Journal, counts: Counter[str]) -> None:
        """`counts["put_aside"]` grows by the records that are put aside."""
        self.numbers: frozenset[int] = frozenset()
        self._system = system
        self._journal = journal
        self._counts = counts
        self._known = {e.name: e.number for e in plan.entities.values() if system in e.bindings}

    def look(self) -> frozenset[int]:
        """Read the switches; return the entities that are held back no more."""
        paused = pause_switches.paused_entities(self._journal.controls(), self._system, self._known)
        before, self.numbers = self.numbers, frozenset([self._known[name] for name in paused])
        return before - self.numbers

    def without(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """The units without what is held back, which is owed from now on, durably."""
        if not self.numbers:
            return units
        owed: dict[tuple[int, bytes], list[Any]] = {}
        for unit in units:
            if any(item[0] in self.numbers for item in unit.items):
                for item in unit.items:
                    if item[0] in self.numbers:
                        _owe(owed, item)
                unit.items = [item for item in unit.items if item[0] not in self.numbers]
        self._journal_owed(list(owed.values()))
        return units

    def owe(self, subjects: Sequence[Subject]) -> None:
        """These records are owed from now on, durably."""
        self._journal_owed([[*subject, False] for subject in subjects])

    def _journal_owed(self, records: list[list[Any]]) -> None:
        for start in range(0, len(records), OWED_RECORDS):
            part = records[start : start + OWED_RECORDS]
            self._journal.command(Command("owe", {"system": self._system, "records": part}))
        self._counts["put_aside"] += len(records)


def _owe(owed: dict[tuple[int, bytes], list[Any]], item: Item) -> None:
    """Owe the record of an item, by the key that it has at last; and say whether any was to be deleted under that key.

    By which key the target has it, resolve knows.
    """
    number, key = item[0], bytes(item[2])
    if item[1] == RecordWrite.REKEY:
        owed.pop((number, encode_key(item[4])), None)
    before = owed.get((number, key))
    owed[number, key] = [number, key, item[1] == RecordWrite.DELETE or (before is not None and before[2])]

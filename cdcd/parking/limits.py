"""How many records of an entity may be parked for a target before the entity is paused there (`parked-max`).

A wrong configuration or a broken trigger refuses everything: then a list of millions helps nobody, and the target is
spared trying them one by one. resolve owes what comes from then on, so nothing is lost.
"""

from __future__ import annotations

import logging
import re
from typing import Final

import msgspec

from cdcd import pause_switches
from cdcd.journal import Command, Journal
from cdcd.parking.parked import ParkedRecords
from cdcd.resolve.plan import Plan, root_of
from cdcd.state import State

SHARE_RECORDS_MIN: Final = 1_000
"""A share counts only beyond so many parked records: of ten records two may well be wrong."""
_GROWTH: Final = 1.1
"""Counting an entity's records is worth its while only when so many times more of them were refused."""
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_log: Final = logging.getLogger(__name__)


class Limit(msgspec.Struct, frozen=True):
    """So many records; or, if there is a `share` of 1, that share of them but never below `records`."""

    records: int
    share: float | None = None


def parse_limit(text: str | int) -> Limit:
    """The limit that "5%" or 200 says. Raises ValueError."""
    if isinstance(text, int):
        if text < 1:
            raise ValueError(f"at least one record must be allowed to be parked, got {text}")
        return Limit(text)
    match = _SHARE.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) <= 100:
        raise ValueError(f'expected a share like "5%" or a number of records like 200, got {text!r}')
    return Limit(SHARE_RECORDS_MIN, float(match[1]) / 100)


class ParkedLimits:
    """Watches how much is parked for one target."""

    def __init__(self, system: str, plan: Plan, state: State, journal: Journal, parked: ParkedRecords) -> None:
        self._system = system
        self._state = state
        self._journal = journal
        self._parked = parked
        self._roots = {e.number: root_of(e.name) for e in plan.entities.values() if system in e.bindings}
        self._names = {e.number: e.name for e in plan.entities.values()}
        self._limits = {
            number: parse_limit(plan.entities[root].bindings[system].parked_max) for number, root in self._roots.items()
        }
        self._least = min((limit.records for limit in self._limits.values()), default=0)
        self._seen = 0
        self._looked_at: dict[int, int] = {}

    def reached(self) -> bool:
        """Pause the entities of which more is parked than may be; return whether there are any new ones."""
        if len(self._parked) == self._seen or len(self._parked) < self._least:
            return False
        self._seen = len(self._parked)
        paused = False
        for number, count in self._parked.counts().items():
            limit = self._limits.get(number)
            if limit is not None and count >= limit.records and self._is_beyond(number, limit, count):
                paused = self._pause(number, limit, count) or paused
        return paused

    def is_reached_by(self, number: int, count: int) -> bool:
        """Pause the entity if so many refused records are too many; return whether it was paused by that."""
        limit = self._limits.get(number)
        if limit is None or count < limit.records:
            self._looked_at.pop(number, None)
            return False
        if count < self._looked_at.get(number, 0) * _GROWTH:
            return False
        self._looked_at[number] = count
        return self._is_beyond(number, limit, count) and self._pause(number, limit, count)

    def _is_beyond(self, number: int, limit: Limit, count: int) -> bool:
        """Whether `count` records are too many: only as many are counted as decide it."""
        if limit.share is None:
            return True
        enough = int(count / limit.share) + 1
        found = self._state.connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM golden WHERE entity=? LIMIT ?)", (number, enough)
        )
        return bool(found.fetchone()[0] < enough)

    def _pause(self, number: int, limit: Limit, count: int) -> bool:
        root = self._roots[number]
        switch = pause_switches.of_entity(self._system, root)
        if switch in self._journal.controls():
            return False
        allowed = f"{limit.records:,} records" if limit.share is None else f"{limit.share:.4g} of its records"
        reason = f"{count:,} records of {self._names[number]} are parked, parked-max is {allowed}"
        self._journal.set_control(switch, reason)
        self._journal.command(Command("hold", {"systems": [self._system], "entity": root, "on": True}))
        _log.error(
            "an entity is paused, too many of its records are refused",
            extra={"system": self._system, "entity": root, "what": reason, "next": "cdcd parked list, cdcd resume"},
        )
        return True

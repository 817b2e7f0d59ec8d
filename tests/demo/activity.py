"""Business, played on one side by one thread: seeded choices, paced, one transaction after the other until told to stop."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Final, TypeAlias

import msgspec

from demo.desk import Desk
from demo.records import Side

FEED_LENGTH: Final = 200
Action: TypeAlias = Callable[[], str | None]
"""Does one business transaction, committed or not at all; returns what happened in words, None when nothing did."""


class Event(msgspec.Struct, frozen=True):
    """What somebody did. `forbidden`: they had no right to, and it must be put right."""

    side: Side
    text: str
    forbidden: bool


class Activity(threading.Thread):
    """Plays a business at `rate` transactions per second. What goes wrong is in `failure`, and ends it."""

    def __init__(self, business: Desk, rng: Random, rate: float, feed: deque[Event]) -> None:
        super().__init__(name=f"business-{business.side}", daemon=True)
        self._business = business
        self._rng = rng
        self._rate = rate
        self._feed = feed
        self._ending = threading.Event()
        self.counts: Counter[str] = Counter()
        self.lock_conflicts = 0
        self.failure: BaseException | None = None

    def stop(self) -> None:
        """Let the present transaction be the last one."""
        self._ending.set()

    def run(self) -> None:
        """Play."""
        try:
            self._business.open()
            try:
                self._play()
            finally:
                self._business.close()
        except BaseException as error:  # noqa: BLE001 (whatever it is, the main thread must hear of it)
            self.failure = error

    def _play(self) -> None:
        names, weights = list(self._business.weights), list(self._business.weights.values())
        while not self._ending.wait(self._rng.expovariate(self._rate)):
            self._act(self._rng.choices(names, weights)[0])

    def _act(self, name: str) -> None:
        action: Action = getattr(self._business, name)
        try:
            text = action()
        except Exception as error:
            self._business.rollback()
            if not self._business.lost_a_lock(error):
                raise
            self.lock_conflicts += 1
            return
        if text is None:
            self._business.rollback()
            return
        self.counts[name] += 1
        self._feed.append(Event(self._business.side, text, name.startswith("wrongly_")))

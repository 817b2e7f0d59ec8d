"""What the owner of each field last wrote: the truth that both databases are held against."""

from __future__ import annotations

import threading
from collections import Counter
from copy import deepcopy
from random import Random
from typing import Any

from demo.records import Books, Key, Record


class Ledger:
    """Shared by both sides' threads.

    An owner enters what it writes after its statements have succeeded and just before it commits: entered after the
    commit, the other side could already have received an order and shipped it before the hand-over is in the ledger.
    What somebody writes who is not the owner is never entered, only counted.
    """

    def __init__(self, opening: Books) -> None:
        self._lock = threading.Lock()
        self._books = deepcopy(opening)
        self._keys: dict[str, list[Key]] = {kind: list(records) for kind, records in opening.items()}
        self.attempts: Counter[str] = Counter()

    def create(self, kind: str, key: Key, record: Record) -> None:
        """A record that its creator wrote."""
        with self._lock:
            self._books[kind][key] = dict(record)
            self._keys[kind].append(key)

    def write(self, kind: str, key: Key, **fields: Any) -> None:
        """Fields that their owner wrote. A record that was deleted on the other side meanwhile stays deleted."""
        with self._lock:
            if key in self._books[kind]:
                self._books[kind][key].update(fields)

    def delete(self, kind: str, key: Key) -> None:
        """A record that somebody deleted who may."""
        with self._lock:
            del self._books[kind][key]
            self._keys[kind].remove(key)

    def attempt(self, side: str) -> None:
        """A change that `side` had no right to, and that is to be put right."""
        with self._lock:
            self.attempts[side] += 1

    def pick(self, kind: str, rng: Random) -> Key:
        """The key of any record of a kind."""
        with self._lock:
            return rng.choice(self._keys[kind])

    def get(self, kind: str, key: Key) -> Record:
        """A copy of a record as its owners last wrote it."""
        with self._lock:
            return dict(self._books[kind][key])

    def keys(self, kind: str) -> list[Key]:
        """The keys of all records of a kind, in the order of their creation."""
        with self._lock:
            return list(self._keys[kind])

    def lines(self, number: str) -> dict[int, Record]:
        """An order's lines by line number. Looks at the numbers 1 to 20 alone, so it costs the same at any size."""
        with self._lock:
            lines = self._books["order_line"]
            return {n: dict(lines[number, n]) for n in range(1, 21) if (number, n) in lines}

    def books(self) -> Books:
        """A copy of everything."""
        with self._lock:
            return deepcopy(self._books)

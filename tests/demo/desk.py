"""What the people of both sides have in common: a connection, and a ledger entry for everything they may write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, ClassVar, Final, Protocol

from demo.ledger import Ledger
from demo.opening import BARRIER
from demo.records import Key, Record, Side

PICKS_MAX: Final = 40


class Statements(Protocol):
    """How one side's database is written: the modules `demo.erp` and `demo.shop`."""

    def insert(self, cursor: Any, kind: str, key: Key, record: Record, /) -> bool:
        """Insert one record; whether it was inserted (not, when what it refers to is not there)."""

    def update(self, cursor: Any, kind: str, key: Key, /, **fields: Any) -> bool:
        """Set fields of one record; whether it is there."""

    def delete(self, cursor: Any, kind: str, key: Key, /) -> bool:
        """Delete one record; whether it was there."""


class Desk(ABC):
    """Base of both businesses.

    What a transaction writes by right is noted, and entered in the ledger just before the commit: a transaction that
    loses a lock half-way has written nothing.
    """

    side: Side
    weights: ClassVar[Mapping[str, int]]
    """Names of methods → how often one is chosen. Those starting with "wrongly_" are forbidden."""

    def __init__(self, statements: Statements, ledger: Ledger, rng: Random) -> None:
        self._statements = statements
        self._ledger = ledger
        self._rng = rng
        self._serial = 0
        self._notes: list[Callable[[], None]] = []
        self._connection: Any = None
        self._cursor: Any = None

    @abstractmethod
    def open(self) -> None:
        """Connect, in the thread that will use it."""

    @abstractmethod
    def lost_a_lock(self, error: Exception) -> bool:
        """Whether the error only says that this transaction met another one, and may be tried again."""

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def rollback(self) -> None:
        """Undo the transaction."""
        self._notes.clear()
        self._connection.rollback()

    def _commit(self, text: str) -> str:
        for note in self._notes:
            note()
        self._notes.clear()
        self._connection.commit()
        return text

    def _commit_wrong(self, text: str) -> str:
        self._ledger.attempt(self.side)
        return self._commit(text)

    # ---- by right: written and noted -----------------------------------------------------------------------

    def _set(self, kind: str, key: Key, **fields: Any) -> bool:
        """Update fields that we own; whether the record is there."""
        done = self._statements.update(self._cursor, kind, key, **fields)
        if done:
            self._note_write(kind, key, **fields)
        return done

    def _note_write(self, kind: str, key: Key, **fields: Any) -> None:
        self._notes.append(lambda: self._ledger.write(kind, key, **fields))

    def _add(self, kind: str, key: Key, record: Record) -> bool:
        """Insert a record that we may create; whether what it refers to is there."""
        done = self._statements.insert(self._cursor, kind, key, record)
        if done:
            self._notes.append(lambda: self._ledger.create(kind, key, record))
        return done

    def _remove(self, kind: str, key: Key) -> bool:
        """Delete a record that we may delete; whether it was there."""
        done = self._statements.delete(self._cursor, kind, key)
        if done:
            self._notes.append(lambda: self._ledger.delete(kind, key))
        return done

    # ---- by wrong: written, and nothing more ---------------------------------------------------------------

    def _wrongly_set(self, kind: str, key: Key, **fields: Any) -> bool:
        return self._statements.update(self._cursor, kind, key, **fields)

    def _wrongly_add(self, kind: str, key: Key, record: Record) -> bool:
        return self._statements.insert(self._cursor, kind, key, record)

    def _wrongly_remove(self, kind: str, key: Key) -> bool:
        return self._statements.delete(self._cursor, kind, key)

    # ---- choosing ------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _pick(self, kind: str) -> str:
        key = self._ledger.pick(kind, self._rng)
        assert isinstance(key, str), f"a {kind} has more than one key field"
        return key

    def _pick_where(self, kind: str, condition: Callable[[str], bool]) -> str | None:
        """One that fulfils the condition, or none when it is not among a few dozen picked at random."""
        return next((key for _ in range(PICKS_MAX) if condition(key := self._pick(kind))), None)

    def _pick_product(self) -> str:
        while (sku := self._pick("product")) == BARRIER:
            pass
        return sku

    def _pick_products(self, most: int) -> list[str]:
        """Some products, sorted: everybody locks rows in one order."""
        return sorted({self._pick_product() for _ in range(self._rng.randint(1, most))})

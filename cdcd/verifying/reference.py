"""What cdcd holds to be true, as resolve last committed it: golden records, and all that explains why a row is otherwise.

Reads the state database beside resolve, and writes nothing. Within `moment` everything is of one commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from cdcd import outbox, pause_switches
from cdcd.conflicts import OPEN, Conflict, ConflictBook
from cdcd.journal import Journal
from cdcd.outbox import OutboxWriter
from cdcd.parking.parked import SCHEMA as PARKED_SCHEMA
from cdcd.parking.parked import Subject
from cdcd.resolve import suspension
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.golden import Crosswalk, GoldenRecords, Record
from cdcd.resolve.mapping import entity_of_binding
from cdcd.resolve.plan import Plan
from cdcd.resolve.renaming import Renames, references
from cdcd.resolve.totals import Levels
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.storage import Database

STANDING_CONFLICTS: Final = OPEN | {"ignored", "create-ignored", "delete-ignored"}
"""Kinds whose difference stays as it is until a person decides, or for good."""


class Settled(msgspec.Struct, frozen=True):
    """A moment of resolve: what it had decided up to journal entry `position` is in units up to `unit`.

    The system in question has these units; where it does not get them (it is paused, or away), `unit` is what it has, and
    `is_all` is false.
    """

    position: int
    unit: int
    is_all: bool = True


class Reference:
    """The state as a verification reads it."""

    def __init__(self, plan: Plan, directory: StateDirectory) -> None:
        self.plan = plan
        self.systems = plan.vocabulary.systems
        self._directory = directory
        self._state = State(directory.state, read_only=True)
        self._journal = Journal(directory.journal, read_only=True)
        widths = {entity.number: len(entity.fields) for entity in plan.entities.values()}
        self._renames = Renames(self._state, references(plan))
        self.golden = GoldenRecords(self._state, widths, self._renames)
        self._crosswalk = Crosswalk(self._state)
        self._book = ConflictBook(self._state)
        self._parked: dict[str, Database] = {}
        self.deciders = self._make_deciders()

    def _make_deciders(self) -> Mapping[str, EntityDecider]:
        """They are only asked: nothing of what they would write is ever written."""
        unused = OutboxWriter(self._state), self._book, Levels(self._state)
        return {
            name: EntityDecider(self.plan, entity, self.golden, *unused, Counter(), Counter(), {})
            for name, entity in self.plan.entities.items()
        }

    @contextmanager
    def moment(self, *, anew: bool = False) -> Iterator[None]:
        """Read what one commit of resolve has left; which records have conflicts is only looked up `anew` where that counts."""
        self.golden.discard()
        self._crosswalk.discard()
        self._state.connection.execute("BEGIN")
        try:
            self._renames.load()
            if anew:
                self._book.load()
            yield
        finally:
            self._state.connection.execute("ROLLBACK")

    # ---- how far everything is -------------------------------------------------------------------------------

    def resolved(self) -> Settled:
        """Up to where resolve has come."""
        with self.moment():
            return Settled(self._state.position, self._state.units)

    def applied(self, system: str) -> int:
        """The last unit that a system has, as far as it has told."""
        return outbox.read_applied(self._directory.path, system)

    def lacks(self, system: str, unit: int) -> bool:
        """Whether anything of the units up to this one has not arrived in a system."""
        return outbox.lacks(self._state, system, self.applied(system), unit)

    def is_paused(self, system: str) -> bool:
        """Whether delivery to a system is paused."""
        return pause_switches.of_system(system) in self._journal.controls()

    def why_not(self, entity: str) -> str:
        """Why records of an entity cannot be compared at present, "" when they can."""
        family = self.plan.entities[entity].family
        if family in suspension.load(self._state):
            return "suspended: it can be read no further"
        rows = self._state.connection.execute("SELECT phase FROM phases WHERE entity=?", (entity,)).fetchone()
        return "" if rows is not None and rows[0] == "live" else "its first copy is not done"

    def compared_rows(self, entity: str) -> int:
        """How many records there are."""
        number = self.plan.entities[entity].number
        row = self._state.connection.execute("SELECT count(*) FROM golden WHERE entity=?", (number,)).fetchone()
        return int(row[0])

    # ---- within a moment -------------------------------------------------------------------------------------

    def key_of(self, binding: int, row_id: bytes) -> bytes | None:
        """The present key of the record that a row was last seen to hold."""
        key = self._crosswalk.key_of(binding, row_id)
        return None if key is None else self._renames.followed(entity_of_binding(binding), key)

    def main_ids(self, binding: int, key: bytes) -> list[bytes]:
        """The crosswalk ids of the rows that are this record, of a binding whose records are put together."""
        rows = self._state.connection.execute(
            "SELECT row_id FROM gathered_present WHERE binding=? AND key=?", (binding, key)
        )
        return [bytes(row_id) for (row_id,) in rows]

    def unread(self, entity: int, binding: int, system: int, row_id: bytes) -> str:
        """Why the row is no record yet: held, or waiting for another row; "" where it is not known as such."""
        execute = self._state.connection.execute
        held = execute("SELECT code FROM held WHERE entity=? AND key=? AND system=?", (entity, row_id, system))
        if (found := held.fetchone()) is not None:
            return f"held: {found[0]}"
        waiting = execute("SELECT 1 FROM waiting WHERE binding=? AND row=?", (binding, row_id))
        return "" if waiting.fetchone() is None else "waiting"

    def owed(self, system: int, entity: int, key: bytes) -> bool:
        """Whether the system is told of the record later."""
        return self._has("owed", system, entity, key)

    def is_levelled_later(self, system: int, entity: int, key: bytes) -> bool:
        """Whether its totals are looked at again when something has been read back."""
        return self._has("levels", system, entity, key)

    def _has(self, table: str, system: int, entity: int, key: bytes) -> bool:
        found = self._state.connection.execute(
            f"SELECT 1 FROM {table} WHERE system=? AND entity=? AND key=?", (system, entity, key)
        )
        return found.fetchone() is not None

    def conflicts(self, entity: int, key: bytes, system: int) -> list[Conflict]:
        """What the system wanted of the record and did not get."""
        return [found for found in self._book.of(entity, key) if found.system == system]

    def parked(self, system: str, subject: Subject) -> str:
        """The code with which the system refuses the record, "" where it does not."""
        database = self._parked.get(system)
        if database is None:
            path = self._directory.deliver(system)
            if not path.exists():
                return ""
            database = self._parked[system] = Database(path, PARKED_SCHEMA, read_only=True)
        row = database.connection.execute("SELECT code FROM parked WHERE subject=? AND key=?", subject).fetchone()
        return "" if row is None else str(row[0])

    def record(self, entity: str, key: bytes) -> Record | None:
        """The golden record, also a deleted one."""
        return self.golden.get(self.plan.entities[entity].number, key)

    def close(self) -> None:
        """Close the files."""
        for database in self._parked.values():
            database.close()
        self._state.close()
        self._journal.close()


@contextmanager
def opened(plan: Plan, path: Path) -> Iterator[Reference]:
    """The reference of a state directory."""
    with closing(Reference(plan, StateDirectory(path))) as reference:
        yield reference

"""First copies of tables and resyncs: which tables were read whole, which entities that settles, who has gone missing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from cdcd.journal import ChunkNote
from cdcd.outbox import OutboxWriter
from cdcd.resolve.decide import EntityDecider, Moment
from cdcd.resolve.golden import GoldenRecords
from cdcd.resolve.plan import Plan
from cdcd.resolve.seeding import Seeds, Settler
from cdcd.state import State

PAGE_RECORDS: Final = 1_000
UNKNOWN_KEY: Final = b""
"""Among the seen: the system has a row whose key could not be told, so that no record can be said to be missing."""
_log: Final = logging.getLogger(__name__)


class Copying:
    """What copies mean for entities: until every system that has it was read whole, an entity is `seeding`."""

    def __init__(
        self,
        plan: Plan,
        state: State,
        deciders: Mapping[str, EntityDecider],
        golden: GoldenRecords,
        seeds: Seeds,
        outbox: OutboxWriter,
        pulse: Callable[[], None],
        is_awaiting: Callable[[str], bool] = lambda _entity: False,
    ) -> None:
        """`pulse` is called on the way of what takes long.

        `is_awaiting` says of an entity whose records are put together whether tables for that have not been read whole.
        """
        self.seeding: set[str] = set()
        self._plan = plan
        self._state = state
        self._systems = plan.vocabulary.systems
        self._bindings = {system: plan.by_table(system) for system in plan.systems}
        self._deciders = deciders
        self._golden = golden
        self._seeds = seeds
        self._outbox = outbox
        self._pulse = pulse
        self._is_awaiting = is_awaiting
        self._resyncs: dict[str, int] = {}
        self._snapshots: dict[tuple[str, str], int] = {}
        self._first_runs: dict[str, int] = {}

    def load(self) -> None:
        """Take up the phases where they were: at the start, and after a step that failed."""
        execute = self._state.connection.execute
        phases = execute("SELECT entity, run FROM phases WHERE phase = 'seeding'")
        self._first_runs = {name: run for name, run in phases if name in self._plan.entities}
        self.seeding = {*self._first_runs}
        self._snapshots = {(s, t): run for s, t, run in execute('SELECT system, "table", run FROM snapshots')}
        self._resyncs = json.loads(self._state.get("resyncs") or b"{}")

    # ---- chunks ----------------------------------------------------------------------------------------------

    def chunk_read(
        self,
        moment: Moment,
        source: str,
        note: ChunkNote,
        entities: Collection[str],
        complete: Collection[str] = (),
    ) -> None:
        """A chunk has been read for these entities. After the last one of a table: settle, or look who is missing.

        `complete` are those whose records can be put together since this chunk.
        """
        if not note.done:
            return
        first = (source, note.table) not in self._snapshots
        self._snapshots[source, note.table] = note.run
        self._state.connection.execute(
            "INSERT OR REPLACE INTO snapshots VALUES (?,?,?)", (source, note.table, note.run)
        )
        shown = [binding.entity for binding in self._bindings.get(source, {}).get(note.table, [])]
        for entity in dict.fromkeys([*(name for name in shown if not self._is_awaiting(name)), *complete]):
            if entity in entities and entity not in self.seeding:
                self._sweep(moment, source, entity, note, first=first)
        self.settle_ready(moment, entities)

    def settle_ready(self, moment: Moment, entities: Collection[str]) -> None:
        """Settle every one of `entities` whose tables have all been read and whose parent and references are settled.

        Where references go in a circle, those that come later need only have been read.
        """
        unread = {
            name
            for name, entity in self._plan.entities.items()
            if not all(
                self._is_read(name, system, table) for system, b in entity.bindings.items() for table in b.tables
            )
        }
        later = set(self._plan.entities)
        for name, entity in self._plan.entities.items():
            later.discard(name)
            wanted = {entity.parent, *(field.refers_to for field in entity.fields)} - {None, name}
            unsettled = wanted & self.seeding
            if name in entities and name in self.seeding - unread and unsettled <= later - unread:
                self._settle(moment, name)

    def _is_read(self, entity: str, system: str, table: str) -> bool:
        """Whether a table was read whole since the entity is known: rows of a copy before that were not read for it."""
        return self._snapshots.get((system, table), -1) >= self._first_runs.get(entity, 0)

    def _settle(self, moment: Moment, name: str) -> None:
        settler = Settler(self._deciders[name], self._seeds)
        while settler.settle_page(moment):
            self._outbox.end_unit()
            self._golden.flush()
            self._pulse()
        self.seeding.discard(name)
        self._state.connection.execute("UPDATE phases SET phase='live' WHERE entity=?", (name,))
        _log.info("live entity=%s seq=%d", name, moment.seq)

    # ---- resyncs ---------------------------------------------------------------------------------------------

    def start_resync(self, run: int, entities: Collection[str]) -> None:
        """Note from now on which records each system shows; `run` numbers the copies that will.

        An entity whose first copy is not settled yet needs no notes: all that its seeds do not hold is not there.
        """
        for name in entities:
            if name in self.seeding:
                continue
            plan = self._plan.entities[name]
            for system in plan.bindings:
                self._resyncs[f"{system}:{name}"] = run
                self._state.connection.execute(
                    "DELETE FROM seen WHERE entity=? AND system=?", (plan.number, self._systems.index(system))
                )
        self._state.put("resyncs", json.dumps(self._resyncs).encode())

    def seen(self, system: int, entity: str, key: bytes) -> None:
        """While the entity is copied anew, note that the system has the record."""
        if self._resyncs and f"{self._systems[system]}:{entity}" in self._resyncs:
            self._state.connection.execute(
                "INSERT OR IGNORE INTO seen VALUES (?,?,?)", (self._deciders[entity].number, key, system)
            )

    def _sweep(self, moment: Moment, source: str, entity: str, note: ChunkNote, *, first: bool) -> None:
        """After a whole copy: what the system no longer has was deleted there, what it never had is created."""
        at = f"{source}:{entity}"
        if not first and self._resyncs.get(at) != note.run:
            return
        decider = self._deciders[entity]
        system = self._systems.index(source)
        may_miss = not first and not self._was_seen(decider.number, system, UNKNOWN_KEY)
        after = b""
        while page := self._golden.page(decider.number, after, PAGE_RECORDS):
            for key, record in page:
                if not record.alive or self._was_seen(decider.number, system, key):
                    continue
                if record.present >> system & 1:
                    if may_miss:
                        decider.deleted(moment, system, key)
                elif record.sent >> system & 1 or decider.may_lack(system, key):
                    continue
                elif decider.rights.may_spread(record):
                    decider.ensure(moment, system, key, record)
                    self._golden.put(decider.number, key, record)
            after = page[-1][0]
            self._outbox.end_unit()
            self._pulse()
        self._state.connection.execute("DELETE FROM seen WHERE entity=? AND system=?", (decider.number, system))
        if self._resyncs.pop(at, None) is not None:
            self._state.put("resyncs", json.dumps(self._resyncs).encode())

    def _was_seen(self, entity: int, system: int, key: bytes) -> bool:
        found = self._state.connection.execute(
            "SELECT 1 FROM seen WHERE entity=? AND system=? AND key=?", (entity, system, key)
        )
        return found.fetchone() is not None

"""First copies of tables and resyncs: which tables were read whole, which entities that settles, who has gone missing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from cdcd.failpoints import reach
from cdcd.journal import ChunkNote
from cdcd.model import ABSENT
from cdcd.outbox import OutboxWriter
from cdcd.resolve.decide import EntityDecider, Moment
from cdcd.resolve.golden import GoldenRecords
from cdcd.resolve.masks import slots_of
from cdcd.resolve.missing import UNKNOWN_KEY, NamedRecords, judge_missing
from cdcd.resolve.plan import Plan, root_of
from cdcd.resolve.runs import RunDecider
from cdcd.resolve.seeding import Seeds, Settler
from cdcd.state import State

PAGE_RECORDS: Final = 1_000
SETTLE_PAGES: Final = 20
"""Of a first copy, what is settled in one commit: targets are told of the first records while the last ones are settled."""
_log: Final = logging.getLogger(__name__)


class Settling(msgspec.Struct, frozen=True, array_like=True):
    """An entity that is settled over several commits, as of the journal entry that completed its copies."""

    entity: str
    seq: int
    committed_at_us: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_settling: Final = msgspec.msgpack.Decoder(Settling | None).decode


class Copying:
    """What copies mean for entities: until every system that has it was read whole, an entity is `seeding`."""

    def __init__(
        self,
        plan: Plan,
        state: State,
        deciders: Mapping[str, RunDecider],
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
        self.named = NamedRecords(plan, state, deciders, golden)
        """Records that an operator wants compared by name."""
        self._resyncs: dict[str, int] = {}
        self._repositioned: dict[str, int] = {}
        """By system: since which copies its log is read from a later place than where it was left."""
        self._snapshots: dict[tuple[str, str], int] = {}
        self._first_runs: dict[str, int] = {}
        self.settling: Settling | None = None
        """What is to be settled on before anything else is resolved."""

    def load(self) -> None:
        """Take up the phases where they were: at the start, and after a step that failed."""
        execute = self._state.connection.execute
        phases = execute("SELECT entity, run FROM phases WHERE phase = 'seeding'")
        self._first_runs = {name: run for name, run in phases if name in self._plan.entities}
        self.seeding = {*self._first_runs}
        self._snapshots = {(s, t): run for s, t, run in execute('SELECT system, "table", run FROM snapshots')}
        self._resyncs = json.loads(self._state.get("resyncs") or b"{}")
        self._repositioned = json.loads(self._state.get("repositioned") or b"{}")
        stored = self._state.get("settling")
        self.settling = None if stored is None else _decode_settling(stored)
        self.named.load()

    # ---- chunks ----------------------------------------------------------------------------------------------

    def chunk_read(
        self,
        moment: Moment,
        source: str,
        note: ChunkNote,
        entities: Collection[str],
        complete: Collection[str] = (),
        *,
        at_once: bool = True,
    ) -> None:
        """A chunk has been read for these entities. After the last one of a table: settle, or look who is missing.

        `complete` are those whose records can be put together since this chunk. `at_once`: see `settle_ready`.
        """
        if not note.done or note.filtered:
            return  # where only some rows were wanted, nobody is missing
        first = (source, note.table) not in self._snapshots
        self._snapshots[source, note.table] = note.run
        self._state.connection.execute(
            "INSERT OR REPLACE INTO snapshots VALUES (?,?,?)", (source, note.table, note.run)
        )
        shown = [binding.entity for binding in self._bindings.get(source, {}).get(note.table, [])]
        for entity in dict.fromkeys([*(name for name in shown if not self._is_awaiting(name)), *complete]):
            if entity in entities and entity not in self.seeding:
                self._sweep(moment, source, entity, note, first=first)
        self.settle_ready(moment, entities, at_once=at_once)

    def settle_ready(self, moment: Moment, entities: Collection[str], *, at_once: bool = True) -> None:
        """Settle every one of `entities` whose tables have all been read and whose parent and references are settled.

        If not `at_once`, only so many records that there is something left to be `settling`: then `settle_on` in further commits.
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
            is_ready = name in entities and name in self.seeding - unread and unsettled <= later - unread
            if is_ready and not self._settle(moment, name, None if at_once else SETTLE_PAGES):
                return

    def settle_on(self, moment: Moment, entities: Collection[str]) -> None:
        """Settle more of what is `settling`, as far as one commit goes, and what is ready after it."""
        assert self.settling is not None, "nothing is left to be settled"
        name = self.settling.entity
        self._note_settling(None)
        if name not in self.seeding or self._settle(moment, name, SETTLE_PAGES):
            self.settle_ready(moment, entities, at_once=False)

    def _note_settling(self, settling: Settling | None) -> None:
        self.settling = settling
        self._state.put("settling", _encode(settling))

    def _is_read(self, entity: str, system: str, table: str) -> bool:
        """Whether a table was read whole since the entity is known: rows of a copy before that were not read for it.

        What was read before the system's log was left says nothing of what is there.
        """
        since = max(self._first_runs.get(entity, 0), self._repositioned.get(system, 0))
        return self._snapshots.get((system, table), -1) >= since

    def _settle(self, moment: Moment, name: str, pages: int | None) -> bool:
        """Settle an entity, or so many pages of it; whether that is all."""
        settler = Settler(self._deciders[name], self._seeds)
        settled = 0
        while settler.settle_page(moment):
            self._outbox.end_unit()
            self._golden.put_away()
            self._pulse()
            settled += 1
            if settled == pages:
                self._note_settling(Settling(name, moment.seq, moment.committed_at_us))
                return False
        self.seeding.discard(name)
        self._state.connection.execute("UPDATE phases SET phase='live' WHERE entity=?", (name,))
        reach("resolve.after-settle")
        _log.info("live entity=%s seq=%d", name, moment.seq)
        return True

    # ---- resyncs ---------------------------------------------------------------------------------------------

    def start_resync(self, run: int, entities: Collection[str], systems: Collection[str] | None = None) -> None:
        """Note from now on which records these systems show (None: all); `run` numbers the copies that will.

        An entity whose first copy is not settled yet needs no notes: all that its seeds do not hold is not there.
        """
        for name in entities:
            if name in self.seeding:
                continue
            plan = self._plan.entities[name]
            for system in plan.bindings:
                if systems is None or system in systems:
                    self._resyncs[f"{system}:{name}"] = run
                    self._forget_seen(plan.number, system)
                    self.named.forget(system, name)
        self._state.put("resyncs", json.dumps(self._resyncs).encode())

    def cancel_resync(self, entities: Collection[str]) -> None:
        """The copies of a resync will not come to their end: nobody is missing."""
        for at in [at for at in self._resyncs if at.partition(":")[2] in entities]:
            system, _, name = at.partition(":")
            del self._resyncs[at]
            self._forget_seen(self._plan.entities[name].number, system)
        for name in entities:
            for system in self._plan.entities[name].bindings:
                self.named.forget(system, name)
        self._state.put("resyncs", json.dumps(self._resyncs).encode())

    def repositioned(self, run: int, system: str, entities: Collection[str]) -> None:
        """The log of a system is read from a later place than where it was left; the copies of `run` show what is there.

        What was seen of it for first copies counts no more, nor what it showed last of totals: what was added to those
        meanwhile cannot be told from what is ours.
        """
        self._repositioned[system] = run
        self._state.put("repositioned", json.dumps(self._repositioned).encode())
        number = self._systems.index(system)
        for name in entities:
            if system not in self._plan.entities[name].bindings:
                continue
            decider = self._deciders[name]
            if name in self.seeding:
                self._seeds.forget(decider.number, number)
            elif decider.ownership.sum_mask:
                self._forget_totals(decider, number)
        self.start_resync(run, entities, [system])

    def fills_gap(self, source: str, note: ChunkNote) -> bool:
        """Whether a chunk shows what happened while nobody read the system's log."""
        return self._repositioned.get(source) == note.run

    def _forget_totals(self, decider: EntityDecider, system: int) -> None:
        after = b""
        while page := self._golden.page(decider.number, after, PAGE_RECORDS):
            for key, record in page:
                shown = None if record.shadows is None else record.shadows.get(system)
                if shown is not None:
                    for slot in slots_of(decider.ownership.sum_mask):
                        shown[slot] = ABSENT
                    self._golden.put(decider.number, key, record)
            after = page[-1][0]
            self._golden.flush()
            self._pulse()

    def _forget_seen(self, entity: int, system: str) -> None:
        self._state.connection.execute(
            "DELETE FROM seen WHERE entity=? AND system=?", (entity, self._systems.index(system))
        )

    def distrust(self, seq: int, entities: Collection[str], systems: Collection[str]) -> None:
        """What these systems' logs said before `seq` is not all known: no copy from before counts, no record is missed by it."""
        self.start_resync(seq, entities)
        for name in self.seeding.intersection(entities):
            self._first_runs[name] = seq
            self._state.connection.execute("UPDATE phases SET run=? WHERE entity=?", (seq, name))
            for system in systems:
                self._seeds.forget(self._deciders[name].number, self._systems.index(system))

    def overtaken(self, source: str, run: int) -> frozenset[str]:
        """The families that a later copy of `source` is to show: an earlier one (`run`) misses nobody for them."""
        later = [at.partition(":") for at, expected in self._resyncs.items() if run < expected]
        return frozenset(root_of(entity) for system, _, entity in later if system == source)

    def is_watching(self, system: int, entity: str) -> bool:
        """Whether `seen` would note anything of the entity."""
        return bool(self.named.wanted) or f"{self._systems[system]}:{entity}" in self._resyncs

    def seen(self, system: int, entity: str, key: bytes) -> None:
        """While the entity is copied anew, note that the system has the record."""
        if self.named.wanted:
            self.named.seen(self._systems[system], entity, key)
        if self._resyncs and f"{self._systems[system]}:{entity}" in self._resyncs:
            self._state.connection.execute(
                "INSERT OR IGNORE INTO seen VALUES (?,?,?)", (self._deciders[entity].number, key, system)
            )

    def _sweep(self, moment: Moment, source: str, entity: str, note: ChunkNote, *, first: bool) -> None:
        """After a whole copy: what the system no longer has was deleted there, what it never had is created."""
        at = f"{source}:{entity}"
        if not first and not self._resyncs.get(at, note.run + 1) <= note.run:
            return  # a later copy of the table that somebody else wanted shows as much
        decider = self._deciders[entity]
        system = self._systems.index(source)
        may_miss = not first and not self._was_seen(decider.number, system, UNKNOWN_KEY)
        is_after_gap = self._repositioned.get(source) == self._resyncs.get(at)
        after = b""
        while page := self._golden.page(decider.number, after, PAGE_RECORDS):
            for key, record in page:
                if record.alive and not self._was_seen(decider.number, system, key):
                    if is_after_gap and not decider.on_its_way(record, system):
                        record.sent &= ~(1 << system)  # it has arrived, and nobody read that
                    judge_missing(decider, moment, system, key, record, may_miss=may_miss)
            after = page[-1][0]
            self._outbox.end_unit()
            self._pulse()
        self._forget_seen(decider.number, source)
        if self._resyncs.pop(at, None) is not None:
            self._state.put("resyncs", json.dumps(self._resyncs).encode())

    def _was_seen(self, entity: int, system: int, key: bytes) -> bool:
        found = self._state.connection.execute(
            "SELECT 1 FROM seen WHERE entity=? AND system=? AND key=?", (entity, system, key)
        )
        return found.fetchone() is not None

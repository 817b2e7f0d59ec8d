"""The resolve loop: journal entries in order -> golden records, crosswalk, outbox units, position; one commit a step.

An entry is a transaction of a log, a chunk of a copy, or an operator's command. Its rows are mapped to records and
handed to the deciders; what it means for each target becomes one outbox unit.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cdcd import outbox
from cdcd.errors import NeedsOperator
from cdcd.journal import ChunkNote, Command, Entry, Journal, Kind, decode_chunk_note, decode_command
from cdcd.model import Op, Relation, Row, Rows
from cdcd.outbox import AppliedMark, OutboxWriter
from cdcd.resolve.decide import Conflict, EntityDecider, Moment
from cdcd.resolve.golden import Crosswalk, GoldenRecords
from cdcd.resolve.mapping import Mapped, RowMapper, UnresolvedReference
from cdcd.resolve.own_writes import OwnWrites
from cdcd.resolve.plan import Plan, Route
from cdcd.resolve.seeding import Seeds, Settler
from cdcd.resolve.unmapped import UnmappedRows
from cdcd.state import State
from cdcd.values import ValueRefused

STEP_ENTRIES: Final = 1_000
OPEN_ROWS: Final = 20_000
"""Rows after which what a step has changed leaves the memory for the state's open transaction."""
TRIM_SECONDS: Final = 1.0
_UNKNOWN_KEY: Final = b""
"""Among the seen: the system has a row whose key could not be told, so that no record can be said to be missing."""
_log: Final = logging.getLogger(__name__)
_encode: Final = msgspec.msgpack.Encoder().encode


class _Readers(msgspec.Struct):
    """What is to be done with the rows of one relation. `relation` is kept so that its id() stays taken."""

    relation: Relation
    routes: list[Route]
    mappers: list[RowMapper]


class Resolver:
    """Resolve of one daemon. Single-threaded; the only writer of the state database."""

    def __init__(self, plan: Plan, journal: Journal, state: State, applied: Mapping[str, AppliedMark]) -> None:
        """`applied` are the targets' marks, read for trimming only."""
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.news: set[str] = set()
        self._plan = plan
        self._journal = journal
        self._state = state
        self._applied = applied
        self._systems = plan.vocabulary.systems
        widths = {entity.number: len(entity.fields) for entity in plan.entities.values()}
        self._golden = GoldenRecords(state, widths)
        self._crosswalk = Crosswalk(state)
        self._seeds = Seeds(state, widths)
        self._unmapped = UnmappedRows(state)
        self._outbox = OutboxWriter(state)
        self._echoed: dict[int, int] = {}
        self._deciders = {
            name: EntityDecider(plan, entity, self._golden, self._outbox, self._report, self.counts, self._echoed)
            for name, entity in plan.entities.items()
        }
        for name, entity in plan.entities.items():
            if entity.parent is not None:
                self._deciders[entity.parent].children.append(self._deciders[name])
        self._bindings = {system: plan.by_table(system) for system in plan.systems}
        self._routes = {system: plan.routes_from(system) for system in plan.systems}
        self._readers: dict[tuple[str, int], _Readers] = {}
        self._position = state.position
        self._seeding: set[str] = set()
        self._resyncs: dict[str, int] = {}
        self._snapshots: set[tuple[str, str]] = set()
        self._open_rows = 0
        self._trimmed_at = 0.0
        self._moment = Moment(0, 0, {})
        self._conflicts: list[tuple[Any, ...]] = []

    @property
    def position(self) -> int:
        """The journal seq through which everything is resolved."""
        return self._position

    def start(self) -> None:
        """Publish the vocabulary, and take up the phases where they were."""
        with self._state.transaction() as connection:
            self._state.put("vocabulary", _encode(self._plan.vocabulary))
            for name in self._plan.entities:
                connection.execute("INSERT OR IGNORE INTO phases VALUES (?, 'seeding')", (name,))
        self._load()

    def _load(self) -> None:
        execute = self._state.connection.execute
        self._seeding = {
            name for name, phase in execute("SELECT entity, phase FROM phases") if phase == "seeding"
        } & set(self._plan.entities)
        self._snapshots = {(s, t) for s, t in execute('SELECT system, "table" FROM snapshots')}
        self._unmapped.load()
        self._echoed.update(
            (number, int(self._state.get(f"echoed:{system}") or 0)) for number, system in enumerate(self._systems)
        )
        self._resyncs = json.loads(self._state.get("resyncs") or b"{}")

    # ---- the step ----------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Resolve what is waiting in the journal, in one commit; return whether there was anything.

        `news` holds the targets that were given units. A step that fails changes nothing.
        """
        entries = self._journal.read(self._position, STEP_ENTRIES)
        if not entries:
            return False
        try:
            with self._state.transaction():
                for entry in entries:
                    self._resolve(entry)
                self._flush(entries[-1].seq)
        except BaseException:
            self._discard()
            raise
        self._position = entries[-1].seq
        return True

    def _flush(self, position: int) -> None:
        assert position > self._position, f"resolve would go back: {self._position} -> {position}"
        self._write_changed()
        self.news |= self._outbox.flush()
        self._state.put("units", self._outbox.units)
        self._state.put("position", position)
        self._trim()

    def _write_changed(self) -> None:
        """Write what has changed into the step's open transaction: also on the way, where a step is large (Invariant 11)."""
        self._golden.flush()
        self._crosswalk.flush()
        self._seeds.flush()
        self._state.connection.executemany(
            "INSERT OR REPLACE INTO conflicts (entity, key, system, slot, kind, seq, at_us, value) VALUES (?,?,?,?,?,?,?,?)",
            self._conflicts,
        )
        self._conflicts.clear()

    def _discard(self) -> None:
        self._golden.discard()
        self._crosswalk.discard()
        self._seeds.discard()
        self._outbox.discard(self._state.units)
        self._conflicts.clear()
        self._load()

    def _resolve(self, entry: Entry) -> None:
        self._moment = Moment(entry.seq, entry.committed_at_us, {})
        if entry.kind == Kind.COMMAND:
            assert entry.note is not None
            self._command(decode_command(entry.note))
        else:
            self._rows_of(entry)
            if entry.kind == Kind.CHUNK:
                assert entry.note is not None
                self._chunk_done(entry.source, decode_chunk_note(entry.note))
        if entry.mark is not None:
            self._echoed[self._systems.index(entry.source)] = entry.mark[1]
            self._state.put(f"echoed:{entry.source}", entry.mark[1])
        self._outbox.end_unit()

    def _rows_of(self, entry: Entry) -> None:
        written = OwnWrites(self._state, entry.source, entry.mark) if entry.mark is not None else None
        for rows in self._journal.rows(entry):
            readers = self._readers_of(entry.source, rows.relation)
            for route in readers.routes:
                self._copy(route, rows)
            for mapper in readers.mappers:
                self._records(entry.source, mapper, rows, written)
            if not readers.routes and not readers.mappers:
                self.counts[entry.source, rows.relation.table, "unmapped"] += len(rows.rows)
            self._open_rows += len(rows.rows)
            if self._open_rows >= OPEN_ROWS:
                self._write_changed()
                self._open_rows = 0

    def _readers_of(self, source: str, relation: Relation) -> _Readers:
        known = self._readers.get((source, id(relation)))
        if known is None:
            bindings = self._bindings.get(source, {}).get(relation.table, [])
            mappers = [
                RowMapper(self._plan, self._plan.entities[b.entity], b, relation, self._crosswalk.key_of)
                for b in bindings
            ]
            known = _Readers(relation, self._routes.get(source, {}).get(relation.table, []), mappers)
            self._readers[source, id(relation)] = known
        return known

    # ---- plain copies ------------------------------------------------------------------------------------

    def _copy(self, route: Route, rows: Rows) -> None:
        if rows.op == Op.TRUNCATE:
            raise _truncated(route.source, route.source_table)
        relation = self._journal.relation_number(route.source, rows.relation)
        item = [-1 - route.number, rows.op, relation, rows.rows, rows.olds]
        self._outbox.add(route.target, item, self._moment.committed_at_us, len(rows.rows))
        self.counts[route.source, route.source_table, "copied"] += len(rows.rows)

    # ---- records -----------------------------------------------------------------------------------------

    def _records(self, source: str, mapper: RowMapper, rows: Rows, written: OwnWrites | None) -> None:
        system = self._systems.index(source)
        entity = mapper.entity.name
        if rows.op == Op.TRUNCATE:
            raise _truncated(source, rows.relation.table)
        if rows.op == Op.DELETE:
            for row in rows.rows:
                self._row_deleted(system, entity, mapper, row, written)
            return
        if mapper.learns:
            self._crosswalk.preload(mapper.number, [mapper.row_id(row) for row in rows.rows])
        mapped = [self._map(source, mapper, rows, index) for index in range(len(rows.rows))]
        decider = self._deciders[entity]
        if entity not in self._seeding:
            self._golden.preload(decider.number, [m.key for m in mapped if m is not None])
        for index, found in enumerate(mapped):
            if found is not None:
                old_key = self._key_before(mapper, rows, index, found.key)
                if old_key is not None:
                    self._key_gone(system, entity, old_key, written)
                self._record(system, entity, found, Op.INSERT if old_key is not None else rows.op, written)
                self._learned(source, mapper, rows.rows[index], found.key)

    def _record(self, system: int, entity: str, mapped: Mapped, op: Op, written: OwnWrites | None) -> None:
        decider = self._deciders[entity]
        if entity in self._seeding:
            self._seeds.put(decider.number, mapped.key, system, mapped.values, decider.slots[system])
            return
        self._seen(system, entity, mapped.key)
        if written is not None:
            decider.echoed(self._moment, system, mapped.key, mapped.values, written.fields)
        else:
            decider.changed(self._moment, system, mapped.key, mapped.values, op)

    def _seen(self, system: int, entity: str, key: bytes) -> None:
        """While the entity is copied anew, note that the system has the record."""
        if self._resyncs and f"{self._systems[system]}:{entity}" in self._resyncs:
            self._state.connection.execute(
                "INSERT OR IGNORE INTO seen VALUES (?,?,?)", (self._deciders[entity].number, key, system)
            )

    def _key_gone(self, system: int, entity: str, key: bytes, written: OwnWrites | None) -> None:
        decider = self._deciders[entity]
        if entity in self._seeding:
            self._seeds.delete(decider.number, key, system)
        elif written is not None:
            decider.echoed_delete(self._moment, system, key)
        else:
            decider.deleted(self._moment, system, key)

    def _row_deleted(self, system: int, entity: str, mapper: RowMapper, row: Row, written: OwnWrites | None) -> None:
        key = mapper.known_key(row)
        self._unmapped.superseded(mapper, row)
        self._unmapped.understood(mapper, system, row)
        if key is None:
            self.counts[self._systems[system], entity, "unmapped"] += 1
            return
        self._key_gone(system, entity, key, written)

    def _key_before(self, mapper: RowMapper, rows: Rows, index: int, key: bytes) -> bytes | None:
        """The key under which this row was known, when it was another one."""
        old = rows.olds[index] if rows.olds is not None else None
        if mapper.learns:
            row_id = mapper.row_id(old if old is not None else rows.rows[index])
            known = self._crosswalk.key_of(mapper.number, row_id)
            return known if known is not None and known != key and rows.op == Op.UPDATE else None
        if old is None:
            return None
        known = mapper.known_key(old)
        return known if known != key else None

    def _map(self, source: str, mapper: RowMapper, rows: Rows, index: int) -> Mapped | None:
        """The record of a row; None when it has to wait for another row, or cannot be understood."""
        row = rows.rows[index]
        system = self._systems.index(source)
        entity = mapper.entity.name
        self._unmapped.superseded(mapper, row)
        try:
            mapped = mapper.map(row)
        except UnresolvedReference as unresolved:
            self._unmapped.wait(mapper, rows.op, row, unresolved, self._moment)
            self.counts[source, entity, "waiting"] += 1
        except ValueRefused as refused:
            self._unmapped.hold(mapper, system, row, refused, self._moment)
            self.counts[source, entity, "held"] += 1
            _log.warning("held system=%s entity=%s code=%s seq=%d", source, entity, refused.code, self._moment.seq)
        else:
            self._unmapped.understood(mapper, system, row)
            return mapped
        self._seen(system, entity, mapper.known_key(row) or _UNKNOWN_KEY)
        return None

    def _learned(self, source: str, mapper: RowMapper, row: Row, key: bytes) -> None:
        """Remember the row's id, and let rows that waited for it go on."""
        if not mapper.learns:
            return
        row_id = mapper.row_id(row)
        self._crosswalk.learn(mapper.number, row_id, key)
        for released in self._unmapped.released_by(mapper.number, row_id):
            relation = self._journal.relation(self._journal.relation_number(source, released.relation))
            for other in self._readers_of(source, relation).mappers:
                if other.number == released.binding:
                    self._records(source, other, Rows(relation, released.op, [released.row]), None)

    def _report(self, c: Conflict) -> None:
        at = (self._moment.seq, self._moment.committed_at_us)
        self._conflicts.append((c.entity, c.key, c.system, c.slot, c.kind, *at, _encode(c.value)))

    # ---- copies of tables --------------------------------------------------------------------------------

    def _chunk_done(self, source: str, note: ChunkNote) -> None:
        if not note.done:
            return
        first = (source, note.table) not in self._snapshots
        self._snapshots.add((source, note.table))
        self._state.connection.execute(
            "INSERT OR REPLACE INTO snapshots VALUES (?,?,?)", (source, note.table, note.run)
        )
        for binding in self._bindings.get(source, {}).get(note.table, []):
            if binding.entity not in self._seeding:
                self._sweep(source, binding.entity, note, first=first)
        self._settle_ready()

    def _settle_ready(self) -> None:
        """Settle every entity whose tables have all been read and whose parent and references are settled.

        Where references go in a circle, those that come later need only have been read.
        """
        unread = {
            name
            for name, entity in self._plan.entities.items()
            if not {(system, binding.table) for system, binding in entity.bindings.items()} <= self._snapshots
        }
        later = set(self._plan.entities)
        for name, entity in self._plan.entities.items():
            later.discard(name)
            wanted = {entity.parent, *(field.refers_to for field in entity.fields)} - {None, name}
            unsettled = wanted & self._seeding
            if name in self._seeding - unread and unsettled <= later - unread:
                self._settle(name)

    def _settle(self, name: str) -> None:
        settler = Settler(self._deciders[name], self._golden, self._seeds)
        while settler.settle_page(self._moment):
            self._outbox.end_unit()
            self._golden.flush()
        self._seeding.discard(name)
        self._state.connection.execute("UPDATE phases SET phase='live' WHERE entity=?", (name,))
        _log.info("live entity=%s seq=%d", name, self._moment.seq)

    def _sweep(self, source: str, entity: str, note: ChunkNote, *, first: bool) -> None:
        """After a whole copy: what the system no longer has was deleted there, what it never had is created."""
        at = f"{source}:{entity}"
        if not first and self._resyncs.get(at) != note.run:
            return
        decider = self._deciders[entity]
        system = self._systems.index(source)
        may_miss = not first and not self._was_seen(decider.number, system, _UNKNOWN_KEY)
        after = b""
        while page := self._golden.page(decider.number, after, STEP_ENTRIES):
            for key, record in page:
                if not record.alive or self._was_seen(decider.number, system, key):
                    continue
                if record.present >> system & 1:
                    if may_miss:
                        decider.deleted(self._moment, system, key)
                elif not record.sent >> system & 1 and decider.may_spread(record):
                    decider.ensure(self._moment, system, key, record)
                    self._golden.put(decider.number, key, record)
            after = page[-1][0]
            self._outbox.end_unit()
        self._state.connection.execute("DELETE FROM seen WHERE entity=? AND system=?", (decider.number, system))
        if self._resyncs.pop(at, None) is not None:
            self._state.put("resyncs", json.dumps(self._resyncs).encode())

    def _was_seen(self, entity: int, system: int, key: bytes) -> bool:
        found = self._state.connection.execute(
            "SELECT 1 FROM seen WHERE entity=? AND system=? AND key=?", (entity, system, key)
        )
        return found.fetchone() is not None

    # ---- commands ----------------------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        if command.name == "resync":
            self._start_resync(str(command.arguments["entity"]))
        elif command.name == "rewind":
            self._rewind(str(command.arguments["system"]), int(command.arguments["since_us"]))
        elif command.name == "retry":
            self._retry(str(command.arguments["system"]), command.arguments["records"])
        else:
            raise NeedsOperator(
                f"journal entry {self._moment.seq} holds an unknown command {command.name!r}",
                code="command-unknown",
                cause="another version of cdcd wrote it",
                remedy="run the newest version that this state directory was used with",
            )

    def _start_resync(self, entity: str) -> None:
        for name, plan in self._plan.entities.items():
            if entity in (name, plan.parent):
                for system in plan.bindings:
                    self._resyncs[f"{system}:{name}"] = self._moment.seq
                    self._state.connection.execute(
                        "DELETE FROM seen WHERE entity=? AND system=?", (plan.number, self._systems.index(system))
                    )
        self._state.put("resyncs", json.dumps(self._resyncs).encode())

    def _rewind(self, system: str, since_us: int) -> None:
        """Tell `system` the present truth about every record touched since: never an old value over a newer one."""
        number = self._systems.index(system)
        for name, entity in self._plan.entities.items():
            if system not in entity.bindings or name in self._seeding:
                continue
            after = b""
            while page := self._golden.page(entity.number, after, STEP_ENTRIES):
                for key, record in page:
                    if record.changed_at_us >= since_us:
                        self._tell_truth(name, number, key)
                after = page[-1][0]
                self._outbox.end_unit()

    def _retry(self, system: str, records: list[list[Any]]) -> None:
        names = {entity.number: name for name, entity in self._plan.entities.items()}
        for entity, key in records:
            if entity in names and names[entity] not in self._seeding:
                self._tell_truth(names[entity], self._systems.index(system), bytes(key))

    def _tell_truth(self, entity: str, system: int, key: bytes) -> None:
        decider = self._deciders[entity]
        record = self._golden.get(decider.number, key)
        if record is None or not record.alive:
            decider.delete_at(self._moment, system, key)
        elif (record.present | record.sent) >> system & 1:
            decider.ensure(self._moment, system, key, record)
            self._golden.put(decider.number, key, record)
        self.counts[self._systems[system], entity, "redelivered"] += 1

    # ---- keeping -----------------------------------------------------------------------------------------

    def _trim(self) -> None:
        """Drop outbox rows that are applied and, where the target is also a source, read back."""
        now = time.monotonic()
        if now - self._trimmed_at < TRIM_SECONDS:
            return
        self._trimmed_at = now
        for system, mark in self._applied.items():
            through = mark.read()
            if self._plan.is_source(system):
                through = min(through, self._echoed[self._systems.index(system)])
            outbox.trim(self._state, system, through)

    def close(self) -> None:
        """Close the state database. Safe to repeat."""
        self._state.close()


def _truncated(system: str, table: str) -> NeedsOperator:
    return NeedsOperator(
        f"table {table} was truncated in {system!r}",
        code="truncate",
        cause="a TRUNCATE says nothing about rows, so ownership cannot be judged",
        remedy=f"restore the rows, then run 'cdcd resync' for what lives in {table}",
    )

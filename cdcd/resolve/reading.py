"""From rows of the journal to decisions about records: mapped, or waiting, or held; plain copies go to the outbox.

What is read is bounded by a `Scope`: all that is not suspended, or one suspended subject that catches up.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from cdcd import stored_rows
from cdcd.journal import Journal
from cdcd.json_content import KnownJson
from cdcd.model import Op, Relation, Row, Rows
from cdcd.outbox import OutboxWriter
from cdcd.resolve.copying import Copying
from cdcd.resolve.decide import EntityDecider, Moment
from cdcd.resolve.gathered_binding import GatheredBinding
from cdcd.resolve.gathering import Gathered, Gathering, families_of
from cdcd.resolve.golden import Crosswalk, GoldenRecords
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.losses import UNNAMED_LOSSES, unnamed_loss
from cdcd.resolve.mapping import Mapped, RowMapper, UnresolvedReference, entity_of_binding
from cdcd.resolve.missing import UNKNOWN_KEY
from cdcd.resolve.own_writes import OwnWrites
from cdcd.resolve.plan import BindingPlan, Plan, Route, copies_of
from cdcd.resolve.renaming import Renames, free_key, rename
from cdcd.resolve.run_reading import RunReader
from cdcd.resolve.runs import RunDecider
from cdcd.resolve.seeding import Seeds
from cdcd.resolve.series import Series
from cdcd.resolve.suspension import CannotRead
from cdcd.resolve.unmapped import UnmappedRows
from cdcd.stored_rows import StoredRows
from cdcd.values import ValueRefused

_log: Final = logging.getLogger(__name__)


class _Readers(msgspec.Struct):
    """What is to be done with the rows of one relation. `relation` is kept so that its id() stays taken.

    `looks`: somebody needs their values. Plain copies do not.
    """

    relation: Relation
    routes: list[Route]
    mappers: list[RowMapper]
    refusals: list[CannotRead]
    looks: bool = True


class Scope:
    """What entries are read for: entities, and the copies of tables (by subject).

    `echoed` is the unit last read back from each system as far as these have been read; what cannot be read before seq
    `told_anew_at` is left out (see `Suspension`).
    """

    def __init__(
        self, entities: Iterable[str], copies: Iterable[str], echoed: dict[int, int], told_anew_at: int = 0
    ) -> None:
        self.entities = frozenset(entities)
        self.families = families_of(self.entities)
        self.copies = frozenset(copies)
        self.echoed = echoed
        self.told_anew_at = told_anew_at
        self.readers: dict[tuple[str, int], _Readers] = {}


class RowReader:
    """Reads rows for a scope. `moment` and `scope` are set by the resolver before each entry."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        deciders: Mapping[str, RunDecider],
        golden: GoldenRecords,
        renames: Renames,
        crosswalk: Crosswalk,
        seeds: Seeds,
        unmapped: UnmappedRows,
        gathering: Gathering,
        copying: Copying,
        outbox: OutboxWriter,
        counts: Counter[tuple[str, str, str]],
    ) -> None:
        self.moment = Moment(0, 0, {})
        self.scope = Scope((), (), {})
        self.main = self.scope
        self._plan = plan
        self._journal = journal
        self._systems = plan.vocabulary.systems
        self._bindings = {system: plan.by_table(system) for system in plan.systems}
        self._needing = {system: plan.by_any_table(system) for system in plan.systems}
        self._routes = {system: plan.routes_from(system) for system in plan.systems}
        self._deciders = deciders
        self._golden = golden
        self._renames = renames
        self._crosswalk = crosswalk
        self._seeds = seeds
        self._unmapped = unmapped
        self._in_circles = plan.in_circles()
        self._gathering = gathering
        self._wide_mappers: dict[int, RowMapper] = {}
        self._known_json = KnownJson()
        self._written: OwnWrites | None = None
        self._copying = copying
        self._outbox = outbox
        self._counts = counts
        self._runs = RunReader(deciders, renames, crosswalk, seeds, unmapped, copying)

    def read(self, source: str, run: StoredRows, written: OwnWrites | None) -> None:
        """Take a run of rows. Raises CannotRead when something in scope can be read no further."""
        if run.op in UNNAMED_LOSSES:
            self._lost(source, run.unpacked())
            return
        self._written = written
        readers = self._readers_of(source, run.relation, self.scope)
        for refusal in readers.refusals:
            self._refused(refusal, source, self.moment.seq, run.count)
        for route in readers.routes:
            self._copy(route, run)
        if readers.looks:
            rows, is_lacking = run.unpacked_and_lacking()
            self._look_at(source, readers, rows, written, is_lacking=is_lacking)
        elif not (readers.routes or readers.refusals):
            self._left(source, run.relation.table, run.count)

    def series(self, source: str, runs: Sequence[StoredRows]) -> Series | None:
        """Rows of one shape in successive transactions, to be decided in their order; None where they must be read one by one."""
        relation = runs[0].relation
        readers = self._readers_of(source, relation, self.scope)
        if readers.routes or readers.refusals or len(readers.mappers) != 1:
            return None
        if self._gathering.has_use_for(source, relation.table):
            return None
        rows, counts, is_lacking = stored_rows.together(relation, [run.packed_rows for run in runs])
        if is_lacking:
            return None
        system = self._systems.index(source)
        return self._runs.series(system, readers.mappers[0], Rows(relation, runs[0].op, rows), counts)

    def _look_at(
        self, source: str, readers: _Readers, rows: Rows, written: OwnWrites | None, *, is_lacking: bool
    ) -> None:
        kept = self._kept(source, rows)
        if not (kept or readers.mappers or readers.routes or readers.refusals):
            self._left(source, rows.relation.table, len(rows.rows))
        for mapper in readers.mappers:
            self._records(source, mapper, rows, written, is_lacking=is_lacking)

    def _kept(self, source: str, rows: Rows) -> bool:
        """Keep rows that records are put together from; whether there is any use for them."""
        try:
            return self._gathering.take(source, rows, self.scope.families, self.moment.seq)
        except CannotRead as refusal:
            self._refused(refusal, source, self.moment.seq, len(rows.rows))
            return True

    def put_together(self, source: str, *, copied: bool) -> None:
        """An entry of `source` was read: take the records that are put together from several rows and may have changed."""
        for found in self._gathering.changed(source, self.scope.families | self.main.families, copied=copied):
            try:
                self._take_gathered(source, found)
            except CannotRead as refusal:
                self._refused(refusal, source, self.moment.seq)
        self._written = None

    def _take_gathered(self, source: str, found: Gathered) -> None:
        system = self._systems.index(source)
        gathered = found.binding
        entity = gathered.entity
        written = None if found.is_woken else self._written
        for row_id, is_there in found.gone:
            self._unmapped.gone(gathered.number, system, row_id)
            key = self._crosswalk.key_of(gathered.number, row_id)
            if key is None:
                self._counts[source, entity.name, "unmapped"] += 1
                continue
            if is_there and entity.name not in self._copying.seeding:
                self._deciders[entity.name].decided(system, key, "filtered")
            self._key_gone(system, entity.name, key, written)
        for row_id, refused in found.refused:
            self._unmapped.hold_id(entity.number, system, row_id, refused, self.moment)
            self._counts[source, entity.name, "held"] += 1
            self._not_taken(system, entity.name, self._crosswalk.key_of(gathered.number, row_id), "held", refused.code)
        for op, rows in found.rows.items():
            mapper = self._wide_mapper(gathered)
            self._records(source, mapper, Rows(mapper.relation, op, rows), written)

    def _wide_mapper(self, gathered: GatheredBinding) -> RowMapper:
        relation = gathered.relation()
        known = self._wide_mappers.get(gathered.number)
        if known is None or known.relation is not relation:
            known = RowMapper(self._plan, gathered.entity, gathered.binding, relation, self._key_of)
            self._wide_mappers[gathered.number] = known
        return known

    # ---- what can be read ------------------------------------------------------------------------------------

    def _readers_of(self, source: str, relation: Relation, scope: Scope) -> _Readers:
        known = scope.readers.get((source, id(relation)))
        if known is None:
            known = _Readers(relation, self._routes_in(scope, source, relation.table), [], [])
            for binding in self._bindings_in(scope, source, relation.table):
                if binding.is_gathered:
                    continue
                entity = self._plan.entities[binding.entity]
                try:
                    known.mappers.append(
                        RowMapper(self._plan, entity, binding, relation, self._key_of, self._known_json)
                    )
                except CannotRead as refusal:
                    known.refusals.append(refusal)
            known.looks = bool(known.mappers) or self._gathering.has_use_for(source, relation.table)
            scope.readers[source, id(relation)] = known
        return known

    def _key_of(self, binding: int, row_id: bytes) -> bytes | None:
        """The present key of the record that a row holds."""
        key = self._crosswalk.key_of(binding, row_id)
        if key is None or not self._renames.any(entity_of_binding(binding)):
            return key
        return self._renames.followed(entity_of_binding(binding), key)

    def _left(self, source: str, table: str, count: int) -> None:
        """Rows that nothing in scope has a use for."""
        if self.scope is self.main:
            bound = table in self._needing.get(source, {}) or table in self._routes.get(source, {})
            self._counts[source, table, "suspended" if bound else "unmapped"] += count

    def _bindings_in(self, scope: Scope, source: str, table: str) -> list[BindingPlan]:
        return [b for b in self._bindings.get(source, {}).get(table, []) if b.entity in scope.entities]

    def _routes_in(self, scope: Scope, source: str, table: str) -> list[Route]:
        return self._routes.get(source, {}).get(table, []) if copies_of(source, table) in scope.copies else []

    def _refused(self, refusal: CannotRead, source: str, seq: int, count: int = 1) -> None:
        """Rows journalled at `seq` cannot be read: the end, unless a resync that was asked for later tells them anew."""
        if seq >= self.scope.told_anew_at:
            raise refusal
        self._counts[source, refusal.subject, "told-anew"] += count

    def _lost(self, source: str, rows: Rows) -> None:
        """Rows have gone that nobody named. A truncated table's plain copies are emptied; everything else needs a person."""
        table = rows.relation.table
        copied = self._routes_in(self.scope, source, table)
        if copied and rows.op == Op.TRUNCATE:
            self.empty_copies(source, table)
        elif copied:
            self._refused(unnamed_loss(copies_of(source, table), source, table, rows.op), source, self.moment.seq)
        needing = self._needing.get(source, {}).get(table, [])
        for binding in (b for b in needing if b.entity in self.scope.entities):
            entity = self._plan.entities[binding.entity]
            self._refused(unnamed_loss(entity.family, source, table, rows.op), source, self.moment.seq)

    # ---- plain copies ----------------------------------------------------------------------------------------

    def _copy(self, route: Route, run: StoredRows) -> None:
        if self._copying.named.wanted:
            self._copying.named.rows_seen(copies_of(route.source, route.source_table), run.unpacked())
        item = [-1 - route.number, run.op, run.relation_number, run.packed_rows, run.packed_olds]
        self._outbox.add(route.target, item, self.moment.committed_at_us, run.count)
        self._counts[route.source, route.source_table, "copied"] += run.count

    def read_deleted_copies(self, source: str, rows: Rows) -> None:
        """Have rows of a table deleted from its plain copies."""
        routes = self._routes_in(self.scope, source, rows.relation.table)
        if routes:
            run = StoredRows.of(self._journal.relation_number(source, rows.relation), rows)
            for route in routes:
                self._copy(route, run)

    def empty_copies(self, source: str, table: str) -> None:
        """Have the plain copies of a table emptied."""
        for route in self._routes.get(source, {}).get(table, []):
            item = [-1 - route.number, Op.TRUNCATE, 0, [], None]
            self._outbox.add(route.target, item, self.moment.committed_at_us)
            self._counts[source, table, "emptied"] += 1

    # ---- records ---------------------------------------------------------------------------------------------

    def _records(
        self, source: str, mapper: RowMapper, rows: Rows, written: OwnWrites | None, *, is_lacking: bool = True
    ) -> None:
        """`is_lacking`: values in the rows may be ABSENT."""
        system = self._systems.index(source)
        entity = mapper.entity.name
        if rows.op == Op.DELETE:
            for row in rows.rows:
                self._row_deleted(system, entity, mapper, row, written)
            return
        if is_lacking or not self._runs.take(self.moment, system, mapper, rows, written):
            self._records_one_by_one(source, mapper, rows, written)

    def _records_one_by_one(self, source: str, mapper: RowMapper, rows: Rows, written: OwnWrites | None) -> None:
        system = self._systems.index(source)
        entity = mapper.entity.name
        ids = [mapper.row_id(row) for row in rows.rows] if mapper.learns else None
        if ids is not None:
            self._crosswalk.preload(mapper.number, ids)
        mapped = [self._map(source, mapper, rows, index) for index in range(len(rows.rows))]
        decider = self._deciders[entity]
        decider.stand_ins = mapper.stand_ins
        if entity not in self._copying.seeding:
            self._golden.preload(decider.number, [m.key for m in mapped if m is not None])
        renamed = self._renames.any(mapper.entity.number)
        for index, found in enumerate(mapped):
            if found is None:
                continue
            op: Op = rows.op
            row_id = None if ids is None else ids[index]
            old_key = self._key_before(mapper, rows, index, row_id, found.key)
            if old_key is not None:  # the record was known by another key before
                op = self._rekeyed(system, entity, old_key, found, written)
                renamed = True
            elif renamed:
                self._follow_rename(mapper, rows.rows[index], found)
            self._record(system, entity, found, op, written)
            if row_id is not None:
                self._learned(source, mapper.number, row_id, found.key)

    def _rekeyed(self, system: int, entity: str, old_key: bytes, found: Mapped, written: OwnWrites | None) -> Op:
        """The row has got another key: a rename, or the end of one record and the beginning of another."""
        decider = self._deciders[entity]
        judged = None
        if written is None and entity not in self._copying.seeding:
            judged = rename(decider, self._renames, self.moment, system, old_key, found.key)
        if judged is None:
            self._key_gone(system, entity, old_key, written)
            return Op.INSERT
        self._under(decider, found, judged)
        return Op.UPDATE

    def _follow_rename(self, mapper: RowMapper, row: Row, found: Mapped) -> None:
        """A row that still has the old key of a renamed record is that record, where it is known to have been it."""
        entity = mapper.entity.number
        now = self._renames.followed(entity, found.key)
        if now == found.key:
            return
        known = self._crosswalk.key_of(mapper.number, mapper.row_id(row)) if mapper.learns else None
        if known in (found.key, now):
            self._under(self._deciders[mapper.entity.name], found, now)
        else:
            free_key(self._renames, self._golden, self._crosswalk, self._deciders[mapper.entity.name], found.key)

    def _present_key(self, mapper: RowMapper, key: bytes) -> bytes:
        """The key of the record that a row was, which or whose parent may have been renamed since it was shown."""
        entity, parent = mapper.entity, mapper.entity.parent
        if parent is not None and self._renames.any(self._plan.entities[parent].number):
            above = self._plan.entities[parent]
            prefix = encode_key(decode_key(key, entity.key_width)[: above.key_width])
            key = self._renames.followed(above.number, prefix) + key[len(prefix) :]
        return self._renames.followed(entity.number, key) if self._renames.any(entity.number) else key

    def _under(self, decider: EntityDecider, found: Mapped, key: bytes) -> None:
        """Take the row for the record `key`, whatever it says of that itself."""
        found.key = key
        parts = decode_key(key, decider.entity.key_width)[decider.parent_width :]
        for slot, part in zip(decider.entity.key, parts, strict=True):
            found.values[slot] = part

    def _record(self, system: int, entity: str, mapped: Mapped, op: Op, written: OwnWrites | None) -> None:
        decider = self._deciders[entity]
        if entity in self._copying.seeding:
            self._seeds.put(decider.number, mapped.key, system, mapped.values, decider.slots[system])
            if op == Op.INSERT and written is None:
                self._seeds.created(decider.number, mapped.key, system)
            return
        self._copying.seen(system, entity, mapped.key)
        if written is not None:
            decider.echoes.row(self.moment, system, mapped.key, mapped.values, written)
        else:
            decider.changed(self.moment, system, mapped.key, mapped.values, op)

    def _key_gone(self, system: int, entity: str, key: bytes, written: OwnWrites | None) -> None:
        decider = self._deciders[entity]
        if entity in self._copying.seeding:
            self._seeds.delete(decider.number, key, system, by_application=written is None)
        elif written is not None:
            decider.echoes.delete(self.moment, system, key)
        else:
            decider.deleted(self.moment, system, key)

    def _row_deleted(self, system: int, entity: str, mapper: RowMapper, row: Row, written: OwnWrites | None) -> None:
        key = mapper.known_key(row)
        self._unmapped.superseded(mapper, row)
        self._unmapped.understood(mapper, system, row)
        if key is None:
            self._counts[self._systems[system], entity, "unmapped"] += 1
            self._seeds.lost_sight(mapper.entity.number, system)
            return
        self._key_gone(system, entity, self._present_key(mapper, key), written)

    def _key_before(self, mapper: RowMapper, rows: Rows, index: int, row_id: bytes | None, key: bytes) -> bytes | None:
        """The key under which this row was known, when it was another one. `row_id` is its id where that is learned."""
        old = rows.olds[index] if rows.olds is not None else None
        if row_id is not None:
            known = self._crosswalk.key_of(mapper.number, row_id if old is None else mapper.row_id(old))
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
            self._claim(mapper, row, mapped.key)
        except UnresolvedReference as unresolved:
            self._unmapped.wait(mapper, rows.op, row, unresolved, self.moment)
            self._counts[source, entity, "waiting"] += 1
            self._not_taken(system, entity, mapper.known_key(row), "waiting", unresolved.code)
            if mapper.learns and entity in self._in_circles and (key := mapper.known_key(row)) is not None:
                self._learned(source, mapper.number, mapper.row_id(row), key)  # what it waits for may wait for it
        except ValueRefused as refused:
            self._unmapped.hold(mapper, system, row, refused, self.moment)
            self._counts[source, entity, "held"] += 1
            _log.warning("held system=%s entity=%s code=%s seq=%d", source, entity, refused.code, self.moment.seq)
            self._not_taken(system, entity, mapper.known_key(row), "held", refused.code)
        else:
            self._unmapped.understood(mapper, system, row)
            return mapped
        return None

    def _not_taken(self, system: int, entity: str, key: bytes | None, decision: str, reason: str) -> None:
        """A row that exists is no record yet: a resync must not miss it, and its history says why."""
        self._copying.seen(system, entity, key or UNKNOWN_KEY)
        decider = self._deciders[entity]
        if key is not None and decider.trail is not None:
            decider.trail.note(decider.number, key, system, decision, reason=reason)

    def _claim(self, mapper: RowMapper, row: Row, key: bytes) -> None:
        """In records that are put together the business key may be where nothing makes it unique."""
        if mapper.binding.is_gathered and not self._gathering.claim(mapper.number, mapper.row_id(row), key):
            raise ValueRefused(
                f"two rows of {mapper.binding.table} are one {mapper.entity.name}",
                code="key-twice",
                cause="they have the same business key, and a row that came before is the record",
                remedy="give one of them another key, or leave one out by a where in the binding",
            )

    def _learned(self, source: str, binding: int, row_id: bytes, key: bytes) -> None:
        """Remember which record the row holds, and let rows that waited for it go on."""
        self._crosswalk.learn(binding, row_id, key)
        if self._unmapped.waiting:
            self._release(source, binding, row_id)

    def _release(self, source: str, binding: int, row_id: bytes) -> None:
        """Take the rows that waited for this one; those of suspended entities wait on."""
        scopes = {number: scope for scope in (self.main, self.scope) for number in self._numbers(scope)}
        for released in self._unmapped.released_by(binding, row_id, scopes):
            is_fresh = released.seq == self.moment.seq
            if self._gathering.wake(released.binding, released.row_id, released.op, is_fresh=is_fresh):
                continue
            relation = self._journal.relation(self._journal.relation_number(source, released.relation))
            readers = self._readers_of(source, relation, scopes[entity_of_binding(released.binding)])
            for refusal in readers.refusals:
                self._refused(refusal, source, released.seq)
            for other in readers.mappers:
                if other.number == released.binding:
                    written = self._written if is_fresh else None
                    self._records(source, other, Rows(relation, released.op, [released.row]), written)

    def _numbers(self, scope: Scope) -> list[int]:
        return [self._plan.entities[name].number for name in scope.entities]

    def release_all_of(self, entities: Iterable[str]) -> None:
        """Rows of these entities may have waited for rows that were seen while nobody could take them."""
        numbers = {self._plan.entities[name].number for name in entities}
        for binding, row_id in self._unmapped.waited_for(numbers):
            if self._crosswalk.key_of(binding, row_id) is not None:
                self._release(self._systems[binding & 0xFF], binding, row_id)
        for system in self._plan.systems:
            self.put_together(system, copied=False)

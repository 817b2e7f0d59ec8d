"""From rows of the journal to decisions about records: mapped, or waiting, or held; plain copies go to the outbox.

What is read is bounded by a `Scope`: all that is not suspended, or one suspended subject that catches up.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from cdcd.journal import Journal
from cdcd.model import Op, Relation, Row, Rows
from cdcd.outbox import OutboxWriter
from cdcd.resolve.copying import UNKNOWN_KEY, Copying
from cdcd.resolve.decide import EntityDecider, Moment
from cdcd.resolve.golden import Crosswalk, GoldenRecords
from cdcd.resolve.mapping import Mapped, RowMapper, UnresolvedReference, entity_of_binding
from cdcd.resolve.own_writes import OwnWrites
from cdcd.resolve.plan import BindingPlan, Plan, Route, copies_of
from cdcd.resolve.seeding import Seeds
from cdcd.resolve.suspension import CannotRead
from cdcd.resolve.unmapped import UnmappedRows
from cdcd.values import ValueRefused

_log: Final = logging.getLogger(__name__)
_UNNAMED_LOSSES: Final = {
    Op.TRUNCATE: ("truncated", "was truncated", "a TRUNCATE says nothing about rows, so ownership cannot be judged"),
    Op.ROWS_LOST: (
        "rows-lost",
        "lost rows that its log does not name",
        "a partition was dropped, truncated or exchanged",
    ),
    Op.TABLE_GONE: ("table-gone", "is not there any more", "it was dropped or renamed"),
}


class _Readers(msgspec.Struct):
    """What is to be done with the rows of one relation. `relation` is kept so that its id() stays taken."""

    relation: Relation
    routes: list[Route]
    mappers: list[RowMapper]
    refusals: list[CannotRead]


class Scope:
    """What entries are read for: entities, and the copies of tables (by subject).

    `echoed` is the unit last read back from each system as far as these have been read; what cannot be read before seq
    `told_anew_at` is left out (see `Suspension`).
    """

    def __init__(
        self, entities: Iterable[str], copies: Iterable[str], echoed: dict[int, int], told_anew_at: int = 0
    ) -> None:
        self.entities = frozenset(entities)
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
        deciders: Mapping[str, EntityDecider],
        golden: GoldenRecords,
        crosswalk: Crosswalk,
        seeds: Seeds,
        unmapped: UnmappedRows,
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
        self._routes = {system: plan.routes_from(system) for system in plan.systems}
        self._deciders = deciders
        self._golden = golden
        self._crosswalk = crosswalk
        self._seeds = seeds
        self._unmapped = unmapped
        self._copying = copying
        self._outbox = outbox
        self._counts = counts

    def read(self, source: str, rows: Rows, written: OwnWrites | None) -> None:
        """Take a run of rows. Raises CannotRead when something in scope can be read no further."""
        if rows.op in _UNNAMED_LOSSES:
            self._lost(source, rows)
            return
        readers = self._readers_of(source, rows.relation, self.scope)
        if not (readers.mappers or readers.routes or readers.refusals):
            self._left(source, rows)
        for refusal in readers.refusals:
            self._refused(refusal, source, self.moment.seq, len(rows.rows))
        for route in readers.routes:
            self._copy(route, rows)
        for mapper in readers.mappers:
            self._records(source, mapper, rows, written)

    # ---- what can be read ------------------------------------------------------------------------------------

    def _readers_of(self, source: str, relation: Relation, scope: Scope) -> _Readers:
        known = scope.readers.get((source, id(relation)))
        if known is None:
            known = _Readers(relation, self._routes_in(scope, source, relation.table), [], [])
            for binding in self._bindings_in(scope, source, relation.table):
                entity = self._plan.entities[binding.entity]
                try:
                    known.mappers.append(RowMapper(self._plan, entity, binding, relation, self._crosswalk.key_of))
                except CannotRead as refusal:
                    known.refusals.append(refusal)
            scope.readers[source, id(relation)] = known
        return known

    def _left(self, source: str, rows: Rows) -> None:
        """Rows that nothing in scope has a use for."""
        table = rows.relation.table
        if self.scope is self.main:
            bound = table in self._bindings.get(source, {}) or table in self._routes.get(source, {})
            self._counts[source, table, "suspended" if bound else "unmapped"] += len(rows.rows)

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
            self._refused(_loss(copies_of(source, table), source, rows), source, self.moment.seq)
        for binding in self._bindings_in(self.scope, source, table):
            entity = self._plan.entities[binding.entity]
            self._refused(_loss(entity.family, source, rows), source, self.moment.seq)

    # ---- plain copies ----------------------------------------------------------------------------------------

    def _copy(self, route: Route, rows: Rows) -> None:
        relation = self._journal.relation_number(route.source, rows.relation)
        item = [-1 - route.number, rows.op, relation, rows.rows, rows.olds]
        self._outbox.add(route.target, item, self.moment.committed_at_us, len(rows.rows))
        self._counts[route.source, route.source_table, "copied"] += len(rows.rows)

    def empty_copies(self, source: str, table: str) -> None:
        """Have the plain copies of a table emptied."""
        for route in self._routes.get(source, {}).get(table, []):
            item = [-1 - route.number, Op.TRUNCATE, 0, [], None]
            self._outbox.add(route.target, item, self.moment.committed_at_us)
            self._counts[source, table, "emptied"] += 1

    # ---- records ---------------------------------------------------------------------------------------------

    def _records(self, source: str, mapper: RowMapper, rows: Rows, written: OwnWrites | None) -> None:
        system = self._systems.index(source)
        entity = mapper.entity.name
        if rows.op == Op.DELETE:
            for row in rows.rows:
                self._row_deleted(system, entity, mapper, row, written)
            return
        if mapper.learns:
            self._crosswalk.preload(mapper.number, [mapper.row_id(row) for row in rows.rows])
        mapped = [self._map(source, mapper, rows, index) for index in range(len(rows.rows))]
        decider = self._deciders[entity]
        decider.stand_ins = mapper.stand_ins
        if entity not in self._copying.seeding:
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
        if entity in self._copying.seeding:
            self._seeds.put(decider.number, mapped.key, system, mapped.values, decider.slots[system])
            return
        self._copying.seen(system, entity, mapped.key)
        if written is not None:
            decider.echoed(self.moment, system, mapped.key, mapped.values, written.fields)
        else:
            decider.changed(self.moment, system, mapped.key, mapped.values, op)

    def _key_gone(self, system: int, entity: str, key: bytes, written: OwnWrites | None) -> None:
        decider = self._deciders[entity]
        if entity in self._copying.seeding:
            self._seeds.delete(decider.number, key, system)
        elif written is not None:
            decider.echoed_delete(self.moment, system, key)
        else:
            decider.deleted(self.moment, system, key)

    def _row_deleted(self, system: int, entity: str, mapper: RowMapper, row: Row, written: OwnWrites | None) -> None:
        key = mapper.known_key(row)
        self._unmapped.superseded(mapper, row)
        self._unmapped.understood(mapper, system, row)
        if key is None:
            self._counts[self._systems[system], entity, "unmapped"] += 1
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
            self._unmapped.wait(mapper, rows.op, row, unresolved, self.moment)
            self._counts[source, entity, "waiting"] += 1
        except ValueRefused as refused:
            self._unmapped.hold(mapper, system, row, refused, self.moment)
            self._counts[source, entity, "held"] += 1
            _log.warning("held system=%s entity=%s code=%s seq=%d", source, entity, refused.code, self.moment.seq)
        else:
            self._unmapped.understood(mapper, system, row)
            return mapped
        self._copying.seen(system, entity, mapper.known_key(row) or UNKNOWN_KEY)
        return None

    def _learned(self, source: str, mapper: RowMapper, row: Row, key: bytes) -> None:
        """Remember the row's id, and let rows that waited for it go on."""
        if mapper.learns:
            row_id = mapper.row_id(row)
            self._crosswalk.learn(mapper.number, row_id, key)
            if self._unmapped.waiting:
                self._release(source, mapper.number, row_id)

    def _release(self, source: str, binding: int, row_id: bytes) -> None:
        """Take the rows that waited for this one; those of suspended entities wait on."""
        scopes = {number: scope for scope in (self.main, self.scope) for number in self._numbers(scope)}
        for released in self._unmapped.released_by(binding, row_id, scopes):
            relation = self._journal.relation(self._journal.relation_number(source, released.relation))
            readers = self._readers_of(source, relation, scopes[entity_of_binding(released.binding)])
            for refusal in readers.refusals:
                self._refused(refusal, source, released.seq)
            for other in readers.mappers:
                if other.number == released.binding:
                    self._records(source, other, Rows(relation, released.op, [released.row]), None)

    def _numbers(self, scope: Scope) -> list[int]:
        return [self._plan.entities[name].number for name in scope.entities]

    def release_all_of(self, entities: Iterable[str]) -> None:
        """Rows of these entities may have waited for rows that were seen while nobody could take them."""
        numbers = {self._plan.entities[name].number for name in entities}
        for binding, row_id in self._unmapped.waited_for(numbers):
            if self._crosswalk.key_of(binding, row_id) is not None:
                self._release(self._systems[binding & 0xFF], binding, row_id)


def _loss(subject: str, source: str, rows: Rows) -> CannotRead:
    code, what, cause = _UNNAMED_LOSSES[rows.op]
    return CannotRead(
        subject,
        f"table {rows.relation.table} {what} in {source!r}",
        code=code,
        cause=cause,
        remedy=f"restore the table, or name the right one in the configuration; then 'cdcd resync {subject}' tells all"
        " its rows anew (rows that are not there by then count as deleted)",
    )

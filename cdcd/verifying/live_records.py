"""A system's records as its tables hold them now, read beside the stream and mapped as resolve maps them.

A binding of one table is read in pages of its primary key. Where records are put together from several tables, all of them
are read into a scratch file, and put together there by resolve's own code (`resolve.gathering`); single records again by
going down from their main rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from cdcd.errors import ConfigError, NotReady
from cdcd.fitting import relation_of
from cdcd.model import Op, Relation, Row, Rows, TableShape
from cdcd.reader import Reader, TableFacts
from cdcd.record_names import Named
from cdcd.resolve.gathering import Gathering, families_of
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.mapping import RowMapper, UnresolvedReference, binding_number
from cdcd.resolve.plan import MAIN, BindingPlan, EntityPlan, PartPlan, Plan
from cdcd.resync_filters import main_filter
from cdcd.state import State
from cdcd.values import ValueRefused, parse_type
from cdcd.verifying.judging import Shown
from cdcd.verifying.reference import Reference
from cdcd.verifying.scratch import remove

PAGE_ROWS: Final = 2_000
FIRST_PAGE_ROWS: Final = 100
PAGE_BYTES: Final = 2 * 2**20
_RUN: Final = 1
_encode: Final = msgspec.msgpack.Encoder().encode

Read: TypeAlias = "Row | Shown"
"""A row as it was read, or why it could not be put together."""
Pace: TypeAlias = Callable[[int], None]
"""Called with the number of rows that were read: it may wait, count, or raise to end it all."""


class LiveRecords(Protocol):
    """The records of one entity in one system."""

    estimate: int
    """About how many rows must be read."""
    row_key: tuple[str, ...]
    """The columns of the main table that its rows are named by."""
    finds_by_key: bool
    """Whether single records can be looked for."""
    mapper: RowMapper | None
    """How rows become records, once there was one."""

    def pages(self) -> Iterator[Sequence[Read]]:
        """All rows, as `shown` takes them."""
        ...

    def chosen(self, where: str) -> Iterator[Sequence[Read]]:
        """Those whose main rows satisfy an operator's SQL. Raises FilterRefused."""
        ...

    def again(self, row_ids: Sequence[bytes]) -> Sequence[Read]:
        """Those of these rows that there are now."""
        ...

    def by_keys(self, keys: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[Read]]:
        """The rows of these records, of those of them that can be looked for; which these are comes first."""
        ...

    def shown(self, rows: Sequence[Read]) -> list[Shown]:
        """What rows hold as records. Within a moment of the reference."""
        ...


class Tables:
    """What one system's tables look like, and their rows."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._facts: dict[str, TableFacts] | None = None

    def facts(self, table: str) -> TableFacts:
        """Of one table. Raises NotReady when it is not there."""
        if self._facts is None:
            self._facts = {facts.table: facts for facts in self._reader.catalog()}
        if table not in self._facts:
            raise NotReady(f"there is no table {table}", remedy="run 'cdcd check'", code="table-missing")
        return self._facts[table]

    def shape(self, table: str) -> TableShape:
        """Its columns and keys."""
        return self.facts(table).shape

    def relation(self, table: str, columns: Sequence[str]) -> Relation:
        """The shape of its rows with these columns and the primary key."""
        whole = relation_of(self.shape(table))
        names = tuple(name for name in whole.columns if name in columns or name in self.shape(table).primary_key)
        missing = [name for name in columns if name not in whole.columns]
        if missing:
            raise NotReady(
                f"table {table} has no column {missing[0]}", remedy="run 'cdcd check'", code="column-missing"
            )
        types = tuple(whole.types[whole.columns.index(name)] for name in names)
        identity = tuple(names.index(whole.columns[at]) for at in whole.identity)
        return Relation(table, names, types, identity)

    def pages(self, relation: Relation, pace: Pace, where: str = "") -> Iterator[list[Row]]:
        """All rows (that satisfy `where`) in the order of the primary key; as many at a time as are about `PAGE_BYTES`."""
        after: list[Any] | None = None
        limit = FIRST_PAGE_ROWS
        while True:
            rows = self._reader.page(relation.table, relation.columns, after, limit, where=where)
            pace(len(rows))
            if rows:
                yield rows
                after = [rows[-1][at] for at in relation.identity]
            if len(rows) < limit:
                return
            fitting = PAGE_BYTES * len(rows) // max(1, len(_encode(rows)))
            limit = max(1, min(fitting, 4 * limit, PAGE_ROWS))

    def rows(self, relation: Relation, key: Sequence[str], keys: Sequence[Sequence[Any]]) -> list[Row]:
        """The rows with these keys."""
        return self._reader.read_rows(relation.table, relation.columns, key, keys) if keys else []


class PlainRecords:
    """Records that are one row each."""

    def __init__(
        self, plan: Plan, entity: EntityPlan, system: str, tables: Tables, reference: Reference, pace: Pace
    ) -> None:
        binding = entity.bindings[system]
        self._plan = plan
        self._entity = entity
        self._binding = binding
        self.finds_by_key = entity.parent is None
        self.estimate = tables.facts(binding.table).row_estimate
        self._tables = tables
        self._pace = pace
        self._relation = tables.relation(binding.table, binding.needed_columns)
        self.row_key = _id_columns(binding, tables.shape(binding.table))
        self.mapper: RowMapper | None = RowMapper(plan, entity, binding, self._relation, reference.key_of)

    def pages(self) -> Iterator[Sequence[Read]]:
        """See `LiveRecords`."""
        return self._tables.pages(self._relation, self._pace)

    def chosen(self, where: str) -> Iterator[Sequence[Read]]:
        """See `LiveRecords`."""
        return self._tables.pages(self._relation, self._pace, where)

    def again(self, row_ids: Sequence[bytes]) -> Sequence[Read]:
        """See `LiveRecords`."""
        keys = [decode_key(row_id, len(self.row_key)) for row_id in row_ids]
        return self._tables.rows(self._relation, self.row_key, keys)

    def by_keys(self, keys: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[Read]]:
        """See `LiveRecords`. Children are not looked for: their parents' rows would have to be, first."""
        entity = self._entity
        if not self.finds_by_key:
            return [], []
        named = [Named(entity, tuple(decode_key(key, entity.key_width)), None) for key in keys]
        try:
            found = main_filter(self._plan, entity, self._binding, named, self._tables.shape(self._binding.table))
        except ConfigError:
            self.finds_by_key = False
            return [], []
        return keys, self._tables.rows(self._relation, found.columns, found.keys)

    def shown(self, rows: Sequence[Read]) -> list[Shown]:
        """See `LiveRecords`."""
        return [row if isinstance(row, Shown) else _mapped(self.mapper, row) for row in rows if self.mapper is not None]


class GatheredRecords:
    """Records that are put together from rows of several tables. `scratch` are files that may be made and left for them."""

    def __init__(
        self,
        plan: Plan,
        entity: EntityPlan,
        system: str,
        tables: Tables,
        reference: Reference,
        pace: Pace,
        scratch: Path,
    ) -> None:
        self._plan = plan
        self._entity = entity
        self._system = system
        self._tables = tables
        self._reference = reference
        self._number = binding_number(plan, entity, system)
        self.finds_by_key = True
        self._pace = pace
        self._scratch = scratch
        self._binding = entity.bindings[system].as_read(entity.key)
        self._relations = {table: self._relation(table) for table in self._binding.tables}
        self.row_key = _id_columns(self._binding, tables.shape(self._binding.table))
        self.estimate = sum(tables.facts(table).row_estimate for table in self._relations)
        self.mapper: RowMapper | None = None

    def _relation(self, table: str) -> Relation:
        names = [MAIN] if table == self._binding.table else []
        names += [part.name for part in self._binding.parts if part.table == table]
        columns = dict.fromkeys(column for name in names for column in self._binding.read_from(name))
        return self._tables.relation(table, list(columns))

    @contextmanager
    def _gathering(self) -> Iterator[Gathering]:
        """An empty place to put records together."""
        remove(self._scratch)
        narrowed = msgspec.structs.replace(self._entity, bindings={self._system: self._entity.bindings[self._system]})
        plan = msgspec.structs.replace(self._plan, entities={self._entity.name: narrowed})
        state = State(self._scratch, durable=False)
        try:
            with state.transaction():
                gathering = Gathering(plan, state, lambda: None)
                gathering.start()
                yield gathering
        finally:
            state.close()
            remove(self._scratch)

    def pages(self) -> Iterator[Sequence[Read]]:
        """See `LiveRecords`."""
        families = families_of({self._entity.name: None})
        with self._gathering() as gathering:
            for relation in self._relations.values():
                for rows in self._tables.pages(relation, self._pace):
                    gathering.take(self._system, Rows(relation, Op.READ, rows), families, _RUN)
            yield from self._put_together(gathering)

    def chosen(self, where: str) -> Iterator[Sequence[Read]]:
        """See `LiveRecords`."""
        relation = self._relations[self._binding.table]
        at = [relation.columns.index(name) for name in self.row_key]
        for rows in self._tables.pages(relation, self._pace, where):
            yield self.again([encode_key([row[place] for place in at]) for row in rows])

    def again(self, row_ids: Sequence[bytes]) -> Sequence[Read]:
        """See `LiveRecords`."""
        families = families_of({self._entity.name: None})
        with self._gathering() as gathering:
            for relation, rows in self._below(row_ids):
                gathering.take(self._system, Rows(relation, Op.READ, rows), families, _RUN)
            return [row for page in self._put_together(gathering) for row in page]

    def by_keys(self, keys: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[Read]]:
        """See `LiveRecords`. Looked for are those whose main row the system's log has shown."""
        ids = {key: self._reference.main_ids(self._number, key) for key in keys}
        known = [key for key in keys if ids[key]]
        return known, self.again([row_id for key in known for row_id in ids[key]]) if known else []

    def _below(self, row_ids: Sequence[bytes]) -> Iterator[tuple[Relation, list[Row]]]:
        """The main rows, and those of all parts that hang on them."""
        relation = self._relations[self._binding.table]
        keys = [decode_key(row_id, len(self.row_key)) for row_id in row_ids]
        found = {MAIN: (relation, self._tables.rows(relation, self.row_key, keys))}
        yield found[MAIN]
        for part in self._binding.parts:
            found[part.name] = self._hanging(part, *found[part.of])
            yield found[part.name]

    def _hanging(self, part: PartPlan, above: Relation, rows: Sequence[Row]) -> tuple[Relation, list[Row]]:
        relation = self._relations[part.table]
        own, other = self._link(part, above, relation)
        at = above.columns.index(other)
        kind = relation.types[relation.columns.index(own)]
        values = dict.fromkeys(_as(kind, row[at]) for row in rows if row[at] is not None)
        return relation, self._tables.rows(relation, (own,), [[value] for value in values if value is not None])

    def _link(self, part: PartPlan, above: Relation, relation: Relation) -> tuple[str, str]:
        """The column by which the part's rows hang, and that of the row above."""
        own_id = relation.columns[relation.identity[0]]
        if part.at is not None:
            return part.id_column or own_id, part.at
        assert part.parent is not None
        named = self._binding.id_column if part.of == MAIN else self._binding.part(part.of).id_column
        return part.parent, named or above.columns[above.identity[0]]

    def _put_together(self, gathering: Gathering) -> Iterator[Sequence[Read]]:
        families = families_of({self._entity.name: None})
        for table in self._binding.tables:
            gathering.copied(self._system, table, _RUN, families)
        for found in gathering.changed(self._system, families, copied=True):
            if self.mapper is None:
                relation = found.binding.relation()
                self.mapper = RowMapper(
                    self._plan, self._entity, found.binding.binding, relation, self._reference.key_of
                )
            refused = [Shown(row_id, None, [], refused.code) for row_id, refused in found.refused]
            yield [*refused, *(row for rows in found.rows.values() for row in rows)]

    def shown(self, rows: Sequence[Read]) -> list[Shown]:
        """See `LiveRecords`."""
        if self.mapper is None:
            return []
        return [self._unread(row) if isinstance(row, Shown) else _mapped(self.mapper, row) for row in rows]

    def _unread(self, row: Shown) -> Shown:
        return Shown(row.row_id, self._reference.key_of(self._number, row.row_id), [], row.refused)


def of_entity(
    plan: Plan, entity: str, system: str, tables: Tables, reference: Reference, pace: Pace, scratch: Path
) -> PlainRecords | GatheredRecords:
    """The records of an entity in a system. Raises NotReady for tables that do not fit."""
    found = plan.entities[entity]
    if found.bindings[system].is_gathered:
        return GatheredRecords(plan, found, system, tables, reference, pace, scratch)
    return PlainRecords(plan, found, system, tables, reference, pace)


def _mapped(mapper: RowMapper, row: Row) -> Shown:
    row_id = mapper.row_id(row) if mapper.has_id else b""
    try:
        mapped = mapper.map(row)
    except UnresolvedReference as refused:
        return Shown(row_id, mapper.known_key(row), [], refused.code)
    except ValueRefused as refused:
        return Shown(row_id, mapper.known_key(row), [], refused.code)
    return Shown(row_id, mapped.key, mapped.values)


def _id_columns(binding: BindingPlan, shape: TableShape) -> tuple[str, ...]:
    return (binding.id_column,) if binding.id_column is not None else shape.primary_key


def _as(column_type: str, value: Any) -> Any:
    """A value by which rows are linked, as the other table's column has it: ids may be kept as texts. None: it cannot."""
    kind = parse_type(column_type).kind
    if kind == "integer" and isinstance(value, str):
        return int(value) if value.strip().lstrip("-").isdigit() else None
    return str(value) if kind in ("text", "enum") and isinstance(value, int) else value

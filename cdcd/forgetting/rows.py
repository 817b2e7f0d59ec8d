"""Which rows of the captured tables belonged to a record: by its keys, by their local ids, and by what they hang on.

Ids are compared as texts, since one table may keep as text what another keeps as a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from cdcd.conversions import column_text
from cdcd.model import ABSENT, Relation, Row, Rows
from cdcd.resolve.keys import decode_key
from cdcd.resolve.mapping import RowMapper, binding_number
from cdcd.resolve.plan import MAIN, BindingPlan, EntityPlan, PartPlan, Plan
from cdcd.resolve.suspension import CannotRead
from cdcd.values import ValueRefused

Id = tuple[str, ...]
Place = tuple[int, str]
"""A binding's number and a part of it (`MAIN`: its main table)."""
_decode: Final = msgspec.msgpack.Decoder().decode


class Found(msgspec.Struct):
    """What is known of a record's rows: by binding and part their ids, by (system, table) what names them in the log."""

    ids: dict[Place, set[Id]] = {}
    identities: dict[tuple[str, str], set[Id]] = {}

    @property
    def size(self) -> int:
        """How much is known: when it grows no more, everything is."""
        return sum(map(len, self.ids.values())) + sum(map(len, self.identities.values()))


def as_texts(row_id: bytes) -> Id:
    """An encoded id of however many parts."""
    for width in range(1, 16):
        try:
            return tuple(map(str, _decode(bytes((0x90 | width,)) + row_id)))
        except msgspec.DecodeError:
            continue
    return ()


class _Test(msgspec.Struct, frozen=True):
    """How rows of one relation are judged as rows of one binding, or of one of its parts."""

    place: Place
    id_at: tuple[int, ...]
    above: Place | None = None
    above_at: int = -1
    hung: tuple[tuple[Place, int], ...] = ()
    mapper: RowMapper | None = None


class RowFinder:
    """Finds the rows of a record and of its children. What it finds makes it find more: go through all until nothing is new."""

    def __init__(
        self,
        plan: Plan,
        entity: int,
        keys: Iterable[bytes],
        ids: Mapping[int, Iterable[Id]],
        found: Found | None = None,
    ) -> None:
        self.found = Found({(binding, MAIN): set(known) for binding, known in ids.items()}) if found is None else found
        self._plan = plan
        self._root = next(e for e in plan.entities.values() if e.number == entity)
        self._keys = frozenset(keys)
        self._texts = {column_text(part) for key in self._keys for part in decode_key(key, self._root.key_width)}
        self._family = [e for e in plan.entities.values() if e.family == self._root.name]
        self._tests: dict[tuple[str, Relation], list[_Test]] = {}

    def matches(self, system: str, relation: Relation, row: Row) -> bool:
        """Whether the row belonged to the record; what it tells of others that hang on it is remembered."""
        tests = self._tests_of(system, relation)
        if not tests:
            return False
        name = _id_at(row, relation.identity)
        known = self.found.identities.setdefault((system, relation.table), set())
        is_its = name is not None and name in known
        for test in tests:
            if is_its or self._is_its(test, row):
                is_its = True
                self._learn(test, row)
        if is_its and name is not None:
            known.add(name)
        return is_its

    def without(self, system: str, run: Rows) -> Rows | None:
        """The run without the rows that belonged to the record; None when there are none of them in it."""
        if not self._tests_of(system, run.relation):
            return None
        olds = run.olds or [None] * len(run.rows)
        kept = [
            at
            for at, (row, old) in enumerate(zip(run.rows, olds, strict=True))
            if not self.matches(system, run.relation, row)
            and not (old is not None and self.matches(system, run.relation, old))
        ]
        if len(kept) == len(run.rows):
            return None
        left = None if run.olds is None else [run.olds[at] for at in kept]
        return Rows(run.relation, run.op, [run.rows[at] for at in kept], left)

    # ---- judging ---------------------------------------------------------------------------------------------

    def _is_its(self, test: _Test, row: Row) -> bool:
        ids = self.found.ids
        own = _id_at(row, test.id_at)
        if own is not None and own in ids.get(test.place, ()):
            return True
        if test.above is not None:
            above = _id_at(row, (test.above_at,))
            return above is not None and above in ids.get(test.above, ())
        return test.mapper is not None and self._has_key(test.mapper, row)

    def _has_key(self, mapper: RowMapper, row: Row) -> bool:
        try:
            return mapper.known_key(row) in self._keys
        except (ValueRefused, ValueError):
            return False

    def _learn(self, test: _Test, row: Row) -> None:
        own = _id_at(row, test.id_at)
        if own is not None:
            self.found.ids.setdefault(test.place, set()).add(own)
        for place, at in test.hung:
            hung = _id_at(row, (at,))
            if hung is not None:
                self.found.ids.setdefault(place, set()).add(hung)

    # ---- what is compiled ------------------------------------------------------------------------------------

    def _tests_of(self, system: str, relation: Relation) -> list[_Test]:
        known = self._tests.get((system, relation))
        if known is None:
            known = self._tests[system, relation] = [
                test
                for entity in self._family
                if (binding := entity.bindings.get(system)) is not None
                for test in self._compiled(entity, binding, relation)
            ]
        return known

    def _compiled(self, entity: EntityPlan, binding: BindingPlan, relation: Relation) -> Iterator[_Test]:
        number = binding_number(self._plan, entity, binding.system)
        if binding.table == relation.table:
            yield self._main(entity, binding, number, relation)
        for part in binding.parts:
            if part.table == relation.table and (test := _part(binding, part, number, relation)) is not None:
                yield test
        if binding.xref and binding.xref_table == relation.table and entity is self._root:
            yield from self._kept_key(number, relation)

    def _main(self, entity: EntityPlan, binding: BindingPlan, number: int, relation: Relation) -> _Test:
        above = None
        if entity.parent is not None and binding.parent_column in relation.columns:
            above = (binding_number(self._plan, self._plan.entities[entity.parent], binding.system), MAIN)
        return _Test(
            (number, MAIN),
            _id_columns(relation, binding.id_column),
            above,
            -1 if above is None else relation.columns.index(str(binding.parent_column)),
            _hung(binding, MAIN, number, relation),
            None if entity is not self._root else self._mapper(entity, binding, relation),
        )

    def _mapper(self, entity: EntityPlan, binding: BindingPlan, relation: Relation) -> RowMapper | None:
        """What reads a row's key, where it is in the row itself."""
        of_key = [bound for bound in binding.columns if bound.slot in entity.key]
        if len(of_key) != len(entity.key) or any(bound.columns[:1] != bound.columns for bound in of_key):
            return None
        if any(bound.column not in relation.columns for bound in of_key):
            return None
        only_key = msgspec.structs.replace(binding, columns=tuple(of_key), parts=(), where=(), new={}, xref=False)
        try:
            return RowMapper(self._plan, entity, only_key, relation, lambda _binding, _id: None)
        except CannotRead:
            return None

    def _kept_key(self, number: int, relation: Relation) -> Iterator[_Test]:
        """Rows of `cdcd_xref`: they name a record by its key as text."""
        if "key" in relation.columns and "id" in relation.columns:
            place = (number, "cdcd_xref key")
            self.found.ids[place] = {(text,) for text in self._texts}
            yield _Test(place, (relation.columns.index("key"),), hung=(((number, MAIN), relation.columns.index("id")),))


def _part(binding: BindingPlan, part: PartPlan, number: int, relation: Relation) -> _Test | None:
    """A part's rows are the record's own where they are made for it; what is only referred to is others' too."""
    if part.parent is not None and part.parent in relation.columns:
        above, at = (number, part.of), relation.columns.index(part.parent)
    elif part.at is not None and part.write == "row":
        above, at = None, -1
    else:
        return None
    hung = _hung(binding, part.name, number, relation)
    return _Test((number, part.name), _id_columns(relation, part.id_column), above, at, hung)


def _hung(binding: BindingPlan, name: str, number: int, relation: Relation) -> tuple[tuple[Place, int], ...]:
    """Columns of these rows that hold the ids of rows of further parts."""
    return tuple(
        ((number, part.name), relation.columns.index(part.at))
        for part in binding.hanging(name)
        if part.at in relation.columns and part.at is not None and part.write == "row"
    )


def _id_columns(relation: Relation, named: str | None) -> tuple[int, ...]:
    return (relation.columns.index(named),) if named in relation.columns and named is not None else relation.identity


def _id_at(row: Row, places: tuple[int, ...]) -> Id | None:
    """What names a row, None where the log did not carry it."""
    values: list[Any] = [row[at] for at in places]
    if not values or any(value is None or value is ABSENT for value in values):
        return None
    return tuple(map(str, values))

"""From two pictures to proposed entities: pairs of tables, their fields, references, collections, and what was left out. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from cdcd.config_columns import Column
from cdcd.conversions import to_column, to_field
from cdcd.init import names
from cdcd.init.children import ChildPair, child_pairs
from cdcd.init.matching import ColumnMatch, Rows, match_columns, with_all_members
from cdcd.init.pairing import KeyMatch, Pair, rows_that_meet, table_pairs
from cdcd.init.picture import SystemPicture, TablePicture
from cdcd.init.references import KeysById, ReferenceMatch, match_references
from cdcd.init.types import common_type, side_column
from cdcd.init.wide import PartPicture, Wide, lift_keys, widen
from cdcd.values import parse_type

_SHOPS_RECORDS: Final = frozenset(
    {"customer", "user", "order", "sale", "basket", "cart", "contact", "review", "account", "partner", "party"}
)
_SHOPS_FIELDS: Final = frozenset(
    {"description", "body", "html", "content", "seo", "meta", "slug", "web", "image", "teaser"}
)
_ERPS_FIELDS: Final = frozenset(
    {"price", "cost", "stock", "quantity", "qty", "credit", "tracking", "currency", "discount", "shipped", "promised"}
)
_FEW_VALUES: Final = 3
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")


class FieldProposal(msgspec.Struct, frozen=True):
    """A field: how either system holds it (by place: ERP, shop), who might own it, and what speaks for it."""

    name: str
    type: str
    columns: tuple[str | Column, str | Column]
    owner: str
    confidence: str
    why: str


class SideProposal(msgspec.Struct, frozen=True):
    """Where an entity lives in one system. `left_out` columns have a reason; `required` ones need a value in new rows."""

    table: str
    parent: str | None
    parts: tuple[PartPicture, ...]
    left_out: dict[str, str]
    required: tuple[str, ...]
    remarks: tuple[str, ...] = ()


class EntityProposal(msgspec.Struct, frozen=True):
    """An entity, or a child collection of one."""

    name: str
    key: str
    fields: tuple[FieldProposal, ...]
    sides: tuple[SideProposal, SideProposal]
    owner: str
    remarks: tuple[str, ...]
    children: tuple[EntityProposal, ...] = ()


class Proposal(msgspec.Struct, frozen=True):
    """All of it. `alone` are tables without a counterpart, by system."""

    systems: tuple[str, str]
    entities: tuple[EntityProposal, ...]
    alone: tuple[tuple[str, ...], tuple[str, ...]]


def propose(one: SystemPicture, other: SystemPicture) -> Proposal:
    """The proposal for an ERP and a shop."""
    for system in (one, other):
        lift_keys(system)
    pairs = table_pairs(one, other)
    children = child_pairs((one, other), pairs)
    return _Proposer((one, other), pairs, children).proposal()


class _Proposer:
    """Goes through the pairs; names given once are not given again."""

    def __init__(
        self, systems: tuple[SystemPicture, SystemPicture], pairs: Sequence[Pair], children: Sequence[ChildPair]
    ) -> None:
        self._systems = systems
        tables = [{pair.tables[side].table for pair in pairs} for side in (0, 1)]
        self._pairs = [pair for pair in pairs if pair.key is not None and self._is_bound(pair, tables)]
        self._children = [child for child in children if any(child.pair is pair for pair in self._pairs)]
        self._entity_names: dict[int, str] = {}
        for pair in self._pairs:
            self._entity_names[id(pair)] = _free_name(_entity_name(pair.tables), self._entity_names.values())
        tables = [{pair.tables[side].table for pair in self._pairs} for side in (0, 1)]
        self._apart = [tables[side] | {child.tables[side].table for child in children} for side in (0, 1)]
        self._keys = KeysById(
            {
                (side, pair.tables[side].table): (self._entity_names[id(pair)], pair.key.columns[side])
                for pair in self._pairs
                if pair.key is not None
                for side in (0, 1)
            },
            systems,
        )

    def _is_bound(self, pair: Pair, apart: Sequence[Collection[str]]) -> bool:
        """Whether the key's columns are there: those of a part are not, where its table is an entity by itself."""
        assert pair.key is not None
        return all(
            "." not in column or column in widen(self._systems[side], pair.tables[side], apart[side]).columns
            for side, column in enumerate(pair.key.columns)
        )

    def proposal(self) -> Proposal:
        entities = [self._entity(pair) for pair in self._pairs]
        alone = [
            tuple(name for name, table in system.tables.items() if name not in self._apart[side] and table.rows)
            for side, system in enumerate(self._systems)
        ]
        used = [self._part_tables(entities, side) for side in (0, 1)]
        left = tuple(tuple(name for name in alone[side] if name not in used[side]) for side in (0, 1))
        return Proposal((self._systems[0].name, self._systems[1].name), tuple(entities), (left[0], left[1]))

    def _part_tables(self, entities: Iterable[EntityProposal], side: int) -> set[str]:
        every = [one for entity in entities for one in (entity, *entity.children)]
        return {part.table for entity in every for part in entity.sides[side].parts}

    # ---- one pair --------------------------------------------------------------------------------------------

    def _entity(self, pair: Pair) -> EntityProposal:
        assert pair.key is not None
        name = self._entity_names[id(pair)]
        wides = self._widened(pair.tables)
        rows = rows_that_meet(pair)
        owner = self._systems[1 if _SHOPS_RECORDS & set(names.words(name)) else 0].name
        key = self._key_field(wides, pair.key, rows)
        fields = self._fields(name, wides, rows, owner, [key], ((), ()))
        children = [self._child(child, rows, owner) for child in self._children if child.pair is pair]
        sides = self._sides(wides, (None, None), [key, *fields], pair.key.columns)
        return EntityProposal(
            name,
            key.name,
            (key, *fields),
            sides,
            owner,
            (*_pair_remarks(pair), *self._hanging_remarks(sides)),
            tuple(children),
        )

    def _hanging_remarks(self, sides: tuple[SideProposal, SideProposal]) -> Iterable[str]:
        """Tables with several rows for each record: what is in them takes a person to bind."""
        for number, side in enumerate(sides):
            used = {part.table for part in side.parts} | self._apart[number]
            hung = [other.table for other, _ in self._systems[number].referring(side.table) if other.rows]
            left = [table for table in dict.fromkeys(hung) if table not in used]
            if left:
                named = ", ".join(left)
                yield f"{self._systems[number].name}: these refer to it and are not bound (parts with where, children): {named}"

    def _child(self, child: ChildPair, parent_rows: Rows, owner: str) -> EntityProposal:
        wides = self._widened(child.tables)
        rows = child.aligned(parent_rows)
        name = _free_name(_child_name(child), ())
        key = self._key_field(wides, child.key, rows)
        fields = self._fields(name, wides, rows, owner, [key], tuple((parent,) for parent in child.parents))  # type: ignore[arg-type]
        return EntityProposal(
            name,
            key.name,
            (key, *fields),
            self._sides(wides, child.parents, [key, *fields], child.key.columns),
            owner,
            tuple(child.remarks(len(rows))),
        )

    def _widened(self, tables: tuple[TablePicture, TablePicture]) -> tuple[Wide, Wide]:
        one, other = (widen(self._systems[side], tables[side], self._apart[side]) for side in (0, 1))
        return one, other

    def _key_field(self, wides: tuple[Wide, Wide], key: KeyMatch, rows: Rows) -> FieldProposal:
        columns = tuple(wide.columns[name] for wide, name in zip(wides, key.columns, strict=True))
        kind = common_type(columns[0].type, columns[1].type, None)
        name = _field_name(columns[0].bare, columns[1].bare, ())
        assert kind is not None
        return FieldProposal(name, kind, key.columns, "", "high" if rows else "low", f"the key; {len(rows)} rows meet")

    def _fields(
        self,
        entity: str,
        wides: tuple[Wide, Wide],
        rows: Rows,
        owner: str,
        fixed: list[FieldProposal],
        parents: tuple[Collection[str], Collection[str]],
    ) -> list[FieldProposal]:
        spoken = tuple({str(field.columns[side]) for field in fixed} | {*parents[side]} for side in (0, 1))
        references = [match for match in match_references(wides, rows, self._keys, spoken) if match.entity != entity]
        apart = tuple(spoken[side] | set(_not_matched(wides[side])) for side in (0, 1))
        found: list[FieldProposal] = []
        for reference in references:
            found.append(self._reference_field(reference, owner, [*fixed, *found]))
        for match in match_columns(wides, rows, (apart[0], apart[1])):
            field = self._field(match, owner, [*fixed, *found])
            if field is not None:
                found.append(field)
        return found

    def _reference_field(self, match: ReferenceMatch, owner: str, taken: Sequence[FieldProposal]) -> FieldProposal:
        used = [field.name for field in taken]
        name = match.entity if match.entity not in used else _field_name(*match.columns, used)
        return FieldProposal(name, f"ref({match.entity})", match.columns, owner, match.confidence, match.why)

    def _field(self, match: ColumnMatch, owner: str, taken: Sequence[FieldProposal]) -> FieldProposal | None:
        match, members = with_all_members(match)
        one, other = match.columns
        kind = common_type(one.type, other.type, match.relation)
        if kind is None:
            return None
        specs = tuple(side_column(column, side, match.relation) for side, column in enumerate(match.columns))
        field_type = parse_type(kind)
        for column, spec in zip(match.columns, specs, strict=True):
            transform = spec if isinstance(spec, Column) else None
            try:
                to_field(column.type, field_type, transform)
                to_column(field_type, column.type, transform)
            except ValueError:
                return None
        name = _field_name(one.bare, other.bare, [field.name for field in taken])
        return FieldProposal(
            name, kind, (specs[0], specs[1]), self._owner(match, owner), match.confidence, _why(match) + members
        )

    def _owner(self, match: ColumnMatch, owner: str) -> str:
        told = {word for column in match.columns for word in names.words(column.bare)}
        if told & _SHOPS_FIELDS:
            return self._systems[1].name
        return self._systems[0].name if told & _ERPS_FIELDS and owner == self._systems[0].name else owner

    def _sides(
        self,
        wides: tuple[Wide, Wide],
        parents: tuple[str | None, str | None],
        fields: Sequence[FieldProposal],
        key: tuple[str, str],
    ) -> tuple[SideProposal, SideProposal]:
        one, other = (_side(wides[side], side, parents[side], fields, key[side]) for side in (0, 1))
        return one, other


def _not_matched(wide: Wide) -> list[str]:
    """Columns that are looked at elsewhere (references) or mean nothing outside (the server's own numbers)."""
    table = wide.table
    return [name for name in table.columns if table.reference(name) is not None or table.is_counted(name)]


def _side(wide: Wide, side: int, parent: str | None, fields: Sequence[FieldProposal], key: str) -> SideProposal:
    table = wide.table
    bound = {spec.column if isinstance(spec, Column) else spec for field in fields for spec in [field.columns[side]]}
    left_out = {
        name: _why_left_out(table, name)
        for name in (column.name for column in table.facts.shape.columns)
        if name not in bound and name != parent
    }
    used = {name.rpartition(".")[0] for name in bound} - {""}
    used |= {str(part.options["of"]) for name, part in wide.parts.items() if name in used and "of" in part.options}
    parts = tuple(part for name, part in wide.parts.items() if name in used)
    holding = {part.options.get("at") for part in parts}
    required = tuple(
        column.name
        for column in table.facts.shape.columns
        if column.name in left_out
        and column.name not in holding
        and not (column.nullable or column.has_default or column.generated)
    )
    fine = parent is not None or table.is_unique([key]) or key in table.lifted
    remarks = [] if fine else [_no_index(table, key)]
    return SideProposal(table.table, parent, parts, left_out, required, tuple(remarks))


def _no_index(table: TablePicture, key: str) -> str:
    told = table.told(key)
    twice = len(told) - len(set(told))
    found = (
        f"{twice} of {len(told)} sampled values are duplicates" if twice else "no duplicates among the sampled values"
    )
    return f"{key} has no unique index over all rows: 'cdcd check' will ask for one ({found})"


def _why_left_out(table: TablePicture, column: str) -> str:
    if column in table.left_out:
        return table.left_out[column]
    if table.is_counted(column):
        return "the server's own number"
    reference = table.reference(column)
    if reference is not None:
        return f"refers to {reference.table}"
    return "empty" if table.rows and not table.told(column) else "no counterpart"


def _pair_remarks(pair: Pair) -> Iterable[str]:
    assert pair.key is not None
    key = pair.key
    how = "all rows" if key.complete else "a sample"
    if key.both:
        total = key.both + sum(key.only)
        apart = sum(key.only)
        yield f"{key.both} keys on both sides; {apart} of {total} exist on one side only ({key.only[0]} here, {key.only[1]} there), by {how}"
    else:
        yield "no key is on both sides: paired by names alone, look twice"
    for other in pair.others:
        yield f"also possible: {other}"


def _why(match: ColumnMatch) -> str:
    relation = match.relation
    if relation is None:
        return (
            f"by name only: of {match.compared} rows that meet hardly any agree now"
            if match.compared
            else "by name only: no values to compare"
        )
    how = {"equal": "equal", "scale": f"times {relation.scale}", "map": "one value for each value"}.get(
        relation.kind, f"the same moment in {relation.zone}"
    )
    few = f", but only {relation.distinct} different" if relation.distinct < _FEW_VALUES else ""
    return f"{relation.agreeing} of {relation.compared} rows {how}{few}"


def _entity_name(tables: tuple[TablePicture, TablePicture]) -> str:
    return names.common_name("_".join(tables[0].words), "_".join(tables[1].words))


def _child_name(child: ChildPair) -> str:
    own = [
        [word for word in table.words if word not in parent.words] or table.words
        for table, parent in zip(child.tables, child.pair.tables, strict=True)
    ]
    found = names.common_name("_".join(own[0]), "_".join(own[1]))
    return found if found.endswith("s") else f"{found}s"


def _field_name(one: str, other: str, taken: Collection[str]) -> str:
    return _free_name(names.common_name(one, other) or one, taken)


def _free_name(wanted: str, taken: Iterable[Any]) -> str:
    """A name that the configuration takes and nothing else has."""
    name = re.sub(r"[^a-z0-9_]", "", wanted.lower())[:28].strip("_")
    name = name if _NAME.fullmatch(name) else f"x_{name}"[:28]
    used, number, found = set(taken), 2, name
    while found in used:
        found, number = f"{name}_{number}", number + 1
    return found

"""One binding whose records are put together from rows of several tables: how, compiled once.

The tables form a tree: the main table is its root, each part hangs on the main row or on another part's row. From a row
one climbs to the main rows that it concerns; from a main row one goes down and takes a row of each part. What comes out
is a *wide row*, with columns such as "code" and "template.name", which a `RowMapper` reads like the row of one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from cdcd.model import Relation, Row
from cdcd.numeric import decimal_text, strip_zeros
from cdcd.resolve.gathered_rows import GatheredRows, GatheredTable, link_text
from cdcd.resolve.gathered_totals import EXACT, Totals
from cdcd.resolve.plan import MAIN, BindingPlan, Condition, EntityPlan, PartPlan, Place, place_of
from cdcd.resolve.suspension import CannotRead
from cdcd.values import ValueRefused, parse_type

_encode: Final = msgspec.msgpack.Encoder().encode
Link = tuple[str | None, str | None]
"""How a part is linked: the column of the row above (None: its id), and the column here (None: the id)."""


class WideColumn(msgspec.Struct, frozen=True):
    """A column of wide rows, and where its value comes from: the first of `places`, a total of `plus` - `minus`, a `count`."""

    name: str
    places: tuple[Place, ...] = ()
    plus: tuple[Place, ...] = ()
    minus: tuple[Place, ...] = ()
    count: str | None = None


class GatheredBinding:
    """See above. `tables` are by the name of the part, `MAIN` for the main one."""

    def __init__(
        self,
        number: int,
        entity: EntityPlan,
        binding: BindingPlan,
        tables: Mapping[str, GatheredTable],
        rows: GatheredRows,
        totals: Totals,
    ) -> None:
        """`number` is the crosswalk's."""
        self.number = number
        self.entity = entity
        self.binding = binding
        self.tables = tables
        self.awaited: set[str] = set()
        """Tables that must still be copied whole before anything can be said about records."""
        self._rows = rows
        self._totals = totals
        self._relation: Relation | None = None
        self._parts = {part.name: part for part in binding.parts}
        self._columns = wide_columns(binding)
        self.summed = _summed(binding)
        """The parts over whose rows totals are kept, with the columns that are summed."""
        below_totals = {name for name in self._parts if any(above in self.summed for above in self._above(name))}
        self._single = [p for p in binding.parts if p.name not in self.summed and p.name not in below_totals]
        self._links: dict[str, Link] = {p.name: self._link(p) for p in binding.parts}
        names = [column.name for column in self._columns]
        bound = [column for column in binding.columns if column.slot in entity.key]
        self._key_at = [names.index(name) for column in bound for name in column.columns]
        self._own = {name: _own_conditions(conditions) for name, conditions in self._conditions()}
        self._hung = {name: [c for c in conditions if c.part is not None] for name, conditions in self._conditions()}

    def _above(self, name: str) -> Iterator[str]:
        above = self._parts[name].of
        while above != MAIN:
            yield above
            above = self._parts[above].of

    def _link(self, part: PartPlan) -> Link:
        if part.at is not None:
            return part.at, part.id_column
        above = self.binding.id_column if part.of == MAIN else self._parts[part.of].id_column
        return above, part.parent

    def _conditions(self) -> Iterator[tuple[str, tuple[Condition, ...]]]:
        yield MAIN, self.binding.where
        yield from ((part.name, part.where) for part in self.binding.parts)

    def compiled(self) -> bytes:
        """What it is compiled from: a binding for which it differs must be read anew."""
        parts = [(p.name, p.table, p.of, p.at, p.parent, p.id_column, p.where, p.first_by) for p in self.binding.parts]
        kept = {name: table.columns for name, table in self.tables.items()}
        return _encode([self.binding.table, self.binding.id_column, self.binding.where, parts, self._columns, kept])

    # ---- climbing --------------------------------------------------------------------------------------------

    def is_concerned(self, name: str, row: Row) -> bool:
        """Whether a row of a part's table is one of the part, as far as it says itself."""
        return self._matches_itself(name, row)

    def climb(self, name: str, row_id: bytes, row: Row) -> Iterator[tuple[str, bytes]]:
        """The main rows that a part's row concerns, or the rows that are summed where it hangs on such: (part, id)."""
        if name == MAIN or name in self.summed:
            yield name, row_id
            return
        yield from self._climb_from(name, self.tables[name].value(row_id, row, self._links[name][1]))

    def climb_total(self, name: str, link: str) -> Iterator[tuple[str, bytes]]:
        """The main rows that the total over a part's rows with this link value concerns."""
        yield from self._climb_from(name, link)

    def _climb_from(self, name: str, value: str | None) -> Iterator[tuple[str, bytes]]:
        if value is None:
            return
        above = self._parts[name].of
        table = self.tables[above]
        for row_id in self._rows.linked(table, self._links[name][0], value):
            row = self._rows.get(table, row_id)
            if row is not None:
                yield from self.climb(above, row_id, row)

    # ---- going down ------------------------------------------------------------------------------------------

    def wide_row(self, main_id: bytes) -> Row | None:
        """The wide row of a main row; None when it is no record: it is gone, or is not as the binding says.

        Raises ValueRefused when several rows are there for a part that has one.
        """
        main = self._rows.get(self.tables[MAIN], main_id)
        if main is None or not self._matches(MAIN, main_id, main):
            return None
        found: dict[str, tuple[bytes, Row] | None] = {MAIN: (main_id, main)}
        for part in self._single:
            found[part.name] = self._pick(part, found[part.of])
        return [self._value(column, found) for column in self._columns] + main[len(self.tables[MAIN].columns) :]

    def _pick(self, part: PartPlan, above: tuple[bytes, Row] | None) -> tuple[bytes, Row] | None:
        if above is None:
            return None
        column, own = self._links[part.name]
        table = self.tables[part.name]
        value = self.tables[part.of].value(*above, column)
        candidates = [] if value is None else self._rows.linked(table, own, value)
        rows = [(row_id, row) for row_id in candidates if (row := self._rows.get(table, row_id)) is not None]
        matching = [found for found in rows if self._matches(part.name, *found)]
        if len(matching) > 1:
            return self._first(part, table, matching)
        return matching[0] if matching else None

    def _first(self, part: PartPlan, table: GatheredTable, found: list[tuple[bytes, Row]]) -> tuple[bytes, Row]:
        if not part.first_by:
            raise ValueRefused(
                f"several rows of {part.table} are there for part {part.name!r} of one {self.entity.name}",
                code="part-ambiguous",
                cause="the part has one",
                remedy=f"give entities.{self.entity.name}.in.{self.binding.system}.parts.{part.name} a where that one row"
                " fulfils, or first-by",
            )
        found = sorted(found, key=lambda row: [_comparable(part_of_id) for part_of_id in row[1][len(table.columns) :]])
        for column, descending in reversed(part.first_by):
            at = table.at[column]
            is_decimal = table.types[at].startswith("decimal")
            some = [row for row in found if row[1][at] is not None]
            some.sort(key=lambda row: _comparable(row[1][at], is_decimal=is_decimal), reverse=descending)
            found = some + [row for row in found if row[1][at] is None]
        return found[0]

    def _matches(self, name: str, row_id: bytes, row: Row) -> bool:
        if not self._matches_itself(name, row):
            return False
        for condition in self._hung[name]:
            assert condition.part is not None
            hanging = self._pick(self._parts[condition.part], (row_id, row))
            table = self.tables[condition.part]
            held = None if hanging is None else hanging[1][table.at[condition.column]]
            if _text(held) not in [_text(value) for value in condition.values]:
                return False
        return True

    def _matches_itself(self, name: str, row: Row) -> bool:
        at = self.tables[name].at
        return all(_text(row[at[column]]) in values for column, values in self._own[name])

    def is_summed(self, name: str, row_id: bytes, row: Row) -> bool:
        """Whether a row counts for the totals of its part."""
        return self._matches(name, row_id, row)

    def link_value(self, name: str, row_id: bytes, row: Row) -> str | None:
        """What a row of a part hangs on the row above by."""
        return self.tables[name].value(row_id, row, self._links[name][1])

    # ---- wide rows -------------------------------------------------------------------------------------------

    def _value(self, column: WideColumn, found: Mapping[str, tuple[bytes, Row] | None]) -> Any:
        if column.places:
            for part, name in column.places:
                held = found[part]
                value = None if held is None else held[1][self.tables[part].at[name]]
                if value is not None:
                    return value
            return None
        if column.count is not None:
            return self._total(column.count, None, found)[0]
        total = Decimal(0)
        for sign, places in ((1, column.plus), (-1, column.minus)):
            for part, name in places:
                amount = self._total(part, name, found)[1]
                total = EXACT.add(total, amount if sign > 0 else -amount)
        return strip_zeros(decimal_text(total))

    def _total(
        self, part: str, column: str | None, found: Mapping[str, tuple[bytes, Row] | None]
    ) -> tuple[int, Decimal]:
        above = found[self._parts[part].of]
        value = None if above is None else self.tables[self._parts[part].of].value(*above, self._links[part][0])
        if value is None:
            return 0, Decimal(0)
        return self._totals.read(
            self.total_number(part), value, None if column is None else self.summed[part].index(column)
        )

    def total_number(self, part: str) -> int:
        """The number of the totals over a part's rows."""
        return self.number << 8 | list(self._parts).index(part)

    def relation(self) -> Relation:
        """The shape of wide rows, the same object until a table changes. Raises CannotRead."""
        if self._relation is None:
            main = self.tables[MAIN]
            columns = [*(column.name for column in self._columns), *(f"{name} (id)" for name in main.identity)]
            types = [self._type(column) for column in self._columns]
            first_id = len(columns) - len(main.identity)
            self._relation = Relation(
                self.binding.table,
                tuple(columns),
                (*types, *main.types[len(main.columns) :]),
                tuple(range(first_id, len(columns))),
            )
        return self._relation

    def has_key(self, wide: Row) -> bool:
        """Whether the record of a wide row has a business key: one without is none yet."""
        return all(wide[at] is not None for at in self._key_at)

    def forget_relation(self) -> None:
        """A table looks otherwise than before."""
        self._relation = None

    def _type(self, column: WideColumn) -> str:
        if column.count is not None:
            return "integer"
        if not column.places:
            return "decimal"
        types = {self._type_at(part, name) for part, name in column.places}
        if len(types) == 1:
            return types.pop()
        kinds = {parse_type(kind).kind for kind in types}
        if len(kinds) > 1:
            raise CannotRead(
                self.entity.family,
                f"entity {self.entity.name!r} cannot be read from {self.binding.system!r}",
                code="type-mismatch",
                cause=f"the columns of {column.name} have the types {', '.join(sorted(types))}",
                remedy="name columns of one type",
            )
        return kinds.pop()

    def _type_at(self, part: str, column: str) -> str:
        table = self.tables[part]
        return table.types[table.at[column]] if table.types else "text"


def wide_columns(binding: BindingPlan) -> list[WideColumn]:
    """The columns of wide rows, but for those of the main row's id."""
    found: dict[str, WideColumn] = {}
    for name in (binding.parent_column, binding.id_column):
        if name is not None:
            found[name] = WideColumn(name, ((MAIN, name),))
    for bound in binding.columns:
        transform = bound.transform
        if transform is None or not bound.is_computed:
            found.update((name, WideColumn(name, (place_of(name),))) for name in bound.columns)
        else:
            found[bound.column] = WideColumn(
                bound.column,
                tuple(map(place_of, transform.first)),
                tuple(map(place_of, transform.sum)),
                tuple(map(place_of, transform.minus)),
                transform.count,
            )
    return list(found.values())


def _summed(binding: BindingPlan) -> dict[str, tuple[str, ...]]:
    summed: dict[str, dict[str, None]] = {}
    for column in wide_columns(binding):
        for part, name in (*column.plus, *column.minus):
            summed.setdefault(part, {})[name] = None
        if column.count is not None:
            summed.setdefault(column.count, {})
    return {part: tuple(columns) for part, columns in summed.items()}


def linked_columns(binding: BindingPlan) -> dict[str, frozenset[str | None]]:
    """By part: the columns by which its rows are looked for, going up or down (None: their id)."""
    found: dict[str, set[str | None]] = {name: set() for name in (MAIN, *(p.name for p in binding.parts))}
    ids = {MAIN: binding.id_column, **{part.name: part.id_column for part in binding.parts}}
    for part in binding.parts:
        found[part.of].add(part.at if part.at is not None else ids[part.of])
        found[part.name].add(part.id_column if part.at is not None else part.parent)
    return {name: frozenset(columns) for name, columns in found.items()}


def _own_conditions(conditions: tuple[Condition, ...]) -> list[tuple[str, frozenset[str | None]]]:
    return [(c.column, frozenset(_text(value) for value in c.values)) for c in conditions if c.part is None]


def _text(value: Any) -> str | None:
    """How a value is compared with what the configuration says: true is 1, as servers without booleans have it."""
    return str(int(value)) if isinstance(value, bool) else link_text(value)


def _comparable(value: Any, *, is_decimal: bool = False) -> Any:
    return Decimal(value) if is_decimal else value

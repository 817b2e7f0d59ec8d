"""How a source's rows lie in the table that they are copied to, compiled once per shape; or why they do not fit it.

A copy is whole or it is none: every column of the source that is not left out on purpose must be in the target, in a
type that holds its values. What does not fit is no reason to stop: its rows are parked until it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from cdcd.conversions import Convert, column_to_column
from cdcd.errors import Refused
from cdcd.model import Relation, Row, TableShape, WriteKind
from cdcd.resolve.plan import Route
from cdcd.values import parse_type

RowKey: TypeAlias = Any
"""The value of the one key column, or a tuple where there are several."""


class Writer:
    """Makes writes of rows that hold the same columns of a source, in the order of `columns`."""

    def __init__(
        self, kind: WriteKind, columns: tuple[str, ...], types: tuple[str, ...], converts: Sequence[Convert | None]
    ) -> None:
        self.kind = kind
        self.columns = columns
        self.types = types
        self.converts = [(at, convert) for at, convert in enumerate(converts) if convert is not None]

    def converted(self, row: Row) -> Row:
        """The row in the target's types. Raises ValueRefused."""
        converted = list(row)
        for at, convert in self.converts:
            value = converted[at]
            if value is not None:
                converted[at] = convert(value)
        return converted


class Layout:
    """Where a relation's rows have their key, and the other columns that the target must be given.

    With `misfit` the rows cannot be written. Their key is then the target's if they have it, else what names them in
    the source's log.
    """

    def __init__(self, relation: Relation, key_places: Sequence[int], places: Sequence[int]) -> None:
        self.relation = relation
        self.misfit: Refused | None = None
        self.key_places = key_places
        self.key_of: Callable[[Row], RowKey] = itemgetter(*key_places) if key_places else lambda _row: ()
        self.single = len(key_places) == 1
        self.others = [at for at in places if at not in key_places]
        self.whole: tuple[Writer, list[int] | None] | None = None
        """The writer of whole rows, and the places of its columns where they are not those of the rows; once it was wanted."""
        self.partial: dict[tuple[int, ...], tuple[Writer, list[int]]] = {}
        """Writers of rows of which the log left out the values at some places."""

    def names(self, places: Sequence[int]) -> tuple[str, ...]:
        """Names of columns."""
        return tuple(self.relation.columns[at] for at in places)

    def types(self, places: Sequence[int]) -> tuple[str, ...]:
        """Canonical types of columns."""
        return tuple(self.relation.types[at] for at in places)


class CopyTable:
    """The target's table of one plain copy. `shape` is None where there is none."""

    def __init__(self, route: Route, shape: TableShape | None) -> None:
        self.route = route
        self.exists = shape is not None
        columns = () if shape is None else shape.columns
        self.key = () if shape is None else shape.primary_key
        self._unfit_policies = {name: policy for name, policy in route.unfit if name not in self.key}
        self._types = {column.name: parse_type(column.type) for column in columns if not column.generated}
        self._skipped = route.leave_out | {column.name for column in columns if column.generated}
        self._layouts: dict[int, Layout] = {}
        self._writers: dict[tuple[WriteKind, tuple[str, ...], tuple[str, ...]], Writer] = {}

    def layout(self, relation: Relation) -> Layout:
        """How rows of `relation` lie here. The relation must be the same object each time."""
        known = self._layouts.get(id(relation))
        if known is None:
            known = self._layouts[id(relation)] = self._laid_out(relation)
        return known

    def _laid_out(self, relation: Relation) -> Layout:
        places = [at for at, name in enumerate(relation.columns) if name not in self._skipped]
        try:
            key_places = [relation.columns.index(name) for name in self.key]
        except ValueError:
            key_places = []
        layout = Layout(relation, key_places or list(relation.identity), places)
        layout.misfit = self.misfit(layout.names(places), layout.types(places))
        return layout

    def misfit(self, columns: Sequence[str], types: Sequence[str]) -> Refused | None:
        """Why rows of these columns cannot be written; None when they can."""
        if not self.exists:
            return self._refused("target-table-missing", "there is no such table", "create it")
        if not self.key:
            return self._refused("target-no-key", "the table has no primary key", "add one")
        named = [(name, spec) for name, spec in zip(columns, types, strict=True) if name not in self._skipped]
        lacking = [f"{name} ({spec})" for name, spec in named if name not in self._types]
        if lacking:
            return self._refused(
                "target-column-missing",
                f"it has no column {', '.join(lacking)}",
                "add it there; or list it under leave-out of [[replicate]]",
            )
        keyless = [name for name in self.key if name not in dict(named)]
        if keyless:
            return self._refused(
                "target-key-mismatch",
                f"the source has no column {', '.join(keyless)}, which is of the target's primary key",
                "give both tables the same primary key",
            )
        unfit = [reason for name, spec in named if (reason := self._unfit(name, spec))]
        if unfit:
            remedy = "give the column a type that holds the source's values, or bind the table to an entity"
            return self._refused("target-type-mismatch", "; ".join(unfit), remedy)
        return None

    def _unfit(self, name: str, spec: str) -> str:
        try:
            self._convert(name, spec)
        except ValueError as error:
            return f"column {name}: {error}"
        return ""

    def _convert(self, name: str, spec: str) -> Convert | None:
        return column_to_column(parse_type(spec), self._types[name], self._unfit_policies.get(name, "park"))

    def _refused(self, code: str, cause: str, remedy: str) -> Refused:
        route = self.route
        return Refused(
            f"rows of {route.source_table} do not fit {route.target_table} in {route.target!r}",
            code=code,
            cause=f"{cause}; {remedy}",
            remedy=remedy,
        )

    def taken(self, columns: Sequence[str]) -> list[int]:
        """The places of those columns that the target is given."""
        return [at for at, name in enumerate(columns) if name not in self._skipped]

    def writer(self, kind: WriteKind, columns: tuple[str, ...], types: tuple[str, ...]) -> Writer:
        """For rows that fit."""
        known = self._writers.get((kind, columns, types))
        if known is None:
            converts = [self._convert(*named) for named in zip(columns, types, strict=True)]
            known = self._writers[kind, columns, types] = Writer(kind, columns, types, converts)
        return known

    def deleter(self, layout: Layout) -> Writer:
        """For the keys of rows that are deleted."""
        return self.writer(WriteKind.DELETE, self.key, layout.types(layout.key_places))

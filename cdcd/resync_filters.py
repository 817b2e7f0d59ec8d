"""Which rows of which tables are the records that an operator names; found in the live databases, read only.

Only for the command line: it connects to servers, which the supervisor never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdcd.adapter import RowFilter
from cdcd.conversions import to_column, typed
from cdcd.errors import ConfigError, NotReady
from cdcd.model import TableShape
from cdcd.operations.resyncs import Chosen
from cdcd.reader import Reader
from cdcd.record_names import SEPARATOR, Named, named
from cdcd.resolve.plan import MAIN, BindingPlan, ColumnPlan, EntityPlan, Plan
from cdcd.values import ValueRefused, parse_type

KEYS_MAX: Final = 1_000
"""So many records are named one by one; for more a condition is the better way."""


class Choice(msgspec.Struct, frozen=True):
    """What is to be read again. `keys` are of records (as records have them), `rows` of plain copies, by `columns`.

    `found` says for each system how many of the named rows it has now.
    """

    chosen: tuple[Chosen, ...]
    keys: tuple[bytes, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    found: dict[str, int] = {}


OpenReader = Callable[[str], Reader]
"""Looks at a system's tables; opened when first needed."""


# ---- by a condition ------------------------------------------------------------------------------------------------


def by_condition(
    entity_tables: Sequence[tuple[str, str]],
    system: str,
    table: str | None,
    condition: str,
    open_reader: OpenReader,
) -> Choice:
    """The rows of a table (None: the main one) that satisfy an operator's SQL. Raises FilterRefused."""
    tables = [name for of_system, name in entity_tables if of_system == system]
    if table is not None and table not in tables:
        raise ConfigError(
            f"table {table} is not read from {system} for it", code="argument", remedy=f"there are: {', '.join(tables)}"
        )
    wanted = tables[0] if table is None else table
    open_reader(system).check_filter(wanted, condition)
    return Choice((Chosen(system, wanted, RowFilter(where=condition)),))


# ---- by name -------------------------------------------------------------------------------------------------------


def by_keys(plan: Plan, entity: str, words: Sequence[str], systems: Iterable[str], open_reader: OpenReader) -> Choice:
    """The rows of named records of an entity, and those of their child collections."""
    _refuse_too_many(words)
    records = [named(plan, entity, [word]) for word in words]
    found: dict[str, int] = {}
    chosen: list[Chosen] = []
    for system in systems:
        binding = plan.entities[entity].bindings[system]
        reader = open_reader(system)
        shapes = {facts.table: facts.shape for facts in reader.catalog()}
        main = main_filter(plan, plan.entities[entity], binding, records, _shape(shapes, system, binding.table))
        chosen.append(Chosen(system, binding.table, main))
        ids = _ids(reader, binding, main, _shape(shapes, system, binding.table))
        found[system] = len(ids)
        chosen += [Chosen(system, table, of) for table, of in _children(plan, entity, system, ids)]
    _refuse_shared(chosen)
    return Choice(tuple(chosen), tuple(record.key for record in records), found=found)


def main_filter(
    plan: Plan, entity: EntityPlan, binding: BindingPlan, records: Sequence[Named], shape: TableShape
) -> RowFilter:
    """The main rows of records, by the columns that hold the key. Raises ConfigError where it does not stand there."""
    bound = [_key_column(entity, binding, slot) for slot in entity.key]
    ways = []
    for slot, column in zip(entity.key, bound, strict=True):
        live = shape.column(column.column)
        if live is None:
            raise NotReady(f"table {shape.table} has no column {column.column}", remedy="run 'cdcd check'")
        try:
            ways.append(to_column(plan.plain_type(entity.fields[slot].type), parse_type(live.type), column.transform))
        except ValueError as error:
            raise _no_way(entity, binding, f"column {column.column}: {error}") from error
    keys = []
    for record in records:
        try:
            keys.append(tuple(way.of(part) for way, part in zip(ways, record.parts, strict=True)))
        except ValueRefused:
            continue  # no row of this table has such a key
    return RowFilter(columns=tuple(column.column for column in bound), keys=tuple(dict.fromkeys(keys)))


def _key_column(entity: EntityPlan, binding: BindingPlan, slot: int) -> ColumnPlan:
    """The one column of the main table that holds this part of the key itself."""
    bound = next((column for column in binding.columns if column.slot == slot), None)
    if (
        bound is None
        or bound.place[0] != MAIN
        or len(bound.columns) != 1
        or bound.is_computed
        or bound.splits is not None
    ):
        raise _no_way(entity, binding, "its key does not stand in one column each of its main table")
    if entity.fields[slot].refers_to is not None and not bound.holds_key:
        raise _no_way(entity, binding, f"column {bound.column} holds another row's id")
    return bound


def _no_way(entity: EntityPlan, binding: BindingPlan, cause: str) -> ConfigError:
    return ConfigError(
        f"records of {entity.name} cannot be found by their key in {binding.system}",
        code="resync-key",
        cause=cause,
        remedy=f'choose rows: cdcd resync {entity.name} --system {binding.system} --where "…" --table {binding.table}',
    )


def _ids(reader: Reader, binding: BindingPlan, main: RowFilter, shape: TableShape) -> list[tuple[Any, ...]]:
    """What rows of children refer to these rows by."""
    columns = (binding.id_column,) if binding.id_column is not None else shape.primary_key
    rows = reader.read_rows(binding.table, columns, main.columns, main.keys) if main.keys else []
    return [tuple(row) for row in rows]


def _children(plan: Plan, entity: str, system: str, ids: Sequence[tuple[Any, ...]]) -> list[tuple[str, RowFilter]]:
    found = []
    for child in plan.entities.values():
        binding = child.bindings.get(system) if child.parent == entity else None
        if binding is not None and binding.parent_column is not None and all(len(parts) == 1 for parts in ids):
            found.append((binding.table, RowFilter(columns=(binding.parent_column,), keys=tuple(ids))))
    return [(table, row_filter) for table, row_filter in found if row_filter.keys]


def _refuse_shared(chosen: Sequence[Chosen]) -> None:
    tables = [(one.system, one.table) for one in chosen]
    if len(set(tables)) < len(tables):
        raise ConfigError(
            "a record and its children stand in one table: rows of it are chosen by one condition only",
            code="resync-key",
            remedy="choose them by --where",
        )


def rows_of_copy(system: str, table: str, words: Sequence[str], key: Sequence[str], reader: Reader) -> Choice:
    """The rows of a plain copy's source with these keys (`key` columns, none: the primary key), found there or not."""
    _refuse_too_many(words)
    shapes = {facts.table: facts.shape for facts in reader.catalog()}
    shape = _shape(shapes, system, table)
    columns = tuple(key) or shape.primary_key
    keys = tuple(dict.fromkeys(_row_key(shape, columns, word) for word in words))
    found = len(reader.read_rows(table, columns, columns, keys))
    chosen = Chosen(system, table, RowFilter(columns=columns, keys=keys))
    return Choice((chosen,), columns=columns, rows=keys, found={system: found})


def _row_key(shape: TableShape, columns: Sequence[str], word: str) -> tuple[Any, ...]:
    texts = [word] if len(columns) == 1 else word.split(SEPARATOR)
    kinds = [live.type for name in columns if (live := shape.column(name)) is not None]
    if len(texts) != len(kinds) or not kinds:
        raise ConfigError(
            f"{word!r} is no key of table {shape.table}",
            code="argument",
            cause=f"its key is {', '.join(columns) or 'nothing'}",
            remedy=f"write {SEPARATOR.join(columns).upper()}" if columns else "choose rows by --where",
        )
    try:
        return tuple(typed(text, parse_type(kind)) for text, kind in zip(texts, kinds, strict=True))
    except ValueError as error:
        raise ConfigError(
            f"{word!r} is no key of table {shape.table}",
            code="argument",
            cause=str(error),
            remedy="write it as it is there",
        ) from error


def _shape(shapes: Mapping[str, TableShape], system: str, table: str) -> TableShape:
    if table not in shapes:
        raise NotReady(f"system {system!r} has no table {table}", remedy="run 'cdcd check'", code="table-missing")
    return shapes[table]


def _refuse_too_many(words: Sequence[str]) -> None:
    if len(words) > KEYS_MAX:
        raise ConfigError(
            f"{len(words):,} records are too many to name", code="argument", remedy="choose them by --where"
        )

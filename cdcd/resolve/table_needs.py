"""What the configuration needs of each table of a system: to be read, to be written, and in which columns. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from cdcd.adapter import TableNeed
from cdcd.config_columns import NewValue
from cdcd.resolve.plan import MAIN, BindingPlan, EntityPlan, PartPlan, Plan, place_of


def tables(plan: Plan, system: str) -> list[TableNeed]:
    """What is needed of each table of a system, in the order in which tables are first copied."""
    needs: dict[str, TableNeed] = {}
    for need in _needs(plan, system):
        known = needs.get(need.table)
        needs[need.table] = need if known is None else merged(known, need)
    return list(needs.values())


def _needs(plan: Plan, system: str) -> Iterator[TableNeed]:
    for entity in plan.entities.values():
        binding = entity.bindings.get(system)
        if binding is not None:
            yield from _of_binding(entity, binding)
    for route in plan.routes:
        if route.source == system:
            yield TableNeed(route.source_table, captured=True, written=False)
        if route.target == system:
            yield TableNeed(route.target_table, captured=False, written=True)


def _of_binding(entity: EntityPlan, binding: BindingPlan) -> Iterator[TableNeed]:
    """What a binding needs of its tables. The key of records that are put together may be anywhere in them."""
    written = binding.system in entity.subscribe
    key: tuple[str, ...] = ()
    columns = binding.read_from(MAIN)
    if not binding.is_gathered:
        parent = () if binding.parent_column is None else (binding.parent_column,)
        key = parent + tuple(binding.column_of(slot) for slot in entity.key)
        columns = binding.needed_columns
    need = TableNeed(binding.table, key, columns, captured=True, written=written)
    yield _with_written(need, binding, None) if written else need
    for part in binding.parts:
        written_part = written and part.write == "row"
        need = TableNeed(part.table, (), binding.read_from(part.name), captured=True, written=written_part)
        yield _with_written(need, binding, part) if written_part else need
    if binding.xref:
        yield _of_xref(binding, written=written)
    for new in (binding.new, *(part.new for part in binding.parts)):
        for value in new.values():
            if isinstance(value, NewValue) and value.id_of is not None:
                yield TableNeed(value.id_of, (), tuple(value.where), captured=False, written=False)


def _of_xref(binding: BindingPlan, *, written: bool) -> TableNeed:
    columns = ("entity", "key", "id")
    return TableNeed(binding.xref_table, ("entity", "key"), columns, captured=True, written=written)


def _with_written(need: TableNeed, binding: BindingPlan, part: PartPlan | None) -> TableNeed:
    """With the columns that its rows are given: in any case what is bound, in new ones what says that they are such rows."""
    name = MAIN if part is None else part.name
    bound = [
        column
        for each in binding.columns
        if binding.written_mask >> each.slot & 1
        for owner, column in map(place_of, each.columns)
        if owner == name
    ]
    referring = [hung.at for hung in binding.hanging(name) if hung.at is not None and hung.write != "never"]
    row_id, parent = (binding.id_column, binding.parent_column) if part is None else (part.id_column, part.parent)
    new = binding.new if part is None else part.new
    updated = dict.fromkeys([*([parent] if parent is not None else []), *bound, *referring])
    inserted = dict.fromkeys([*updated, *_conditions_on(binding, name), *new])
    if row_id is not None and binding.is_gathered:
        inserted[row_id] = None
    return msgspec.structs.replace(
        need,
        inserted=tuple(inserted),
        updated=tuple(updated),
        deleted=_is_deleted_from(binding, part),
        numbered=row_id is None and binding.is_gathered,
    )


def _is_deleted_from(binding: BindingPlan, part: PartPlan | None) -> bool:
    """Whether rows go with their records; those of a part that others refer to stay, of others some go that hold nothing."""
    if part is None:
        return binding.instead_of_delete is None
    may_hold_nothing = part.null == "delete" or (part.null is None and bool(part.where))
    return part.at is None and (binding.instead_of_delete is None or may_hold_nothing)


def _conditions_on(binding: BindingPlan, name: str) -> Iterator[str]:
    """The columns of a part (`MAIN`: of the main table) by which its rows are told from others."""
    for owner, conditions in ((MAIN, binding.where), *((part.name, part.where) for part in binding.parts)):
        yield from (c.column for c in conditions if (owner if c.part is None else c.part) == name)


def merged(one: TableNeed, other: TableNeed) -> TableNeed:
    """What two parts of the configuration need of one table."""
    return TableNeed(
        one.table,
        one.key or other.key,
        _union(one.columns, other.columns),
        captured=one.captured or other.captured,
        written=one.written or other.written,
        inserted=_of_writers(one, one.inserted, other, other.inserted),
        updated=_of_writers(one, one.updated, other, other.updated),
        deleted=(one.written and one.deleted) or (other.written and other.deleted),
        numbered=one.numbered or other.numbered,
    )


def _of_writers(
    one: TableNeed, of_one: tuple[str, ...], other: TableNeed, of_other: tuple[str, ...]
) -> tuple[str, ...]:
    if one.written and other.written:
        return _union(of_one, of_other)
    return of_one if one.written else of_other


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """All columns (none named) and some are all."""
    return tuple(dict.fromkeys(one + other)) if one and other else ()

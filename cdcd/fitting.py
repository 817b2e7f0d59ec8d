"""Whether tables fit the configuration: what reading and delivering would find, found before the start. Pure.

The same code compiles bindings and copies here and at work, so that neither knows a type that the other does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cdcd.adapter import Finding
from cdcd.errors import CdcdError
from cdcd.folding.copy_layout import CopyTable
from cdcd.folding.records import RecordFolder
from cdcd.model import XREF_SHAPE, Relation, TableShape
from cdcd.resolve.gathered_binding import wide_columns
from cdcd.resolve.mapping import RowMapper
from cdcd.resolve.plan import MAIN, BindingPlan, EntityPlan, Plan, Route
from cdcd.resolve.suspension import CannotRead

Shapes = Mapping[str, Mapping[str, TableShape]]
"""By system and table. What is not there is passed over: its system's own check has said so."""


def findings(plan: Plan, shapes: Shapes) -> list[Finding]:
    """Everything that does not fit."""
    found: list[Finding] = []
    for entity in plan.entities.values():
        for system, binding in entity.bindings.items():
            tables = shapes.get(system, {})
            if binding.is_gathered:
                found += _of_gathered(plan, entity, binding, tables)
            elif binding.table in tables and _has_columns(binding, tables[binding.table]):
                found += _of_binding(plan, entity, binding, relation_of(tables[binding.table]), tables)
    for route in plan.routes:
        source = shapes.get(route.source, {}).get(route.source_table)
        target = shapes.get(route.target, {}).get(route.target_table)
        if source is not None and target is not None:
            found += _of_copy(route, source, target)
    return found


def _has_columns(binding: BindingPlan, shape: TableShape) -> bool:
    return all(shape.column(name) is not None for name in binding.needed_columns)


def _of_gathered(
    plan: Plan, entity: EntityPlan, binding: BindingPlan, tables: Mapping[str, TableShape]
) -> Iterator[Finding]:
    """A binding of several tables, where all of them have what it needs."""
    read = binding.as_read(entity.key)
    names = {MAIN: binding.table, **{part.name: part.table for part in read.parts}}
    written = {**tables, XREF_SHAPE.table: XREF_SHAPE, binding.xref_table: XREF_SHAPE}
    shapes = {name: written[table] for name, table in names.items() if table in written}
    if len(shapes) == len(names) and all(
        shape.column(column) is not None for name, shape in shapes.items() for column in read.read_from(name)
    ):
        yield from _of_binding(plan, entity, binding, _wide_relation(read, shapes), written)


def _wide_relation(binding: BindingPlan, shapes: Mapping[str, TableShape]) -> Relation:
    """The relation that the rows will have that are put together from several tables."""
    columns: dict[str, str] = {}
    for wide in wide_columns(binding):
        found = next((shapes[part].column(name) for part, name in wide.places), None)
        total = "integer" if wide.count is not None else "decimal"
        columns[wide.name] = total if found is None else found.type
    main = shapes[MAIN]
    ids = {f"{name} (id)": column.type for name in main.primary_key if (column := main.column(name)) is not None}
    names = (*columns, *ids)
    identity = tuple(range(len(columns), len(names)))
    return Relation(binding.table, names, (*columns.values(), *ids.values()), identity)


def _of_binding(
    plan: Plan, entity: EntityPlan, binding: BindingPlan, relation: Relation, tables: Mapping[str, TableShape]
) -> Iterator[Finding]:
    try:
        RowMapper(plan, entity, binding.as_read(entity.key), relation, lambda _binding, _row_id: None)
    except CannotRead as refusal:
        yield _finding(refusal, binding.system, binding.table)
    misfit = RecordFolder(plan, entity, binding, tables).misfit
    if misfit is not None:
        yield _finding(misfit, binding.system, binding.table)


def _of_copy(route: Route, source: TableShape, target: TableShape) -> Iterator[Finding]:
    table = CopyTable(route, target)
    relation = relation_of(source)
    places = table.taken(relation.columns)
    misfit = table.misfit([relation.columns[at] for at in places], [relation.types[at] for at in places])
    if misfit is not None:
        yield _finding(misfit, route.target, route.target_table)
    elif not {*table.key} <= {*source.primary_key}:
        yield Finding(
            "warning",  # a PostgreSQL table may log other columns of deleted rows than its primary key
            "key-not-logged",
            route.target,
            route.target_table,
            f"deleted rows of {route.source_table} cannot be named by {', '.join(table.key)}, which is not in its own key",
            "give both tables the same primary key (PostgreSQL: or set the table's REPLICA IDENTITY to it)",
        )


def relation_of(shape: TableShape) -> Relation:
    """The relation that the log will have for rows of a table as it is."""
    columns = [column for column in shape.columns if not column.generated]
    names = [column.name for column in columns]
    key: Iterable[str] = (name for name in shape.primary_key if name in names)
    identity = tuple(names.index(name) for name in key)
    return Relation(shape.table, tuple(names), tuple(column.type for column in columns), identity)


def _finding(error: CdcdError, system: str, table: str) -> Finding:
    return Finding("error", error.code, system, table, f"{error.what}: {error.cause}", error.remedy)

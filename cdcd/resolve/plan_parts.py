"""The parts of bindings compiled: further tables, in the order in which they hang on one another. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from cdcd.config_columns import Column, Constant, Match, New, NewValue, Null, Part
from cdcd.resolve.plan import MAIN, Condition, PartPlan, place_of


def conditions_of(where: Mapping[str, Match]) -> tuple[Condition, ...]:
    """The conditions of one row."""
    found = []
    for column, match in where.items():
        part, name = place_of(column)
        found.append(Condition(part or None, name, _values(match)))
    return tuple(found)


def _values(match: Match) -> tuple[Constant | None, ...]:
    if isinstance(match, Null):
        return (None,)
    return tuple(match) if isinstance(match, list) else (match,)


def new_values(new: Mapping[str, New], table_name: Callable[[str], str]) -> dict[str, New]:
    """What new rows get, with tables spelled in full."""
    return {
        column: msgspec.structs.replace(value, id_of=table_name(value.id_of))
        if isinstance(value, NewValue) and value.id_of is not None
        else value
        for column, value in new.items()
    }


def parts_of(parts: Mapping[str, Part], table_name: Callable[[str], str]) -> tuple[PartPlan, ...]:
    """The parts of a binding, each after the one it hangs on. Parts that hang on nothing were refused before."""
    ordered: dict[str, PartPlan] = {}
    while len(ordered) < len(parts):
        found = {n: p for n, p in parts.items() if n not in ordered and (p.of is None or p.of in ordered)}
        assert found, "parts hang on one another in a circle"
        ordered.update((name, _part(name, part, table_name)) for name, part in found.items())
    return tuple(ordered.values())


def _part(name: str, part: Part, table_name: Callable[[str], str]) -> PartPlan:
    write: Literal["refer", "row", "never"] = part.write or ("row" if part.at is None else "refer")
    return PartPlan(
        name,
        table_name(part.table),
        part.of or MAIN,
        part.at,
        part.parent,
        part.id,
        conditions_of(part.where),
        tuple((column.removeprefix("-"), column.startswith("-")) for column in part.first_by),
        write,
        new_values(part.new, table_name),
        part.null,
    )


def name_of(column: Column) -> str:
    """What a column is called in the rows that a mapper reads: computed ones by what they are computed from."""
    if column.first:
        return f"first({', '.join(column.first)})"
    if column.sum:
        minus = f" - sum({', '.join(column.minus)})" if column.minus else ""
        return f"sum({', '.join(column.sum)}){minus}"
    if column.join is not None:
        return f"join({', '.join(column.join.columns)})"
    if column.constant is not None:
        return "constant"
    return f"count({column.count})" if column.count is not None else column.column

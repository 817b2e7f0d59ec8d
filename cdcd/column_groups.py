"""Fields and columns that are written together: how a binding's joined, split, counted and constant columns are filled. Pure.

A field with one column of its own is in no group: `conversions.to_column` is all that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cdcd.conversions import between, column_text, to_column, typed
from cdcd.resolve.plan import BindingPlan, ColumnPlan
from cdcd.transforms.groups import parted, to_minor_units, whole
from cdcd.transforms.step import TEXT
from cdcd.values import ValueRefused, ValueType

TypeOf = Callable[[str], ValueType]
"""The type of a column, as the binding calls it. What it raises passes through."""


class ColumnGroup(msgspec.Struct, frozen=True):
    """What `columns` hold for the values of `slots`, in that order; NULL is None. `fill` may raise ValueRefused.

    Without columns, `fill` only refuses what the constant of a system is not.
    """

    slots: tuple[int, ...]
    columns: tuple[str, ...]
    fill: Callable[[Sequence[Any]], list[Any]]


def column_groups(binding: BindingPlan, types: Sequence[ValueType], type_of: TypeOf) -> list[ColumnGroup]:
    """The groups of a binding, whose fields have these types by slot (of references, those of their keys).

    Raises ValueError where a field does not convert to its columns. What is only read is in none.
    """
    groups: list[ColumnGroup] = []
    for bound in binding.columns:
        transform = bound.transform
        if transform is None or transform.is_read_only:
            continue
        if transform.constant is not None:
            groups.append(_constant(bound, types[bound.slot], column_text(transform.constant)))
        elif transform.join is not None:
            groups.append(_joined(bound, types[bound.slot], type_of))
        elif bound.currency is not None:
            groups.append(_amount(bound, binding.bound(bound.currency), types, type_of))
        elif bound.splits is not None and bound.splits.take.startswith("before"):
            other = next(o for o in binding.columns if o.columns == bound.columns and o is not bound)
            groups.append(_split(bound, other, types, type_of))
    return groups


def grouped_slots(binding: BindingPlan) -> frozenset[int]:
    """The slots that no column of their own is written for."""
    return frozenset(
        bound.slot
        for bound in binding.columns
        if bound.currency is not None or bound.splits is not None or len(bound.columns) != 1
    )


def has_own_columns(binding: BindingPlan) -> bool:
    """Whether each field is written to one column of its own. Two fields of one system may be read from one column."""
    written = [bound.column for bound in binding.columns if binding.written_mask >> bound.slot & 1]
    return not grouped_slots(binding) and len(written) == len(set(written))


def _constant(bound: ColumnPlan, field: ValueType, text: str) -> ColumnGroup:
    constant = typed(text, field)

    def fill(values: Sequence[Any]) -> list[Any]:
        if values[0] != constant:
            raise ValueRefused(
                "a record does not have the value that all records of this system have",
                code="not-the-constant",
                cause="the configuration gives the field as a constant here, and the record has another value",
                remedy="keep such records out of this system, or bind the field to a column",
            )
        return []

    return ColumnGroup((bound.slot,), (), fill)


def _joined(bound: ColumnPlan, field: ValueType, type_of: TypeOf) -> ColumnGroup:
    assert bound.transform is not None
    assert bound.transform.join is not None
    way, part = to_column(field, TEXT, bound.transform), parted(bound.transform.join)
    converts = [between(TEXT, type_of(column)) for column in bound.columns]

    def fill(values: Sequence[Any]) -> list[Any]:
        parts = part(way.of(values[0]))
        return [_converted(text, convert) for text, convert in zip(parts, converts, strict=True)]

    return ColumnGroup((bound.slot,), bound.columns, fill)


def _split(before: ColumnPlan, after: ColumnPlan, types: Sequence[ValueType], type_of: TypeOf) -> ColumnGroup:
    assert before.splits is not None
    assert after.splits is not None
    ways = [to_column(types[bound.slot], TEXT, bound.transform) for bound in (before, after)]
    make, convert = whole(before.splits, after.splits), between(TEXT, type_of(before.column))

    def fill(values: Sequence[Any]) -> list[Any]:
        return [_converted(make(ways[0].of(values[0]), ways[1].of(values[1])), convert)]

    return ColumnGroup((before.slot, after.slot), before.columns, fill)


def _amount(bound: ColumnPlan, currency: ColumnPlan, types: Sequence[ValueType], type_of: TypeOf) -> ColumnGroup:
    amount = to_minor_units(types[bound.slot], type_of(bound.column))
    constant = None if currency.transform is None else currency.transform.constant

    def fill(values: Sequence[Any]) -> list[Any]:
        code = values[1] if constant is None else constant
        return [None if values[0] is None else amount(values[0], code)]

    slots = (bound.slot,) if constant is not None else (bound.slot, currency.slot)
    return ColumnGroup(slots, bound.columns, fill)


def _converted(value: Any, convert: Callable[[Any], Any] | None) -> Any:
    return value if value is None or convert is None else convert(value)

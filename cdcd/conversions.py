"""Conversions between columns and fields, each exact or refused (Invariant 7), composed once per column.

`to_field` and `to_column` put a binding's transforms (`cdcd.transforms`) between the two types; a `Way`
also says what NULL becomes. JSON becomes canonical where it enters a record, so that records can be compared; from there
on it stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from cdcd import numeric
from cdcd.config_columns import Column, Transform, Unfit, UnfitValue
from cdcd.model import ABSENT
from cdcd.temporal import Convert
from cdcd.transforms import chain
from cdcd.transforms.chain import Way
from cdcd.transforms.step import TEXT
from cdcd.type_pairs import between, column_text, typed
from cdcd.values import ValueRefused, ValueType

__all__ = [
    "Convert",
    "StandsIn",
    "Way",
    "between",
    "column_text",
    "column_to_column",
    "stand_in_test",
    "to_column",
    "to_field",
    "typed",
]

StandsIn: TypeAlias = Callable[[Any, Any], bool]
"""Whether a column's value (as a field's) is only what was written there in place of the field's true value."""


def to_field(column_type: ValueType, field: ValueType, column: Column | None) -> Way:
    """The way from a column's canonical value to the field's. Raises ValueError when no exact one exists.

    Where the column has a policy for values that do not fit, it never refuses one. Of a column that is split, the way
    begins at the whole text; of columns that are joined, at the text that they make.
    """
    is_only_read = column is not None and column.is_read_only
    way = chain.reading(chain.steps_of(column), column_type, field, is_only_read=is_only_read)
    return _never_refusing(way, field, column)


def _never_refusing(way: Way, field: ValueType, column: Column | None) -> Way:
    if column is None or column.unfit == "park" or (convert := way.convert or _finite(field)) is None:
        return way
    return Way(_with_stand_in(convert, _stand_in(column.unfit, field)), way.null)


def to_column(field: ValueType, column_type: ValueType, column: Column | None) -> Way:
    """The way from a field's value to what the column can hold. Raises ValueError when no exact one exists.

    Where the column has a policy for values that do not fit, it never refuses one. Of columns that are split or joined,
    the way ends before that: see `transforms.groups`, and give text as the type.
    """
    way = chain.writing(chain.written_steps(column), field, column_type)
    if column is not None:
        way = _readable(way, chain.written_steps(column), column_type, field)
    if column is None or column.unfit == "park" or (convert := way.convert or _finite(column_type)) is None:
        return way
    stand_in = _stand_in(column.unfit, field)
    try:
        return Way(_with_stand_in(convert, None if stand_in is None else convert(stand_in)), way.null)
    except ValueRefused as refused:
        raise ValueError(f"the value of 'unfit' is no {column_type}: {refused.cause}") from refused


def _readable(way: Way, steps: Sequence[Transform], column_type: ValueType, field: ValueType) -> Way:
    """What is not written as it is must at least be understood when it is read again.

    So 999.99 is not rounded to 1000 where the field has three digits before the point.
    """
    if not chain.is_lossy(steps, column_type, field):
        return way
    inward, write = chain.reading(steps, column_type, field), way.convert
    try:
        inward.of(way.null)
    except ValueRefused as refused:
        raise ValueError(f"what is written for NULL cannot be read again: {refused.cause or refused.what}") from refused

    def convert(value: Any) -> Any:
        written = value if write is None else write(value)
        inward.of(written)
        return written

    return Way(convert, way.null)


def column_to_column(source: ValueType, target: ValueType, unfit: Unfit) -> Convert | None:
    """The function from a column's values to those of its copy. Raises ValueError when no exact one exists."""
    convert = between(source, target)
    if unfit == "park" or (convert := convert or _finite(target)) is None:
        return convert
    return _with_stand_in(convert, _stand_in(unfit, target))


def stand_in_test(field: ValueType, column_type: ValueType, column: Column | None) -> StandsIn | None:
    """Whether a column's value (as a field's) is only what was written there in place of the field's true value.

    So what a rounding, another lossy transform or a policy has written is read back as no change. None where every value
    comes back as it was, and where nothing can be written.
    """
    if column is None or column.is_read_only:
        return None
    steps = chain.written_steps(column)
    column_type = TEXT if len(steps) < len(chain.steps_of(column)) else column_type
    try:
        outward = to_column(field, column_type, column)
        inward = _never_refusing(chain.reading(steps, column_type, field), field, column)
        is_lossy = chain.is_lossy(steps, column_type, field)
    except ValueError:
        return None
    if not is_lossy and (column.unfit == "park" or outward.convert is None):
        return None
    return _comes_back(outward, inward)


def _comes_back(outward: Way, inward: Way) -> StandsIn:
    def stands_in(value: Any, true: Any) -> bool:
        if true is ABSENT or value is ABSENT or value == true:
            return False
        try:
            return bool(inward.of(outward.of(true)) == value)
        except ValueRefused:
            return False

    return stands_in


def _finite(target: ValueType) -> Convert | None:
    """Between equal decimal types nothing is looked at: a NaN, which only PostgreSQL has, is the target's to refuse.

    Where something is to stand in for it, it is found here.
    """
    return numeric.fit_decimal(target, target) if target.kind == "decimal" and target.arguments else None


def _stand_in(unfit: Unfit, kind: ValueType) -> Any:
    """What a policy puts in the place of a value."""
    return typed(column_text(unfit.value), kind) if isinstance(unfit, UnfitValue) else None


def _with_stand_in(convert: Convert, stand_in: Any) -> Convert:
    def convert_or_replace(value: Any) -> Any:
        try:
            return convert(value)
        except ValueRefused:
            return stand_in

    return convert_or_replace

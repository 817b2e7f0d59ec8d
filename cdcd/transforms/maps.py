"""Value maps: what column values mean as field values, and the way back, where several mean the same or none does."""

from __future__ import annotations

from typing import Any, Final

from cdcd.config_columns import Transform
from cdcd.temporal import Convert
from cdcd.transforms.step import Place, Step
from cdcd.type_pairs import column_text, typed
from cdcd.values import ValueRefused, ValueType

_NOWHERE: Final = object()


def value_map(transform: Transform, place: Place) -> Step:
    """The step of a `map`. Raises ValueError for values that are none of their types, and where the way back is open."""
    column_type, field = place.before, place.after
    to_field = _to_field(transform, column_type, field)
    to_column = {} if place.is_only_read else _to_column(transform, column_type, field)
    default = _NOWHERE if transform.default is None else typed(column_text(transform.default), field)
    spare = _NOWHERE if transform.write_default is None else typed(column_text(transform.write_default), column_type)
    null_read = None if transform.map_null is None else typed(column_text(transform.map_null), field)
    reads_back = all(
        (null_read if column is None else to_field.get(column, default)) == value for value, column in to_column.items()
    )
    return Step(
        column_type,
        field,
        _lookup(to_field, default, "column"),
        _lookup(to_column, spare, "field"),
        null_read=null_read,
        makes_null=None in to_column.values(),
        is_lossy=spare is not _NOWHERE or null_read is not None or not reads_back,
    )


def _to_field(transform: Transform, column_type: ValueType, field: ValueType) -> dict[Any, Any]:
    """By the column's text, and by its value where that is a value of the column's type.

    A text that is none is met in no row; where it is to be written, that is a mistake.
    """
    found: dict[Any, Any] = {}
    for column, text in (transform.map or {}).items():
        found[column] = value = typed(column_text(text), field)
        try:
            found[typed(column, column_type)] = value
        except ValueError:
            continue
    return found


def _to_column(transform: Transform, column_type: ValueType, field: ValueType) -> dict[Any, Any]:
    return {
        typed(value, field): None if column is None else typed(column, column_type)
        for value, column in ways_back(transform).items()
    }


def ways_back(transform: Transform) -> dict[str, str | None]:
    """By a field's value as text: the column's, or None for NULL. Raises ValueError where two are possible."""
    found: dict[str, str | None] = {}
    for column, meant in (transform.map or {}).items():
        value = column_text(meant)
        if value in found and value not in transform.write:
            raise ValueError(
                f"two column values map to one field value, {value!r}, so it cannot be reversed; say which is written:"
                f" write = {{ {value} = {column!r} }}"
            )
        found[value] = column
    null = None if transform.map_null is None else column_text(transform.map_null)
    if null is not None and null not in transform.write:
        if null in found:
            raise ValueError(
                f"NULL and a column value both mean {null!r}, so it cannot be reversed; say which is written:"
                f" write = {{ {null} = … }}"
            )
        found[null] = None
    return found | {value: column_text(column) for value, column in transform.write.items()}


def named_values(transform: Transform) -> list[str]:
    """The field's values that a map names, as text."""
    named = [*(transform.map or {}).values(), *transform.write, transform.map_null, transform.default]
    return list(dict.fromkeys(column_text(value) for value in named if value is not None))


def _lookup(values: dict[Any, Any], default: Any, side: str) -> Convert:
    def convert(value: Any) -> Any:
        found = values.get(value, _NOWHERE)
        if found is _NOWHERE:
            found = values.get(column_text(value), default)
        if found is _NOWHERE:
            raise ValueRefused(f"a {side} value is not in the binding's map", remedy="add it to the map")
        return found

    return convert


def nulls(transform: Transform, place: Place) -> Step:
    """The step of `nulls`: column values that mean NULL, the first of which is written for it."""
    values = [typed(column_text(value), place.before) for value in transform.nulls]
    meant = frozenset(values)
    return Step(
        place.before,
        place.before,
        lambda value: None if value in meant else value,
        null_write=values[0],
        makes_null=True,
        is_lossy=True,
    )


def null_means(transform: Transform, place: Place) -> Step:
    """The step of `null_means`: the value that NULL in the column stands for; so NULL in the field has no way there."""
    assert transform.null_means is not None
    meant = typed(column_text(transform.null_means), place.before)
    return Step(
        place.before,
        place.before,
        write=lambda value: None if value == meant else value,
        null_read=meant,
        makes_null=True,
        is_lossy=True,
    )

"""The steps of a column put together: one function from column to field, one from field to column, and what NULL becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from cdcd import numeric
from cdcd.config_columns import Column, Transform
from cdcd.json_content import canonical_json
from cdcd.temporal import Convert
from cdcd.temporal import both as _then
from cdcd.transforms import maps, members, numbers, texts, times
from cdcd.transforms.step import DECIMAL, TEXT, Place, Step
from cdcd.type_pairs import between
from cdcd.values import ValueRefused, ValueType

_Make = Callable[[Transform, Place], Step]
_MAKERS: Final[dict[str, tuple[_Make, ValueType | None]]] = {
    "map": (maps.value_map, None),
    "map_file": (maps.value_map, None),
    "nulls": (maps.nulls, None),
    "null_means": (maps.null_means, None),
    "scale": (numbers.scale, DECIMAL),
    "unit": (numbers.unit, DECIMAL),
    "round": (numbers.rounded, DECIMAL),
    "decimal_mark": (texts.decimal_mark, TEXT),
    "time_zone": (times.time_zone, ValueType("datetime")),
    "format": (texts.date_format, TEXT),
    "trim": (texts.trim, TEXT),
    "case": (texts.case, TEXT),
    "normalise": (texts.normalise, TEXT),
    "truncate": (texts.truncate, TEXT),
    "template": (texts.template, TEXT),
    "split": (texts.split, TEXT),
    "member": (members.member, ValueType("json")),
}
"""By key: what makes the step, and the type it takes from the column's side (None: any)."""


KINDS: Final = tuple(_MAKERS)


class Way(msgspec.Struct, frozen=True):
    """From one end of a chain to the other. `convert` is never given NULL, which becomes `null`; None: values pass."""

    convert: Convert | None
    null: Any = None

    def of(self, value: Any) -> Any:
        """What a value becomes. Raises ValueRefused."""
        if value is None:
            return self.null
        return value if self.convert is None else self.convert(value)


def kinds(transform: Transform) -> list[str]:
    """Which transforms it states; a `map_file` that was read counts as the map."""
    stated = [name for name in _MAKERS if getattr(transform, name) not in (None, False, [])]
    return [name for name in stated if name != "map_file" or "map" not in stated]


def steps_of(column: Column | None) -> tuple[Transform, ...]:
    """The transforms of a column, in the order of reading."""
    if column is None:
        return ()
    return tuple(column.steps) or ((column,) if kinds(column) else ())


def written_steps(column: Column | None) -> tuple[Transform, ...]:
    """The transforms between what is written of a field and the field: of a column that is split, of its part of it."""
    steps = steps_of(column)
    return steps[1:] if steps and steps[0].split is not None else steps


def compile_steps(
    transforms: Sequence[Transform], column_type: ValueType, field: ValueType, *, is_only_read: bool = False
) -> list[Step]:
    """Each step, fitted to its neighbours. Raises ValueError when a step cannot be."""
    steps: list[Step] = []
    for index, transform in enumerate(transforms):
        make, wanted = _MAKERS[kinds(transform)[0]][0], wants(transform)
        inside, outside = transforms[:index][-1:], transforms[index + 1 :][:1]
        place = Place(
            wanted or (steps[-1].outer if steps else column_type),
            _wanted_after(outside, field),
            any(t.round is not None for t in inside),
            any(t.round is not None for t in outside),
            is_only_read,
        )
        steps.append(make(transform, place))
    return steps


def wants(transform: Transform) -> ValueType | None:
    """The type that a transform takes from the column's side; None: any."""
    return _MAKERS[kinds(transform)[0]][1]


def _wanted_after(outside: Sequence[Transform], field: ValueType) -> ValueType:
    if not outside:
        return field
    return wants(outside[0]) or TEXT


def reading(
    transforms: Sequence[Transform], column_type: ValueType, field: ValueType, *, is_only_read: bool = False
) -> Way:
    """From a column's canonical value to the field's. Raises ValueError when there is no exact way."""
    stages: list[tuple[Convert | None, Any]] = []
    steps, before = compile_steps(transforms, column_type, field, is_only_read=is_only_read), column_type
    for step in steps:
        stages += [(None if before.kind in step.takes else between(before, step.inner), None)]
        stages += [(step.read, step.null_read)]
        before = step.outer
    return _joined([*stages, (_arriving(before, field), None)], steps)


def writing(transforms: Sequence[Transform], field: ValueType, column_type: ValueType) -> Way:
    """From a field's value to what the column can hold. Raises ValueError when there is no exact way."""
    steps, before = compile_steps(transforms, column_type, field), field
    if any(transform.member is not None for transform in transforms):
        raise ValueError("a member of a JSON object can only be read")
    stages: list[tuple[Convert | None, Any]] = []
    for step in reversed(steps):
        stages += [(_leaving(before, step.outer), None), (step.write, step.null_write)]
        before = step.inner
    return _joined([*stages, (_leaving(before, column_type), None)], steps)


def is_lossy(transforms: Sequence[Transform], column_type: ValueType, field: ValueType) -> bool:
    """Whether some values come back as others, as the configuration says."""
    return any(step.is_lossy for step in compile_steps(transforms, column_type, field))


def _joined(stages: Iterable[tuple[Convert | None, Any]], steps: Iterable[Step]) -> Way:
    stages = [stage for stage in stages if stage != (None, None)]
    if all(null is None for _, null in stages) and not any(step.makes_null for step in steps):
        convert: Convert | None = None
        for function, _ in stages:
            convert = _then(convert, function)
        return Way(convert)
    run = _with_nulls(stages)
    try:
        return Way(run, run(None))
    except ValueRefused as refused:
        raise ValueError(f"what stands for NULL does not fit: {refused.cause or refused.what}") from refused


def _with_nulls(stages: Sequence[tuple[Convert | None, Any]]) -> Convert:
    def run(value: Any) -> Any:
        for convert, null in stages:
            if value is None:
                value = null
            elif convert is not None:
                value = convert(value)
        return value

    return run


def _arriving(before: ValueType, field: ValueType) -> Convert | None:
    """To the field's type; what is compared there has one form for each content."""
    if before.kind == field.kind == "json":
        return canonical_json
    if before.kind == field.kind == "float":
        return _then(numeric.same_float(before, field), numeric.unique_float)
    return between(before, field)


def _leaving(before: ValueType, after: ValueType) -> Convert | None:
    convert = between(before, after)
    return _then(float, convert) if before.kind == "float" else convert

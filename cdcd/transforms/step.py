"""One transform, compiled for its place between a column and a field."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cdcd.temporal import Convert
from cdcd.values import ValueType

TEXT: Final = ValueType("text")
DECIMAL: Final = ValueType("decimal")


class Place(msgspec.Struct, frozen=True):
    """Where a step stands: the type that comes from the column's side, and the one that the field's side wants.

    `is_rounded_inside`: what is written goes on to a rounding, so it need not be exact; `outside` says so of reading.
    `is_only_read`: the step needs no way back.
    """

    before: ValueType
    after: ValueType
    is_rounded_inside: bool = False
    is_rounded_outside: bool = False
    is_only_read: bool = False


class Step(msgspec.Struct, frozen=True):
    """Functions between values of type `inner` on the column's side and `outer` on the field's; None: values pass.

    NULL is never given to them: it is read as `null_read` and written as `null_write`. `makes_null`: they may return it.
    `is_lossy`: some values come back as others, as the configuration says. `takes` are kinds of values that `read` takes
    beside those of `inner`.
    """

    inner: ValueType
    outer: ValueType
    read: Convert | None = None
    write: Convert | None = None
    null_read: Any = None
    null_write: Any = None
    makes_null: bool = False
    is_lossy: bool = False
    takes: frozenset[str] = frozenset()

"""Transforms of numbers: exact, unless a rounding is stated. All take decimals as text, and whole numbers."""

from __future__ import annotations

import decimal
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

from cdcd.config_columns import Transform
from cdcd.numeric import decimal_text, strip_zeros
from cdcd.temporal import Convert
from cdcd.transforms.step import DECIMAL, Place, Step
from cdcd.values import misfit

_EXACT: Final = Context(prec=200, traps=[Inexact, InvalidOperation])
_NEARLY: Final = Context(prec=200, traps=[InvalidOperation])
"""For what is rounded right after: so many digits more that the two roundings are one."""
_TAKES: Final = frozenset(["integer", "decimal"])
_MODES: Final = {
    "half-even": decimal.ROUND_HALF_EVEN,
    "half-up": decimal.ROUND_HALF_UP,
    "half-down": decimal.ROUND_HALF_DOWN,
    "up": decimal.ROUND_UP,
    "down": decimal.ROUND_DOWN,
    "ceiling": decimal.ROUND_CEILING,
    "floor": decimal.ROUND_FLOOR,
}


def scale(transform: Transform, place: Place) -> Step:
    """The column holds so many times the field's number."""
    assert transform.scale is not None
    number = Decimal(transform.scale)
    return Step(
        DECIMAL,
        DECIMAL,
        _divided(number, is_exact=not place.is_rounded_outside),
        _multiplied(number),
        takes=_TAKES,
    )


def unit(transform: Transform, place: Place) -> Step:
    """The field's number is so many times the column's."""
    number = factor(transform.unit or "")
    return Step(
        DECIMAL,
        DECIMAL,
        _multiplied(number),
        _divided(number, is_exact=not place.is_rounded_inside),
        takes=_TAKES,
    )


def factor(text: str) -> Decimal:
    """The number of a `unit`. Raises ValueError unless it is a plain one above 0."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or number <= 0:
        raise ValueError(f'{text!r} is no factor; give a number above 0 as text, such as "0.001"')
    return number


def rounded(transform: Transform, _place: Place) -> Step:
    """With so many digits after the point, on both sides."""
    spec = transform.round
    assert spec is not None
    quantum = Decimal(1).scaleb(-spec.digits)
    context = Context(prec=1000, rounding=_MODES[spec.mode], traps=[InvalidOperation])

    def convert(value: Any) -> str:
        number = Decimal(value)
        try:
            return _plain(number.quantize(quantum, context=context) if number.is_finite() else number)
        except InvalidOperation:
            raise misfit("decimal", "it has too many digits to be rounded") from None

    return Step(DECIMAL, DECIMAL, convert, convert, is_lossy=True, takes=_TAKES)


def _multiplied(number: Decimal) -> Convert:
    def convert(value: Any) -> str:
        try:
            return _plain(_EXACT.multiply(Decimal(value), number))
        except (Inexact, InvalidOperation):
            raise misfit("decimal", "it has too many digits to be scaled") from None

    return convert


def _divided(number: Decimal, *, is_exact: bool) -> Convert:
    context = _EXACT if is_exact else _NEARLY

    def convert(value: Any) -> str:
        try:
            return _plain(context.divide(Decimal(value), number))
        except (Inexact, InvalidOperation):
            raise misfit("decimal", f"it does not divide by {number} exactly") from None

    return convert


def _plain(number: Decimal) -> str:
    return strip_zeros(decimal_text(number))

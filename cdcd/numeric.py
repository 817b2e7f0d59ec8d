"""Numbers: from one canonical type to another, each exact or refused. Pure.

Decimals stay text: their digits are compared and cut as characters, never as binary numbers.
"""

from __future__ import annotations

import math
import re
import struct
from decimal import Context, Decimal, Inexact
from typing import Any, Final

from cdcd.temporal import Convert
from cdcd.temporal import both as _then
from cdcd.values import ValueType
from cdcd.values import misfit as _refuse

_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_FLOAT32: Final = struct.Struct("<f")
_FLOAT32_BITS: Final = 24
_FLOAT32_EXPONENT_MIN: Final = -125
_FLOAT32_DIGITS_SURE: Final = 6
"""Every number of so many digits survives in a normal 32-bit float (FLT_DIG), so only denormal ones can be shorter."""
_FLOAT32_DIGITS: Final = 9
"""With so many digits every 32-bit float is told apart."""
_EXACT: Final = Context(prec=200_000, traps=[Inexact])
"""More digits than any server's numbers have (PostgreSQL: 147,455)."""
_INTEGER_LIMITS: Final = (-(2**63), 2**64 - 1)
"""What a canonical integer can be (see `cdcd.values`), stated by its type or not."""


def _integer_limits(kind: ValueType) -> tuple[int, int]:
    low, high = kind.number(0), kind.number(1)
    return _INTEGER_LIMITS if low is None or high is None else (low, high)


def integer_range(source: ValueType, target: ValueType) -> Convert | None:
    """Whole numbers within the bounds of the target."""
    low, high = _integer_limits(target)
    if source.kind == "integer":
        source_low, source_high = _integer_limits(source)
        if low <= source_low and source_high <= high:
            return None

    def check(value: Any) -> Any:
        if not low <= value <= high:
            raise _refuse(target, f"it lies outside {low} to {high}")
        return value

    return check


def decimal_text(value: Decimal) -> str:
    """Plain notation without exponent; trailing zeros as the decimal has them."""
    return format(value, "f")


def fit_decimal(_source: ValueType, target: ValueType) -> Convert:
    """Decimal text to decimal text with exactly the target's scale."""
    precision, scale = target.number(0), target.number(1)
    if precision is None or scale is None:
        return strip_zeros
    if scale < 0:
        return _fit_rounded_decimal(precision, -scale, target)

    def fit(text: str) -> str:
        whole, _, fraction = text.partition(".")
        if len(fraction) > scale:
            if fraction[scale:].strip("0"):
                raise _refuse(target, f"it has more than {scale} digits after the point")
            fraction = fraction[:scale]
        digits = whole.removeprefix("-")
        fraction = fraction.ljust(scale, "0")
        if len((digits + fraction).lstrip("0")) > precision or not digits.isdigit():
            raise _refuse(target, f"it is no number of at most {precision} digits, {scale} of them after the point")
        exact = f"{whole}.{fraction}" if scale else whole
        return exact.removeprefix("-") if not exact.strip("-0.") else exact

    return fit


def _fit_rounded_decimal(precision: int, zeros: int, target: ValueType) -> Convert:
    """For a negative scale (PostgreSQL's numeric(3,-2)): whole numbers that end in that many zeros."""

    def fit(text: str) -> str:
        exact = strip_zeros(text)
        digits = exact.removeprefix("-")
        if not digits.isdigit() or len(digits) > precision + zeros or digits[-zeros:].strip("0"):
            raise _refuse(target, f"it is no number of {precision} digits and {zeros} zeros")
        return exact

    return fit


def strip_zeros(text: str) -> str:
    """Decimal text without zeros after its last digit behind the point."""
    stripped = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if stripped == "-0" else stripped


def added(value: Any, difference: Any, kind: ValueType) -> Any:
    """The canonical sum of two canonical integers or decimals of that type, exactly; NULL counts as 0."""
    if kind.kind != "decimal":
        return (value or 0) + (difference or 0)
    total = _EXACT.add(Decimal(value or 0), Decimal(difference or 0))
    text = decimal_text(total or abs(total))
    return text if kind.number(1) is not None else strip_zeros(text)


def negated(value: Any, kind: ValueType) -> Any:
    """The same number with the other sign."""
    if not value:
        return value
    return -value if kind.kind != "decimal" else added(None, decimal_text(Decimal(value).copy_negate()), kind)


def is_zero(value: Any) -> bool:
    """Whether adding it changes nothing."""
    return not value or (isinstance(value, str) and not Decimal(value))


def same_decimal(source: ValueType, target: ValueType) -> Convert | None:
    """To another precision or scale; nothing to do between equal types."""
    return None if source == target else fit_decimal(source, target)


def integer_to_decimal(source: ValueType, target: ValueType) -> Convert:
    """A whole number as decimal text of the target's scale."""
    fit = fit_decimal(source, target)
    return lambda value: fit(str(value))


def decimal_to_integer(source: ValueType, target: ValueType) -> Convert:
    """Decimal text without anything but zeros after the point."""
    check = integer_range(source, target)

    def convert(text: str) -> Any:
        whole, _, fraction = text.partition(".")
        if fraction.strip("0") or not _INTEGER.fullmatch(whole):
            raise _refuse(target, "it is no whole number of at most 20 digits")
        return check(int(whole)) if check else int(whole)

    return convert


def float_to_decimal(source: ValueType, target: ValueType) -> Convert:
    """The shortest decimal of a float; it has no other."""
    fit = fit_decimal(source, target)

    def convert(value: float) -> Any:
        if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is the one not equal to itself
            raise _refuse(target, "it is not finite")
        return fit(decimal_text(Decimal(repr(value))))

    return convert


def shortest_float32(value: float) -> float:
    """The shortest decimal that reads back as the same 32-bit float as `value` does; of those, the nearest.

    One that lies just between two such floats is not taken, though it reads back: PostgreSQL does not print it either
    (Ryu, in src/common/f2s.c, accepts no bounds). Raises OverflowError beyond the range of 32-bit floats.
    """
    exact = nearest_float32(value)
    if not math.isfinite(exact) or exact == 0:
        return exact
    mantissa, exponent = math.frexp(exact)
    half_gap = math.ldexp(0.5, max(exponent, _FLOAT32_EXPONENT_MIN) - _FLOAT32_BITS)
    is_power_of_two = abs(mantissa) == 0.5
    for digits in range(_FLOAT32_DIGITS_SURE if exponent >= _FLOAT32_EXPONENT_MIN else 1, _FLOAT32_DIGITS):
        rounded = f"{exact:.{digits - 1}e}"
        for text in (rounded, _next_up(rounded)) if is_power_of_two else (rounded,):
            candidate = float(text)
            if _reads_back(candidate, exact) and abs(candidate - exact) != half_gap:
                return candidate
    return float(f"{exact:.{_FLOAT32_DIGITS - 1}e}")


def nearest_float32(value: float) -> float:
    """The 32-bit float nearest to `value`, exactly. Raises OverflowError beyond their range."""
    exact: float = _FLOAT32.unpack(_FLOAT32.pack(value))[0]
    return exact


def _next_up(decimal: str) -> str:
    """The next number away from zero with as many digits: below a power of two floats lie closer than above it."""
    mantissa, _, exponent = decimal.partition("e")
    step = Decimal(1).scaleb(-len(mantissa.partition(".")[2]))
    return f"{Decimal(mantissa) + (-step if mantissa[0] == '-' else step)}e{exponent}"


def _reads_back(candidate: float, exact: float) -> bool:
    try:
        return nearest_float32(candidate) == exact
    except OverflowError:
        return False


def _fit_float(target: ValueType) -> Convert | None:
    """Refuses what a float of fewer bits, or one without NaN and infinities, does not have."""
    is_short, is_finite = target.number(0) == 24, target.has("finite")
    if not is_short and not is_finite:
        return None

    def check(value: float) -> float:
        if not math.isfinite(value):
            if is_finite:
                raise _refuse(target, "it is not finite")
        elif is_short and _as_float32(value, target) != value:
            raise _refuse(target, "no 32-bit floating-point number reads back the same")
        return value

    return check


def _as_float32(value: float, target: ValueType) -> float:
    try:
        return shortest_float32(value)
    except OverflowError:
        raise _refuse(target, "it lies beyond the range of 32-bit floating-point numbers") from None


def same_float(source: ValueType, target: ValueType) -> Convert | None:
    """To fewer bits, or to where NaN and infinities are unknown."""
    longer = target.number(0) == 24 and source.number(0) != 24
    wider = target.has("finite") and not source.has("finite")
    return _fit_float(target) if longer or wider else None


def unique_float(value: float) -> Any:
    """In a record two values are told apart by `==`: NaN and -0.0 are not equal, or equal, to the wrong ones there."""
    if value and value == value:  # noqa: PLR0124 - NaN is the one not equal to itself
        return value
    return "NaN" if value else ("-0" if math.copysign(1, value) < 0 else value)


def integer_to_float(_source: ValueType, target: ValueType) -> Convert | None:
    """Whole numbers that a float is exactly the same as."""

    def convert(value: int) -> float:
        converted = float(value)
        if int(converted) != value:
            raise _refuse(target, "no floating-point number is exactly the same")
        return converted

    return _then(convert, _fit_float(target))


def decimal_to_float(_source: ValueType, target: ValueType) -> Convert | None:
    """Decimals that a float reads back as."""

    def convert(text: str) -> float:
        value = float(text)
        if Decimal(repr(value)) != Decimal(text):
            raise _refuse(target, "no floating-point number reads back the same")
        return value

    return _then(convert, _fit_float(target))


def text_to_number(source: ValueType, target: ValueType) -> Convert:
    """Text that is a plain number in the one form it has."""
    pattern = _INTEGER if target.kind == "integer" else _NUMBER
    after = integer_range(source, target) if target.kind == "integer" else fit_decimal(source, target)
    before: Convert = int if target.kind == "integer" else str

    def convert(text: str) -> Any:
        if pattern.fullmatch(text) is None or text == "-0":
            raise _refuse(target, "the text is no plain number")
        value = before(text)
        return after(value) if after else value

    return convert


def integer_to_boolean(_source: ValueType, target: ValueType) -> Convert:
    """0 and 1."""

    def convert(value: int) -> bool:
        if value not in (0, 1):
            raise _refuse(target, "it is neither 0 nor 1")
        return bool(value)

    return convert

"""Several columns as one field, one column as several fields, an amount by its currency: what is read and written together.

A write that would not read back the same is refused, so that neither side is changed on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from cdcd.config_columns import Join, Split
from cdcd.numeric import decimal_text, strip_zeros
from cdcd.transforms.currencies import DIGITS
from cdcd.transforms.step import DECIMAL
from cdcd.transforms.texts import token
from cdcd.type_pairs import between
from cdcd.values import ValueRefused, ValueType

_REMEDY: Final = "correct the value, or bind the field in another way"
Parts: TypeAlias = Sequence[str | None]


# ---- several columns, one field --------------------------------------------------------------------------------------


def joined(spec: Join) -> Callable[[Parts], str | None]:
    """From the texts of the columns to the field's: those that hold something, with the separator between."""
    by = spec.by

    def read(parts: Parts) -> str | None:
        held = [part for part in parts if part]
        return by.join(held) if held else None

    return read


def parted(spec: Join) -> Callable[[str | None], list[str | None]]:
    """From the field's text to those of the columns, which read back as it was. May raise ValueRefused."""
    count, missing, read = len(spec.columns), None if spec.missing == "null" else "", joined(spec)

    def write(text: str | None) -> list[str | None]:
        if text is None:
            return [missing] * count
        found = text.split(spec.by, count - 1) if spec.at == "first" else text.rsplit(spec.by, count - 1)
        parts: list[str | None] = [*found, *[missing] * (count - len(found))]
        if read(parts) != text:
            raise ValueRefused(
                "a text cannot be split into its columns",
                cause="it would read back as another one: it is empty, or begins or ends with what stands between",
                remedy=_REMEDY,
            )
        return parts

    return write


# ---- one column, two fields ------------------------------------------------------------------------------------------


def whole(before: Split, after: Split) -> Callable[[str | None, str | None], str | None]:
    """From the parts before and after a separator to the column's text, which reads back as them. May raise ValueRefused."""
    take_before, take_after = token(before), token(after)

    def write(first: str | None, second: str | None) -> str | None:
        held = [part for part in (first, second) if part is not None]
        if not held:
            return None
        text = before.by.join(held)
        if (take_before(text), take_after(text)) != (first, second):
            raise ValueRefused(
                "two texts cannot share their column",
                cause="they would read back as others: one of them has what stands between, or the wrong one is missing",
                remedy=_REMEDY,
            )
        return text

    return write


# ---- amounts ---------------------------------------------------------------------------------------------------------

Amount: TypeAlias = Callable[[Any, Any], Any]
"""From an amount, which is not NULL, and the code of its currency. Raises ValueRefused."""


def from_minor_units(column_type: ValueType, field: ValueType) -> Amount:
    """From a column's amount in the smallest unit of its currency to the field's. Raises ValueError for other types."""
    number, fit = between(column_type, DECIMAL), between(DECIMAL, field)

    def read(value: Any, currency: Any) -> Any:
        text = _moved(value if number is None else number(value), -_digits(currency))
        return text if fit is None else fit(text)

    return read


def to_minor_units(field: ValueType, column_type: ValueType) -> Amount:
    """From a field's amount to the column's, in the smallest unit of its currency. Raises ValueError for other types."""
    number, fit = between(field, DECIMAL), between(DECIMAL, column_type)

    def write(value: Any, currency: Any) -> Any:
        text = _moved(value if number is None else number(value), _digits(currency))
        if "." in text:
            raise ValueRefused(
                "an amount has a fraction that its currency has not",
                cause="it is no whole number of the currency's smallest unit",
                remedy="correct the amount or its currency",
            )
        return text if fit is None else fit(text)

    return write


def _digits(currency: Any) -> int:
    digits = DIGITS.get(currency) if isinstance(currency, str) else None
    if digits is None:
        raise ValueRefused(
            "an amount has no currency of ISO 4217",
            code="currency-unknown",
            cause="its smallest unit depends on the currency, which is missing or unknown",
            remedy="give it a currency, or bind the amount with a scale",
        )
    return digits


def _moved(text: Any, places: int) -> str:
    """A number times ten to the power of `places`: no digit is lost, whatever their number."""
    sign, digits, exponent = Decimal(text).as_tuple()
    if not isinstance(exponent, int):
        raise ValueRefused("an amount is not finite", remedy="correct the amount")
    return strip_zeros(decimal_text(Decimal((sign, digits, exponent + places))))

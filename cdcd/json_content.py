"""JSON compared by its content: one text for each content, however a server prints it. Pure.

Servers change JSON in storing it: jsonb and MySQL sort keys, drop repeated ones, keep 1.10 as 1.1 or 1e2 as 100. None of
that changes the content as it is understood here: keys have no order, of repeated ones the last counts, and a number is
its value, exactly, whatever its digits are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from cdcd.values import ValueType, misfit

_PLAIN_DIGITS_MAX: Final = 40
"""Numbers up to so many digits before or after the point are written plainly, others with an exponent."""
_INTEGER_LIMITS: Final = (-(2**63), 2**64 - 1)
_MAY_HAVE_LONG_NUMBER: Final = re.compile(rf"[0-9]{{{_PLAIN_DIGITS_MAX + 1}}}").search
_decoder: Final = msgspec.json.Decoder(float_hook=Decimal)
_encoder: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")
_encode: Final = _encoder.encode
_AS_DIGITS: Final = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONG_NUMBER: Final = b"0" * (_PLAIN_DIGITS_MAX + 1)
KNOWN_CHARACTERS: Final = 256 * 2**10
"""Of texts that are remembered with their canonical form."""
KNOWN_NUMBERS: Final = 4_096
"""Numbers with a point that are remembered with theirs: a MB at most. Weights and prices repeat."""


def canonical_json(text: str) -> str:
    """Sorted keys, no spaces, numbers in one form, none rounded. Raises ValueRefused for what is not JSON."""
    try:
        if _MAY_HAVE_LONG_NUMBER(text) is None:  # whole numbers are in their one form already: 3.3 µs become 1.3
            return _encode(_decode_plainly(text)).decode()
        return _encode(_with_plain_numbers(_decoder.decode(text))).decode()
    except (ValueError, InvalidOperation, RecursionError):
        raise misfit("json", "the text is not valid JSON, nests too deep or has a number without bounds") from None


def canonical_json_of_all(texts: Sequence[str]) -> list[str]:
    """`canonical_json` of each, for two thirds of what that takes. They are read one by one: where one ends is theirs to say."""
    try:
        if _LONG_NUMBER not in "\n".join(texts).encode().translate(_AS_DIGITS):
            contents = [_decode_plainly(text) for text in texts]
            return _encoder.encode_lines(contents).decode().split("\n")[:-1]
    except (ValueError, InvalidOperation, RecursionError):
        pass  # one of them is to blame
    return [canonical_json(text) for text in texts]


class KnownJson:
    """Canonical forms by text, as far as they are remembered: records that change often mostly keep their JSON."""

    def __init__(self) -> None:
        self._forms: dict[str, str] = {}
        self._characters = 0

    def canonical(self, texts: Sequence[str]) -> list[str]:
        """As `canonical_json_of_all`."""
        forms = self._forms
        found = [*map(forms.get, texts)]
        unknown = [text for text, form in zip(texts, found, strict=True) if form is None] if None in found else ()
        if not unknown:
            return found  # type: ignore[return-value]
        made = dict(zip(unknown, canonical_json_of_all(unknown), strict=True))
        self._remember(made)
        return [form or made[text] for text, form in zip(texts, found, strict=True)]

    def _remember(self, made: dict[str, str]) -> None:
        self._characters += sum(map(len, made))
        if self._characters > KNOWN_CHARACTERS:
            self._forms.clear()
            self._characters = 0
        else:
            self._forms.update(made)


def json_of_doubles(text: str) -> str:
    """The text, if all its numbers are kept by a server that has 64-bit integers and doubles. Raises ValueRefused."""
    try:
        content = _decoder.decode(text)
    except (ValueError, InvalidOperation, RecursionError):
        raise misfit("json", "the text is not valid JSON, nests too deep or has a number without bounds") from None
    if not _keeps(content):
        raise misfit(ValueType("json", ("double",)), "it has a number that no double is exactly the same as")
    return text


def _with_plain_numbers(content: Any) -> Any:
    kind = type(content)
    if kind is Decimal:
        return _number(content)
    if kind is dict:
        return {key: _with_plain_numbers(value) for key, value in content.items()}
    if kind is list:
        return [_with_plain_numbers(value) for value in content]
    if kind is int and not _INTEGER_LIMITS[0] <= content <= _INTEGER_LIMITS[1]:
        return msgspec.Raw(_digits(str(content)).encode())
    return content


def _plain_number(text: str) -> Any:
    """A number that has a point or an exponent, from its text."""
    if "e" in text or "E" in text or len(text) > _PLAIN_DIGITS_MAX:
        return _number(Decimal(text))
    plain = text.rstrip("0").removesuffix(".")
    return 0 if plain in ("0", "-0") else msgspec.Raw(plain.encode())


class _PlainNumbers(dict[str, Any]):
    """`_plain_number` by text, remembered: what is found takes no call of a Python function, a third of a decoding."""

    def __missing__(self, text: str) -> Any:
        plain = _plain_number(text)
        if len(text) <= _PLAIN_DIGITS_MAX:
            if len(self) >= KNOWN_NUMBERS:
                self.clear()
            self[text] = plain
        return plain


_plain_numbers: Final = _PlainNumbers()
_decode_plainly: Final = msgspec.json.Decoder(float_hook=_plain_numbers.__getitem__).decode


def _number(number: Decimal) -> Any:
    if not number:
        return 0
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int), "JSON has no NaN"
    text = "".join(map(str, digits)).lstrip("0")
    plain = text.rstrip("0")
    exponent += len(text) - len(plain)
    return msgspec.Raw((("-" if sign else "") + _written(plain, exponent)).encode())


def _digits(text: str) -> str:
    """A whole number in the one form."""
    sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text)
    plain = digits.rstrip("0")
    return sign + _written(plain, len(digits) - len(plain))


def _written(digits: str, exponent: int) -> str:
    """Digits without zeros at either end, times ten to the power of `exponent`."""
    if exponent >= 0 and len(digits) + exponent <= _PLAIN_DIGITS_MAX:
        return digits + "0" * exponent
    if exponent < 0 and -exponent <= _PLAIN_DIGITS_MAX:
        whole, fraction = digits[:exponent], digits[exponent:]
        return f"{whole or '0'}.{fraction.rjust(-exponent, '0')}"
    return f"{digits}e{exponent}" if exponent else digits


def _keeps(content: Any) -> bool:
    kind = type(content)
    if kind is Decimal or kind is int:
        return _keeps_number(content)
    if kind is dict:
        return all(map(_keeps, content.values()))
    return all(map(_keeps, content)) if kind is list else True


def _keeps_number(number: Decimal | int) -> bool:
    if _INTEGER_LIMITS[0] <= number <= _INTEGER_LIMITS[1] and number == int(number):
        return True
    try:
        return Decimal(repr(float(number))) == number
    except OverflowError:
        return False

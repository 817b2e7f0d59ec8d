"""Values of single columns: from the log's bytes, and from the server's text, to the one canonical form of `cdcd.values`.

Formats of the log: MySQL source, mysys/decimal.cc (decimal2bin), sql-common/my_time.cc (my_datetime_packed_from_binary
and its siblings). Pure. Values that repeat (dates, prices, labels) are kept in bounded tables: looking one up costs a
fifth of computing it.
"""

from __future__ import annotations

import datetime as dt
import socket
import struct
import uuid
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

_MEMO_SIZE_MAX: Final = 16_384
_DAY_SIZE: Final = 86_400
_K = TypeVar("_K")
_V = TypeVar("_V")


class Memo(dict[_K, _V]):
    """A bounded table of a pure function; indexing computes what is missing. Emptied when full."""

    def __init__(self, compute: Callable[[_K], _V], size_max: int = _MEMO_SIZE_MAX) -> None:
        super().__init__()
        self._compute = compute
        self._size_max = size_max

    def __missing__(self, key: _K) -> _V:
        if len(self) >= self._size_max:
            self.clear()
        value = self[key] = self._compute(key)
        return value


# ---- numbers -------------------------------------------------------------------------------------------------------

_DIGITS_TO_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Bytes for the digits of a group of up to nine."""


def decimal_size(precision: int, scale: int) -> int:
    """Bytes of a DECIMAL(precision, scale)."""
    return sum(4 * (digits // 9) + _DIGITS_TO_BYTES[digits % 9] for digits in (precision - scale, scale))


def decimal_decoder(precision: int, scale: int) -> Callable[[bytes], str]:
    """A function from the bytes of a DECIMAL to its text with exactly `scale` digits after the point.

    Groups of nine digits, big-endian; the short group is first before the point and last after it. The first bit is
    inverted, and all bits of a negative number are.
    """
    whole = precision - scale
    size = decimal_size(precision, scale)
    sign_bit = 1 << (8 * size - 1)
    mask = sign_bit - 1
    if 0 < whole <= 9 and 0 < scale <= 9:
        return _small_decimal_decoder(sign_bit, mask, 8 * _DIGITS_TO_BYTES[scale], f"%d.%0{scale}d")
    before = [whole % 9, *[9] * (whole // 9)]
    after = [*[9] * (scale // 9), scale % 9]

    def decode(raw: bytes) -> str:
        number = int.from_bytes(raw, "big")
        negative = not number & sign_bit
        plain = ((~number if negative else number) & mask).to_bytes(size, "big")
        digits = _digit_groups(plain, [*before, *after])
        text = digits[:whole].lstrip("0") or "0"
        return ("-" if negative else "") + (f"{text}.{digits[whole:]}" if scale else text)

    return decode


def _small_decimal_decoder(sign_bit: int, mask: int, scale_bits: int, form: str) -> Callable[[bytes], str]:
    """At most nine digits on either side of the point: one group each."""
    scale_mask = (1 << scale_bits) - 1

    def decode(raw: bytes) -> str:
        number = int.from_bytes(raw, "big")
        if number & sign_bit:
            number &= mask
            return form % (number >> scale_bits, number & scale_mask)
        number = ~number & mask
        return "-" + form % (number >> scale_bits, number & scale_mask)

    return decode


def _digit_groups(raw: bytes, groups: Sequence[int]) -> str:
    text = ""
    place = 0
    for digits in groups:
        if digits:
            width = _DIGITS_TO_BYTES[digits]
            text += f"{int.from_bytes(raw[place : place + width], 'big'):0{digits}d}"
            place += width
    return text


def shortest_float(wide: float) -> float:
    """The number with the fewest digits that is the same FLOAT (32 bits) as `wide`."""
    raw = struct.pack("<f", wide)
    return next(number for digits in range(1, 18) if _packs_to(number := float(f"{wide:.{digits}g}"), raw))


def _packs_to(number: float, raw: bytes) -> bool:
    try:
        return struct.pack("<f", number) == raw
    except OverflowError:  # rounded up beyond the largest FLOAT
        return False


def decode_float(raw: bytes) -> float:
    """A FLOAT from its four bytes."""
    return shortest_float(struct.unpack("<f", raw)[0])


# ---- dates and times -------------------------------------------------------------------------------------------------

_EPOCH_ORDINAL: Final = dt.date(1970, 1, 1).toordinal()


def _date_text(day_bits: int) -> str:
    year_month = day_bits >> 5
    return f"{year_month // 13:04d}-{year_month % 13:02d}-{day_bits & 31:02d} "


def _time_text(time_bits: int) -> str:
    return f"{time_bits >> 12:02d}:{time_bits >> 6 & 63:02d}:{time_bits & 63:02d}"


def _epoch_day_text(days: int) -> str:
    return dt.date.fromordinal(_EPOCH_ORDINAL + days).isoformat() + " "


def _day_second_text(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


DATES: Final = Memo(_date_text)
"""(year x 13 + month) x 32 + day, as DATETIME packs it, to "2026-11-21 "."""
TIMES: Final = Memo(_time_text, _DAY_SIZE)
"""Hour, minute and second in 5, 6 and 6 bits to "23:59:59"."""
EPOCH_DAYS: Final = Memo(_epoch_day_text)
"""Days since 1970 to "2026-11-21 "."""
DAY_SECONDS: Final = Memo(_day_second_text, _DAY_SIZE)
"""Seconds since midnight to "23:59:59"."""
ZERO_INSTANT: Final = "0000-00-00 00:00:00Z"
"""TIMESTAMP zero: not a valid instant, and left so, that the core refuses it."""


def fraction_size(digits: int) -> int:
    """Bytes of a fraction of a second with `digits` digits."""
    return (digits + 1) // 2


def decode_date(raw: bytes) -> str:
    """A DATE: 15 bits year, 4 month, 5 day, little-endian. A zero date becomes "0000-00-00", which the core refuses."""
    bits = int.from_bytes(raw, "little")
    return f"{bits >> 9:04d}-{bits >> 5 & 15:02d}-{bits & 31:02d}"


def time_decoder(fraction_digits: int) -> Callable[[bytes], str]:
    """A function from the bytes of a TIME to its text: 10 bits hour, 6 minute, 6 second, fraction; offset binary."""
    fraction_bits = 8 * fraction_size(fraction_digits)
    offset = 0x800000 << fraction_bits
    places = fraction_bits // 4

    def decode(raw: bytes) -> str:
        packed = int.from_bytes(raw, "big") - offset
        sign = "-" if packed < 0 else ""
        seconds, fraction = divmod(abs(packed), 1 << fraction_bits)
        text = f"{sign}{seconds >> 12:02d}:{seconds >> 6 & 63:02d}:{seconds & 63:02d}"
        return text + (f".{fraction:0{places}d}".rstrip("0") if fraction else "")

    return decode


def trim_fraction(text: str) -> str:
    """The server's text of a time of day without trailing zeros of the fraction."""
    return text.rstrip("0").rstrip(".") if "." in text else text


# ---- sets ------------------------------------------------------------------------------------------------------------


def set_decoder(labels: Sequence[str | bytes]) -> Callable[[bytes], str | bytes]:
    """A function from the bits of a SET to its members in the order of the definition, as the server prints them."""

    def decode(raw: bytes) -> str | bytes:
        bits = int.from_bytes(raw, "little")
        if bits >> len(labels):
            raise IndexError("a SET has more members than its definition")
        members = [label for place, label in enumerate(labels) if bits >> place & 1]
        texts = [member for member in members if isinstance(member, str)]
        if len(texts) == len(members):
            return ",".join(texts)
        return b",".join(member.encode() if isinstance(member, str) else member for member in members)

    return decode


# ---- types that only MariaDB has ---------------------------------------------------------------------------------------


def decode_uuid(raw: bytes) -> str:
    """A UUID; the log has its plain bytes, without trailing zeros (plugin/type_uuid/sql_type_uuid.h, `pack`)."""
    return str(uuid.UUID(bytes=raw.ljust(16, b"\0")))


def decode_inet6(raw: bytes) -> str:
    """An INET6 as the server prints it."""
    return socket.inet_ntop(socket.AF_INET6, raw.ljust(16, b"\0"))


def decode_inet4(raw: bytes) -> str:
    """An INET4 as the server prints it."""
    return socket.inet_ntop(socket.AF_INET, raw.ljust(4, b"\0"))

"""Values of single columns: from the log's bytes, and from the server's text, to the one canonical form of `cdcd.values`.

Formats of the log: MySQL source, mysys/decimal.cc (decimal2bin), sql-common/my_time.cc (my_datetime_packed_from_binary
and its siblings). Pure. Values that repeat (dates, prices, labels) are kept in bounded tables: looking one up costs a
fifth of computing it.
"""

from __future__ import annotations

import datetime as dt
import functools
import socket
import struct
import uuid
import zlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from cdcd.numeric import shortest_float32

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


def _digit_groups(raw: bytes, groups: Sequence[int]) -> str:
    text = ""
    place = 0
    for digits in groups:
        if digits:
            width = _DIGITS_TO_BYTES[digits]
            text += f"{int.from_bytes(raw[place : place + width], 'big'):0{digits}d}"
            place += width
    return text


def decode_float(raw: bytes) -> float:
    """A FLOAT from its four bytes."""
    return shortest_float32(struct.unpack("<f", raw)[0])


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
CLOCK_MINUTES: Final = [f"{bits >> 6:02d}:{bits & 63:02d}:" for bits in range(1 << 11)]
"""Hour and minute in 5 and 6 bits to "23:59:"."""
DAY_MINUTES: Final = [f"{minutes // 60:02d}:{minutes % 60:02d}:" for minutes in range(1440)]
"""Minutes since midnight to "23:59:"."""
SECONDS: Final = [f"{seconds:02d}" for seconds in range(64)]
ZERO_INSTANT: Final = "0000-00-00 00:00:00Z"
"""TIMESTAMP zero: not a valid instant, and left so, that the core refuses it."""


@functools.cache
def fraction_texts(digits: int) -> list[str]:
    """The text of every fraction with so many digits, its point first. Not for many digits."""
    return [f".{number:0{digits}d}" for number in range(10**digits)]


@functools.cache
def trimmed_fraction_texts(digits: int) -> list[str]:
    """The same without trailing zeros, and without the point where nothing is left."""
    return [text.rstrip("0").rstrip(".") for text in fraction_texts(digits)]


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


# ---- dates and times of before MySQL 5.6 -----------------------------------------------------------------------------
# MariaDB writes them where mysql56_temporal_format is OFF, and in tables that are older than its 10.1: MariaDB source,
# sql/field.cc, Field_timef and its siblings (Field_time0, Field_time_hires, …). With a fraction they are big-endian.

OLD_TIME_SIZES: Final = (3, 4, 4, 5, 5, 5, 6)
OLD_DATETIME_SIZES: Final = (8, 6, 6, 7, 7, 7, 8)
OLD_TIMESTAMP_SIZES: Final = (4, 5, 5, 6, 6, 7, 7)
"""Bytes by digits of the fraction."""
_OLD_TIME_ZERO_SECONDS: Final = 838 * 3600 + 59 * 60 + 60
"""What is added to a time with a fraction, so that it is never negative."""


def _fraction_text(fraction: int, digits: int) -> str:
    return f".{fraction:0{digits}d}".rstrip("0") if fraction else ""


def old_time_decoder(fraction_digits: int) -> Callable[[bytes], str]:
    """A function from the bytes of an old TIME: HHMMSS as a number; with a fraction, units of it since -839 hours."""
    if fraction_digits == 0:
        return _old_time
    unit = 10**fraction_digits

    def decode(raw: bytes) -> str:
        units = int.from_bytes(raw, "big") - _OLD_TIME_ZERO_SECONDS * unit
        seconds, fraction = divmod(abs(units), unit)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return ("-" if units < 0 else "") + clock + _fraction_text(fraction, fraction_digits)

    return decode


def _old_time(raw: bytes) -> str:
    number = int.from_bytes(raw, "little", signed=True)
    plain = abs(number)
    return f"{'-' if number < 0 else ''}{plain // 10000:02d}:{plain // 100 % 100:02d}:{plain % 100:02d}"


def old_datetime_decoder(fraction_digits: int) -> Callable[[bytes], str]:
    """A function from the bytes of an old DATETIME: YYYYMMDDHHMMSS; with a fraction, units as in a mixed radix number."""
    if fraction_digits == 0:
        return _old_datetime
    unit = 10**fraction_digits

    def decode(raw: bytes) -> str:
        seconds, fraction = divmod(int.from_bytes(raw, "big"), unit)
        days, clock = divmod(seconds, _DAY_SIZE)
        year_month, day = divmod(days, 32)
        date = f"{year_month // 13:04d}-{year_month % 13:02d}-{day:02d} "
        return date + _day_second_text(clock) + _fraction_text(fraction, fraction_digits)

    return decode


def _old_datetime(raw: bytes) -> str:
    digits = f"{int.from_bytes(raw, 'little'):014d}"
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]} {digits[8:10]}:{digits[10:12]}:{digits[12:]}"


def old_timestamp_decoder(fraction_digits: int) -> Callable[[bytes], str]:
    """A function from the bytes of an old TIMESTAMP: seconds since 1970, and the fraction behind them."""

    def decode(raw: bytes) -> str:
        seconds = int.from_bytes(raw[:4], "big" if fraction_digits else "little")
        fraction = int.from_bytes(raw[4:], "big")
        if not seconds and not fraction:
            return ZERO_INSTANT
        text = EPOCH_DAYS[seconds // _DAY_SIZE] + _day_second_text(seconds % _DAY_SIZE)
        return text + _fraction_text(fraction, fraction_digits) + "Z"

    return decode


# ---- compressed columns ----------------------------------------------------------------------------------------------


def decompress(raw: bytes) -> bytes:
    """A value of a COMPRESSED column (MariaDB source, sql/field.cc, compress_zlib). Raises ValueError.

    No bytes are an empty value. The first byte is 0 before a value as it is; else it has bit 7, bit 3 for a deflate
    stream without zlib's header, and in bits 0 to 2 the bytes of the value's size, which follows big-endian.
    """
    if not raw or raw[0] == 0:
        return raw[1:]
    if not raw[0] & 0x80:
        raise ValueError("a column is compressed by an unknown method")
    size_end = 1 + (raw[0] & 7)
    size = int.from_bytes(raw[1:size_end], "big")
    stream = zlib.decompressobj(-zlib.MAX_WBITS if raw[0] & 8 else zlib.MAX_WBITS)
    try:
        value = stream.decompress(raw[size_end:], size + 1)
    except zlib.error as error:
        raise ValueError("a compressed column is damaged") from error
    if len(value) != size:
        raise ValueError("a compressed column has another size than it says")
    return value


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

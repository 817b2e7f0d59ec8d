"""Single values, against values worked out by other means."""

import datetime as dt
import math
import struct
import zlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.numeric import shortest_float32
from cdcd_mysql.scalars import (
    DATES,
    EPOCH_DAYS,
    OLD_DATETIME_SIZES,
    OLD_TIME_SIZES,
    OLD_TIMESTAMP_SIZES,
    Memo,
    decimal_decoder,
    decimal_size,
    decode_date,
    decode_float,
    decode_inet4,
    decode_inet6,
    decode_uuid,
    decompress,
    old_datetime_decoder,
    old_time_decoder,
    old_timestamp_decoder,
    set_decoder,
    time_decoder,
    trim_fraction,
)

BYTES_OF_DIGITS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def encode_decimal(value, precision, scale):
    """The inverse, written from the description in mysys/decimal.cc."""
    digits = f"{abs(value):0{precision + 1}.{scale}f}"
    whole, _, fraction = digits.partition(".")
    whole = whole.rjust(precision - scale, "0")[-(precision - scale) :] if precision > scale else ""
    lead = len(whole) % 9
    groups = [whole[:lead], *[whole[n : n + 9] for n in range(lead, len(whole), 9)]]
    groups += [fraction[n : n + 9] for n in range(0, len(fraction), 9)]
    raw = b"".join(int(group).to_bytes(BYTES_OF_DIGITS[len(group)], "big") for group in groups if group)
    raw = bytes([raw[0] ^ 0x80]) + raw[1:]
    return bytes(byte ^ 0xFF for byte in raw) if value < 0 else raw


@st.composite
def decimals(draw):
    precision = draw(st.integers(1, 65))
    scale = draw(st.integers(0, min(30, precision)))
    number = draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    return (
        Decimal(f"{'-' if number < 0 else ''}0").scaleb(0)
        + Decimal((number < 0, tuple(map(int, str(abs(number)))), -scale)),
        precision,
        scale,
    )


@given(decimals())
def test_decimals_of_every_precision_are_exact(case):
    value, precision, scale = case
    value = Decimal((value.as_tuple().sign, value.as_tuple().digits, -scale))
    raw = encode_decimal(value, precision, scale)
    assert len(raw) == decimal_size(precision, scale)
    text = decimal_decoder(precision, scale)(raw)
    assert len(text.partition(".")[2]) == scale
    assert Decimal(text) == value
    assert not text.startswith("-") or value < 0


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_is_the_shortest_that_reads_back_the_same(value):
    raw = struct.pack("<f", value)
    short = decode_float(raw)
    assert struct.pack("<f", short) == raw
    assert len(repr(short)) <= len(repr(struct.unpack("<f", raw)[0]))
    assert shortest_float32(0.10000000149011612) == 0.1


@pytest.mark.parametrize(
    ("raw", "digits", "text"),
    [
        ("7fff3e", 0, "-00:03:02"),
        ("800000", 0, "00:00:00"),
        ("b46efb", 0, "838:59:59"),
        ("4b9105", 0, "-838:59:59"),
        ("7ffffef6", 1, "-00:00:01.1"),
        ("7fffffe2", 1, None),
    ],
)
def test_times_are_offset_binary_with_their_fraction(raw, digits, text):
    decoded = time_decoder(digits)(bytes.fromhex(raw))
    assert text is None or decoded == text or decoded.startswith("-")


@given(st.integers(-(838 * 3600 + 59 * 60 + 59), 838 * 3600 + 59 * 60 + 59), st.integers(0, 999_999), st.integers(0, 6))
def test_every_time_is_read_with_its_sign_and_fraction(seconds, microseconds, digits):
    microseconds -= microseconds % 10 ** (6 - digits)
    size = (digits + 1) // 2
    magnitude = abs(seconds)
    packed = (magnitude // 3600 << 12) | (magnitude // 60 % 60 << 6) | magnitude % 60
    packed = (packed << 8 * size) | (microseconds // 10 ** (6 - 2 * size) if size else 0)
    negative = seconds < 0
    offset = 0x800000 << 8 * size
    raw = ((offset - packed) if negative else (offset + packed)).to_bytes(3 + size, "big")
    fraction = f".{microseconds:06d}".rstrip("0").rstrip(".") if microseconds else ""
    sign = "-" if negative and packed else ""
    text = f"{sign}{magnitude // 3600:02d}:{magnitude // 60 % 60:02d}:{magnitude % 60:02d}{fraction}"
    assert time_decoder(digits)(raw) == text


def test_dates_keep_their_zeros():
    assert decode_date(bytes(3)) == "0000-00-00"
    assert decode_date((2026 << 9 | 0 << 5 | 15).to_bytes(3, "little")) == "2026-00-15"
    assert DATES[0] == "0000-00-00 "
    assert EPOCH_DAYS[0] == "1970-01-01 "


def test_sets_are_in_the_order_of_their_definition():
    decode = set_decoder(["one", "two", "three"])
    assert [decode(bytes([bits])) for bits in (0, 1, 5, 7)] == ["", "one", "one,three", "one,two,three"]
    with pytest.raises(IndexError):
        decode(b"\x08")
    assert set_decoder(["a", b"\xff"])(b"\x03") == b"a,\xff"


def test_addresses_and_uuids_have_lost_their_trailing_zeros():
    assert decode_uuid(bytes.fromhex("6ba7b8109dad11d180b4")) == "6ba7b810-9dad-11d1-80b4-000000000000"
    assert decode_inet6(b"") == "::"
    assert decode_inet4(b"\x0a") == "10.0.0.0"


@pytest.mark.parametrize(
    ("text", "trimmed"), [("1.500", "1.5"), ("1.000", "1"), ("10", "10"), ("12:00:00.10", "12:00:00.1")]
)
def test_fractions_lose_trailing_zeros_only(text, trimmed):
    assert trim_fraction(text) == trimmed


def test_a_memo_computes_once_and_stays_bounded():
    calls = []
    memo = Memo(lambda key: calls.append(key) or key * 2, size_max=10)
    assert [memo[2], memo[2], memo[3]] == [4, 4, 6]
    assert calls == [2, 3]
    for number in range(1000):
        assert memo[number] == number * 2
        assert len(memo) <= 10


@given(st.dates())
def test_every_date_is_read(date):
    raw = (date.year << 9 | date.month << 5 | date.day).to_bytes(3, "little")
    assert decode_date(raw) == date.isoformat()


def microseconds_kept(moment, digits):
    return moment.replace(microsecond=moment.microsecond - moment.microsecond % 10 ** (6 - digits))


def text_of(moment):
    """As the standard library writes it, without zeros at the end of the fraction."""
    text = moment.isoformat(" ")
    return text.rstrip("0") if "." in text else text


@given(st.datetimes(), st.integers(0, 6))
def test_every_datetime_of_the_old_format_is_read(moment, digits):
    moment = microseconds_kept(moment, digits)
    if digits:
        days = (moment.year * 13 + moment.month) * 32 + moment.day
        seconds = (days * 24 + moment.hour) * 3600 + moment.minute * 60 + moment.second
        units = seconds * 10**digits + moment.microsecond // 10 ** (6 - digits)
        raw = units.to_bytes(OLD_DATETIME_SIZES[digits], "big")
    else:
        raw = int(f"{moment:%Y%m%d%H%M%S}".rjust(14, "0")).to_bytes(8, "little")
    assert old_datetime_decoder(digits)(raw) == text_of(moment)


@given(st.integers(1, 2**32 - 1), st.integers(0, 999_999), st.integers(0, 6))
def test_every_timestamp_of_the_old_format_is_read(seconds, microseconds, digits):
    moment = microseconds_kept(
        dt.datetime.fromisoformat("1970-01-01") + dt.timedelta(seconds=seconds, microseconds=microseconds), digits
    )
    fraction = (moment.microsecond // 10 ** (6 - digits)).to_bytes(OLD_TIMESTAMP_SIZES[digits] - 4, "big")
    raw = seconds.to_bytes(4, "big" if digits else "little") + fraction
    assert old_timestamp_decoder(digits)(raw) == text_of(moment) + "Z"


@given(st.integers(-(838 * 3600 + 59 * 60 + 59), 838 * 3600 + 59 * 60 + 59), st.integers(0, 6))
def test_every_time_of_the_old_format_is_read(seconds, digits):
    magnitude = abs(seconds)
    clock = (magnitude // 3600, magnitude // 60 % 60, magnitude % 60)
    if digits:
        raw = ((seconds + 3020400) * 10**digits).to_bytes(OLD_TIME_SIZES[digits], "big")
    else:
        number = clock[0] * 10000 + clock[1] * 100 + clock[2]
        raw = (-number if seconds < 0 else number).to_bytes(3, "little", signed=True)
    assert old_time_decoder(digits)(raw) == ("-" if seconds < 0 else "") + "{:02d}:{:02d}:{:02d}".format(*clock)


@pytest.mark.parametrize(
    ("decoder", "raw", "text"),
    [
        (old_time_decoder(0), "1e26fe", "-12:13:14"),
        (old_time_decoder(1), "01cce055", "-00:00:01.1"),
        (old_time_decoder(3), "000000036d", "-838:59:59.123"),
        (old_datetime_decoder(0), "1baaeb686d120000", "2026-11-21 01:02:03"),
        (old_datetime_decoder(0), "0000000000000000", "0000-00-00 00:00:00"),
        (old_timestamp_decoder(0), "00000000", "0000-00-00 00:00:00Z"),
        (old_timestamp_decoder(6), "6b00ed8b01e240", "2026-11-21 01:02:03.123456Z"),
    ],
)
def test_old_formats_as_mariadb_wrote_them(decoder, raw, text):
    assert decoder(bytes.fromhex(raw)) == text


@given(st.binary(max_size=2000), st.booleans(), st.integers(0, 3))
def test_compressed_values_are_read_with_and_without_the_header_of_zlib(value, with_header, spare):
    deflate = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS if with_header else -zlib.MAX_WBITS)
    size = len(value).to_bytes(2 + spare % 3, "big")
    raw = bytes([0x80 | len(size) | (0 if with_header else 8)]) + size + deflate.compress(value) + deflate.flush()
    assert decompress(raw) == value
    assert decompress(b"\0" + value) == value
    assert decompress(b"") == b""


@pytest.mark.parametrize(
    "raw", [b"\x10abc", b"\x8a\x01\x2c\xff\xff", b"\x89\x02" + zlib.compress(b"abc")[2:-4], b"\x8a\x01"]
)
def test_damaged_compressed_values_are_errors(raw):
    with pytest.raises(ValueError, match="compressed"):
        decompress(raw)


@given(st.integers(0, 2**32 - 1))
def test_a_shortest_float_is_the_one_that_lies_nearest(bits):
    wide = struct.unpack("<f", struct.pack("<I", bits))[0]
    if not math.isfinite(wide) or wide == 0:
        return
    short = Decimal(repr(shortest_float32(wide)))
    digits = len(short.normalize().as_tuple().digits)
    assert struct.pack("<f", float(short)) == struct.pack("<f", wide)
    assert digits == 9 or abs(short - Decimal(wide)) <= Decimal(1).scaleb(Decimal(wide).adjusted() - digits + 1)


@pytest.mark.parametrize(
    ("wide", "short"), [(64038288.0, 64038288.0), (2.0**-44, 5.684342e-14), (2.0**33, 8589935000.0), (1e-45, 1e-45)]
)
def test_a_shortest_float_is_never_just_between_two_floats(wide, short):
    """As PostgreSQL prints them, so that the same number is equal wherever it comes from."""
    assert shortest_float32(wide) == short

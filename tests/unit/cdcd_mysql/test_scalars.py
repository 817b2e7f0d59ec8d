"""Single values, against values worked out by other means."""

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd_mysql.scalars import (
    DATES,
    EPOCH_DAYS,
    Memo,
    decimal_decoder,
    decimal_size,
    decode_date,
    decode_float,
    decode_inet4,
    decode_inet6,
    decode_uuid,
    set_decoder,
    shortest_float,
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
    assert shortest_float(0.10000000149011612) == 0.1


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

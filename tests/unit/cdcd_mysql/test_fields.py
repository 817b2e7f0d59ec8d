"""Columns in rows of the log, against values worked out by the standard library."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd_mysql.charsets import charset
from cdcd_mysql.rows import RowDecoder
from cdcd_mysql.tablemap import FieldType, MappedColumn


def decode(kind, metadata, raw, *, collated=None, hint=""):
    """The value of a row of one column that cannot be NULL: a byte of NULL bits, then the value."""
    column = MappedColumn("c", kind, metadata, nullable=False)
    decoder = RowDecoder([column], [collated], [hint], [0])
    rows = decoder.rows(b"\0" + raw, 0, 1 + len(raw), b"\x01")
    return rows[0][0]


def text_of(moment):
    text = moment.isoformat(" ")
    return text.rstrip("0") if "." in text else text


def fraction_of(moment, digits):
    """The fraction in whole bytes, two digits in each; and the moment without what does not fit."""
    size = (digits + 1) // 2
    microseconds = moment.microsecond - moment.microsecond % 10 ** (6 - digits)
    return (microseconds // 10 ** (6 - 2 * size)).to_bytes(size, "big"), moment.replace(microsecond=microseconds)


@given(st.datetimes(), st.integers(0, 6))
def test_every_datetime_is_read(moment, digits):
    fraction, moment = fraction_of(moment, digits)
    days = (moment.year * 13 + moment.month) << 5 | moment.day
    packed = days << 17 | moment.hour << 12 | moment.minute << 6 | moment.second
    raw = (packed + (1 << 39)).to_bytes(5, "big") + fraction
    assert decode(FieldType.DATETIME2, digits, raw) == text_of(moment)


@given(st.integers(1, 2**32 - 1), st.integers(0, 999_999), st.integers(0, 6))
def test_every_timestamp_is_read_in_utc(seconds, microseconds, digits):
    moment = dt.datetime.fromisoformat("1970-01-01") + dt.timedelta(seconds=seconds, microseconds=microseconds)
    fraction, moment = fraction_of(moment, digits)
    raw = seconds.to_bytes(4, "big") + fraction
    assert decode(FieldType.TIMESTAMP2, digits, raw) == text_of(moment) + "Z"


def test_only_a_timestamp_of_all_zeros_is_the_zero_instant():
    assert decode(FieldType.TIMESTAMP2, 6, bytes(7)) == "0000-00-00 00:00:00Z"
    assert decode(FieldType.TIMESTAMP2, 6, bytes(4) + (500_000).to_bytes(3, "big")) == "1970-01-01 00:00:00.5Z"


@given(st.binary(max_size=200), st.booleans())
def test_compressed_bytes_are_read(value, is_blob):
    raw = b"\0" + value
    if is_blob:
        assert decode(FieldType.BLOB_COMPRESSED, 2, len(raw).to_bytes(2, "little") + raw) == value
    else:
        assert decode(FieldType.VARCHAR_COMPRESSED, 201, bytes([len(raw)]) + raw) == value


@pytest.mark.parametrize(("raw", "value"), [("é".encode(), "é"), (b"\xff", b"\xff")])
def test_compressed_text_that_is_none_stays_bytes(raw, value):
    raw = b"\0" + raw
    collated = charset("utf8mb4")
    assert decode(FieldType.VARCHAR_COMPRESSED, 201, bytes([len(raw)]) + raw, collated=collated) == value


def test_a_hint_says_the_fraction_of_an_old_time():
    assert decode(FieldType.TIME, 0, bytes.fromhex("01cce055"), hint="time(1,2038-01-19 03:14:07)") == "-00:00:01.1"


def test_a_column_of_no_bytes_that_nobody_wants_leaves_the_code_whole():
    """Found by fuzzing: a description with a SET of size 0, in the old image of an update."""
    columns = [
        MappedColumn("id", FieldType.LONG, 0, nullable=False),
        MappedColumn("none", FieldType.SET, 0, nullable=True),
    ]
    decoder = RowDecoder(columns, [None, None], ["", ""], [0])
    image = b"\0" + (7).to_bytes(4, "little")
    rows, olds = decoder.updates(image + image, 0, 2 * len(image), b"\x03", b"\x01")
    assert ([row[0] for row in rows], olds) == ([7], None)

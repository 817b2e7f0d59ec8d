"""Columns in rows of the log, against values worked out by the standard library."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd_mysql.charsets import charset
from cdcd_mysql.rows import RowDecoder
from cdcd_mysql.scalars import decimal_decoder
from cdcd_mysql.tablemap import FieldType, MappedColumn
from unit.counting import python_calls


def decode(kind, metadata, raw, *, collated=None, hint=""):
    """The value of a row of one column that cannot be NULL: a byte of NULL bits, then the value."""
    column = MappedColumn("c", kind, metadata, nullable=False)
    decoder = RowDecoder([column], [collated], [hint], [0])
    rows, _ = decoder.rows_reader(b"\x01")(b"\0" + raw, 0, 1 + len(raw))
    return rows[0][0]


def text_of(moment):
    text = moment.isoformat(" ")
    return text.rstrip("0") if "." in text else text


def fraction_of(moment, digits):
    """The fraction in whole bytes, two digits in each; and the moment without what does not fit."""
    size = (digits + 1) // 2
    microseconds = moment.microsecond - moment.microsecond % 10 ** (6 - digits)
    return (microseconds // 10 ** (6 - 2 * size)).to_bytes(size, "big"), moment.replace(microsecond=microseconds)


@given(st.data())
def test_a_decimal_is_read_as_one_of_any_size_is(data):
    precision = data.draw(st.integers(1, 40))
    scale = data.draw(st.integers(0, min(30, precision)))
    groups = ([(precision - scale) % 9] + [9] * ((precision - scale) // 9), [9] * (scale // 9) + [scale % 9])
    raw = b"".join(
        data.draw(st.integers(0, 10**digits - 1)).to_bytes((0, 1, 1, 2, 2, 3, 3, 4, 4, 4)[digits], "big")
        for digits in (*groups[0], *groups[1])
    )
    raw = bytes([raw[0] ^ 0x80]) + raw[1:]
    if data.draw(st.booleans()):
        raw = bytes(byte ^ 0xFF for byte in raw)
    assert decode(FieldType.NEWDECIMAL, precision | scale << 8, raw) == decimal_decoder(precision, scale)(raw)


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
    rows, olds = decoder.updates_reader(b"\x03", b"\x01")(image + image, 0, 2 * len(image))
    assert ([row[0] for row in rows], olds) == ([7], None)


LINE = [  # of a price list: fixed columns before and after texts, the last of which may be NULL
    MappedColumn("id", FieldType.LONG, 0, nullable=False),
    MappedColumn("sku", FieldType.VARCHAR, 40, nullable=False, collation=45),
    MappedColumn("price", FieldType.NEWDECIMAL, 12 | 4 << 8, nullable=False),
    MappedColumn("at", FieldType.DATETIME2, 6, nullable=False),
    MappedColumn("note", FieldType.VARCHAR, 400, nullable=True, collation=45),
    MappedColumn("stock", FieldType.SHORT, 0, nullable=True),
    MappedColumn("unit", FieldType.VARCHAR, 10, nullable=True, collation=45),
]
PRICE = bytes([0x80, 0, 0, 12, 0, 5])
AT = (((2026 * 13 + 11) << 5 | 22) << 17 | 13 << 12 | 5 << 6 | 9 | 1 << 39).to_bytes(5, "big") + b"\0\0\x0a"


def line(number, note, stock, unit):
    nulls = sum(1 << bit for bit, value in ((4, note), (5, stock), (6, unit)) if value is None)
    texts = [None if note is None else len(note).to_bytes(2, "little") + note.encode()]
    texts.append(None if stock is None else stock.to_bytes(2, "little", signed=True))
    texts.append(None if unit is None else bytes([len(unit)]) + unit.encode())
    head = bytes([nulls]) + number.to_bytes(4, "little") + b"\x02s1" + PRICE + AT
    return head + b"".join(text for text in texts if text is not None)


def line_decoder():
    text = charset("utf8mb4")
    sets = [text if column.collation else None for column in LINE]
    return RowDecoder(LINE, sets, [""] * len(LINE), [0])


@given(st.lists(st.tuples(*(st.none() | st.just(value) for value in ("a note", -3, "kg"))), max_size=6))
def test_rows_with_and_without_null_are_read_side_by_side(tails):
    image = b"".join(line(n, *tail) for n, tail in enumerate(tails))
    expected = [[n, "s1", "12.0005", "2026-11-22 13:05:09.00001", *tail] for n, tail in enumerate(tails)]
    rows, _ = line_decoder().rows_reader(b"\x7f")(image, 0, len(image))
    assert rows == expected
    pairs = b"".join(line(n, *tail) + line(n + n % 2, *tail) for n, tail in enumerate(tails))
    rows, olds = line_decoder().updates_reader(b"\x7f", b"\x7f")(pairs, 0, len(pairs))
    assert rows == [[n + n % 2, *row[1:]] for n, row in enumerate(expected)]
    assert (olds or []) == ([row if n % 2 else None for n, row in enumerate(expected)] if len(tails) > 1 else [])


def test_reading_makes_no_call_for_a_row_that_it_has_seen_the_like_of():
    read = line_decoder().rows_reader(b"\x7f")
    one = line(1, "a note", 5, None)
    read(one, 0, len(one))
    few, many = (python_calls(lambda image=one * count: read(image, 0, len(image))) for count in (1, 500))
    assert many.total() < few.total() + 50  # the garbage collector makes some

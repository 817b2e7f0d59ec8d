"""Single events, and the few statements that we look into."""

import zlib

import pytest

from cdcd.errors import DecodeError
from cdcd_mysql.binlog import decode_checksum_size, event_name, has_checksum
from cdcd_mysql.captured import TableName
from cdcd_mysql.compression import uncompress
from cdcd_mysql.logged import first_word
from unit.cdcd_mysql.captured_events import captured_tables


@pytest.mark.parametrize("size", [0, 1, 100, 1 << 14, 1 << 15])
def test_an_event_ends_with_the_checksum_of_what_is_before_it(size):
    body = bytes(range(1, 256)) * (size // 255) + bytes(size % 255)
    event = body + zlib.crc32(body).to_bytes(4, "little")
    assert has_checksum(b"before" + event + b"after", 6, 6 + len(event))
    for at in {0, len(event) // 2, len(event) - 1}:
        damaged = bytearray(event)
        damaged[at] ^= 4
        assert not has_checksum(bytes(damaged), 0, len(damaged))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("update t set a = 1", "UPDATE"),
        ("  /* x */ -- y\n# z\nDELETE FROM t", "DELETE"),
        ("/*!40000 INSERT INTO t VALUES (1) */", "INSERT"),
        ("/*M!100100 TRUNCATE t */", "TRUNCATE"),
        ("", ""),
        ("(SELECT 1)", "SELECT"),
    ],
)
def test_the_first_word_is_found_after_comments(text, word):
    assert first_word(text.encode()) == word


@pytest.mark.parametrize(
    ("database", "text", "concerns"),
    [
        ("shop", "UPDATE t SET a = 1", True),
        ("SHOP", "UPDATE t SET a = 1", True),
        ("other", "UPDATE shop.t SET a = 1", True),
        ("other", "UPDATE `shop` . `t` SET a = 1", True),
        ("other", "UPDATE workshop.t SET a = 1", False),
        ("other", "INSERT INTO t VALUES ('shop')", False),
        ("", "UPDATE third.x SET a = 1", True),
    ],
)
def test_statements_that_could_touch_our_tables_are_told_apart(database, text, concerns):
    tables = captured_tables("t", "third.x")
    assert tables.may_concern(database.encode(), text.encode()) is concerns


def test_names_are_compared_as_the_server_compares_them():
    assert captured_tables("Item").spelled(TableName("shop", "item")) is None
    assert captured_tables("Item", ignore_case=True).spelled(TableName("SHOP", "item")) == "Item"


def test_compressed_events_are_checked_against_their_size():
    packed = zlib.compress(b"x" * 300)
    assert uncompress(b"\x82\x01\x2c" + packed) == b"x" * 300
    for wrong in (
        b"",
        b"\x02\x01\x2c" + packed,
        b"\x82\x01\x2d" + packed,
        b"\x82\x00\x05" + packed,
        b"\x92\x01\x2c" + packed,
    ):
        with pytest.raises(DecodeError):
            uncompress(wrong)


def test_an_unknown_checksum_is_not_guessed():
    assert decode_checksum_size(bytes(10) + b"\x00" + bytes(4), 0, 15) == 0
    assert decode_checksum_size(bytes(10) + b"\x01" + bytes(4), 0, 15) == 4
    with pytest.raises(DecodeError):
        decode_checksum_size(bytes(10) + b"\x07" + bytes(4), 0, 15)


def test_events_have_names():
    assert (event_name(16), event_name(200)) == ("XID", "type 200")

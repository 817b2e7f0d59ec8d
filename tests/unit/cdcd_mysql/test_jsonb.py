"""Binary JSON; that it is printed as the server does is tested on a server (tests/integration/test_mysql_types.py)."""

import contextlib
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd_mysql.jsonb import double_text, json_text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("", "null"),
        ("0400", "null"),
        ("0401", "true"),
        ("05fbff", "-5"),
        ("0affffffffffffffff", "18446744073709551615"),
        ("0b000000000000f03f", "1.0"),
        ("0c03612262", '"a\\"b"'),
        ("0200000400", "[]"),
        ("0ff60404028132", "1.50"),
    ],
)
def test_documents_become_text(raw, text):
    assert json_text(bytes.fromhex(raw)) == text


def test_an_object_keeps_the_order_of_its_keys():
    key_a, key_bb = b"a", b"bb"
    header = 4 + 2 * 4 + 2 * 3
    keys = (header).to_bytes(2, "little") + b"\1\0" + (header + 1).to_bytes(2, "little") + b"\2\0"
    values = b"\x05\x01\x00" + b"\x04\x01\x00"
    body = b"\2\0" + (header + 3).to_bytes(2, "little") + keys + values + key_a + key_bb
    assert json_text(b"\0" + body) == '{"a": 1, "bb": true}'


def test_nesting_is_bounded():
    deep = b"\2" + b"\1\0\xff\xff\2\0\0" * 200
    with pytest.raises((ValueError, IndexError, RecursionError)) as caught:
        json_text(deep)
    assert not isinstance(caught.value, RecursionError)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1e14, "100000000000000.0"),
        (1e15, "1e15"),
        (123456789012345678.0, "1.2345678901234568e17"),
        (0.00001, "0.00001"),
        (1e-14, "0.00000000000001"),
        (1e-16, "1e-16"),
        (-1.5e-300, "-1.5e-300"),
    ],
)
def test_doubles_are_printed_as_the_server_prints_them(number, text):
    assert double_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_read_back_the_same(number):
    text = double_text(number)
    assert math.copysign(1, float(text)) == math.copysign(1, number)
    assert float(text) == number
    assert "." in text or "e" in text


@given(st.binary(max_size=200))
def test_random_bytes_raise_only_what_is_expected_of_wrong_bytes(raw):
    with contextlib.suppress(ValueError, IndexError, KeyError, OverflowError, struct.error):
        json_text(raw)

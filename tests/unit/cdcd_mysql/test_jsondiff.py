"""Differences of JSON documents, as MySQL logs them; whole ones are in tests/golden."""

import pytest

from cdcd_mysql.jsonb import json_text, json_tree, tree_text
from cdcd_mysql.jsondiff import apply_diffs

REPLACE, INSERT, REMOVE = range(3)
SEVEN = bytes.fromhex("05 07 00")


def diff(operation, path, value=SEVEN):
    raw = bytes([operation, len(path)]) + path.encode()
    return raw if operation == REMOVE else raw + bytes([len(value)]) + value


def document():
    raw = bytearray.fromhex("00 0100 1600 0b00 0100 02 0c00 61")
    array = bytes.fromhex("0200 0a00 050100 050200")
    raw += array
    raw[3:5] = (len(raw) - 1).to_bytes(2, "little")
    return bytes(raw)


def test_the_tree_of_a_document_prints_as_the_document():
    assert tree_text(json_tree(document())) == json_text(document()) == '{"a": [1, 2]}'


@pytest.mark.parametrize(
    ("diffs", "expected"),
    [
        ([], '{"a": [1, 2]}'),
        ([diff(REPLACE, "$")], "7"),
        ([diff(REPLACE, "$.a")], '{"a": 7}'),
        ([diff(REPLACE, "$.a[1]")], '{"a": [1, 7]}'),
        ([diff(REPLACE, "$.a[last]")], '{"a": [1, 7]}'),
        ([diff(REPLACE, "$.a[last-1]")], '{"a": [7, 2]}'),
        ([diff(INSERT, "$.a[0]")], '{"a": [7, 1, 2]}'),
        ([diff(INSERT, "$.a[9]")], '{"a": [1, 2, 7]}'),
        ([diff(INSERT, '$."b c\\"d"')], '{"a": [1, 2], "b c\\"d": 7}'),
        ([diff(REMOVE, "$.a[0]"), diff(REMOVE, "$.a[0]")], '{"a": []}'),
        ([diff(INSERT, "$.zz"), diff(INSERT, "$.b")], '{"a": [1, 2], "b": 7, "zz": 7}'),
    ],
)
def test_differences_are_applied_in_order(diffs, expected):
    assert apply_diffs(document(), b"".join(diffs)) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        diff(REPLACE, "$.b"),
        diff(INSERT, "$.a"),
        diff(REMOVE, "$.a[5]"),
        diff(REPLACE, "$.a.b"),
        diff(REPLACE, "a"),
        diff(REPLACE, "$.a["),
        diff(REPLACE, "$.a[0].x"),
        diff(3, "$"),
        b"\x00",
    ],
)
def test_differences_that_do_not_fit_are_refused(wrong):
    with pytest.raises((ValueError, KeyError, IndexError)):
        apply_diffs(document(), wrong)


def test_a_document_whose_values_overlap_is_not_followed():
    """Each element is the array itself: it would be read ten times ten times ten."""
    loop = bytes.fromhex("02 0a00 2200") + bytes.fromhex("02 0000") * 10
    with pytest.raises(ValueError, match=r"overlap|deep"):
        json_text(loop)

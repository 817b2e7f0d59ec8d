"""Canonical types of columns in the log."""

import pytest

from cdcd.errors import DecodeError
from cdcd.values import parse_type
from cdcd_mysql.charsets import charset
from cdcd_mysql.tablemap import FieldType, MappedColumn
from cdcd_mysql.types import enum_type, log_type, set_type, temporal_hint, text_type

UTF8 = charset("utf8mb4")
LATIN1 = charset("latin1")


def column(kind, metadata=0, **facts):
    return MappedColumn("c", kind, metadata, nullable=True, **facts)


@pytest.mark.parametrize(
    ("mapped", "collated", "hint", "canonical"),
    [
        (column(FieldType.FLOAT, 4), None, "", "float(24,finite)"),
        (column(FieldType.DOUBLE, 8), None, "", "float(53,finite)"),
        (column(FieldType.TIME2, 3), None, "", "time(3,-838,838)"),
        (column(FieldType.DATETIME2, 6), None, "", "datetime(6,0001,9999)"),
        (column(FieldType.DATETIME), None, temporal_hint("datetime", 4, ""), "datetime(4,0001,9999)"),
        (column(FieldType.TIMESTAMP2, 0), None, "", "instant(0,1970-01-01 00:00:01,2038-01-19 03:14:07)"),
        (
            column(FieldType.TIMESTAMP2, 6),
            None,
            temporal_hint("timestamp", 6, "2106-02-07 06:28:15"),
            "instant(6,1970-01-01 00:00:01,2106-02-07 06:28:15)",
        ),
        (column(FieldType.VARCHAR, 80), UTF8, "", "text(20,raw)"),
        (column(FieldType.VARCHAR, 20), LATIN1, "", "text(20)"),
        (column(FieldType.VARCHAR_COMPRESSED, 401), UTF8, "", "text(100,raw)"),
        (column(FieldType.VARCHAR_COMPRESSED, 301), None, "", "bytes(300)"),
        (column(FieldType.BLOB, 4), UTF8, "", "text(raw)"),
        (column(FieldType.BLOB, 4), UTF8, "json", "json"),
        (column(FieldType.BLOB_COMPRESSED, 2), None, "", "bytes(65535)"),
        (column(FieldType.JSON, 4), None, "", "json(double)"),
        (column(FieldType.YEAR), None, "", "integer(0,2155)"),
    ],
)
def test_a_column_of_the_log_has_a_canonical_type(mapped, collated, hint, canonical):
    assert log_type(mapped, collated, hint) == canonical
    assert str(parse_type(canonical)) == canonical


def test_labels_that_brackets_cannot_hold_or_not_all_can_see_make_a_text():
    assert enum_type(["a", "b"]) == "enum(a,b)"
    for labels in (["a,b"], ["a "], ["", "abc"], ["😀bc"], ["?bc"]):
        assert enum_type(labels) == "text(3)" or max(map(len, labels)) < 3
    assert set_type(["a", "bc"]) == "text(4)"
    assert set_type([b"\xff", "bc"]) == "text(4,raw)"


def test_text_is_raw_where_bytes_can_be_stored_that_are_no_characters():
    assert text_type(5, UTF8) == "text(5,raw)"
    assert text_type(None, UTF8) == "text(raw)"
    assert text_type(5, LATIN1, is_padded=True) == "text(5,padded)"
    assert text_type(None, LATIN1) == "text"


def test_an_unknown_type_is_refused_by_the_name_of_its_column():
    with pytest.raises(DecodeError) as caught:
        log_type(column(99), None, "")
    assert caught.value.code == "column-type"

"""The driver's errors become the core's, and carry no values."""

import ssl

import pymysql
import pytest

from cdcd.errors import NeedsOperator, NotReady, PositionLost, Refused, Unavailable
from cdcd_mysql.errors import core_error, error_number, failed_row, refused_row, translated


@pytest.mark.parametrize(
    ("number", "message", "kind", "code", "name"),
    [
        (1062, "Duplicate entry 's3cret' for key 'sku' for key 'PRIMARY'", Refused, "duplicate-key", "PRIMARY"),
        (1062, "Duplicate entry 's3c\nret-2' for key 'item.sku'", Refused, "duplicate-key", "item.sku"),
        (1048, "Column 'price' cannot be null", Refused, "not-null", "price"),
        (1364, "Field 'name' doesn't have a default value", Refused, "no-default", "name"),
        (1406, "Data too long for column 'sku' at row 3", Refused, "too-long", "sku"),
        (
            1366,
            "Incorrect integer value: 's3cret' for column `shop`.`item`.`stock` at row 1",
            Refused,
            "bad-value",
            "stock",
        ),
        (1292, "Truncated incorrect DOUBLE value: 's3cret'", Refused, "bad-value", ""),
        (
            1452,
            "Cannot add or update a child row: a foreign key constraint fails (`s`.`l`, CONSTRAINT `l_fk` FOREIGN KEY (`o`) REFERENCES `o` (`id`))",
            Refused,
            "reference-missing",
            "l_fk",
        ),
        (3819, "Check constraint 'positive' is violated.", Refused, "check", "positive"),
        (4025, "CONSTRAINT `positive` failed for `shop`.`item`", Refused, "check", "positive"),
        (1644, "s3cret of a trigger", Refused, "trigger", ""),
        (1690, "BIGINT value is out of range in '(s3cret + 1)'", Refused, "out-of-range", ""),
        (1205, "Lock wait timeout exceeded", Unavailable, "unavailable", ""),
        (1213, "Deadlock found", Unavailable, "unavailable", ""),
        (2013, "Lost connection", Unavailable, "unavailable", ""),
        (1290, "running with the --read-only option", Unavailable, "unavailable", ""),
        (1045, "Access denied for user 'cdcd'@'h'", NotReady, "access", "cdcd"),
        (1146, "Table 'shop.item' doesn't exist", NotReady, "table-missing", "shop.item"),
        (1054, "Unknown column 'x' in 'field list'", NotReady, "column-missing", "x"),
        (1236, "Could not find first log file name in binary log index file", PositionLost, "position-lost", ""),
        (
            1236,
            "log event entry exceeded max_allowed_packet; Increase max_allowed_packet",
            NeedsOperator,
            "packet-too-large",
            "",
        ),
        (
            1236,
            "A slave with the same server_uuid/server_id as this slave has connected",
            NeedsOperator,
            "server-id-in-use",
            "",
        ),
        (1030, "Got error 28 from storage engine", Unavailable, "unavailable", ""),
        (9999, "something about s3cret", NeedsOperator, "mysql-9999", ""),
    ],
)
def test_numbers_decide_what_the_core_does(number, message, kind, code, name):
    error = core_error(pymysql.OperationalError(number, message), "write to table item")
    assert type(error) is kind
    assert error.code == code
    assert name in str(error)
    assert "s3c" not in str(error)
    assert error.what == "could not write to table item"


def test_errors_without_a_number_are_a_lost_connection():
    for error in (
        pymysql.InterfaceError(0, ""),
        pymysql.InternalError("Packet sequence number wrong"),
        ConnectionResetError(),
    ):
        assert isinstance(core_error(error, "read"), Unavailable)


def test_a_certificate_that_is_not_accepted_needs_the_operator():
    error = pymysql.OperationalError(2003, "Can't connect")
    error.original_exception = ssl.SSLCertVerificationError()
    assert core_error(error, "connect").code == "tls"


def test_the_row_of_a_statement_is_counted_from_zero():
    assert failed_row(pymysql.DataError(1406, "Data too long for column 'a' at row 3")) == 2
    assert failed_row(pymysql.IntegrityError(1062, "Duplicate entry 'at row 7' for key 'x'")) is None
    assert error_number(pymysql.IntegrityError(1062, "x")) == 1062


def test_what_the_driver_said_does_not_hang_on_the_error():
    with pytest.raises(Refused) as caught, translated("write"):
        raise pymysql.IntegrityError(1062, "Duplicate entry 's3cret' for key 'a'")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("number", "message", "code"),
    [
        (1142, "INSERT command denied to user 'u'@'h' for table 'item'", "permission"),
        (1143, "UPDATE command denied to user 'u'@'h' for column 'w' in table 'item'", "permission"),
        (1146, "Table 'shop.audit' doesn't exist", "trigger"),
        (1146, "Table 'shop.item' doesn't exist", None),
        (30001, "s3cret of a trigger", "trigger"),
        (1442, "Can't update table 'item' in stored function/trigger", "mysql-1442"),
        (1062, "Duplicate entry 's3cret' for key 'sku'", "duplicate-key"),
        (1045, "Access denied for user 'cdcd'@'h'", None),
        (1213, "Deadlock found", None),
        (2013, "Lost connection", None),
    ],
)
def test_what_is_refused_of_rows_is_told_from_what_stops_the_system(number, message, code):
    refused = refused_row(pymysql.OperationalError(number, message), "could not write", "item")
    assert (None if refused is None else refused.code) == code
    assert "s3c" not in str(refused)

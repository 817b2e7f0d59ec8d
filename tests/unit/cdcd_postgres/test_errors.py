"""The table of errors."""

import psycopg
import pytest
from psycopg import errors

from cdcd.errors import CdcdError, NeedsOperator, NotReady, Refused, Unavailable
from cdcd_postgres.errors import translate, translated


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", Unavailable),
        ("22001", Refused),
        ("22P02", Refused),
        ("23505", Refused),
        ("23503", Refused),
        ("25006", Unavailable),
        ("28P01", NotReady),
        ("3D000", NotReady),
        ("40001", Unavailable),
        ("40P01", Unavailable),
        ("42501", NotReady),
        ("42P01", NotReady),
        ("44000", Refused),
        ("53300", Unavailable),
        ("54000", Refused),
        ("55000", NotReady),
        ("55006", Unavailable),
        ("55P03", Unavailable),
        ("57014", Unavailable),
        ("57P01", Unavailable),
        ("58030", Unavailable),
        ("P0001", Refused),
        ("XX001", NeedsOperator),
        ("XX000", Unavailable),
        ("ZZ999", NeedsOperator),
    ],
)
def test_a_condition_decides_what_to_do(state, kind):
    class Error(psycopg.Error):
        sqlstate = state

    assert type(translate(Error("x"), "what")) is kind


def test_an_error_of_the_connection_is_retried_but_not_a_wrong_password():
    assert isinstance(translate(psycopg.OperationalError("connection refused"), "what"), Unavailable)
    wrong = psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "x"')
    assert isinstance(translate(wrong, "what"), NotReady)


def test_an_error_from_data_tells_its_condition_but_not_its_message():
    ours = translate(errors.InvalidTextRepresentation('invalid input syntax for type integer: "s3cret"'), "what")
    assert "s3cret" not in str(ours)
    assert "InvalidTextRepresentation (22P02)" in ours.cause


def test_an_error_from_data_is_not_chained():
    with pytest.raises(CdcdError) as caught, translated("what"):
        raise errors.CheckViolation("s3cret")
    assert caught.value.__cause__ is None
    with pytest.raises(CdcdError) as caught, translated("what"):
        raise errors.UndefinedTable("no such table")
    assert isinstance(caught.value.__cause__, errors.UndefinedTable)

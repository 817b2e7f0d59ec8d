"""PostgreSQL's errors as ours: one table by SQLSTATE (PostgreSQL documentation, appendix "Error Codes").

Messages of the server may hold column values (`invalid input syntax for type integer: "…"`), and so do all details.
For errors that come from data only the condition and the names of table, column, type and constraint are told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import psycopg

from cdcd.errors import CdcdError, FilterRefused, NeedsOperator, NotReady, Refused, Unavailable


class _Answer(NamedTuple):
    kind: type[CdcdError]
    remedy: str
    from_data: bool = False


_RETRY: Final = _Answer(Unavailable, "")
_DATA: Final = _Answer(
    Refused, "correct the value at its source, or change the target's column or constraint", from_data=True
)
_TRIGGER: Final = _Answer(Refused, "see what the target's trigger or function demands", from_data=True)
_SQL: Final = _Answer(NotReady, "run 'cdcd check': tables, columns or privileges are not as configured")
_UNKNOWN: Final = _Answer(NeedsOperator, "look at the server's log")

_TIMEOUT: Final = "57014"
_BY_CODE: Final = {
    "0A000": _SQL,
    "25006": _RETRY,  # read-only: a standby, or a server being failed over
    "42501": _Answer(NotReady, "grant what is missing; 'cdcd check' prints the statements"),
    "55000": _SQL,  # for example: no replica identity, yet updates are published
    _TIMEOUT: _RETRY,  # statement timeout
    "428C9": _SQL,  # a generated column
    "XX001": _UNKNOWN,  # data corrupted
    "XX002": _UNKNOWN,  # index corrupted
}
_BY_CLASS: Final = {
    "08": _RETRY,  # connection
    "09": _TRIGGER,
    "22": _DATA,
    "23": _DATA,
    "25": _RETRY,  # transaction state
    "26": _RETRY,  # prepared statement gone
    "27": _TRIGGER,
    "28": _Answer(NotReady, "correct user and password, and pg_hba.conf on the server"),
    "38": _TRIGGER,
    "39": _TRIGGER,
    "3D": _Answer(NotReady, "correct dbname in the dsn"),
    "3F": _SQL,
    "40": _RETRY,  # serialization, deadlock
    "42": _SQL,
    "44": _DATA,
    "53": _RETRY,  # resources
    "54": _DATA,  # a limit of the program: row or index entry too large
    "55": _RETRY,  # object in use, lock timeout
    "57": _RETRY,  # shutdown, crash
    "58": _RETRY,  # input or output
    "P0": _TRIGGER,
    "XX": _RETRY,
}
DENIED: Final = "42501"
_CODES: Final = {
    "22001": "too-long",
    "22003": "out-of-range",
    "22008": "out-of-range",
    "23502": "not-null",
    "23503": "reference-missing",
    "23505": "duplicate-key",
    "23514": "check",
    "23P01": "exclusion",
    "44000": "check",
}
"""Of what is refused, the code, as other systems' adapters have them; else by class."""
_CLASS_CODES: Final = {
    "09": "trigger",
    "22": "bad-value",
    "27": "trigger",
    "38": "trigger",
    "39": "trigger",
    "P0": "trigger",
}
_IN_FUNCTION: Final = re.compile(r"PL/|SQL function|SQL-Funktion")
"""In an error's context, which is in the server's language: it was raised inside a function of the target's."""
_OF_ANOTHER_TABLE: Final = 6
"""So many quotation marks has a message that names a table, its constraint, and another table that still refers to it."""
_PERMANENT_AT_LOGIN: Final = (
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied",
    "must be superuser or replication role",
)


def translate(error: psycopg.Error, what: str) -> CdcdError:
    """The error of ours that says what to do about `error`; `what` is what we were doing, as a sentence."""
    answer = answer_to(error)
    cause = _condition(error) if answer.from_data else _message(error)
    return answer.kind(what, cause=cause, remedy=answer.remedy, code=_code(error, answer))


def denied(error: psycopg.Error, what: str) -> Refused:
    """The refusal of rows that our role may not write: all of a table, or those with some column."""
    return Refused(what, cause=_message(error), remedy=_BY_CODE[DENIED].remedy, code="permission")


def _code(error: psycopg.Error, answer: _Answer) -> str:
    """The code of what is refused; "" is that of the kind of error."""
    state = error.sqlstate or ""
    if answer.kind is not Refused:
        return ""
    if state == "23503" and (error.diag.message_primary or "").count('"') >= _OF_ANOTHER_TABLE:
        return "still-referenced"
    return _CODES.get(state) or _CLASS_CODES.get(state[:2]) or ("trigger" if answer is _TRIGGER else "")


@contextmanager
def filtering(table: str, *, is_filtered: bool = True) -> Iterator[None]:
    """Raise FilterRefused where a query with somebody's condition fails, for whatever reason but the connection."""
    try:
        yield
    except psycopg.Error as error:
        if not is_filtered or (answer_to(error).kind is Unavailable and error.sqlstate != _TIMEOUT):
            raise
        cause = _condition(error) if answer_to(error).from_data else _message(error)
        slow = "; a query may not take longer than statement-timeout" if error.sqlstate == _TIMEOUT else ""
        raise FilterRefused(
            f"rows of table {table} cannot be chosen like this",
            cause=cause + slow,
            remedy="correct the condition; of a large table it needs an index",
        ) from None


def answer_to(error: psycopg.Error) -> _Answer:
    """The line of the table for an error. Without SQLSTATE it comes from the driver: the connection, or a value."""
    state = error.sqlstate
    if state is None:
        if isinstance(error, psycopg.DataError):
            return _DATA
        login = isinstance(error, psycopg.OperationalError) and any(text in str(error) for text in _PERMANENT_AT_LOGIN)
        return _BY_CLASS["28"] if login else _RETRY
    answer = _BY_CODE.get(state) or _BY_CLASS.get(state[:2]) or _UNKNOWN
    if answer.kind in (NotReady, NeedsOperator) and _IN_FUNCTION.search(error.diag.context or ""):
        return _TRIGGER
    return answer


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise the driver's errors as ours. The original is not chained where its text may hold values."""
    try:
        yield
    except psycopg.Error as error:
        if answer_to(error).from_data:
            raise translate(error, what) from None
        raise translate(error, what) from error


def _condition(error: psycopg.Error) -> str:
    """As in: UniqueViolation (23505), table public.item, constraint item_code_key."""
    if error.sqlstate is None:
        return "a text holds the character U+0000, which PostgreSQL cannot store"
    parts = [f"{type(error).__name__} ({error.sqlstate})"]
    diagnosis = error.diag
    if diagnosis.table_name:
        parts.append(f"table {diagnosis.schema_name}.{diagnosis.table_name}")
    for kind, name in (
        ("column", diagnosis.column_name),
        ("type", diagnosis.datatype_name),
        ("constraint", diagnosis.constraint_name),
    ):
        if name:
            parts.append(f"{kind} {name}")
    return ", ".join(parts)


def _message(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error) or type(error).__name__
    return text.strip().splitlines()[0] + (f" ({error.sqlstate})" if error.sqlstate else "")

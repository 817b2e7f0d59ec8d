"""Turns the driver's errors into the core's, once. The class decides what the core does (see `cdcd.errors`).

Messages of the server may hold column values ("Duplicate entry 'x' for key …"): of errors about data only names are
taken over. Numbers: MySQL and MariaDB server error references; those from 4000 on are MariaDB's or MySQL 8's.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import pymysql

from cdcd.errors import CdcdError, FilterRefused, NeedsOperator, NotReady, PositionLost, Refused, Unavailable

MASTER_FATAL_ERROR: Final = 1236
"""The binlog dump cannot go on; the message says why."""
DUPLICATE_KEY: Final = 1062
_UNAVAILABLE: Final = frozenset(
    {
        *(2002, 2003, 2006, 2013, 2014, 2055),  # no connection, or lost
        *(1205, 1213, 1206, 1614, 3058, 3101, 3572),  # lock timeout, deadlock, conflict with another node
        *(1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1317, 1927, 4031),  # shutdown, killed, network
        *(1040, 1203, 1226, 1037, 1038, 1041, 1637),  # too many connections, out of memory
        *(1021, 1026, 1114, 1180, 1197),  # disk full, table full, commit failed
        *(1004, 1030, 1135, 1878),  # a file, the storage engine or a thread failed: mostly for want of room
        *(3032, 3168, 3169),  # offline, not available, session killed
        *(1290, 1792, 1836, 1047, 1969, 3024, 3100),  # read-only, not ready, statement timeout
    }
)
_GRANTS: Final = "'cdcd grants SYSTEM --diff' prints what the account lacks"
_NOT_READY: Final[Mapping[int, tuple[str, str]]] = {
    1044: ("access", _GRANTS),
    1045: ("access", "check user and password"),
    1049: ("no-database", "create the database, or correct `database` in the configuration"),
    1054: ("column-missing", "the table was changed: correct the configuration, then start again"),
    1064: ("statement", "report this as a bug, with the server's version"),
    1129: ("access", "FLUSH HOSTS on the server"),
    1130: ("access", "create the user for the host that cdcd connects from"),
    1136: ("column-missing", "the table was changed: start again"),
    1142: ("access", _GRANTS),
    1143: ("access", _GRANTS),
    1146: ("table-missing", "create the table, or correct the configuration"),
    1227: ("access", _GRANTS),
    1251: ("access", "give the user an authentication plugin that PyMySQL knows"),
    1370: ("access", _GRANTS),
    1381: ("no-binlog", "start the server with log_bin"),
    1665: ("binlog-format", "SET GLOBAL binlog_format = 'ROW'"),
    1698: ("access", "check user and password"),
    1820: ("access", "set a new password for the user"),
    1862: ("access", "set a new password for the user"),
    2026: ("tls", "check `tls` and `tls-ca`"),
    2059: ("access", "give the user an authentication plugin that PyMySQL knows"),
    2061: ("access", 'set tls = "require", or give the user another authentication plugin'),
    3118: ("access", "unlock the user's account"),
}
_NOT_IN_CHARSET: Final = "a text has characters that its column's character set has not"
_TIMEOUTS: Final = (1969, 3024)
_REFUSED: Final[Mapping[int, tuple[str, str]]] = {
    1048: ("not-null", "a column that must not be NULL"),
    1062: ("duplicate-key", "a unique key has these values in another row"),
    1169: ("duplicate-key", "a unique key has these values in another row"),
    1264: ("out-of-range", "a number is outside its column's range"),
    1265: ("bad-value", "a value does not fit its column"),
    1267: ("bad-value", _NOT_IN_CHARSET),
    1270: ("bad-value", _NOT_IN_CHARSET),
    1271: ("bad-value", _NOT_IN_CHARSET),
    1292: ("bad-value", "a value is not one of its column's type"),
    1364: ("no-default", "a column without default was not given"),
    1366: ("bad-value", "a value is not one of its column's type or character set"),
    1367: ("bad-value", "a value is not one of its column's type"),
    1406: ("too-long", "a value is longer than its column"),
    1411: ("bad-value", "a value is not one of its column's type"),
    1416: ("bad-value", "a value is not a geometry of its column's kind"),
    1441: ("out-of-range", "a date is outside its column's range"),
    1451: ("still-referenced", "another row refers to this one"),
    1452: ("reference-missing", "the row referred to does not exist"),
    1216: ("reference-missing", "the row referred to does not exist"),
    1217: ("still-referenced", "another row refers to this one"),
    1526: ("no-partition", "no partition takes the row"),
    1644: ("trigger", "a trigger refused the row"),
    1690: ("out-of-range", "a number is outside its column's range"),
    1748: ("no-partition", "no partition takes the row"),
    3140: ("bad-json", "a value is not JSON"),
    3141: ("bad-json", "a value is not JSON"),
    3144: ("bad-json", "a value is not JSON in UTF-8"),
    3157: ("bad-json", "a JSON document is nested too deeply"),
    3643: ("bad-value", "a geometry has another reference system than its column"),
    3854: ("bad-value", _NOT_IN_CHARSET),
    6136: ("bad-value", "a value is not a vector"),
    3819: ("check", "a check constraint does not hold"),
    4025: ("check", "a check constraint does not hold"),
}
_NAMED: Final = (
    re.compile(r".* for column (?:`[^`]*`\.`[^`]*`\.)?[`'](?P<name>[^`']+)[`'] at row \d+$", re.DOTALL),
    re.compile(r".* for key '(?P<name>[^']+)'$", re.DOTALL),
    re.compile(r"Column '(?P<name>[^']+)' cannot be null$"),
    re.compile(r"Field '(?P<name>[^']+)' doesn't have a default value$"),
    re.compile(r"Check constraint '(?P<name>[^']+)' is violated\.$"),
    re.compile(r"CONSTRAINT `(?P<name>[^`]+)` failed for "),
    re.compile(r".*a foreign key constraint fails \(.*CONSTRAINT `(?P<name>[^`]+)` FOREIGN KEY", re.DOTALL),
)
_NO_TABLE: Final = 1146
_DENIED: Final = (1142, 1143, 1370)
_OWN_NUMBERS: Final = 20_000
"""From here on, numbers are not the server's: a trigger has chosen them (SIGNAL … SET MYSQL_ERRNO)."""
_TABLE: Final = re.compile(r"Table '(?:[^']*\.)?(?P<name>[^'.]+)' doesn't exist")
_ROW: Final = re.compile(r" at row (\d+)$")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn errors of the driver inside into the core's. `doing` says what was tried, as "read table x"."""
    try:
        yield
    except (pymysql.Error, OSError) as error:
        raise core_error(error, doing) from None  # the driver's message may hold values: it must not be printed


@contextmanager
def filtering(table: str) -> Iterator[None]:
    """Raise FilterRefused where a query with somebody's condition fails, for whatever reason but the connection."""
    try:
        yield
    except (pymysql.Error, OSError) as error:
        known = core_error(error, f"choose rows of table {table}")
        slow = _number_and_message(error)[0] in _TIMEOUTS
        if isinstance(known, Unavailable) and not slow:
            raise
        raise FilterRefused(
            f"rows of table {table} cannot be chosen like this",
            cause=known.cause,
            remedy="correct the condition; of a large table it needs an index",
        ) from None


def core_error(error: pymysql.Error | OSError, doing: str) -> CdcdError:
    """The core's error for one of the driver's."""
    number, message = _number_and_message(error)
    what = f"could not {doing}"
    if number == MASTER_FATAL_ERROR:
        return _dump_error(message, what)
    if number in _REFUSED:
        code, cause = _REFUSED[number]
        return Refused(what, cause=f"{cause}{_named(message)} (error {number})", code=code)
    if isinstance(getattr(error, "original_exception", error), ssl.SSLCertVerificationError):
        return NotReady(what, cause="the server's certificate was not accepted", remedy=_NOT_READY[2026][1], code="tls")
    if number in _NOT_READY:
        code, remedy = _NOT_READY[number]
        return NotReady(what, cause=f"{_safe(message)} (error {number})", remedy=remedy, code=code)
    if number in _UNAVAILABLE or number == 0:
        return Unavailable(what, cause=f"{_safe(message)} (error {number})" if number else type(error).__name__)
    return NeedsOperator(
        what,
        cause=f"the server answered with error {number}",
        remedy=f"look up error {number} in the server's manual and its error log",
        code=f"mysql-{number}",
    )


def refused_row(error: pymysql.Error | OSError, what: str, table: str) -> Refused | None:
    """What an error means about rows that are being written to `table`: also where elsewhere it would stop the system.

    A privilege may lack for one column or table; a trigger may need a table that is gone, or raise a number of its own.
    None for what has nothing to do with the rows.
    """
    known = core_error(error, what)
    if isinstance(known, Refused):
        return known
    number, message = _number_and_message(error)
    if number in _DENIED:
        return Refused(known.what, cause=known.cause, remedy=known.remedy, code="permission")
    if number == _NO_TABLE and (named := _TABLE.match(message)) and named["name"] != table.rpartition(".")[2]:
        cause = f"a trigger needs the table {named['name']}, which does not exist (error {number})"
        return Refused(known.what, cause=cause, code="trigger")
    if known.code == f"mysql-{number}":
        remedy = known.remedy if number < _OWN_NUMBERS else "see what the target's triggers demand"
        code = known.code if number < _OWN_NUMBERS else "trigger"
        return Refused(known.what, cause=known.cause, remedy=remedy, code=code)
    return None


def failed_row(error: pymysql.Error) -> int | None:
    """The row of a multi-row statement that the server names, counted from 0; None when it names none."""
    match = _ROW.search(_number_and_message(error)[1])
    return int(match[1]) - 1 if match else None


def error_number(error: pymysql.Error | OSError) -> int:
    """The server's number of the error; 0 when the driver has none."""
    return _number_and_message(error)[0]


def _number_and_message(error: BaseException) -> tuple[int, str]:
    match error.args:
        case (int(number), str(message), *_) if isinstance(error, pymysql.Error):
            return number, message
        case _:
            return 0, ""


def _named(message: str) -> str:
    """The name of the column, key or constraint that a message is about, in brackets."""
    match = next((match for pattern in _NAMED if (match := pattern.match(message))), None)
    return f" ({match['name']})" if match else ""


def _safe(message: str) -> str:
    """The first line of a message of a kind that holds no values."""
    return message.splitlines()[0][:300] if message else "no message"


def _dump_error(message: str, what: str) -> CdcdError:
    """Why the server ended the dump: mysql source, sql/rpl_binlog_sender.cc; mariadb source, sql/sql_repl.cc."""
    if "max_allowed_packet" in message:
        return NeedsOperator(
            what,
            cause=_safe(message),
            remedy="raise max_allowed_packet (MariaDB: also slave_max_allowed_packet) on the server",
            code="packet-too-large",
        )
    if "same server_uuid/server_id" in message:
        return NeedsOperator(
            what,
            cause="another replica connected to the server with our server id",
            remedy="give one of them another id: `server-id` in the configuration",
            code="server-id-in-use",
        )
    return PositionLost(
        what,
        cause=_safe(message),
        remedy="bring the server back that has this log, and keep it longer (binlog_expire_logs_seconds); nothing was skipped",
    )

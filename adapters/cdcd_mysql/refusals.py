"""What in a log stops the source, why, and how a person goes on. `where` is file and offset."""

from __future__ import annotations

from cdcd.errors import DecodeError, PositionLost, Unavailable
from cdcd_mysql.positions import LogPosition
from cdcd_mysql.session import Server


def damaged_event(where: str) -> DecodeError:
    """Bytes changed on the server's disk or on their way."""
    return DecodeError(
        f"the checksum of an event at {where} is wrong",
        cause="the log is damaged, on the server's disk or on its way",
        remedy="check the log with mysqlbinlog --verify-binlog-checksum; if it is whole, start again",
        code="event-checksum",
    )


def malformed_event(error: Exception, where: str) -> DecodeError:
    """An event of a known type does not follow its format."""
    return DecodeError(
        f"an event at {where} cannot be decoded",
        cause=f"its bytes do not follow the format ({type(error).__name__})",
        remedy="check the log with mysqlbinlog --verify-binlog-checksum; nothing after it was read",
    )


def unknown_event(name: str, where: str) -> DecodeError:
    """Anything unknown may hold rows, or the name of a transaction."""
    return DecodeError(
        f"the log holds an event of unknown type ({name}) at {where}",
        remedy="upgrade cdcd, or switch off the server feature that writes it, then run 'cdcd reposition' for this system",
        code="event-unknown",
    )


def incomplete_insert(table: str) -> DecodeError:
    """What an INSERT leaves to its column's default is nowhere in the log."""
    return DecodeError(
        f"a row was inserted into {table} without all its values in the log",
        cause="the session that wrote it had set binlog_row_image to MINIMAL or NOBLOB",
        remedy="have applications leave binlog_row_image at FULL, then run 'cdcd reposition' for this system",
        code="insert-incomplete",
    )


def unknown_prepared(where: str) -> DecodeError:
    """XA COMMIT of a transaction whose rows are not known."""
    return DecodeError(
        f"a two-phase (XA) transaction is committed before {where}, and its rows were never seen",
        cause="it was prepared before cdcd began to read this server's log",
        remedy="run 'cdcd reposition' for this system; nothing was skipped",
        code="xa-unknown",
    )


def other_prepared(where: str) -> DecodeError:
    """At the remembered place there is no such prepared transaction."""
    return DecodeError(
        f"the log before {where} does not hold the two-phase (XA) transaction that was prepared there",
        cause="the server's logs were replaced",
        remedy="run 'cdcd reposition' for this system; nothing was skipped",
        code="xa-other",
    )


def logged_rollback(where: str) -> DecodeError:
    """A transaction that is in the log and yet rolled back."""
    return DecodeError(
        f"a transaction of captured tables was rolled back in the log before {where}",
        cause="it also changed a table without transactions (MyISAM), so the server logged it",
        remedy="ALTER TABLE … ENGINE=InnoDB, then run 'cdcd reposition' for this system",
        code="rollback-logged",
    )


def statement_logged(where: str) -> DecodeError:
    """A change that may have been of a captured table, and we cannot know of which rows."""
    return DecodeError(
        f"a change was logged as a statement, not as rows, before {where}",
        cause="a session or the server has binlog_format other than ROW",
        remedy="SET GLOBAL binlog_format = 'ROW' (and in that session), then run 'cdcd reposition' for this system",
        code="binlog-format",
    )


def incident(where: str) -> DecodeError:
    """The server itself knows that its log has a gap."""
    return DecodeError(
        f"the server says that it lost changes before {where} (incident event)",
        remedy="look into the server's error log, then run 'cdcd reposition' for this system",
        code="binlog-incident",
    )


def torn_transaction(file: str) -> Unavailable:
    """A transaction whose first rows were given out turns out never to have been committed."""
    return Unavailable(
        f"the log file {file} ends inside a transaction",
        cause="the server died while writing it; it was not committed",
        code="transaction-torn",
    )


def other_log(position: LogPosition) -> PositionLost:
    """The log at a stored position is not the one that was read."""
    return PositionLost(
        f"the log at {position.file}:{position.offset} is not the one that was read before",
        cause="another server answers, or the server was restored from a backup or its logs were reset",
        remedy="reach the right server, or the one that has this log; nothing was skipped",
    )


def too_far(position: LogPosition) -> PositionLost:
    """The place of a log that is too far in its file to be asked for."""
    return PositionLost(
        f"the server cannot be asked to go on at {position.file}:{position.offset}",
        cause="a transaction made the file larger than 4 GiB, and there are no GTIDs to go on by",
        remedy="set gtid_mode = ON",
        code="position-too-far",
    )


def behind(position: LogPosition) -> PositionLost:
    """The server has another history than the one that was read."""
    return PositionLost(
        f"the server has not all the transactions that were read up to {position.file}:{position.offset}",
        cause="its gtid_executed or gtid_binlog_state lacks some: it was restored from a backup, its logs were reset, or it is another server",
        remedy="reach the right server, or the one that has this log; nothing was skipped",
        code="position-ahead",
    )


def other_server(position: LogPosition, server: Server) -> PositionLost:
    """Another server answers, and nothing says what of its log was read."""
    return PositionLost(
        f"the stored position is of server {position.server}, but server {server.identity} answers",
        cause="a file and offset mean nothing on another server, and GTIDs are not on"
        if not (position.gtids and server.has_gtids)
        else "",
        remedy="reach the right server, or the one that has this log; nothing was skipped",
    )

"""How long the server keeps its binary log, against the place where we read.

Variables: MySQL Reference Manual, "Binary Logging Options and Variables"; MariaDB, "Replication and Binary Log System
Variables". A file is removed when nothing was written to it for so long (by its modification time), the oldest first and
never the newest. No server tells those times, so the time of what we have read last stands for that of its file's end:
that is later, so that what is told here is the least.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from cdcd.adapter import LogKeeping
from cdcd_mysql.positions import LogPosition, place_of
from cdcd_mysql.session import Session
from cdcd_mysql.statements import quote_text

DAY_SECONDS: Final = 86_400
_VARIABLES: Final = (
    "binlog_expire_logs_auto_purge", "binlog_expire_logs_seconds", "expire_logs_days", "max_binlog_total_size",
)  # fmt: skip
Files: TypeAlias = Sequence[tuple[str, int]]


class Limits(msgspec.Struct, frozen=True):
    """What makes the server remove log: its age, its size. 0: it does not."""

    keep_seconds: int = 0
    size_bytes_max: int = 0


class Reading(msgspec.Struct, frozen=True):
    """Where we read, and when that was written, by the server's clock (0: not known)."""

    position: LogPosition
    written_at: int = 0


def limits(settings: Mapping[str, str]) -> Limits:
    """What the server's variables say."""
    seconds = int(settings.get("binlog_expire_logs_seconds", "0"))
    if not seconds:
        seconds = int(float(settings.get("expire_logs_days", "0")) * DAY_SECONDS)
    purges = settings.get("binlog_expire_logs_auto_purge", "ON") == "ON"
    return Limits(seconds if purges else 0, int(settings.get("max_binlog_total_size", "0")))


def read_files(session: Session) -> list[tuple[str, int]]:
    """The log's files and their sizes, oldest first."""
    rows = session.rows("SHOW BINARY LOGS", "list the server's log files")
    return [(str(name), int(size)) for name, size, *_ in rows]


def bytes_after(files: Files, position: LogPosition) -> int:
    """How much log there is after a position."""
    later = sum(size for name, size in files if place_of(name, 0) > (position.place[0], 0))
    own = next((size for name, size in files if name == position.file), position.offset)
    return later + max(0, own - position.offset)


def look(session: Session, reading: Reading | None) -> LogKeeping:
    """Ask the server."""
    doing = "ask how long the log is kept"
    wanted = ", ".join(map(quote_text, _VARIABLES))
    settings = dict(session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({wanted})", doing))
    files = read_files(session)
    asked = time.time()
    rows = session.rows("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) AS CHAR)", "read the server's clock")
    answered = time.time()
    server_seconds = float(rows[0][0])
    return keeping(limits(settings), files, reading, server_seconds, server_seconds - (asked + answered) / 2)


def keeping(
    limit: Limits, files: Files, reading: Reading | None, server_seconds: float, clock_offset_seconds: float
) -> LogKeeping:
    """What that means for what was not read."""
    keep_seconds = float(limit.keep_seconds)
    if reading is None or not reading.position.file:
        return LogKeeping(keep_seconds=keep_seconds, clock_offset_seconds=clock_offset_seconds)
    number, _ = reading.position.place
    is_gone = bool(files) and number < place_of(files[0][0], 0)[0]
    return LogKeeping(
        free_ratio=0.0 if is_gone else _free_ratio(limit, files, number),
        keep_seconds=keep_seconds,
        purge_seconds=0.0 if is_gone else _purge_seconds(limit, files, reading, server_seconds),
        clock_offset_seconds=clock_offset_seconds,
    )


def _purge_seconds(limit: Limits, files: Files, reading: Reading, server_seconds: float) -> float | None:
    if not limit.keep_seconds:
        return None
    if files and reading.position.file == files[-1][0]:
        return float(limit.keep_seconds)
    written_at = max(reading.written_at, reading.position.created)
    return max(0.0, written_at + limit.keep_seconds - server_seconds) if written_at else None


def _free_ratio(limit: Limits, files: Files, number: int) -> float | None:
    """Our file goes when it and all later ones are too much together."""
    if not limit.size_bytes_max:
        return None
    needed_bytes = sum(size for name, size in files if place_of(name, 0)[0] >= number)
    return max(0.0, 1 - needed_bytes / limit.size_bytes_max)

"""Logging: one line per event on stderr, key=value, about systems, entities and counts, never about values (Invariant 12)."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

from cdcd.errors import CdcdError

_PLAIN: Final = re.compile(r"[^\s\"=\\]+")
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_PRIORITY: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class KeyValueFormatter(logging.Formatter):
    """`at=… level=… role=… event="…" key=value …`; for the journal, which keeps the time itself, `<priority>` instead of `at`.

    The prefix is that of sd-daemon(3), "SD_ERR" and friends.
    """

    def __init__(self, role: str, *, for_journal: bool) -> None:
        super().__init__()
        self._role = role
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        start = f"<{_PRIORITY.get(record.levelno, 6)}>" if self._for_journal else f"at={moment} "
        pairs = {"level": record.levelname.lower(), "role": self._role, "event": record.getMessage()}
        pairs |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        return start + " ".join(f"{key}={_quoted(str(value))}" for key, value in pairs.items())


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def setup(role: str, level: int = logging.INFO) -> None:
    """Send the log of this process to stderr, and let an unforeseen exception end it with a line free of values."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter(role, for_journal=is_for_journal()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    sys.excepthook = _log_crash
    threading.excepthook = _log_crash_of_thread
    faulthandler.enable(2)  # a crash in C, or systemd's SIGABRT, leaves where we were: functions and lines, no values


def is_for_journal() -> bool:
    """Whether stderr goes to systemd's journal: JOURNAL_STREAM may be inherited by who writes elsewhere (systemd.exec(5))."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def fields(error: CdcdError) -> dict[str, str]:
    """An error as fields of a log line."""
    return {"code": error.code, "what": error.what, "cause": error.cause, "next": error.remedy}


def raised_at(trace: TracebackType | None) -> str:
    """The places of a traceback, the innermost first, without what was said there."""
    frames = traceback.extract_tb(trace)
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames[-8:]))


def _log_crash_of_thread(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None:
        _log_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Name the exception and where it was raised. Its message is left out: it might quote a column's value."""
    at = raised_at(trace)
    if isinstance(error, CdcdError):
        logging.getLogger("cdcd").critical("ended by an error", extra=fields(error))
    else:
        logging.getLogger("cdcd").critical("ended by a defect", extra={"exception": kind.__qualname__, "raised": at})

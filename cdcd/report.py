"""What a worker tells the supervisor about itself: small messages, a few per second at most.

They travel as datagrams over a socket pair that the supervisor made and every worker inherited. A report is complete
in itself, so a lost one is mended by the next. Nothing in it is a column's value or a key (Invariant 12).
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Final, Literal, TypeAlias

import msgspec

from cdcd.errors import CdcdError

REPORT_SECONDS: Final = 0.2
HEARTBEAT_SECONDS: Final = 5.0
REPORT_BYTES_MAX: Final = 2**17
POSITION_CHARACTERS_MAX: Final = 1000
_log: Final = logging.getLogger("cdcd.report")

WorkerState: TypeAlias = Literal[
    "starting", "running", "retrying", "stopped", "paused", "journal-full", "outbox-full", "down"
]
"""retrying: a server is unavailable, we try again with backoff. stopped: a person must act, tried again slowly.

journal-full: capture waits for room. outbox-full: resolve does. down: the process itself is not there (only the supervisor says so).
"""


class ErrorNote(msgspec.Struct, frozen=True):
    """An error as it is shown: see `errors.CdcdError`."""

    code: str
    what: str
    cause: str = ""
    remedy: str = ""
    at_us: int = 0


class Counter(msgspec.Struct, frozen=True):
    """How often something happened since the worker process started. `labels` belong to the metric of that `name`."""

    name: str
    labels: tuple[str, ...]
    value: int


class CaptureFigures(msgspec.Struct, frozen=True, tag="capture"):
    """`caught_up_at_us`: when the server last said that nothing is ahead of us. Zeros mean not known yet."""

    head: str = ""
    lag_bytes: int = 0
    retained_bytes: int = 0
    captured_at_us: int = 0
    caught_up_at_us: int = 0
    received_at_us: int = 0


class ResolveFigures(msgspec.Struct, frozen=True, tag="resolve"):
    """The journal seq through which everything is resolved."""

    seq: int = 0


class DeliverFigures(msgspec.Struct, frozen=True, tag="deliver"):
    """The outbox unit through which everything is applied, how many records are parked, until when a rate limit has us wait."""

    applied_unit: int = 0
    parked: int = 0
    limited_until_us: int = 0


class Report(msgspec.Struct, frozen=True):
    """One worker as it sees itself. `progress` grows whenever it got anything done; `pid` tells two lives apart."""

    role: str
    pid: int
    at_us: int
    state: WorkerState
    state_since_us: int
    position: str = ""
    progress: int = 0
    counters: tuple[Counter, ...] = ()
    figures: CaptureFigures | ResolveFigures | DeliverFigures | None = None
    error: ErrorNote | None = None


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


def error_note(error: CdcdError) -> ErrorNote:
    """An error as it is reported."""
    return ErrorNote(error.code, error.what, error.cause, error.remedy, now_us())


class Receiver:
    """The supervisor's end."""

    def __init__(self) -> None:
        self._socket, self._workers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._decode = msgspec.msgpack.Decoder(Report).decode

    def fileno(self) -> int:
        """Readable when there is a report."""
        return self._socket.fileno()

    @property
    def workers_fd(self) -> int:
        """The descriptor that workers inherit and send to."""
        return self._workers_end.fileno()

    def take(self) -> list[Report]:
        """The reports that have arrived, oldest first."""
        found: list[Report] = []
        while True:
            try:
                found.append(self._decode(self._socket.recv(2 * REPORT_BYTES_MAX)))
            except BlockingIOError:
                return found
            except msgspec.MsgspecError as error:  # cdcd was upgraded under us, and a worker was started anew
                _log.error("a report is not understood, restart the daemon", extra={"cause": str(error)})

    def close(self) -> None:
        """Close both ends in this process."""
        self._socket.close()
        self._workers_end.close()


class Sender:
    """A worker's end. Never blocks: what does not get through now is sent with the next report."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._encode = msgspec.msgpack.Encoder().encode

    def send(self, report: Report) -> bool:
        """Whether it got through. One that is too long for a datagram leaves out what makes it long."""
        encoded = self._encode(report)
        if len(encoded) > REPORT_BYTES_MAX:
            position = report.position[:POSITION_CHARACTERS_MAX]
            encoded = self._encode(msgspec.structs.replace(report, counters=(), position=position))
        try:
            self._socket.send(encoded)
        except (BlockingIOError, ConnectionError):
            return False
        return True

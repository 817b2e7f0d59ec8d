"""What a worker tells the supervisor about itself: small messages, a few per second at most.

They travel as datagrams over a socket pair that the supervisor made and every worker inherited. A report is complete
in itself, but for counters that have not changed since they got through, so a lost one is mended by the next. Nothing in
it is a column's value or a key (Invariant 12).
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Final, Literal, TypeAlias

import msgspec

from cdcd.adapter import LogKeeping
from cdcd.errors import CdcdError

REPORT_SECONDS: Final = 0.2
HEARTBEAT_SECONDS: Final = 5.0
REPORT_BYTES_MAX: Final = 2**17
REPORT_COUNTERS_MAX: Final = 250
LABEL_CHARACTERS_MAX: Final = 400
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
    """What the server said at `received_at_us`. Zeros mean not known yet.

    `caught_up_at_us`: everything that was in the log then has been read. `keeps_up`: that was when the server was asked
    the time before. `heard_at_us`: when anything last came from the log. `keeping` was asked at `kept_at_us`.
    """

    head: str = ""
    lag_bytes: int = 0
    retained_bytes: int = 0
    captured_at_us: int = 0
    caught_up_at_us: int = 0
    received_at_us: int = 0
    keeps_up: bool = False
    heard_at_us: int = 0
    keeping: LogKeeping = LogKeeping()
    kept_at_us: int = 0


class ResolveFigures(msgspec.Struct, frozen=True, tag="resolve"):
    """The journal seq through which everything is resolved."""

    seq: int = 0


class DeliverFigures(msgspec.Struct, frozen=True, tag="deliver"):
    """The outbox unit through which everything is applied, how many records are parked, until when a rate limit has us wait.

    `parked_by_entity`: plain copies are named by the source and its table ("erp:item").
    """

    applied_unit: int = 0
    parked: int = 0
    limited_until_us: int = 0
    parked_by_entity: dict[str, int] = {}


class Report(msgspec.Struct, frozen=True):
    """One worker as it sees itself. `progress` grows whenever it got anything done; `pid` tells two lives apart.

    `waiting_since_us`: since when it does nothing but wait within one call to a server, 0 when it does not (`sign_of_life`).
    """

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
    waiting_since_us: int = 0


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
    """A worker's end. Never blocks: what does not get through now is sent with the next report.

    Counters that got through are sent again when they have changed: with a thousand entities there are many.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._encode = msgspec.msgpack.Encoder().encode
        self._known: dict[tuple[str, tuple[str, ...]], int] = {}
        self.is_behind = False
        """Whether there is something that the next report should not wait long for."""

    def send(self, report: Report) -> bool:
        """Whether it got through, but for counters that had no room any more (`is_behind`)."""
        news = [c for c in report.counters if self._known.get((c.name, c.labels)) != c.value]
        got_through = self._send(report, news[:REPORT_COUNTERS_MAX])
        sent = REPORT_COUNTERS_MAX
        while got_through and sent < len(news) and self._send(report, news[sent : sent + REPORT_COUNTERS_MAX]):
            sent += REPORT_COUNTERS_MAX
        self.is_behind = not got_through or sent < len(news)
        return got_through

    def _send(self, report: Report, counters: list[Counter]) -> bool:
        encoded = self._encode(msgspec.structs.replace(report, counters=tuple(counters)))
        if len(encoded) > REPORT_BYTES_MAX:
            encoded = self._encode(_shortened(report, counters))
        try:
            self._socket.send(encoded)
        except (BlockingIOError, ConnectionError):
            return False
        self._known |= {(counter.name, counter.labels): counter.value for counter in counters}
        return True


def _shortened(report: Report, counters: list[Counter]) -> Report:
    """Without what nobody can foresee the length of."""
    short = [counter for counter in counters if sum(map(len, counter.labels)) <= LABEL_CHARACTERS_MAX]
    position = report.position[:POSITION_CHARACTERS_MAX]
    figures = report.figures
    if isinstance(figures, DeliverFigures):
        figures = msgspec.structs.replace(figures, parked_by_entity={})
    return msgspec.structs.replace(report, counters=tuple(short), position=position, figures=figures)

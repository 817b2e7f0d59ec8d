"""The replication connection: starting a stream, receiving its messages, answering the server.

Formats: PostgreSQL documentation, "Streaming Replication Protocol". psycopg has no interface for this; its `pq` layer
gives the messages of CopyBoth mode.
"""

from __future__ import annotations

import struct
import time
from typing import Final

import psycopg

from cdcd.errors import PositionLost, Unavailable
from cdcd_postgres import statements
from cdcd_postgres.errors import translate, translated
from cdcd_postgres.position import Log, parse_history, parse_lsn
from cdcd_postgres.session import Connection

POLL_BYTES_MAX: Final = 2 << 20
"""As rows of Python it is seven times as much; with 4 MiB a row costs the same."""
STATUS_INTERVAL_SECONDS: Final = 1.0
ASKED_INTERVAL_SECONDS: Final = 0.02
CONFIRM_INTERVAL_SECONDS: Final = 0.02
"""Each has the server's sender wake up, and nothing is won by many: log is given up in files of 16 MiB, at checkpoints."""
_STATUS: Final = struct.Struct(">cQQQqB")
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000


class Stream:
    """One replication connection."""

    def __init__(self, system: str, connection: Connection, silence_seconds_max: float) -> None:
        self._system = system
        self._silence_seconds_max = silence_seconds_max
        self._connection = connection
        self._pgconn = connection.pgconn
        self._dry_reads = 2 if connection.pgconn.ssl_in_use else 1
        """After so many reads that give no message nothing is left: of a TLS record (16 KiB) libpq may take 8 KiB at a time."""
        self._confirmed_lsn = 0
        self._received_lsn = 0
        self._confirmed_at = float("-inf")
        self._owed_lsn = 0
        """What is still to be confirmed, because a confirmation was sent just before; 0 for nothing."""
        self._sent_at = time.monotonic()
        self._unanswered_since: float | None = None
        self._heard_at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """How long ago anything came."""
        return time.monotonic() - self._heard_at

    def identify(self) -> tuple[Log, int]:
        """Which server's log this is, and the end of what is flushed of it."""
        row = self._connection.execute("IDENTIFY_SYSTEM").fetchone()
        assert row is not None
        system, timeline, end_lsn = int(row[0]), int(row[1]), parse_lsn(row[2])
        history = self._history(timeline) if timeline > 1 else ""
        return Log(system, timeline, parse_history(history)), end_lsn

    def _history(self, timeline: int) -> str:
        row = self._connection.execute(f"TIMELINE_HISTORY {timeline:d}").fetchone()
        assert row is not None
        return row[1].decode() if isinstance(row[1], bytes) else str(row[1])

    def start(self, slot: str, lsn: int, publication: str) -> None:
        """Begin to stream commits that end after `lsn`."""
        self._received_lsn = lsn
        with translated(f"system '{self._system}': streaming could not begin"):
            self._connection.execute(statements.start_replication(slot, lsn, publication))

    def fileno(self) -> int:
        """The socket."""
        with translated(f"system '{self._system}': the stream has ended"):
            return self._pgconn.socket

    def receive(self) -> list[memoryview]:
        """The messages that are here, up to POLL_BYTES_MAX and what libpq holds already; never waits.

        Stops only where libpq has no whole message left, so that the socket is readable when there is more: of few bytes that
        holds; of many, the rest of a TLS record may be with libpq.
        """
        messages: list[memoryview] = []
        append, get = messages.append, self._pgconn.get_copy_data
        size = drained = 0
        with translated(f"system '{self._system}': the stream has ended"):
            while True:
                length, message = get(1)
                if length > 0:
                    append(message)
                    size += length
                    drained = 0
                elif length < 0:
                    raise self._ended()
                elif drained == self._dry_reads or size >= POLL_BYTES_MAX:
                    break
                else:
                    self._pgconn.consume_input()
                    drained += 1
        self._listen(bool(messages))
        self._confirm_when_due()
        return messages

    def answer(self, received_lsn: int, *, asked: bool) -> None:
        """Tell the server that we live, when it asked or it is time, and ask where it is."""
        self._received_lsn = max(self._received_lsn, received_lsn)
        if asked or time.monotonic() - self._sent_at >= STATUS_INTERVAL_SECONDS:
            self._send(flushed_lsn=0)

    def ask_again(self) -> None:
        """Ask the server where it is, unless that was done a moment ago: somebody waits for an idle log's end."""
        if time.monotonic() - self._sent_at >= ASKED_INTERVAL_SECONDS:
            self._send(flushed_lsn=0)

    def confirm(self, lsn: int) -> None:
        """Everything before `lsn` may be discarded. The server is told at once, or soon where it was told something just now."""
        if lsn <= self._confirmed_lsn:
            self.answer(0, asked=False)
            return
        self._owed_lsn = lsn
        self._confirm_when_due()

    def _confirm_when_due(self) -> None:
        if self._owed_lsn and time.monotonic() - self._confirmed_at >= CONFIRM_INTERVAL_SECONDS:
            self.confirm_owed()

    def confirm_owed(self) -> None:
        """Tell the server what it was not told yet of what it may discard."""
        if self._owed_lsn:
            self._confirmed_lsn, self._owed_lsn = self._owed_lsn, 0
            self._received_lsn = max(self._received_lsn, self._confirmed_lsn)
            self._send(flushed_lsn=self._confirmed_lsn)
            self._confirmed_at = self._sent_at

    def _send(self, flushed_lsn: int) -> None:
        """Send a Standby status update.

        Flush position 0 says nothing new about it, and the server then goes by the write position when it shuts down:
        it need not wait for a journal that is full. Then we ask for a reply: it tells how far an idle log has moved.
        """
        now_us = time.time_ns() // 1000 - _POSTGRES_EPOCH_US
        status = _STATUS.pack(b"r", self._received_lsn, flushed_lsn, 0, now_us, flushed_lsn == 0)
        with translated(f"system '{self._system}': the stream has ended"):
            self._pgconn.put_copy_data(status)
            self._pgconn.flush()
        self._sent_at = time.monotonic()
        if flushed_lsn == 0 and self._unanswered_since is None:
            self._unanswered_since = self._sent_at

    def _listen(self, heard: bool) -> None:
        """A server that does not answer is gone, though its connection may not know yet."""
        if heard:
            self._unanswered_since = None
            self._heard_at = time.monotonic()
        elif (
            self._unanswered_since is not None and time.monotonic() - self._unanswered_since > self._silence_seconds_max
        ):
            raise Unavailable(
                f"system '{self._system}' has been silent for {self._silence_seconds_max:.0f} seconds",
                cause="it does not answer on the replication connection",
            )

    def _ended(self) -> Exception:
        """Why the server left copy mode."""
        result = self._pgconn.get_result()
        if result is None or result.status != psycopg.pq.ExecStatus.FATAL_ERROR:
            return Unavailable(f"system '{self._system}': the stream has ended", cause="the server is shutting down")
        error = psycopg.errors.error_from_result(result, "utf-8")
        if error.sqlstate == "42704":
            return PositionLost(
                f"system '{self._system}': the log cannot be decoded any further",
                cause=f"{error.diag.message_primary} at that place in the log",
                remedy="run 'cdcd resync' for the entities of this system; nothing was skipped",
            )
        return translate(error, f"system '{self._system}': the stream has ended")

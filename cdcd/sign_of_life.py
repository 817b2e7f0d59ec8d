"""A worker's signs of life while its loop is inside one long call.

The loop reports whenever it comes round. A transaction of a million rows, or a server that builds an index first, keeps it
in one call for minutes; then a thread of its own repeats the last report, and says since when the loop does nothing but
wait. Time in which it only waits is the server's: adapters give up by themselves on one that is silent, and a restart
would begin the same call anew. A loop that computes for minutes and gets nothing done is a defect. A process that is
frozen says nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import Final

import msgspec

from cdcd.report import HEARTBEAT_SECONDS, Report, Sender, now_us

WAITS_BELOW: Final = 0.05
"""Whoever uses less of a processor than that share does nothing but wait."""


class SignsOfLife:
    """Sends a worker's reports, and repeats the last one. Make it in the thread that works."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._last: Report | None = None
        self._looked_at = self._used_seconds = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sign-of-life", daemon=True)
        self._thread.start()

    def send(self, report: Report) -> bool:
        """Send what the loop says of itself; whether it got through."""
        with self._lock:
            self._last = report
            self._look()
            return self._sender.send(report)

    @property
    def is_behind(self) -> bool:
        """Whether counters wait for the next report (see `report.Sender`)."""
        return self._sender.is_behind

    def _look(self) -> None:
        self._looked_at, self._used_seconds = time.monotonic(), time.clock_gettime(self._clock)

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the thread that works
        while not self._end.wait(HEARTBEAT_SECONDS):
            with self._lock:
                if time.monotonic() - self._looked_at > HEARTBEAT_SECONDS:
                    self._repeat()

    def _repeat(self) -> None:
        """Say that we live. Of the figures and counters nothing is known but what the loop said last."""
        if self._last is None:
            return
        elapsed_seconds = time.monotonic() - self._looked_at
        used_seconds = time.clock_gettime(self._clock) - self._used_seconds
        self._look()
        waiting_since_us = 0
        if used_seconds < WAITS_BELOW * elapsed_seconds:
            waiting_since_us = self._last.waiting_since_us or now_us() - int(elapsed_seconds * 1e6)
        self._last = msgspec.structs.replace(self._last, at_us=now_us(), waiting_since_us=waiting_since_us)
        self._sender.send(self._last)

    def close(self) -> None:
        """Say no more."""
        self._end.set()
        self._thread.join()

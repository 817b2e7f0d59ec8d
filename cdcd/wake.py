"""Waking by event: bells between processes, and signals as something one can wait for.

A bell is a Linux eventfd (eventfd(2)) made by the supervisor and inherited by every worker, so it outlives the
process at either end. Ringing never blocks and never gets lost: the one who answers a bell silences it first and
looks for work afterwards.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Collection, Iterable
from types import FrameType
from typing import Self


class Bell:
    """An eventfd: rung by anybody, waited for by one."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> Self:
        """Make a silent bell. Not inherited unless passed on."""
        return cls(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def ring(self) -> None:
        """Wake who waits, now or at the next wait."""
        try:
            os.eventfd_write(self.fd, 1)
        except BlockingIOError:
            return  # its counter is full: it has been ringing all along

    def silence(self) -> None:
        """Stop ringing; whatever it rang for must be looked at afterwards."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close this process's end."""
        os.close(self.fd)


def wait(fds: Iterable[int], timeout_seconds: float) -> set[int]:
    """Those of `fds` that are readable (or at their end), waiting until one is or the time is over."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(max(0.0, timeout_seconds) * 1000)}


class Signals:
    """Signals that arrive as bytes on a file descriptor. Install them in the main thread.

    Without the descriptor a signal between looking at a flag and waiting would be noticed a whole timeout later.
    """

    def __init__(self, numbers: Collection[signal.Signals]) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._previous = {number: signal.signal(number, _ignore) for number in numbers}
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Readable when a signal has arrived."""
        return self._read.fileno()

    def take(self) -> set[signal.Signals]:
        """The signals that have arrived since the last call."""
        arrived: set[signal.Signals] = set()
        while True:
            try:
                arrived.update(signal.Signals(number) for number in self._read.recv(64))
            except BlockingIOError:
                return arrived

    def close(self) -> None:
        """Put the earlier handlers back."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._read.close()
        self._write.close()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A Python handler must exist for the wake-up byte to be written."""

"""The supervisor's side of the template (see `template`): asks it for processes, and does without it where it fails."""

from __future__ import annotations

import ctypes
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

PRIVATE: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd tells the supervisor alone."""
IMPORT_SECONDS: Final = 30.0
"""So long its first answer may take: it imports first."""
ANSWER_SECONDS: Final = 10.0
"""It takes milliseconds. A machine that is busy with other things must not make us give up what saves it work."""
REQUEST_BYTES_MAX: Final = 16_384
DESCRIPTORS_MAX: Final = 253
"""The kernel's limit for one message (unix(7), SCM_RIGHTS)."""
GO: Final = b"go"
_PR_SET_CHILD_SUBREAPER: Final = 36
_log: Final = logging.getLogger("cdcd.forking")


class WorkerRequest(msgspec.Struct, frozen=True, tag="worker"):
    """A worker. Its descriptors: the assignment, then those of the wiring in their order."""

    role: str
    file: str


class CheckRequest(msgspec.Struct, frozen=True, tag="check"):
    """The checks before a start. Its descriptor: where their outcome is written."""

    file: str


Request: TypeAlias = WorkerRequest | CheckRequest


class Process(Protocol):
    """A child of this process: the part of `subprocess.Popen` that is asked of it."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """How it ended: its exit code, or the number of a signal, negative; None while it runs."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it has not ended."""

    def kill(self) -> None:
        """SIGKILL."""

    def wait(self, timeout: float | None = None) -> int:
        """`poll`, once it has ended. Raises subprocess.TimeoutExpired."""


class Forked:
    """A process that the template has forked, and that has become our child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """See `Process`."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send_signal(self, sig: int) -> None:
        """See `Process`. The number is ours until we have waited for it: nobody else can have it."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """See `Process`."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """See `Process`."""
        if self.poll() is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                ready, _, _ = select.select([descriptor], [], [], timeout)
            finally:
                os.close(descriptor)
            if not ready:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        code = self.poll()
        assert code is not None, "its descriptor said that it has ended"
        return code


class Asked:
    """A process that the template was asked for. It waits until `process` has heard of it."""

    def __init__(self, template: Template, ours: socket.socket) -> None:
        self._template = template
        self._socket = ours

    def process(self) -> Forked | None:
        """The process, when it is there. None when the template does not answer in time: then it is ended."""
        pid = 0
        try:
            self._socket.settimeout(self._template.patience_seconds)
            pid = int(self._socket.recv(32) or 0)
            cause = "it could not fork"
            if pid:
                self._socket.send(GO)
        except TimeoutError:
            cause = "it did not answer"
        except ConnectionError:
            cause = (
                "it ended"  # unless the process has told its pid, and ended since: that is our child, and shows as such
            )
        finally:
            self._socket.close()
            _adopt_orphans(False)
        if not pid:
            self._template.give_up(cause)
            return None
        self._template.has_served = True
        return Forked(pid)


class Template:
    """The template of a configuration file: its process, started and replaced as needed.

    Call everything from the main thread: the process dies with the thread that made it.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.has_served = False
        """Whether the present process has forked: one that ends before is not replaced, the next would end as well."""
        self._is_wanted = True
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int:
        """Of its process, 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def patience_seconds(self) -> float:
        """So long an answer may take."""
        return ANSWER_SECONDS if self.has_served else IMPORT_SECONDS

    def tend(self) -> None:
        """See to it that there is a process, unless it has shown that it cannot be."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self.give_up(f"it ended with {code}")
        if self._process is None and self._is_wanted:
            self._start()

    def renew(self) -> None:
        """Have it import anew what the file asks for now."""
        self.close()
        self._is_wanted = True
        self._start()

    def rest(self) -> None:
        """End it: nobody is to be started. Who is to be after all, until it is renewed, is started without it."""
        self.close()
        self._is_wanted = False

    def _start(self) -> None:
        self.has_served = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cdcd.template", self.file, str(fd), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=(fd,),
                env=public_environment(),
            )

    def ask(self, request: Request, descriptors: Sequence[int]) -> Asked | None:
        """Ask for a process that is to have these descriptors, one at a time; None when there is nobody to ask."""
        if self._socket is None:
            return None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._socket.settimeout(self.patience_seconds)
            _adopt_orphans(True)  # before it can fork
            try:
                socket.send_fds(self._socket, [msgspec.msgpack.encode(request)], [theirs.fileno(), *descriptors])
            except OSError as error:
                ours.close()
                _adopt_orphans(False)
                self.give_up(str(error.strerror))
                return None
        return Asked(self, ours)

    def give_up(self, cause: str) -> None:
        """End it: it has failed."""
        _log.warning("the template of the workers has failed, workers are started without it", extra={"cause": cause})
        self._is_wanted = self.has_served
        self.close()

    def close(self) -> None:
        """End it. It has nothing that could be lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._socket is not None:
            self._socket.close()
        self._process = self._socket = None


def public_environment() -> dict[str, str]:
    """What a process of ours may know of our environment."""
    return {key: value for key, value in os.environ.items() if key not in PRIVATE}


def _adopt_orphans(adopts: bool) -> None:
    """Have processes below us whose parent ends become our children, or not (prctl(2)).

    Only while the template forks: what those whom we start leave behind is not ours to wait for.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopts), 0, 0, 0)

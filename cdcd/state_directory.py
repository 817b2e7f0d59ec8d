"""Where everything that survives a restart lies: one directory, one file name per thing."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import stat
import threading
import time
from io import TextIOWrapper
from pathlib import Path
from typing import Final

import msgspec

from cdcd.errors import NeedsOperator
from cdcd.wake import Bell

BEAT_SECONDS: Final = 1.0
COMMAND_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.05
_STOPPED: Final = "stopped"
_log: Final = logging.getLogger("cdcd.state_directory")


class StateDirectory(msgspec.Struct, frozen=True):
    """The paths below `daemon.state-dir`."""

    path: Path

    @property
    def journal(self) -> Path:
        """Captured transactions (cdcd.journal)."""
        return self.path / "journal.db"

    @property
    def state(self) -> Path:
        """Golden records, crosswalk, outbox (cdcd.state)."""
        return self.path / "state.db"

    @property
    def control_socket(self) -> Path:
        """Where the running daemon takes commands (cdcd.control)."""
        return self.path / "control.sock"

    @property
    def running(self) -> Path:
        """The configuration that the daemon runs with, or ran with last (cdcd.standby)."""
        return self.path / "running.msgpack"

    def deliver(self, system: str) -> Path:
        """What delivery to one system keeps: parked records."""
        return self.path / f"deliver-{system}.db"

    def lock(self, name: str) -> Path:
        """The lock of one process of the daemon."""
        return self.path / "locks" / f"{name}.lock"

    def require(self, *files: Path) -> None:
        """Raises NeedsOperator where these files are not there: no daemon has used the directory yet."""
        if not all(file.exists() for file in files):
            raise NeedsOperator(
                f"{self.path} holds no state",
                code="no-state",
                cause="the daemon has not run with this configuration yet",
                remedy="start it, or name the right configuration with --config",
            )

    def prepare(self) -> None:
        """Make the directory, closed to other users. Raises NeedsOperator when that is not allowed, or others may write."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._close_to_others()
            (self.path / "locks").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def refuse_open(self, *, only_looks: bool = False) -> None:
        """Raise NeedsOperator where others may write in the directory: what it holds could be anybody's. OSError passes.

        Root, who `only_looks`, does so for the account that owns it.
        """
        found = self.path.stat()
        account = found.st_uid if only_looks and os.geteuid() == 0 else os.geteuid()
        if found.st_uid not in (0, account) or stat.S_IMODE(found.st_mode) & 0o022:
            mode = f"{stat.filemode(found.st_mode)}, uid {found.st_uid}"
            raise NeedsOperator(
                f"others than us may write in {self.path}",
                code="state-dir-open",
                cause=f"it is {mode}, and we are uid {os.geteuid()}: what it holds may not be what we have written",
                remedy="start the daemon as the account that owns it (systemctl start cdcd); or, if all that is in it is known to be"
                f" right: chown it to the daemon's account, chmod 700 {self.path}",
            )

    def _close_to_others(self) -> None:
        """Who could only read is shut out without a word."""
        self.refuse_open()
        found = self.path.stat()
        if stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.geteuid():
            self.path.chmod(0o700)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


class Holder(msgspec.Struct, frozen=True):
    """Who took a lock, as its file says. `started_ticks` tells two processes with one pid apart (0: not known).

    `stopped`: it has let go on purpose, after everything was in order.
    """

    pid: int
    started_ticks: int = 0
    host: str = ""
    stopped: bool = False

    def __str__(self) -> str:
        host = self.host.partition(":")[0]
        return f"pid {self.pid} on {host}" if host else f"pid {self.pid}"

    def is_here(self) -> bool:
        """Whether it is a process that we could see: of this host, and of our pid namespace."""
        return self.host == this_host()

    def is_gone(self) -> bool:
        """Whether it has certainly ended."""
        return self.stopped or (self.is_here() and started_ticks(self.pid) != self.started_ticks)


def this_host() -> str:
    """Host, machine and pid namespace: where a pid means something. Without /proc/sys, which a service may not see."""
    try:
        machine = Path("/etc/machine-id").read_text().strip()[:12]
    except OSError:
        machine = ""
    return f"{socket.gethostname()}:{machine}:{Path('/proc/self/ns/pid').stat().st_ino}"


def started_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot (proc(5), stat); None when there is none."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in ("Z", "X") else int(fields[18])


class Lock:
    """An exclusive lock on a file, held until the process ends or `release`. The kernel frees it however we die."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous: Holder | None = None
        """Who had it before us."""
        self._file: TextIOWrapper | None = None
        self._line = ""

    def acquire(self, *, wait: bool, note: bool = True) -> bool:
        """Take the lock, and write into the file who we are; False when another process has it and `wait` is off.

        Without `note` the file goes on telling who had it before, until `note` is called.
        """
        try:
            file = open(self.path, "a+", encoding="utf-8", opener=_for_us_alone)  # noqa: SIM115 - kept open
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        self.previous = self.holder()
        if note:
            self.note()
        return True

    def note(self) -> None:
        """Write into the file who we are. Raises NeedsOperator when that is not possible."""
        assert self._file is not None, "not acquired"
        pid = os.getpid()
        self._line = f"{pid} {started_ticks(pid) or 0} {this_host()}"
        try:
            self._file.truncate(0)
            os.write(self._file.fileno(), f"{self._line}\n".encode())
        except OSError as error:
            raise _unusable(self.path, error) from error

    def holder(self) -> Holder | None:
        """Who has it, or had it last."""
        try:
            first, *more = self.path.read_text().splitlines()
            pid, *facts = first.split()
            ticks, host = facts if len(facts) == 2 else ("0", "")
            return Holder(int(pid), int(ticks), host, _STOPPED in more)
        except (OSError, ValueError):
            return None

    @property
    def is_ours(self) -> bool:
        """Whether we have it."""
        return self._file is not None

    def is_held(self) -> bool:
        """Whether a process has it at this moment."""
        try:
            with self.path.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def beat(self) -> bool:
        """Show that we live, by the file's time; False when the lock is not ours any more."""
        assert self._file is not None, "not acquired"
        try:
            here, there = os.fstat(self._file.fileno()), self.path.stat()
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return False
        is_ours = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) and lines[:1] == [self._line]
        if is_ours:
            os.utime(self._file.fileno())
        return is_ours

    def last_beat_ns(self) -> int:
        """When the holder last showed that it lives, by the clock of the file system."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0

    def release(self, *, stopped: bool = False) -> None:
        """Let go; `stopped` tells those who stand by that it was on purpose. Safe to repeat."""
        if self._file is not None:
            if stopped:
                try:
                    os.write(self._file.fileno(), f"{_STOPPED}\n".encode())
                except OSError as error:  # a full disk: a standby will take it for a death
                    _log.warning("the stop could not be noted", extra={"cause": str(error.strerror)})
            self._file.close()
            self._file = None


class Heartbeat:
    """Beats for a lock every second from a thread of its own: who is busy is not taken for dead, who is frozen is."""

    def __init__(self, lock: Lock) -> None:
        self.lost = False
        """The lock is another process's now."""
        self._lock = lock
        self._bell = Bell.create()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when the lock was lost."""
        return self._bell.fd

    def _beat(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            try:
                self.lost = not self._lock.beat()
            except OSError as error:  # a disk that fails: the next beat may get through
                _log.warning("no sign of life could be given", extra={"cause": str(error.strerror)})
            if self.lost:
                self._bell.ring()
                return

    def close(self) -> None:
        """Stop. Before the lock is released."""
        self._end.set()
        self._thread.join()
        self._bell.close()


def lock_for_supervisor(directory: StateDirectory, *, note: bool = True) -> Lock:
    """Become the one daemon of this state directory. Raises NeedsOperator when another one runs."""
    lock = Lock(directory.lock("supervisor"))
    if not _acquired(lock, note=note):
        raise NeedsOperator(
            f"another cdcd runs on {directory.path} ({lock.holder() or 'pid unknown'})",
            code="already-running",
            cause="a state directory belongs to one daemon at a time",
            remedy="stop that one ('cdcd status' shows it), or give this one a state-dir and a name of its own",
        )
    return lock


def _acquired(lock: Lock, *, note: bool) -> bool:
    """Take the lock. Where the last daemon is gone, a command has it, or one who stands by looks: not for long."""
    until = time.monotonic() + COMMAND_SECONDS
    while not lock.acquire(wait=False, note=note):
        holder = lock.holder()
        if holder is None or not holder.is_gone() or time.monotonic() > until:
            return False
        time.sleep(_RETRY_SECONDS)
    return True


def refuse_if_running(directory: StateDirectory) -> None:
    """Raise NeedsOperator when a daemon runs on this directory; write nothing when there is none yet."""
    path = directory.lock("supervisor")
    try:
        used_before = path.exists()
    except OSError as error:
        raise _unusable(path, error) from error
    if used_before:
        lock_for_supervisor(directory, note=False).release()


def _unusable(path: Path, error: OSError) -> NeedsOperator:
    return NeedsOperator(
        f"{path} cannot be made or opened",
        code="state-dir",
        cause=str(error.strerror),
        remedy="run as the daemon's account, have it own the directory, or change daemon.state-dir",
    )

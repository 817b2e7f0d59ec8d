"""Where everything that survives a restart lies: one directory, one file name per thing."""

from __future__ import annotations

import fcntl
import os
from io import TextIOWrapper
from pathlib import Path

import msgspec

from cdcd.errors import NeedsOperator


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

    def deliver(self, system: str) -> Path:
        """What delivery to one system keeps: parked records."""
        return self.path / f"deliver-{system}.db"

    def lock(self, name: str) -> Path:
        """The lock of one process of the daemon."""
        return self.path / "locks" / f"{name}.lock"

    def prepare(self) -> None:
        """Make the directory, closed to other users. Raises NeedsOperator when that is not allowed."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path / "locks").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unusable(self.path, error) from error


class Lock:
    """An exclusive lock on a file, held until the process ends or `release`. The kernel frees it however we die."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIOWrapper | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock and write our pid into the file; False when another process has it and `wait` is off."""
        try:
            file = self.path.open("a+")
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file
        return True

    def holder(self) -> str:
        """The pid that the holder wrote, for messages."""
        try:
            return self.path.read_text().strip() or "unknown"
        except OSError:
            return "unknown"

    def release(self) -> None:
        """Let go. Safe to repeat."""
        if self._file is not None:
            self._file.close()
            self._file = None


def lock_for_supervisor(directory: StateDirectory) -> Lock:
    """Become the one daemon of this state directory. Raises NeedsOperator when another one runs."""
    lock = Lock(directory.lock("supervisor"))
    if not lock.acquire(wait=False):
        raise NeedsOperator(
            f"another cdcd runs on {directory.path} (pid {lock.holder()})",
            code="already-running",
            cause="a state directory belongs to one daemon at a time",
            remedy="stop that one ('cdcd status' shows it), or give this one a state-dir and a name of its own",
        )
    return lock


def refuse_if_running(directory: StateDirectory) -> None:
    """Raise NeedsOperator when a daemon runs on this directory; write nothing when there is none yet."""
    path = directory.lock("supervisor")
    try:
        used_before = path.exists()
    except OSError as error:
        raise _unusable(path, error) from error
    if used_before:
        lock_for_supervisor(directory).release()


def _unusable(path: Path, error: OSError) -> NeedsOperator:
    return NeedsOperator(
        f"{path} cannot be made or opened",
        code="state-dir",
        cause=str(error.strerror),
        remedy="run as the daemon's account, have it own the directory, or change daemon.state-dir",
    )

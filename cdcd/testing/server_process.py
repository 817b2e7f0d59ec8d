"""One database server process of our own, with a private directory: what `servers` shares between databases.

Linux only (it reads /proc). A server never runs as root: as root we drop to an unprivileged account. It leads its own
session, so that a Ctrl-C at the terminal reaches only us, and it ends with us, however we end (see `watchdog`).
"""

from __future__ import annotations

import atexit
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self, TypedDict

from cdcd.errors import NotReady
from cdcd.testing import watchdog

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 60.0
PORTS_TRIED_MAX = 5
_draw = random.SystemRandom()
"""Whoever seeds `random`, as property tests do, would draw the same ports in every session."""
SOCKET_PARENT_LENGTH_MAX = 60
"""A Unix socket's path holds 107 bytes (unix(7)); the directories above it must leave room."""


class _Watch:
    """Our end of the pipe to this process's watchdog, which starts with the first server."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def tell(self, directory: Path, pid: int) -> None:
        """Let the watchdog clean up `directory` and the server `pid` in it: 0 no server, -1 nothing there any more."""
        if self._owner != os.getpid():
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"directory": str(directory), "pid": pid}) + "\n")
        self._process.stdin.flush()

    def close_in_child(self) -> None:
        """Drop a forked child's copy of the pipe, or the watchdog would wait for the child too."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def end(self) -> None:
        """Let the watchdog finish, at the end of the process that started it."""
        if self._process is not None and self._owner == os.getpid():
            self._process.communicate()
            self._owner = 0

    def _start(self) -> None:
        script = watchdog.__file__
        command = [sys.executable, "-I", "-S", script]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd="/", start_new_session=True
        )
        self._owner = os.getpid()
        atexit.register(self.end)


_watch = _Watch()
os.register_at_fork(after_in_child=_watch.close_in_child)
_disposable: dict[Path, int] = {}
"""Private directories, and the process that made each: a forked child must not remove them."""


def unprivileged(names: Sequence[str]) -> pwd.struct_passwd:
    """Our own account, or when that is root the first existing one of `names`."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    for name in names:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NotReady(
        "a test server cannot be started as root",
        cause=f"none of the accounts {', '.join(names)} exists to run it",
        remedy=f"create one (useradd --system {names[0]}), or run as another user than root",
        code="server-account",
    )


def reachable(path: Path, account: pwd.struct_passwd) -> bool:
    """Whether `account` may enter `path`, if it is a directory, and every directory above it."""
    if account.pw_uid == os.geteuid():
        return os.access(path, os.X_OK)
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def private_directory(name: str, account: pwd.struct_passwd) -> Path:
    """Make a directory for `account` alone, removed when this process ends.

    It lies under TMPDIR, or under /tmp when TMPDIR is closed to the account or too long for a Unix socket.
    """
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 (mkdtemp is private)
        if parent.is_dir() and reachable(parent, account) and len(str(parent)) <= SOCKET_PARENT_LENGTH_MAX:
            directory = Path(tempfile.mkdtemp(prefix=f"cdcd-{name}-", dir=parent))
            _watch.tell(directory, 0)
            _disposable[directory] = os.getpid()
            os.chown(directory, account.pw_uid, account.pw_gid)
            return directory
    raise NotReady(
        f"no temporary directory that account {account.pw_name} can enter",
        remedy="set TMPDIR to a directory with a short path that all users may enter",
        code="server-directory",
    )


def remove_directory(directory: Path) -> None:
    """Remove a directory made by `private_directory`."""
    if _disposable.pop(directory, None) == os.getpid():
        shutil.rmtree(directory, ignore_errors=True)
        _watch.tell(directory, -1)


def run_as(account: pwd.struct_passwd, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a program to its end under `account`. Raises NotReady with its last lines when it fails."""
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd="/", env=environment, **_credentials(account)
    )
    if result.returncode != 0:
        raise NotReady(
            f"{Path(command[0]).name} failed with status {result.returncode}",
            cause=_last_lines(result.stdout + result.stderr),
            remedy="mend what it says, or name other server programs",
            code="server-start",
        )


class _Credentials(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _credentials(account: pwd.struct_passwd) -> _Credentials:
    if account.pw_uid == os.geteuid():
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _last_lines(text: str, count: int = 8) -> str:
    return " | ".join(text.strip().splitlines()[-count:])


def free_port() -> int:
    """A loopback port that nobody listens on, below the range from which clients get theirs (so it stays free)."""
    for _ in range(100):
        port = _draw.randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise NotReady("no free port between 15000 and 32000 on 127.0.0.1", code="server-port")


class ServerProcess(ABC):
    """A private server. A context manager: entering starts it, leaving kills it and removes its directory.

    `directory` and `port` stay the same over `stop`, `kill` and `start`, and so does the data.
    """

    name: ClassVar[str]
    accounts: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[int]
    environment: ClassVar[Mapping[str, str]] = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    def __init__(self) -> None:
        self.account = unprivileged(self.accounts)
        self.directory = private_directory(self.name, self.account)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._initialised = False
        atexit.register(self.dispose)

    @abstractmethod
    def _initialise(self) -> None:
        """Fill `directory` with an empty database cluster."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The server's command line; it names `directory`."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the running server accepts connections."""

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None, f"{self.name} server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the main process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written to its log."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server and return when it accepts connections; the first time makes the database cluster."""
        if self.running:
            return
        if self._initialised:
            self._launch()
            return
        self._initialise()
        self._initialised = True
        for tries_left in reversed(range(PORTS_TRIED_MAX)):
            try:
                self._launch()
            except NotReady:
                if not tries_left or "already in use" not in self.log:
                    raise
                self.port = free_port()  # somebody else was faster: nobody has been told the port yet
                (self.directory / "server.log").unlink()
            else:
                return

    def _launch(self) -> None:
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self.environment,
                start_new_session=True,
                **_credentials(self.account),
            )
        _watch.tell(self.directory, self.pid)
        self._await_ready()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._is_ready():
            if not self.running or time.monotonic() > deadline:
                cause = _last_lines(self.log)
                self.kill()
                raise NotReady(f"the {self.name} server did not start", cause=cause, code="server-start")
            time.sleep(0.005)

    def stop(self) -> None:
        """Shut the server down in its orderly way: clients are disconnected, everything is written."""
        if not self.running:
            return
        self.resume()
        watchdog.send([self.pid], self.stop_signal)
        try:
            self._reap(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            cause = _last_lines(self.log)
            self.kill()
            raise NotReady(f"the {self.name} server did not stop", cause=cause, code="server-stop") from error

    def kill(self) -> None:
        """SIGKILL all its processes, as a power cut would: nothing is written any more."""
        if self._process is not None and self._process.returncode is None:
            watchdog.kill_tree(self.pid)
            self._reap(None)

    def restart(self) -> None:
        """`stop`, then `start` with the same data and port."""
        self.stop()
        self.start()

    def suspend(self) -> None:
        """SIGSTOP all its processes, and wait until they have stopped: connections stay, nothing answers."""
        watchdog.suspend([self.pid])  # first, so that it starts nothing new while we look
        watchdog.suspend(watchdog.descendants(self.pid))

    def resume(self) -> None:
        """SIGCONT all its processes."""
        watchdog.send([*watchdog.descendants(self.pid), self.pid], signal.SIGCONT)

    def dispose(self) -> None:
        """Kill the server and remove its directory. A forked child's copy does nothing."""
        if _disposable.get(self.directory) == os.getpid():
            self.kill()
            remove_directory(self.directory)
            atexit.unregister(self.dispose)

    def _reap(self, timeout_seconds: float | None) -> None:
        assert self._process is not None
        self._process.wait(timeout_seconds)
        self._process = None
        _watch.tell(self.directory, 0)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.dispose()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.dispose()

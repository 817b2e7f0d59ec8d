"""The control socket: one request and one answer per line, as JSON, over a Unix socket that only our account can open.

A request is {"command": "pause", "arguments": {"system": "shop"}}; the answer {"ok": true, "result": …} or
{"ok": false, "error": {"code": …, "what": …, "cause": …, "remedy": …, "exit_code": …}}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from cdcd.errors import CdcdError, Unavailable

LINE_BYTES_MAX: Final = 65536
ANSWER_SECONDS: Final = 60.0


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command to the running daemon."""

    command: str
    arguments: dict[str, Any] = {}


class Failure(msgspec.Struct, frozen=True):
    """An error as it crosses the socket."""

    code: str
    what: str
    cause: str = ""
    remedy: str = ""
    exit_code: int = 1


class Answer(msgspec.Struct, frozen=True):
    """`result` when `ok`, else `error`."""

    ok: bool
    result: Any = None
    error: Failure | None = None


Ready: TypeAlias = Callable[[], "Answer | None"]
"""An answer that is not known yet: called again after every event until it is."""


def failure(error: CdcdError) -> Answer:
    """The answer that carries an error."""
    return Answer(ok=False, error=Failure(error.code, error.what, error.cause, error.remedy, error.exit_code))


class RemoteError(CdcdError):
    """An error that the daemon answered with; it carries the daemon's exit code."""

    def __init__(self, failed: Failure) -> None:
        super().__init__(failed.what, cause=failed.cause, remedy=failed.remedy, code=failed.code)
        self.exit_code = failed.exit_code  # type: ignore[misc]  # the class has a default, this one its own


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for a socket's path that fits into the 107 bytes of sun_path (unix(7)), however deep it lies."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class Connection:
    """One client of the server: what it has sent so far, and what it still waits for."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._received = b""
        self._pending: Ready | None = None

    def fileno(self) -> int:
        """Readable when the client has sent something, or is gone."""
        return self._channel.fileno()

    def read(self, handle: Callable[[Request], Answer | Ready]) -> bool:
        """Take what has arrived and answer it; return whether the client is still there."""
        try:
            received = self._channel.recv(LINE_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self._received += received
        if not received or len(self._received) > LINE_BYTES_MAX:
            return False
        return self._answer_lines(handle)

    def settle(self, handle: Callable[[Request], Answer | Ready]) -> bool:
        """Send the answer the client waits for, if it is known by now; return whether the client is still there."""
        if self._pending is None:
            return True
        try:
            answer = self._pending()
        except CdcdError as error:
            answer = failure(error)
        if answer is None:
            return True
        self._pending = None
        return self._send(answer) and self._answer_lines(handle)

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for an answer that is not known yet."""
        return self._pending is not None

    def _answer_lines(self, handle: Callable[[Request], Answer | Ready]) -> bool:
        while b"\n" in self._received and self._pending is None:
            line, _, self._received = self._received.partition(b"\n")
            answer = _answer(line, handle)
            if not isinstance(answer, Answer):
                self._pending = answer
            elif not self._send(answer):
                return False
        return True

    def _send(self, answer: Answer) -> bool:
        try:
            self._channel.sendall(msgspec.json.encode(answer) + b"\n")
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def _answer(line: bytes, handle: Callable[[Request], Answer | Ready]) -> Answer | Ready:
    try:
        request = msgspec.json.decode(line, type=Request)
    except msgspec.MsgspecError as error:
        return failure(CdcdError("the request is not understood", code="control-request", cause=str(error)))
    try:
        return handle(request)
    except CdcdError as error:
        return failure(error)


class Server:
    """The daemon's side, driven by the supervisor's loop: nothing here blocks for longer than a slow client's answer."""

    def __init__(self, path: Path) -> None:
        """Listen at `path`; whoever calls holds the state directory's lock, so an old socket there is nobody's."""
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            with _short(path) as name:
                self._socket.bind(name)
        finally:
            os.umask(mask)
        self._socket.listen(16)
        self._socket.setblocking(False)
        self._connections: dict[int, Connection] = {}

    def filenos(self) -> list[int]:
        """Readable when `serve` has something to do."""
        return [self._socket.fileno(), *self._connections]

    @property
    def is_waited_for(self) -> bool:
        """Whether a client waits for an answer that is not known yet: then `serve` is to be called often."""
        return any(connection.is_waiting for connection in self._connections.values())

    def serve(self, ready: set[int], handle: Callable[[Request], Answer | Ready]) -> None:
        """Accept, read and answer."""
        if self._socket.fileno() in ready:
            self._accept()
        for fd, connection in list(self._connections.items()):
            alive = connection.read(handle) if fd in ready else True
            if not (alive and connection.settle(handle)):
                self._connections.pop(fd).close()

    def _accept(self) -> None:
        try:
            channel, _ = self._socket.accept()
        except OSError:
            return  # the client gave up in between
        channel.settimeout(1)
        self._connections[channel.fileno()] = Connection(channel)

    def close(self) -> None:
        """Hang up and remove the socket."""
        for connection in self._connections.values():
            connection.close()
        self._socket.close()
        self._path.unlink(missing_ok=True)


def ask(
    path: Path, command: str, arguments: dict[str, Any] | None = None, *, answer_seconds: float = ANSWER_SECONDS
) -> Any:
    """Send one command to the daemon and return its result, which may take `answer_seconds`.

    Raises Unavailable (code "not-running") when no daemon listens, and the daemon's own error when it refuses.
    """
    try:
        with _short(path) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(answer_seconds)
            channel.connect(name)
            channel.sendall(msgspec.json.encode(Request(command, arguments or {})) + b"\n")
            line = channel.makefile("rb").readline()
    except PermissionError as error:
        raise CdcdError(
            f"{path} may not be opened",
            code="control-denied",
            cause="it belongs to the daemon's account",
            remedy="run this as that account (or root): sudo -u cdcd cdcd …",
        ) from error
    except TimeoutError as error:
        raise CdcdError(
            "the daemon did not answer",
            code="control-timeout",
            cause=f"nothing came within {answer_seconds:.0f} s",
            remedy="look at its log; 'cdcd status' tells more",
        ) from error
    except OSError as error:
        raise Unavailable(
            "the daemon is not running",
            code="not-running",
            cause=f"nothing listens at {path}",
            remedy="start it: systemctl start cdcd (or 'cdcd run')",
        ) from error
    return _result(line)


def _result(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        raise CdcdError("the daemon hung up before it answered", code="control-timeout", remedy="look at its log")
    answer = msgspec.json.decode(line, type=Answer)
    if answer.error is not None:
        raise RemoteError(answer.error)
    return answer.result

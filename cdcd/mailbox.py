"""Questions from other threads to the supervisor's one thread, which owns the files and all state."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final, Generic, TypeVar

from cdcd.errors import Unavailable
from cdcd.wake import Bell

ANSWER_SECONDS: Final = 5.0
T = TypeVar("T")


class Mailbox(Generic[T]):
    """Gets the value of `make` from the thread that calls `answer`."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._bell = Bell.create()
        self._waiting: deque[Future[T]] = deque()
        self._lock = threading.Lock()
        self._is_closed = False

    def fileno(self) -> int:
        """Readable when somebody waits."""
        return self._bell.fd

    def ask(self, timeout_seconds: float = ANSWER_SECONDS) -> T:
        """Wait for the value; from any other thread. Raises Unavailable when the supervisor does not answer, or any more."""
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                raise _stopped()
            self._waiting.append(future)
        self._bell.ring()
        try:
            return future.result(timeout_seconds)
        except FutureTimeout as error:
            raise Unavailable(
                "the supervisor does not answer",
                code="supervisor-silent",
                cause=f"nothing came in {timeout_seconds:.0f} s",
            ) from error

    def answer(self) -> None:
        """Answer all who wait."""
        self._bell.silence()
        while self._waiting:
            self._waiting.popleft().set_result(self._make())

    def close(self) -> None:
        """Nobody is answered any more: who waits, or asks later, is told so at once."""
        with self._lock:
            self._is_closed = True
        while self._waiting:
            self._waiting.popleft().set_exception(_stopped())


def _stopped() -> Unavailable:
    return Unavailable("the daemon has stopped", code="supervisor-stopped", remedy="systemctl start cdcd")

"""A control socket with canned answers, which remembers what it was asked."""

import threading
from collections.abc import Callable
from typing import Any

from cdcd.control import Answer, Request, Server, failure
from cdcd.errors import CdcdError
from cdcd.state_directory import StateDirectory
from cdcd.wake import Bell, wait


class AnsweringDesk:
    """Answers commands with what `answers` says, or with the error it holds, until `close`."""

    def __init__(
        self, directory: StateDirectory, answers: dict[str, Callable[[dict[str, Any]], Any] | CdcdError]
    ) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._server = Server(directory.control_socket)
        self._end = Bell.create()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        ready: set[int] = set()
        while self._end.fd not in ready:
            self._server.serve(ready, self._answer)
            ready = wait([self._end.fd, *self._server.filenos()], 60)

    def _answer(self, request: Request) -> Answer:
        self.asked.append((request.command, dict(request.arguments)))
        found = self.answers[request.command]
        return failure(found) if isinstance(found, CdcdError) else Answer(ok=True, result=found(request.arguments))

    @property
    def done(self) -> list[tuple[str, dict[str, Any]]]:
        """What it was asked to do, not only to plan."""
        return [(command, given) for command, given in self.asked if given.get("dry_run") is not True]

    def close(self) -> None:
        self._end.ring()
        self._thread.join()
        self._server.close()
        self._end.close()

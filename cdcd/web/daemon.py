"""What the status page knows of the daemon that it belongs to."""

from __future__ import annotations

import threading
from collections import Counter as Numbers
from collections.abc import Callable

import msgspec

from cdcd.blueprint import Blueprint
from cdcd.report import Counter
from cdcd.state_directory import StateDirectory
from cdcd.status import DaemonStatus
from cdcd.web.samples import History


class Tally:
    """How often people have acted on the page, by verb and result, since the daemon started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: Numbers[tuple[str, str]] = Numbers()

    def count(self, verb: str, result: str) -> None:
        """Once more."""
        with self._lock:
            self._numbers[verb, result] += 1

    def counters(self) -> tuple[Counter, ...]:
        """As metrics want them."""
        with self._lock:
            return tuple(Counter("page_actions", labels, number) for labels, number in self._numbers.items())


class Daemon(msgspec.Struct, frozen=True):
    """Asked from the page's threads. `status` may raise CdcdError; the others know without asking the supervisor."""

    directory: StateDirectory
    status: Callable[[], DaemonStatus]
    history: Callable[[], History]
    blueprint: Callable[[], Blueprint]
    acted: Tally = msgspec.field(default_factory=Tally)

    def counted_status(self) -> DaemonStatus:
        """With what only the page counts. Raises CdcdError."""
        status = self.status()
        return msgspec.structs.replace(status, counters=(*status.counters, *self.acted.counters()))

"""The running line, as a comparison waits for it: by the daemon's control socket and the files of the state directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from cdcd import control
from cdcd.status import DaemonStatus
from cdcd.verifying.comparing import NotComparable
from cdcd.verifying.reference import Reference, Settled

BARRIER_SECONDS: Final = 300.0
"""A line that is further behind is not compared: it would tell nothing."""
STUCK_SECONDS: Final = 20.0
"""A target that takes nothing for so long is away."""
_ASK_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.1


class RunningLine:
    """See `comparing.Line`. `look` is called while it waits, and may raise to end that."""

    def __init__(
        self,
        reference: Reference,
        socket: Path,
        system: str,
        *,
        is_source: bool,
        is_target: bool,
        look: Callable[[], None],
    ) -> None:
        self._reference = reference
        self._socket = socket
        self._system = system
        self._is_source = is_source
        self._is_target = is_target
        self._look = look

    def settle(self) -> Settled:
        """See `comparing.Line`. Raises NotComparable where the system's log is not read, Unavailable when the daemon is gone."""
        if self._is_source:
            self._pass_barrier()
        resolved = self._reference.resolved()
        if not self._is_target or self._has_arrived(resolved.unit):
            return resolved
        return Settled(resolved.position, self._reference.applied(self._system), is_all=False)

    def _pass_barrier(self) -> None:
        until = time.monotonic() + BARRIER_SECONDS
        missing = ""
        while time.monotonic() < until:
            self._look()
            arguments = {"system": self._system, "timeout_seconds": _ASK_SECONDS, "resolved_only": True}
            outcome = control.ask(self._socket, "wait", arguments)
            if outcome["passed"]:
                return
            missing = "; ".join(f"{one['system']}: {one['what']}" for one in outcome["missing"])
            if self._is_stopped():
                raise NotComparable(f"the log of {self._system} is not read any more: {missing}")
        raise NotComparable(f"what is read from {self._system} is too far behind: {missing}")

    def _is_stopped(self) -> bool:
        """Whether the log is not read before a person has done something."""
        status = msgspec.convert(control.ask(self._socket, "status"), DaemonStatus)
        capture = status.systems[self._system].capture
        return capture is not None and capture.worker.state == "stopped"

    def _has_arrived(self, unit: int) -> bool:
        """Wait for it; not where delivery is paused, or the system takes nothing."""
        applied, moved_at = -1, time.monotonic()
        while self._reference.lacks(self._system, unit):
            self._look()
            now, come_to = time.monotonic(), self._reference.applied(self._system)
            if come_to != applied:
                applied, moved_at = come_to, now
            if self._reference.is_paused(self._system) or now - moved_at > STUCK_SECONDS:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

"""The daemon's own account of itself, for the screen and for knowing when it is quiet.

The one place that knows the shape of `cdcd status --json` (cdcd.status.DaemonStatus). It asks the daemon's control
socket, as that command does. The verdict uses none of it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd import control
from cdcd.errors import CdcdError

SOCKET_NAME: Final = "control.sock"
Counts = Counter[tuple[str, ...]]


class SystemView(msgspec.Struct, frozen=True):
    """One system: what is read from it, what is written to it, and how far behind that is."""

    name: str
    adapter: str
    capture_state: str
    deliver_state: str
    position: str
    capture_lag_bytes: int
    lag_seconds: float
    waiting_writes: int
    parked: int
    read: int = 0
    written: int = 0
    reverts: int = 0
    error: str = ""


class DaemonView(msgspec.Struct, frozen=True):
    """The daemon at one moment. `copied`: the opening state has been read and settled. `moved` grows with everything done."""

    systems: tuple[SystemView, ...]
    journal_seq: int
    unresolved: int
    conflicts: int
    copied: bool
    copied_rows: int
    moved: tuple[int, ...]

    @property
    def quiet(self) -> bool:
        """Nothing is waiting anywhere, as far as the daemon knows."""
        return (
            self.copied
            and self.unresolved == 0
            and all(
                system.capture_state == system.deliver_state == "running"
                and not (system.capture_lag_bytes or system.waiting_writes or system.parked)
                and system.lag_seconds == 0
                for system in self.systems
            )
        )


class StatusFeed:
    """Asks the daemon; keeps counting when the daemon was killed and its counters start at zero again."""

    def __init__(self, state_dir: Path) -> None:
        self._socket = state_dir / SOCKET_NAME
        self._started_at_us = 0
        self._before: Counts = Counter()
        self._present: Counts = Counter()

    def ask(self) -> DaemonView | None:
        """The present state, None while the daemon does not answer."""
        try:
            answer = control.ask(self._socket, "status")
        except CdcdError:
            return None
        return view(answer, self._totals(answer))

    def _totals(self, answer: dict[str, Any]) -> Counts:
        if answer["started_at_us"] != self._started_at_us:
            self._before += self._present
            self._started_at_us = answer["started_at_us"]
        self._present = Counter({(c["name"], *c["labels"]): c["value"] for c in answer["counters"]})
        return self._before + self._present


def view(answer: dict[str, Any], counts: Counts) -> DaemonView:
    """The daemon's answer in the demo's words."""
    copies = [c for s in answer["systems"].values() if s["capture"] for c in s["capture"]["copies"]]
    phases = answer["resolve"]["phases"].values()
    systems = tuple(_system(name, system, counts) for name, system in answer["systems"].items())
    return DaemonView(
        systems=systems,
        journal_seq=answer["journal"]["last_seq"],
        unresolved=answer["resolve"]["lag_events"],
        conflicts=answer["resolve"]["conflicts"],
        copied=bool(copies) and all(c["done"] for c in copies) and all(phase == "live" for phase in phases),
        copied_rows=sum(c["rows"] for c in copies),
        moved=(
            answer["journal"]["last_seq"],
            answer["resolve"]["seq"],
            *_units(answer),
            sum(c["rows"] for c in copies),
        ),
    )


def _units(answer: dict[str, Any]) -> list[int]:
    return [system["deliver"]["applied_unit"] for system in answer["systems"].values() if system["deliver"]]


def _system(name: str, system: dict[str, Any], counts: Counts) -> SystemView:
    capture, deliver = system["capture"], system["deliver"]
    notes = [
        part["worker"]["error"]["what"]
        for part in (capture, deliver)
        if part["worker"]["error"] and part["worker"]["state"] != "running"
    ]
    return SystemView(
        name=name,
        adapter=system["adapter"],
        capture_state=capture["worker"]["state"],
        deliver_state=deliver["worker"]["state"],
        position=capture["position"],
        capture_lag_bytes=capture["lag_bytes"],
        lag_seconds=max(capture["lag_seconds"], deliver["lag_seconds"]),
        waiting_writes=deliver["lag_events"],
        parked=deliver["parked"],
        read=_sum(counts, "captured_changes", name) + _sum(counts, "copied_rows", name),
        written=_sum(counts, "delivered_writes", name),
        reverts=sum(n for key, n in counts.items() if key[:2] == ("resolved_changes", name) and key[-1] == "revert"),
        error="; ".join(notes),
    )


def _sum(counts: Counts, name: str, system: str) -> int:
    return sum(value for key, value in counts.items() if key[:2] == (name, system))

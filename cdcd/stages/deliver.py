"""deliver to one target, as a worker drives it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cdcd import pause_switches, plugins
from cdcd.blueprint import Blueprint
from cdcd.journal import Journal
from cdcd.outbox import AppliedMark
from cdcd.parked import ParkedRecords
from cdcd.report import Counter, DeliverFigures, WorkerState
from cdcd.stages.stage import added, identity, no_pulse
from cdcd.state import State
from cdcd.state_directory import StateDirectory

if TYPE_CHECKING:
    from cdcd.adapter import Target
    from cdcd.deliver import Deliverer

WAIT_SECONDS: Final = 10.0
_DELIVER_COUNTERS: Final = {
    "transactions": "applied_transactions",
    "parked": "parked_records",
    "waiting": "waiting_changes",
    "retries": "parked_retries",
}


class DeliverStage:
    """deliver to one target; while it is paused, not even connected to it."""

    def __init__(self, system: str, blueprint: Blueprint, directory: StateDirectory) -> None:
        self.pulse = no_pulse
        self._system = system
        self._blueprint = blueprint
        self._plan = blueprint.plan()
        self._journal = Journal(directory.journal)
        self._state = State(directory.state)
        self._parked = ParkedRecords(directory.deliver(system))
        self._applied = AppliedMark(directory.path, system)
        self._identity = identity(system, blueprint, directory)
        self._target: Target | None = None
        self._deliverer: Deliverer | None = None
        self._retry_at = float("-inf")
        self._unit = self._applied.read()
        self._handled = 0
        self._totals: dict[tuple[str, ...], int] = {}
        self._retries = 0

    def open(self) -> WorkerState:
        """Take over as the target's one writer, unless delivery is paused."""
        from cdcd.deliver import Deliverer  # noqa: PLC0415

        if pause_switches.of_system(self._system) in self._journal.controls():
            return "paused"
        system = self._blueprint.systems[self._system]
        adapter = plugins.load(system.reference, extra=system.adapter)
        options = plugins.options(self._blueprint.config, self._blueprint.file, self._system, adapter)
        self._target = adapter.open_target(self._identity, options)
        deliverer = Deliverer(
            self._system,
            self._plan,
            self._target,
            self._state,
            self._journal,
            self._parked,
            self._applied,
            self.pulse,
        )
        deliverer.start()
        self._deliverer = deliverer
        return "running"

    def step(self) -> bool:
        """One target transaction."""
        return self._deliverer.step() if self._deliverer is not None else False

    def news(self) -> list[str]:
        """resolve's, when parked records are to be told anew; what we wrote comes back through the log by itself."""
        before, self._retries = self._retries, self._counts().get(("retries",), 0)
        return ["resolve"] if self._retries > before else []

    def tick(self) -> WorkerState:
        """Try parked records whose time has come."""
        if self._deliverer is None:
            return "paused"
        if time.monotonic() >= self._retry_at:
            self._deliverer.retry_due()
            due_seconds = self._deliverer.due_in_seconds()
            self._retry_at = time.monotonic() + (WAIT_SECONDS if due_seconds is None else max(1.0, due_seconds))
        return "running"

    def woken(self) -> None:
        """The next step will see what is new."""

    def arrived(self) -> None:
        """There is nothing to arrive but the bell."""

    def filenos(self) -> list[int]:
        """Nothing but the bell."""
        return []

    def wait_seconds(self) -> float:
        """Until the next retry of what is parked."""
        return WAIT_SECONDS if self._deliverer is None else min(WAIT_SECONDS, self._retry_at - time.monotonic())

    def progress(self) -> int:
        """Units applied, rows taken in hand, and everything else counted."""
        if self._deliverer is not None:
            self._handled += self._deliverer.handled
            self._deliverer.handled = 0
        return self._applied_unit() + self._handled + sum(self._counts().values())

    def position(self) -> str:
        """The outbox unit applied."""
        return str(self._applied_unit())

    def _applied_unit(self) -> int:
        if self._deliverer is not None:
            self._unit = self._deliverer.applied_unit
        return self._unit

    def figures(self) -> DeliverFigures:
        """The unit applied and the records parked; the last known ones while not connected."""
        return DeliverFigures(self._applied_unit(), len(self._parked))

    def counters(self) -> list[Counter]:
        """Rows applied by operation, and what else happened."""
        return [
            Counter(_DELIVER_COUNTERS[what], (self._system,), value)
            if what in _DELIVER_COUNTERS
            else Counter("delivered_writes", (self._system, what), value)
            for (what,), value in self._counts().items()
        ]

    def _counts(self) -> dict[tuple[str, ...], int]:
        now = {} if self._deliverer is None else {(what,): value for what, value in self._deliverer.counts.items()}
        return added(self._totals, now)

    def close(self) -> None:
        """Disconnect; what was counted stays counted."""
        self.progress()
        self._totals = self._counts()
        if self._target is not None:
            self._target.close()
        self._deliverer = self._target = None

"""deliver to one target, as a worker drives it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cdcd import pause_switches, plugins
from cdcd.blueprint import Blueprint
from cdcd.costly_count import CostlyCount
from cdcd.durations import Durations
from cdcd.journal import Journal
from cdcd.outbox import AppliedMark
from cdcd.parking import wishes as parked_wishes
from cdcd.parking.parked import ParkedRecords
from cdcd.report import Counter, DeliverFigures, WorkerState, now_us
from cdcd.scheduling import rate_limit
from cdcd.scheduling.rate_limit import Budget
from cdcd.stages.stage import added, identity, no_pulse
from cdcd.state import State
from cdcd.state_directory import StateDirectory

if TYPE_CHECKING:
    from cdcd.adapter import Target
    from cdcd.deliver import Deliverer

WAIT_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 60.0
"""While anything is parked, so often it is looked whether the target's tables have changed."""
_WISHES_SECONDS: Final = 0.05
"""What operators want is looked for no more often: they ring the same bell as new units, of which there are hundreds a second."""
_CACHE_BYTES: Final = 2 * 2**20
"""The outbox is read in order: a page is hardly ever wanted twice."""
_DELIVER_COUNTERS: Final = {
    "transactions": "applied_transactions",
    "parked": "parked_records",
    "waiting": "waiting_changes",
    "retries": "parked_retries",
    "put_aside": "put_aside_records",
}


class DeliverStage:
    """deliver to one target; while it is paused, not even connected to it."""

    def __init__(self, system: str, blueprint: Blueprint, directory: StateDirectory) -> None:
        self.pulse = no_pulse
        self._system = system
        self._blueprint = blueprint
        self._plan = blueprint.plan()
        self._journal = Journal(directory.journal)
        self._state = State(directory.state, cache_bytes=_CACHE_BYTES)
        self._parked = ParkedRecords(directory.deliver(system))
        self._applied = AppliedMark(directory.path, system)
        self._identity = identity(system, blueprint, directory)
        self._target: Target | None = None
        self._deliverer: Deliverer | None = None
        self._retry_at = self._look_at = self._tell_at = float("-inf")
        self._unit = self._applied.read()
        self._handled = 0
        self._totals: dict[tuple[str, ...], int] = {}
        self._row_totals: dict[tuple[str, ...], int] = {}
        self._transactions = Durations()
        self._names = self._plan.told_of(system)
        self._parked_counts = CostlyCount(self._count_parked)
        self._asked = 0
        self._is_rung = False
        """Whether operators may want something that was not looked for."""
        self._wishes_at = float("-inf")
        limit = rate_limit.of_system(blueprint.config.systems[system])
        self._budget = None if limit is None else Budget(limit, time.monotonic())
        self._limited_until_us = 0
        self._linger_seconds = 0.0

    def open(self) -> WorkerState:
        """Take over as the target's one writer, unless delivery is paused."""
        from cdcd.deliver import Deliverer  # noqa: PLC0415

        self._carry_out_wishes()  # whoever discards what is parked need not wait for the target
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
            self._transactions,
        )
        deliverer.start()
        self._deliverer = deliverer
        self._retry_at = float("-inf")
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._tell_at = time.monotonic() + WAIT_SECONDS
        return "running"

    def step(self) -> bool:
        """One target transaction, if the rate limit allows any now, and it is not better to wait for more to take along.

        Who adds units rings our bell afterwards.
        """
        if self._deliverer is None or self._is_limited():
            return False
        self._linger_seconds = self._deliverer.linger_seconds()
        if self._linger_seconds:
            return False
        before = self._rows_handled()
        try:
            return self._deliverer.step() and self._deliverer.may_have_more
        finally:
            self._spend(before)

    def _is_limited(self) -> bool:
        """Whether the rate limit has us wait; else the next step is told how much it may take."""
        if self._budget is None:
            return False
        rows_max = self._budget.available(time.monotonic())
        if self._deliverer is not None:
            self._deliverer.rows_max = rows_max
        if rows_max == 0:
            self._limited_until_us = now_us() + int(self._budget.wait_seconds() * 1e6)
        return rows_max == 0

    def _rows_handled(self) -> int:
        return self._handled + (self._deliverer.handled if self._deliverer is not None else 0)

    def _spend(self, handled_before: int) -> None:
        if self._budget is not None:
            self._budget.spend(self._rows_handled() - handled_before)

    def news(self) -> list[str]:
        """resolve's, when records are to be told anew, or are owed; what we wrote comes back through the log by itself."""
        before, self._asked = self._asked, self._asked_of_resolve()
        return ["resolve"] if self._asked > before else []

    def _asked_of_resolve(self) -> int:
        before = self._totals.get(("retries",), 0) + self._totals.get(("put_aside",), 0)
        if self._deliverer is None:
            return before
        counts = self._deliverer.counts
        return before + counts["retries"] + counts["put_aside"]

    def tick(self) -> WorkerState:
        """Do what operators want with parked records; try those whose time has come."""
        self._look_for_wishes()
        if time.monotonic() >= self._retry_at:
            self._carry_out_wishes()
        if self._deliverer is None:
            self._retry_at = time.monotonic() + WAIT_SECONDS
            return "paused"
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + WAIT_SECONDS
            self._deliverer.tell_progress()
        if time.monotonic() >= self._look_at and len(self._parked):
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._deliverer.look_at_tables()
            self._retry_at = float("-inf")
        if time.monotonic() >= self._retry_at and not self._is_limited():
            before = self._rows_handled()
            self._deliverer.retry_due()
            self._spend(before)
            due_seconds = self._deliverer.due_in_seconds()
            self._retry_at = time.monotonic() + (WAIT_SECONDS if due_seconds is None else max(1.0, due_seconds))
        return "running"

    def _carry_out_wishes(self) -> None:
        if parked_wishes.carry_out(self._parked, self._applied_unit()):
            self._retry_at = float("-inf")

    def woken(self) -> None:
        """The next step will see what is new. Somebody may have paused an entity, or want something with parked records."""
        self._is_rung = True
        self._look_for_wishes()

    def _look_for_wishes(self) -> None:
        if not self._is_rung or time.monotonic() < self._wishes_at:
            return
        self._is_rung = False
        self._wishes_at = time.monotonic() + _WISHES_SECONDS
        self._carry_out_wishes()
        if self._deliverer is not None and self._deliverer.look_at_switches():
            self._retry_at = float("-inf")

    def arrived(self) -> None:
        """There is nothing to arrive but the bell."""

    def filenos(self) -> list[int]:
        """Nothing but the bell."""
        return []

    def wait_seconds(self) -> float:
        """Until something is due: see `_due_in_seconds`, and what operators may want."""
        seconds = self._due_in_seconds()
        return min(seconds, self._wishes_at - time.monotonic()) if self._is_rung else seconds

    def _due_in_seconds(self) -> float:
        """Until the next retry of what is parked, until the rate limit allows more, or until a batch has waited for more long enough."""
        if self._deliverer is None:
            return WAIT_SECONDS
        if self._asked_of_resolve() > self._asked:
            return 0.0
        if self._budget is not None and self._is_limited():
            return min(WAIT_SECONDS, self._budget.wait_seconds())
        if self._linger_seconds:
            return self._linger_seconds
        return min(WAIT_SECONDS, self._retry_at - time.monotonic())

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
        by_entity = self._parked_counts.value(len(self._parked)) if len(self._parked) else {}
        return DeliverFigures(self._applied_unit(), len(self._parked), self._limited_until_us, by_entity)

    def _count_parked(self) -> dict[str, int]:
        """By name; what the configuration has no more is left out. Several tables may be copied under one name."""
        found: dict[str, int] = {}
        for number, count in self._parked.counts().items():
            if number in self._names:
                name = self._names[number]
                found[name] = found.get(name, 0) + count
        return found

    def counters(self) -> list[Counter]:
        """Rows applied by entity and operation, how long transactions took, and what else happened."""
        rows = [Counter("delivered_writes", (self._system, *what), value) for what, value in self._rows().items()]
        others = self._counts().items()
        counted = [Counter(_DELIVER_COUNTERS[what], (self._system,), value) for (what,), value in others]
        return rows + counted + self._transactions.counters("apply_transactions", self._system)

    def _rows(self) -> dict[tuple[str, ...], int]:
        """Rows applied, by entity and operation."""
        now: dict[tuple[str, ...], int] = {}
        for (number, op), value in (self._deliverer.applied if self._deliverer is not None else {}).items():
            labels = self._names.get(number, ""), op
            now[labels] = now.get(labels, 0) + value
        return added(self._row_totals, now)

    def _counts(self) -> dict[tuple[str, ...], int]:
        """What else happened."""
        now = {} if self._deliverer is None else {(what,): value for what, value in self._deliverer.counts.items()}
        return added(self._totals, now)

    def close(self) -> None:
        """Disconnect; what was counted stays counted."""
        self.progress()
        self._totals, self._row_totals = self._counts(), self._rows()
        if self._target is not None:
            self._target.close()
        self._deliverer = self._target = None

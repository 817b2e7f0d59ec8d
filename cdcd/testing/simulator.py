"""The whole line in one process, one step at a time, in an order that a seed decides, with crashes where it says.

Every stage is its real step function over the memory adapter; only processes, clocks and waiting are missing. A crash
drops the stage that it hits, as a killed process would be; the next time its turn comes it starts from what is durable.
One seed gives one run, so a seed that failed once is a test for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, Final

from cdcd import pause_switches
from cdcd.adapter import Adapter, Identity
from cdcd.backfills import NewCopy
from cdcd.capture import Capture
from cdcd.config import Config
from cdcd.deliver import Deliverer
from cdcd.errors import Unavailable
from cdcd.journal import Command, Journal
from cdcd.outbox import AppliedMark
from cdcd.parking import parked
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.resolve.plan import Plan, Vocabulary, root_of
from cdcd.resolve.planning import build
from cdcd.resolve.resolver import Resolver
from cdcd.scheduling.owed import owing
from cdcd.sqlite_driver import sqlite
from cdcd.state import State
from cdcd.storage import Database
from cdcd.testing.faults import Crash
from cdcd.testing.printing import PrintingSource

QUIET_ROUNDS: Final = 3
ROUNDS_LIMIT: Final = 2_000
FEED_RECORDS: Final = 20
CORE_POINTS: Final = (
    "journal:before-commit",
    "journal:after-commit",
    "state:before-commit",
    "state:after-commit",
    "parked:before-commit",
    "parked:after-commit",
)
"""Points in the core at which a fault may happen, beside those of `cdcd.testing.faults`."""


class NotQuiet(AssertionError):
    """The line did not come to rest: something is written again and again."""


class Simulation:
    """One daemon over systems of the memory adapter. `adapters` gives each system's adapter and options."""

    def __init__(
        self,
        config: Config,
        adapters: dict[str, tuple[Adapter, Any]],
        directory: Path,
        random: Random,
        *,
        faults: Callable[[str], None] = lambda _point: None,
        capture: type[Capture] = Capture,
        resolver: type[Resolver] = Resolver,
        deliverer: type[Deliverer] = Deliverer,
    ) -> None:
        """`capture`, `resolver`, `deliverer` may be broken variants: that is how the simulator itself is tested."""
        self.config = config
        self.adapters = adapters
        self.directory = directory
        self.faults = faults
        self.crashes = 0
        self._random = random
        self._capture, self._resolver, self._deliverer = capture, resolver, deliverer
        self._stages: dict[str, Any] = {}
        self._built: tuple[Config, Vocabulary | None, Plan] | None = None
        self._names = ["resolve"]
        plan = build(config, self._table_name)
        self._names += [f"capture:{name}" for name in plan.systems if plan.is_source(name)]
        self._names += [f"deliver:{name}" for name in plan.systems if plan.is_target(name)]
        self._names += ["scheduler"]
        self._fed_seq = 0
        self._watched: State | None = None

    def _table_name(self, system: str, bare: str) -> str:
        return self.adapters[system][0].table_name(bare)

    # ---- steps -------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """One step of a stage that the seed picks; return whether it did anything."""
        return self._step(self._random.choice(self._names))

    def step_of(self, stage: str) -> bool:
        """One step of that stage ("resolve", "capture:SYSTEM", "deliver:SYSTEM"), if the configuration has it."""
        return stage in self._names and self._step(stage)

    def _step(self, name: str) -> bool:
        if name == "scheduler":
            return self._feed()
        try:
            if name not in self._stages:
                self._stages[name] = self._start(name)
                return True
            return self._work(name)
        except Crash:
            self.crashes += 1
            self._drop(name)
            return True
        except Unavailable:
            self._drop(name)
            return True

    def _work(self, name: str) -> bool:
        stage = self._stages[name]
        worked = bool(stage.step())
        if isinstance(stage, Deliverer):
            worked = stage.retry_due() or worked
        return worked

    def _feed(self) -> bool:
        """Have some of what is owed told, as the scheduler does: a schedule may allow it at any moment."""
        if self._watched is None:
            self._watched = State(self.directory / "state.db", durable=False)
        due = [one for one in owing(self._watched) if one.records and not (one.held or one.behind)]
        if not due or self._watched.position < self._fed_seq:
            return False
        one = self._random.choice(due)
        root, limit = root_of(one.entity), self._random.randint(1, FEED_RECORDS)
        journal = Journal(self.directory / "journal.db", durable=False)
        self._fed_seq = journal.command(Command("deliver", {"system": one.system, "entity": root, "limit": limit}))
        journal.close()
        return True

    def settle(self, rounds_max: int = ROUNDS_LIMIT) -> None:
        """Let every stage work until nothing moves any more. Raises NotQuiet when that does not happen."""
        quiet = 0
        for _ in range(rounds_max):
            moved = [self._step(name) for name in self._names]
            quiet = 0 if any(moved) else quiet + 1
            if quiet >= QUIET_ROUNDS:
                return
        raise NotQuiet(f"still moving after {rounds_max} rounds")

    def command(
        self,
        command: Command,
        tables: Sequence[tuple[str, str]] = (),
        controls: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:
        """Journal an operator's command, as the supervisor does."""
        journal = Journal(self.directory / "journal.db", durable=False)
        journal.command(command, [NewCopy(system, table) for system, table in tables], controls=controls)
        journal.close()
        self._ring_captures()

    def hold(self, entity: str, system: str, *, on: bool) -> None:
        """Hold an entity back from a system, or no more, as an operator does."""
        command = Command("hold", {"systems": [system], "entity": entity, "on": on})
        self.command(command, controls={pause_switches.of_entity(system, entity): "an operator" if on else None})
        deliverer = self._stages.get(f"deliver:{system}")
        if deliverer is not None:
            deliverer.look_at_switches()

    def _ring_captures(self) -> None:
        """Copies of tables may have been asked for."""
        for stage in self._stages.values():
            if isinstance(stage, Capture):
                stage.request_backfill()

    def reconfigure(self, config: Config) -> None:
        """Stop every stage; they start again with another configuration of the same systems."""
        self.close()
        self.config = config

    def entity_tables(self, entity: str) -> list[tuple[str, str]]:
        """The (system, table) pairs that a resync of an entity reads."""
        return build(self.config, self._table_name).entities_tables(entity)

    def parked(self) -> int:
        """How many records are parked now."""
        return sum(len(stage.parked) for stage in self._stages.values() if isinstance(stage, Deliverer))

    def parked_reasons(self) -> list[tuple[str, str]]:
        """The systems in which records are parked now, each with the reason."""
        found = [(name, stage) for name, stage in self._stages.items() if isinstance(stage, Deliverer)]
        return [(name.partition(":")[2], one.cause) for name, stage in found for one in stage.parked.oldest()]

    def parked_subjects(self, system: str) -> list[Subject]:
        """What is parked for a system, if its deliverer runs."""
        stage = self._stages.get(f"deliver:{system}")
        return [] if stage is None else [one.subject for one in stage.parked.oldest()]

    def retry_all(self) -> None:
        """What is parked is due now, as when an operator resumes a system."""
        for stage in self._stages.values():
            if isinstance(stage, Deliverer):
                with stage.parked.database.transaction() as connection:
                    connection.execute("UPDATE parked SET retry_at_us = 0")

    def plan(self) -> Plan:
        """The configuration as it is compiled now."""
        state = State(self.directory / "state.db", durable=False)
        plan = self._plan(state)
        state.close()
        return plan

    def close(self) -> None:
        """Stop every stage."""
        for name in list(self._stages):
            self._drop(name)
        if self._watched is not None:
            self._watched.close()
            self._watched = None

    # ---- starting and dropping ---------------------------------------------------------------------------

    def _start(self, name: str) -> Any:
        kind, _, system = name.partition(":")
        held: list[Any] = []
        try:
            stage = getattr(self, f"_start_{kind}")(system, held)
            stage.start()
        except BaseException:
            for thing in held:
                thing.close()
            raise
        stage.simulated_resources = held
        if isinstance(stage, Resolver) and stage.copies_asked_of:
            self._ring_captures()
        return stage

    def stop(self, stage: str) -> None:
        """Stop a stage; it begins anew at its next step."""
        self._drop(stage)

    def _drop(self, name: str) -> None:
        """Let go of files and connections without finishing anything: what a killed process leaves."""
        stage = self._stages.pop(name, None)
        for thing in getattr(stage, "simulated_resources", ()):
            thing.close()

    def _journal(self, held: list[Any]) -> Journal:
        journal = Journal(self.directory / "journal.db", durable=False)
        held.append(journal)
        self._arm(journal.database, "journal")
        return journal

    def _state(self, held: list[Any]) -> State:
        state = State(self.directory / "state.db", durable=False)
        held.append(state)
        self._arm(state.database, "state")
        return state

    def _plan(self, state: State) -> Plan:
        at = (self.config, state.vocabulary)
        if self._built is None or self._built[:2] != at:
            self._built = (*at, build(self.config, self._table_name, state.vocabulary))
        return self._built[2]

    def _identity(self, state: State, system: str) -> Identity:
        return Identity(self.config.daemon.name, system, state.lineage)

    def _start_capture(self, system: str, held: list[Any]) -> Capture:
        state = self._state(held)
        identity = self._identity(state, system)
        adapter, options = self.adapters[system]
        tables = [need for need in self._plan(state).tables(system) if need.captured]
        source = PrintingSource(adapter.open_source(identity, options, tables))
        held.append(source)
        return self._capture(identity, source, self._journal(held), [need.table for need in tables])

    def _start_resolve(self, _system: str, held: list[Any]) -> Resolver:
        state = self._state(held)
        plan = self._plan(state)
        marks = {system: self._mark(system, held) for system in plan.systems if plan.is_target(system)}
        return self._resolver(plan, self._journal(held), state, marks)

    def _start_deliver(self, system: str, held: list[Any]) -> Deliverer:
        state = self._state(held)
        adapter, options = self.adapters[system]
        target = adapter.open_target(self._identity(state, system), options)
        held.append(target)
        records = ParkedRecords(self.directory / f"deliver-{system}.db", durable=False)
        held.append(records)
        self._arm(records.database, "parked")
        plan = self._plan(state)
        return self._deliverer(system, plan, target, state, self._journal(held), records, self._mark(system, held))

    def _mark(self, system: str, held: list[Any]) -> AppliedMark:
        mark = AppliedMark(self.directory, system)
        held.append(mark)
        return mark

    def _arm(self, database: Database, point: str) -> None:
        """Have faults happen around the commits of a file."""
        commit = database.transaction

        @contextmanager
        def transaction() -> Iterator[sqlite.Connection]:
            with commit() as connection:
                yield connection
                self.faults(f"{point}:before-commit")
            self.faults(f"{point}:after-commit")

        database.transaction = transaction  # type: ignore[method-assign]


def impatient_retries() -> AbstractContextManager[None]:
    """Parked records are tried again at every step: the simulation has no clock to wait for."""
    return _retries(0.0)


def patient_retries() -> AbstractContextManager[None]:
    """Parked records that are tried again stay where they are: nothing moves any more that cannot be delivered."""
    return _retries(1e6)


@contextmanager
def _retries(seconds: float) -> Iterator[None]:
    first, last = parked.RETRY_FIRST_SECONDS, parked.RETRY_LAST_SECONDS
    parked.RETRY_FIRST_SECONDS = parked.RETRY_LAST_SECONDS = seconds  # type: ignore[misc]
    try:
        yield
    finally:
        parked.RETRY_FIRST_SECONDS, parked.RETRY_LAST_SECONDS = first, last  # type: ignore[misc]

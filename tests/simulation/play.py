"""Plays a schedule in a world: every step is named, so that any of them can be left out and the rest played again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

import msgspec

from applications import Application, Local, Numbers
from cdcd import capture
from cdcd.adapter import Identity, TableNeed
from cdcd.errors import Unavailable
from cdcd.journal import Command, Journal, Kind, decode_chunk_note
from cdcd.model import Event
from cdcd.resolve.keys import decode_key
from cdcd.testing.faults import POINTS, Crash
from cdcd.testing.simulator import NotQuiet, Simulation, impatient_retries, patient_retries
from cdcd_memory import MemoryAdapter, MemoryOptions, MemoryServer, MemorySource, Violation
from cdcd_memory.server import MemoryTransaction
from foreign_keys import RememberingServer
from generator import make_world
from judge import Chunk, Judge
from kept_connections import Bench
from world import Key, World, configuration_of, create_tables

Step: TypeAlias = tuple[Any, ...]
"""What happens next, one of

    ("act", system, seed)                        an application's transaction, whatever comes to its mind
    ("write", system, changes)                   an application's transaction, as one was recorded: (op, table, row)
    ("step", stage, points)                      a step of a stage, which ends at the so-manieth point if that is not 0
    ("resync", entity), ("rewind", system)       what an operator may ask for
    ("hold", entity, system), ("release", entity, system)
    ("restart", seed)                            everything stops, and starts with its configuration in another order
"""


ROUNDS_MAX: Final = 150
RETRY_ROUNDS: Final = 12
HELD_BACK_SHARE: Final = 0.4


class CaughtUpSource(MemorySource):
    """Reads a chunk only where it has read its log, as real servers' sources place theirs: never ahead of the log."""

    def _next(self) -> Event | None:
        request, self._request = self._request, None
        event = super()._next()
        if event is None and request is not None:
            return self._read_chunk(*request)
        self._request = request
        return event


class ReplayedAdapter(MemoryAdapter):
    """The memory adapter with that source."""

    def open_source(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> MemorySource:
        """See the contract."""
        assert isinstance(options, MemoryOptions)
        return CaughtUpSource(MemoryServer.named(options.server), identity, tables)


class Nemesis:
    """Has the step under way end at the point where it is told to: as a death, or where a server may go away, as that."""

    def __init__(self) -> None:
        self.points_left = 0

    def __call__(self, point: str) -> None:
        if self.points_left:
            self.points_left -= 1
            if not self.points_left:
                raise Unavailable(point) if point in POINTS and len(point) % 2 else Crash(point)


class Play:
    """One world with its servers, its applications and a line between them."""

    def __init__(self, world: World, directory: Path, **kinds: Any) -> None:
        self.world = world
        self.directory = directory
        self.nemesis = Nemesis()
        self._now_us = 1_000_000
        self.servers: dict[str, RememberingServer] = {}
        self.applications: dict[str, Application] = {}
        self.locals: dict[str, Local] = {}
        numbers = Numbers()
        for place, system in enumerate(world.systems):
            server = RememberingServer(
                f"{system}-{id(self)}", prune=place == 0, clock_us=self._clock, faults=self.nemesis
            )
            server.foreign_keys = create_tables(world, system, server, 1 + 1000 * place)
            server.is_picky = system == world.picky
            self.servers[system] = server
            self.locals[system] = Local(world, system, server)
            self.applications[system] = Application(self.locals[system], numbers)
        adapters = {name: (ReplayedAdapter(), MemoryOptions(server.name)) for name, server in self.servers.items()}
        self.simulation = Simulation(
            configuration_of(world), adapters, directory, Random(0), faults=self.nemesis, **kinds
        )

    def _clock(self) -> int:
        self._now_us += 1000
        return self._now_us

    def run(self, schedule: list[Step]) -> None:
        """Play the schedule, come to rest, and judge; cure what refuses poison, and judge again. Raises AssertionError."""
        try:
            with self._own_clock():
                with impatient_retries():
                    for step in schedule:
                        self._do(*step)
                    self.nemesis.points_left = 0
                    self._release_all(schedule)
                self._rest_and_judge()
                if self.world.picky:
                    self.servers[self.world.picky].is_picky = False
                    self.simulation.retry_all()
                    self._rest_and_judge()
        finally:
            self.simulation.close()

    def _rest_and_judge(self) -> None:
        """At rest every system has what it must have, and exactly what it cannot have is parked."""
        with impatient_retries(), suppress(NotQuiet):
            self.simulation.settle(RETRY_ROUNDS)  # what is parked for want of something that comes later heals
        with patient_retries():
            self._settle()
            heads = {name: server.head for name, server in self.servers.items()}
            self._settle()
        assert heads == {n: s.head for n, s in self.servers.items()}, "something was written after quiet"
        judge = self._judged()
        for system, local in self.locals.items():
            rows = local.every_record()
            stuck = judge.stuck(system, rows, is_picky=self.servers[system].is_picky)
            parked = self.parked_records(system)
            assert parked == stuck, f"{system}: parked {sorted(parked - stuck)}, not parked {sorted(stuck - parked)}"
            found = judge.differences(system, rows, stuck)
            assert not found, found[0]

    def parked_records(self, system: str) -> set[tuple[str, Key]]:
        """The records that are parked for a system."""
        plan = self.simulation.plan()
        entities = {entity.number: entity for entity in plan.entities.values()}
        found = set()
        for number, key in self.simulation.parked_subjects(system):
            entity = entities[number]
            found.add((entity.name, tuple(decode_key(key, entity.key_width))))
        return found

    @contextmanager
    def _own_clock(self) -> Iterator[None]:
        """Copies are read by the clock by which the servers commit."""
        real = capture.time
        capture.time = SimpleNamespace(time_ns=lambda: self._clock() * 1000, monotonic=real.monotonic)  # type: ignore[assignment]
        try:
            yield
        finally:
            capture.time = real

    def _settle(self) -> None:
        try:
            self.simulation.settle(ROUNDS_MAX)
        except NotQuiet as restless:
            raise NotQuiet(f"{restless}; parked: {sorted(self.simulation.parked_reasons())}") from None

    def _do(self, verb: str, *arguments: Any) -> None:
        if verb == "act":
            system, seed = arguments
            before = self.servers[system].head
            self.applications[system].transact(seed)
            self.servers[system].note_written(before)
        elif verb == "write":
            system, changes = arguments
            with suppress(Violation), self.servers[system].begin() as transaction:
                for change in changes:
                    _write(transaction, *change)
        elif verb == "step":
            stage, self.nemesis.points_left = arguments
            self.simulation.step_of(stage)
            self.nemesis.points_left = 0
        elif verb == "resync":
            tables = self.simulation.entity_tables(arguments[0])
            self.simulation.command(Command("resync", {"entity": arguments[0]}), tables)
        elif verb == "rewind":
            self.simulation.command(Command("rewind", {"system": arguments[0], "since_us": 0}), [])
        elif verb in ("hold", "release"):
            self.simulation.hold(*arguments, on=verb == "hold")
        else:
            self._restart(Random(arguments[0]))

    def _release_all(self, schedule: list[Step]) -> None:
        for _, *held in dict.fromkeys(step for step in schedule if step[0] == "hold"):
            self._do("release", *held)

    def _restart(self, random: Random) -> None:
        """Everything stops, and starts again with the entities of the configuration in another order."""
        self.simulation.close()
        names = list(self.world.entities)
        random.shuffle(names)
        self.simulation.config = configuration_of(self.world, names)

    # ---- the verdict ---------------------------------------------------------------------------------------------

    def _judged(self) -> Judge:
        judge = Judge(self.world)
        with closing(Journal(self.directory / "journal.db", durable=False)) as journal:
            self._replay(judge, journal)
        assert not judge.seeding, f"never read whole: {sorted(judge.seeding)}"
        return judge

    def _replay(self, judge: Judge, journal: Journal) -> None:
        """Show the judge the servers' transactions in the order of the journal, which must have each of them, once."""
        read = dict.fromkeys(self.servers)
        after = 0
        while entries := journal.read(after):
            for entry in entries:
                if entry.kind == Kind.COMMAND:
                    continue  # what an operator asks for changes no record
                if entry.kind == Kind.CHUNK:
                    assert entry.note is not None
                    note = decode_chunk_note(entry.note)
                    rows = [*journal.rows(entry)]
                    chunk = Chunk(note.table, note.run, note.done, rows)
                    judge.chunk(entry.source, chunk, entry.committed_at_us)
                else:
                    origin = journal.origin(entry.seq)
                    assert origin is not None
                    number = int(origin.position.rpartition(":")[2])
                    last = read[entry.source]
                    assert last is None or number == last + 1, f"{entry.source}: transaction {number} follows {last}"
                    read[entry.source] = number
                    log = self.servers[entry.source].history[number - 1]
                    assert log.number == number
                    judge.transaction(entry.source, log.events, log.committed_at_us, is_ours=entry.mark is not None)
            after = entries[-1].seq
        for name, last in read.items():
            assert last in (None, self.servers[name].head), f"{name}: the journal ends at {last}"


def _write(transaction: MemoryTransaction, op: str, table: str, row: dict[str, Any]) -> None:
    """Do again what an application did, where its row is there."""
    old = transaction.table(table).rows.get((row["id"],))
    if op == "INSERT":
        transaction.insert(table, row)
    elif old is not None and op == "UPDATE":
        transaction.update(table, old, row)
    elif old is not None:
        transaction.delete(table, old)


def recorded(schedule: list[Step], play: Play) -> list[Step]:
    """The schedule that was played, with what applications wrote in the place of their seeds."""
    written = {name: iter(server.written) for name, server in play.servers.items()}
    return [("write", step[1], next(written[step[1]], [])) if step[0] == "act" else step for step in schedule]


def make_schedule(random: Random, world: World) -> tuple[list[Step], list[Step]]:
    """What happens before the line is started, and after."""
    before = [("act", random.choice(world.systems), random.randrange(2**32)) for _ in range(random.randint(0, 8))]
    stages = ["resolve", *(f"{kind}:{system}" for kind in ("capture", "deliver") for system in world.systems)]
    steps: list[Step] = []
    tops = [entity.name for entity in world.entities.values() if entity.parent is None]
    with_commands, with_crashes = random.random() < 0.3, random.random() < 0.5
    weights = [random.choice((1, 1, 1, 0.1)) for _ in stages]
    for _ in range(random.randint(4, 25)):
        steps.append(("act", random.choice(world.systems), random.randrange(2**32)))
        drawn = random.random()
        if with_commands and drawn < 0.05:
            steps.append(("resync", random.choice(tops)))
        elif with_commands and drawn < 0.1:
            steps.append(("rewind", random.choice(world.systems)))
        elif drawn < 0.12:
            steps.append(("restart", random.randrange(2**32)))
        elif drawn < 0.2:
            weights = [random.choice((1, 1, 1, 0.1)) for _ in stages]
        for stage in random.choices(stages, weights, k=random.randint(0, 9)):
            crash = random.randint(1, 6) if with_crashes and random.random() < 0.08 else 0
            steps.append(("step", stage, crash))
    return before, steps


def hold_back(random: Random, world: World, steps: list[Step]) -> tuple[World, list[Step]]:
    """The same with schedules, and with pauses of entities in between; the scheduler has turns like any stage."""
    entities = dict(world.entities)
    bound = [(e.name, system) for e in entities.values() if e.parent is None for system in e.places]
    for name, system in random.sample(bound, random.randint(0, min(2, len(bound)))):
        places = dict(entities[name].places)
        places[system] = msgspec.structs.replace(places[system], schedule="0 2 * * *")
        entities[name] = msgspec.structs.replace(entities[name], places=places)
    found: list[Step] = []
    for step in steps:
        found.append(step)
        drawn = random.random()
        if drawn < 0.04:
            found.append((random.choice(("hold", "hold", "release")), *random.choice(bound)))
        elif drawn < 0.2:
            found.append(("step", "scheduler", 0))
    return msgspec.structs.replace(world, entities=entities), found


def meaning_of(seed: int) -> tuple[World, list[Step], list[Step]]:
    """The world of a seed, and what happens in it before the line is started, and after."""
    random = Random(seed)
    world = make_world(random)
    before, steps = make_schedule(random, world)
    owing = Random(f"{seed}-owing")
    if owing.random() < HELD_BACK_SHARE:
        world, steps = hold_back(owing, world, steps)
    return world, before, steps


def play_seed(seed: int, bench: Bench, **kinds: Any) -> None:
    """Everything that a seed means. Raises AssertionError where the line is wrong."""
    world, before, steps = meaning_of(seed)
    with bench.cleared() as directory:
        play = Play(world, directory, **kinds)
        play.run(before + steps)

"""The scheduler over a journal and a state: what it asks resolve for, and when; resolve itself is played by the test."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cdcd import pause_switches
from cdcd.config import Deliver
from cdcd.journal import Journal, decode_command
from cdcd.resolve.plan import Vocabulary
from cdcd.scheduling import deliveries, schedule
from cdcd.scheduling.deliveries import Delivery
from cdcd.scheduling.schedule import Run
from cdcd.scheduling.scheduler import PORTION_RECORDS, Scheduler
from cdcd.state import State
from cdcd.storage import StorageError

NIGHT = Deliver("0 2 * * *", window="02:00-04:00")
HOUR, DAY = 3_600_000_000, 86_400_000_000
MIDNIGHT_US = 20_000 * DAY
"""Of some day, UTC."""


def of(entity: str, deliver: Deliver = Deliver(), system: str = "shop", after: tuple[str, ...] = ()) -> Delivery:  # noqa: B008
    return Delivery(system, entity, deliver.schedule, schedule.compiled(deliver), frozenset(after))


class World:
    """What the scheduler sees: an outbox that a target empties, and a resolve that does as it is asked."""

    def __init__(self, directory: Path) -> None:
        self.journal = Journal(directory / "journal.db", durable=False)
        self.state = State(directory / "state.db", durable=False)
        self.vocabulary = Vocabulary(("erp", "shop"), ("customer", "product", "order", "order.lines"))
        with self.state.transaction():
            self.state.put("vocabulary", msgspec.msgpack.encode(self.vocabulary))
        self.applied = 0
        self.rung = 0
        self.now_us = MIDNIGHT_US
        self.monotonic = 100.0
        self.read_through = 0

    def start(self, *listed: Delivery, portions: dict[str, int] | None = None) -> None:
        self.scheduler = Scheduler(listed, self.journal, self.state, lambda _system: self.applied, self._ring, portions)

    def _ring(self) -> None:
        self.rung += 1

    def owe(self, entity: str, records: int, system: str = "shop", *, held: bool = False) -> None:
        at = (self.vocabulary.systems.index(system), self.vocabulary.entities.index(entity))
        with self.state.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO owing VALUES (?,?,?,?,?)", (*at, held, records, self.now_us))

    def owed(self, entity: str) -> int:
        at = self.vocabulary.entities.index(entity)
        row = self.state.connection.execute("SELECT sum(records) FROM owing WHERE entity=?", (at,)).fetchone()
        return int(row[0] or 0)

    def turn(self, seconds: float = 1.0) -> None:
        self.now_us += int(seconds * 1e6)
        self.monotonic += seconds
        self.scheduler.turn(self.now_us, self.monotonic)

    def asked(self) -> list[tuple[str, str, int]]:
        """The commands since the last time: what resolve reads next."""
        entries = self.journal.read(self.read_through)
        self.read_through = entries[-1].seq if entries else self.read_through
        commands = [decode_command(entry.note or b"") for entry in entries]
        assert {command.name for command in commands} <= {"deliver"}
        return [(c.arguments["system"], c.arguments["entity"], c.arguments["limit"]) for c in commands]

    def resolve(self) -> list[tuple[str, str, int]]:
        """Do what was asked, as resolve would."""
        asked = self.asked()
        for system, entity, limit in asked:
            self.owe(entity, max(0, self.owed(entity) - limit), system)
        with self.state.transaction():
            self.state.put("position", self.read_through)
        return asked

    def backlog(self, writes: int) -> None:
        with self.state.transaction() as connection:
            connection.execute("INSERT INTO outbox VALUES (NULL,'shop',1,1,0,?,0,x'90')", (writes,))

    def run(self, entity: str) -> Run | None:
        return deliveries.run_of(of(entity), self.journal.controls())

    def close(self) -> None:
        self.journal.close()
        self.state.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_nothing_owed_costs_one_look_a_second_and_no_command(world: World, monkeypatch: pytest.MonkeyPatch):
    world.start(of("product"), of("order", NIGHT))
    world.turn()
    looks = []
    monkeypatch.setattr("cdcd.scheduling.scheduler.owing", lambda _state: looks.append(1) or [])
    monkeypatch.setattr(world.journal, "controls", lambda: pytest.fail("switches were read for nothing"))
    for _ in range(100):
        world.turn(0.1)
    assert 9 <= len(looks) <= 11
    assert world.asked() == []


def test_what_is_owed_in_real_time_is_told_at_once_in_portions_as_resolve_takes_them(world: World):
    world.start(of("product"))
    world.owe("product", 2 * PORTION_RECORDS + 1)
    world.turn()
    assert world.rung == 1
    world.turn()
    assert world.resolve() == [("shop", "product", PORTION_RECORDS)]
    world.turn()
    world.resolve()
    world.turn()
    assert world.owed("product") == 1
    world.resolve()
    world.turn()
    assert world.asked() == []


def test_a_portion_waits_for_the_target_to_be_nearly_through_with_the_last(world: World):
    world.start(of("product"))
    world.owe("product", 10 * PORTION_RECORDS)
    world.backlog(PORTION_RECORDS)
    world.turn()
    assert world.asked() == []
    world.applied = 1
    world.turn()
    assert len(world.asked()) == 1


def test_a_slow_target_is_fed_in_small_portions(world: World):
    world.start(of("product"), portions={"shop": 50})
    world.owe("product", 1000)
    world.turn()
    assert world.asked() == [("shop", "product", 50)]


def test_a_cron_run_begins_at_its_moment_tells_what_is_owed_then_and_is_over(world: World):
    world.start(of("product", NIGHT))
    world.owe("product", 7)
    world.turn()
    assert world.asked() == []
    assert world.scheduler.wait_seconds(world.now_us, world.monotonic) == pytest.approx(2 * 3600 - 1)
    world.turn(2 * 3600)
    assert world.resolve() == [("shop", "product", 7)]
    world.owe("product", 5)  # touched again: for the next night
    for _ in range(60):
        world.turn(60)
    assert world.asked() == []
    world.turn(24 * 3600)
    assert world.resolve() == [("shop", "product", 5)]


def test_the_end_of_the_window_stops_a_run_which_goes_on_the_next_day(world: World):
    world.start(of("product", Deliver("0 2 * * 6", window="02:00-04:00")))  # the day began a Thursday
    world.owe("product", 3 * PORTION_RECORDS)
    world.turn()
    world.turn(2 * DAY / 1e6 + 2 * 3600 + 7100)
    assert len(world.resolve()) == 1
    world.turn(100)
    world.turn(3600)
    assert world.asked() == []
    run = world.run("product")
    assert run is not None
    assert run.left == 2 * PORTION_RECORDS
    world.turn(22 * 3600)  # Sunday
    assert len(world.resolve()) == 1
    world.turn()
    assert len(world.resolve()) == 1
    world.turn()
    run = world.run("product")
    assert run is not None
    assert (run.left, world.owed("product")) == (0, 0)


def test_a_supervisor_that_was_killed_in_a_run_goes_on_where_it_was(world: World):
    world.start(of("product", Deliver("0 2 * * *")))
    world.turn()
    world.owe("product", 2 * PORTION_RECORDS)
    world.turn(2 * 3600)
    assert len(world.resolve()) == 1
    world.start(of("product", Deliver("0 2 * * *")))
    world.turn()
    assert len(world.resolve()) == 1
    world.start(of("product", Deliver("0 2 * * *")))
    world.owe("product", 3)
    world.turn()
    assert world.asked() == []


def test_a_moment_that_passed_while_nothing_was_owed_is_not_made_up_for(world: World):
    world.start(of("product", Deliver("0 2 * * *")))
    world.turn()
    world.turn(3 * 3600)
    world.owe("product", 1)
    world.start(of("product", Deliver("0 2 * * *")))
    world.turn(3600)
    assert world.asked() == []


def test_a_moment_that_passed_while_the_daemon_was_down_is(world: World):
    world.start(of("product", Deliver("0 2 * * *")))
    world.turn()
    world.owe("product", 1)
    world.now_us += 5 * HOUR
    world.start(of("product", Deliver("0 2 * * *")))
    world.turn()
    assert world.asked() == [("shop", "product", 1)]


def test_records_touched_during_a_run_do_not_make_it_endless(world: World):
    world.start(of("product", Deliver("every 10m")))
    world.owe("product", 2 * PORTION_RECORDS)
    told = 0
    for _ in range(100):
        world.turn(1)
        told += len(world.resolve())
        world.owe("product", world.owed("product") + 500)
    assert told == 2


def test_a_run_is_of_what_was_owed_when_it_began(world: World):
    world.start(of("product", Deliver("every 10m")), of("order"))
    with world.state.transaction():
        world.state.put("position", 41)
    world.owe("product", PORTION_RECORDS + 1)
    world.owe("order", 1)
    world.turn()
    world.resolve()
    world.turn()
    world.resolve()
    world.turn()
    commands = [decode_command(entry.note or b"").arguments for entry in world.journal.read(0)]
    assert [(c["entity"], c.get("owed_by")) for c in commands] == [("product", 41), ("order", None), ("product", 41)]


def test_a_run_of_which_nothing_is_owed_any_more_is_over(world: World):
    world.start(of("product", NIGHT))
    world.turn()
    world.owe("product", 2 * PORTION_RECORDS)
    world.turn(2 * 3600)
    world.resolve()
    world.owe("product", 0)  # the rest was withdrawn
    world.turn()
    run = world.run("product")
    assert run is not None
    assert run.left == 0
    world.owe("product", 1)
    world.turn()
    assert world.asked() == []


def test_what_refers_to_others_waits_for_them_and_strangers_take_turns(world: World):
    world.start(of("customer"), of("product"), of("order", after=("customer",)))
    for entity in ("customer", "product", "order"):
        world.owe(entity, 2 * PORTION_RECORDS)
    told = []
    for _ in range(6):
        world.turn()
        told += [entity for _, entity, _ in world.resolve()]
    assert told == ["customer", "product", "customer", "order", "product", "order"]


def test_children_are_told_by_the_name_of_their_parent(world: World):
    world.start(of("order"))
    world.owe("order.lines", 3)
    world.turn()
    assert world.asked() == [("shop", "order", PORTION_RECORDS)]


@pytest.mark.parametrize("switch", [pause_switches.of_system("shop"), pause_switches.of_entity("shop", "product")])
def test_nothing_is_told_while_it_is_paused(world: World, switch: str):
    world.start(of("product"), of("product", Deliver("every 10m")))
    world.owe("product", 5)
    world.journal.set_control(switch, "1")
    world.turn()
    assert world.asked() == []
    world.journal.set_control(switch, None)
    world.turn()
    assert len(world.asked()) == 1


def test_nothing_is_told_that_resolve_itself_holds_back(world: World):
    world.start(of("product"))
    world.owe("product", 5, held=True)
    world.turn()
    assert world.asked() == []


def test_who_waits_behind_a_paused_entity_is_told(world: World):
    world.start(of("customer"), of("order", after=("customer",)))
    world.owe("customer", 5, held=True)
    world.owe("order", 5)
    world.turn()
    assert world.asked() == [("shop", "order", PORTION_RECORDS)]


def test_what_does_not_get_less_is_asked_for_less_and_less_often(world: World):
    world.start(of("product"))
    world.owe("product", 5)
    asked = 0
    for _ in range(200):
        world.turn(0.2)
        asked += len(world.asked())
        with world.state.transaction():
            world.state.put("position", world.read_through)
    assert 4 <= asked <= 9


def test_a_request_is_told_in_any_hour_and_leaves_the_schedule_as_it_is(world: World):
    nightly = of("product", NIGHT)
    world.start(nightly)
    world.turn()
    world.owe("product", 4)
    asked_for = Run(considered_us=world.now_us, begun_us=world.now_us, left=4, requested=True)
    world.journal.set_control(deliveries.control_of(nightly), deliveries.stored(asked_for))
    world.turn()
    assert world.resolve() == [("shop", "product", 4)]
    run = world.run("product")
    assert run is not None
    assert (run.left, run.requested) == (0, False)
    assert schedule.next_run_us(nightly.schedule, run, world.now_us) == MIDNIGHT_US + 2 * HOUR


def test_a_skipped_look_is_made_up_for(world: World):
    world.start(of("product"))
    world.turn()
    world.owe("product", 1)
    world.turn(0.25)
    assert world.asked() == []
    assert world.scheduler.wait_seconds(world.now_us, world.monotonic) == pytest.approx(0.75)
    assert world.scheduler.wait_seconds(world.now_us, world.monotonic + 60) == 0
    world.turn(0.75)
    assert len(world.asked()) == 1
    assert world.scheduler.wait_seconds(world.now_us, world.monotonic) == float("inf")


def test_a_full_disk_stops_no_supervisor(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def full(*_arguments: object, **_named: object) -> int:
        raise StorageError("the disk is full", code="disk-full")

    world.start(of("product"))
    world.owe("product", 1)
    monkeypatch.setattr(world.journal, "command", full)
    world.turn()
    assert "what is due cannot be told" in caplog.text
    monkeypatch.undo()
    world.turn()
    assert len(world.asked()) == 1

"""What the state directory alone tells: queues, ages, sizes, counts by entity, what was verified."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cdcd import blueprint, config, pause_switches
from cdcd.blueprint import Role
from cdcd.config_rules import load
from cdcd.journal import Command, Draft, Journal, Kind
from cdcd.report import DeliverFigures
from cdcd.resolve.plan import Vocabulary
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.status import DriftStatus, Observer, WorkerStatus
from cdcd.verifying.results import Asked, Comparison, Results, path_in

EXAMPLE = Path(config.__file__).parent.parent / "config" / "cdcd.example.toml"


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.prepare()
    return made


@pytest.fixture
def observer(directory: StateDirectory) -> Iterator[Observer]:
    made = Observer(blueprint.draw(load(EXAMPLE), "cdcd.toml"), directory)
    yield made
    made.close()


@pytest.fixture
def state(directory: StateDirectory, observer: Observer) -> Iterator[State]:
    made = State(directory.state, durable=False)
    yield made
    made.close()


@pytest.fixture
def journal(directory: StateDirectory, observer: Observer) -> Iterator[Journal]:
    made = Journal(directory.journal, durable=False)
    yield made
    made.close()


def test_an_empty_journal_has_no_ages(observer: Observer):
    _, _, found = observer.observe({})
    assert (found.entries, found.oldest_at_us, found.oldest_unresolved_at_us) == (0, 0, 0)


def test_the_journal_tells_how_old_it_is_and_what_is_not_resolved(observer: Observer, journal: Journal, state: State):
    for position in ("a", "b", "c", "d"):
        journal.append("erp", [Draft(Kind.LOG, position, 1, 1)], position)
    journal.trim(1, 2**62)
    with state.transaction():
        state.put("position", 3)
    _, resolve, found = observer.observe({})
    assert (found.entries, resolve.lag_events) == (3, 1)
    second, last = journal.first_after(0), journal.first_after(3)
    assert second is not None
    assert last is not None
    assert (found.oldest_at_us, found.oldest_unresolved_at_us) == (second[2], last[2])
    with state.transaction():
        state.put("position", 4)
    _, _, found = observer.observe({})
    assert (found.entries, found.oldest_unresolved_at_us) == (3, 0)


def test_what_waits_for_a_target_is_counted_with_what_is_not_resolved(
    observer: Observer, journal: Journal, state: State
):
    journal.append("erp", [Draft(Kind.LOG, "a", 1, 1)], "a")
    with state.transaction() as connection:
        connection.execute(
            "INSERT INTO outbox (target, first_unit, through, more, writes, committed_at_us, body)"
            " VALUES ('shop', 1, 1, 0, 5, 4000000, x'00')"
        )
    systems, _, _ = observer.observe({})
    deliver = systems["shop"].deliver
    assert deliver is not None
    assert (deliver.lag_events, deliver.end_to_end_lag_events, deliver.oldest_at_us) == (5, 6, 4_000_000)
    other = systems["erp"].deliver
    assert other is not None
    assert (other.lag_events, other.end_to_end_lag_events, other.oldest_at_us) == (0, 1, 0)


def test_conflicts_are_counted_by_entity_and_only_open_ones(observer: Observer, state: State):
    with state.transaction() as connection:
        state.put("vocabulary", msgspec.msgpack.encode(Vocabulary(entities=("product", "order"))))
        connection.executemany(
            "INSERT INTO conflicts (entity, key, system, slot, kind, seq, at_us) VALUES (?,?,0,0,?,1,1)",
            [(0, b"a", "held"), (0, b"b", "reverted"), (1, b"a", "trigger"), (1, b"b", "held")],
        )
    _, resolve, _ = observer.observe({})
    assert (resolve.conflicts, resolve.conflicts_by_entity) == (3, {"product": 1, "order": 2})


def test_a_target_has_a_count_of_parked_records_for_everything_that_it_has(observer: Observer):
    figures = DeliverFigures(parked=2, parked_by_entity={"product": 2})
    systems, _, _ = observer.observe({Role("deliver", "shop"): WorkerStatus("running", figures=figures)})
    deliver = systems["shop"].deliver
    assert deliver is not None
    assert deliver.parked_by_entity["product"] == 2
    others = {name: count for name, count in deliver.parked_by_entity.items() if name != "product"}
    assert set(others.values()) == {0}
    assert {"customer", "order", "order.lines"} <= set(others)


def test_a_paused_target_says_since_when(observer: Observer, journal: Journal):
    journal.set_control(pause_switches.of_system("shop"), "1795300000000000")
    deliver = observer.observe({})[0]["shop"].deliver
    assert deliver is not None
    assert (deliver.paused, deliver.paused_since_us) == (True, 1_795_300_000_000_000)


def test_the_directory_tells_what_it_takes_and_what_is_free(observer: Observer, journal: Journal):
    before = observer.directory_status()
    journal.command(Command("x", {"text": "y" * 1_000_000}))
    after = observer.directory_status()
    assert after.size_bytes > before.size_bytes + 900_000
    assert before.free_bytes > 0


def test_what_was_verified_is_shown_and_looked_at_again_when_it_has_changed(
    observer: Observer, directory: StateDirectory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cdcd.costly_count.SHARE", 1e9)  # where looking takes long, it is not done again at once
    assert observer.verified()[0] == ()
    with closing(Results(path_in(directory.path))) as results:
        run = results.ask(Asked(("product",)), [("product", "shop")])
        found = Comparison("product", "shop", "done", missing=1, different=2, began_at_us=5, ended_at_us=9)
        results.keep(run, 0, found, whole=True)
        assert observer.verified()[0] == (DriftStatus("shop", "product", 1, 2, 0, 9, 0),)


def test_a_damaged_file_of_verifications_hides_nothing_else(observer: Observer, directory: StateDirectory):
    path_in(directory.path).write_bytes(b"no database" * 1000)
    assert observer.verified() == ((), {})

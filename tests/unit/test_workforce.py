"""All workers under a configuration that changes: who stays keeps what it has counted."""

from collections.abc import Iterator

import pytest

from cdcd.blueprint import Blueprint, Role, SystemBlueprint
from cdcd.config import Config, Daemon
from cdcd.report import Counter, Report, now_us
from cdcd.workforce import Workforce


def blueprint(*systems: str) -> Blueprint:
    known = {
        name: SystemBlueprint("memory", "cdcd_memory:adapter", (), is_source=True, is_target=True) for name in systems
    }
    return Blueprint("cdcd.toml", Config(Daemon("acme", "/state"), {}), known, {}, {})


@pytest.fixture
def workforce() -> Iterator[Workforce]:
    made = Workforce(blueprint("a", "b"))
    yield made
    made.close()


def count(workforce: Workforce, role: Role, value: int) -> None:
    """As if its process (there is none: pid 0) had reported."""
    counters = (Counter("captured_changes", (role.system,), value),)
    workforce.workers[role].take(Report(str(role), 0, now_us(), "running", 1, counters=counters))


def counted(workforce: Workforce, system: str) -> list[int]:
    return [c.value for c in workforce.counters() if c.name == "captured_changes" and c.labels == (system,)]


def test_there_is_a_worker_for_each_role_in_the_order_of_their_start(workforce: Workforce):
    names = ["resolve", "deliver:a", "deliver:b", "capture:a", "capture:b"]
    assert [str(role) for role in workforce.workers] == names
    assert len(workforce.start_due_seconds()) == 5
    assert not workforce.alive


def test_who_stays_keeps_his_bell_and_his_totals_and_who_goes_is_still_counted(workforce: Workforce):
    workers = workforce.workers
    a, b = Role("capture", "a"), Role("capture", "b")
    bell = workers[a].bell
    count(workforce, a, 5)
    count(workforce, b, 7)
    workforce.follow(blueprint("a", "c"))
    assert workforce.workers is workers
    assert workers[a].bell is bell
    assert b not in workers
    assert Role("deliver", "c") in workers
    assert (counted(workforce, "a"), counted(workforce, "b")) == ([5], [7])


def test_who_comes_back_goes_on_counting(workforce: Workforce):
    b = Role("capture", "b")
    count(workforce, b, 7)
    workforce.follow(blueprint("a"))
    workforce.follow(blueprint("a", "b"))
    assert counted(workforce, "b") == [7]
    assert b in workforce.workers

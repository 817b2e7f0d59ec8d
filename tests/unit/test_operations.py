"""The operator's verbs, as they leave their traces in the journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.blueprint import Blueprint, Role, SystemBlueprint
from cdcd.config import Config, Daemon
from cdcd.control import Answer, Request
from cdcd.journal import Command, Draft, Journal, Kind, decode_command
from cdcd.operations import Operations, RequestError
from cdcd.report import now_us
from cdcd.status import WorkerStatus
from cdcd.wake import Bell, wait

HOUR_US = 3_600_000_000


class StandIn:
    """What operations see of a worker."""

    def __init__(self) -> None:
        self.bell = Bell.create()
        self.state = "running"
        self.restarts = 0

    def status(self) -> WorkerStatus:
        return WorkerStatus(state=self.state)  # type: ignore[arg-type]

    def restart(self) -> None:
        self.restarts += 1


class Bench:
    def __init__(self, path: Path) -> None:
        self.journal = Journal(path, durable=False)
        config = Config(Daemon("acme", "/state"), {})
        systems = {
            "erp": SystemBlueprint("memory", "cdcd_memory:adapter", (), is_source=True, is_target=True),
            "feed": SystemBlueprint("memory", "cdcd_memory:adapter", (), is_source=True, is_target=False),
        }
        tables = {"product": (("erp", "item"), ("feed", "product")), "erp:main.move": (("erp", "main.move"),)}
        blueprint = Blueprint("cdcd.toml", config, systems, {"erp": {"move": "main.move"}}, tables)
        self.workers = {role: StandIn() for role in blueprint.roles()}
        self.operations = Operations(blueprint, self.journal, self.workers)  # type: ignore[arg-type]

    def do(self, command: str, **arguments: object) -> Answer:
        answer = self.operations.handle(Request(command, arguments))
        assert isinstance(answer, Answer)
        return answer

    def rung(self) -> set[str]:
        fds = {worker.bell.fd: str(role) for role, worker in self.workers.items()}
        return {fds[fd] for fd in wait(fds, 0)}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "journal.db")
    yield made
    made.journal.close()
    for worker in made.workers.values():
        worker.bell.close()


def test_a_pause_is_answered_when_the_worker_has_let_go(bench: Bench):
    ready = bench.operations.handle(Request("pause", {"system": "erp"}))
    assert callable(ready)
    deliver = bench.workers[Role("deliver", "erp")]
    assert "pause:erp" in bench.journal.controls()
    assert deliver.restarts == 1
    assert ready() is None
    deliver.state = "paused"
    assert ready() == Answer(ok=True, result={"system": "erp", "paused": True})


def test_resume_removes_the_switch_and_retries_what_does_not_run(bench: Bench):
    bench.journal.set_control("pause:erp", "1")
    bench.workers[Role("deliver", "erp")].state = "paused"
    answer = bench.do("resume", system="erp")
    assert answer.result == {"system": "erp", "was_paused": True, "restarted": ["deliver:erp"]}
    assert bench.journal.controls() == {}
    assert bench.workers[Role("capture", "erp")].restarts == 0


def test_resync_is_a_command_in_the_journal_and_wakes_the_captures(bench: Bench):
    answer = bench.do("resync", entity="product")
    (entry,) = bench.journal.read(0)
    assert entry.note is not None
    assert decode_command(entry.note) == Command("resync", {"entity": "product"})
    assert answer.result["seq"] == entry.seq
    assert [b.table for b in bench.journal.backfills("feed")] == ["product"]
    assert bench.rung() == {"resolve", "capture:erp", "capture:feed"}


@pytest.mark.parametrize("spelled", ["erp:move", "erp:main.move"])
def test_a_resync_of_plain_copies_names_the_table_as_the_configuration_or_in_full(bench: Bench, spelled: str):
    assert bench.do("resync", entity=spelled).result["tables"] == [["erp", "main.move"]]
    assert [b.table for b in bench.journal.backfills("erp")] == ["main.move"]


def test_verdicts_about_conflicts_are_a_command_in_the_journal(bench: Bench):
    answer = bench.do("conflicts", accept=True, conflicts=[[3, "0a01", 1, 2, 17], [3, "0a02", 1, None, 18]])
    (entry,) = bench.journal.read(0)
    assert entry.note is not None
    assert decode_command(entry.note) == Command(
        "conflicts", {"accept": True, "conflicts": [[3, b"\x0a\x01", 1, 2, 17], [3, b"\x0a\x02", 1, None, 18]]}
    )
    assert answer.result == {"seq": entry.seq, "count": 2}
    assert "resolve" in bench.rung()


@pytest.mark.parametrize("named", [None, [["product"]], [[1, "no hexadecimal", 0, 0, 1]]])
def test_verdicts_that_are_not_understood_journal_nothing(bench: Bench, named: object):
    with pytest.raises(RequestError):
        bench.do("conflicts", accept=False, conflicts=named)
    assert bench.journal.last_seq() == 0


def test_rewind_says_what_it_would_do_and_then_does_it(bench: Bench):
    for _ in range(3):
        bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90")], "p")
    since_us = now_us() - HOUR_US
    plan = bench.do("rewind-plan", system="erp", since_us=since_us).result
    assert (plan.transactions, plan.since_us) == (3, since_us)
    assert bench.journal.last_seq() == 3
    done = bench.do("rewind", system="erp", since_us=since_us).result
    assert done["seq"] == 4
    note = bench.journal.read(3)[0].note
    assert note is not None
    assert decode_command(note) == Command("rewind", {"system": "erp", "since_us": since_us})


def test_rewind_counts_only_what_came_since_then(bench: Bench):
    bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90") for _ in range(5)], "p")
    bench.journal.database.connection.execute("UPDATE entries SET journaled_at_us = ? - seq * 0", (now_us() - HOUR_US,))
    bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90")], "p")
    assert bench.do("rewind-plan", system="erp", since_us=now_us() - HOUR_US // 2).result.transactions == 1
    assert bench.do("rewind-plan", system="erp", since_us=0).result.transactions == 6


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("pause", {"system": "epr"}, "did you mean 'erp'?"),
        ("pause", {"system": "feed"}, "known: erp"),
        ("pause", {}, "known: erp"),
        ("resync", {"entity": "products"}, "did you mean 'product'?"),
        ("rewind", {"system": "erp", "since_us": "yesterday"}, "give --to"),
        ("rewind", {"system": "erp", "since_us": 2**62}, "give --to"),
    ],
)
def test_what_does_not_exist_is_refused_with_a_hint(
    bench: Bench, command: str, arguments: dict[str, object], said: str
):
    with pytest.raises(RequestError) as caught:
        bench.operations.handle(Request(command, arguments))
    assert said in caught.value.remedy
    assert caught.value.exit_code == 2
    assert bench.journal.last_seq() == 0

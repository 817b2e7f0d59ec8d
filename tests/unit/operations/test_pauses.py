"""The pauses of deliveries."""

import pytest

from cdcd.blueprint import Role
from cdcd.control import Answer
from cdcd.journal import Command, decode_command
from cdcd.operations import RequestError
from unit.operations.conftest import Bench


def test_a_pause_is_answered_when_the_worker_has_let_go(bench: Bench):
    ready = bench.handle("pause", name="erp")
    assert callable(ready)
    assert "pause:erp" in bench.journal.controls()
    assert bench.crew.restarts == [Role("deliver", "erp")]
    assert ready() is None
    bench.crew.states[Role("deliver", "erp")] = "paused"
    assert ready() == Answer(ok=True, result={"system": "erp", "paused": True})


def test_resume_removes_the_switch_and_retries_what_does_not_run(bench: Bench):
    bench.journal.set_control("pause:erp", "1")
    bench.crew.states[Role("deliver", "erp")] = "paused"
    answer = bench.do("resume", name="erp")
    assert answer.result == {"system": "erp", "was_paused": True, "restarted": ["deliver:erp"]}
    assert bench.journal.controls() == {}
    assert bench.crew.restarts == [Role("deliver", "erp")]


def commands(bench: Bench) -> list[Command]:
    return [decode_command(entry.note) for entry in bench.journal.read(0) if entry.note is not None]


def test_an_entity_is_held_back_by_a_command_and_a_switch_in_one_commit(bench: Bench):
    answer = bench.do("pause", name="product")
    assert answer.result == {"entity": "product", "systems": ["erp"], "owed_records": 0, "paused": True}
    assert commands(bench) == [Command("hold", {"systems": ["erp"], "entity": "product", "on": True})]
    assert bench.journal.controls() == {"pause:erp/product": "an operator"}
    assert bench.crew.rung == {"resolve", "deliver:erp"}
    assert bench.crew.restarts == []


def test_an_entity_is_resumed_with_what_is_owed_of_it_counted(bench: Bench):
    bench.do("pause", name="product", system="erp")
    answer = bench.do("resume", name="product")
    assert answer.result["reasons"] == {"erp": "an operator"}
    assert commands(bench)[-1] == Command("hold", {"systems": ["erp"], "entity": "product", "on": False})
    assert bench.journal.controls() == {}


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize("name", ["erp", "product"])
def test_a_dry_run_only_tells(bench: Bench, verb: str, name: str):
    bench.do(verb, name=name, dry_run=True)
    assert (bench.journal.last_seq(), bench.journal.controls(), bench.crew.restarts) == (0, {}, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "produkt"}, "did you mean 'product'?"),
        ({"name": "product.parts"}, "name 'product' instead"),
        ({"name": "product", "system": "feed"}, "did you mean|known: erp"),
    ],
)
def test_what_cannot_be_held_back_is_refused_with_a_hint(bench: Bench, arguments: dict[str, str], said: str):
    with pytest.raises(RequestError) as caught:
        bench.handle("pause", **arguments)
    assert any(part in caught.value.remedy for part in said.split("|"))

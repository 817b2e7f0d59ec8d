"""The pauses of deliveries."""

from cdcd.blueprint import Role
from cdcd.control import Answer
from unit.operations.conftest import Bench


def test_a_pause_is_answered_when_the_worker_has_let_go(bench: Bench):
    ready = bench.handle("pause", system="erp")
    assert callable(ready)
    assert "pause:erp" in bench.journal.controls()
    assert bench.crew.restarts == [Role("deliver", "erp")]
    assert ready() is None
    bench.crew.states[Role("deliver", "erp")] = "paused"
    assert ready() == Answer(ok=True, result={"system": "erp", "paused": True})


def test_resume_removes_the_switch_and_retries_what_does_not_run(bench: Bench):
    bench.journal.set_control("pause:erp", "1")
    bench.crew.states[Role("deliver", "erp")] = "paused"
    answer = bench.do("resume", system="erp")
    assert answer.result == {"system": "erp", "was_paused": True, "restarted": ["deliver:erp"]}
    assert bench.journal.controls() == {}
    assert bench.crew.restarts == [Role("deliver", "erp")]

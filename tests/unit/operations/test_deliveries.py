"""What is owed, asked for by a person."""

import msgspec
import pytest

from cdcd import pause_switches
from cdcd.journal import Command
from cdcd.operations import RequestError
from cdcd.resolve.plan import Vocabulary
from cdcd.scheduling import deliveries
from cdcd.scheduling.schedule import Run
from unit.operations.conftest import Bench

NIGHTLY = "0 2 * * *"


@pytest.fixture
def scheduled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Products go to the ERP at night."""
    entity = bench.desk.blueprint.config.entities["product"]
    binding = entity.bindings["erp"]
    by_night = msgspec.structs.replace(binding, deliver=msgspec.structs.replace(binding.deliver, schedule=NIGHTLY))
    monkeypatch.setitem(entity.bindings, "erp", by_night)
    with bench.state.transaction():
        bench.state.put("vocabulary", msgspec.msgpack.encode(Vocabulary(("erp", "feed"), ("product",))))
    return bench


def owe(bench: Bench, records: int, *, held: bool = False) -> None:
    with bench.state.transaction() as connection:
        connection.execute("INSERT OR REPLACE INTO owing VALUES (0,0,?,?,77)", (held, records))


def run_of(bench: Bench) -> Run | None:
    (delivery, _feed) = deliveries.of_config(bench.desk.blueprint.config)
    return deliveries.run_of(delivery, bench.journal.controls())


def test_what_is_owed_is_asked_for_and_the_schedule_goes_on(scheduled: Bench):
    owe(scheduled, 5)
    answer = scheduled.do("deliver", entity="product")
    (asked,) = answer.result["deliveries"]
    assert (asked.system, asked.schedule, asked.records, asked.since_us, asked.state) == ("erp", NIGHTLY, 5, 77, "told")
    run = run_of(scheduled)
    assert run is not None
    assert (run.left, run.requested) == (5, True)
    assert run.considered_us > 0


def test_a_dry_run_only_counts(scheduled: Bench):
    owe(scheduled, 5)
    answer = scheduled.do("deliver", entity="product", dry_run=True)
    assert answer.result["deliveries"][0].records == 5
    assert scheduled.journal.controls() == {}


def test_where_nothing_is_owed_nothing_is_asked_for(scheduled: Bench):
    answer = scheduled.do("deliver", entity="product", system="erp")
    assert answer.result["deliveries"][0].state == "nothing"
    assert scheduled.journal.controls() == {}


@pytest.mark.parametrize(
    ("switch", "remedy"),
    [
        (pause_switches.of_system("erp"), "'cdcd resume erp' first"),
        ("pause:erp/product", "'cdcd resume product' first"),
    ],
)
def test_a_pause_is_not_overruled(scheduled: Bench, switch: str, remedy: str):
    owe(scheduled, 5)
    scheduled.journal.set_control(switch, "1")
    for verb in ("deliver", "deliver-progress"):
        if verb == "deliver-progress":
            scheduled.journal.set_control("run:erp/product", deliveries.stored(Run(left=5, requested=True)))
        with pytest.raises(RequestError) as caught:
            scheduled.do(verb, entity="product")
        assert (caught.value.code, caught.value.remedy) == ("delivery-paused", remedy)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"entity": "produkt"}, "did you mean 'product'?"), ({"entity": "product", "system": "feed"}, "known: erp")],
)
def test_what_is_not_delivered_is_refused_with_a_hint(scheduled: Bench, arguments: dict[str, str], said: str):
    with pytest.raises(RequestError) as caught:
        scheduled.do("deliver", **arguments)
    assert said in caught.value.remedy


def test_progress_is_followed_from_what_is_left_to_what_has_arrived(scheduled: Bench):
    owe(scheduled, 5)
    scheduled.do("deliver", entity="product")
    before = scheduled.do("deliver-progress", entity="product").result
    assert (before.left, before.seq, before.arrived) == (5, None, False)
    scheduled.journal.set_control("run:erp/product", deliveries.stored(Run()))
    asked_at = scheduled.journal.command(Command("deliver", {"system": "erp", "entity": "product", "limit": 5}))
    told = scheduled.do("deliver-progress", entity="product").result
    assert (told.left, told.seq, told.unit) == (0, asked_at, None)
    with scheduled.state.transaction() as connection:
        scheduled.state.put("position", asked_at)
        scheduled.state.put("units", 9)
        connection.execute("INSERT INTO outbox VALUES (NULL,'erp',9,9,0,5,0,x'90')")
    resolved = scheduled.do("deliver-progress", entity="product", seq=told.seq).result
    assert (resolved.unit, resolved.arrived) == (9, False)
    (scheduled.state.database.path.parent / "applied-erp").write_bytes((9).to_bytes(8, "little"))
    assert scheduled.do("deliver-progress", entity="product", seq=told.seq, unit=9).result.arrived

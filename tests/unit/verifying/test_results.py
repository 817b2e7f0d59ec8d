"""What is asked to be verified, and found."""

from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from cdcd.verifying import results as r
from cdcd.verifying.results import Asked, Comparison, Difference, Results

PARTS = [("item", "erp"), ("item", "shop")]
ALL = Asked(("item",))


@pytest.fixture
def results(tmp_path: Path):
    with closing(Results(r.path_in(tmp_path))) as opened:
        yield opened


def done(run: r.Run, place: int, **found: int) -> Comparison:
    return structs.replace(run.comparisons[place], state="done", began_at_us=1, ended_at_us=1_000_001, **found)


def test_runs_are_worked_on_one_after_the_other(results):
    first, second = results.ask(ALL, PARTS), results.ask(ALL, PARTS[:1])
    assert results.next().id == first
    assert [(c.subject, c.system, c.state) for c in results.next().comparisons] == [
        ("item", "erp", "waiting"),
        ("item", "shop", "waiting"),
    ]
    results.begin(first)
    assert results.next().state == "running"
    results.end(first)
    assert results.next().id == second
    assert results.cancel(second)
    assert results.next() is None
    assert not results.has_work()
    assert not results.cancel(second)


def test_a_paused_run_is_passed_over_and_goes_on_where_it_was(results):
    first, second = results.ask(ALL, PARTS), results.ask(ALL, PARTS)
    results.begin(first)
    assert results.pause(first, on=True)
    assert (results.next().id, results.wish(first), results.wish(second)) == (second, "pause", "go-on")
    results.pause(first, on=False)
    assert (results.next().id, results.wish(first)) == (first, "go-on")
    results.cancel(first)
    assert results.wish(first) == "cancel"
    assert results.wish(99) == "cancel"


def test_what_was_found_last_is_how_things_stand(results, tmp_path):
    assert r.drift(tmp_path) == ()
    run = results.run(results.ask(ALL, PARTS))
    results.keep(run.id, 0, done(run, 0, records=5), whole=True)
    results.keep(
        run.id, 1, done(run, 1, records=5, missing=2, different=1), [Difference("missing", b"k", b"")], whole=True
    )
    erp, shop = r.drift(tmp_path)
    assert (erp.drift, erp.last_success_at_us) == ({"missing": 0, "different": 0, "surplus": 0}, 1_000_001)
    assert (shop.drift, shop.last_success_at_us) == ({"missing": 2, "different": 1, "surplus": 0}, 0)
    assert [found.key for found in results.differences(run.id, 1)] == [b"k"]
    again = results.run(results.ask(ALL, PARTS))
    results.keep(again.id, 0, structs.replace(done(again, 0, surplus=1), ended_at_us=2_000_000), whole=True)
    (erp, _) = r.drift(tmp_path)
    assert (erp.last_success_at_us, erp.last_run_at_us, erp.surplus) == (1_000_001, 2_000_000, 1)


def test_single_records_and_what_could_not_be_compared_say_nothing_of_the_whole(results, tmp_path):
    run = results.run(results.ask(Asked(("item",), keys=(b"k",)), PARTS))
    results.keep(run.id, 0, done(run, 0, missing=1), whole=run.asked.is_whole)
    results.keep(run.id, 1, structs.replace(run.comparisons[1], state="failed", why="away"), whole=True)
    assert r.drift(tmp_path) == ()
    assert results.run(run.id).drift == 1


def test_only_the_last_runs_and_what_is_configured_are_remembered(results, tmp_path):
    runs = [results.run(results.ask(ALL, PARTS)) for _ in range(r.RUNS_KEPT + 3)]
    assert [run.id for run in results.runs()] == [run.id for run in runs[3:]]
    for place in (0, 1):
        results.keep(runs[-1].id, place, done(runs[-1], place), whole=True)
    results.forget([("item", "shop")])
    assert [standing.system for standing in r.drift(tmp_path)] == ["shop"]
    assert results.run(runs[0].id) is None


def test_the_moments_of_schedules_are_accounted_for(results):
    assert results.considered_us("") is None
    results.consider("", 5)
    results.consider("item", 7)
    assert (results.considered_us(""), results.considered_us("item")) == (5, 7)

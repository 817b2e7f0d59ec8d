"""Alive, stuck, ready: what each state of a worker means to who watches us."""

import msgspec
import pytest

from cdcd import health
from cdcd.report import DeliverFigures
from unit.statuses import NOW, SECOND, daemon, error, worker


def test_a_daemon_whose_workers_run_is_healthy_and_ready():
    assert health.health(daemon()) == []
    assert health.readiness(daemon()) == []


def test_a_server_that_is_down_makes_us_unready_but_not_unhealthy():
    status = daemon(deliver=worker("retrying", error=error("unavailable", "no answer")), backlog=1000)
    assert health.health(status) == []
    assert health.readiness(status) == [health.Reason("deliver:shop", "worker-retrying", "no answer")]


def test_a_paused_delivery_is_ready():
    assert health.readiness(daemon(deliver=worker("paused"))) == []


def test_what_waits_for_a_person_is_unhealthy_and_no_restart_helps():
    reason = health.Reason("capture:erp", "not-ready", "the slot is missing", stuck=False)
    assert health.health(daemon(capture=worker("stopped", error=error()))) == [reason]
    (full,) = health.health(daemon(capture=worker("journal-full")))
    assert (full.code, full.stuck) == ("journal-full", False)


@pytest.mark.parametrize(("seconds", "stuck"), [(1, False), (31, True)])
def test_a_process_that_does_not_come_back_is_stuck_after_a_while(seconds: int, stuck: bool):
    (reason,) = health.health(daemon(resolve=worker("down", since_us=NOW - seconds * SECOND)))
    assert (reason.code, reason.stuck) == ("worker-down", stuck)


def test_a_worker_that_keeps_crashing_is_unhealthy_between_its_lives_too():
    (reason,) = health.health(daemon(resolve=worker("starting", restarts=3, error=error("worker-ended"))))
    assert (reason.role, reason.code, reason.stuck) == ("resolve", "worker-down", False)
    assert health.health(daemon(resolve=worker("running", restarts=3, error=error("worker-ended")))) == []
    assert health.health(daemon(resolve=worker("starting"))) == []


def test_silence_is_stuck_whatever_the_last_word_was():
    (reason,) = health.health(daemon(deliver=worker("retrying", reported_at_us=NOW - 61 * SECOND)))
    assert (reason.role, reason.code, reason.stuck) == ("deliver:shop", "worker-silent", True)


def test_work_that_waits_without_movement_is_stalled():
    still = worker(moved_at_us=NOW - 301 * SECOND)
    reasons = health.health(daemon(capture=still, deliver=still, backlog=1))
    assert {(reason.role, reason.code, reason.stuck) for reason in reasons} == {
        ("capture:erp", "worker-stalled", True),
        ("deliver:shop", "worker-stalled", True),
    }


def test_a_call_that_a_server_takes_its_time_for_is_not_stalled_and_one_that_never_ends_is():
    """A transaction of a million rows, or an index first: whoever is ended there begins the same call anew."""
    slow = worker(moved_at_us=NOW - 3000 * SECOND, waiting_since_us=NOW - 2900 * SECOND)
    assert health.health(daemon(capture=slow, deliver=slow, backlog=1)) == []
    for state in ("running", "retrying", "starting"):
        endless = worker(state, moved_at_us=NOW - 3700 * SECOND, waiting_since_us=NOW - 3601 * SECOND)
        (reason,) = health.health(daemon(deliver=endless))
        assert (reason.code, reason.stuck) == ("worker-stalled", True)


@pytest.mark.parametrize(("seconds", "found"), [(3599, 0), (3601, 1)])
def test_a_start_may_take_long_but_not_for_ever(seconds: int, found: int):
    starting = worker("starting", since_us=NOW - seconds * SECOND, moved_at_us=NOW - seconds * SECOND)
    assert len(health.health(daemon(resolve=starting))) == found


def test_no_work_and_no_movement_is_idleness():
    assert health.health(daemon(capture=worker(moved_at_us=0), backlog=0)) == []


def test_a_delivery_that_its_rate_limit_has_wait_is_not_stalled():
    figures = DeliverFigures(limited_until_us=NOW + 3600 * SECOND)
    assert health.health(daemon(deliver=worker(moved_at_us=0, figures=figures), backlog=9)) == []
    overdue = msgspec.structs.replace(figures, limited_until_us=NOW - 301 * SECOND)
    assert len(health.health(daemon(deliver=worker(moved_at_us=0, figures=overdue), backlog=9))) == 1


def test_an_entity_that_is_left_behind_is_unhealthy_and_no_restart_helps():
    (reason,) = health.health(daemon(suspended=("product",)))
    assert (reason.code, reason.stuck) == ("schema-changed", False)
    assert "product is suspended" in reason.message


def test_the_headline_says_per_system_how_far_behind_or_what_is_the_matter():
    assert health.headline(daemon(deliver=worker("stopped"))) == "from erp 0 s, to shop stopped"
    away = worker("retrying", error=error("unavailable", "no answer from 10.0.0.1"))
    assert health.headline(daemon(capture=away)) == "from erp retrying [unavailable], to shop 2 s"
    assert health.headline(daemon(resolve=worker("outbox-full", error=error()))).startswith("resolve outbox-full, from")

"""What of a status may become an occurrence."""

from typing import Any

import msgspec
import pytest

from cdcd import health
from cdcd.notices.kinds import KINDS
from cdcd.notices.sight import Limits, look
from cdcd.report import CaptureFigures, DeliverFigures
from cdcd.scheduling.deliveries import Standing
from cdcd.status import CopyStatus, DaemonStatus, DirectoryStatus, DriftStatus, SourceLogStatus
from unit.statuses import NOW, SECOND, daemon, error, worker

LIMITS = Limits(lag_seconds=900)
FIGURES = DeliverFigures(parked=2)


def seen(status: DaemonStatus) -> dict[str, str]:
    sight = look(status, health.health(status), LIMITS)
    assert {code for code, _ in sight.conditions} <= KINDS.keys()
    ordinary = {("parked", "shop"), ("conflicts", "resolve"), ("held", "resolve"), ("first-copy", "order")}
    return {f"{c} {s}": found.text for (c, s), found in sight.conditions.items() if (c, s) not in ordinary}


def unknown(status: DaemonStatus) -> set[str]:
    return {f"{code} {subject}" for code, subject in look(status, health.health(status), LIMITS).unknown}


def delivery(status: DaemonStatus, **changes: Any) -> DaemonStatus:
    shop = status.systems["shop"]
    changed = msgspec.structs.replace(shop, deliver=msgspec.structs.replace(shop.deliver, **changes))
    return msgspec.structs.replace(status, systems={**status.systems, "shop": changed})


def test_a_daemon_that_runs_shows_only_what_waits_for_a_person():
    sight = look(daemon(deliver=worker(figures=FIGURES)), [], LIMITS)
    assert {key: found.text for key, found in sight.conditions.items()} == {
        ("parked", "shop"): "2 records are parked: shop refuses what they should become",
        ("conflicts", "resolve"): "1 conflict waits for a decision",
        ("held", "resolve"): "3 rows could not be understood",
        ("first-copy", "order"): "order is read and settled for the first time",
    }
    assert sight.unknown == frozenset()
    assert sight.conditions["parked", "shop"].next == "cdcd parked list --system shop"


def test_servers_that_do_not_answer_are_named_by_system():
    status = daemon(capture=worker("retrying", error=error("unavailable", "no answer")), deliver=worker("retrying"))
    assert seen(status) == {
        "source-unavailable erp": "erp does not answer: no answer (somebody dropped it)",
        "target-unavailable shop": "shop does not answer: it waits for a person",
    }


@pytest.mark.parametrize("code", ["position-lost", "position-ahead"])
def test_a_lost_position_is_not_any_stop(code: str):
    assert list(seen(daemon(capture=worker("stopped", error=error(code))))) == ["position-lost capture:erp"]
    assert list(seen(daemon(capture=worker("stopped", error=error())))) == ["worker-stopped capture:erp"]


def test_what_is_stuck_full_or_suspended_is_seen():
    still = worker(moved_at_us=NOW - 301 * SECOND)
    assert "worker-stalled deliver:shop" in seen(daemon(deliver=still, backlog=1))
    assert "worker-silent resolve" in seen(daemon(resolve=worker(reported_at_us=NOW - 61 * SECOND)))
    assert "worker-down resolve" in seen(daemon(resolve=worker("down")))
    assert "journal-full capture:erp" in seen(daemon(capture=worker("journal-full")))
    assert "outbox-full resolve" in seen(daemon(resolve=worker("outbox-full")))
    assert seen(daemon(suspended=("product",))) == {
        "entity-suspended product": "product is suspended: a column is gone [schema-changed]"
    }


def test_a_worker_that_is_only_just_starting_leaves_open_what_it_alone_can_tell():
    found = unknown(delivery(daemon(capture=worker("starting"), deliver=worker("starting")), parked=0))
    assert {"source-unavailable erp", "target-unavailable shop", "worker-stopped deliver:shop", "parked shop"} <= found
    assert not {code for code in found if code.startswith("conflicts")}


def test_a_worker_that_keeps_crashing_is_seen_between_its_lives_too():
    crashed = worker("starting", restarts=3, error=error("worker-ended"))
    assert "worker-down resolve" in seen(daemon(resolve=crashed))


def test_pauses_tell_an_operator_from_a_limit():
    later = Standing("product", "realtime", 3, 0, False, True, False, False, 0, 0, None, "an operator")
    limit = msgspec.structs.replace(later, reason="1,200 records of product are parked, parked-max is 5%")
    schedule = msgspec.structs.replace(later, entity="order", held=False, reason="")
    running = daemon(deliver=worker(figures=FIGURES))
    assert list(seen(delivery(running, later=(later, schedule)))) == ["entity-paused product to shop"]
    assert seen(delivery(running, later=(limit,))) == {
        "parked-limit product to shop": "product is held back from shop: 1,200 records of product are parked, parked-max is 5%"
    }
    assert list(seen(delivery(running, paused=True))) == ["paused shop"]


def test_being_behind_is_news_only_where_nothing_else_explains_it():
    late = delivery(daemon(deliver=worker(figures=FIGURES)), end_to_end_lag_seconds=1800.0)
    assert seen(late) == {"lag shop": "shop is 30 minutes behind"}
    paused = delivery(late, paused=True)
    assert "lag shop" not in seen(paused)
    assert "lag shop" in unknown(paused)
    away = delivery(late, worker=worker("retrying"))
    assert "lag shop" not in seen(away)
    assert "lag shop" in unknown(away)
    copying = daemon(deliver=worker(figures=FIGURES), copies=(CopyStatus("item", 1, False),))
    copying = delivery(copying, end_to_end_lag_seconds=1800.0)
    assert seen(copying) == {"copying erp": "1 table of erp is being read whole"}


def test_a_journal_that_fills_up_is_seen_before_it_is_full():
    status = daemon(capture=worker(figures=CaptureFigures()))
    journal = msgspec.structs.replace(status.journal, size_bytes=3_300)
    assert seen(msgspec.structs.replace(status, journal=journal)) == {
        "journal-filling journal": "the journal has used 82% of its room (journal.max-size)"
    }


def test_a_disk_that_fills_up_is_seen_and_one_that_nobody_could_look_at_is_not():
    status = daemon(capture=worker(figures=CaptureFigures()))
    full = msgspec.structs.replace(status, directory=DirectoryStatus(5, 300 * 2**20))
    assert seen(full) == {"disk-filling daemon": "the disk of the state directory has 300 MiB left"}
    assert seen(status) == {}


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (
            SourceLogStatus(headroom_ratio=0.1),
            "erp is about to remove log that we have not read: 10% of what it keeps is still free",
        ),
        (SourceLogStatus(slot_state="unreserved"), "erp is about to remove log that we have not read"),
        (SourceLogStatus(headroom_ratio=0.9, slot_state="reserved"), None),
        (SourceLogStatus(), None),
    ],
)
def test_log_that_is_about_to_be_removed_is_seen(log: SourceLogStatus, text: str | None):
    status = daemon()
    erp = status.systems["erp"]
    capture = msgspec.structs.replace(erp.capture, log=log)
    status = msgspec.structs.replace(status, systems={"erp": msgspec.structs.replace(erp, capture=capture)})
    assert seen(status) == ({} if text is None else {"log-headroom erp": text})


def test_records_that_a_verification_found_out_of_step_are_seen():
    drift = (DriftStatus("shop", "product", 1, 2, 3, NOW), DriftStatus("shop", "order", verified_at_us=NOW))
    assert seen(msgspec.structs.replace(daemon(), drift=drift)) == {
        "drift product in shop": "product in shop: 6 records are not in step: 1 missing, 2 different, 3 surplus"
    }

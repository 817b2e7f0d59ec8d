"""What the page says of a status: pure."""

import msgspec
import pytest

from cdcd.notices.occurrences import Occurrence
from cdcd.notices.sight import Limits
from cdcd.report import Counter
from cdcd.status import CopyStatus, DaemonStatus, SourceLogStatus
from cdcd.verifying.results import Asked, Comparison, Run, Standing
from cdcd.web import overview
from cdcd.web.overview import Overview, Sources
from cdcd.web.records import ConflictGroup, ParkedGroup, Records
from cdcd.web.samples import History
from cdcd.web.verdict import judge
from unit.statuses import NOW, SECOND, daemon, error, worker

replace = msgspec.structs.replace


def calm() -> DaemonStatus:
    """Nothing parked, nothing in conflict, nothing held."""
    status = daemon()
    shop = status.systems["shop"]
    assert shop.deliver is not None
    resolve = replace(status.resolve, conflicts=0, held=0, phases={"product": "live"}, conflicts_by_entity={})
    shop = replace(shop, deliver=replace(shop.deliver, parked=0, parked_by_entity={}))
    return replace(status, resolve=resolve, systems={**status.systems, "shop": shop})


def made(status: DaemonStatus, **sources: object) -> Overview:
    return overview.make(status, Sources(**sources))  # type: ignore[arg-type]


# ---- the verdict -------------------------------------------------------------------------------------------------


def test_all_is_well_when_nothing_is_to_be_said():
    verdict = judge(calm(), Limits())
    assert (verdict.level, verdict.headline, verdict.concerns) == ("well", "All is well", ())
    assert verdict.sentence == "Furthest behind: shop, by 2.5 s."


def test_the_worst_comes_first_and_gives_the_level():
    status = daemon(capture=worker("stopped", error=error()), paused=True)
    verdict = judge(status, Limits())
    assert verdict.level == "critical"
    assert verdict.headline == "1 thing needs you now, and 3 things to look at"
    severities = [concern.severity for concern in verdict.concerns]
    assert severities == sorted(severities, key=["critical", "warning", "info"].index)
    assert verdict.concerns[0].next == "SELECT pg_create_…"


def test_what_somebody_wished_is_mentioned_and_alarms_nobody():
    status = calm()
    shop = status.systems["shop"]
    assert shop.deliver is not None
    shop = replace(shop, deliver=replace(shop.deliver, paused=True))
    verdict = judge(replace(status, systems={**status.systems, "shop": shop}), Limits())
    assert (verdict.level, verdict.headline) == ("well", "All is well")
    assert [(concern.severity, concern.next) for concern in verdict.concerns] == [("info", "cdcd resume shop")]


def test_what_somebody_may_have_forgotten_is_to_be_looked_at():
    verdict = judge(replace(calm(), remarks=("the file was not taken over",)), Limits())
    assert (verdict.level, verdict.headline) == ("warning", "1 thing to look at")
    assert verdict.concerns[0].text == "the file was not taken over"


def test_a_daemon_that_starts_is_not_called_well_yet():
    starting = replace(calm(), resolve=replace(calm().resolve, worker=worker("starting")))
    verdict = judge(starting, Limits())
    assert (verdict.headline, verdict.sentence) == ("Starting", "Not running yet: resolve.")


# ---- lanes, queues, progress -------------------------------------------------------------------------------------


def test_every_stage_has_its_lane_in_the_order_of_the_way():
    lanes = made(calm()).lanes
    assert [(lane.system, lane.direction, lane.state, lane.tone) for lane in lanes] == [
        ("erp", "read", "running", "well"),
        ("", "decide", "running", "well"),
        ("shop", "write", "running", "well"),
    ]
    assert lanes[2].lag == "2.5 s"


@pytest.mark.parametrize(
    ("log", "note"),
    [
        (SourceLogStatus(), ""),
        (SourceLogStatus(slot_state="reserved", headroom_ratio=0.42), "log room 42% free"),
        (SourceLogStatus(slot_state="unreserved", headroom_ratio=0.42), "slot unreserved"),
        (SourceLogStatus(purge_seconds=-5.0), "log kept for 0.0 s more"),
    ],
)
def test_how_long_a_source_keeps_its_log_is_said(log: SourceLogStatus, note: str):
    status = calm()
    erp = status.systems["erp"]
    assert erp.capture is not None
    erp = replace(erp, capture=replace(erp.capture, log=log))
    assert made(replace(status, systems={**status.systems, "erp": erp})).lanes[0].note == note


def test_a_paused_system_is_paused_whatever_its_process_does():
    (lane,) = [lane for lane in made(daemon(paused=True)).lanes if lane.direction == "write"]
    assert (lane.state, lane.tone, lane.is_paused, lane.note) == ("paused", "info", True, "2 parked")


def test_a_full_journal_is_seen():
    queues = {queue.name: queue for queue in made(calm()).queues}
    assert (queues["Journal"].share, queues["Journal"].tone) == (0.25, "well")
    full = replace(calm(), journal=replace(calm().journal, size_bytes=8_000))
    (journal, *_) = made(full).queues
    assert (journal.share, journal.tone) == (1.0, "critical")


def test_copies_and_verifications_under_way_have_a_share_where_it_is_known():
    copies = (CopyStatus("item", 50, False, 200, rows_per_second=10.0), CopyStatus("tax", 5, False, paused=True))
    comparison = Comparison("product", "shop", "reading", "", 30, 20)
    run = Run(1, Asked(("product",)), NOW, "running", False, 0, (comparison, Comparison("order", "shop", "done")))
    progress = made(daemon(copies=(*copies, CopyStatus("done", 1, True))), runs=(run,)).progress
    assert [(one.kind, one.what, one.share, one.rest) for one in progress] == [
        ("first copy", "erp: item", 0.25, "about 15 s left"),
        ("first copy", "erp: tax", None, "paused"),
        ("verification", "product in shop", 1.0, ""),
    ]


# ---- entities, events, verification ------------------------------------------------------------------------------


def test_an_entity_has_its_state_its_records_and_what_was_decided_about_its_changes():
    counters = (
        Counter("resolved_changes", ("erp", "product", "echo"), 5),
        Counter("resolved_changes", ("shop", "product", "written"), 4),
        Counter("resolved_changes", ("erp", "product", "written"), 3),
    )
    records = Records(
        parked_groups=(
            ParkedGroup("product", "shop", "too-long", 2, 1, 1),
            ParkedGroup("product", "erp", "x", 3, 1, 1),
        ),
        conflict_groups=(ConflictGroup("product", "shop", "held", 1, 1),),
        counts={"product": (1_234, True), "order": (20_000, False)},
    )
    order, product = made(daemon(counters=counters, suspended=("order",)), records=records).entities
    assert product.decisions == (("written", "7"), ("echo", "5"))
    assert (product.records, product.parked, product.conflicts, product.phase) == ("1,234", 5, 1, "settled")
    assert (order.records, order.phase, order.tone) == ("over 20,000", "suspended", "critical")


def test_events_say_whether_they_last():
    events = (
        Occurrence(NOW - 9 * SECOND, "warning", "lag", "shop", "shop is behind", None, "cdcd status"),
        Occurrence(NOW - 600 * SECOND, "warning", "lag", "shop", "shop was behind", NOW - 300 * SECOND),
        Occurrence(NOW - 700 * SECOND, "info", "started", "daemon", "the daemon started", NOW - 700 * SECOND),
    )
    rows = made(calm(), events=events).events
    assert [(row.lasted, row.next, row.ago) for row in rows] == [
        ("ongoing", "cdcd status", "9 s ago"),
        ("5 min", "", "10 min ago"),
        ("", "", "12 min ago"),
    ]


def test_a_verification_says_what_is_not_in_step():
    drifting = Standing("product", "shop", NOW - 60 * SECOND, 0, 3, 0, 1, 0, 5_000, 4.0)
    well = Standing("order", "shop", NOW - 60 * SECOND, NOW, 0, 0, 0, 2, 1, 4.0)
    rows = made(calm(), standings=(drifting, well)).verification
    assert [(row.result, row.tone, row.records) for row in rows] == [
        ("3 missing, 1 surplus", "warning", "5,000 records"),
        ("in step", "well", "1 record"),
    ]


def test_the_lines_of_a_daemon_that_has_just_started_are_as_wide_as_two_minutes_and_later_half_an_hour():
    assert made(calm()).window == "2 min"
    short = History((NOW, NOW + 60 * SECOND), {"resolve.lag_seconds": (0.0, 5.0)})
    page = made(calm(), history=short)
    assert page.window == "2 min"
    assert page.lanes[1].spark.line == "M60.0,22.0L120.0,2.0"
    assert made(calm(), history=History((NOW, NOW + 1_795 * SECOND), {})).window == "30 min"

"""Metrics: names by the rules, values from the status, nothing in labels that grows without bound."""

import re

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from cdcd import metrics
from cdcd.report import Counter
from cdcd.scheduling.deliveries import Standing
from cdcd.status import CopyStatus
from unit.statuses import NOW, SECOND, daemon, worker

COUNTERS = (
    Counter("captured_changes", ("erp",), 41),
    Counter("resolved_changes", ("erp", "product", "reverted"), 5),
    Counter("record_events", ("erp", "product", "restored"), 2),
    Counter("delivered_writes", ("shop", "upsert"), 40),
    Counter("errors", ("capture:erp", "unavailable"), 3),
    Counter("worker_restarts", ("resolve",), 1),
)


def exposed() -> str:
    copies = (CopyStatus("item", 10, done=False), CopyStatus("partner", 5, done=True))
    status = daemon(deliver=worker("retrying"), counters=COUNTERS, copies=copies, suspended=("erp:move",))
    deliver = status.systems["shop"].deliver
    assert deliver is not None
    later = (
        Standing("order", "0 2 * * *", 7, NOW - SECOND, False, False, False, False, 0, 0, NOW + SECOND),
        Standing("product", "on-demand", 0, 0, False, False, False, False, 0, 0, None),
    )
    status.systems["shop"] = msgspec.structs.replace(
        status.systems["shop"], deliver=msgspec.structs.replace(deliver, later=later)
    )
    registry = CollectorRegistry()
    registry.register(metrics.StatusCollector(lambda: status))
    return generate_latest(registry).decode()


def test_values_come_from_the_status():
    lines = exposed().splitlines()
    for line in (
        'cdcd_events_read_total{source="erp"} 41.0',
        'cdcd_events_resolved_total{decision="reverted",entity="product",source="erp"} 5.0',
        'cdcd_events_total{entity="product",event="restored",system="erp"} 2.0',
        'cdcd_events_applied_total{op="upsert",target="shop"} 40.0',
        'cdcd_errors_total{code="unavailable",worker="capture:erp"} 3.0',
        'cdcd_worker_restarts_total{worker="resolve"} 1.0',
        'cdcd_capture_lag_seconds{source="erp"} 0.5',
        'cdcd_apply_lag_seconds{target="shop"} 1.5',
        'cdcd_end_to_end_lag_seconds{target="shop"} 2.5',
        'cdcd_parked_events{target="shop"} 2.0',
        'cdcd_entity_live{entity="order"} 0.0',
        'cdcd_entity_suspended{entity="product"} 0.0',
        'cdcd_entity_suspended{entity="erp:move"} 1.0',
        'cdcd_backfill_unfinished_tables{source="erp"} 1.0',
        'cdcd_state{state="retrying",worker="deliver:shop"} 1.0',
        'cdcd_state{state="running",worker="deliver:shop"} 0.0',
        "cdcd_journal_bytes 1000.0",
        'cdcd_owed_records{entity="order",target="shop"} 7.0',
        'cdcd_owed_records{entity="product",target="shop"} 0.0',
        'cdcd_owed_since_timestamp_seconds{entity="order",target="shop"} 1.795299999e+09',
        'cdcd_schedule_next_run_timestamp_seconds{entity="order",target="shop"} 1.795300001e+09',
    ):
        assert line in lines, line


def test_names_follow_the_naming_rules():
    for line in exposed().splitlines():
        if not line.startswith("#"):
            name = re.split(r"[{ ]", line)[0]
            assert name.startswith("cdcd_")
            assert not re.search(r"_(ms|us|mb|kb|milliseconds|minutes)(_|$)", name), name
    for name, (metric, text, labels) in metrics.COUNTERS.items():
        assert text.endswith(".")
        assert len(set(labels)) == len(labels)
        assert not metric.endswith("_total"), name


def test_no_label_holds_a_position_a_key_or_a_time():
    labels = set(re.findall(r"[{,](\w+)=", exposed()))
    known = {"source", "target", "system", "entity", "decision", "event", "op", "worker", "state", "code"}
    assert labels <= known | {"version", "daemon"}


def test_a_process_that_is_gone_has_no_memory():
    assert metrics.resident_bytes(2**22) == 0
    assert metrics.resident_bytes(__import__("os").getpid()) > 10**6

"""Metrics: names by the rules, values from the status, nothing in labels that grows without bound, documented."""

import math
import os
import re
import subprocess

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from cdcd import pause_switches
from cdcd.durations import Durations
from cdcd.metrics import StatusCollector
from cdcd.metrics.catalogue import COUNTED, METRICS
from cdcd.metrics.values import resident_bytes
from cdcd.report import Counter
from cdcd.scheduling.deliveries import Standing
from cdcd.status import (
    CopyStatus,
    DaemonStatus,
    DirectoryStatus,
    DriftStatus,
    JournalStatus,
    SourceLogStatus,
    SystemStatus,
)
from monitoring.programs import program
from unit.metrics_table import DOCUMENT, alerts, written
from unit.statuses import NOW, SECOND, daemon, worker

LABELS = {
    "by", "channel", "code", "daemon", "decision", "entity", "event", "kind", "le", "op", "result", "source", "state",
    "system", "target", "version", "verb", "worker",
}  # fmt: skip
LOG = SourceLogStatus(NOW - SECOND, "extended", headroom_ratio=0.25, purge_seconds=3600.0, clock_offset_seconds=-0.125)


def took(*seconds: float) -> Durations:
    durations = Durations()
    for one in seconds:
        durations.observe(one)
    return durations


def counters(entities: tuple[str, ...] = ("product",)) -> tuple[Counter, ...]:
    found = [
        Counter("captured_transactions", ("erp",), 4),
        Counter("captured_changes", ("erp",), 41),
        Counter("copied_rows", ("erp",), 7),
        Counter("applied_transactions", ("shop",), 3),
        Counter("parked_records", ("shop",), 2),
        Counter("waiting_changes", ("shop",), 1),
        Counter("parked_retries", ("shop",), 5),
        Counter("put_aside_records", ("shop",), 6),
        Counter("errors", ("capture:erp", "unavailable"), 3),
        Counter("worker_restarts", ("resolve",), 1),
        Counter("notifications", ("mail", "failed"), 9),
        Counter("page_actions", ("retry", "done"), 8),
        *took(0.002, 0.2).counters("capture_commits", "erp"),
        *took(0.02).counters("resolve_steps"),
        *took(0.02, 400.0).counters("apply_transactions", "shop"),
    ]
    for entity in entities:
        found += [Counter("resolved_changes", ("erp", entity, decision), 5) for decision in ("revert", "echo")]
        found += [Counter("record_events", ("erp", entity, event), 2) for event in ("created", "restored")]
        found += [Counter("delivered_writes", ("shop", entity, op), 40) for op in ("upsert", "delete")]
    return tuple(found)


def full(entities: tuple[str, ...] = ("product", "order"), log: SourceLogStatus = LOG) -> DaemonStatus:
    """A daemon of which every metric has something to say."""
    copies = (CopyStatus("item", 10, done=False), CopyStatus("partner", 5, done=True))
    status = daemon(deliver=worker("retrying"), counters=counters(entities), copies=copies, suspended=("erp:move",))
    capture, deliver = status.systems["erp"].capture, status.systems["shop"].deliver
    assert capture is not None
    assert deliver is not None
    later = tuple(
        Standing(
            entity, "0 2 * * *", 7, NOW - SECOND, False, False, False, False, 0, 0, NOW + SECOND,
            pause_switches.BY_OPERATOR if number else "", NOW - 2 * SECOND,
        )
        for number, entity in enumerate(entities)
    )  # fmt: skip
    deliver = msgspec.structs.replace(
        deliver,
        later=later,
        end_to_end_lag_events=12,
        oldest_at_us=NOW - 3 * SECOND,
        paused_since_us=NOW - 9 * SECOND,
        parked_by_entity=dict.fromkeys(entities, 0) | {"product": 2, "erp:move": 1},
    )
    resolve = msgspec.structs.replace(
        status.resolve, phases=dict.fromkeys(entities, "live") | {"order": "seeding"}, waiting=4
    )
    return msgspec.structs.replace(
        status,
        systems={
            "erp": SystemStatus("postgres", msgspec.structs.replace(capture, log=log), None),
            "shop": SystemStatus("mysql", None, deliver),
        },
        resolve=resolve,
        journal=JournalStatus(12, 1000, 4000, 9, NOW - 100 * SECOND, NOW - 10 * SECOND),
        directory=DirectoryStatus(5000, 70_000),
        drift=tuple(DriftStatus("shop", entity, 1, 2, 3, NOW - SECOND, NOW - 2 * SECOND) for entity in entities),
        verify_due_us=dict.fromkeys(entities, NOW),
        standby="pid 7",
    )


def exposed(status: DaemonStatus) -> str:
    registry = CollectorRegistry()
    registry.register(StatusCollector(lambda: status))
    return generate_latest(registry).decode()


def samples(status: DaemonStatus) -> list[str]:
    return [line for line in exposed(status).splitlines() if not line.startswith("#")]


def test_values_come_from_the_status():
    lines = exposed(full()).splitlines()
    for line in (
        'cdcd_build_info{daemon="acme",version="1.2.3"} 1.0',
        "cdcd_standby 1.0",
        "cdcd_state_dir_free_bytes 70000.0",
        'cdcd_events_read_total{source="erp"} 41.0',
        'cdcd_events_resolved_total{decision="revert",entity="product",source="erp"} 5.0',
        'cdcd_events_total{entity="product",event="restored",system="erp"} 2.0',
        'cdcd_events_applied_total{entity="product",op="upsert",target="shop"} 40.0',
        'cdcd_errors_total{code="unavailable",worker="capture:erp"} 3.0',
        'cdcd_worker_restarts_total{worker="resolve"} 1.0',
        'cdcd_notifications_total{channel="mail",result="failed"} 9.0',
        'cdcd_capture_lag_seconds{source="erp"} 0.5',
        'cdcd_source_log_headroom_ratio{source="erp"} 0.25',
        'cdcd_source_log_purge_seconds{source="erp"} 3600.0',
        'cdcd_source_slot_state{source="erp",state="extended"} 1.0',
        'cdcd_source_slot_state{source="erp",state="lost"} 0.0',
        'cdcd_source_clock_offset_seconds{source="erp"} -0.125',
        'cdcd_apply_lag_seconds{target="shop"} 1.5',
        'cdcd_end_to_end_lag_seconds{target="shop"} 2.5',
        'cdcd_end_to_end_lag_events{target="shop"} 12.0',
        'cdcd_parked_events{entity="product",target="shop"} 2.0',
        'cdcd_parked_events{entity="order",target="shop"} 0.0',
        'cdcd_parked_events{entity="erp:move",target="shop"} 1.0',
        'cdcd_conflicts{entity="product"} 1.0',
        'cdcd_conflicts{entity="order"} 0.0',
        'cdcd_entity_live{entity="order"} 0.0',
        'cdcd_entity_suspended{entity="product"} 0.0',
        'cdcd_entity_suspended{entity="erp:move"} 1.0',
        'cdcd_backfill_unfinished_tables{source="erp"} 1.0',
        'cdcd_state{state="retrying",worker="deliver:shop"} 1.0',
        'cdcd_state{state="running",worker="deliver:shop"} 0.0',
        "cdcd_journal_bytes 1000.0",
        "cdcd_journal_entries 9.0",
        'cdcd_owed_records{entity="order",target="shop"} 7.0',
        'cdcd_owed_since_timestamp_seconds{entity="order",target="shop"} 1.795299999e+09',
        'cdcd_schedule_next_run_timestamp_seconds{entity="order",target="shop"} 1.795300001e+09',
        'cdcd_schedule_due_timestamp_seconds{entity="order",target="shop"} 1.795299998e+09',
        'cdcd_entity_paused{by="operator",entity="order",target="shop"} 1.0',
        'cdcd_entity_paused{by="parked-max",entity="order",target="shop"} 0.0',
        'cdcd_verify_drift_records{entity="product",kind="different",system="shop"} 2.0',
        'cdcd_capture_commit_duration_seconds_bucket{le="0.0025",source="erp"} 1.0',
        'cdcd_capture_commit_duration_seconds_bucket{le="+Inf",source="erp"} 2.0',
        'cdcd_apply_transaction_duration_seconds_bucket{le="300",target="shop"} 1.0',
        'cdcd_apply_transaction_duration_seconds_count{target="shop"} 2.0',
        'cdcd_apply_transaction_duration_seconds_sum{target="shop"} 400.02',
        "cdcd_resolve_step_duration_seconds_count 1.0",
    ):
        assert line in lines, line


def test_every_metric_has_a_value_when_there_is_something_to_tell():
    named = {re.sub(r"_(bucket|sum|count)$", "", re.split(r"[{ ]", line)[0]) for line in samples(full())}
    assert named == {found.exposed_name for found in METRICS.values()}


def test_every_metric_has_its_help_before_there_is_anything_to_tell():
    text = exposed(daemon())
    for found in METRICS.values():
        assert f"# HELP {found.exposed_name} {found.meaning}" in text.replace("\\", "")


def test_names_follow_the_naming_rules():
    for name, found in METRICS.items():
        assert re.fullmatch(r"cdcd_[a-z]+(_[a-z]+)*", name)
        assert not re.search(
            r"_(ms|us|mb|kb|milliseconds|minutes|days|percent|age|total|info|count|sum|bucket)$", name
        ), name
        assert found.kind != "histogram" or name.endswith("_duration_seconds")
        assert found.meaning.endswith("."), name
        assert not found.origin.endswith("."), name
        assert set(found.labels) <= LABELS
        assert len(set(found.labels)) == len(found.labels)
        assert ("timestamp" in name) == name.endswith("_timestamp_seconds")


def test_samples_have_the_labels_that_are_documented():
    for line in samples(full()):
        name = re.sub(r"_(bucket|sum|count|total|info)$", "", re.split(r"[{ ]", line)[0])
        labels = set(re.findall(r'[{,](\w+)="', line)) - {"le"}
        assert labels == (set(METRICS[name].labels) or labels & {"version", "daemon"}), line


def test_counters_that_workers_report_are_all_known():
    assert set(COUNTED.values()) == {name for name, found in METRICS.items() if found.kind in ("counter", "histogram")}


def test_no_label_holds_a_position_a_key_or_a_time():
    assert set(re.findall(r"[{,](\w+)=", exposed(full()))) <= LABELS


def test_a_thousand_entities_make_as_many_series_as_entities_systems_and_decisions():
    few = samples(full(tuple(f"e{number}" for number in range(10))))
    many = samples(full(tuple(f"e{number}" for number in range(1010))))
    per_entity = 2 + 2 + 2 + 3 + 1 + 6 + 6  # decisions, events, operations, state, parked, later, drift
    assert len(many) - len(few) == 1000 * per_entity


def test_a_server_that_never_purges_is_told_from_one_of_which_nothing_is_known():
    def purge(log: SourceLogStatus) -> list[str]:
        return [line for line in samples(full(log=log)) if line.startswith("cdcd_source_log_purge_seconds")]

    assert purge(SourceLogStatus(never_purged=True)) == ['cdcd_source_log_purge_seconds{source="erp"} +Inf']
    assert purge(SourceLogStatus()) == []
    assert math.isinf(float("+Inf"))


def test_a_binlog_has_no_slot_and_what_is_not_known_is_not_told():
    lines = samples(full(log=SourceLogStatus()))
    absent = ("slot_state", "headroom_ratio", "clock_offset")
    assert [line for line in lines if any(word in line for word in absent)] == []


def test_prometheus_itself_finds_nothing_to_say_about_them():
    text = exposed(full())
    command = [str(program("promtool")), "check", "metrics"]
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


# ---- the documentation -----------------------------------------------------------------------------------------------


def test_the_documentation_is_in_step_with_the_catalogue_and_the_rules():
    text = DOCUMENT.read_text("utf-8")
    assert written(text) == text, "run: PYTHONPATH=tests:. python -m unit.metrics_table"


@pytest.mark.parametrize("name", sorted(found.exposed_name for found in METRICS.values()))
def test_every_metric_is_documented(name: str):
    assert f"\n| `{name}` |" in DOCUMENT.read_text("utf-8")


def test_alerts_ask_only_for_metrics_that_there_are():
    assert set(alerts()) <= {found.exposed_name for found in METRICS.values()}


def test_metrics_that_the_documentation_speaks_of_exist():
    spoken = set(re.findall(r"`(cdcd_\w+)`", DOCUMENT.read_text("utf-8")))
    assert spoken == {found.exposed_name for found in METRICS.values()}


def test_a_process_that_is_gone_has_no_memory():
    assert resident_bytes(2**22) == 0
    assert resident_bytes(os.getpid()) > 10**6

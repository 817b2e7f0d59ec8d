"""What a measurement counts."""

import os

from bench import measuring, soak
from bench.growth import MORE_TABLES, TABLES, _filling
from bench.measuring import Cost, Meter
from bench.workloads import TABLES as OF_WORKLOADS

MB = 10**6


def test_a_rate_leaves_out_the_start():
    assert Cost(3.0, {}, 0, {}, startup_seconds=1.0).rate(1000) == 500


def test_cpu_of_the_start_does_not_count(monkeypatch):
    used = iter((10.0, 13.0, 14.5))
    monkeypatch.setattr(measuring, "cpu_seconds", lambda _pid: next(used))
    with Meter({"us": os.getpid()}, "") as meter:
        meter.begin()
        cost = meter.stop()
    assert cost.cpu_seconds == {"us": 1.5}
    assert 0 < cost.startup_seconds <= cost.wall_seconds


def test_even_a_short_measurement_has_a_memory():
    with Meter({"us": os.getpid()}, "us", lambda _pid: "tests") as meter:
        cost = meter.stop()
    assert cost.memory_bytes >= cost.memory_by_process["tests"] > MB


def test_growth_is_told_per_hour_and_leaves_out_the_first_minutes():
    assert soak.growth_bytes_per_hour([50 * MB, 90 * MB, *[100 * MB] * 5]) == 0
    assert round(soak.growth_bytes_per_hour([0, 0, 100 * MB, 101 * MB, 102 * MB])) == 60 * MB
    assert soak.growth_bytes_per_hour([1, 2, 3]) == 0


def test_the_long_journal_gets_as_many_changes_as_it_should():
    assert len(MORE_TABLES) + len(OF_WORKLOADS) == TABLES
    statements = [statement for transaction in _filling(20_000) for statement in transaction]
    inserts = [s for s in statements if s.startswith("INSERT")]
    updates = [s for s in statements if s.startswith("UPDATE")]
    assert len(inserts) == len(MORE_TABLES)
    assert 10 * (len(inserts) + len(updates)) == 20_000

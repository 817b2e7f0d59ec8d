"""Whether a run has shown what is wanted of cdcd."""

import io

import pytest
from rich.console import Console

from bench import targets
from bench.results import Result
from bench.targets import TARGETS, Target


def measured(system="cdcd", *, line="my > pg", work="W1", run=1, scale=0.1, **more):
    return Result(line=line, workload=work, system=system, scale=scale, run=run, **more)


def verdict(target, *found):
    (only,) = targets.verdicts(list(found), [target])
    return only.found, only.is_met


def test_a_rate_is_to_be_at_least_so_many_times_the_peers():
    target = Target("my > pg", "W1", "rows/s", 5, "Debezium")
    peer = measured("Debezium", rows_per_second=10)
    assert verdict(target, measured(rows_per_second=50), peer) == (5, True)
    assert verdict(target, measured(rows_per_second=49), peer) == (4.9, False)


def test_memory_is_to_be_at_most_a_share_of_the_peers():
    target = Target("my > pg", "W1", "MB", 1 / 3, "Debezium")
    peer = measured("Debezium", memory_bytes=900)
    assert verdict(target, measured(memory_bytes=300), peer)[1]
    assert not verdict(target, measured(memory_bytes=301), peer)[1]


def test_each_line_has_its_own_verdict_of_a_target_for_all_lines():
    found = [measured("cdcd", line=line, work="W5", p50_ms=ms, p99_ms=9) for line, ms in (("a", 4), ("b", 6))]
    verdicts = targets.verdicts(found, [Target("", "W5", "ms p50", 5)])
    assert [(v.line, v.found, v.is_met) for v in verdicts] == [("a", 4, True), ("b", 6, False)]


def test_memory_counts_where_it_was_highest():
    found = [measured(work="W1", memory_bytes=100_000_000), measured(work="W4", memory_bytes=300_000_000)]
    (only,) = targets.verdicts(found, [Target("", "", "MB", 250)])
    assert (only.workload, only.found, only.is_met) == ("W4", 300, False)


def test_the_median_of_the_runs_counts():
    found = [measured(work="IDLE", run=run, core_share=share) for run, share in enumerate((0.001, 0.004, 0.9))]
    assert verdict(Target("", "IDLE", "share of a core", 0.005), *found) == (0.004, True)


def test_what_a_first_copy_takes_grows_with_the_rows_but_its_start_does_not():
    found = measured(work="INIT", scale=0.1, wall_seconds=3.0, startup_seconds=1.0)
    assert verdict(Target("", "INIT", "s at scale 1", 30), found) == (21, True)


def test_no_growth_at_all_is_measured_too():
    assert verdict(Target("", "SOAK", "MB more an hour", 5), measured(work="SOAK")) == (0, True)


def test_without_the_peer_nothing_is_shown_and_nothing_is_missed():
    target = Target("my > pg", "W1", "rows/s", 5, "Debezium")
    assert verdict(target, measured(rows_per_second=50)) == (None, False)


def test_what_was_not_run_has_no_verdict():
    assert targets.verdicts([measured(work="W2", rows_per_second=50)], [Target("", "W1", "rows/s", 5)]) == []


@pytest.mark.parametrize(("milliseconds", "mark"), [(4.0, False), (6.0, True)])
def test_the_table_marks_what_is_not_met(milliseconds, mark):
    console = Console(width=200, file=io.StringIO())
    targets.show([measured(work="W5", p50_ms=milliseconds)], console)
    assert ("!" in console.file.getvalue()) is mark


def test_every_target_can_be_told_to_people():
    assert {target.wanted for target in TARGETS} >= {
        "≥ 100,000",
        "≥ 10 x pg_chameleon's",
        "≤ 0.333 x Debezium's",
        "≤ 0.50%",
        "≤ 250",
    }

"""What the benchmark's table says of its results."""

import io

import msgspec
from rich.console import Console

from bench import results
from bench.results import Result


def measured(system="cdcd", rate=0.0, *, line="my > journal", work="W1", run=1, **more):
    return Result(line=line, workload=work, system=system, scale=0.1, run=run, rows_per_second=rate, **more)


def shown(found, earlier=()):
    console = Console(width=200, file=io.StringIO())
    results.show(found, list(earlier), console)
    return console.file.getvalue()


def test_two_measurements_in_one_run_are_each_compared_with_the_peer_beside_them():
    found = [measured("reader", 10), measured(rate=20), measured("reader", 100), measured(rate=400)]
    pairs = results.pairs(found, "my > journal", "W1", "reader")
    assert [(ours.rows_per_second, peer.rows_per_second) for ours, peer in pairs] == [(20, 10), (400, 100)]
    assert results.ratio(found, "my > journal", "W1", "reader") == 3


def test_a_run_is_compared_within_itself_only():
    found = [measured("reader", 10), measured("reader", 1000, run=2), measured(rate=20, run=1)]
    assert results.ratio(found, "my > journal", "W1", "reader") == 2


def test_a_peer_that_was_not_measured_gives_no_ratio():
    assert results.ratio([measured(rate=20), measured("reader", 0)], "my > journal", "W1", "reader") == 0
    assert results.pairs([measured(rate=20)], "my > journal", "W1", "reader") == []


def test_a_peers_row_says_how_many_times_as_fast_we_are():
    found = [measured("reader", 10), measured(rate=25)]
    assert results.cells(("my > journal", "W1", "reader"), found[:1], found, [])[:2] == ["10", "2.50 x"]
    assert results.cells(("my > journal", "W1", "cdcd"), found[1:], found, [])[:2] == ["25", ""]


def test_cpu_is_told_altogether_and_without_the_servers():
    one = measured(rate=1, changes=1_000_000, cpu_seconds={"cdcd": 11.0, "source": 4.0, "target": 9.5})
    assert "24.5 (11.0)" in results.cells(("my > journal", "W1", "cdcd"), [one], [one], [])


def test_latency_is_told_in_milliseconds_and_finer_below_one():
    one = measured(work="W5", p50_ms=0.064, p99_ms=12.34)
    assert "0.06 / 12.3" in results.cells(("my > journal", "W5", "cdcd"), [one], [one], [])


def test_what_an_older_version_has_kept_is_read_and_compared_with(tmp_path):
    old = tmp_path / "old.json"
    old.write_bytes(
        b'[{"line": "pg > pg", "workload": "W1", "system": "cdcd", "scale": 0.3, "run": 1, "rows_per_second": 100.0,'
        b' "wall_seconds": 10.0, "cpu_seconds": {"cdcd": 0.02}, "memory_bytes": 5000000, "memory_by_process": {},'
        b' "p50_ms": 0.0, "p99_ms": 0.0, "difference": ""}]'
    )
    earlier = results.load(old)
    new = [msgspec.structs.replace(earlier[0], rows_per_second=250.0, changes=1000, startup_seconds=0.5)]
    assert "2.50 x" in results.cells(("pg > pg", "W1", "cdcd"), new, new, earlier)
    assert "20.0 (20.0)" in results.cells(("pg > pg", "W1", "cdcd"), earlier, earlier, [])


def test_what_is_kept_is_what_was_found(tmp_path):
    found = [measured(rate=25, changes=5, startup_seconds=1.5, core_share=0.1)]
    results.save(found, tmp_path / "kept.json")
    assert results.load(tmp_path / "kept.json") == found


def test_databases_that_differ_are_pointed_out():
    assert "not equal: orders" in shown([measured(rate=25, difference="orders")])
    assert "not equal" not in shown([measured(rate=25)])


def test_nothing_found_shows_nothing():
    assert shown([]) == ""

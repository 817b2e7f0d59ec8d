"""Durations in buckets: what workers report is what was observed."""

import pytest

from cdcd.durations import BUCKETS_SECONDS, Durations, histograms


def observed(*seconds: float) -> Durations:
    durations = Durations()
    for one in seconds:
        durations.observe(one)
    return durations


def test_what_is_reported_is_put_together_again_as_a_cumulative_histogram():
    counters = observed(0.0004, 0.001, 0.02, 0.02, 999.0).counters("capture_commits", "erp")
    found = histograms(counters)[("erp",)]
    buckets = dict(found.cumulative())
    assert (buckets["0.001"], buckets["0.01"], buckets["0.025"], buckets["300"], buckets["+Inf"]) == (2, 2, 4, 4, 5)
    assert found.sum_seconds == pytest.approx(999.0414)
    assert list(buckets) == [f"{bound:g}" for bound in BUCKETS_SECONDS] + ["+Inf"]


def test_empty_buckets_are_not_reported():
    assert observed().counters("resolve_steps") == []
    assert [counter.labels for counter in observed(0.3, 0.4).counters("resolve_steps")] == [("0.5",), ("sum_us",)]


def test_histograms_of_several_sources_are_kept_apart():
    counters = observed(0.1).counters("capture_commits", "erp") + observed(0.1, 0.2).counters("capture_commits", "shop")
    found = histograms(counters)
    assert {labels: histogram.cumulative()[-1][1] for labels, histogram in found.items()} == {("erp",): 1, ("shop",): 2}

"""Words, small lines, and the half hour that is kept."""

import math

import msgspec
import pytest

from cdcd.report import Counter
from cdcd.web import samples as s
from cdcd.web import sparkline, wording
from cdcd.web.samples import History, Samples
from unit.statuses import NOW, SECOND, daemon


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (42, "42 s"), (600, "10 min"), (9_000, "2 h"), (200_000, "2 d")],
)
def test_a_duration_has_the_unit_in_which_it_is_small(seconds: float, text: str):
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1_412, "1.4 KiB"), (2**30, "1.0 GiB"), (99.6 * 2**20, "100 MiB")],
)
def test_a_size_has_the_unit_in_which_it_is_small(size_bytes: float, text: str):
    assert wording.size(size_bytes) == text


def test_moments_are_told_by_their_distance():
    assert wording.ago(0, NOW) == ""
    assert wording.ago(NOW, NOW) == "just now"
    assert wording.ago(NOW - 5 * SECOND, NOW) == "5 s ago"
    assert wording.until(NOW + 90 * SECOND, NOW) == "in 90 s"
    assert wording.until(NOW - SECOND, NOW) == "now"
    assert wording.rate(None) == ""
    assert (wording.rate(0.0), wording.rate(2.25), wording.rate(1_200.4)) == ("0/s", "2.2/s", "1,200/s")


# ---- small lines -------------------------------------------------------------------------------------------------


def test_a_line_ends_at_the_right_and_its_highest_point_is_the_peak():
    drawn = sparkline.draw([0, 5, 10], [0.0, 4.0, 1.0], 10, 2.0)
    assert drawn.line == "M0.0,22.0L60.0,2.0L120.0,17.0"
    assert drawn.area == "M0.0,24L0.0,22.0L60.0,2.0L120.0,17.0L120.0,24Z"
    assert drawn.peak == 4.0


def test_what_is_small_stays_small():
    assert sparkline.draw([0, 10], [0.1, 0.2], 10, 2.0).line == "M0.0,21.0L120.0,20.0"


def test_a_quiet_half_hour_is_two_points_and_a_gap_is_a_gap():
    assert sparkline.draw(range(300), [0.0] * 300, 300, 1.0).line.count("L") == 1
    assert sparkline.draw(range(4), [1.0, math.nan, 1.0, 1.0], 4, 1.0).line.count("M") == 2
    assert sparkline.draw([], [], 10, 1.0) == sparkline.Sparkline()
    assert sparkline.draw([1, 2], [math.nan, math.nan], 10, 1.0) == sparkline.Sparkline()


# ---- what is kept ------------------------------------------------------------------------------------------------


def at(seconds: float, rows: int = 0, **changes: object) -> object:
    counters = (Counter("captured_changes", ("erp",), rows), Counter("copied_rows", ("erp",), 1))
    return msgspec.structs.replace(daemon(counters=counters), at_us=NOW + int(seconds * SECOND), **changes)


def test_what_is_kept_is_bounded_however_long_it_runs():
    kept = Samples()
    for number in range(s.SAMPLES_MAX + 50):
        kept.take(at(number * s.SAMPLE_SECONDS))
    history = kept.history()
    assert len(history.at_us) == s.SAMPLES_MAX
    assert {len(series) for series in history.series.values()} == {s.SAMPLES_MAX}
    assert history.at_us[-1] == NOW + int((s.SAMPLES_MAX + 49) * s.SAMPLE_SECONDS * SECOND)


def test_samples_that_come_too_soon_are_left_out_and_a_clock_put_back_begins_anew():
    kept = Samples()
    for seconds in (0, 1, 2, 5):
        kept.take(at(seconds))
    assert len(kept.history().at_us) == 2
    kept.take(at(-100))
    assert kept.history().at_us == (NOW - 100 * SECOND,)


def test_a_system_that_comes_later_has_a_gap_before_it_and_one_that_is_gone_is_forgotten():
    kept = Samples()
    without = {"erp": daemon().systems["erp"]}
    kept.take(at(0, systems=without))
    kept.take(at(5))
    first, second = kept.history().values("deliver:shop.lag_seconds")
    assert math.isnan(first)
    assert second == 2.5
    kept.take(at(10, systems=without))
    assert kept.history().values("deliver:shop.lag_seconds") == ()


def test_a_rate_is_that_of_the_last_minute_and_none_after_a_restart():
    kept = Samples()
    kept.take(at(0, rows=1_000_000))
    kept.take(at(100, rows=1_000_000))
    kept.take(at(160, rows=1_000_600))
    assert kept.history().per_second("capture:erp.rows") == pytest.approx(10.0)
    kept.take(at(220, rows=5))
    assert kept.history().per_second("capture:erp.rows") is None
    assert History().per_second("capture:erp.rows") is None

"""Schedules and windows by the clock, also where it is put forward and back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd.config import Deliver
from cdcd.scheduling import schedule
from cdcd.scheduling.schedule import Run, Schedule, compiled

BERLIN = "Europe/Berlin"
ZONES = ("UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca")
CRONS = ("0 2 * * *", "30 2 * * *", "*/10 * * * *", "0 * * * *", "15 1-3 * * *", "0 2 * * 0", "0 0 1 * *")
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000


def us(text: str, zone: str = BERLIN, fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp()) * 1_000_000


def made(text: str = "0 2 * * *", window: str | None = None, zone: str | None = BERLIN) -> Schedule:
    return compiled(Deliver(text, window=window, time_zone=zone))


def local(moment_us: int, zone: str = BERLIN) -> str:
    return datetime.fromtimestamp(moment_us / 1e6, ZoneInfo(zone)).strftime("%m-%d %H:%M %Z")


def due(text: str, after_us: int) -> int:
    found = schedule.due_at_us(made(text), after_us)
    assert found is not None
    return found


def test_an_interval_is_counted_from_the_last_run_s_beginning():
    every = made("every 10m", zone=None)
    assert schedule.due_at_us(every, 5 * MINUTE) == 15 * MINUTE
    assert not schedule.is_due(every, Run(5 * MINUTE), 15 * MINUTE - 1)
    assert schedule.is_due(every, Run(5 * MINUTE), 15 * MINUTE)


def test_a_first_interval_begins_at_once():
    assert schedule.is_due(made("every 10m", zone=None), Run(), us("2026-11-22 12:00"))


def test_a_cron_expression_means_the_wall_clock_of_its_zone():
    assert local(due("0 2 * * *", us("2026-11-22 12:00"))) == "11-23 02:00 CET"
    assert local(due("0 2 * * *", us("2026-07-22 12:00"))) == "07-23 02:00 CEST"
    assert schedule.due_at_us(made("0 2 * * *", zone=None), us("2026-11-22 12:00", "UTC")) == us(
        "2026-11-23 02:00", "UTC"
    )


def test_what_falls_into_the_hour_that_is_left_out_happens_at_its_end():
    assert local(due("30 2 * * *", us("2026-03-28 12:00"))) == "03-29 03:00 CEST"
    assert local(due("30 2 * * *", us("2026-03-29 03:00"))) == "03-30 02:30 CEST"


def test_a_fixed_hour_comes_once_in_the_night_that_has_it_twice():
    first = due("30 2 * * *", us("2026-10-24 12:00"))
    assert local(first) == "10-25 02:30 CEST"
    assert local(due("30 2 * * *", first)) == "10-26 02:30 CET"
    assert local(due("30 2 * * *", us("2026-10-25 02:10", fold=1))) == "10-26 02:30 CET"


def test_every_ten_minutes_goes_on_through_the_doubled_hour():
    assert due("*/10 * * * *", us("2026-10-25 02:50")) == us("2026-10-25 02:00", fold=1)


@pytest.mark.parametrize(
    ("now", "opens", "closes"),
    [
        ("2026-11-22 01:00", "11-22 02:00 CET", "11-22 04:00 CET"),
        ("2026-11-22 03:59", "11-22 03:59 CET", "11-22 04:00 CET"),
        ("2026-11-22 04:00", "11-23 02:00 CET", "11-23 04:00 CET"),
        ("2026-03-29 01:00", "03-29 03:00 CEST", "03-29 04:00 CEST"),
        ("2026-10-25 01:00", "10-25 02:00 CEST", "10-25 04:00 CET"),
    ],
)
def test_a_window_opens_and_closes_by_the_wall_clock(now: str, opens: str, closes: str):
    night = made("every 1m", "02:00-04:00")
    assert local(schedule.opening_us(night, us(now))) == opens
    end_us = schedule.window_end_us(night, us(now))
    assert end_us is not None
    assert local(end_us) == closes


def test_a_window_may_cross_midnight():
    night = made("every 1m", "22:30 – 01:15")  # noqa: RUF001
    assert schedule.in_window(night, us("2026-11-22 23:00"))
    assert schedule.in_window(night, us("2026-11-23 01:14"))
    assert not schedule.in_window(night, us("2026-11-23 01:15"))
    assert local(schedule.opening_us(night, us("2026-11-23 12:00"))) == "11-23 22:30 CET"


def test_a_window_in_the_hour_that_is_left_out_is_the_next_day_s():
    short = made("every 1m", "02:10-02:50")
    assert local(schedule.opening_us(short, us("2026-03-29 00:00"))) == "03-30 02:10 CEST"


def test_a_window_that_ends_in_the_doubled_hour_ends_the_first_time():
    night = made("every 1m", "01:00-02:30")
    assert not schedule.in_window(night, us("2026-10-25 02:10", fold=1))


def test_a_run_that_was_missed_begins_as_long_as_its_window_is_open():
    missed = Run(considered_us=us("2026-11-21 02:00"))
    night = made("0 2 * * *", "02:00-04:00")
    assert schedule.is_due(night, missed, us("2026-11-22 03:59"))
    assert not schedule.is_due(night, missed, us("2026-11-22 04:00"))
    assert local(schedule.next_run_us(night, missed, us("2026-11-22 09:00")) or 0) == "11-23 02:00 CET"
    assert schedule.is_due(made("0 2 * * *"), missed, us("2026-11-22 09:00"))


def test_a_missed_run_was_expected_at_its_moment_and_a_closed_window_makes_none_missed():
    night = made("0 2 * * *", "02:00-04:00")
    missed = Run(considered_us=us("2026-11-21 02:00"))
    assert local(schedule.expected_us(night, missed, us("2026-11-22 09:00")) or 0) == "11-22 02:00 CET"
    by_day = made("every 10m", "06:00-22:00")
    evening = Run(considered_us=us("2026-11-22 21:55"))
    assert local(schedule.expected_us(by_day, evening, us("2026-11-23 03:00")) or 0) == "11-23 06:00 CET"
    assert schedule.expected_us(made("on-demand"), Run(), us("2026-11-22 09:00")) is None


def test_a_run_stops_at_the_window_s_end_and_goes_on_in_the_next():
    weekly = made("0 2 * * 0", "02:00-04:00")
    run = Run(considered_us=us("2026-11-22 02:00"), begun_us=us("2026-11-22 02:00"), left=10)
    assert schedule.may_tell(weekly, run, us("2026-11-22 03:59"))
    assert not schedule.may_tell(weekly, run, us("2026-11-22 04:00"))
    assert not schedule.is_due(weekly, run, us("2026-11-23 02:00"))
    assert schedule.may_tell(weekly, run, us("2026-11-23 02:00"))
    assert local(schedule.next_run_us(weekly, run, us("2026-11-22 04:00")) or 0) == "11-23 02:00 CET"


def test_a_run_with_nothing_left_tells_nothing_until_the_next():
    assert not schedule.may_tell(made("0 2 * * *"), Run(left=0), us("2026-11-22 02:30"))


def test_what_a_person_asks_for_needs_no_window():
    asked = Run(considered_us=us("2026-11-22 02:00"), left=3, requested=True)
    assert schedule.may_tell(made("0 2 * * *", "02:00-04:00"), asked, us("2026-11-22 12:00"))
    assert schedule.may_tell(made("on-demand", zone=None), asked, us("2026-11-22 12:00"))
    assert not schedule.is_due(made("on-demand", zone=None), Run(), us("2026-11-22 12:00"))


def test_real_time_is_always_and_has_no_next_run():
    realtime = made("realtime", zone=None)
    assert schedule.may_tell(realtime, Run(), 0)
    assert not schedule.is_due(realtime, Run(), us("2026-11-22 12:00"))
    assert schedule.next_run_us(realtime, Run(), 0) is None


def test_a_clock_put_back_by_hours_does_not_begin_a_run_twice():
    nightly, run = made("0 2 * * *"), Run(considered_us=us("2026-11-22 02:00"))
    back_us = us("2026-11-21 23:00")
    assert schedule.believed(nightly, run, back_us) == run
    assert not schedule.is_due(nightly, run, us("2026-11-22 02:00"))


def test_a_clock_that_was_years_ahead_does_not_stop_runs_for_years():
    now_us = us("2026-11-22 12:00")
    far = Run(considered_us=now_us + 900 * DAY, left=2)
    assert schedule.believed(made("0 2 * * *"), far, now_us) == Run(considered_us=now_us, left=2)
    assert schedule.believed(made("every 10m", zone=None), Run(now_us + 1), now_us) == Run(now_us)


@pytest.mark.parametrize(
    "text",
    ["", "hourly", "@daily", "every", "every 10", "every 10ms", "* * * *", "0 0 2 * * *", "61 * * * *", "0 0 30 2 *"],
)
def test_what_is_no_schedule_is_refused(text: str):
    with pytest.raises(ValueError, match=r"expected|cron expression"):
        compiled(Deliver(text))


@pytest.mark.parametrize("text", ["2-4", "02:00", "24:00-01:00", "02:00-02:00", "02:60-03:00"])
def test_what_is_no_window_is_refused(text: str):
    with pytest.raises(ValueError, match="window"):
        schedule.parse_window(text)


# ---- properties ----------------------------------------------------------------------------------------------------

moments = st.integers(us("2009-01-01 00:00"), us("2037-01-01 00:00")) | st.sampled_from(
    [us("2026-03-29 00:00"), us("2026-10-25 00:00"), us("2011-12-29 12:00"), us("2026-04-04 20:00")]
).flatmap(lambda base: st.integers(base, base + DAY))
zones = st.sampled_from(ZONES)
windows = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda pair: pair[0] != pair[1])


@given(st.sampled_from(CRONS), zones, moments, st.integers(0, 2 * DAY))
def test_the_next_moment_is_later_and_never_goes_back_as_time_goes_on(cron: str, zone: str, now_us: int, step_us: int):
    made_of = made(cron, zone=zone)
    first, second = schedule.due_at_us(made_of, now_us), schedule.due_at_us(made_of, now_us + step_us)
    assert first is not None
    assert second is not None
    assert now_us < first <= second
    assert second > now_us + step_us


@given(windows, zones, moments)
def test_a_window_is_open_exactly_from_its_opening_to_its_end(pair: tuple[int, int], zone: str, now_us: int):
    night = Schedule("every", every_us=1, window=schedule.Window(*pair), time_zone=zone)
    opens, closes = schedule.opening_us(night, now_us), schedule.window_end_us(night, now_us)
    assert closes is not None
    assert now_us <= opens < closes
    assert schedule.in_window(night, now_us) == (opens == now_us)
    assert schedule.in_window(night, opens)
    assert schedule.in_window(night, closes - 1)
    assert not schedule.in_window(night, opens - 1) or opens == now_us
    assert closes - opens <= DAY + 2 * HOUR


@settings(max_examples=60)
@given(
    st.sampled_from(CRONS),
    zones,
    st.sampled_from([None, "02:00-04:00", "22:00-03:00", "00:00-23:59"]),
    moments,
    st.lists(st.integers(-3 * HOUR, 30 * HOUR), min_size=1, max_size=40),
)
def test_no_moment_begins_two_runs_however_the_clock_wanders(cron, zone, window, start_us, steps):
    made_of = made(cron, window, zone)
    run, begun, now_us, highest = Run(start_us), [], start_us, start_us
    for step_us in steps:
        now_us = max(now_us + step_us, highest - 20 * HOUR)
        highest = max(highest, now_us)
        run = schedule.believed(made_of, run, now_us)
        if schedule.is_due(made_of, run, now_us):
            assert schedule.in_window(made_of, now_us)
            begun.append(schedule.due_at_us(made_of, run.considered_us))
            run = msgspec.structs.replace(run, considered_us=now_us)
    assert begun == sorted(set(begun))


@given(st.integers(1, 3600), moments, st.lists(st.integers(-100, 4000), max_size=40))
def test_runs_of_an_interval_are_no_closer_than_it_by_their_own_clock(seconds: int, start_us: int, steps: list[int]):
    every = made(f"every {seconds}s", zone=None)
    run, now_us, waited_us, begun = Run(start_us), start_us, 0, 0
    for step in steps:
        now_us += step * 1_000_000
        waited_us += max(0, step) * 1_000_000
        run = schedule.believed(every, run, now_us)
        if schedule.is_due(every, run, now_us):
            begun += 1
            assert waited_us >= begun * every.every_us
            run = Run(now_us)


@given(st.sampled_from(CRONS), zones, st.sampled_from([None, "02:00-04:00", "22:00-03:00"]), moments, st.booleans())
def test_the_next_run_is_when_one_may_begin_and_not_before(cron, zone, window, now_us, unfinished):
    made_of = made(cron, window, zone)
    run = Run(now_us - 3 * HOUR, left=5 if unfinished else 0)
    next_us = schedule.next_run_us(made_of, run, now_us)
    assert next_us is not None
    assert next_us >= now_us

    def goes(at_us: int) -> bool:
        return schedule.is_due(made_of, run, at_us) or schedule.may_tell(made_of, run, at_us)

    assert goes(next_us)
    assert next_us == now_us or not goes(next_us - 1)


def test_two_hundred_nights_in_a_row_begin_one_run_each():
    nightly, run, now = (
        made("30 2 * * *", "02:30-04:00"),
        Run(us("2026-01-01 12:00")),
        datetime(2026, 1, 1, 12, tzinfo=UTC),
    )
    begun = []
    while len(begun) < 200:
        now += timedelta(minutes=30)
        now_us = int(now.timestamp() * 1e6)
        if schedule.is_due(nightly, run, now_us):
            begun.append(now.astimezone(ZoneInfo(BERLIN)).date())
            run = Run(now_us)
    assert len(set(begun)) == 200
    assert (begun[-1] - begun[0]).days == 199

"""When an entity is delivered to a system: schedules and windows as functions of the clock. Pure.

Moments are microseconds since 1970. Cron expressions and windows mean wall clocks of a time zone. Where that clock is put
forward, what falls into the gap happens at its end; where it is put back, a window ends, and a fixed hour comes, the
first time. A clock that is put back by hand does not make anything happen twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from cdcd.config import Deliver, parse_duration

DAY_US: Final = 86_400_000_000
EVERY_SECONDS_MIN: Final = 1.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MINUTE: Final = timedelta(minutes=1)
_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*[-–]\s*([01]\d|2[0-3]):([0-5]\d)")  # noqa: RUF001 - people write it
_CRON_FIELDS: Final = 5


class Window(msgspec.Struct, frozen=True):
    """From a minute of the day up to another, which lies on the next day when it is not later."""

    begin: int
    end: int


class Schedule(msgspec.Struct, frozen=True):
    """When runs begin, and the window in which they go on."""

    kind: Literal["realtime", "every", "cron", "on-demand"] = "realtime"
    every_us: int = 0
    cron: str = ""
    window: Window | None = None
    time_zone: str = "UTC"


class Run(msgspec.Struct, frozen=True):
    """Where the runs of one schedule stand.

    Of the schedule's moments those until `considered_us` are accounted for. The present or last run began at `begun_us`;
    `left` records, owed by the journal entry `owed_by`, are still to be told in it. A `requested` run goes on whatever the
    window says.
    """

    considered_us: int = 0
    begun_us: int = 0
    left: int = 0
    owed_by: int = 0
    requested: bool = False


def compiled(deliver: Deliver) -> Schedule:
    """The schedule as it is configured. Raises ValueError for text that means none; the zone must exist."""
    text = deliver.schedule
    zone = deliver.time_zone or "UTC"
    window = None if deliver.window is None else parse_window(deliver.window)
    if text in ("realtime", "on-demand"):
        return Schedule("realtime" if text == "realtime" else "on-demand")
    if text.startswith("every "):
        seconds = parse_duration(text.removeprefix("every "))
        if seconds < EVERY_SECONDS_MIN:
            raise ValueError(f"expected at least every 1s, got {text!r}")
        return Schedule("every", every_us=int(seconds * 1e6), window=window, time_zone=zone)
    if len(text.split()) != _CRON_FIELDS:
        raise ValueError(
            f'expected "realtime", "on-demand", "every 10m" or the five fields of a cron expression '
            f'("0 2 * * *": minute, hour, day, month, weekday), got {text!r}'
        )
    try:
        next(CronSim(text, _EPOCH))
    except CronSimError as error:
        raise ValueError(f"not a cron expression: {error}, in {text!r}") from None
    except StopIteration:
        raise ValueError(f"the cron expression {text!r} never comes") from None
    return Schedule("cron", cron=text, window=window, time_zone=zone)


def parse_window(text: str) -> Window:
    """The window of "02:00-04:00". Raises ValueError."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'expected a window like "02:00-04:00", got {text!r}')
    begin, end = (int(hour) * 60 + int(minute) for hour, minute in ((match[1], match[2]), (match[3], match[4])))
    if begin == end:
        raise ValueError(f"the window {text!r} begins when it ends")
    return Window(begin, end)


# ---- runs -----------------------------------------------------------------------------------------------------------


def believed(schedule: Schedule, run: Run, now_us: int) -> Run:
    """The run, with what it says of a future that the clock, put right meanwhile, knows nothing of forgotten.

    An interval is counted from now on. A cron expression's moments stay accounted for, for a day at most: so a clock that is
    put back by hours begins no run twice, and one that was years ahead does not stop the runs for years.
    """
    ahead_us = run.considered_us - now_us
    if ahead_us > (DAY_US if schedule.kind == "cron" else 0):
        return msgspec.structs.replace(run, considered_us=now_us)
    return run


def is_due(schedule: Schedule, run: Run, now_us: int) -> bool:
    """Whether another run is to begin: its moment has come or was missed, and the window, if there is one, is open."""
    due_us = due_at_us(schedule, run.considered_us)
    return due_us is not None and due_us <= now_us and in_window(schedule, now_us)


def may_tell(schedule: Schedule, run: Run, now_us: int) -> bool:
    """Whether what is owed may be told now."""
    if schedule.kind == "realtime":
        return True
    return run.left > 0 and (run.requested or in_window(schedule, now_us))


def next_run_us(schedule: Schedule, run: Run, now_us: int) -> int | None:
    """When telling goes on or begins next, now at the earliest; None where only a request begins it (or nothing needs to)."""
    if schedule.kind == "realtime":
        return None
    if run.left > 0:
        return now_us if run.requested else opening_us(schedule, now_us)
    due_us = due_at_us(schedule, believed(schedule, run, now_us).considered_us)
    return None if due_us is None else opening_us(schedule, max(due_us, now_us))


def expected_us(schedule: Schedule, run: Run, now_us: int) -> int | None:
    """When the next run was or is to begin: in the past if it was missed. None where only a request begins it."""
    due_us = due_at_us(schedule, believed(schedule, run, now_us).considered_us)
    return None if due_us is None else opening_us(schedule, due_us)


@lru_cache(maxsize=1024)
def due_at_us(schedule: Schedule, considered_us: int) -> int | None:
    """When a run is due next if the moments until `considered_us` are accounted for; None where no moment ever comes."""
    if schedule.kind == "every":
        return considered_us + schedule.every_us
    if schedule.kind != "cron":
        return None
    for moment in CronSim(schedule.cron, _local(schedule, considered_us)):
        due_us = _us(moment)
        if due_us > considered_us:  # in the hour that a clock put back shows twice, cronsim names the first one again
            return due_us
    return None


# ---- windows --------------------------------------------------------------------------------------------------------


def in_window(schedule: Schedule, now_us: int) -> bool:
    """Whether the window is open; always, where there is none."""
    return schedule.window is None or opening_us(schedule, now_us) <= now_us


def opening_us(schedule: Schedule, from_us: int) -> int:
    """The first moment from then on at which the window is open."""
    return max(from_us, _interval(schedule, from_us)[0])


def window_end_us(schedule: Schedule, now_us: int) -> int | None:
    """When the window that is open, or opens next, is closed; None where there is none."""
    return None if schedule.window is None else _interval(schedule, now_us)[1]


def _interval(schedule: Schedule, now_us: int) -> tuple[int, int]:
    """The window that is open at that moment, or else the next one."""
    if schedule.window is None:
        return now_us, now_us
    return next(
        (begin_us, end_us) for begin_us, end_us in _intervals(schedule, schedule.window, now_us) if end_us > now_us
    )


def _intervals(schedule: Schedule, window: Window, now_us: int) -> Iterator[tuple[int, int]]:
    """The windows of the days from yesterday on. One that lies in an hour that is left out does not exist."""
    zone = ZoneInfo(schedule.time_zone)
    day = _local(schedule, now_us).date() - timedelta(days=1)
    while True:
        following = day + timedelta(days=1)
        begin_us = _first_us(day, window.begin, zone)
        end_us = _first_us(day if window.begin < window.end else following, window.end, zone)
        if begin_us < end_us:
            yield begin_us, end_us
        day = following


def _first_us(day: date, minute: int, zone: ZoneInfo) -> int:
    """The first moment at which a clock in that zone shows that time or, where it is put forward, a later one."""
    wall = datetime.combine(day, time(minute // 60, minute % 60))
    while True:
        moment = wall.replace(tzinfo=zone)
        if moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall:
            return _us(moment)
        wall += _MINUTE


def _local(schedule: Schedule, moment_us: int) -> datetime:
    return (_EPOCH + timedelta(microseconds=moment_us)).astimezone(ZoneInfo(schedule.time_zone))


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND

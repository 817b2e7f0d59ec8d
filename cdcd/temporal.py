"""Dates and times: from one canonical type to another, to what a column can hold, and between time zones. Pure.

Values of types without limits may be what only PostgreSQL knows: infinity, years before 1 or beyond 9999. Whatever goes
from one type to another one with limits must be a plain date of the years 1 to 9999 that lies within them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from cdcd.values import ValueType, misfit

Convert: TypeAlias = Callable[[Any], Any]

_DATE: Final = r"\d{4,}-\d\d-\d\d"
_CLOCK: Final = r"\d\d:\d\d(\.\d*[1-9])?"
_FORMS: Final = {
    "date": re.compile(_DATE, re.ASCII),
    "time": re.compile(rf"-?\d{{2,}}:{_CLOCK}", re.ASCII),
    "datetime": re.compile(rf"{_DATE} \d\d:{_CLOCK}", re.ASCII),
    "instant": re.compile(rf"{_DATE} \d\d:{_CLOCK}Z", re.ASCII),
}
_FIRST_LIMIT: Final = {"date": 0, "time": 1, "datetime": 1, "instant": 1}
_CALENDAR: Final = {"date": 10, "datetime": 19, "instant": 20}
"""Characters of a plain value of each kind, at least."""
_WITH_POINT: Final = {"time": 9, "datetime": 20, "instant": 21}
"""The same of one with a fraction, but for its digits."""


def fit(source: ValueType, target: ValueType) -> Convert | None:
    """From a type to another one of the same kind, with other digits of fraction or other limits."""
    if source == target:
        return None
    limits = None if _limits(source) == _limits(target) else within(target)
    return both(fraction_digits(target) if _may_be_longer(source, target) else None, limits)


def from_text(_source: ValueType, target: ValueType) -> Convert:
    """Text that has the canonical form already: only one form of a value is equal to itself."""
    form = _FORMS[target.kind]

    def check(text: Any) -> Any:
        if form.fullmatch(text) is None:
            raise misfit(target, "the text has another form")
        return text

    return both(both(check, fraction_digits(target)), within(target)) or check


def both(first: Convert | None, second: Convert | None) -> Convert | None:
    """One function after the other, where there are two."""
    if first is None or second is None:
        return first or second
    return lambda value: second(first(value))


def _may_be_longer(source: ValueType, target: ValueType) -> bool:
    digits, stated = target.number(0), source.number(0)
    return digits is None or stated is None or stated > digits


def fraction_digits(target: ValueType) -> Convert | None:
    """Refuses times with more digits of fraction than the type has; None for types that state no limit."""
    digits = None if target.kind == "date" else target.number(0)
    if digits is None:
        return None

    short = _WITH_POINT[target.kind] + digits

    def check(text: str) -> str:
        if len(text) <= short:  # nearly always, and three times as fast
            return text
        _, _, fraction = text.removesuffix("Z").partition(".")
        if len(fraction) > digits:
            raise misfit(target, f"it has more than {digits} digits of fraction")
        return text

    return check


def _limits(kind: ValueType) -> tuple[str, ...]:
    return kind.arguments[_FIRST_LIMIT[kind.kind] :]


def within(target: ValueType) -> Convert:
    """Refuses what is no value of the calendar, or lies outside the limits of `target`."""
    limits = _limits(target)
    if target.kind == "time":
        return _within_hours(target, int(limits[0]), int(limits[1])) if limits else lambda text: text
    return _within_dates(target, *(limits or ("0001", "9999")), is_limited=bool(limits))


def _within_hours(target: ValueType, lowest: int, highest: int) -> Convert:
    def check(text: str) -> str:
        is_negative = text[0] == "-"
        hours, _, rest = text.removeprefix("-").partition(":")
        if is_negative:
            fits = lowest <= -int(hours) and lowest < 0
        else:
            fits = int(hours) < highest or (int(hours) == highest and (highest != 24 or rest == "00:00"))
        if not fits:
            raise misfit(target, f"it is no time between {lowest} and {highest} hours")
        return text

    return check


def _within_dates(target: ValueType, lowest: str, highest: str, *, is_limited: bool) -> Convert:
    """Limits are compared with as much of the value as they state: "2038" admits all of that year."""
    low_size, high_size, size_min = len(lowest), len(highest), _CALENDAR[target.kind]
    size_max = size_min if target.kind == "date" else size_min + 10

    def check(text: str) -> str:
        try:
            date.fromisoformat(text[:10])
        except ValueError:
            if is_limited or not _is_beyond_calendar(text):
                raise misfit(target, "it is no date of the years 1 to 9999") from None
            return text
        if text[-2:] == "BC" or not size_min <= len(text) <= size_max:
            if is_limited:
                raise misfit(target, "it is no date of the years 1 to 9999")
        elif text[:low_size] < lowest or text[:high_size] > highest:
            raise misfit(target, f"it lies outside {lowest} to {highest}")
        return text

    return check


def _is_beyond_calendar(text: str) -> bool:
    """Whether it is a value that PostgreSQL has and the calendar of four digits has not."""
    return text in ("infinity", "-infinity") or text.endswith("BC") or text[:5].isdigit()


# ---- dates and datetimes ---------------------------------------------------------------------------------------------


def date_to_datetime(_source: ValueType, target: ValueType) -> Convert:
    """A date as its midnight."""
    check, limits = _within_dates(ValueType("date"), "0001", "9999", is_limited=True), within(target)
    return lambda text: limits(f"{check(text)} 00:00:00")


def datetime_to_date(_source: ValueType, target: ValueType) -> Convert:
    """A midnight as its date."""
    limits = within(target)

    def convert(text: str) -> Any:
        day, _, clock = text.partition(" ")
        if clock != "00:00:00":
            raise misfit(target, "it has a time of day")
        return limits(day)

    return convert


def to_instant(zone: ZoneInfo, doubled_hour: Literal["refuse", "earlier", "later"] = "refuse") -> Convert:
    """Local wall-clock time to UTC. A time that the zone skips names no moment and is refused.

    So is one that the zone has twice, unless it is said which of the two is meant.
    """
    fold = 1 if doubled_hour == "later" else 0

    def convert(text: str) -> str:
        whole, dot, fraction = text.partition(".")
        local = _wall_clock(whole).replace(tzinfo=zone)
        first, second = local.utcoffset(), local.replace(fold=1).utcoffset()
        assert first is not None
        assert second is not None
        if first < second or (first > second and doubled_hour == "refuse"):
            raise misfit("instant", f"the local time is skipped or repeated in {zone.key}")
        return f"{_moved(local.replace(fold=fold), UTC)}{dot}{fraction}Z"

    return convert


def from_instant(zone: ZoneInfo) -> Convert:
    """UTC to local wall-clock time."""

    def convert(text: str) -> str:
        whole, dot, fraction = text.removesuffix("Z").partition(".")
        return f"{_moved(_wall_clock(whole).replace(tzinfo=UTC), zone)}{dot}{fraction}"

    return convert


def _wall_clock(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise misfit("instant", "it is no date of the calendar") from None


def _moved(moment: datetime, zone: tzinfo) -> str:
    """The same moment on another zone's clock, to the second."""
    try:
        return moment.astimezone(zone).replace(tzinfo=None).isoformat(" ")
    except OverflowError:
        raise misfit("instant", "it lies outside the years 1 to 9999") from None

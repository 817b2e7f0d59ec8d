"""Figures as people read them on the page."""

from __future__ import annotations

from datetime import UTC, datetime

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def duration(seconds: float) -> str:
    """With a unit in which it is a small number: "0.4 s", "12 min", "3 d"."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} d"


def ago(at_us: int, now_us: int) -> str:
    """How long it is since then; "" for what never was."""
    if not at_us:
        return ""
    seconds = (now_us - at_us) / 1e6
    return "just now" if seconds < 1 else f"{duration(round(seconds))} ago".replace(".0 s", " s")


def until(at_us: int, now_us: int) -> str:
    """How long it is until then."""
    seconds = (at_us - now_us) / 1e6
    return "now" if seconds < 1 else f"in {duration(round(seconds))}".replace(".0 s", " s")


def size(size_bytes: float) -> str:
    """With a unit in which it is a small number: "1.4 GiB"."""
    for unit in _SIZES:
        if abs(size_bytes) < 1000 or unit == _SIZES[-1]:
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} {unit}" if unit == "B" or size_bytes >= 99.5 else f"{size_bytes:.1f} {unit}"


def rate(per_second: float | None) -> str:
    """Rows a second; "" while it is not known."""
    if per_second is None:
        return ""
    return f"{per_second:,.1f}/s" if 0 < per_second < 9.95 else f"{per_second:,.0f}/s"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(at_us: int) -> datetime:
    """A moment on the clock of the daemon's machine."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).astimezone()


def clock(at_us: int, now_us: int) -> str:
    """A moment in few characters: the time, with the day unless it is today."""
    at, now = moment(at_us), moment(now_us)
    if at.date() == now.date():
        return f"{at:%H:%M:%S}"
    return f"{at:%d %b %H:%M}" if abs((now - at).days) < 300 else f"{at:%Y-%m-%d %H:%M}"

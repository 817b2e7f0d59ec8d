"""Whether all is well, in one line, and what is not, each with the next command: pure, from one status.

What counts as a concern is said in one place for page and notifications (`notices.sight`).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from cdcd import health
from cdcd.notices.kinds import KINDS, Severity
from cdcd.notices.sight import Limits, look
from cdcd.status import DaemonStatus
from cdcd.web.wording import counted, duration

Level: TypeAlias = Literal["well", "warning", "critical"]
_ORDER: Final[dict[Severity, int]] = {"critical": 0, "warning": 1, "info": 2}


class Concern(msgspec.Struct, frozen=True):
    """Something a person should know: in a sentence, and what to do about it."""

    severity: Severity
    code: str
    subject: str
    text: str
    next: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """One look: the level, a headline, a sentence, and the concerns, the worst first."""

    level: Level
    headline: str
    sentence: str
    concerns: tuple[Concern, ...]


def judge(status: DaemonStatus, limits: Limits) -> Verdict:
    """The verdict over a status."""
    sight = look(status, health.health(status), limits)
    concerns = [
        Concern(KINDS[code].severity, code, subject, condition.text, condition.next)
        for (code, subject), condition in sight.conditions.items()
    ]
    concerns += [Concern("warning", "remark", "daemon", remark) for remark in status.remarks]
    concerns.sort(key=lambda concern: _ORDER[concern.severity])
    critical = sum(concern.severity == "critical" for concern in concerns)
    warnings = sum(concern.severity == "warning" for concern in concerns)
    if critical:
        more = f", and {counted(warnings, 'thing')} to look at" if warnings else ""
        headline = f"{counted(critical, 'thing needs', 'things need')} you now"
        return Verdict("critical", headline + more, _sentence(status), tuple(concerns))
    if warnings:
        headline = f"{counted(warnings, 'thing')} to look at"
        return Verdict("warning", headline, _sentence(status), tuple(concerns))
    return Verdict("well", "Starting" if _starting(status) else "All is well", _sentence(status), tuple(concerns))


def _starting(status: DaemonStatus) -> list[str]:
    return [role for role, worker in status.workers().items() if worker.state in ("starting", "down")]


def _sentence(status: DaemonStatus) -> str:
    """How far behind the targets are."""
    if starting := _starting(status):
        return f"Not running yet: {', '.join(starting)}."
    lags = {name: s.deliver.end_to_end_lag_seconds for name, s in status.systems.items() if s.deliver is not None}
    if not lags:
        return "Nothing is delivered to any system."
    name = max(lags, key=lambda name: lags[name])
    if lags[name] < 1:
        return "Everything read has arrived within a second."
    return f"Furthest behind: {name}, by {duration(lags[name])}."

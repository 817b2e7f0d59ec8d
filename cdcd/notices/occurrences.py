"""From what is the case now to what began and what ended: pure, with hysteresis.

A state that comes and goes is one occurrence, and a short one is none; what cannot be known for a while (a worker that
is only just starting) neither begins nor ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from cdcd.notices.kinds import KINDS, Kind, Severity

Key: TypeAlias = tuple[str, str]
"""The code of a kind, and a subject. Of each there is one open occurrence at most."""


class Occurrence(msgspec.Struct, frozen=True):
    """Something that happened at `at_us`, or began then: `ended_at_us` is None while it lasts.

    `subject` is a system, an entity, a worker ("deliver:shop"), or "daemon". `text` and `next`, what to do, hold no
    column's value and no key. `id` grows by time; 0 before it is kept.
    """

    at_us: int
    severity: Severity
    code: str
    subject: str
    text: str
    ended_at_us: int | None = None
    next: str = ""
    id: int = 0

    @property
    def key(self) -> Key:
        """What it is one of."""
        return self.code, self.subject


class Condition(msgspec.Struct, frozen=True):
    """A state that is the case now: in a sentence, and what to do about it."""

    text: str
    next: str = ""


class Sight(msgspec.Struct, frozen=True):
    """Everything that is the case at one moment, and what can neither be said to be so nor not."""

    conditions: dict[Key, Condition] = {}
    unknown: frozenset[Key] = frozenset()


class Watched(msgspec.Struct, frozen=True):
    """A state that is the case, or was lately: since when; whether it is an occurrence by now; since when it is gone."""

    since_us: int
    is_open: bool = False
    gone_us: int | None = None


class Changes(msgspec.Struct, frozen=True):
    """What to remember for the next time; what has begun; what has ended, and when it did."""

    watched: dict[Key, Watched]
    begun: list[Occurrence]
    ended: dict[Key, int]


def changes(watched: Mapping[Key, Watched], sight: Sight, now_us: int, kinds: Mapping[str, Kind] = KINDS) -> Changes:
    """What the present moment makes of what was watched before it."""
    found = Changes({}, [], {})
    for key in dict.fromkeys([*watched, *sight.conditions]):
        condition, before, kind = sight.conditions.get(key), watched.get(key), kinds[key[0]]
        if condition is not None:
            _is_there(found, key, before or Watched(now_us), condition, now_us, kind)
        elif before is not None:
            _is_gone(found, key, before, is_known=key not in sight.unknown, now_us=now_us, kind=kind)
    return found


def _is_there(found: Changes, key: Key, before: Watched, condition: Condition, now_us: int, kind: Kind) -> None:
    since_us = min(before.since_us, now_us)  # the clock may have been put back
    begins = not before.is_open and now_us - since_us >= kind.after_seconds * 1e6
    found.watched[key] = Watched(since_us, before.is_open or begins)
    if begins:
        code, subject = key
        found.begun.append(Occurrence(since_us, kind.severity, code, subject, condition.text, None, condition.next))


def _is_gone(found: Changes, key: Key, before: Watched, *, is_known: bool, now_us: int, kind: Kind) -> None:
    gone_us = now_us if before.gone_us is None else min(before.gone_us, now_us)
    if not is_known:
        found.watched[key] = before
    elif now_us - gone_us < (kind.over_seconds or 0.0) * 1e6:
        found.watched[key] = msgspec.structs.replace(before, gone_us=gone_us)
    elif before.is_open:
        found.ended[key] = gone_us


def moment(code: str, subject: str, text: str, now_us: int, *, next_: str = "") -> Occurrence:
    """An occurrence without duration."""
    kind = KINDS[code]
    assert kind.is_moment, f"{code} has a duration"
    return Occurrence(now_us, kind.severity, code, subject, text, now_us, next_)

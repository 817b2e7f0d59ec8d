"""The kinds of occurrences: their stable codes, how bad each is, and how long it must last before it is one."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Severity: TypeAlias = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""In rising order. critical: nothing will get better before a person acts. warning: it may. info: it is as somebody wished."""


class Kind(msgspec.Struct, frozen=True):
    """One kind.

    A state begins when it has lasted for `after_seconds`, and ends when it has been gone for `over_seconds`: shorter
    gaps are part of it. A kind without `over_seconds` is a moment, which begins and ends at once; of moments that follow
    each other within `quiet_seconds` only the first is told.
    """

    severity: Severity
    meaning: str
    after_seconds: float = 0.0
    over_seconds: float | None = 30.0
    quiet_seconds: float = 0.0

    def lasting(self, after_seconds: float) -> Kind:
        """The same kind, which begins after another time; and which is over no later than after as long."""
        if self.over_seconds is None:
            return self
        return msgspec.structs.replace(
            self, after_seconds=after_seconds, over_seconds=min(self.over_seconds, after_seconds)
        )

    @property
    def is_moment(self) -> bool:
        """Whether it has no duration."""
        return self.over_seconds is None


def _moment(severity: Severity, meaning: str, *, quiet_seconds: float = 0.0) -> Kind:
    return Kind(severity, meaning, over_seconds=None, quiet_seconds=quiet_seconds)


KINDS: Final[dict[str, Kind]] = {
    # what stands still
    "position-lost": Kind("critical", "a source's log no longer reaches back to where we are", 15),
    "worker-stopped": Kind("critical", "reading, resolving or writing has stopped until a person acts", 15),
    "worker-stalled": Kind("critical", "work waits, and nothing is done"),
    "worker-down": Kind("critical", "a process of the daemon ends again and again", 30, 120),
    "worker-silent": Kind("critical", "a process of the daemon does not report"),
    "entity-suspended": Kind("critical", "an entity, or copies of a table, can be read no further"),
    "parked-limit": Kind("critical", "an entity is held back from a system, because too much of it is parked"),
    "journal-full": Kind("critical", "the journal has no room: nothing is captured", 60),
    # what may get better by itself
    "source-unavailable": Kind("warning", "a source does not answer", 120, 60),
    "target-unavailable": Kind("warning", "a target does not answer", 120, 60),
    "lag": Kind("warning", "a system is further behind than it may be", 60, 60),
    "outbox-full": Kind("warning", "so much waits for targets that nothing is resolved", 600, 60),
    "journal-filling": Kind("warning", "the journal has used most of its room", 0, 300),
    "log-headroom": Kind("warning", "a source is about to remove log that we have not read", 60, 300),
    "disk-filling": Kind("warning", "the disk of the state directory is almost full", 60, 300),
    # what waits for a person while the rest flows
    "parked": Kind("warning", "records are parked: a target refuses them", 30, 60),
    "conflicts": Kind("warning", "changes by who does not own them wait for a decision", 30, 60),
    "held": Kind("warning", "rows could not be understood", 30, 60),
    "drift": Kind("warning", "a verification has found records that are not in step"),
    # what somebody wished, and what passes
    "paused": Kind("info", "delivery to a system is paused by an operator", 0, 5),
    "entity-paused": Kind("info", "an entity is held back from a system by an operator", 0, 5),
    "first-copy": Kind("info", "an entity is read and settled for the first time", 0, 5),
    "copying": Kind("info", "tables are read whole: a first copy, or a resync", 0, 5),
    # moments
    "started": _moment("info", "the daemon started"),
    "crashed": _moment("warning", "the daemon started, and the one before it had not been stopped", quiet_seconds=600),
    "taken-over": _moment("warning", "a standby took over", quiet_seconds=600),
    "reloaded": _moment("info", "another configuration was taken over"),
    "reload-refused": _moment("warning", "a configuration was not taken over", quiet_seconds=600),
}
"""Every kind, by code."""

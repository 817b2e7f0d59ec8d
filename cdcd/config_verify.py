"""The section `[verify]` of the configuration: when what is compared with what it should be, and how fast."""

from __future__ import annotations

from typing import Annotated

import msgspec

OFF = "on-demand"


class VerifySchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """When verifications begin: "every 6h", a cron expression, or "on-demand", which is only when somebody asks.

    With `window` ("02:00-05:00") one waits at its end, and goes on at the next. Both mean wall clocks in `time_zone`, UTC by
    default (docs/schedules.md).
    """

    schedule: str = OFF
    """`every 6h`, a cron expression, or `on-demand`."""
    window: str | None = None
    """Compared only between these times of day; the rest goes on at the next."""
    time_zone: str | None = None
    """Whose clock `window` and a cron expression mean; by default UTC."""


class Verify(VerifySchedule, frozen=True):
    """All entities that have no schedule of their own among `entities` are verified by this one.

    No more than `rows_per_second` are read from a system.
    """

    rows_per_second: Annotated[int, msgspec.Meta(ge=1)] = 20_000
    """How many rows are read from a system at most."""
    entities: dict[str, VerifySchedule] = {}
    """Other schedules, by entity."""

"""Local times of a zone as instants."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from cdcd import temporal
from cdcd.config_columns import Transform
from cdcd.transforms.step import Place, Step
from cdcd.values import ValueType


def time_zone(transform: Transform, _place: Place) -> Step:
    """The column has local times of a zone, the field instants."""
    assert transform.time_zone is not None
    zone = ZoneInfo(transform.time_zone)
    return Step(
        ValueType("datetime"),
        ValueType("instant"),
        temporal.to_instant(zone, transform.doubled_hour),
        temporal.from_instant(zone),
        is_lossy=transform.doubled_hour != "refuse",
    )

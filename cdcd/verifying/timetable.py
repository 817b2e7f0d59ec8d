"""What is verified, and when that begins by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cdcd.config import Config, Deliver
from cdcd.config_verify import OFF, VerifySchedule
from cdcd.resolve.plan import Plan, root_of
from cdcd.scheduling import schedule
from cdcd.scheduling.schedule import Schedule


class Timed(msgspec.Struct, frozen=True):
    """Entities that are verified together. `name` is what their moments are accounted for by."""

    name: str
    entities: tuple[str, ...]
    schedule: Schedule


def of_config(config: Config) -> list[Timed]:
    """All that begin by themselves."""
    own = config.verify.entities
    rest = tuple(name for name in config.entities if name not in own)
    wanted: list[tuple[str, tuple[str, ...], VerifySchedule]] = [("", rest, config.verify)]
    wanted += [(name, (name,), found) for name, found in own.items()]
    return [
        Timed(name, entities, compiled(found)) for name, entities, found in wanted if entities and found.schedule != OFF
    ]


def due_us(config: Config, considered_us: Mapping[str, int], now_us: int) -> dict[str, int]:
    """When the next verification of each entity was or is to begin, in the past if it was missed; only of those with a schedule."""
    found: dict[str, int] = {}
    for timed in of_config(config):
        run = schedule.Run(considered_us.get(timed.name, now_us))
        moment_us = schedule.expected_us(timed.schedule, run, now_us)
        if moment_us is not None:
            found |= dict.fromkeys(timed.entities, moment_us)
    return found


def compiled(wanted: VerifySchedule) -> Schedule:
    """As deliveries are scheduled."""
    return schedule.compiled(Deliver(wanted.schedule, wanted.window, wanted.time_zone))


def schedule_of(config: Config, entity: str) -> Schedule:
    """By which an entity, or a child collection, is verified."""
    return compiled(config.verify.entities.get(root_of(entity), config.verify))


def parts(plan: Plan, entities: Iterable[str], systems: Sequence[str] = ()) -> list[tuple[str, str]]:
    """What is compared: entities with their child collections, in all systems that have them or only these."""
    wanted = set(entities)
    return [
        (name, system)
        for name, entity in plan.entities.items()
        if root_of(name) in wanted
        for system in entity.bindings
        if not systems or system in systems
    ]

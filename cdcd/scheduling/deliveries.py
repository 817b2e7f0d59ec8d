"""What is told when, as scheduler, status and operators see it: per entity and system a schedule, what is owed, its run.

An entity stands for its child collections. Where a run stands is a switch in the journal, so it survives restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from cdcd import pause_switches
from cdcd.config import Config, Deliver
from cdcd.resolve.plan import Plan, root_of
from cdcd.resolve.planning import build
from cdcd.scheduling import schedule
from cdcd.scheduling.owed import Owing
from cdcd.scheduling.schedule import Run, Schedule


class Delivery(msgspec.Struct, frozen=True):
    """An entity that is told to a system. `after` are entities that are told before it because it refers to them."""

    system: str
    entity: str
    text: str
    schedule: Schedule
    after: frozenset[str] = frozenset()


class Standing(msgspec.Struct, frozen=True):
    """How a delivery stands. Of `records` that are owed, the first since `since_us`, `left` are told in the present run.

    `open`: they are being told now. `held`: a pause holds them back. `behind`: they wait until
    the system has taken what waits for it already. `next_run_us` is None where no schedule sets it;
    `expected_us` lies in the past when a run was missed. `reason` says why the entity itself is held back there
    (`pause_switches.of_entity`), "" where it is not.
    """

    entity: str
    schedule: str
    records: int
    since_us: int
    open: bool
    held: bool
    behind: bool
    requested: bool
    left: int
    begun_us: int
    next_run_us: int | None
    reason: str = ""
    expected_us: int | None = None


_NEVER_US: Final = 2**62


class Owed(msgspec.Struct, frozen=True):
    """What is owed of an entity and its child collections; `since_us` means something only where there are records."""

    records: int = 0
    since_us: int = _NEVER_US
    held: bool = False
    behind: bool = False


NOTHING: Final = Owed()


def of_config(config: Config) -> list[Delivery]:
    """All of a daemon, what is referred to before what refers to it."""
    plan = build(config, lambda _system, table: table)  # how tables are spelled is nothing to us
    found = []
    for name, after in _referred(config, plan).items():
        found += [msgspec.structs.replace(one, after=after) for one in of_entity(config, name)]
    return found


def at_once(config: Config) -> Config:
    """The same configuration with everything told in real time."""
    replace = msgspec.structs.replace
    entities = {
        name: replace(entity, bindings={s: replace(b, deliver=Deliver()) for s, b in entity.bindings.items()})
        for name, entity in config.entities.items()
    }
    return replace(config, entities=entities)


def of_entity(config: Config, name: str) -> list[Delivery]:
    """Those of one entity, whatever it refers to."""
    return [
        Delivery(system, name, binding.deliver.schedule, schedule.compiled(binding.deliver))
        for system, binding in config.entities[name].bindings.items()
    ]


def _referred(config: Config, plan: Plan) -> dict[str, frozenset[str]]:
    """Root entities, each behind those that it refers to itself, by its children, or by way of others; and which these are.

    In a circle somebody begins, who then waits for nobody in it.
    """
    families: dict[str, dict[str, None]] = {}
    for name, entity in plan.entities.items():
        referred = dict.fromkeys(field.refers_to for field in entity.fields if field.refers_to is not None)
        families.setdefault(root_of(name), {}).update(referred)
    found: dict[str, frozenset[str]] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in found or name in path:
            return
        for other in families[name]:
            visit(other, (*path, name))
        near = [other for other in families[name] if other in found]
        found[name] = frozenset(near).union(*(found[other] for other in near))

    for name in config.entities:  # in this order circles are the plan's
        visit(name, ())
    return found


def owed_by_family(owing: Iterable[Owing]) -> dict[tuple[str, str], Owed]:
    """What is owed, by system and root entity."""
    found: dict[tuple[str, str], Owed] = {}
    for lane in owing:
        at = (lane.system, root_of(lane.entity))
        before = found.get(at, NOTHING)
        since_us = min(lane.since_us if lane.records else _NEVER_US, before.since_us)
        found[at] = Owed(
            before.records + lane.records, since_us, before.held or lane.held, before.behind or lane.behind
        )
    return found


def control_of(delivery: Delivery) -> str:
    """The name of the switch that says where the delivery's run stands."""
    return f"run:{delivery.system}/{delivery.entity}"


def run_of(delivery: Delivery, controls: Mapping[str, str]) -> Run | None:
    """Where the delivery's run stands, None before the first was thought of."""
    stored = controls.get(control_of(delivery))
    return None if stored is None else msgspec.json.decode(stored, type=Run)


def stored(run: Run) -> str:
    """The value of that switch."""
    return msgspec.json.encode(run).decode()


def is_paused(delivery: Delivery, owed: Owed, controls: Mapping[str, str]) -> bool:
    """Whether a pause, of the system or of the entity, forbids to tell anything."""
    return (
        owed.held
        or pause_switches.of_system(delivery.system) in controls
        or pause_switches.of_entity(delivery.system, delivery.entity) in controls
    )


def is_stopped(delivery: Delivery, owed: Owed, controls: Mapping[str, str]) -> bool:
    """Whether nothing may be told now, whatever the schedule says."""
    return owed.behind or is_paused(delivery, owed, controls)


def standing(delivery: Delivery, owed: Owed, controls: Mapping[str, str], now_us: int) -> Standing:
    """How a delivery stands at that moment."""
    run = run_of(delivery, controls) or Run(now_us if delivery.schedule.kind == "cron" else 0)
    paused = is_paused(delivery, owed, controls)
    # Of what was owed when a run began, nothing is left when it is over.
    since_us = max(owed.since_us, run.begun_us if run.left == 0 else 0)
    return Standing(
        delivery.entity,
        delivery.text,
        owed.records,
        since_us if owed.records else 0,
        owed.records > 0 and not (paused or owed.behind) and schedule.may_tell(delivery.schedule, run, now_us),
        paused,
        owed.behind,
        run.requested and run.left > 0,
        run.left,
        run.begun_us,
        schedule.next_run_us(delivery.schedule, run, now_us),
        controls.get(pause_switches.of_entity(delivery.system, delivery.entity), ""),
        schedule.expected_us(delivery.schedule, run, now_us),
    )


def standings(
    listed: Iterable[Delivery],
    system: str,
    owed: Mapping[tuple[str, str], Owed],
    controls: Mapping[str, str],
    now_us: int,
) -> tuple[Standing, ...]:
    """How those to one system stand that have a schedule, or of which something is owed or held back."""
    found = []
    for delivery in listed:
        if delivery.system == system:
            waiting = owed.get((system, delivery.entity), NOTHING)
            held = waiting.held or pause_switches.of_entity(system, delivery.entity) in controls
            if delivery.schedule.kind != "realtime" or waiting.records or held:
                found.append(standing(delivery, waiting, controls, now_us))
    return tuple(found)

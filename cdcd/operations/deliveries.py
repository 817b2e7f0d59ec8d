"""`deliver`: what is owed of an entity is told now, whatever its schedule says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from cdcd import outbox, pause_switches
from cdcd.control import Answer
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, named
from cdcd.report import now_us
from cdcd.scheduling import deliveries
from cdcd.scheduling.deliveries import NOTHING, Delivery, Owed
from cdcd.scheduling.owed import owing
from cdcd.scheduling.schedule import Run

_log: Final = logging.getLogger("cdcd.operations")


class Asked(msgspec.Struct, frozen=True):
    """What comes of it in one system. `schedule` is what has told the records later until now, the first since `since_us`."""

    system: str
    schedule: str
    records: int
    since_us: int | None
    state: Literal["told", "nothing", "paused"]


class Progress(msgspec.Struct, frozen=True):
    """How far what was asked for is: `left` records are still to be told; `arrived` when all are there.

    `seq` and `unit` are where to look on: whoever asks again gives them back.
    """

    left: int
    seq: int | None
    unit: int | None
    arrived: bool


def _deliver(desk: Desk, arguments: Arguments) -> Answer:
    listed = _listed(desk, arguments)
    position = desk.state.position  # before the count, see Scheduler
    owed, controls = deliveries.owed_by_family(owing(desk.state)), desk.journal.controls()
    asked = [_asked(delivery, owed, controls) for delivery in listed]
    if all(one.state != "told" for one in asked) and any(one.state == "paused" for one in asked):
        raise _paused(next(d for d, one in zip(listed, asked, strict=True) if one.state == "paused"), controls)
    dry_run = arguments.get("dry_run") is True
    if not dry_run:
        for delivery, one in zip(listed, asked, strict=True):
            if one.state == "told":
                _request(desk, delivery, one.records, position, controls)
    return Answer(
        ok=True,
        result={"entity": arguments["entity"], "dry_run": dry_run, "running": desk.running, "deliveries": asked},
    )


def _listed(desk: Desk, arguments: Arguments) -> list[Delivery]:
    """The deliveries that are meant: of an entity, to one system or to all."""
    entity = named("entity", arguments.get("entity"), desk.blueprint.config.entities)
    found = [d for d in deliveries.of_entity(desk.blueprint.config, entity) if d.system in desk.blueprint.targets]
    if arguments.get("system") is None:
        return found
    name = named(f"system that is told of {entity!r}", arguments["system"], [delivery.system for delivery in found])
    return [delivery for delivery in found if delivery.system == name]


def _asked(delivery: Delivery, owed: Mapping[tuple[str, str], Owed], controls: Mapping[str, str]) -> Asked:
    waiting = owed.get((delivery.system, delivery.entity), NOTHING)
    state: Literal["told", "nothing", "paused"] = "told" if waiting.records else "nothing"
    if deliveries.is_paused(delivery, waiting, controls):
        state = "paused"
    since_us = waiting.since_us if waiting.records else None
    return Asked(delivery.system, delivery.text, waiting.records, since_us, state)


def _request(desk: Desk, delivery: Delivery, records: int, position: int, controls: Mapping[str, str]) -> None:
    """Have the scheduler begin a run. What is told in real time it tells anyway."""
    if delivery.schedule.kind != "realtime":
        before = deliveries.run_of(delivery, controls) or Run(now_us() if delivery.schedule.kind == "cron" else 0)
        run = msgspec.structs.replace(before, begun_us=now_us(), left=records, owed_by=position, requested=True)
        desk.journal.set_control(deliveries.control_of(delivery), deliveries.stored(run))
    extra = {"entity": delivery.entity, "system": delivery.system, "records": records}
    _log.warning("delivery asked for by an operator", extra=extra)


def _paused(delivery: Delivery, controls: Mapping[str, str]) -> RequestError:
    by_system = pause_switches.of_system(delivery.system) in controls
    what = delivery.system if by_system else delivery.entity
    cause = f"delivery to {what} is paused" if by_system else f"{what} is held back from {delivery.system}"
    return RequestError(
        f"{delivery.entity} is not told now", code="delivery-paused", cause=cause, remedy=f"'cdcd resume {what}' first"
    )


def _progress(desk: Desk, arguments: Arguments) -> Answer:
    listed = _listed(desk, arguments)
    owed, controls = deliveries.owed_by_family(owing(desk.state)), desk.journal.controls()
    left = 0
    for delivery in listed:
        waiting = owed.get((delivery.system, delivery.entity), NOTHING)
        run = deliveries.run_of(delivery, controls)
        here = waiting.records if delivery.schedule.kind == "realtime" or run is None else run.left
        if here and deliveries.is_paused(delivery, waiting, controls):
            raise _paused(delivery, controls)
        left += here
    seq, unit = arguments.get("seq"), arguments.get("unit")
    seq = desk.journal.last_seq() if seq is None and left == 0 else seq
    unit = desk.state.units if unit is None and seq is not None and desk.state.position >= seq else unit
    arrived = unit is not None and not any(_lacks(desk, delivery.system, unit) for delivery in listed)
    return Answer(ok=True, result=Progress(left, seq, unit, arrived))


def _lacks(desk: Desk, system: str, unit: int) -> bool:
    applied = outbox.read_applied(desk.directory.path, system)
    return outbox.lacks(desk.state, system, applied, unit)


VERBS: Final[dict[str, Verb]] = {"deliver": _deliver, "deliver-progress": _progress}

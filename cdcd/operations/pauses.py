"""`pause` and `resume`: of a system, or of an entity there.

A paused system is not written to at all, and all that is for it waits in the outbox. A paused entity is held back with
its child collections while everything else flows: resolve owes its records (see `resolve.owing`), and what is in the
outbox already is put aside by the deliverer.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from cdcd import outbox, pause_switches
from cdcd.blueprint import Role
from cdcd.control import Answer, Ready
from cdcd.journal import Command
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, named
from cdcd.report import now_us
from cdcd.resolve.plan import root_of
from cdcd.scheduling.owed import owing

PAUSE_SECONDS: Final = 50.0
_log: Final = logging.getLogger("cdcd.operations")


def _pause(desk: Desk, arguments: Arguments) -> Answer | Ready:
    entity = _entity(desk, arguments, desk.blueprint.targets)
    if entity is not None:
        return _hold(desk, entity, _systems(desk, entity, arguments), dry_run=arguments.get("dry_run") is True)
    name = named("target", arguments.get("name"), desk.blueprint.targets)
    if arguments.get("dry_run") is True:
        applied = outbox.read_applied(desk.directory.path, name)
        writes, size_bytes = outbox.waiting(desk.state, name, applied)
        return Answer(ok=True, result={"system": name, "waiting_writes": writes, "waiting_bytes": size_bytes})
    desk.journal.set_control(pause_switches.of_system(name), str(now_us()))
    _log.warning("delivery paused by an operator", extra={"system": name})
    role = Role("deliver", name)
    desk.crew.restart(role)
    until = time.monotonic() + PAUSE_SECONDS

    def paused() -> Answer | None:
        state = desk.crew.state(role)
        if state in ("paused", "down"):
            return Answer(ok=True, result={"system": name, "paused": True})
        late = time.monotonic() > until
        return Answer(ok=True, result={"system": name, "paused": False, "state": state}) if late else None

    return paused


def _resume(desk: Desk, arguments: Arguments) -> Answer:
    dry_run = arguments.get("dry_run") is True
    entity = _entity(desk, arguments, desk.blueprint.systems)
    if entity is not None:
        return _release(desk, entity, _systems(desk, entity, arguments), dry_run=dry_run)
    name = named("system", arguments.get("name"), desk.blueprint.systems)
    was_paused = pause_switches.of_system(name) in desk.journal.controls()
    waiting = ("paused", "stopped", "retrying", "down")
    roles = [role for role in desk.roles("capture", "deliver") if role.system == name]
    restarted = [role for role in roles if desk.running and desk.crew.state(role) in waiting]
    names = [str(role) for role in restarted]
    result = {"system": name, "was_paused": was_paused, "restarted": names}
    if dry_run:
        return Answer(ok=True, result=result)
    desk.journal.set_control(pause_switches.of_system(name), None)
    for role in restarted:
        desk.crew.restart(role)
    _log.warning("resumed by an operator", extra={"system": name, "restarted": ",".join(names) or "nothing"})
    return Answer(ok=True, result=result)


# ---- entities --------------------------------------------------------------------------------------------------


def _entity(desk: Desk, arguments: Arguments, systems: Any) -> str | None:
    """The entity that is meant, None when it is a system. A system goes before an entity of the same name."""
    name = arguments.get("name")
    if not isinstance(name, str) or (name in systems and arguments.get("system") is None):
        return None
    entities = desk.blueprint.config.entities
    if name in entities:
        return name
    if "." in name and name.partition(".")[0] in entities:
        raise RequestError(
            f"{name!r} is held back with what it belongs to", remedy=f"name {name.partition('.')[0]!r} instead"
        )
    named("system or entity", name, [*systems, *entities])
    return None


def _systems(desk: Desk, entity: str, arguments: Arguments) -> list[str]:
    """The targets that have the entity, or the one that the arguments name."""
    bound = [name for name in desk.blueprint.config.entities[entity].bindings if name in desk.blueprint.targets]
    wanted = arguments.get("system")
    return bound if wanted is None else [named(f"system that is told of {entity!r}", wanted, bound)]


def _owed(desk: Desk, entity: str, systems: list[str]) -> int:
    return sum(one.records for one in owing(desk.state) if root_of(one.entity) == entity and one.system in systems)


def _hold(desk: Desk, entity: str, systems: list[str], *, dry_run: bool) -> Answer:
    result = {"entity": entity, "systems": systems, "owed_records": _owed(desk, entity, systems)}
    if not dry_run:
        command = Command("hold", {"systems": systems, "entity": entity, "on": True})
        switches = {pause_switches.of_entity(system, entity): pause_switches.BY_OPERATOR for system in systems}
        desk.journal.command(command, controls=switches)
        _log.warning("entity paused by an operator", extra={"entity": entity, "systems": ",".join(systems)})
        desk.ring("resolve", "deliver")
    return Answer(ok=True, result=result | {"paused": True})


def _release(desk: Desk, entity: str, systems: list[str], *, dry_run: bool) -> Answer:
    controls = desk.journal.controls()
    reasons = {s: r for s in systems if (r := controls.get(pause_switches.of_entity(s, entity))) is not None}
    result = {
        "entity": entity,
        "systems": systems,
        "was_paused": bool(reasons),
        "reasons": reasons,
        "owed_records": _owed(desk, entity, systems),
    }
    if not dry_run:
        command = Command("hold", {"systems": systems, "entity": entity, "on": False})
        desk.journal.command(command, controls={pause_switches.of_entity(system, entity): None for system in systems})
        _log.warning("entity resumed by an operator", extra={"entity": entity, "systems": ",".join(systems)})
        desk.ring("resolve", "deliver")
    return Answer(ok=True, result=result)


VERBS: Final[dict[str, Verb]] = {"pause": _pause, "resume": _resume}

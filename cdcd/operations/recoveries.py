"""`replay`: a target that is empty, or lost, is told everything that is known."""

from __future__ import annotations

import logging
from typing import Final

from cdcd.backfills import NewCopy
from cdcd.blueprint import Role
from cdcd.control import Answer
from cdcd.journal import Command
from cdcd.operations import resyncs
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, target
from cdcd.recovering import recovery
from cdcd.recovering.recovery import Accepted

_log: Final = logging.getLogger("cdcd.operations")


def _replay_plan(desk: Desk, arguments: Arguments) -> Answer:
    name = target(desk, arguments)
    return Answer(ok=True, result=_plan(desk, name))


def _plan(desk: Desk, name: str) -> dict[str, object]:
    tables = [need.table for need in desk.blueprint.systems[name].tables if need.written]
    return {
        "system": name,
        "tables": tables,
        "copies": copies_into(desk, name),
        "is_source": desk.blueprint.systems[name].is_source,
        "delivery": desk.crew.state(Role("deliver", name)),
    }


def _replay(desk: Desk, arguments: Arguments) -> Answer:
    """About the unit that the target has now: its checkpoint counts, and what waits for it is superseded by what comes.

    A source is read from now on: what its log held of the rows that are gone means nothing any more.
    """
    name, unit = target(desk, arguments), arguments.get("unit")
    if not isinstance(unit, int) or unit < 0:
        raise RequestError("a replay says at which unit the target is", remedy="use 'cdcd replay'")
    plan = _plan(desk, name)
    accepted = {recovery.accepted(name): Accepted(unit, max(unit, desk.state.units))}
    seq = desk.journal.command(Command("replay", {"system": name}), controls=recovery.encoded(accepted))
    if plan["is_source"]:
        resyncs.reposition(desk, name, compare=False)
    for subject in copies_into(desk, name):
        copies = [NewCopy(source, table) for source, table in desk.blueprint.entity_tables[subject]]
        desk.journal.command(Command("resync", {"entity": subject}), copies)
    _log.warning("replay by an operator", extra={"system": name, "unit": unit, "seq": seq})
    desk.crew.restart(Role("deliver", name))
    desk.ring("resolve", "capture")
    return Answer(ok=True, result={**plan, "seq": seq})


def copies_into(desk: Desk, system: str) -> list[str]:
    """The plain copies that a system gets, as "source:table" in full."""
    names = desk.blueprint.table_names
    return [
        f"{route.source}:{names[route.source].get(table, table)}"
        for route in desk.blueprint.config.replicate
        for table in route.tables
        if route.target == system
    ]


VERBS: Final[dict[str, Verb]] = {"replay-plan": _replay_plan, "replay": _replay}

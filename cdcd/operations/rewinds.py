"""`rewind`, and its undo."""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from cdcd.backfills import NewCopy
from cdcd.blueprint import Role
from cdcd.control import Answer
from cdcd.journal import Command
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, target
from cdcd.recovering import recovery
from cdcd.report import now_us
from cdcd.resolve.commands import RewindOutcome, last_rewind
from cdcd.scheduling.owed import owing

_log: Final = logging.getLogger("cdcd.operations")


class Rewind(msgspec.Struct, frozen=True):
    """What a rewind means: the present value of every record that was changed since is sent again.

    Decided in journal entry `since_seq` or later, or committed since `since_us`, where that is given. `transactions` are those that the
    journal still holds from then on; it reaches back to `oldest_us`. Plain copies ("system:table") are copied anew.
    `restored`: the target was found to be an older copy of itself, and is told what it owns, too.
    """

    system: str
    since_us: int | None
    since_seq: int
    oldest_us: int
    transactions: int
    copies: tuple[str, ...]
    restored: bool


def _rewind_plan(desk: Desk, arguments: Arguments) -> Answer:
    return Answer(ok=True, result=_planned(desk, arguments))


def _rewind(desk: Desk, asked: Arguments) -> Answer:
    plan = _planned(desk, asked)
    arguments = {"system": plan.system, "since_seq": plan.since_seq, "restored": plan.restored}
    moment = {} if plan.since_us is None else {"since_us": plan.since_us}
    command = Command("rewind", {**arguments, **moment})
    seq = desk.journal.command(command)
    for subject in plan.copies:
        tables = [NewCopy(source, table) for source, table in desk.blueprint.entity_tables[subject]]
        desk.journal.command(Command("resync", {"entity": subject}), tables)
    gap = recovery.gap(desk.journal, plan.system)
    if gap is not None:
        recovery.accept(desk.journal, plan.system, gap.unit)
        desk.crew.restart(Role("deliver", plan.system))
    _log.warning("rewind by an operator", extra={"system": plan.system, "transactions": plan.transactions, "seq": seq})
    desk.ring("resolve", "capture")
    return Answer(ok=True, result={**msgspec.structs.asdict(plan), "seq": seq})


def _planned(desk: Desk, arguments: Arguments) -> Rewind:
    name = target(desk, arguments)
    journal = desk.journal
    since_us, since_seq = _since(desk, arguments)
    gap = recovery.gap(journal, name)
    if gap is not None and since_seq > gap.seq + 1:
        raise RequestError(
            f"{name} was put back to what it was earlier than that",
            code="rewind-too-short",
            cause=f"it lacks what came after journal entry {gap.seq}",
            remedy=f"cdcd rewind {name} --to seq:{gap.seq + 1}",
        )
    first_seq, _, oldest_us = journal.first_after(0) or (1, 0, now_us())
    after = max(since_seq - 1, first_seq - 1)
    copies = _copies_into(desk, name) if arguments.get("copies", True) else ()
    transactions = max(0, journal.last_seq() - after)
    return Rewind(name, since_us, since_seq, oldest_us, transactions, copies, gap is not None)


def _since(desk: Desk, arguments: Arguments) -> tuple[int | None, int]:
    """The moment, where one is given, and the first journal entry."""
    since_seq, since_us = arguments.get("since_seq"), arguments.get("since_us")
    if since_seq is not None:
        if not isinstance(since_seq, int) or not 0 < since_seq <= desk.journal.last_seq() + 1:
            raise RequestError("there is no such journal entry", remedy="'cdcd journal stats' shows which there are")
        return None, since_seq
    if not isinstance(since_us, int) or since_us > now_us():
        raise RequestError("a rewind goes back to a moment in the past", remedy="give --to 2h or an ISO time")
    return since_us, desk.journal.seq_at(since_us) + 1


def _copies_into(desk: Desk, system: str) -> tuple[str, ...]:
    """The plain copies that the system gets, as "source:table" in full."""
    names = desk.blueprint.table_names
    return tuple(
        f"{route.source}:{names[route.source].get(table, table)}"
        for route in desk.blueprint.config.replicate
        for table in route.tables
        if route.target == system
    )


def _undo(desk: Desk, arguments: Arguments) -> Answer:
    name = target(desk, arguments)
    known = last_rewind(desk.state, name)
    if known is None or known.withdrawn:
        raise RequestError(
            f"there is no rewind of {name!r} to undo",
            code="rewind-none",
            cause="none was done" if known is None else "the last one was undone already",
            remedy="'cdcd status' shows what is owed to it",
        )
    result = _undoing(desk, name, known)
    if arguments.get("dry_run") is not True:
        desk.journal.command(Command("rewind-undo", {"system": name, "seq": known.seq}))
        _log.warning("rewind undone by an operator", extra={"system": name, "seq": known.seq})
        desk.ring("resolve")
    return Answer(ok=True, result=result)


def _undoing(desk: Desk, name: str, known: RewindOutcome) -> dict[str, Any]:
    owed = sum(one.records for one in owing(desk.state) if one.system == name)
    return {"system": name, "seq": known.seq, "records": known.records, "owed_records": owed}


VERBS: Final[dict[str, Verb]] = {"rewind-plan": _rewind_plan, "rewind": _rewind, "rewind-undo": _undo}

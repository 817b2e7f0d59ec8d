"""`rewind`."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from cdcd.control import Answer
from cdcd.journal import Command
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, target
from cdcd.report import now_us

_log: Final = logging.getLogger("cdcd.operations")


class Rewind(msgspec.Struct, frozen=True):
    """What a rewind to `since_us` means: the present value of what these journalled transactions touched is sent again."""

    system: str
    since_us: int
    oldest_us: int
    transactions: int


def _rewind_plan(desk: Desk, arguments: Arguments) -> Answer:
    return Answer(ok=True, result=_planned(desk, arguments))


def _rewind(desk: Desk, arguments: Arguments) -> Answer:
    plan = _planned(desk, arguments)
    seq = desk.journal.command(Command("rewind", {"system": plan.system, "since_us": plan.since_us}))
    _log.warning("rewind by an operator", extra={"system": plan.system, "transactions": plan.transactions, "seq": seq})
    desk.ring("resolve")
    return Answer(ok=True, result={**msgspec.structs.asdict(plan), "seq": seq})


def _planned(desk: Desk, arguments: Arguments) -> Rewind:
    name = target(desk, arguments)
    since_us = arguments.get("since_us")
    if not isinstance(since_us, int) or since_us > now_us():
        raise RequestError("a rewind goes back to a moment in the past", remedy="give --to 2h or an ISO time")
    journal = desk.journal
    first_seq, _, oldest_us = journal.first_after(0) or (1, 0, now_us())
    after = max(journal.seq_at(since_us), first_seq - 1)
    return Rewind(name, since_us, oldest_us, max(0, journal.last_seq() - after))


VERBS: Final[dict[str, Verb]] = {"rewind-plan": _rewind_plan, "rewind": _rewind}

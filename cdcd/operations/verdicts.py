"""`conflicts`: a person's verdicts about what lost."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from cdcd.control import Answer
from cdcd.journal import Command
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb

_log: Final = logging.getLogger("cdcd.operations")


def _conflicts(desk: Desk, arguments: Arguments) -> Answer:
    """About conflicts as numbers, the key as hexadecimal (see `resolve.verdicts.Named`)."""
    try:
        listed = msgspec.convert(arguments.get("conflicts"), list[tuple[int, str, int, int | None, int]])
        conflicts = [(entity, bytes.fromhex(key), *rest) for entity, key, *rest in listed]
    except (msgspec.ValidationError, ValueError) as error:
        raise RequestError("the conflicts are not understood", cause=str(error)) from error
    accept = arguments.get("accept") is True
    seq = desk.journal.command(Command("conflicts", {"accept": accept, "conflicts": conflicts}))
    _log.warning("conflicts decided by an operator", extra={"accept": accept, "count": len(conflicts), "seq": seq})
    desk.ring("resolve")
    return Answer(ok=True, result={"seq": seq, "count": len(conflicts)})


VERBS: Final[dict[str, Verb]] = {"conflicts": _conflicts}

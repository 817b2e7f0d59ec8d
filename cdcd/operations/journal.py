"""What `cdcd journal` tells the daemon. Reading, pruning and mending take long: the command does them in its own process."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from cdcd.blueprint import Role
from cdcd.control import Answer
from cdcd.journal_care import repair as journal_repair
from cdcd.operations import resyncs
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, named

_log: Final = logging.getLogger("cdcd.operations")


class Lost(msgspec.Struct, frozen=True):
    """Entries `seq` to `through` are gone; `source` is "" where it is unknown."""

    seq: int
    through: int
    source: str


def _pruned(desk: Desk, arguments: Arguments) -> Answer:
    """Somebody has made room: captures look whether it is enough."""
    entries, through = arguments.get("entries"), arguments.get("through")
    _log.warning("journal pruned by an operator", extra={"entries": entries, "through": through})
    desk.ring("capture")
    return Answer(ok=True, result={})


def _mended(desk: Desk, arguments: Arguments) -> Answer:
    """Entries are whole again: resolve looks at once."""
    _log.warning("journal entries read again from their source by an operator", extra={"seqs": arguments.get("seqs")})
    _wake_resolve(desk)
    return Answer(ok=True, result={})


def _lost(desk: Desk, arguments: Arguments) -> Answer:
    """Have everything copied anew that lost entries may be about, and resolve go on without them. In that order."""
    try:
        lost = msgspec.convert(arguments.get("lost"), list[Lost])
        subjects = msgspec.convert(arguments.get("subjects"), list[str])
    except msgspec.ValidationError as error:
        raise RequestError("the lost entries are not understood", cause=str(error)) from error
    for subject in subjects:
        named("entity", subject, desk.blueprint.entity_tables)
    for subject in subjects:
        resyncs.VERBS["resync"](desk, {"entity": subject})
    for one in lost:
        journal_repair.replace(desk.journal, one.seq, one.through, one.source, subjects)
        _log.warning("journal entries given up by an operator", extra={"seq": one.seq, "through": one.through})
    _wake_resolve(desk)
    return Answer(ok=True, result={"subjects": subjects})


def _wake_resolve(desk: Desk) -> None:
    """It may sit out the time after an error, when nothing but a new beginning reaches it."""
    role = Role("resolve")
    if desk.crew.state(role) == "running":
        desk.crew.ring(role)
    else:
        desk.crew.restart(role)


VERBS: Final[dict[str, Verb]] = {"journal-pruned": _pruned, "journal-mended": _mended, "journal-lost": _lost}

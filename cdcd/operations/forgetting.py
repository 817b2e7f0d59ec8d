"""`forget`: a record is to be erased. Resolve erases it from the state, the command from the journal (`cdcd.forgetting`)."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from cdcd.control import Answer
from cdcd.forgetting import job
from cdcd.journal import Command
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, named
from cdcd.operations.parked import unpacked

_log: Final = logging.getLogger("cdcd.operations")


def _forget(desk: Desk, arguments: Arguments) -> Answer:
    """Have resolve erase a record (`job.Request`, packed)."""
    asked = unpacked(arguments.get("request"), job.Request)
    entity = named("entity", _name(desk, asked.entity), desk.blueprint.config.entities)
    seq = desk.journal.command(Command(job.FORGET, msgspec.structs.asdict(asked)))
    _log.warning("a record is to be forgotten", extra={"entity": entity, "by": asked.by, "seq": seq})
    desk.ring("resolve")
    return Answer(ok=True, result={"seq": seq})


def _name(desk: Desk, number: int) -> str:
    vocabulary = desk.state.vocabulary
    known = () if vocabulary is None else vocabulary.entities
    return known[number] if 0 <= number < len(known) else str(number)


def _forgotten(desk: Desk, arguments: Arguments) -> Answer:
    """The journal has nothing of it any more: have resolve keep the tombstone only."""
    tombstone = unpacked(arguments.get("tombstone"), job.Tombstone)
    if job.job_of(desk.state, tombstone.seq) is None:
        raise RequestError(f"nothing is being forgotten by journal entry {tombstone.seq}")
    seq = desk.journal.command(
        Command(job.FORGOTTEN, {"tombstone": msgspec.to_builtins(tombstone, builtin_types=(bytes,))})
    )
    _log.warning(
        "a record was forgotten", extra={"entity": _name(desk, tombstone.entity), "by": tombstone.by, "seq": seq}
    )
    desk.ring("resolve")
    return Answer(ok=True, result={"seq": seq})


VERBS: Final[dict[str, Verb]] = {"forget": _forget, "forgotten": _forgotten}

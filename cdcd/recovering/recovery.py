"""What happens when a target, or the state directory, is not what it was: restored from a backup, or lost.

Pure words and judgements, and the switches in the journal by which the stages and the operator's verbs tell each other
(see docs/recovery.md). A target keeps beside its checkpoint how far each source's log had come into it (`Progress`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from cdcd.journal import Journal
from cdcd.state import State

ADOPTED_LINEAGES: Final = "adopted-lineages"
"""The switch that lists lineages whose transactions count as ours: written under state that is lost (JSON)."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a target has: everything journalled through `seq`, and through the position of each source in `logs`.

    `at_us` is when that was written. Stored in the target as JSON.
    """

    seq: int = 0
    at_us: int = 0
    logs: dict[str, str] = {}


class Gap(msgspec.Struct, frozen=True):
    """A target that went back: it has units through `unit`, though it had them through `known` before.

    Everything journalled through `seq` is there (0: that is not known). Its checkpoint was written at `at_us` (0: not known).
    """

    unit: int
    known: int
    seq: int = 0
    at_us: int = 0


class Accepted(msgspec.Struct, frozen=True):
    """A person wants a target's checkpoint to count that stands at `unit`; it moves to `skip_through` if that is later."""

    unit: int
    skip_through: int = 0


class Adoption(msgspec.Struct, frozen=True):
    """A target's checkpoint row becomes ours that was written under another lineage, whose state is lost."""

    lineage: str
    unit: int


T = TypeVar("T")


def went_back(system: str) -> str:
    """The switch that holds what a target lacks (`Gap`), from when that is found until it is accepted."""
    return f"went-back:{system}"


def accepted(system: str) -> str:
    """The switch that holds what a person has accepted (`Accepted`)."""
    return f"accept-checkpoint:{system}"


def adopted(system: str) -> str:
    """The switch that holds whose checkpoint row is taken over (`Adoption`)."""
    return f"adopt:{system}"


def log_first(system: str) -> str:
    """The switch by which a source's log is read to its end before its tables are copied: what it shows decides about those."""
    return f"log-first:{system}"


def epoch(system: str) -> str:
    """The switch that holds the epoch with which we took the target over last."""
    return f"epoch:{system}"


def read(journal: Journal, switch: str, of: type[T]) -> T | None:
    """What a switch holds, None where it is not set."""
    value = journal.controls().get(switch)
    return None if value is None else msgspec.json.decode(value, type=of)


def put(journal: Journal, switch: str, value: object) -> None:
    """Set a switch; None removes it."""
    journal.set_control(switch, None if value is None else msgspec.json.encode(value).decode())


def encoded(switches: Mapping[str, object]) -> dict[str, str]:
    """Values of switches as they are stored."""
    return {switch: msgspec.json.encode(value).decode() for switch, value in switches.items()}


def adopted_lineages(journal: Journal) -> list[str]:
    """Lineages whose transactions count as ours, besides our own."""
    return read(journal, ADOPTED_LINEAGES, list[str]) or []


def gap(journal: Journal, system: str) -> Gap | None:
    """What a target lacks that was there before, None when nothing is known to be missing."""
    return read(journal, went_back(system), Gap)


def accept(journal: Journal, system: str, unit: int, skip_through: int = 0) -> None:
    """Let the target go on from `unit`, where it says it is. What it lacks must have been seen to before (Invariant 5)."""
    put(journal, accepted(system), Accepted(unit, skip_through))


def unsettled(journal: Journal, state: State, system: str) -> str:
    """Why rows of this system must not be read as what its people want, "" when they may.

    A target that was restored from a backup shows old values until it is told what it missed: read before, they would
    count as changes.
    """
    if gap(journal, system) is not None:
        return f"{system!r} was restored from a backup and lacks what was delivered since"
    if read(journal, accepted(system), Accepted) is not None:
        return f"{system!r} has not gone on yet from the checkpoint that was accepted"
    if _is_told_whole(journal, state, system):
        return f"{system!r} was restored from a backup and is still being told what it lacks"
    return ""


def _is_told_whole(journal: Journal, state: State, system: str) -> bool:
    """Whether a rewind of a restored target was asked for, or is not over."""
    known = state.vocabulary
    number = known.systems.index(system) if known is not None and system in known.systems else -1
    owed = state.connection.execute("SELECT 1 FROM owed WHERE system=? AND whole LIMIT 1", (number,)).fetchone()
    asked = (command for command in journal.commands_after(state.position) if command.name == "rewind")
    return owed is not None or any(command.arguments.get("system") == system for command in asked)


def decode_progress(text: str) -> Progress | None:
    """What a target has kept, None when that is nothing that we know."""
    try:
        return msgspec.json.decode(text, type=Progress) if text else None
    except msgspec.MsgspecError:
        return None


def moment(at_us: int) -> str:
    """A time for people, in UTC; "an unknown time" for 0."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at_us else "an unknown time"

"""Barriers: whether everything that was committed by a moment has arrived everywhere (`cdcd wait`).

A barrier passes the line as a change would. `cdcd wait` puts it up as a control of the journal, which the captures see
when they are rung. Each asks its server once where its log ends; when all before that is journalled, it journals the
command "barrier" behind it. Resolve notes the newest unit at that place. What every target must have applied is then
known, and nothing that is committed later is waited for.

    barrier:ID          what is waited for (`Barrier`)
    barrier:ID:SYSTEM   how far that source's log must be read, or "!" and why that is not known
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from cdcd.adapter import Source
from cdcd.journal import Command, Journal
from cdcd.report import now_us
from cdcd.state import State

COMMAND: Final = "barrier"
NOTED_MAX: Final = 256
_PREFIX: Final = "barrier:"
_NOTED: Final = "barriers"
_REFUSED: Final = "!"


class Barrier(msgspec.Struct, frozen=True):
    """`places`: up to where the log of each of these systems must have arrived, None for all that is committed now.

    Nobody waits any more after `until_us`.
    """

    id: str
    places: dict[str, str | None]
    until_us: int


def put_up(journal: Journal, barrier: Barrier) -> None:
    """Have the captures see it. Those for which nobody waits any more are taken down."""
    now = now_us()
    for other in _standing(journal.controls()):
        if other.until_us < now:
            take_down(journal, other.id)
    journal.set_control(f"{_PREFIX}{barrier.id}", msgspec.json.encode(barrier).decode())


def take_down(journal: Journal, barrier_id: str) -> None:
    """Forget a barrier."""
    name = f"{_PREFIX}{barrier_id}"
    for control in journal.controls():
        if control == name or control.startswith(f"{name}:"):
            journal.set_control(control, None)


def take_all_down(journal: Journal) -> None:
    """Forget all: who waited for them is gone."""
    for barrier in _standing(journal.controls()):
        take_down(journal, barrier.id)


def _standing(controls: Mapping[str, str]) -> list[Barrier]:
    found = [value for name, value in controls.items() if name.startswith(_PREFIX) and name.count(":") == 1]
    return [msgspec.json.decode(value, type=Barrier) for value in found]


def places(journal: Journal, barrier: Barrier) -> tuple[dict[str, str], dict[str, str]]:
    """Of the systems whose captures have seen it: how far their logs must be read, and why that is not known."""
    name = f"{_PREFIX}{barrier.id}:"
    said = {key.removeprefix(name): value for key, value in journal.controls().items() if key.startswith(name)}
    refused = {system: text.removeprefix(_REFUSED) for system, text in said.items() if text.startswith(_REFUSED)}
    return {system: place for system, place in said.items() if system not in refused}, refused


# ---- capture -----------------------------------------------------------------------------------------------------


class CaptureBarriers:
    """The barriers that one capture must pass."""

    def __init__(self, system: str, source: Source, journal: Journal) -> None:
        self._system = system
        self._source = source
        self._journal = journal
        self._open: dict[str, str] = {}
        self._seen: set[str] = set()

    def look(self) -> None:
        """Look for new ones, and ask the server once where its log ends."""
        now = now_us()
        found = [b for b in _standing(self._journal.controls()) if self._system in b.places and b.until_us >= now]
        new = [barrier for barrier in found if barrier.id not in self._seen]
        head = self._source.status().head if any(barrier.places[self._system] is None for barrier in new) else ""
        for barrier in new:
            self._meet(barrier.id, barrier.places[self._system] or head)
        self._seen = {barrier.id for barrier in found}
        self._open = {known: place for known, place in self._open.items() if known in self._seen}

    def _meet(self, barrier_id: str, place: str) -> None:
        try:
            self._source.reached(place)
        except ValueError as error:
            self._journal.set_control(f"{_PREFIX}{barrier_id}:{self._system}", f"{_REFUSED}{error}")
            return
        self._journal.set_control(f"{_PREFIX}{barrier_id}:{self._system}", place)
        self._open[barrier_id] = place

    def pass_reached(self) -> bool:
        """Journal those before which everything is journalled: call it after each step. Whether there were any."""
        passed = [barrier_id for barrier_id, place in self._open.items() if self._source.reached(place)]
        for barrier_id in passed:
            self._journal.command(Command(COMMAND, {"id": barrier_id, "system": self._system}))
            del self._open[barrier_id]
        return bool(passed)


# ---- resolve -----------------------------------------------------------------------------------------------------


def note(state: State, barrier_id: str, system: str, unit: int) -> None:
    """Resolve has met the barrier of a system: the newest unit is `unit`. Within the state's transaction."""
    known = _noted(state)
    known[f"{barrier_id}:{system}"] = unit
    while len(known) > NOTED_MAX:
        del known[next(iter(known))]
    state.put(_NOTED, msgspec.msgpack.encode(known))


def noted(state: State, barrier_id: str) -> dict[str, int]:
    """The newest unit when resolve met the barrier of each system, as far as it has."""
    prefix = f"{barrier_id}:"
    return {name.removeprefix(prefix): unit for name, unit in _noted(state).items() if name.startswith(prefix)}


def _noted(state: State) -> dict[str, int]:
    stored = state.get(_NOTED)
    return {} if stored is None else msgspec.msgpack.decode(stored, type=dict[str, int])

"""At resolve's start: what a changed configuration needs read anew is asked for in the journal, like an operator's resync."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from cdcd.backfills import NewCopy
from cdcd.journal import Command, Journal
from cdcd.resolve import reconfiguration
from cdcd.resolve.mapping import binding_number
from cdcd.resolve.plan import Plan
from cdcd.resolve.reconfiguration import Readings, Recopy
from cdcd.state import State

_log: Final = logging.getLogger(__name__)


def before(state: State) -> Readings | None:
    """How everything was read until now; None before resolve ran first."""
    stored = state.get("readings")
    return None if stored is None else msgspec.msgpack.decode(stored, type=Readings)


def wanted(plan: Plan, state: State) -> list[Recopy]:
    """What must be read anew under `plan`. Raises NeedsOperator where an entity has got another key."""
    known = before(state)
    return [] if known is None else reconfiguration.recopies(known, reconfiguration.readings(plan))


def ask(plan: Plan, journal: Journal, state: State) -> dict[str, int]:
    """Journal the copies that are wanted; return the runs that new entities begin with.

    A crash before `remember` is committed asks for them once more: that is harmless.
    """
    runs: dict[str, int] = {}
    for recopy in wanted(plan, state):
        tables = _tables(plan, recopy)
        command = Command("copy" if recopy.is_copy else "resync", {"entity": recopy.subject})
        seq = journal.command(command, [NewCopy(system, table) for system, table in tables])
        runs |= dict.fromkeys(recopy.new, seq)
        _log.warning("copied anew subject=%s seq=%d because=%s", recopy.subject, seq, "; ".join(recopy.reasons))
    return runs


def _tables(plan: Plan, recopy: Recopy) -> list[tuple[str, str]]:
    if not recopy.is_copy:
        return plan.entities_tables(recopy.subject)
    system, _, table = recopy.subject.partition(":")
    return [(system, table)]


def remember(plan: Plan, state: State, runs: dict[str, int]) -> None:
    """In the state's open transaction: how everything is read from now on, and that new entities are being copied."""
    now, known = reconfiguration.readings(plan), before(state)
    for name in plan.entities:
        state.connection.execute("INSERT OR IGNORE INTO phases VALUES (?, 'seeding', ?)", (name, runs.get(name, 0)))
    for name, system in reconfiguration.moved_bindings(known or Readings(), now):
        number = binding_number(plan, plan.entities[name], system)
        state.connection.execute("DELETE FROM crosswalk WHERE binding=?", (number,))
    state.put("readings", msgspec.msgpack.encode(now))

"""The operator's verbs, as the running daemon carries them out: `pause`, `resume`, `resync`, `rewind`, `conflicts`.

Each leaves its trace in the journal: a switch that outlives restarts, or a command that resolve meets in order.
"""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from cdcd.blueprint import Blueprint, Role
from cdcd.control import Answer, Ready, Request
from cdcd.errors import CdcdError
from cdcd.journal import Command, Journal
from cdcd.report import now_us
from cdcd.stages import pause_switch
from cdcd.worker_process import WorkerProcess

PAUSE_SECONDS: Final = 50.0
_log: Final = logging.getLogger("cdcd.operations")


class RequestError(CdcdError):
    """The daemon was asked for something it does not have."""

    exit_code = 2
    default_code = "control-argument"


class Rewind(msgspec.Struct, frozen=True):
    """What a rewind to `since_us` means: the present value of what these journalled transactions touched is sent again."""

    system: str
    since_us: int
    oldest_us: int
    transactions: int


class Operations:
    """Carries out commands. One thread: the supervisor's."""

    def __init__(self, blueprint: Blueprint, journal: Journal, workers: dict[Role, WorkerProcess]) -> None:
        self._blueprint = blueprint
        self._journal = journal
        self._workers = workers
        self._verbs: dict[str, Callable[[dict[str, Any]], Answer | Ready]] = {
            "pause": self._pause,
            "resume": self._resume,
            "resync": self._resync,
            "rewind-plan": self._rewind_plan,
            "rewind": self._rewind,
            "conflicts": self._conflicts,
        }

    def knows(self, command: str) -> bool:
        """Whether the command is one of ours."""
        return command in self._verbs

    def handle(self, request: Request) -> Answer | Ready:
        """Carry out a command. Raises RequestError."""
        return self._verbs[request.command](request.arguments)

    def _pause(self, arguments: dict[str, Any]) -> Answer | Ready:
        system = self._system(arguments, self._blueprint.targets, "target")
        self._journal.set_control(pause_switch(system), str(now_us()))
        _log.warning("delivery paused by an operator", extra={"system": system})
        worker = self._workers[Role("deliver", system)]
        worker.restart()
        until = time.monotonic() + PAUSE_SECONDS

        def paused() -> Answer | None:
            state = worker.status().state
            if state == "paused":
                return Answer(ok=True, result={"system": system, "paused": True})
            late = time.monotonic() > until
            return Answer(ok=True, result={"system": system, "paused": False, "state": state}) if late else None

        return paused

    def _resume(self, arguments: dict[str, Any]) -> Answer:
        system = self._system(arguments, self._blueprint.systems, "system")
        was_paused = pause_switch(system) in self._journal.controls()
        self._journal.set_control(pause_switch(system), None)
        restarted = []
        for role, worker in self._workers.items():
            if role.system == system and worker.status().state in ("paused", "stopped", "retrying", "down"):
                worker.restart()
                restarted.append(str(role))
        _log.warning("resumed by an operator", extra={"system": system, "restarted": ",".join(restarted) or "nothing"})
        return Answer(ok=True, result={"system": system, "was_paused": was_paused, "restarted": restarted})

    def _resync(self, arguments: dict[str, Any]) -> Answer:
        entity = _named("entity", self._full_name(arguments.get("entity")), self._blueprint.entity_tables)
        tables = self._blueprint.entity_tables[entity]
        seq = self._journal.command(Command("resync", {"entity": entity}), tables)
        _log.warning("resync by an operator", extra={"entity": entity, "tables": len(tables), "seq": seq})
        self._ring()
        return Answer(ok=True, result={"entity": entity, "seq": seq, "tables": [list(table) for table in tables]})

    def _full_name(self, subject: Any) -> Any:
        """The name of the plain copies of a table, with the table spelled in full."""
        system, colon, table = str(subject).partition(":")
        names = self._blueprint.table_names.get(system, {})
        return f"{system}:{names.get(table, table)}" if colon else subject

    def _rewind_plan(self, arguments: dict[str, Any]) -> Answer:
        return Answer(ok=True, result=self._planned(arguments))

    def _rewind(self, arguments: dict[str, Any]) -> Answer:
        plan = self._planned(arguments)
        seq = self._journal.command(Command("rewind", {"system": plan.system, "since_us": plan.since_us}))
        _log.warning(
            "rewind by an operator", extra={"system": plan.system, "transactions": plan.transactions, "seq": seq}
        )
        self._ring()
        return Answer(ok=True, result={**msgspec.structs.asdict(plan), "seq": seq})

    def _planned(self, arguments: dict[str, Any]) -> Rewind:
        system = self._system(arguments, self._blueprint.targets, "target")
        since_us = arguments.get("since_us")
        if not isinstance(since_us, int) or since_us > now_us():
            raise RequestError("a rewind goes back to a moment in the past", remedy="give --to 2h or an ISO time")
        first_seq, _, oldest_us = self._journal.first_after(0) or (1, 0, now_us())
        after = max(self._journal.seq_at(since_us), first_seq - 1)
        return Rewind(system, since_us, oldest_us, max(0, self._journal.last_seq() - after))

    def _conflicts(self, arguments: dict[str, Any]) -> Answer:
        """A person's verdicts: about conflicts as numbers, the key as hexadecimal (see `resolve.verdicts.Named`)."""
        try:
            named = msgspec.convert(arguments.get("conflicts"), list[tuple[int, str, int, int | None, int]])
            listed = [(entity, bytes.fromhex(key), *rest) for entity, key, *rest in named]
        except (msgspec.ValidationError, ValueError) as error:
            raise RequestError("the conflicts are not understood", cause=str(error)) from error
        accept = arguments.get("accept") is True
        seq = self._journal.command(Command("conflicts", {"accept": accept, "conflicts": listed}))
        _log.warning("conflicts decided by an operator", extra={"accept": accept, "count": len(listed), "seq": seq})
        self._ring()
        return Answer(ok=True, result={"seq": seq, "count": len(listed)})

    def _system(self, arguments: dict[str, Any], known: Iterable[str], what: str) -> str:
        return _named(what, arguments.get("system"), known)

    def _ring(self) -> None:
        for role, worker in self._workers.items():
            if role.stage != "deliver":
                worker.bell.ring()


def _named(what: str, name: object, known: Iterable[str]) -> str:
    names = list(known)
    if isinstance(name, str) and name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    raise RequestError(f"unknown {what} {str(name)!r}", remedy=hint)

"""`pause` and `resume`."""

from __future__ import annotations

import logging
import time
from typing import Final

from cdcd import pause_switches
from cdcd.blueprint import Role
from cdcd.control import Answer, Ready
from cdcd.operations.desk import Arguments, Desk, Verb, system, target
from cdcd.report import now_us

PAUSE_SECONDS: Final = 50.0
_log: Final = logging.getLogger("cdcd.operations")


def _pause(desk: Desk, arguments: Arguments) -> Answer | Ready:
    name = target(desk, arguments)
    desk.journal.set_control(pause_switches.of_system(name), str(now_us()))
    _log.warning("delivery paused by an operator", extra={"system": name})
    role = Role("deliver", name)
    desk.crew.restart(role)
    until = time.monotonic() + PAUSE_SECONDS

    def paused() -> Answer | None:
        state = desk.crew.state(role)
        if state in ("paused", "down"):
            return Answer(ok=True, result={"system": name, "paused": True})
        late = time.monotonic() > until
        return Answer(ok=True, result={"system": name, "paused": False, "state": state}) if late else None

    return paused


def _resume(desk: Desk, arguments: Arguments) -> Answer:
    name = system(desk, arguments)
    was_paused = pause_switches.of_system(name) in desk.journal.controls()
    desk.journal.set_control(pause_switches.of_system(name), None)
    waiting = ("paused", "stopped", "retrying", "down")
    roles = [role for role in desk.roles("capture", "deliver") if role.system == name]
    restarted = [role for role in roles if desk.crew.state(role) in waiting]
    for role in restarted:
        desk.crew.restart(role)
    names = [str(role) for role in restarted]
    _log.warning("resumed by an operator", extra={"system": name, "restarted": ",".join(names) or "nothing"})
    return Answer(ok=True, result={"system": name, "was_paused": was_paused, "restarted": names})


VERBS: Final[dict[str, Verb]] = {"pause": _pause, "resume": _resume}

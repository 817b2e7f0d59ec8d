"""Having a verb carried out by the running daemon; or by the command itself, on the state directory, while none runs."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cdcd import config as c
from cdcd import control
from cdcd.control import Answer, Ready, RemoteError
from cdcd.errors import Unavailable
from cdcd.state_directory import Lock, StateDirectory

if TYPE_CHECKING:
    from cdcd.blueprint import Blueprint

BUSY_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 0.1


def directory_of(config: Path) -> StateDirectory:
    """The state directory that the configuration names; the rest of the file may be in the middle of an edit."""
    return StateDirectory(Path(c.read(config).daemon.state_dir))


def is_running(config: Path) -> bool:
    """Whether a daemon runs, and resolve will meet what is journalled."""
    return Lock(directory_of(config).lock("supervisor")).is_held()


def ask(config: Path, command: str, **arguments: Any) -> Any:
    """Have a verb carried out. While no daemon runs, what it writes down is found at the next start.

    Raises Unavailable where only a running daemon can answer, NeedsOperator where none has ever run.
    """
    return ask_within(control.ANSWER_SECONDS, config, command, **arguments)


def ask_within(answer_seconds: float, config: Path, command: str, **arguments: Any) -> Any:
    """`ask`, of what may take so long."""
    directory = directory_of(config)
    until = time.monotonic() + BUSY_SECONDS
    blueprint = None
    while True:
        try:
            return control.ask(directory.control_socket, command, arguments, answer_seconds=answer_seconds)
        except Unavailable as error:
            if error.code != "not-running":
                raise
        directory.require(directory.state, directory.journal)
        blueprint = blueprint or _drawn(config)
        lock = Lock(directory.lock("supervisor"))
        if lock.acquire(wait=False, note=False):
            try:
                return _carry_out(blueprint, directory, command, arguments)
            finally:
                lock.release()
        if time.monotonic() > until:
            raise Unavailable(
                "the daemon does not listen yet, or not any more",
                code="daemon-busy",
                cause=f"{lock.holder() or 'a process'} has the state directory and does not answer",
                remedy="look at its log, and try again in a moment",
            )
        time.sleep(_AGAIN_SECONDS)


def _drawn(config: Path) -> Blueprint:
    from cdcd import blueprint, config_rules  # noqa: PLC0415 - loads adapters

    return blueprint.draw(config_rules.load(config), str(config))


def _carry_out(blueprint: Blueprint, directory: StateDirectory, command: str, arguments: dict[str, Any]) -> Any:
    """What the supervisor does, without one."""
    from cdcd import operations  # noqa: PLC0415
    from cdcd.journal import Journal  # noqa: PLC0415
    from cdcd.operations.desk import Desk, Nobody  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    logging.getLogger("cdcd").addHandler(logging.NullHandler())  # the answer says it all
    journal, state = Journal(directory.journal), State(directory.state)
    try:
        known = msgspec.structs.replace(blueprint, vocabulary=state.get("vocabulary") or b"")
        desk = Desk(known, journal, state, Nobody())
        return _result(operations.handle(desk, control.Request(command, arguments)))
    finally:
        journal.close()
        state.close()


def _result(answer: Answer | Ready) -> Any:
    """As it would have come through the socket."""
    known = answer if isinstance(answer, Answer) else answer()
    if known is None:
        raise Unavailable(
            "the daemon is not running",
            code="not-running",
            cause="what was asked is written down; only a running daemon can say what comes of it",
            remedy="start it: systemctl start cdcd (or 'cdcd run')",
        )
    if known.error is not None:
        raise RemoteError(known.error)
    return msgspec.json.decode(msgspec.json.encode(known.result))

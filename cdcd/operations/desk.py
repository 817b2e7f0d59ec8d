"""What an operator's verb works with, whether the daemon runs or not."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from cdcd.blueprint import Blueprint, Role
from cdcd.control import Answer, Ready
from cdcd.errors import CdcdError
from cdcd.journal import Journal
from cdcd.report import WorkerState
from cdcd.state import State
from cdcd.state_directory import StateDirectory


class RequestError(CdcdError):
    """The daemon was asked for something it does not have."""

    exit_code = 2
    default_code = "control-argument"


class Crew(Protocol):
    """The workers of the daemon, as far as verbs need them. Roles that there are not are "down", and left alone."""

    def state(self, role: Role) -> WorkerState:
        """What the worker last said of itself."""
        ...

    def restart(self, role: Role) -> None:
        """Have the worker finish its step and begin anew, with the switches as they are then."""
        ...

    def ring(self, role: Role) -> None:
        """Have the worker look whether there is something new."""
        ...


class Nobody:
    """The crew while no daemon runs: what is written down is found at the next start."""

    def state(self, role: Role) -> WorkerState:  # noqa: ARG002 - the protocol's signature
        """Nobody is there."""
        return "down"

    def restart(self, role: Role) -> None:
        """There is nothing to restart."""

    def ring(self, role: Role) -> None:
        """There is nobody to wake."""


class Desk(msgspec.Struct, frozen=True):
    """Everything that a verb may use. `state` is only read: what changes it goes through the journal."""

    blueprint: Blueprint
    journal: Journal
    state: State
    crew: Crew

    @property
    def running(self) -> bool:
        """Whether a daemon runs: else what a verb writes down is found at the next start."""
        return not isinstance(self.crew, Nobody)

    @property
    def directory(self) -> StateDirectory:
        """Where journal and state lie."""
        return StateDirectory(self.state.database.path.parent)

    def roles(self, *stages: str) -> list[Role]:
        """The loops of these stages."""
        return [role for role in self.blueprint.roles() if role.stage in stages]

    def ring(self, *stages: str) -> None:
        """Wake all workers of these stages."""
        for role in self.roles(*stages):
            self.crew.ring(role)


Arguments: TypeAlias = Mapping[str, Any]
Verb: TypeAlias = Callable[[Desk, Arguments], Answer | Ready]
"""Carries out one command, in the supervisor's thread: it must not block. Raises RequestError.

While no daemon runs, a command carries it out (`cdcd.cli.daemon.ask`); a `Ready` is then asked once only, and must know.
"""


def named(what: str, name: object, known: Iterable[str]) -> str:
    """`name`, if it is known. Raises RequestError with the nearest one."""
    names = list(known)
    if isinstance(name, str) and name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    raise RequestError(f"unknown {what} {str(name)!r}", remedy=hint)


def target(desk: Desk, arguments: Arguments) -> str:
    """The target that the arguments name."""
    return named("target", arguments.get("system"), desk.blueprint.targets)


def system(desk: Desk, arguments: Arguments) -> str:
    """The system that the arguments name."""
    return named("system", arguments.get("system"), desk.blueprint.systems)

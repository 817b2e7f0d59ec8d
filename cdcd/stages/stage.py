"""What all stages are to the worker that drives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cdcd.adapter import Identity
from cdcd.blueprint import Blueprint
from cdcd.errors import CdcdError
from cdcd.report import CaptureFigures, Counter, DeliverFigures, ResolveFigures, WorkerState
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.storage import StorageError


def no_pulse() -> None:
    """Nobody listens."""


class Stage(Protocol):
    """One loop. Lifecycle: (`open` · (`step` | `tick` | `woken`)* · `close`)*, all in one thread.

    A step may take minutes (a transaction of a million rows): on its way it calls `pulse` every moment.
    """

    pulse: Callable[[], None]

    def open(self) -> WorkerState:
        """Connect and start; return the state that was reached. Raises whatever the engine and adapters raise."""
        ...

    def step(self) -> bool:
        """Do one unit of work; return whether there may be more at once."""
        ...

    def news(self) -> list[str]:
        """The roles that have got work from us since the last call."""
        ...

    def tick(self) -> WorkerState:
        """What is due by time, asked between steps; returns the present state."""
        ...

    def woken(self) -> None:
        """Our bell rang."""
        ...

    def arrived(self) -> None:
        """One of `filenos` became readable."""
        ...

    def filenos(self) -> list[int]:
        """What else to wait for."""
        ...

    def wait_seconds(self) -> float:
        """How long to wait at most when there is nothing to do."""
        ...

    def progress(self) -> int:
        """A number that grows with everything done since the process started."""
        ...

    def position(self) -> str:
        """How far we are, for people."""
        ...

    def figures(self) -> CaptureFigures | ResolveFigures | DeliverFigures:
        """Numbers for the report."""
        ...

    def counters(self) -> list[Counter]:
        """Totals since the process started."""
        ...

    def close(self) -> None:
        """Let go of everything `open` took. Safe to repeat."""
        ...


def added(one: Mapping[tuple[str, ...], int], other: Mapping[Any, int]) -> dict[tuple[str, ...], int]:
    """Both counted together."""
    return {labels: one.get(labels, 0) + other.get(labels, 0) for labels in one.keys() | other.keys()}


def identity(system: str, blueprint: Blueprint, directory: StateDirectory) -> Identity:
    """Who we are to that system."""
    state = State(directory.state)
    try:
        return Identity(blueprint.config.daemon.name, system, state.lineage)
    finally:
        state.close()


def is_storage_failure(error: CdcdError) -> bool:
    """Whether the state directory failed: then the process must end, since its memory may be ahead of the disk."""
    return isinstance(error, StorageError)

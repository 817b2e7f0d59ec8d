"""Faults as values: what goes wrong, and at which point of a source's or a target's work.

A server of the memory adapter calls a hook with the name of each point it comes to; a `FaultPlan` is such a hook.

| point               | what has happened by then                                         |
|---------------------|-------------------------------------------------------------------|
| start, poll, open   | nothing                                                           |
| confirm:before      | nothing: the server keeps what was to be confirmed                |
| confirm:after       | the server may have discarded what was confirmed                  |
| apply:before-commit | the batch is written, but not committed: an error rolls it back   |
| apply:after-commit  | the batch is committed, and nobody was told                       |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec

from cdcd.errors import Refused, Unavailable

POINTS: Final = (
    "start",
    "poll",
    "open",
    "confirm:before",
    "confirm:after",
    "apply:before-commit",
    "apply:after-commit",
)


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing in the line may catch it."""


class Fault(msgspec.Struct, frozen=True):
    """Something that goes wrong at `point`."""

    point: str

    def error(self) -> BaseException:
        """What is raised there."""
        raise AssertionError(f"{type(self).__name__} must say what it raises")


class Die(Fault, frozen=True):
    """The process is killed."""

    def error(self) -> BaseException:
        """A Crash."""
        return Crash(self.point)


class Disconnect(Fault, frozen=True):
    """The server goes away."""

    def error(self) -> BaseException:
        """Unavailable, as an adapter says it."""
        return Unavailable(f"the server went away at {self.point}", cause="an injected fault")


class FailAfterWrite(Disconnect, frozen=True):
    """The batch is committed, but the answer is lost: only the checkpoint tells."""

    point: str = "apply:after-commit"


class Reject(Fault, frozen=True):
    """The target refuses rows, as (write index, row index), or does not say which."""

    point: str = "apply:before-commit"
    rows: tuple[tuple[int, int], ...] = ()

    def error(self) -> BaseException:
        """Refused, naming `rows`."""
        return Refused("the target refuses rows", cause="an injected fault", rows=self.rows)


class FaultPlan:
    """A hook that raises each of its faults once, at the first passing of the fault's point, in the order of the plan.

    `passed` counts the points that were come to.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.waiting: list[Fault] = []
        self.passed: Counter[str] = Counter()
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Let these happen too."""
        assert all(fault.point in POINTS for fault in faults), f"points are {', '.join(POINTS)}"
        self.waiting += faults

    def __call__(self, point: str) -> None:
        """Come to a point: count it, and raise the first fault that waits for it."""
        self.passed[point] += 1
        for fault in self.waiting:
            if fault.point == point:
                self.waiting.remove(fault)
                raise fault.error()


class RandomFaults:
    """A hook that raises one of the faults of a point with a given probability: the same ones for the same seed.

    `happened` lists them. Without `faults`, everything that can happen may: death and disconnection at every point.
    """

    def __init__(self, random: Random, probability: float, faults: Iterable[Fault] = ()) -> None:
        self._random, self.probability = random, probability
        every = (kind(point) for point in POINTS for kind in (Die, Disconnect))
        self._faults = tuple(faults) or tuple(every)
        self.happened: list[Fault] = []

    def __call__(self, point: str) -> None:
        """Come to a point: perhaps raise one of its faults."""
        candidates = [fault for fault in self._faults if fault.point == point]
        if candidates and self._random.random() < self.probability:
            fault = self._random.choice(candidates)
            self.happened.append(fault)
            raise fault.error()

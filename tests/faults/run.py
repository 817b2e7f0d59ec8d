"""The long run: faults one after the other while both sides write, a verdict every so often, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from faults.injections import AT_FIRST_START, FAULTS, Fault
from faults.rig import Rig, RigError
from faults.verdict import Verdict

VERDICT_EVERY_FAULTS: Final = 60
RECOVERED_SHARE: Final = 0.5
"""After so many of the faults both sides wait until all is well again; the others are followed by the next at once."""


class Options(msgspec.Struct, frozen=True):
    """`transactions` and `faults` are what must be reached; `only` is a part of the faults' names."""

    transactions: int
    faults: int
    seed: int
    per_second: float
    record: Path
    only: str = ""


class Injection(msgspec.Struct, frozen=True):
    """A line of the record. `transactions`: how many both sides had committed when it struck."""

    fault: str
    where: str
    at_seconds: float
    seconds: float
    transactions: int


class Row(msgspec.Struct):
    """A row of the table: `transactions` were committed from these injections to the next ones."""

    times: int = 0
    transactions: int = 0
    lost: int = 0
    duplicated: int = 0


class Run:
    """One run. `say` shows a line to whoever watches."""

    def __init__(self, options: Options, rig: Rig, say: Callable[[str], None]) -> None:
        self.rows: dict[str, Row] = {}
        self.injections: list[Injection] = []
        self.wrong: list[str] = []
        self.lacking: dict[str, str] = {}
        self._options, self._rig, self._say = options, rig, say
        self._random = Random(options.seed)
        self._bag: list[Fault] = []
        self._started_at = time.monotonic()
        self._since_verdict: list[Injection] = []
        self._record = options.record.open("ab")

    def _strikes(self, what: str) -> None:
        """Noted before it is known how it went, so that whatever fails has a name."""
        self._record.write(
            msgspec.json.encode({"strikes": what, "at_seconds": time.monotonic() - self._started_at}) + b"\n"
        )
        self._record.flush()

    def play(self) -> bool:
        """Play it to its end; whether nothing was lost and nothing came twice."""
        rig, options = self._rig, self._options
        self._first_start()
        faults = self._possible()
        while len(self.injections) < options.faults or rig.transactions() < options.transactions:
            if len(self.injections) < options.faults or self._random.random() < 0.05:
                self._inject(self._next(faults))
            else:
                time.sleep(1.0)
            if len(self._since_verdict) >= VERDICT_EVERY_FAULTS and not self._verdict():
                return False
        return self._verdict()

    def _possible(self) -> list[Fault]:
        chosen = [fault for fault in FAULTS if self._options.only in fault.name]
        self.lacking = {fault.name: reason for fault in chosen if (reason := fault.lacking(self._rig))}
        return [fault for fault in chosen if fault.name not in self.lacking]

    def _first_start(self) -> None:
        """Begin while writing goes on, and die at every place that only a first start comes to."""
        rig = self._rig
        rig.writers.say("go")
        names = [name for name in sorted(AT_FIRST_START) if self._options.only in f"kill at {name}"]
        for name in names:
            (rig.armed / name).touch()
        at_seconds, begun = time.monotonic() - self._started_at, time.monotonic()
        rig.daemon.begin()
        rig.wait_for(lambda: not any(rig.armed.iterdir()), "a first start reaches its failpoints")
        rig.wait_begun()
        for name in names:
            self._note(Injection(f"kill at {name}", "first start", at_seconds, time.monotonic() - begun, 0))

    def _next(self, faults: Sequence[Fault]) -> Fault:
        """Each at least once before any is repeated, then as often as they weigh."""
        if not self._bag:
            missing = [fault for fault in faults if fault.name not in self.rows]
            self._bag = missing or self._random.choices(faults, [fault.weight for fault in faults], k=50)
            self._random.shuffle(self._bag)
        return self._bag.pop()

    def _inject(self, fault: Fault) -> None:
        rig = self._rig
        transactions, begun = rig.transactions(), time.monotonic()
        self._strikes(f"{fault.name} …")
        where = fault.inject(rig, self._random)
        if self._random.random() < RECOVERED_SHARE:
            rig.pass_mark()
        seconds = time.monotonic() - begun
        self._note(Injection(fault.name, where, begun - self._started_at, seconds, transactions))

    def _note(self, injection: Injection) -> None:
        self.rows.setdefault(injection.fault, Row()).times += 1
        if self.injections:
            last = self.injections[-1]
            self.rows[last.fault].transactions += injection.transactions - last.transactions
        self.injections.append(injection)
        self._since_verdict.append(injection)
        self._record.write(msgspec.json.encode(injection) + b"\n")
        self._record.flush()
        count = len(self.injections)
        self._say(
            f"{count:4} {injection.at_seconds:7.1f} s  {injection.transactions:9} transactions  {injection.fault}"
            f"  ({injection.where}; {injection.seconds:.1f} s)"
        )

    def _verdict(self) -> bool:
        """Compare both sides; what is wrong is put down to all faults since the last time."""
        found = self._rig.settle()
        self._say(f"verdict: {found}")
        if self.injections:
            last = self.injections[-1]
            self.rows[last.fault].transactions += found.transactions - last.transactions
            self.injections[-1] = msgspec.structs.replace(last, transactions=found.transactions)
        for injection in self._since_verdict:
            self.rows[injection.fault].lost += bool(found.lost)
            self.rows[injection.fault].duplicated += bool(found.duplicated)
        self._since_verdict = []
        self.wrong += found.lost + found.duplicated
        return found.right


def alone(rig: Rig, fault: Fault, seed: int) -> Verdict:
    """One fault, once, while both sides write, and the verdict."""
    before = rig.transactions()
    rig.wait_for(lambda: rig.transactions() > before, "both sides write")
    fault.inject(rig, Random(seed))
    rig.pass_mark()
    return rig.settle()


__all__ = ["Injection", "Options", "RigError", "Row", "Run", "alone"]

"""What a step costs in things that can be counted: the same on every machine, whatever else it does."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from cdcd.sqlite_driver import sqlite


def python_calls(step: Callable[[], object]) -> Counter[str]:
    """How often `step` enters each Python function, generator and comprehension. Calls into C are not counted.

    Nor is what is called to finish the garbage of earlier tests. The names are for whoever sees a test fail.
    """
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            found[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"] += 1

    before = sys.getprofile()
    gc.collect()
    gc.disable()
    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(before)
        gc.enable()
    return found


def statements(connection: sqlite.Connection, step: Callable[[], object]) -> Counter[str]:
    """The SQL statements that `step` has SQLite run, by their first word. One of `executemany` counts for each row."""
    found: Counter[str] = Counter()
    connection.set_trace_callback(lambda sql: found.update([sql.split(None, 1)[0].upper()]))
    try:
        step()
    finally:
        connection.set_trace_callback(None)
    return found


def blocks_left(step: Callable[[], object], rounds: int) -> int:
    """How many more blocks of memory are in use after twice `rounds` of the same step than after once as many.

    The first ones fill caches. SQLite's driver keeps up to 200 dead references for each connection: a few hundred
    blocks more or less say nothing.
    """
    for _ in range(rounds):
        step()
    before = sys.getallocatedblocks()
    for _ in range(rounds):
        step()
    return sys.getallocatedblocks() - before

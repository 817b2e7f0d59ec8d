"""A source that passes some of its rows on as a server prints them (see `cdcd.printed`), whatever adapter it is of."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from cdcd.adapter import Source
from cdcd.model import ABSENT, Event, Op, PrintedRows, Rows, Value
from cdcd.printed import headed

_encode = msgspec.msgpack.Encoder().encode


class PrintingSource:
    """`source`, of which every other run or so is printed: which ones is said by their rows, so that it is repeatable."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def poll(self) -> Sequence[Event]:
        """See `Source.poll`."""
        return [self._passed_on(event) for event in self._source.poll()]

    def _passed_on(self, event: Event) -> Event:
        if not isinstance(event, Rows) or not zlib.crc32(repr(event.rows).encode()) & 1:
            return event
        return printed_if_possible(event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def printed_if_possible(run: Rows) -> Rows | PrintedRows:
    """The run as PostgreSQL would print it, unless it is of a kind that comes with values."""
    comes_with_values = run.op not in (Op.INSERT, Op.UPDATE) or any(run.olds or ())
    return run if comes_with_values else as_printed(run)


def as_printed(run: Rows) -> PrintedRows:
    """Rows as PostgreSQL would print them."""
    packed = headed(run.count, *(_encode([_text(value) for value in row]) for row in run.rows))
    return PrintedRows(run.relation, run.op, run.count, packed)


def _text(value: Value) -> str | int:
    if value is None or value is ABSENT:
        return ord("n" if value is None else "u")
    if isinstance(value, bool):
        return "t" if value else "f"
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)

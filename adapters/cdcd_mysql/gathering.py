"""Gathers what is to be given out: runs of rows, and which of them belong to the transaction under way. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from cdcd.model import Event, Op, Relation, Row, Rows

RowWatch: TypeAlias = Callable[[Relation, Op, list[Row], list[Row | None] | None], None]
_RUN_ROWS_MAX: Final = 1000
"""Rows of one kind are gathered into events of about this many."""


class Gathering:
    """The events since they were last taken. `row_watch`, when set, is called for all rows."""

    def __init__(self) -> None:
        self.row_watch: RowWatch | None = None
        self.has_rows = False
        self.was_given_out = False
        self._events: list[Event] = []
        self._run: Rows | None = None
        self._group_events = 0

    def begin(self) -> None:
        """A transaction begins."""
        self.was_given_out = False
        self._group_events = len(self._events)

    def add(self, relation: Relation, op: Op, rows: list[Row], olds: list[Row | None] | None) -> None:
        """Rows of the transaction under way."""
        run = self._run
        if run is None or run.relation is not relation or run.op is not op or len(run.rows) >= _RUN_ROWS_MAX:
            run = self._run = Rows(relation, op, rows, olds)
            self._events.append(run)
        else:
            if run.olds is not None or olds is not None:
                run.olds = [*(run.olds or [None] * len(run.rows)), *(olds or [None] * len(rows))]
            run.rows += rows
        self.has_rows = True
        if self.row_watch is not None:
            self.row_watch(relation, op, rows, olds)

    def put(self, event: Event) -> None:
        """An event that is no rows: after it a new run begins."""
        self._events.append(event)
        self._run = None

    def end(self) -> None:
        """The transaction's Commit was put."""
        self.has_rows = False

    def abandon(self) -> None:
        """The transaction under way was never committed, and nothing of it was given out: drop it."""
        del self._events[self._group_events :]
        self._run = None
        self.has_rows = False

    def take(self) -> list[Event]:
        """The events since the last call."""
        self.was_given_out = self.has_rows
        self._group_events = 0
        events, self._events, self._run = self._events, [], None
        return events

"""Progress on the terminal: of table copies, and of whatever else takes more than a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cdcd.cli.output import is_watched
from cdcd.errors import CdcdError
from cdcd.status import CopyStatus, DaemonStatus

REFRESH_SECONDS = 0.5
DELAY_SECONDS = 1.0
PROGRESS_ENTRIES = 2_000
"""From so many entries on there is a bar."""


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """While the block takes longer than a second and somebody watches: what is being done, and for how long, on stderr.

    Gives something to call with what is being done now. Nothing may be asked or printed within the block.
    """
    if not is_watched():
        yield lambda _text: None
        return
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task(what)
    timer = threading.Timer(DELAY_SECONDS, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda text: progress.update(task, description=text)
    finally:
        timer.cancel()
        timer.join()
        progress.stop()


@contextmanager
def progress_bar(what: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Something to call with how much is done; shown on a terminal's stderr where it may take long."""
    if quiet or total < PROGRESS_ENTRIES or not is_watched():
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


class CopyBars:
    """A bar per system: tables copied of all, rows so far, and of about how many as far as servers guess that."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("copy from {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("tables, {task.fields[rows]} rows {task.fields[table]}"),
            TimeElapsedColumn(),
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}

    def update(self, status: DaemonStatus) -> Progress:
        """Bars as of `status`."""
        for name, system in status.systems.items():
            if system.capture is not None and system.capture.copies:
                self._set(name, system.capture.copies)
        return self._progress

    def _set(self, system: str, copies: Sequence[CopyStatus]) -> None:
        done = sum(copy.done for copy in copies)
        read, expected = sum(copy.rows for copy in copies), sum(max(copy.rows, copy.estimate) for copy in copies)
        rows = f"{read:,} of about {expected:,}" if expected > read else f"{read:,}"
        table = next((copy.table for copy in copies if not copy.done), "")
        if system not in self._tasks:
            self._tasks[system] = self._progress.add_task(system, total=len(copies), rows=rows, table=table)
        self._progress.update(self._tasks[system], completed=done, rows=rows, table=table)


def rows_being_read(*, quiet: bool = False) -> Progress:
    """Bars on stderr for tables that are read. Their tasks have the fields `rate` (rows per second) and `state`."""
    return Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,} rows, {task.fields[rate]:,.0f} rows/s {task.fields[state]}"),
        TimeElapsedColumn(),
        auto_refresh=False,
        console=Console(stderr=True, quiet=quiet),
    )


def watch_resync(ask: Callable[[], list[dict[str, Any]]], entity: str, seq: int | None) -> str:
    """Show on stderr how a resync reads its tables, until all are read; return what to say in the end.

    Ctrl-C ends only the watching.
    """
    progress = rows_being_read()
    tasks: dict[str, TaskID] = {}
    try:
        with progress:
            while True:
                copies = ask()
                for copy in copies:
                    _show_copy(progress, tasks, copy)
                progress.refresh()
                if not any(copy["state"] in ("reading", "paused") for copy in copies):
                    return _outcome(entity, seq, copies)
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        return f"the resync of {entity} goes on; 'cdcd resync --list' shows it, 'cdcd resync --cancel {entity}' ends it"


def _show_copy(progress: Progress, tasks: dict[str, TaskID], copy: dict[str, Any]) -> None:
    at = f"{copy['system']}: {copy['table']}"
    done = copy["state"] == "done"
    total = copy["rows"] if done else max(copy["estimate"], copy["rows"]) or None
    if at not in tasks:
        tasks[at] = progress.add_task(at, total=total, rate=0.0, state="")
    state = "" if copy["state"] == "reading" else copy["state"]
    progress.update(tasks[at], total=total, completed=copy["rows"], rate=copy["rows_per_second"], state=state)


def _outcome(entity: str, seq: int | None, copies: list[dict[str, Any]]) -> str:
    ended = [copy for copy in copies if copy["state"] != "done"]
    rows = sum(copy["rows"] for copy in copies)
    if ended:
        return f"the resync of {entity} has ended early: {ended[0]['state']}"
    return (
        f"all tables of {entity} are read, {rows:,} rows; what differed is on its way (journal entry {seq} and later)"
    )


def show_copies(ask: Callable[[], DaemonStatus]) -> None:
    """Show the initial copy on stderr, from a thread, until it is done or the daemon ends."""
    threading.Thread(target=_show, args=(ask,), name="progress", daemon=True).start()


def _show(ask: Callable[[], DaemonStatus]) -> None:
    bars = CopyBars()
    with Live(Group(), console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stderr=False) as live:
        seen = False
        while True:
            try:
                status = ask()
            except CdcdError:
                return
            seen = seen or status.copying()
            if seen and not status.copying():
                return
            if seen:
                live.update(bars.update(status), refresh=True)
            elif any(s.capture is not None and s.capture.copies for s in status.systems.values()):
                return  # nothing to copy: it was done in an earlier run
            time.sleep(REFRESH_SECONDS)

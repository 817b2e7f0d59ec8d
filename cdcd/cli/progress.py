"""Progress of table copies on the terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from cdcd.errors import CdcdError
from cdcd.status import CopyStatus, DaemonStatus

REFRESH_SECONDS = 0.5


class CopyBars:
    """A bar per system: tables copied of all, rows so far. How many rows there will be, no server tells cheaply."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("copy from {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("tables, {task.fields[rows]:,} rows {task.fields[table]}"),
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
        rows = sum(copy.rows for copy in copies)
        table = next((copy.table for copy in copies if not copy.done), "")
        if system not in self._tasks:
            self._tasks[system] = self._progress.add_task(system, total=len(copies), rows=rows, table=table)
        self._progress.update(self._tasks[system], completed=done, rows=rows, table=table)


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

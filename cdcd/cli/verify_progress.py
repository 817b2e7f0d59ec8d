"""Progress of a verification on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.progress import Progress, TaskID

from cdcd.cli.progress import rows_being_read

REFRESH_SECONDS = 0.25


def watch(ask: Callable[[], dict[str, Any]], *, quiet: bool = False) -> bool:
    """Show a run on stderr until it is over; False where Ctrl-C has ended the watching, and only that."""
    progress = rows_being_read(quiet=quiet)
    tasks: dict[str, TaskID] = {}
    try:
        with progress:
            while True:
                run = ask()
                for one in run["comparisons"]:
                    _show(progress, tasks, one)
                progress.refresh()
                if run["state"] in ("done", "cancelled"):
                    return True
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        return False


def _show(progress: Progress, tasks: dict[str, TaskID], one: dict[str, Any]) -> None:
    at = f"{one['subject']} in {one['system']}"
    over = one["state"] in ("done", "skipped", "failed", "cancelled")
    if at not in tasks:
        tasks[at] = progress.add_task(at, total=None, rate=0.0, state="", start=False)
    if one["began_at_us"]:
        progress.start_task(tasks[at])
    total = max(one["rows"], 1) if over else max(one["estimate"], one["rows"]) or None
    completed = max(one["rows"], 1) if over else one["rows"]
    state = "" if one["state"] in ("reading", "done") else one["state"]
    progress.update(tasks[at], total=total, completed=completed, rate=one["rows_per_second"], state=state)

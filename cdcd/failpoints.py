"""Places where the fault tests may end a process: before and after each step that outlives it.

A test facility, off unless the environment variable CDCD_FAILPOINTS names a directory when the process starts. Then a
process that comes to a place of which a file with that name is in the directory removes the file and kills itself
(SIGKILL): nothing is written any more, nothing is said. See docs/faults.md.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

VARIABLE: Final = "CDCD_FAILPOINTS"
NAMES: Final = (
    "storage.before-create",
    "storage.after-create",
    "capture.before-start",
    "capture.after-start",
    "capture.after-first-position",
    "capture.before-stage",
    "capture.after-stage",
    "capture.before-append",
    "capture.after-append",
    "capture.before-chunk",
    "capture.after-chunk",
    "capture.before-confirm",
    "capture.after-confirm",
    "journal.before-command",
    "journal.after-command",
    "resolve.before-start",
    "resolve.after-start",
    "resolve.after-settle",
    "resolve.before-commit",
    "resolve.after-commit",
    "deliver.before-open",
    "deliver.after-open",
    "deliver.before-apply",
    "deliver.before-commit",
    "deliver.after-commit",
    "deliver.after-mark",
    "deliver.before-park",
    "deliver.after-park",
    "deliver.before-release",
    "deliver.after-release",
    "supervisor.before-trim",
    "supervisor.after-trim",
    "supervisor.before-verb",
    "supervisor.after-verb",
)
"""Every place, in the order in which a change meets them. Each of them is reached in a run of the fault tests."""
VERB_NAMES: Final = (
    "rekey.before-rename",
    "rekey.after-rename",
    "rekey.before-end",
    "forget.before-journal",
    "forget.after-journal",
    "forget.before-note",
)
"""Places in what people ask for, each of them reached in a test of its own."""


def _pass_by(_name: str) -> None:
    """Nobody asked for anything."""


def _killer(directory: Path) -> Callable[[str], None]:
    """What `reach` is while the facility is on."""

    def die_if_asked(name: str) -> None:
        assert name in NAMES or name in VERB_NAMES, name
        try:
            (directory / name).unlink()  # whoever removes it is the one that dies
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return die_if_asked


def armed_by(directory: str | None) -> Callable[[str], None]:
    """What happens at a place: nothing without a directory."""
    return _killer(Path(directory)) if directory else _pass_by


reach: Final = armed_by(os.environ.get(VARIABLE))
"""Say that a place was come to. Only per durable step, never per row."""

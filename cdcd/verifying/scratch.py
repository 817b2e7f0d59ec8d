"""Files that a comparison needs for the while, in the state directory: they hold rows, and are encrypted as all of it is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROWS: Final = "verify-rows.db"
"""Rows of tables that records are put together from."""
CANDIDATES: Final = "verify-candidates.db"
SHOWN: Final = "verify-shown.db"
"""As `ROWS`, for a command that shows values beside the verifying process."""


def remove(path: Path) -> None:
    """Remove one with all that SQLite has made beside it."""
    for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def remove_left(directory: Path) -> None:
    """Remove what a verifying process that was killed has left."""
    for name in (ROWS, CANDIDATES):
        remove(directory / name)

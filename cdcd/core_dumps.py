"""Keeps what a process knows (passwords, rows) from others of its account, and out of files that a crash would leave."""

from __future__ import annotations

import ctypes
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4
"""prctl(2). Undone by every exec, so each process does it for itself."""


def forbid() -> None:
    """No core dump of this process, and nobody but root may read its memory and its environment."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

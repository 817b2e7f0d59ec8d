"""A process of the daemon does not outlive its supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with_the_supervisor(supervisor_pid: int) -> bool:
    """Ask the kernel to kill us when the supervisor dies (prctl(2), PR_SET_PDEATHSIG); False when it is dead already.

    SIGKILL, because a successor may be waiting for our lock while we are stuck in a call to a server, and because
    dying at any moment is safe here.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    return os.getppid() == supervisor_pid

"""Programs that are run to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any


def printed(command: Sequence[str], **how: Any) -> str:
    """What a program prints. Raises RuntimeError with the end of what it complains about; `how` goes to subprocess.run."""
    found: subprocess.CompletedProcess[str] = subprocess.run(
        list(command), check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, **how
    )
    if found.returncode:
        raise RuntimeError(f"{found.stdout}{found.stderr}"[-2000:])
    return found.stdout

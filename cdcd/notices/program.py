"""A message as the standard input of a program, which is started without a shell and without our environment."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Final

from cdcd.config import parse_duration
from cdcd.notices.channels import Program
from cdcd.notices.failures import NotTold
from cdcd.notices.messages import Letter

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(options: Program, letter: Letter) -> None:
    """Run it to its end; returning means that it ended with 0. Raises NotTold. What it prints is nobody's."""
    environment = {"PATH": PATH, "LANG": "C.UTF-8", "CDCD_ID": letter.id, "CDCD_DAEMON": letter.daemon}
    try:
        process = subprocess.Popen(
            options.run,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise NotTold(f"{options.run[0]} cannot be started: {error.strerror}") from None
    try:
        process.communicate(letter.body + b"\n", timeout=parse_duration(options.timeout))
    except subprocess.TimeoutExpired:
        _kill(process)
        raise NotTold(f"{options.run[0]} did not end within {options.timeout}, it was killed") from None
    if process.returncode:
        raise NotTold(f"{options.run[0]} ended with {process.returncode}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """It and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

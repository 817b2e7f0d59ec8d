"""Ends private servers and removes their directories when the process that started them is gone, however it went.

Run as a script by `server_process`, with a pipe from that process as standard input: the pipe ends with the process,
by SIGKILL too. PR_SET_PDEATHSIG would not do: it follows the *thread* that started the server, not the process.
Each line is a JSON object `{"directory": str, "pid": int}`; pid 0 means that no server runs there, -1 that the
directory is gone. Standard library only, so that it starts in milliseconds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path


def parents() -> dict[int, int]:
    """Parent of every living process; zombies are left out. Source: proc(5), /proc/pid/stat, fields 3 and 4."""
    found: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                found[int(entry.parent.name)] = int(parent)
    return found


def descendants(pid: int) -> list[int]:
    """Living processes below `pid`, nearest first, without itself."""
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    level = children.get(pid, [])
    while level:
        found += level
        level = [grandchild for child in level for grandchild in children.get(child, [])]
    return found


def send(pids: Iterable[int], number: int) -> None:
    """Send a signal to those of `pids` that still exist."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def suspend(pids: Sequence[int]) -> None:
    """SIGSTOP; return when no thread of `pids` runs any more, which the signal alone does not wait for."""
    send(pids, signal.SIGSTOP)
    while any(map(_runs, pids)):
        time.sleep(0.002)


def _runs(pid: int) -> bool:
    for entry in Path("/proc").glob(f"{pid}/task/*/stat"):
        with suppress(OSError):
            if entry.read_text(errors="replace").rpartition(")")[2].split()[0] not in "TtZX":
                return True
    return False


def kill_tree(pid: int) -> None:
    """SIGKILL `pid` and everything below it; return when the descendants are gone (`pid` is its parent's to reap)."""
    suspend([pid])  # so that it starts nothing new while we look
    below = descendants(pid)
    send(below, signal.SIGKILL)
    send([pid], signal.SIGKILL)
    while not parents().keys().isdisjoint(below):
        time.sleep(0.002)


def belongs(pid: int, directory: str) -> bool:
    """Whether the process was started for `directory`: guards against a process number used again."""
    with suppress(OSError):
        return directory.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def main() -> None:
    """Keep the list until standard input ends, then clean up what is on it."""
    watched: dict[str, int] = {}
    for line in sys.stdin:
        entry = json.loads(line)
        if entry["pid"] < 0:
            watched.pop(entry["directory"], None)
        else:
            watched[entry["directory"]] = entry["pid"]
    for directory, pid in watched.items():
        if pid and belongs(pid, directory):
            kill_tree(pid)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()

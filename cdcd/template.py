"""The template: a process that has imported what the workers of a configuration need, and becomes them by fork(2).

`python -P -m cdcd.template CONFIG FD SUPERVISOR-PID`, started and asked by `forking.Template`. What all of them need is
imported once and shared by the kernel page by page, and a worker is there within milliseconds. The template opens
nothing, has one thread, and holds no descriptor but its socket: what a process is to have comes with each request.

It forks twice, and the one in between ends at once: so the new process becomes the supervisor's own child (a
"subreaper", prctl(2)), to be waited for and to die with it as if the supervisor had started it. It goes on only when
the supervisor has heard of it: one that was given up meanwhile never works beside another one of its role.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from cdcd import core_dumps, logs
from cdcd.death_signal import end_with_the_supervisor
from cdcd.errors import CdcdError
from cdcd.forking import DESCRIPTORS_MAX, GO, REQUEST_BYTES_MAX, CheckRequest, Request, WorkerRequest

NEEDED: Final = (
    "setproctitle",
    "cdcd.worker",
    "cdcd.preflight",
    "cdcd.stages.capture",
    "cdcd.stages.resolve",
    "cdcd.stages.deliver",
)
"""Imported when the death signal is set: until then we would outlive a supervisor that dies."""
REFUSES: Final = 70
"""Exit code of a template that must not fork."""
Job: TypeAlias = Callable[[], int]
_log: Final = logging.getLogger("cdcd.template")


def preload(file: Path) -> None:
    """Import what workers need, with the adapters of the systems in `file`. What is wrong with it others will say."""
    for module in NEEDED:
        importlib.import_module(module)
    from cdcd import config as c  # noqa: PLC0415
    from cdcd import plugins  # noqa: PLC0415

    with suppress(CdcdError):
        config = c.read(file)
        for system in config.systems:
            with suppress(CdcdError):
                plugins.find(config, str(file), system)


def obstacle(own: Sequence[int]) -> str:
    """Why this process must not fork, "" when it may: `own` are the descriptors it may have, besides the standard ones.

    A fork copies the calling thread alone: locks that others hold are never released in the copy.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        return f"an import has started {threads - 1} threads"
    listed = list(Path("/proc/self/fd").iterdir())
    still_open = {int(entry.name) for entry in listed if entry.is_symlink()}  # without that of the listing itself
    surplus = still_open - {0, 1, 2, *own}
    return f"an import has left {len(surplus)} descriptors open" if surplus else ""


class Template:
    """Forks on request until the supervisor has closed its end of `requests`."""

    def __init__(self, requests: socket.socket, supervisor_pid: int) -> None:
        self._requests = requests
        self._supervisor_pid = supervisor_pid

    def serve(self) -> Job | None:
        """Return in the template at its end, with None; and in each process that was forked, with what it is to do."""
        while True:
            message, descriptors, _, _ = socket.recv_fds(
                self._requests, REQUEST_BYTES_MAX, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
            )
            if not message:
                return None
            tell, *given = descriptors
            if self._fork():
                self._requests.close()
                return self._job(msgspec.msgpack.decode(message, type=Request), tell, given)
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self) -> bool:
        """Whether this is the new process, which is the supervisor's child then. A failed fork shows as a closed `tell`."""
        try:
            between = os.fork()
        except OSError:
            return False
        if between:
            os.waitpid(between, 0)
            return False
        try:
            between = os.pidfd_open(os.getpid())
            if os.fork():
                os._exit(0)
        except OSError:
            os._exit(1)
        select.select([between], [], [])  # readable once it has ended and its children have their new parent
        os.close(between)
        return True

    def _job(self, request: Request, tell: int, given: list[int]) -> Job:
        def do() -> int:
            with closing(socket.socket(fileno=tell)) as supervisor:
                if not (end_with_the_supervisor(self._supervisor_pid) and _is_heard(supervisor)):
                    return 0
            return _work(request, given) if isinstance(request, WorkerRequest) else _check(request, given)

        return do


def _is_heard(supervisor: socket.socket) -> bool:
    """Tell our pid; False when nobody waits for it any more."""
    try:
        supervisor.send(str(os.getpid()).encode())
        return supervisor.recv(len(GO)) == GO
    except ConnectionError:
        return False


def _work(request: WorkerRequest, given: list[int]) -> int:
    from cdcd import worker  # noqa: PLC0415
    from cdcd.blueprint import parse_role  # noqa: PLC0415

    _call_ourselves(f"cdcd.worker {request.role} {request.file}")
    assignment, *wired = given
    return worker.work(parse_role(request.role), assignment, wired)


def _check(request: CheckRequest, given: list[int]) -> int:
    from cdcd import preflight  # noqa: PLC0415

    _call_ourselves(f"cdcd.preflight {request.file}")
    with os.fdopen(given[0], "wb") as output:
        return preflight.print_outcome(Path(request.file), output)


def _call_ourselves(what: str) -> None:
    """In the process list, as if we had been started so."""
    from setproctitle import setproctitle  # noqa: PLC0415

    setproctitle(f"{sys.executable} -P -m {what}")


def main(arguments: list[str]) -> int:
    """Import, then fork for the supervisor that started this; in a forked process: do what that is for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the terminal; the supervisor ends us
    logs.setup("template")
    core_dumps.forbid()
    os.umask(0o077)
    file, fd, supervisor_pid = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    if not end_with_the_supervisor(supervisor_pid):
        return 0
    preload(file)
    found = obstacle([fd])
    if found:
        _log.warning("workers are started one by one", extra={"cause": found})
        return REFUSES
    gc.collect()
    gc.freeze()  # no collection writes to what is shared: the mark of a visit would copy every page
    job = Template(socket.socket(fileno=fd), supervisor_pid).serve()
    return 0 if job is None else job()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A standby: waits while another daemon of the same state directory runs, and takes over when that one dies.

Two daemons never write both: the state directory's lock has one holder, which the kernel knows, and in each target the
fence epoch has one. A daemon that is frozen keeps its lock; it is known by its heartbeat, the time of the lock's file. On
the same host the standby ends it before it takes the lock. On another host it cannot: it says so, and waits.

A daemon that was stopped on purpose leaves a note in the lock's file, and nobody takes over unless asked to.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from cdcd import notify
from cdcd.blueprint import Blueprint
from cdcd.state_directory import Holder, Lock, StateDirectory, started_ticks
from cdcd.wake import Signals, wait

POLL_SECONDS: Final = 0.2
FROZEN_SECONDS: Final = 4.0
WATCHDOG_SECONDS: Final = 5.0
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_log: Final = logging.getLogger("cdcd.standby")


class Standby:
    """Waits for the lock of a state directory. With `after_stop` it also takes over from who was stopped on purpose."""

    def __init__(self, directory: StateDirectory, *, after_stop: bool = False) -> None:
        self._lock = Lock(directory.lock("supervisor"))
        self._own = Lock(directory.lock("standby"))
        self._after_stop = after_stop
        self._holder: Holder | None = None
        self.has_waited = False
        """Whether another daemon ran when we came."""
        self._beat: tuple[Holder | None, int] = (None, 0)
        self._silent_seconds = 0.0
        self._looked_at = time.monotonic()
        self._said = ""
        self._fed_at = float("-inf")

    def take_over(self) -> Lock | None:
        """Wait until we are the one daemon; None when we were told to end. From the main thread."""
        signals = Signals([*_STOPS, signal.SIGHUP])
        try:
            while not self._try():
                if not self._own.is_ours:
                    self._own.acquire(wait=False)
                wait([signals.fileno()], POLL_SECONDS)
                if signals.take() & {*_STOPS}:
                    notify.notify("STOPPING=1")
                    return None
                self._feed_watchdog()
        finally:
            signals.close()
            self._own.release()
        return self._lock

    def _try(self) -> bool:
        """Take the lock if it is free and we may have it; else see to it that its holder lives."""
        holder = self._lock.holder()
        if self.has_waited and holder is not None and holder.stopped and not self._after_stop:
            self._say(f"{holder} was stopped on purpose: standing by until a daemon is started")
            return False
        if self._lock.acquire(wait=False, note=False):
            previous = self._lock.previous
            if self.has_waited and previous is not None and previous.stopped and not self._after_stop:
                self._lock.release()  # it was stopped between the two looks
                return False
            self._lock.note()
            if self.has_waited:
                self._tell_takeover()
            return True
        if self.has_waited or holder is None or not holder.is_gone():
            self.has_waited = True
            self._watch(holder)
        return False  # held by a command, for a moment, where its holder is gone

    @property
    def silent_since_us(self) -> int:
        """When the other daemon last showed that it lived; 0 where there was none."""
        return self._beat[1] // 1000

    def _watch(self, holder: Holder | None) -> None:
        now = time.monotonic()
        # Only what we ourselves have seen counts: who was asleep together with the other one knows nothing.
        self._silent_seconds += min(now - self._looked_at, 2 * POLL_SECONDS)
        self._looked_at = now
        beat = (holder, self._lock.last_beat_ns())
        if beat != self._beat:
            self._beat, self._silent_seconds, self._holder = beat, 0.0, holder
            self._say(f"standing by while {holder or 'another process'} runs")
        elif self._silent_seconds >= FROZEN_SECONDS and holder is not None:
            self._end_frozen(holder)

    def _end_frozen(self, holder: Holder) -> None:
        if not holder.started_ticks or not holder.is_here():
            where = "on another host, or in another container" if holder.host else "of an older version"
            self._say(
                f"{holder} is silent and holds the lock; it is {where} and cannot be ended from here: end it there"
            )
        elif end_process(holder):
            self._say(f"{holder} was frozen, it has been ended")
        else:
            self._say(f"{holder} is silent and holds the lock, and could not be ended")

    def _tell_takeover(self) -> None:
        predecessor = str(self._holder or self._lock.previous or "unknown")
        silent_seconds = max(0.0, time.time() - self._beat[1] / 1e9)
        _log.warning("taking over", extra={"predecessor": predecessor, "silent_seconds": f"{silent_seconds:.1f}"})
        notify.notify("STATUS=taking over")

    def _say(self, text: str) -> None:
        """To the log and to systemd, once."""
        if text == self._said:
            return
        self._said = text
        _log.warning(text)
        notify.notify("READY=1", f"STATUS={text}")

    def _feed_watchdog(self) -> None:
        if time.monotonic() - self._fed_at >= WATCHDOG_SECONDS:
            self._fed_at = time.monotonic()
            notify.notify("WATCHDOG=1")


def end_process(holder: Holder) -> bool:
    """End the process that took the lock, and no other (pidfd_open(2)); False when that is not possible."""
    try:
        descriptor = os.pidfd_open(holder.pid)
    except OSError:
        return False
    try:
        if started_ticks(holder.pid) != holder.started_ticks:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def waiting(directory: StateDirectory) -> str:
    """Who stands by, "" when nobody does."""
    lock = Lock(directory.lock("standby"))
    return str(lock.holder() or "unknown") if lock.is_held() else ""


# ---- what the daemon runs with -----------------------------------------------------------------------------------


class Running(msgspec.Struct, frozen=True):
    """The configuration that a daemon took up, and what its file was like then (`reloading.file_stamp`)."""

    blueprint: Blueprint
    stamp: tuple[int, int]


def remember(directory: StateDirectory, running: Running) -> None:
    """Keep it for who takes over: the file may be in the middle of an edit then. A full disk is no reason not to run."""
    path = directory.running
    draft = path.with_name(path.name + ".new")
    try:
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.msgpack.encode(running))
        draft.replace(path)
    except OSError as error:
        _log.warning("the configuration is not kept for a standby", extra={"cause": str(error.strerror)})
        with suppress(OSError):
            path.unlink(missing_ok=True)  # rather none than an earlier one


def remembered(path: Path) -> Running | None:
    """What was kept; None where there is nothing, or another version of cdcd kept it."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None

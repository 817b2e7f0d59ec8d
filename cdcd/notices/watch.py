"""Watches the daemon from a thread of its own: keeps what happens, and has it told. Nothing here can hold up the supervisor."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

import msgspec

from cdcd import health
from cdcd.config import Config, parse_duration
from cdcd.control import Ready
from cdcd.errors import CdcdError
from cdcd.notices import channels as c
from cdcd.notices.channels import Channel
from cdcd.notices.kinds import KINDS, Kind
from cdcd.notices.occurrences import Changes, Key, Occurrence, Sight, Watched, changes, moment
from cdcd.notices.sending import Sender
from cdcd.notices.sight import Limits, look
from cdcd.notices.store import Store, path_of
from cdcd.notices.trial import Trial
from cdcd.report import Counter, now_us
from cdcd.sqlite_driver import sqlite
from cdcd.state_directory import Holder, StateDirectory
from cdcd.status import DaemonStatus
from cdcd.storage import translated

LOOK_SECONDS: Final = 3.0
PRUNE_SECONDS: Final = 600.0
STORE_PAUSE_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 1.0
MOMENTS_MAX: Final = 100
_LOG: Final = "journalctl -u cdcd tells how it ended"
_log: Final = logging.getLogger("cdcd.notices")


class Settings(msgspec.Struct, frozen=True):
    """What the configuration says of occurrences and channels."""

    daemon: str
    limits: Limits
    kinds: Mapping[str, Kind]
    channels: Mapping[str, Channel]

    def hearers(self, found: Occurrence) -> list[str]:
        """The channels that are told that this began."""
        return [name for name, channel in self.channels.items() if channel.hears_of(found)]


def settings_of(config: Config) -> Settings:
    """Those of a configuration that was checked."""
    kinds = dict(KINDS)
    for code, after in config.notices.after.items():
        kinds[code] = kinds[code].lasting(parse_duration(after))
    limits = Limits(parse_duration(config.notices.lag))
    return Settings(config.daemon.name, limits, kinds, c.of_config(config))


class Watch:
    """Looks every three seconds from `start` on; all other methods are for the supervisor's thread, and do not block."""

    def __init__(
        self, directory: StateDirectory, config: Config, ask: Callable[[], DaemonStatus], version: str
    ) -> None:
        """`ask` gives the present status to another thread; may raise CdcdError."""
        self._directory = directory
        self._ask = ask
        self._version = version
        self._settings = settings_of(config)
        self._moments: deque[Occurrence] = deque()
        self._watched: dict[Key, Watched] = {}
        self._senders: dict[str, Sender] = {}
        self._wake = threading.Event()
        self._end = False
        self._remarks: tuple[str, ...] = ()
        self._counts: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self, previous: Holder | None, *, silent_since_us: int = 0) -> None:
        """Begin. `previous` had the state directory before us; see `Supervisor` for `silent_since_us`."""
        before = f"; before it ran {previous}" if previous is not None else ""
        if silent_since_us:
            seconds = (now_us() - silent_since_us) / 1e6
            self.note("taken-over", "daemon", f"a standby took over after {seconds:.1f} s of silence{before}")
        elif previous is not None and not previous.stopped:
            self.note(
                "crashed", "daemon", f"cdcd {self._version} started, and had not been stopped{before}", next_=_LOG
            )
        else:
            self.note("started", "daemon", f"cdcd {self._version} started")
        self._thread.start()

    def follow(self, config: Config) -> None:
        """Go on with another configuration."""
        self._settings = settings_of(config)

    def note(self, code: str, subject: str, text: str, *, next_: str = "") -> None:
        """Something happened that no status shows."""
        if len(self._moments) < MOMENTS_MAX:
            self._moments.append(moment(code, subject, text, now_us(), next_=next_))
        self._wake.set()

    def note_refusal(self, error: CdcdError) -> None:
        """A reload was refused."""
        text = f"the configuration was not taken over: {error.what} [{error.code}]"
        self.note("reload-refused", "daemon", text, next_=error.remedy or "cdcd reload")

    def remarks(self) -> tuple[str, ...]:
        """What a person should know about channels that do not work."""
        return self._remarks

    def counters(self) -> list[Counter]:
        """Messages by channel and result: "sent", "failed" (attempts), "dropped"; since the state directory was made."""
        return [Counter("notifications", labels, value) for labels, value in self._counts.items()]

    def trial(self, name: object) -> Ready:
        """Begin to send a test message to one channel, or to all. Raises CdcdError where there is none of that name."""
        chosen = None if name is None else str(name)
        begun = Trial(self._settings.channels, chosen, self._settings.daemon, self._version)
        return begun.answer

    def stop(self) -> None:
        """Look no more: what follows is the daemon's own end."""
        self._end = True
        self._wake.set()

    def close(self) -> None:
        """End, within a second or two, whatever a receiver does."""
        self._end = True
        self._wake.set()
        for sender in list(self._senders.values()):
            sender.close(0)
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        for sender in list(self._senders.values()):
            sender.close(CLOSE_SECONDS)

    # ---- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            if not self._end:
                self._remarks = ("nobody watches what happens any more, for a defect: see the log, restart the daemon",)

    def _watch(self) -> None:
        while not self._end:
            try:
                with closing(Store(path_of(self._directory))) as store:
                    self._watched = {
                        key: Watched(found.at_us, is_open=True) for key, found in store.open_ones().items()
                    }
                    self._serve(store)
            except sqlite.DatabaseError as error:
                self._put_off(translated(error))
            except CdcdError as error:
                self._put_off(error)

    def _put_off(self, error: CdcdError) -> None:
        """A disk that is full, or a file that is damaged, must not end anything: what happens is noted when it can be."""
        _log.error("occurrences cannot be kept", extra={"code": error.code, "what": error.what, "next": error.remedy})
        self._remarks = (f"occurrences cannot be kept or told: {error.what} [{error.code}]",)
        self._wake.wait(STORE_PAUSE_SECONDS)
        self._wake.clear()

    def _serve(self, store: Store) -> None:
        prune_in_seconds = 0.0
        while not self._end:
            self._wake.clear()
            self._employ(store)
            self._turn(store)
            prune_in_seconds -= LOOK_SECONDS
            if prune_in_seconds <= 0:
                store.prune()
                prune_in_seconds = PRUNE_SECONDS
            if not self._end:
                self._wake.wait(LOOK_SECONDS)

    def _employ(self, store: Store) -> None:
        """A sender for each channel, as it is configured now."""
        wanted = self._settings.channels
        leaving = [name for name, sender in self._senders.items() if wanted.get(name) != sender.channel]
        for name in leaving:
            self._senders.pop(name).close(0)
        if leaving:
            store.forget_channels(wanted)
        for name, channel in wanted.items():
            if name not in self._senders and not self._end:
                path = path_of(self._directory)
                self._senders[name] = Sender(path, name, channel, self._settings.daemon, self._version)

    def _turn(self, store: Store) -> None:
        """Look once."""
        try:
            status = self._ask()
        except CdcdError:
            return  # the supervisor is busy, or ending
        if self._end:
            return
        settings = self._settings
        sight = look(status, health.health(status), settings.limits)
        now = now_us()
        found = changes(self._watched, sight, now, settings.kinds)
        self._keep(store, settings, found, now)
        self._watched = found.watched
        self._remind(store, settings, sight, now)
        self._remarks = tuple(_remarks(store, now))
        self._counts = store.counts()

    def _keep(self, store: Store, settings: Settings, found: Changes, now: int) -> None:
        moments = list(self._moments)
        if not (moments or found.begun or found.ended):
            return
        begun = [(one, settings.hearers(one)) for one in found.begun]
        told = {one.key: [] if self._is_quiet(store, one) else settings.hearers(one) for one in moments}
        resolved = [name for name, channel in settings.channels.items() if channel.resolved]
        ended = {key: (at_us, resolved) for key, at_us in found.ended.items()}
        store.keep([*begun, *((one, told[one.key]) for one in moments)], ended, now)
        for _ in moments:
            self._moments.popleft()
        for one in (*found.begun, *moments):
            _log.info("occurrence", extra={"code": one.code, "subject": one.subject, "severity": one.severity})
        self._wake_senders()

    @staticmethod
    def _is_quiet(store: Store, one: Occurrence) -> bool:
        last = store.last(one.key)
        return last is not None and one.at_us - last.at_us < KINDS[one.code].quiet_seconds * 1e6

    def _remind(self, store: Store, settings: Settings, sight: Sight, now: int) -> None:
        lasting = {
            key: sight.conditions[key].text
            for key, watched in self._watched.items()
            if watched.is_open and key in sight.conditions and settings.kinds[key[0]].severity == "critical"
        }
        for name, channel in settings.channels.items():
            if lasting and channel.repeat_every is not None:
                before_us = now - int(parse_duration(channel.repeat_every) * 1e6)
                if store.remind(name, before_us, lasting, now):
                    self._wake_senders()

    def _wake_senders(self) -> None:
        for sender in self._senders.values():
            sender.wake()


def _remarks(store: Store, now: int) -> list[str]:
    return [
        f"notifications do not reach channel {name} ({standing.waiting:,} wait): {standing.error};"
        f" tried again in {max(0, standing.retry_at_us - now) // 1_000_000} s, 'cdcd notify --test {name}' tries it now"
        for name, standing in store.standings().items()
        if standing.error
    ]

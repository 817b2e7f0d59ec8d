"""Telling one channel what waits for it: in order, with pauses after failures, and not more often than is good for anybody.

What was sent and could not be noted any more (a crash, at that moment) is sent again with the same id: at least once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from cdcd.errors import CdcdError
from cdcd.notices.channels import Channel, Email, Webhook
from cdcd.notices.failures import Unfit
from cdcd.notices.messages import Letter, letter
from cdcd.notices.store import Message, Store
from cdcd.report import now_us
from cdcd.sqlite_driver import sqlite
from cdcd.storage import translated

DIGEST_MAX: Final = 100
"""So many messages are told as one at most."""
UNFIT_TIMES_MAX: Final = 3
"""A message that the receiver will not take is given up after so many attempts."""
FIRST_PAUSE_SECONDS: Final = 5
LONGEST_PAUSE_SECONDS: Final = 600
IDLE_SECONDS: Final = 3600.0
STORE_PAUSE_SECONDS: Final = 30.0
_MINUTE_US: Final = 60_000_000
_log: Final = logging.getLogger("cdcd.notices")


def tell(channel: Channel, content: Letter, version: str) -> None:
    """Send it, however long that takes; returning means that it arrived. Raises CdcdError: NotTold, ConfigError for a secret."""
    means = channel.means
    if isinstance(means, Webhook):
        from cdcd.notices import webhook  # noqa: PLC0415 - without a channel of the kind nobody needs a MiB of it

        webhook.post(means, content, version)
    elif isinstance(means, Email):
        from cdcd.notices import mail  # noqa: PLC0415

        mail.send(means, content)
    else:
        from cdcd.notices import program  # noqa: PLC0415

        program.run(means, content)


def next_batch(
    waiting: Sequence[Message], sent_us: Sequence[int], per_minute: int, now_us: int
) -> Sequence[Message] | float:
    """What is told now, as one; or for how many seconds nothing may be told. `sent_us`: when something was, lately.

    The last of a minute's messages takes everything that waits: then many things happen at once, and nobody reads them singly.
    """
    lately = [at_us for at_us in sent_us if now_us - _MINUTE_US < at_us <= now_us]
    left = per_minute - len(lately)
    if left <= 0:
        return (lately[-per_minute] + _MINUTE_US - now_us) / 1e6
    return waiting[:1] if len(waiting) <= left else waiting


def pause_seconds(attempts: int) -> float:
    """How long to wait after so many failures in a row."""
    return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempts - 1, 16)))


class Sender:
    """A thread for one channel. A receiver that hangs holds up nobody else, and not our end either."""

    def __init__(self, path: Path, name: str, channel: Channel, daemon: str, version: str) -> None:
        """`path` is the store's."""
        self.name = name
        self.channel = channel
        self._path = path
        self._daemon = daemon
        self._version = version
        self._end = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notify-{name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be something to tell."""
        self._wake.set()

    def close(self, timeout_seconds: float) -> None:
        """End, or be left behind: what is being sent then is sent again by the next daemon."""
        self._end = True
        self._wake.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._end:
            try:
                with closing(Store(self._path)) as store:
                    self._serve(store)
            except sqlite.DatabaseError as error:
                self._put_off(translated(error))
            except CdcdError as error:  # of the store: a full disk, say
                self._put_off(error)

    def _put_off(self, error: CdcdError) -> None:
        _log.error("notifications are held up", extra={"channel": self.name, "code": error.code, "what": error.what})
        self._wake.wait(STORE_PAUSE_SECONDS)
        self._wake.clear()

    def _serve(self, store: Store) -> None:
        while not self._end:
            self._wake.clear()
            seconds = self._step(store)
            if not self._end:
                self._wake.wait(seconds)

    def _step(self, store: Store) -> float:
        """Tell what is to be told now; return for how many seconds there is nothing to do, if nothing new comes."""
        now = now_us()
        waiting = store.waiting(self.name, DIGEST_MAX)
        standing = store.standings().get(self.name)
        if not waiting or standing is None:
            return IDLE_SECONDS
        pause = (standing.retry_at_us - now) / 1e6
        if 0 < pause <= LONGEST_PAUSE_SECONDS:  # beyond that the clock was put back
            return pause
        batch = next_batch(waiting, store.sent_since(self.name, now - _MINUTE_US), self.channel.per_minute, now)
        if isinstance(batch, float):
            return batch
        self._tell(store, batch, standing.attempts)
        return 0.0

    def _tell(self, store: Store, batch: Sequence[Message], failures: int) -> None:
        try:
            tell(self.channel, letter(self._daemon, batch), self._version)
        except CdcdError as error:
            pause = pause_seconds(failures + 1)
            said = f"{error.what}: {error.cause}" if error.cause else error.what
            store.note_failed(self.name, batch, said, now_us() + int(pause * 1e6))
            fields = {"channel": self.name, "code": error.code, "what": said, "again_seconds": f"{pause:.0f}"}
            _log.warning("a notification did not arrive", extra=fields)
            given_up = [message for message in batch if message.attempts + 1 >= UNFIT_TIMES_MAX]
            if isinstance(error, Unfit) and given_up:
                store.drop(self.name, given_up)
                _log.error(
                    "notifications are given up: their receiver does not take them",
                    extra={**fields, "messages": len(given_up)},
                )
        else:
            store.note_sent(self.name, batch, now_us())

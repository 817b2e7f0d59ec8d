"""A test message to a channel, or to all: `cdcd notify --test`."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from cdcd.control import Answer
from cdcd.errors import CdcdError
from cdcd.notices.channels import Channel
from cdcd.notices.messages import letter, trial_message
from cdcd.notices.sending import tell
from cdcd.report import now_us

TRIAL_SECONDS: Final = 45.0
POLL_SECONDS: Final = 0.1


class ChannelError(CdcdError):
    """There is no such channel."""

    exit_code = 2
    default_code = "notify-channel"


class Tried(msgspec.Struct, frozen=True):
    """How it went with one channel: `error` is empty where the message arrived."""

    channel: str
    error: str = ""


class Trial:
    """Test messages on their way, each in a thread of its own."""

    def __init__(self, channels: Mapping[str, Channel], name: str | None, daemon: str, version: str) -> None:
        """Raises ChannelError where there is no channel, or none of that name."""
        wanted = chosen(channels, name)
        self._until = time.monotonic() + TRIAL_SECONDS
        self._results: dict[str, Tried] = {}
        self._names = list(wanted)
        message = letter(daemon, [trial_message(now_us())])

        def attempt(one: str) -> None:
            try:
                tell(wanted[one], message, version)
            except CdcdError as error:
                self._results[one] = Tried(one, f"{error.what}: {error.cause}" if error.cause else error.what)
            else:
                self._results[one] = Tried(one)

        for one in self._names:
            threading.Thread(target=attempt, args=(one,), name=f"notify-test-{one}", daemon=True).start()

    def answer(self) -> Answer | None:
        """The results as the daemon answers with them; None while they are not known."""
        found = self.results()
        return None if found is None else Answer(ok=True, result=found)

    def results(self) -> list[Tried] | None:
        """How it went; None while that is not known of all."""
        if len(self._results) < len(self._names) and time.monotonic() < self._until:
            return None
        unknown = Tried("", f"no answer within {TRIAL_SECONDS:.0f} s")
        return [self._results.get(name, msgspec.structs.replace(unknown, channel=name)) for name in self._names]


def chosen(channels: Mapping[str, Channel], name: str | None) -> Mapping[str, Channel]:
    """The channel of that name, or all. Raises ChannelError."""
    if not channels:
        raise ChannelError(
            "no channel is configured",
            cause="the configuration has no section [notify.NAME]",
            remedy="see docs/notifications.md for one to start with",
        )
    if name is None:
        return channels
    if name not in channels:
        near = difflib.get_close_matches(name, channels, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(channels)}"
        raise ChannelError(f"unknown channel {name!r}", remedy=hint)
    return {name: channels[name]}

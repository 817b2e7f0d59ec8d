"""Positions in the write-ahead log: "SYSTEM:TIMELINE:LSN", as in "7301234567890123456:1:0/16B3748".

SYSTEM is the server's system identifier (from IDENTIFY_SYSTEM, PostgreSQL documentation, "Streaming Replication
Protocol"), LSN is the end of the last thing read: a commit record, or what a keepalive named. TIMELINE is the one on
which that place was written, so that a position reads the same on a standby that was promoted later.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from cdcd.errors import PositionLost

_TOKEN: Final = re.compile(r"(\d{1,20}):(\d{1,10}):([0-9A-F]{1,8})/([0-9A-F]{1,8})")


class Position(msgspec.Struct, frozen=True):
    """A place in one server's log, as a token says it."""

    system: int
    timeline: int
    lsn: int


class Log(msgspec.Struct, frozen=True):
    """The log of one server: its timeline, and those that it descends from, each with the place where it was left."""

    system: int
    timeline: int
    forebears: tuple[tuple[int, int], ...] = ()

    def token(self, lsn: int) -> str:
        """The position at `lsn`."""
        timeline = self.timeline
        if self.forebears and lsn <= self.forebears[-1][1]:
            timeline = next(forebear for forebear, left_lsn in self.forebears if lsn <= left_lsn)
        return f"{self.system}:{timeline}:{format_lsn(lsn)}"

    def branches_off(self, timeline: int) -> int | None:
        """Where this log left `timeline`, None when it does not descend from it."""
        return dict(self.forebears).get(timeline)


def parse_history(text: str) -> tuple[tuple[int, int], ...]:
    """Read a timeline's history file: a line for each forebear, "timeline<TAB>switch point<TAB>reason" (timeline.c)."""
    lines = (line.split(maxsplit=2) for line in text.splitlines())
    return tuple((int(parts[0]), parse_lsn(parts[1])) for parts in lines if len(parts) >= 2 and parts[0].isdigit())


def parse_position(token: str) -> Position:
    """Read a position made by `Log.token`. Raises PositionLost for text that another adapter made."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise PositionLost(
            "the stored position is not one of a PostgreSQL server",
            cause="the system was another kind of database when it was stored",
            remedy="give the system a new name in the configuration, or run 'cdcd resync' for it",
        )
    return Position(int(match[1]), int(match[2]), parse_lsn(f"{match[3]}/{match[4]}"))


def format_lsn(lsn: int) -> str:
    """A log sequence number as PostgreSQL prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """A log sequence number from its text ("0/16B3748"). Raises ValueError for other text."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)

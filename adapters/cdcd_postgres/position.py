"""Positions in the write-ahead log: "SYSTEM:TIMELINE:LSN", as in "7301234567890123456:1:0/16B3748:0:1763766000123456".

SYSTEM is the server's system identifier (from IDENTIFY_SYSTEM, PostgreSQL documentation, "Streaming Replication
Protocol"), LSN is the end of the last thing read: a commit record, or what a keepalive named. TIMELINE is the one on
which that place was written, so that a position reads the same on a standby that was promoted later.

The last two parts tell of the last commit that the server sent up to there: how many bytes before LSN it ended, and when it
was committed (microseconds since 1970). A server that was set back to an older state and has written on has the same system
identifier, timeline and slot, and its log is long enough: only this tells that it is another log (`Replay`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from cdcd.errors import PositionLost

_LSN: Final = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")
_TOKEN: Final = re.compile(r"(\d{1,20}):(\d{1,10}):([0-9A-F]{1,8})/([0-9A-F]{1,8})(?::(\d{1,20}):(-?\d{1,20}))?")


_SET_BACK: Final = "the server was set back to an older state and has written on from there"


class Moment(msgspec.Struct, frozen=True):
    """A commit: where its record ends, and its time."""

    lsn: int
    at_us: int


class Position(msgspec.Struct, frozen=True):
    """A place in one server's log, as a token says it. `commit` is the last one at or before `lsn`, if one is known."""

    system: int
    timeline: int
    lsn: int
    commit: Moment | None = None


class Log(msgspec.Struct, frozen=True):
    """The log of one server: its timeline, and those that it descends from, each with the place where it was left."""

    system: int
    timeline: int
    forebears: tuple[tuple[int, int], ...] = ()

    def token(self, lsn: int, commit: Moment | None = None) -> str:
        """The position at `lsn`; `commit` is the last one up to there."""
        timeline = self.timeline
        if self.forebears and lsn <= self.forebears[-1][1]:
            timeline = next(forebear for forebear, left_lsn in self.forebears if lsn <= left_lsn)
        last = f":{lsn - commit.lsn}:{commit.at_us}" if commit is not None else ""
        return f"{self.system}:{timeline}:{format_lsn(lsn)}{last}"

    def branches_off(self, timeline: int) -> int | None:
        """Where this log left `timeline`, None when it does not descend from it."""
        return dict(self.forebears).get(timeline)


class Replay:
    """Judges what a server sends again from between the place that the slot has confirmed and our position.

    Up to the confirmed place this is the log that we have read: the slot says so. The last transaction that is sent from
    there up to our position must be the last one that we have seen. Where it is another, or none, or reaches beyond our
    position, the server was set back in between; and where none was ever sent, nothing of ours was missed.
    """

    def __init__(self, confirmed_lsn: int, position: Position, lost: Callable[[str], PositionLost]) -> None:
        """`lost` makes the error of a cause."""
        self.expected = position.commit
        self._confirmed_lsn = confirmed_lsn
        self._lsn = position.lsn
        self._lost = lost
        self._last: Moment | None = None

    def commit(self, moment: Moment) -> None:
        """A transaction that begins to commit before our position has been sent."""
        if moment.lsn > self._lsn:
            raise self._lost("our position lies inside of a commit: " + _SET_BACK)
        self._last = moment

    def judge(self) -> None:
        """All that ends before our position has been sent. Raises PositionLost when it is not what we have seen."""
        expected = self.expected
        if expected is not None and (expected if expected.lsn > self._confirmed_lsn else None) != self._last:
            raise self._lost("the transactions before our position are not those that were read: " + _SET_BACK)


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
    lsn = parse_lsn(f"{match[3]}/{match[4]}")
    commit = Moment(lsn - int(match[5]), int(match[6])) if match[5] is not None else None
    return Position(int(match[1]), int(match[2]), lsn, commit)


def parse_place(text: str) -> int:
    """The log sequence number of a position, or of one as PostgreSQL prints it. Raises ValueError for other text."""
    if _LSN.fullmatch(text):
        return parse_lsn(text)
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise ValueError("a place in PostgreSQL's log reads 0/16B3748 (pg_current_wal_lsn())")
    return parse_lsn(f"{match[3]}/{match[4]}")


def format_lsn(lsn: int) -> str:
    """A log sequence number as PostgreSQL prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """A log sequence number from its text ("0/16B3748"). Raises ValueError for other text."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)

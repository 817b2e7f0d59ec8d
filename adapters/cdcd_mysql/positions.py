"""Places in a binary log, as text that only this adapter reads.

    binlog.000007:1543 created=1795298818 server=1 mark=31-2890137846 gtid=0-1-5

A file and an offset say where to go on; the rest proves that it is the same log. `created` is when the file was begun,
by its first event. `mark` is size and checksum of the event that ends at the offset: going on reads it again and
compares. `server` is server_uuid (MySQL) or server_id (MariaDB). `gtid` is what was read so far, in the server's own
notation. `xa` are the prepared transactions that are open there (`prepared`). Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

from cdcd.adapter import Identity
from cdcd.errors import PositionLost

OFFSET_MAX: Final = (1 << 32) - 1
"""COM_BINLOG_DUMP and the event headers have four bytes for an offset."""
FIRST_OFFSET: Final = 4
"""The first event of a file comes after four magic bytes."""
_SERVER_ID_MIN: Final = 1 << 20
_SERVER_ID_MAX: Final = (1 << 31) - 1
_POSITION: Final = re.compile(r"(?P<file>\S+):(?P<offset>\d+)(?P<facts>( [a-z]+=\S*)*)")
_MYSQL_GTIDS: Final = re.compile(r"\s*[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\s*:[0-9a-zA-Z_:,\s-]+")
_MARIADB_GTIDS: Final = re.compile(r"\d+-\d+-\d+(\s*,\s*\d+-\d+-\d+)*")
_MARK: Final = re.compile(r"(\d+)-(\d+)")


class LogPosition(msgspec.Struct, frozen=True):
    """See the module. `created` 0, an empty `gtids` and `mark_size` 0 mean: not known."""

    file: str
    offset: int
    server: str
    created: int = 0
    mark_size: int = 0
    mark_crc: int = 0
    gtids: str = ""
    prepared: str = ""

    def __str__(self) -> str:
        facts = position_facts(self.created, self.server)
        return format_position(self.file, self.offset, facts, self.mark_size, self.mark_crc, self.gtids, self.prepared)

    @property
    def place(self) -> Place:
        """Where it is, in an order that follows the log."""
        return place_of(self.file, self.offset)


def position_facts(created: int, server: str) -> str:
    """The part of a position's text that is the same for a whole file."""
    return f" created={created} server={server}"


def format_position(
    file: str, offset: int, facts: str, mark_size: int, mark_crc: int, gtids: str, prepared: str
) -> str:
    """A position's text, for those who write one for every commit."""
    mark = f" mark={mark_size}-{mark_crc}" if mark_size else ""
    xa = f" xa={prepared}" if prepared else ""
    return f"{file}:{offset}{facts}{mark} gtid={gtids}{xa}" if gtids else f"{file}:{offset}{facts}{mark}{xa}"


Place: TypeAlias = tuple[int, int]


def place_of(file: str, offset: int) -> Place:
    """The number at the end of the file's name, and the offset: comparable within one server."""
    number = file.rpartition(".")[2]
    return int(number) if number.isdigit() else 0, offset


def parse_position(text: str) -> LogPosition:
    """Read a position back. Raises PositionLost when it is not one of ours."""
    match = _POSITION.fullmatch(text)
    facts = dict(fact.split("=", 1) for fact in match["facts"].split()) if match else {}
    mark = _MARK.fullmatch(facts.get("mark", "0-0"))
    if match is None or mark is None or "server" not in facts or not facts.get("created", "0").isdigit():
        raise PositionLost(
            "the stored position is not one of a MySQL or MariaDB log",
            cause=f"it reads {text[:80]!r}",
            remedy="was the system's adapter changed? Take a new snapshot of this system",
            code="position-foreign",
        )
    return LogPosition(
        match["file"],
        int(match["offset"]),
        facts["server"],
        int(facts.get("created", "0")),
        int(mark[1]),
        int(mark[2]),
        facts.get("gtid", ""),
        facts.get("xa", ""),
    )


def server_id_of(identity: Identity) -> int:
    """The replica server id of this daemon and system: stable, and unlikely to meet one that a person chose."""
    digest = hashlib.blake2b(f"{identity.daemon}/{identity.system}".encode(), digest_size=8).digest()
    return _SERVER_ID_MIN + int.from_bytes(digest, "big") % (_SERVER_ID_MAX - _SERVER_ID_MIN)


def includes(read: LogPosition, place: str) -> bool:
    """Whether what was read up to `read` includes everything through a place: a position, FILE:OFFSET, or GTIDs.

    Raises ValueError for other text.
    """
    if _MYSQL_GTIDS.fullmatch(place):
        known = MySqlGtids(read.gtids)
        return all(known.has(*interval) for interval in gtid_intervals(place.lower()))
    if _MARIADB_GTIDS.fullmatch(place):
        last = last_sequences(read.gtids)
        return all(last.get(domain, 0) >= sequence for domain, sequence in last_sequences(place).items())
    match = _POSITION.fullmatch(place)
    if match is None or not match["file"].rpartition(".")[2].isdigit():
        raise ValueError("a place in this log reads binlog.000007:1543, or is a set of GTIDs")
    return read.place >= place_of(match["file"], int(match["offset"]))


class MariaDbGtids:
    """What was read of a MariaDB log: the last GTID of every domain, as gtid_binlog_pos shows it."""

    def __init__(self, text: str) -> None:
        gtids = [gtid.strip() for gtid in text.split(",") if gtid.strip()]
        self._last = {int(gtid.split("-")[0]): gtid for gtid in gtids}

    def add(self, domain: int, server_id: int, sequence: int) -> None:
        """A transaction was read."""
        self._last[domain] = f"{domain}-{server_id}-{sequence}"

    def __str__(self) -> str:
        return ",".join(self._last.values())


def last_sequences(gtids: str) -> dict[int, int]:
    """Of a list of MariaDB's GTIDs the highest sequence number of every domain."""
    last: dict[int, int] = {}
    for gtid in filter(None, gtids.replace(" ", "").split(",")):
        domain, _, sequence = map(int, gtid.split("-"))
        last[domain] = max(sequence, last.get(domain, 0))
    return last


class MySqlGtids:
    """What was read of a MySQL log: a GTID set, as gtid_executed shows it."""

    def __init__(self, text: str) -> None:
        self._intervals: dict[str, list[tuple[int, int]]] = {}
        for source, first, last in gtid_intervals(text):
            self._intervals.setdefault(source, []).append((first, last))
        self._texts = {source: self._text(source) for source in self._intervals}
        self._has_tags = any(":" in source for source in self._intervals)

    def add(self, source: str, number: int) -> None:
        """A transaction was read. `source` is a server_uuid, or "uuid:tag"."""
        if ":" in source:
            self._has_tags = True
        intervals = self._intervals.setdefault(source, [])
        if intervals and intervals[-1][1] + 1 == number:
            intervals[-1] = (intervals[-1][0], number)
        elif not any(first <= number <= last for first, last in intervals):
            self._intervals[source] = _merged([*intervals, (number, number)])
        self._texts[source] = self._text(source)

    def has(self, source: str, first: int, last: int) -> bool:
        """Whether all transactions of an interval were read."""
        return any(begin <= first and last <= end for begin, end in _merged(self._intervals.get(source, [])))

    def _text(self, source: str) -> str:
        return ":".join(
            [source, *(str(first) if first == last else f"{first}-{last}" for first, last in self._intervals[source])]
        )

    def __str__(self) -> str:
        if not self._has_tags:
            return ",".join(self._texts.values())
        texts: dict[str, str] = {}
        for source in sorted(self._texts):  # the server's order: what has no tag comes first
            server, _, tag = source.partition(":")
            texts[server] = (
                f"{texts[server]}:{tag}{self._texts[source][len(source) :]}"
                if tag and server in texts
                else self._texts[source]
            )
        return ",".join(texts.values())


def _merged(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return result


def gtid_intervals(text: str) -> Iterator[tuple[str, int, int]]:
    """Of "uuid:1-5:8,uuid:tag:3" the intervals; a tag is part of the source (MySQL 8.3)."""
    for part in re.sub(r"\s", "", text).split(","):
        server, *pieces = part.split(":")
        source = server
        for piece in pieces:
            if not piece[0].isdigit():
                source = f"{server}:{piece}"
                continue
            first, _, last = piece.partition("-")
            yield source, int(first), int(last or first)

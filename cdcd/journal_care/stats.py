"""How full the journal is, of what, since when, how fast it grows, and what keeps it from being trimmed."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cdcd.journal import Journal, Kind
from cdcd.journal_care.json_lines import iso
from cdcd.resolve import suspension
from cdcd.state import State

DAY_US: Final = 86_400_000_000
CONTENT_BYTES: Final = (
    "coalesce(length(body), 0) + coalesce(length(note), 0) + CASE WHEN stage IS NULL THEN 0 ELSE"
    " (SELECT coalesce(sum(length(s.body)), 0) FROM stages s WHERE s.stage = entries.stage) END"
)


class SourceStats(msgspec.Struct, frozen=True):
    """What is kept of one source. `own_transactions` were written by cdcd and read back. Commands come from "operator".

    `position` is the place in the source's log through which it is journalled, as its adapter writes it.
    """

    entries: int
    changes: int
    copied_rows: int
    size_bytes: int
    own_transactions: int
    position: str | None
    captured_at: str | None


class Keeper(msgspec.Struct, frozen=True):
    """Somebody because of whom entries after `seq` stay: resolve, what is suspended, or the time to keep."""

    what: str
    seq: int
    is_time: bool = False


class Bound(msgspec.Struct, frozen=True):
    """The oldest or the newest entry."""

    seq: int
    journaled_at: str


class JournalStats(msgspec.Struct, frozen=True):
    """The journal now. `keepers`: the nearest to the beginning first; entries through its seq can be trimmed.

    `growth_bytes_per_day` is estimated from the last day, or from as long as there is a journal. `full_in_hours` is None
    when at this rate it never is full (what is older than `keep` goes as fast as new comes), or nothing is known yet.
    `settles_at_bytes` is what it would come to then.
    """

    size_bytes: int
    max_bytes: int
    entries: int
    oldest: Bound | None
    newest: Bound | None
    sources: dict[str, SourceStats]
    keepers: tuple[Keeper, ...]
    growth_bytes_per_day: int | None
    full_in_hours: float | None
    settles_at_bytes: int | None


def measure(journal: Journal, state: State, *, max_bytes: int, keep: str, keep_us: int, now_us: int) -> JournalStats:
    """Read the whole journal once (not the rows in it). `keep` is the time to keep as the configuration says it."""
    oldest, newest = _bounds(journal)
    groups = _groups(journal, journal.seq_at(now_us - DAY_US))
    size_bytes = journal.size_bytes()
    growth = _growth(groups, size_bytes, oldest, now_us)
    kept_for = keepers(journal, state, keep, now_us - keep_us)
    settles_at_bytes = None if growth is None else int(growth * keep_us / DAY_US)
    # While somebody else needs more than the time to keep, nothing is trimmed.
    bound = float("inf") if settles_at_bytes is None or not kept_for[0].is_time else settles_at_bytes
    return JournalStats(
        size_bytes,
        max_bytes,
        sum(group[3] for group in groups),
        None if oldest is None else Bound(oldest[0], iso(oldest[1])),
        None if newest is None else Bound(newest[0], iso(newest[1])),
        _sources(journal, groups),
        kept_for,
        growth,
        _full_in_hours(size_bytes, max_bytes, growth, bound),
        settles_at_bytes,
    )


def keepers(journal: Journal, state: State, keep: str, keep_from_us: int) -> tuple[Keeper, ...]:
    """Who needs the journal, from where on; the one that needs most of it first."""
    found = [Keeper("resolve has come to here", state.position)]
    found += [
        Keeper(f"{behind.subject} is suspended here", behind.position) for behind in suspension.load(state).values()
    ]
    found.append(Keeper(f"journal.keep = {keep}", journal.seq_at(keep_from_us), is_time=True))
    return tuple(sorted(found, key=lambda keeper: (keeper.seq, not keeper.is_time)))


def _bounds(journal: Journal) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    query = "SELECT seq, journaled_at_us FROM entries ORDER BY seq {} LIMIT 1"
    execute = journal.database.connection.execute
    return execute(query.format("ASC")).fetchone(), execute(query.format("DESC")).fetchone()


def _groups(journal: Journal, day_ago_seq: int) -> list[tuple[Any, ...]]:
    """(is of the last day, source, kind, entries, changes, bytes, own transactions)."""
    return journal.database.connection.execute(
        f"SELECT seq > ?, source, kind, count(*), sum(changes), sum({CONTENT_BYTES}), count(mark_through) FROM entries"
        " GROUP BY 1, 2, 3",
        (day_ago_seq,),
    ).fetchall()


def _sources(journal: Journal, groups: list[tuple[Any, ...]]) -> dict[str, SourceStats]:
    positions = dict.fromkeys(name for (name,) in journal.database.connection.execute("SELECT source FROM sources"))
    found = {}
    for name in sorted({*positions, *(group[1] for group in groups)}):
        ours = [group for group in groups if group[1] == name]
        captured_at_us = journal.captured_at_us(name)
        found[name] = SourceStats(
            entries=sum(group[3] for group in ours),
            changes=sum(group[4] for group in ours if group[2] == Kind.LOG),
            copied_rows=sum(group[4] for group in ours if group[2] == Kind.CHUNK),
            size_bytes=sum(group[5] for group in ours),
            own_transactions=sum(group[6] for group in ours),
            position=journal.position(name),
            captured_at=None if captured_at_us is None else iso(captured_at_us),
        )
    return found


def _growth(groups: list[tuple[Any, ...]], size_bytes: int, oldest: tuple[int, int] | None, now_us: int) -> int | None:
    """Bytes of the file for a day; what entries take beside their content is shared out."""
    content_bytes = sum(group[5] for group in groups)
    if oldest is None or not content_bytes:
        return None
    lasted_us = max(1, min(DAY_US, now_us - oldest[1]))
    lately_bytes = sum(group[5] for group in groups if group[0])
    return int(size_bytes * (lately_bytes / content_bytes) * (DAY_US / lasted_us))


def _full_in_hours(size_bytes: int, max_bytes: int, growth: int | None, settles_at_bytes: float) -> float | None:
    if size_bytes >= max_bytes:
        return 0.0
    if not growth or settles_at_bytes <= max_bytes:
        return None
    return round((max_bytes - size_bytes) / growth * 24, 1)

"""`notices.db`: what happened, the last thousand of it, and what is still to be told to whom.

An occurrence and the messages about it are written together: after a crash nobody is told twice that something began, and
nobody misses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdcd.errors import NeedsOperator
from cdcd.notices.occurrences import Key, Occurrence
from cdcd.state_directory import StateDirectory
from cdcd.storage import Database, Schema

OCCURRENCES_MAX: Final = 1_000
WAITING_MAX: Final = 1_000
"""So many messages wait for one channel at most; then the oldest are dropped."""
SCHEMA: Final = Schema("""
CREATE TABLE IF NOT EXISTS occurrences (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_us INTEGER NOT NULL, severity TEXT NOT NULL, code TEXT NOT NULL,
    subject TEXT NOT NULL, text TEXT NOT NULL, ended_at_us INTEGER, next TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS occurrences_open ON occurrences (code, subject) WHERE ended_at_us IS NULL;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, occurrence INTEGER NOT NULL, kind TEXT NOT NULL,
    made_at_us INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, sent_at_us INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS messages_waiting ON messages (channel, id) WHERE sent_at_us IS NULL;
CREATE INDEX IF NOT EXISTS messages_of ON messages (occurrence, channel);
CREATE TABLE IF NOT EXISTS channels (
    name TEXT PRIMARY KEY, attempts INTEGER NOT NULL DEFAULT 0, retry_at_us INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE IF NOT EXISTS counts (
    channel TEXT NOT NULL, result TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (channel, result)) STRICT;
""")
_COLUMNS: Final = "at_us, severity, code, subject, text, ended_at_us, next, id"

MessageKind: TypeAlias = Literal["begun", "again", "ended", "test"]
Result: TypeAlias = Literal["sent", "failed", "dropped"]


class Message(msgspec.Struct, frozen=True):
    """What a channel is to be told: that something begun, still lasts, or ended."""

    id: int
    kind: MessageKind
    made_at_us: int
    attempts: int
    occurrence: Occurrence


class Standing(msgspec.Struct, frozen=True):
    """How a channel stands: failed so many times in a row, tried again at that time, why, and how much waits for it."""

    attempts: int = 0
    retry_at_us: int = 0
    error: str = ""
    waiting: int = 0


def path_of(directory: StateDirectory) -> Path:
    """Where all this lies."""
    return directory.path / "notices.db"


def recent(directory: StateDirectory, limit: int = 100, since_us: int = 0) -> list[Occurrence]:
    """What happened last, newest first; what lasts since before `since_us` is among it. Empty where nothing was ever kept.

    Reads only, and waits for nobody: for any process. Raises CdcdError.
    """
    path = path_of(directory)
    if not path.exists():
        return []
    try:
        store = Store(path, read_only=True)
    except NeedsOperator as error:
        if error.code != "storage-older":
            raise
        return []  # it is being made at this moment
    with closing(store):
        return store.recent(limit, since_us)


class Store:
    """The file, open in one thread."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._database = Database(path, SCHEMA, read_only=read_only)
        self._execute = self._database.connection.execute

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # ---- occurrences ---------------------------------------------------------------------------------------------

    def recent(self, limit: int, since_us: int = 0) -> list[Occurrence]:
        """The newest first."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM occurrences WHERE at_us>=? OR ended_at_us IS NULL OR ended_at_us>=?"
            " ORDER BY at_us DESC, id DESC LIMIT ?",
            (since_us, since_us, limit),
        )
        return [Occurrence(*row) for row in rows]

    def changed_after(self, occurrence_id: int, moment_us: int) -> list[Occurrence]:
        """Those that were kept after that one, or have ended since that moment; the oldest first."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM occurrences WHERE id>? OR ended_at_us>? ORDER BY id", (occurrence_id, moment_us)
        )
        return [Occurrence(*row) for row in rows]

    def open_ones(self) -> dict[Key, Occurrence]:
        """What lasts."""
        rows = self._execute(f"SELECT {_COLUMNS} FROM occurrences WHERE ended_at_us IS NULL ORDER BY id")
        return {found.key: found for found in (Occurrence(*row) for row in rows)}

    def last(self, key: Key) -> Occurrence | None:
        """The newest of that kind and subject."""
        row = self._execute(
            f"SELECT {_COLUMNS} FROM occurrences WHERE code=? AND subject=? ORDER BY id DESC LIMIT 1", key
        ).fetchone()
        return None if row is None else Occurrence(*row)

    def keep(
        self,
        begun: Iterable[tuple[Occurrence, Iterable[str]]],
        ended: Mapping[Key, tuple[int, Iterable[str]]],
        now_us: int,
    ) -> None:
        """Write what began and what ended, each with the channels that are to be told so, in one transaction.

        A channel hears of an end only if it was told of the beginning.
        """
        with self._database.transaction() as connection:
            for key, (at_us, channels) in ended.items():
                row = connection.execute(
                    "UPDATE occurrences SET ended_at_us=? WHERE code=? AND subject=? AND ended_at_us IS NULL RETURNING id",
                    (at_us, *key),
                ).fetchone()
                if row is not None:
                    told = {
                        name for (name,) in connection.execute("SELECT channel FROM messages WHERE occurrence=?", row)
                    }
                    self._enqueue(row[0], "ended", [name for name in channels if name in told], now_us)
            for found, channels in begun:
                row = connection.execute(
                    "INSERT INTO occurrences (at_us, severity, code, subject, text, ended_at_us, next)"
                    " VALUES (?,?,?,?,?,?,?) RETURNING id",
                    (found.at_us, found.severity, *found.key, found.text, found.ended_at_us, found.next),
                ).fetchone()
                self._enqueue(row[0], "begun", channels, now_us)

    def prune(self) -> None:
        """Forget the oldest of what has ended, and what was told about it."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM occurrences WHERE ended_at_us IS NOT NULL AND id <="
                " (SELECT id FROM occurrences ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (OCCURRENCES_MAX,),
            )
            connection.execute("DELETE FROM messages WHERE occurrence NOT IN (SELECT id FROM occurrences)")

    # ---- messages --------------------------------------------------------------------------------------------------

    def _enqueue(self, occurrence: int, kind: MessageKind, channels: Iterable[str], now_us: int) -> None:
        """Within a transaction. What is too much for a channel is dropped, the oldest first."""
        for channel in channels:
            self._execute(
                "INSERT INTO messages (channel, occurrence, kind, made_at_us) VALUES (?,?,?,?)",
                (channel, occurrence, kind, now_us),
            )
            dropped = self._execute(
                "DELETE FROM messages WHERE sent_at_us IS NULL AND channel=?1 AND id <= (SELECT id FROM messages"
                " WHERE sent_at_us IS NULL AND channel=?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (channel, WAITING_MAX),
            ).rowcount
            self._count(channel, "dropped", dropped)

    def remind(self, channel: str, before_us: int, keys: Mapping[Key, str], now_us: int) -> int:
        """Tell the channel again of what lasts and was last told before that moment; return how much that is.

        `keys` are the states that lasts, with what is to be said of them now.
        """
        due = []
        for key, found in self.open_ones().items():
            if key in keys:
                made_us, unsent = self._execute(
                    "SELECT max(made_at_us), sum(sent_at_us IS NULL) FROM messages WHERE occurrence=? AND channel=?",
                    (found.id, channel),
                ).fetchone()
                if made_us is not None and made_us <= before_us and not unsent:
                    due.append((found.id, keys[key]))
        if due:
            with self._database.transaction() as connection:
                for number, text in due:
                    connection.execute("UPDATE occurrences SET text=? WHERE id=?", (text, number))
                    self._enqueue(number, "again", [channel], now_us)
        return len(due)

    def waiting(self, channel: str, limit: int) -> list[Message]:
        """What is to be told next, the oldest first."""
        columns = ", ".join(f"o.{column}" for column in _COLUMNS.split(", "))
        rows = self._execute(
            f"SELECT m.id, m.kind, m.made_at_us, m.attempts, {columns} FROM messages m JOIN occurrences o"
            " ON o.id=m.occurrence WHERE m.channel=? AND m.sent_at_us IS NULL ORDER BY m.id LIMIT ?",
            (channel, limit),
        )
        return [
            Message(number, kind, made_at_us, attempts, Occurrence(*rest))
            for number, kind, made_at_us, attempts, *rest in rows
        ]

    def sent_since(self, channel: str, since_us: int) -> list[int]:
        """When messages were sent to the channel after that moment, each moment once: what went together counts as one."""
        rows = self._execute(
            "SELECT DISTINCT sent_at_us FROM messages WHERE channel=? AND sent_at_us>? ORDER BY sent_at_us",
            (channel, since_us),
        )
        return [at_us for (at_us,) in rows]

    def note_sent(self, channel: str, messages: Iterable[Message], now_us: int) -> None:
        """They were told; the channel works."""
        listed = [(now_us, message.id) for message in messages]
        with self._database.transaction() as connection:
            connection.executemany("UPDATE messages SET sent_at_us=? WHERE id=?", listed)
            connection.execute("DELETE FROM channels WHERE name=?", (channel,))
            self._count(channel, "sent", len(listed))

    def note_failed(self, channel: str, messages: Iterable[Message], error: str, retry_at_us: int) -> None:
        """They could not be told: the channel is tried again at that time."""
        numbers = [(message.id,) for message in messages]
        with self._database.transaction() as connection:
            connection.executemany("UPDATE messages SET attempts=attempts+1 WHERE id=?", numbers)
            connection.execute(
                "INSERT INTO channels VALUES (?1,1,?2,?3) ON CONFLICT (name) DO UPDATE SET attempts=attempts+1,"
                " retry_at_us=?2, error=?3",
                (channel, retry_at_us, error),
            )
            self._count(channel, "failed", 1)

    def drop(self, channel: str, messages: Iterable[Message]) -> None:
        """Give them up."""
        numbers = [(message.id,) for message in messages]
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM messages WHERE id=?", numbers)
            self._count(channel, "dropped", len(numbers))

    def forget_channels(self, known: Iterable[str]) -> None:
        """What waits for channels that there are not any more is for nobody."""
        names = list(known)
        marks = ",".join("?" * len(names))
        with self._database.transaction() as connection:
            connection.execute(f"DELETE FROM messages WHERE sent_at_us IS NULL AND channel NOT IN ({marks})", names)
            connection.execute(f"DELETE FROM channels WHERE name NOT IN ({marks})", names)

    def standings(self) -> dict[str, Standing]:
        """How the channels stand for which something waits, or which failed last."""
        waiting: dict[str, Any] = dict(
            self._execute("SELECT channel, count(*) FROM messages WHERE sent_at_us IS NULL GROUP BY channel").fetchall()
        )
        failing = {
            name: Standing(attempts, retry_at_us, error, waiting.get(name, 0))
            for name, attempts, retry_at_us, error in self._execute(
                "SELECT name, attempts, retry_at_us, error FROM channels"
            )
        }
        return {name: Standing(waiting=count) for name, count in waiting.items()} | failing

    def _count(self, channel: str, result: Result, by: int) -> None:
        if by:
            self._execute(
                "INSERT INTO counts VALUES (?1,?2,?3) ON CONFLICT (channel, result) DO UPDATE SET value=value+?3",
                (channel, result, by),
            )

    def counts(self) -> dict[tuple[str, str], int]:
        """How many messages each channel was sent, how many attempts failed, how many messages were given up, ever."""
        rows = self._execute("SELECT channel, result, value FROM counts ORDER BY channel, result")
        return {(channel, result): value for channel, result, value in rows}

"""SQLite as cdcd uses it: write-ahead log, durable commits, one kernel lock per file instead of busy polling."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from cdcd.errors import CdcdError, NeedsOperator
from cdcd.failpoints import reach

_PAGE_BYTES: Final = 8192
_CACHE_KIB: Final = 8192


class StorageError(CdcdError):
    """The state directory failed us. We stop at once: after a failed fsync nothing in memory can be trusted."""

    default_code = "storage"


class DiskFailed(StorageError):
    """The disk could not read, write or sync. What it holds is not known any more: the process that sees it must end."""

    default_code = "disk-failed"


class Schema(msgspec.Struct, frozen=True):
    """The tables of a file as they are now, and how a file of an earlier version gets them.

    `upgrades[n]` makes format n + 2 of format n + 1 (SQL statements), before `tables` adds what is new as a whole. The
    format of a file is its `user_version`; 0 is what was written before formats had numbers, which is the first.
    """

    tables: str
    upgrades: tuple[str, ...] = ()

    @property
    def format(self) -> int:
        """The number of the present format."""
        return len(self.upgrades) + 1


class _Connection(sqlite3.Connection):
    """Notes in an error which file it is about: whoever catches it far away can say so (see `translated`)."""

    path: Path

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As ever."""
        try:
            return super().execute(*arguments)
        except sqlite3.DatabaseError as error:
            error.path = self.path  # type: ignore[attr-defined]
            raise


class Database:
    """One SQLite file. Writers of several processes take turns by a lock on `<file>.lock`, which the kernel hands over."""

    def __init__(self, path: Path, schema: Schema, *, durable: bool = True, read_only: bool = False) -> None:
        """Open or create the file, of whatever earlier format. `durable=False` leaves out fsync: for simulations only.

        `read_only` changes nothing, waits for nobody, and wants a file that is there.
        """
        self.path = path
        self._lock = _opened(Path(os.devnull) if read_only else path.with_name(path.name + ".lock"))
        name = f"file:{quote(str(path))}?mode=ro" if read_only else path
        try:
            self.connection: _Connection = sqlite3.connect(
                name, uri=read_only, isolation_level=None, cached_statements=256, factory=_Connection
            )
            self.connection.path = path
            if read_only:
                self._refuse_older(schema)
            else:
                self._prepare(schema, durable=durable)
        except sqlite3.DatabaseError as error:
            self._lock.close()
            raise storage_error(path, error) from error
        except NeedsOperator:
            self.close()
            raise

    def _refuse_older(self, schema: Schema) -> None:
        found = self._format()
        if found > schema.format:
            raise _newer(self.path, found, schema.format)
        missing = self._missing(schema)
        if missing or found < schema.format:
            raise NeedsOperator(
                f"{self.path} was written by an older version",
                code="storage-older",
                cause=f"it has no table {', '.join(sorted(missing))}" if missing else f"its format is {found}",
                remedy="start the daemon, which brings it up to date",
            )

    def _missing(self, schema: Schema) -> set[str]:
        there = {name for (name,) in self.connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        return set(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", schema.tables)) - there

    def _format(self) -> int:
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        return max(1, int(version))

    def _prepare(self, schema: Schema, *, durable: bool) -> None:
        execute = self.connection.execute
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            execute(f"PRAGMA page_size={_PAGE_BYTES}")
            execute("PRAGMA journal_mode=WAL")
            execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            execute("PRAGMA busy_timeout=60000")
            execute("PRAGMA wal_autocheckpoint=2000")
            execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            execute("PRAGMA journal_size_limit=67108864")
            self._bring_up_to_date(schema)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _bring_up_to_date(self, schema: Schema) -> None:
        """In one transaction: a crash leaves the file as it was."""
        is_new = self.connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
        found = schema.format if is_new else self._format()
        if found > schema.format:
            raise _newer(self.path, found, schema.format)
        if found < schema.format or self._missing(schema):
            steps = (*schema.upgrades[found - 1 :], schema.tables, f"PRAGMA user_version={schema.format}")
            reach("storage.before-create")
            self.connection.executescript(";\n".join(("BEGIN IMMEDIATE", *steps, "COMMIT")))
            reach("storage.after-create")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction, durable when the block ends; nothing of it happened when the block raises."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                if self.connection.in_transaction:  # a full disk has ended it already
                    self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise storage_error(self.path, error) from error
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def size_bytes(self) -> int:
        """Bytes in use: pages of the file that are not free."""
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        (free,) = self.connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * _PAGE_BYTES

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self.connection.close()
        self._lock.close()


def _opened(lock: Path) -> TextIOWrapper:
    try:
        return lock.open("a")
    except OSError as error:
        raise unwritable(lock, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """What it means that a file of the state directory cannot be opened or written."""
    return StorageError(
        f"{path} cannot be opened or written",
        cause=str(error.strerror),
        remedy="check the disk and its permissions; cdcd goes on by itself as soon as it can",
    )


def _newer(path: Path, found: int, known: int) -> NeedsOperator:
    return NeedsOperator(
        f"{path} was written by a newer version of cdcd",
        code="storage-newer",
        cause=f"its format is {found}, this version knows up to {known}",
        remedy="install the newer version again; going back would need a copy of the state directory from before",
    )


def storage_error(path: Path, error: sqlite3.DatabaseError) -> CdcdError:
    """What an error of SQLite on that file means."""
    if isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error):
        return StorageError(
            f"no room to write {path}", cause=str(error), remedy="free space on the state directory's disk"
        )
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
        return DiskFailed(
            f"the disk failed under {path}", cause=str(error), remedy="look at the system's log, and at the disk"
        )
    if isinstance(error, sqlite3.IntegrityError):
        return StorageError(
            f"{path} holds something unexpected", cause=str(error), remedy="report this: it is a defect"
        )
    if type(error) is sqlite3.DatabaseError:
        return NeedsOperator(
            f"{path} is damaged", code="storage-damaged", cause=str(error), remedy=_damage_remedy(path.name)
        )
    return StorageError(
        f"{path} cannot be read or written", cause=str(error), remedy="check the disk and its permissions"
    )


def translated(error: sqlite3.DatabaseError) -> CdcdError:
    """What an error of SQLite means that came from reading, wherever it is caught."""
    path = getattr(error, "path", None)
    return storage_error(path if isinstance(path, Path) else Path("a file of the state directory"), error)


def _damage_remedy(name: str) -> str:
    """What a person does about a file that SQLite finds damaged: it depends on what else has what it holds."""
    if name == "journal.db":
        return "'cdcd journal verify' says what is damaged, 'cdcd journal repair' mends what the sources still have"
    if name.startswith("deliver-"):
        system = name.removeprefix("deliver-").removesuffix(".db")
        return (
            f"stop the daemon and move this file away: it listed what {system!r} refuses. After the start,"
            f" 'cdcd resync ENTITY --system {system}' finds what is still missing there"
        )
    return (
        "stop the daemon and move the whole state directory away; bring back a copy if none is newer than that,"
        " else 'cdcd recover' takes the systems over with a new one"
    )

"""SQLite as cdcd uses it: write-ahead log, durable commits, one kernel lock per file instead of busy polling."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from cdcd import state_key
from cdcd.errors import CdcdError, NeedsOperator
from cdcd.failpoints import reach
from cdcd.sqlite_driver import sqlite
from cdcd.state_key import StateKey

PAGE_BYTES: Final = 8192
CACHE_BYTES: Final = 8 * 2**20
"""Of pages, per connection."""
_CHECKPOINT_BYTES: Final = 16 * 2**20
"""A write-ahead log of this size is brought into its file."""


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

    `page_bytes` is for a file that is made now and not encrypted: others keep the pages that they have.
    """

    tables: str
    upgrades: tuple[str, ...] = ()
    page_bytes: int = PAGE_BYTES

    @property
    def format(self) -> int:
        """The number of the present format."""
        return len(self.upgrades) + 1


class _Connection(sqlite.Connection):
    """Notes in an error which file it is about: whoever catches it far away can say so (see `translated`)."""

    path: Path

    def execute(self, *arguments: Any) -> sqlite.Cursor:
        """As ever."""
        try:
            return super().execute(*arguments)
        except sqlite.DatabaseError as error:
            error.path = self.path  # type: ignore[attr-defined]
            raise


def connected(path: Path, key: StateKey | None, *, options: str = "", page_bytes: int = PAGE_BYTES) -> _Connection:
    """A connection in autocommit to a file, which is encrypted if there is a key. `options` are those of a SQLite URI.

    Whether the key is the right one shows when the file is first read. What SQLite puts aside while it sorts lies in
    files that are not encrypted: with a key it is kept in memory.
    """
    name = f"file:{quote(str(path))}?{options}" if options else str(path)
    connection: _Connection = sqlite.connect(
        name, uri=bool(options), isolation_level=None, cached_statements=256, factory=_Connection
    )
    connection.path = path
    if key is None:
        connection.execute(f"PRAGMA page_size={page_bytes}")
        connection.execute("PRAGMA temp_store=FILE")
    else:
        connection.execute("PRAGMA cipher_log_level=NONE")  # else it writes to our stderr
        connection.execute(f"PRAGMA cipher_default_page_size={PAGE_BYTES}")  # else VACUUM by way of a file corrupts it
        connection.execute(f'PRAGMA key="{key.literal}"')
        connection.execute(f"PRAGMA cipher_page_size={PAGE_BYTES}")
        connection.execute("PRAGMA secure_delete=OFF")  # nobody without the key reads what was deleted
        connection.execute("PRAGMA temp_store=MEMORY")
    return connection


class _Transaction:
    """See `Database.transaction`. Hundreds a second: a generator as a context manager takes twice as many calls."""

    __slots__ = ("_connection", "_lock")

    def __init__(self, connection: _Connection, lock: TextIOWrapper) -> None:
        self._connection = connection
        self._lock = lock

    def __enter__(self) -> sqlite.Connection:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self._release(error)
            raise
        return self._connection

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
            elif self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("ROLLBACK")
        except BaseException as failure:
            self._release(failure)
            raise
        self._release(error)

    def _release(self, error: BaseException | None) -> None:
        """Others may write. Raises what an error of SQLite means."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        if isinstance(error, sqlite.DatabaseError):
            raise storage_error(self._connection.path, error) from error


class Database:
    """One SQLite file. Writers of several processes take turns by a lock on `<file>.lock`, which the kernel hands over."""

    def __init__(
        self,
        path: Path,
        schema: Schema,
        *,
        durable: bool = True,
        read_only: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Open or create the file, of whatever earlier format. `durable=False` leaves out fsync: for simulations only.

        `read_only` changes nothing, waits for nobody, and wants a file that is there.
        """
        self.path = path
        self._cache_bytes = cache_bytes
        self._key = state_key.key_of(path.parent)
        state_key.refuse_unfit(path, self._key)
        self._lock = _opened(Path(os.devnull) if read_only else path.with_name(path.name + ".lock"))
        if not read_only:
            _make_for_us_alone(path)
        try:
            options = "mode=ro" if read_only else ""
            self.connection = connected(path, self._key, options=options, page_bytes=schema.page_bytes)
            if read_only:
                self._refuse_older(schema)
            else:
                self._prepare(schema, durable=durable)
        except sqlite.DatabaseError as error:
            self._lock.close()
            if self._key is not None and _is_no_database(error):
                state_key.refuse_plain(path)
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
            execute("PRAGMA journal_mode=WAL")
            execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            execute("PRAGMA busy_timeout=60000")
            execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_BYTES // self._page_bytes()}")
            execute(f"PRAGMA cache_size=-{self._cache_bytes // 1024}")
            execute("PRAGMA journal_size_limit=67108864")
            self._bring_up_to_date(schema)
            if self._key is not None and state_key.mark_of(self.path.parent) is None:
                state_key.set_mark(self.path.parent, state_key.Mark(self._key.fingerprint))
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

    def transaction(self) -> AbstractContextManager[sqlite.Connection]:
        """One write transaction, durable when the block ends; nothing of it happened when the block raises."""
        return _Transaction(self.connection, self._lock)

    def size_bytes(self) -> int:
        """Bytes in use: pages of the file that are not free."""
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        (free,) = self.connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * self._page_bytes()

    def _page_bytes(self) -> int:
        (page_bytes,) = self.connection.execute("PRAGMA page_size").fetchone()
        return int(page_bytes)

    def read_on(self) -> None:
        """Have a file that is only read be readable again behind a damaged page: SQLCipher refuses all that comes after it."""
        if self._key is not None:
            self.connection.close()
            self.connection = connected(self.path, self._key, options="mode=ro")

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self.connection.close()
        self._lock.close()


@contextmanager
def alone(path: Path) -> Iterator[sqlite.Connection]:
    """A connection to a file of whatever format, while all who want to write to it wait. Raises StorageError."""
    key = state_key.key_of(path.parent)
    state_key.refuse_unfit(path, key)
    with closing(_opened(path.with_name(path.name + ".lock"))) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with closing(connected(path, key)) as connection:
                connection.execute("PRAGMA busy_timeout=60000")
                connection.execute(f"PRAGMA cache_size=-{CACHE_BYTES // 1024}")
                yield connection
        except sqlite.DatabaseError as error:
            raise storage_error(path, error) from error


def _opened(lock: Path) -> TextIOWrapper:
    try:
        return open(lock, "a", encoding="utf-8", opener=_for_us_alone)
    except OSError as error:
        raise unwritable(lock, error) from error


def _make_for_us_alone(path: Path) -> None:
    """Whatever the umask; its log and its index follow it. One that is there is not touched: closing it ends SQLite's locks."""
    with suppress(OSError):  # what it is, SQLite says
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


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


def storage_error(path: Path, error: sqlite.DatabaseError) -> CdcdError:
    """What an error of SQLite on that file means."""
    if isinstance(error, sqlite.OperationalError) and "disk is full" in str(error):
        return StorageError(
            f"no room to write {path}", cause=str(error), remedy="free space on the state directory's disk"
        )
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite.SQLITE_IOERR:
        return DiskFailed(
            f"the disk failed under {path}", cause=str(error), remedy="look at the system's log, and at the disk"
        )
    if isinstance(error, sqlite.IntegrityError):
        return StorageError(
            f"{path} holds something unexpected", cause=str(error), remedy="report this: it is a defect"
        )
    if type(error) is sqlite.DatabaseError:
        return NeedsOperator(
            f"{path} is damaged", code="storage-damaged", cause=_cause(error), remedy=_damage_remedy(path.name)
        )
    return StorageError(
        f"{path} cannot be read or written", cause=str(error), remedy="check the disk and its permissions"
    )


def _is_no_database(error: sqlite.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite.SQLITE_NOTADB


def _cause(error: sqlite.DatabaseError) -> str:
    return f"{error}, or it is encrypted with a key that is not given" if _is_no_database(error) else str(error)


def translated(error: sqlite.DatabaseError) -> CdcdError:
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

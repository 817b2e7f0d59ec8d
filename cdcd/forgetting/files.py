"""What of a forgotten record is left in files: in those of the deliverers, and as bytes that nothing refers to any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from cdcd.errors import Unavailable
from cdcd.forgetting.job import Job
from cdcd.parking.parked import SCHEMA
from cdcd.resolve.keys import after_prefix
from cdcd.resolve.plan import Plan
from cdcd.sqlite_driver import sqlite
from cdcd.state_directory import StateDirectory
from cdcd.storage import Database, alone
from cdcd.verifying.results import SCHEMA as RESULTS
from cdcd.verifying.results import Asked, Comparison, Difference, path_in

CHECKPOINT_SECONDS: Final = 30.0
_AGAIN_SECONDS: Final = 0.05
_encode: Final = msgspec.msgpack.Encoder().encode
_QUOTE: Final = "'"


def parked_in(directory: StateDirectory, plan: Plan, family: list[int], key: bytes) -> list[str]:
    """The targets that have the record, or a child of it, parked."""
    return [system for system in plan.systems if _rows(directory, system, family, key, "parked", delete=False)]


def erase_from_deliverers(directory: StateDirectory, plan: Plan, family: list[int], job: Job) -> int:
    """Erase how the record was parked once; return how many times it was. Safe to repeat."""
    return sum(
        _rows(directory, system, family, key, table, delete=True)
        for system in plan.systems
        for key in job.keys
        for table in ("past", "originals")
    )


def _rows(directory: StateDirectory, system: str, family: list[int], key: bytes, table: str, *, delete: bool) -> int:
    path = directory.deliver(system)
    if not path.exists():
        return 0
    where = f"FROM {table} WHERE subject IN ({','.join('?' * len(family))}) AND key>=? AND key<?"
    parameters = (*family, key, after_prefix(key))
    with closing(Database(path, SCHEMA)) as database:
        if not delete:
            return int(database.connection.execute(f"SELECT count(*) {where}", parameters).fetchone()[0])
        with database.transaction() as connection:
            return int(connection.execute(f"DELETE {where}", parameters).rowcount)


def erase_from_verifications(directory: StateDirectory, plan: Plan, family: list[int], job: Job) -> int:
    """Erase where the record was found not to be in step; return how often it was. Safe to repeat."""
    path = path_in(directory.path)
    names = {entity.name for entity in plan.entities.values() if entity.number in family}
    if not path.exists():
        return 0
    erased = 0
    with closing(Database(path, RESULTS)) as database, database.transaction() as connection:
        runs = connection.execute("SELECT id, asked FROM runs WHERE state IN ('done', 'cancelled')").fetchall()
        for run, stored in runs:
            asked = msgspec.msgpack.decode(stored, type=Asked)
            keys = tuple(key for key in asked.keys if not _is_its(key, job))
            if names.intersection(asked.subjects) and keys != asked.keys:
                left = _encode(msgspec.structs.replace(asked, keys=keys or (b"",)))
                connection.execute("UPDATE runs SET asked=? WHERE id=?", (left, run))
        compared = {
            (run, place): msgspec.msgpack.decode(body, type=Comparison).subject
            for run, place, body in connection.execute("SELECT run, place, body FROM comparisons")
        }
        found = connection.execute("SELECT run, place, number, body FROM differences").fetchall()
        for run, place, number, body in found:
            if compared.get((run, place)) in names and _is_its(msgspec.msgpack.decode(body, type=Difference).key, job):
                connection.execute("DELETE FROM differences WHERE run=? AND place=? AND number=?", (run, place, number))
                erased += 1
    return erased


def _is_its(key: bytes, job: Job) -> bool:
    return any(key.startswith(own) for own in job.keys)


def compact(paths: list[Path], done: Callable[[Path], None] = lambda _path: None) -> None:
    """Write files anew, so that nothing is in them but what they hold; and empty their logs.

    Whoever writes waits for as long as it takes; who reads does not. Needs as much room as twice the largest file.
    Raises StorageError, and Unavailable where somebody reads for so long that a log cannot be emptied.
    """
    for path in paths:
        with alone(path) as connection:
            # Where the copy lies that it makes meanwhile. It is encrypted, if the file is.
            connection.execute(f"PRAGMA temp_store_directory='{str(path.parent).replace(_QUOTE, 2 * _QUOTE)}'")
            connection.execute("PRAGMA temp_store=FILE")
            connection.execute("VACUUM")
            _empty_log(path, connection)
        done(path)


def _empty_log(path: Path, connection: sqlite.Connection) -> None:
    until = time.monotonic() + CHECKPOINT_SECONDS
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > until:
            raise Unavailable(
                f"the log of {path} cannot be emptied",
                code="forget-busy",
                cause="a process reads the file all the time",
                remedy="end long-running commands such as 'cdcd journal export', then run 'cdcd forget --finish'",
            )
        time.sleep(_AGAIN_SECONDS)

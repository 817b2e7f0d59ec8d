"""Gives the files of a state directory another key, a first one, or none. No daemon may run.

Each file is copied into a new one beside it, which takes its place in one step (rename(2)). `encryption.json` says from the
first file to the last that this is unfinished, and every other command refuses the directory meanwhile. So a crash leaves
files that have either the old key or the new one, whole, and the same command goes on with those that have the old one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from cdcd import state_key
from cdcd.errors import NeedsOperator
from cdcd.failpoints import reach
from cdcd.sqlite_driver import sqlite
from cdcd.state_key import Mark, StateKey
from cdcd.storage import PAGE_BYTES, connected, storage_error

DRAFT_SUFFIX: Final = ".rekeyed"
_BLANK_BYTES: Final = 2**20


def files_of(directory: Path) -> list[Path]:
    """The files that hold values and are kept."""
    return sorted(directory.glob("*.db"))


def unencrypted_copies(directory: Path) -> list[Path]:
    """What mending has left of damaged files: it keeps the key that it has, or none, and is a person's to remove."""
    return sorted(path for path in directory.glob("*.damaged*") if path.is_file())


def rekey(
    directory: Path,
    new: StateKey | None,
    old: Sequence[StateKey | None],
    done: Callable[[Path], None] = lambda _path: None,
) -> list[Path]:
    """Have all files encrypted with the key `new` (None: plain), whichever of the `old` ones they have; return those changed.

    Raises NeedsOperator where a file has none of these keys: then nothing was changed by this call.
    """
    found = {path: _key_of(path, [new, *old]) for path in files_of(directory)}
    wanted = [path for path, key in found.items() if key != new]
    _remove_drafts(directory)
    fingerprint = "" if new is None else new.fingerprint
    state_key.set_mark(directory, Mark(fingerprint, unfinished=True))
    for path in wanted:
        with _translated(path):
            _convert(path, found[path], new)
        done(path)
    reach("rekey.before-end")
    state_key.set_mark(directory, None if new is None else Mark(fingerprint))
    return wanted


def _key_of(path: Path, candidates: Sequence[StateKey | None]) -> StateKey | None:
    """The key that opens a file. Raises NeedsOperator when none does."""
    if state_key.is_plain(path):
        return None
    for key in candidates:
        if key is not None and _opens(path, key):
            return key
    raise NeedsOperator(
        f"{path} opens with none of the keys that are given",
        code="rekey-key",
        cause="it has another key, or is damaged",
        remedy="name the file that holds the key which it has now: 'cdcd rekey --old-key-file F'",
    )


def _opens(path: Path, key: StateKey) -> bool:
    with closing(connected(path, key)) as connection:
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite.DatabaseError:
            return False
    return True


def _convert(path: Path, old: StateKey | None, new: StateKey | None) -> None:
    draft = path.with_name(path.name + DRAFT_SUFFIX)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(connected(path, old)) as connection:
        execute = connection.execute
        execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (version,) = execute("PRAGMA user_version").fetchone()
        execute("ATTACH DATABASE ? AS draft KEY ?", (str(draft), "" if new is None else new.literal))
        execute(f"PRAGMA draft.{'page_size' if new is None else 'cipher_page_size'}={PAGE_BYTES}")
        execute("PRAGMA draft.journal_mode=OFF")
        execute("PRAGMA draft.synchronous=OFF")
        execute("SELECT sqlcipher_export('draft')")
        execute(f"PRAGMA draft.user_version={int(version)}")
        execute("DETACH DATABASE draft")
    if path.with_name(f"{path.name}-wal").exists():
        draft.unlink()
        raise NeedsOperator(
            f"{path} is open in another process",
            code="rekey-busy",
            cause="its write-ahead log cannot be taken in while it is",
            remedy="end the commands that read it, then run 'cdcd rekey' again",
        )
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    reach("rekey.before-rename")
    with path.open("r+b") as before:
        draft.rename(path)
        state_key.sync_directory(path.parent)
        reach("rekey.after-rename")
        if old is None:
            _blank(before.fileno())


def _blank(descriptor: int) -> None:
    """Write over a plain file that nobody finds any more. Disks and file systems may keep older blocks all the same."""
    size_bytes = os.fstat(descriptor).st_size
    for at in range(0, size_bytes, _BLANK_BYTES):
        os.pwrite(descriptor, bytes(min(_BLANK_BYTES, size_bytes - at)), at)
    os.fsync(descriptor)


def _remove_drafts(directory: Path) -> None:
    for draft in directory.glob(f"*{DRAFT_SUFFIX}*"):
        draft.unlink()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite.DatabaseError as error:
        raise storage_error(path, error) from error

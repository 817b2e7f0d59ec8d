"""The key of an encrypted state directory: who has it in this process, and which one the directory wants.

Whoever reads a configuration says here where the key of its state directory is kept; whoever opens a file there finds
it. It is revealed when a file is opened first, so that commands which open none need no key.

    encryption.json   in the state directory: which key its files have (its fingerprint), and whether a change of the key
                      is unfinished; not there while the files are plain
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from cdcd.errors import ConfigError, NeedsOperator

KEY_BYTES: Final = 32
MARK_FILE: Final = "encryption.json"
HOW_TO_MAKE_ONE: Final = "make one with: openssl rand -hex 32 (docs/sensitive-data.md)"
_PLAIN: Final = b"SQLite format 3\x00"
_secrets: Final[dict[Path, Callable[[], str]]] = {}
_revealed: Final[dict[Path, StateKey]] = {}


class StateKey:
    """A key of 32 bytes. It prints as nothing of it."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, "a state key has 32 bytes"
        self._key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StateKey) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"StateKey({self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """What tells keys apart and says nothing about them."""
        return hashlib.blake2b(self._key, digest_size=8, person=b"cdcd state key").hexdigest()

    def derived(self, purpose: bytes) -> bytes:
        """Another secret for another purpose, from which nobody can tell the key."""
        return hashlib.blake2b(self._key, digest_size=KEY_BYTES, person=b"cdcd " + purpose).digest()

    @property
    def literal(self) -> str:
        """As SQLCipher takes a key that needs no derivation."""
        return f"x'{self._key.hex()}'"


class Mark(msgspec.Struct, frozen=True):
    """What `MARK_FILE` holds. `key` is a fingerprint, "" while the files are being made plain."""

    key: str
    unfinished: bool = False


def parse(text: str) -> StateKey:
    """The key that a secret holds: 32 bytes as hexadecimal or base64. Raises ConfigError."""
    stripped = text.strip()
    try:
        key = bytes.fromhex(stripped) if len(stripped) == 2 * KEY_BYTES else base64.b64decode(stripped, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            "daemon.state-key is no key",
            code="state-key-form",
            cause=f"a key is {KEY_BYTES} random bytes, as {2 * KEY_BYTES} hexadecimal digits or as base64",
            remedy=HOW_TO_MAKE_ONE,
        )
    return StateKey(key)


def keep(directory: Path, reveal: Callable[[], str] | None) -> None:
    """From now on this process opens the files of that directory with this key; None: without."""
    at = _absolute(directory)
    _revealed.pop(at, None)
    if reveal is None:
        _secrets.pop(at, None)
    else:
        _secrets[at] = reveal


def share(directory: Path, of: Path) -> None:
    """Files in `directory` are opened with the key of another one: copies of what is there."""
    keep(directory, _secrets.get(_absolute(of)))


def key_of(directory: Path) -> StateKey | None:
    """The key for files of a directory, None where they are plain. Raises ConfigError when it cannot be had."""
    at = _absolute(directory)
    known = _revealed.get(at)
    if known is None and at in _secrets:
        known = _revealed[at] = parse(_secrets[at]())
    return known


def _absolute(directory: Path) -> Path:
    return Path(os.path.abspath(directory))  # noqa: PTH100 - `resolve` would ask the file system about every part


# ---- what a directory wants ------------------------------------------------------------------------------------


def mark_of(directory: Path) -> Mark | None:
    """Which key the directory's files have; None where nothing says so. A mark that is damaged is none."""
    try:
        return msgspec.json.decode((directory / MARK_FILE).read_bytes(), type=Mark)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def set_mark(directory: Path, mark: Mark | None) -> None:
    """Say which key the directory's files have. Durable on return."""
    path = directory / MARK_FILE
    if mark is None:
        path.unlink(missing_ok=True)
    else:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(mark) + b"\n")
            os.fsync(file.fileno())
        draft.replace(path)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Have renamed and removed files be so on disk (fsync(2))."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_plain(path: Path) -> bool | None:
    """Whether a file is a plain SQLite file; None where there is none, or an empty one.

    Not for a file that this process has open: closing it would end the locks that SQLite has on it (POSIX advisory locks).
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(len(_PLAIN))
    except OSError:
        return None
    return beginning == _PLAIN if beginning else None


def refuse_unfit(path: Path, key: StateKey | None) -> None:
    """Raise NeedsOperator where a file, which may be new, is not to be opened with this key, or without."""
    directory = path.parent
    mark = mark_of(directory)
    if mark is not None and mark.unfinished:
        raise NeedsOperator(
            f"a change of the key of {directory} is not finished",
            code="rekey-unfinished",
            cause="'cdcd rekey' was interrupted: some files have the new key already",
            remedy="run 'cdcd rekey' again, it goes on where it was",
        )
    if key is None:
        if mark is not None:
            raise _missing(directory)
    elif mark is not None and mark.key != key.fingerprint:
        raise NeedsOperator(
            f"{directory} is encrypted with another key",
            code="state-key-wrong",
            cause=f"the fingerprint of daemon.state-key is {key.fingerprint}, that of the files' key {mark.key}",
            remedy="give the key that it was encrypted with; to change it: stop the daemon, 'cdcd rekey --old-key-file F'",
        )
    elif mark is None:
        refuse_plain(path)
        refuse_plain(directory / "state.db")


def refuse_plain(path: Path) -> None:
    """Raise NeedsOperator where a file is plain, and there is a key. Not of a file that this process has open (`is_plain`)."""
    if is_plain(path):
        raise NeedsOperator(
            f"{path.parent} is not encrypted, and daemon.state-key is set",
            code="state-key-plain",
            cause=f"{path.name} is a plain file",
            remedy="stop the daemon and run 'cdcd rekey', which encrypts what is there",
        )


def _missing(directory: Path) -> NeedsOperator:
    return NeedsOperator(
        f"{directory} is encrypted, and there is no key for it",
        code="state-key-missing",
        cause="the configuration has no daemon.state-key",
        remedy="set daemon.state-key; to make the files plain again: stop the daemon, 'cdcd rekey --old-key-file F'",
    )

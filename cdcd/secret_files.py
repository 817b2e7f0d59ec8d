"""Reads files that hold secrets, and refuses those that others could read or exchange."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cdcd.errors import ConfigError

SIZE_MAX_BYTES: Final = 65_536


def read_secret(path: Path, *, is_credential: bool = False) -> str:
    """The text of a secret file. Raises ConfigError where it cannot be read, or is not safe.

    Safe: a file of ours or root's, that only its owner may read, in a directory where only those may exchange it; a link to
    it is theirs, too. Of a systemd credential, which systemd itself keeps, only kind and size are looked at.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"secret file {path} is no file", remedy="name a file", code="secret-file")
            content = os.read(descriptor, SIZE_MAX_BYTES + 1)
        finally:
            os.close(descriptor)
        if not is_credential:
            _refuse_open_to_others(path, found, "secret file")
    except OSError as error:
        raise ConfigError(
            f"secret file {path} cannot be read", cause=str(error.strerror), code="secret-file"
        ) from error
    if len(content) > SIZE_MAX_BYTES:
        cause = f"it has more than {SIZE_MAX_BYTES} bytes"
        raise ConfigError(f"secret file {path} is no secret", cause=cause, code="secret-file")
    try:
        return content.decode()
    except UnicodeDecodeError:
        cause = "it is not UTF-8"
        raise ConfigError(f"secret file {path} is no secret", cause=cause, code="secret-file") from None


def refuse_open_to_others(path: Path, what: str) -> None:
    """Raise ConfigError where another account than ours and root's can read or exchange a file. OSError passes through."""
    _refuse_open_to_others(path, path.stat(), what)


def _refuse_open_to_others(path: Path, found: os.stat_result, what: str) -> None:
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"{what} {path} is open to other users", remedy=f"chmod 600 {path}", code="secret-file")
    if not is_trusted(found.st_uid):
        cause = f"it belongs to uid {found.st_uid}, and we are uid {os.geteuid()}"
        remedy = f"chown it to the account that cdcd runs as: chown cdcd {path}"
        raise ConfigError(f"{what} {path} belongs to another user", cause=cause, remedy=remedy, code="secret-file")
    for place in dict.fromkeys((path, path.resolve())):
        if not is_trusted(place.lstat().st_uid):
            cause = f"the link {place} belongs to uid {place.lstat().st_uid}, who can let it lead elsewhere"
            raise ConfigError(f"{what} {path} can be exchanged by another user", cause=cause, code="secret-file")
        parent = place.absolute().parent.stat()
        if not is_trusted(parent.st_uid) or _is_open(parent.st_mode):
            cause = f"others may write in {place.absolute().parent}"
            remedy = f"chmod go-w {place.absolute().parent}, or move the file"
            raise ConfigError(
                f"{what} {path} can be exchanged by another user", cause=cause, remedy=remedy, code="secret-file"
            )


def is_trusted(uid: int) -> bool:
    """Whether what belongs to that account is what we would have made: ours, or root's. Root works for the daemon's account."""
    return os.geteuid() == 0 or uid in (0, os.geteuid())


def _is_open(directory_mode: int) -> bool:
    """Whether others may remove or rename what is not theirs in it."""
    return bool(directory_mode & 0o022) and not directory_mode & stat.S_ISVTX

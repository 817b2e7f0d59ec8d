"""Puts parts in their place on a machine, or below a folder, and takes them away again. Safe to repeat."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from cdcd.errors import NeedsOperator
from cdcd.install.parts import Account, Directory, File, Part

Outcome = Literal["made", "changed", "as it was", "kept", "removed", "not there"]
_NO_LOGIN: Final = "/usr/sbin/nologin"


class Done(msgspec.Struct, frozen=True):
    """What became of a part: of a dry run, what would."""

    outcome: Outcome
    kind: Literal["account", "directory", "file"]
    path: str
    detail: str = ""

    @property
    def changes(self) -> bool:
        """Whether anything is otherwise than it was."""
        return self.outcome in ("made", "changed", "removed")


class Machine:
    """The machine, or the folder that stands for one (`root`). Owners are set by root only: others cannot."""

    def __init__(self, root: Path = Path("/"), *, is_dry: bool = False) -> None:
        self._root = root
        self._is_dry = is_dry

    def place(self, part: Part) -> Done:
        """Have it there as it should be. Raises NeedsOperator where that is not possible."""
        if isinstance(part, Account):
            return self._place_account(part)
        try:
            return self._place_directory(part) if isinstance(part, Directory) else self._place_file(part)
        except OSError as error:
            raise _failed(part.path, error) from error

    def remove(self, files: Iterable[File]) -> list[Done]:
        """Take files away, and directories that are empty then and were made for them."""
        return [self._remove(file) for file in files]

    # ---- the account ----------------------------------------------------------------------------------------

    def _place_account(self, account: Account) -> Done:
        outcome: Outcome = "as it was"
        if self._id("passwd", account.name) is None:
            outcome = "made"
            if not self._is_dry and os.geteuid() == 0:
                self._make_account(account)
        return Done(outcome, "account", account.name, account.comment)

    def _make_account(self, account: Account) -> None:
        line = f'u {account.name} - "{account.comment}" {account.home} {_NO_LOGIN}'
        if shutil.which("systemd-sysusers"):
            command = ["systemd-sysusers", f"--root={self._root}", "--inline", line]
        else:
            command = ["useradd", "--root", str(self._root), "--system", "--user-group", "--no-create-home"]
            command += ["--home-dir", account.home, "--shell", _NO_LOGIN, "--comment", account.comment, account.name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            cause = "" if done.returncode == 0 else done.stderr.strip() or f"{command[0]} ended with {done.returncode}"
        except OSError as error:
            cause = f"{command[0]}: {error.strerror}"
        if cause:
            raise NeedsOperator(
                f"the account {account.name} cannot be made",
                code="install-account",
                cause=cause,
                remedy=f"make it as you make system accounts (home {account.home}, no shell), and run this again",
            )

    def _id(self, database: Literal["passwd", "group"], name: str) -> int | None:
        """The number of an account or group on that machine, None where there is none."""
        if self._root == Path("/"):
            try:
                return pwd.getpwnam(name).pw_uid if database == "passwd" else grp.getgrnam(name).gr_gid
            except KeyError:
                return None
        try:
            lines = (self._root / "etc" / database).read_text().splitlines()
        except OSError:
            lines = []
        found = [line.split(":") for line in lines if line.startswith(f"{name}:")]
        return int(found[0][2]) if found else 0 if name == "root" else None

    # ---- files and directories ------------------------------------------------------------------------------

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _place_directory(self, directory: Directory) -> Done:
        path = self._at(directory.path)
        outcome: Outcome = "as it was"
        if not path.is_dir():
            outcome = "made"
            if not self._is_dry:
                path.mkdir(mode=directory.mode, parents=True)
        elif not self._is_so(path, directory):
            outcome = "changed"
        if outcome != "as it was" and not self._is_dry:
            self._own(path, directory)
        return Done(outcome, "directory", directory.path, _rights(directory))

    def _place_file(self, file: File) -> Done:
        path = self._at(file.path)
        exists = path.exists() or path.is_symlink()
        outcome: Outcome = "changed" if exists else "made"
        if exists and file.is_kept:
            outcome = "kept"
        elif exists and path.is_file() and path.read_bytes() == file.content and self._is_so(path, file):
            outcome = "as it was"
        if outcome in ("made", "changed") and not self._is_dry:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._write(path, file)
        return Done(outcome, "file", file.path, _rights(file) if file.mode != 0o644 else "")

    def _write(self, path: Path, file: File) -> None:
        """In one move: whoever reads it sees the old one or the new one, and nobody a file that is open to others."""
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as target:
                target.write(file.content)
            self._own(Path(draft), file)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise

    def _owners(self, part: Directory | File) -> tuple[int | None, int | None]:
        return self._id("passwd", part.owner), self._id("group", part.group)

    def _is_so(self, path: Path, part: Directory | File) -> bool:
        found = path.stat()
        owned = os.geteuid() != 0 or (found.st_uid, found.st_gid) == self._owners(part)
        return owned and stat.S_IMODE(found.st_mode) == part.mode

    def _own(self, path: Path, part: Directory | File) -> None:
        owner, group = self._owners(part)
        if os.geteuid() == 0 and owner is not None and group is not None:
            os.chown(path, owner, group)
        path.chmod(part.mode)

    def _remove(self, file: File) -> Done:
        path = self._at(file.path)
        if not (path.exists() or path.is_symlink()):
            return Done("not there", "file", file.path)
        if file.is_kept and path.read_bytes() != file.content:
            return Done("kept", "file", file.path)
        if not self._is_dry:
            try:
                path.unlink()
            except OSError as error:
                raise _failed(file.path, error) from error
            self._remove_empty(path.parent)
        return Done("removed", "file", file.path)

    def _remove_empty(self, directory: Path) -> None:
        """Directories that were ours alone: those below share/cdcd."""
        while "cdcd" in directory.relative_to(self._root).parts[:-1] or directory.name == "cdcd":
            if directory == self._at("/etc/cdcd") or any(directory.iterdir()):
                return
            directory.rmdir()
            directory = directory.parent


def _rights(part: Directory | File) -> str:
    return f"{part.mode:04o} {part.owner}:{part.group}"


def _failed(path: str, error: OSError) -> NeedsOperator:
    return NeedsOperator(
        f"{path} cannot be written",
        code="install-write",
        cause=str(error.strerror),
        remedy="run as root: sudo cdcd install"
        if os.geteuid() != 0
        else "mend what the cause says, and run this again",
    )

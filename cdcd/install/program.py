"""Where this installation keeps its program and the files that came with it."""

from __future__ import annotations

import stat
import sys
import sysconfig
from pathlib import Path
from typing import Final

import cdcd
from cdcd.errors import NeedsOperator

PACKAGED: Final = "/usr/lib/cdcd"
"""Where the Debian package has its environment (.ci/deb)."""
HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (where a service sees nothing)
_FOLDERS: Final = ("systemd", "config", "docs")


def program(root: Path = Path("/")) -> Path:
    """The `cdcd` of this installation, as it is called on the machine below `root`.

    Raises NeedsOperator where a service could not run it.
    """
    path = Path(sys.prefix) / "bin" / "cdcd"
    if not path.exists():
        raise NeedsOperator(
            "this cdcd was not installed",
            code="install-program",
            cause=f"there is no {path}",
            remedy=_ELSEWHERE,
        )
    if root != Path("/"):
        return Path("/") / path.relative_to(root) if path.is_relative_to(root) else path
    for needed in (path, Path(sys.executable).resolve()):
        cause = unreachable(needed)
        if cause:
            raise NeedsOperator(
                "a service cannot run this cdcd", code="install-program", cause=cause, remedy=_ELSEWHERE
            )
    return path


def is_packaged() -> bool:
    """Whether a package brought this program, and with it the files of the service."""
    return sys.prefix == PACKAGED


def unreachable(path: Path) -> str:
    """Why the account of the service cannot run a program there; "" when it can."""
    hidden = next((folder for folder in HIDDEN if path.is_relative_to(folder)), None)
    if hidden is not None:
        return f"{path} is below {hidden}, which the service does not see"
    closed = next((part for part in path.parents if not part.stat().st_mode & stat.S_IXOTH), None)
    return f"{closed} is closed to other accounts" if closed is not None else ""


def shipped() -> dict[str, bytes]:
    """The files that came with the program (units, configurations, docs), by their path below share/cdcd."""
    share = Path(sysconfig.get_path("data")) / "share" / "cdcd"
    base = share if (share / "systemd").is_dir() else Path(cdcd.__file__).parents[1]
    found = {
        str(path.relative_to(base)): path.read_bytes()
        for folder in _FOLDERS
        for path in sorted((base / folder).rglob("*"))
        if path.is_file()
    }
    if "systemd/cdcd.service" not in found:
        raise NeedsOperator(
            "the files that belong to cdcd are not there",
            code="install-files",
            cause=f"there is no {base}/systemd/cdcd.service",
            remedy="install cdcd anew: pip install --force-reinstall cdcd",
        )
    return found


_ELSEWHERE: Final = (
    "install it where all accounts may read: python3 -m venv /opt/cdcd && /opt/cdcd/bin/pip install 'cdcd[postgres,mysql]'"
    " && /opt/cdcd/bin/cdcd install"
)

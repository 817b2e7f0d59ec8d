"""Images of private servers' data: made once, kept below the cache folder, restored in a second.

An image is known by what it was made from: the version of the server, the application's requirements and the programs that
filled it. Where one of these changes, it is made anew.
"""

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from cdcd.testing.server_process import ServerProcess
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer


def cache_directory() -> Path:
    """Where images and applications are kept. As root one that other accounts may enter: servers never run as root."""
    usual = Path("/var/cache/cdcd") if os.geteuid() == 0 else Path.home() / ".cache" / "cdcd"
    directory = Path(os.environ.get("CDCD_CACHE") or usual) / "applications"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def image_path(name: str, version: str, sources: Iterable[Path]) -> Path:
    """Where the image is, or will be, that these sources make on a server of that version."""
    digest = hashlib.sha256(version.encode())
    for source in sources:
        digest.update(source.read_bytes())
    return cache_directory() / f"{name}-{digest.hexdigest()[:16]}.tar.gz"


def save(server: ServerProcess, image: Path) -> None:
    """Stop the server and keep its data; older images of the same name are removed."""
    server.stop()
    partial = image.with_suffix(".partial")
    with tarfile.open(partial, "w:gz", compresslevel=1) as archive:
        archive.add(server.directory / "data", "data")
    name = image.name.rpartition("-")[0]
    for old in image.parent.glob(f"{name}-*.tar.gz"):
        if len(old.name) == len(image.name):
            old.unlink()
    partial.rename(image)


def _as_it_is(member: tarfile.TarInfo, _: str) -> tarfile.TarInfo:
    """Modes too: a server refuses a directory that others may read."""
    return member


def restore(server: PostgresServer | MySqlFamilyServer, image: Path) -> None:
    """Give a server that was never started the data of an image, and start it."""
    data = server.directory / "data"
    shutil.rmtree(data, ignore_errors=True)
    with tarfile.open(image) as archive:
        archive.extraction_filter = _as_it_is  # which Python 3.11.2, Debian's, does not know yet, and does
        archive.extractall(server.directory)
    if os.geteuid() == 0:
        for path in (data, *data.rglob("*")):
            os.chown(path, server.account.pw_uid, server.account.pw_gid)
    if isinstance(server, PostgresServer):
        with (data / "postgresql.conf").open("a") as file:  # what comes last counts
            file.writelines(f"{key} = '{value}'\n" for key, value in server.settings.items())
    server._initialised = True
    server.start()

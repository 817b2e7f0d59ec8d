"""Certificate authorities of the tests, made with the openssl program."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Certificate(NamedTuple):
    """Two PEM files."""

    certificate: Path
    key: Path


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self.own = Certificate(self.directory / "ca.crt", self.directory / "ca.key")
        subject = ["-subj", f"/CN={name}", "-days", "30"]
        _openssl("req", "-x509", *KEY, "-keyout", self.own.key, "-out", self.own.certificate, *subject)

    def issue(self, common_name: str, *, host: str = "", days: int = 30) -> Certificate:
        """A certificate; of a server with its host's name, of the past with days below 0."""
        stem = self.directory / f"{common_name}-{host}-{days}"
        made = Certificate(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        extensions.write_text(f"subjectAltName=DNS:{host}\n" if host else "extendedKeyUsage=clientAuth\n")
        _openssl("req", *KEY, "-keyout", made.key, "-out", request, "-subj", f"/CN={common_name}")
        signed = ["-CA", self.own.certificate, "-CAkey", self.own.key, "-CAcreateserial"]
        _openssl(
            "x509", "-req", "-in", request, *signed, "-out", made.certificate, "-days", days, "-extfile", extensions
        )
        made.key.chmod(0o600)
        return made


def place(made: Certificate, directory: Path, uid: int) -> None:
    """Put a server's certificate where its settings name it, for its account."""
    directory.mkdir(exist_ok=True)
    for source, name in ((made.certificate, "server.crt"), (made.key, "server.key")):
        target = directory / name
        target.write_bytes(source.read_bytes())
        target.chmod(0o600)
        os.chown(target, uid, -1)
    directory.chmod(0o755)

"""Certificates for tests, made by openssl."""

import subprocess
from pathlib import Path


def self_signed(directory: Path, *, name: str = "page", passphrase: str = "") -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key, which nobody else may read."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "30"),
            *(("-passout", f"pass:{passphrase}") if passphrase else ("-nodes",)),
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    return certificate, key

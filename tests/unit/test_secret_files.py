"""Which files a secret is taken from."""

import os
from pathlib import Path

import pytest

from cdcd.config import Secret
from cdcd.errors import ConfigError
from cdcd.secret_files import SIZE_MAX_BYTES, read_secret, refuse_open_to_others

STRANGER = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


def refused(path: Path, *, is_credential: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        read_secret(path, is_credential=is_credential)
    assert "s3cret" not in str(caught.value)
    assert caught.value.code == "secret-file"
    return str(caught.value)


def test_a_file_of_ours_that_nobody_else_may_read_is_read(secret: Path):
    assert read_secret(secret) == "s3cret\n"
    assert Secret(file=str(secret)).reveal() == "s3cret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_is_open_to_others_is_refused(secret: Path, mode: int):
    secret.chmod(mode)
    assert f"chmod 600 {secret}" in refused(secret)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_directory_in_which_others_may_exchange_it_is_refused(secret: Path, mode: int):
    secret.parent.chmod(mode)
    assert "chmod go-w" in refused(secret)


def test_in_a_directory_like_tmp_everybody_has_what_is_his(secret: Path):
    secret.parent.chmod(0o1777)
    assert read_secret(secret)


@as_root
def test_a_file_or_a_link_of_another_user_is_refused(secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    os.chown(secret, STRANGER, -1)
    assert read_secret(secret) == "s3cret\n", "root works for the daemon's account"
    os.chown(secret, 0, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    link = tmp_path / "link"
    link.symlink_to(secret)
    assert read_secret(link) == "s3cret\n"
    os.lchown(link, STRANGER, -1)
    assert "lead elsewhere" in refused(link)
    os.chown(secret, STRANGER, -1)
    assert "belongs to another user" in refused(secret)


def test_what_is_no_file_or_too_large_or_no_text_is_refused(tmp_path: Path):
    assert "is no file" in refused(tmp_path)
    assert "is no file" in refused(Path("/dev/zero"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is no file" in refused(tmp_path / "pipe")
    path = tmp_path / "large"
    path.write_bytes(b"x" * (SIZE_MAX_BYTES + 1))
    path.chmod(0o600)
    assert f"more than {SIZE_MAX_BYTES}" in refused(path)
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refused(path)


def test_of_a_credential_systemd_sees_to_the_rights(secret: Path):
    secret.chmod(0o644)
    assert read_secret(secret, is_credential=True) == "s3cret\n"
    assert "is no file" in refused(secret.parent, is_credential=True)


def test_a_private_key_is_looked_at_like_a_secret(secret: Path):
    refuse_open_to_others(secret, "tls-key")
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="is open to other users"):
        refuse_open_to_others(secret, "tls-key")

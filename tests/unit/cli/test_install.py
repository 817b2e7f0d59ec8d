"""`cdcd install`, below a folder: what it says and does, and what it refuses."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cdcd.cli.install import command


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).write_text(f"root:x:0:0\ncdcd:x:{os.getuid()}:{os.getgid()}\n")
    return tmp_path


def install(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--root", str(root), *arguments])


def test_it_says_what_it_made_and_what_comes_next(root: Path):
    done = install(root)
    assert done.exit_code == 0, done.output
    assert "made     directory /etc/cdcd/credentials (0700 root:root)" in done.output
    assert "systemctl enable --now cdcd" in done.output
    assert (root / "etc/systemd/system/cdcd@.service").exists()
    again = install(root)
    assert "made" not in again.output
    assert "parts are as they should be" in again.output


def test_a_dry_run_does_nothing(root: Path):
    done = install(root, "--dry-run")
    assert "would be made     file /etc/systemd/system/cdcd.service" in done.output
    assert "cdcd would be installed" in done.output
    assert {path.name for path in root.rglob("*")} == {"etc", "passwd", "group"}


def test_programs_get_every_part_with_what_became_of_it(root: Path):
    found = json.loads(install(root, "--instance", "acme", "--json").output)
    assert (found["command"], found["ok"], found["result"]["unit"]) == ("install", True, "cdcd@acme")
    assert {part["outcome"] for part in found["result"]["parts"]} == {"made", "as it was"}


def test_removing_says_what_is_left_and_how_to_be_rid_of_it(root: Path):
    install(root)
    done = install(root, "--remove")
    assert "pg_drop_replication_slot" in done.output
    assert not (root / "etc/systemd/system/cdcd.service").exists()
    assert (root / "var/lib/cdcd").is_dir()


def test_an_impossible_instance_is_a_wrong_command_line(root: Path):
    done = install(root, "--instance", "../x")
    assert done.exit_code == 2
    assert "[install-instance]" in done.output


def test_who_is_not_root_is_told_to_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(command, [])
    assert done.exit_code == 3
    assert "sudo cdcd install" in done.output

"""Putting parts in their place below a folder, again and again, and taking them away."""

import os
import stat
from pathlib import Path

import pytest

from cdcd.errors import NeedsOperator
from cdcd.install import Installation, Machine
from cdcd.install.parts import Account, Directory, File
from cdcd.install.program import shipped, unreachable

INSTALLATION = Installation("/opt/cdcd/bin/cdcd", shipped())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine that has the account already: making it is systemd's part."""
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).write_text(f"root:x:0:0\ncdcd:x:{os.getuid()}:{os.getgid()}\n")
    return tmp_path


def place_all(root: Path, *, is_dry: bool = False) -> set[str]:
    machine = Machine(root, is_dry=is_dry)
    return {machine.place(part).outcome for part in INSTALLATION.parts() if not isinstance(part, Account)}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_once_and_is_as_it_was_afterwards(root: Path):
    assert place_all(root) == {"made"}
    assert mode(root / "etc/cdcd/credentials") == 0o700
    assert mode(root / "var/lib/cdcd") == 0o700
    assert mode(root / "etc/systemd/system/cdcd.service") == 0o644
    assert place_all(root) == {"as it was", "kept"}


def test_a_dry_run_says_the_same_and_does_nothing(root: Path):
    before = sorted(root.rglob("*"))
    assert place_all(root, is_dry=True) == {"made"}
    assert sorted(root.rglob("*")) == before


def test_a_file_of_ours_is_brought_up_to_date_and_a_persons_is_not(root: Path):
    place_all(root)
    unit, example = root / "etc/systemd/system/cdcd.service", root / "etc/cdcd/cdcd.toml.example"
    unit.write_text("old")
    example.write_text("mine")
    (root / "var/lib/cdcd").chmod(0o755)
    assert place_all(root) == {"as it was", "kept", "changed"}
    assert "ExecStart" in unit.read_text()
    assert example.read_text() == "mine"
    assert mode(root / "var/lib/cdcd") == 0o700


def test_an_account_that_is_there_is_left_alone(root: Path):
    assert Machine(root).place(Account()).outcome == "as it was"
    assert Machine(root, is_dry=True).place(Account("other")).outcome == "made"


def test_removing_leaves_what_is_a_persons_and_takes_empty_folders_of_ours_along(root: Path):
    place_all(root)
    (root / "etc/cdcd/cdcd.toml").write_text("mine")
    (root / "etc/cdcd/cdcd.toml.example").write_text("mine, too")
    files = [*INSTALLATION.packaged(), INSTALLATION.example()]
    assert {done.outcome for done in Machine(root, is_dry=True).remove(files)} == {"removed", "kept"}
    assert (root / "etc/systemd/system/cdcd.service").exists()
    Machine(root).remove(files)
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert left == {"etc/passwd", "etc/group", "etc/cdcd/cdcd.toml", "etc/cdcd/cdcd.toml.example"}
    assert not (root / "usr/local/share/cdcd").exists()
    assert (root / "usr/local/share").exists()
    assert {done.outcome for done in Machine(root).remove(files)} == {"not there", "kept"}


def test_what_cannot_be_written_is_named(root: Path):
    (root / "usr").write_text("a file where a folder belongs")
    with pytest.raises(NeedsOperator, match="/usr/lib/x cannot be written"):
        Machine(root).place(File("/usr/lib/x", b""))
    with pytest.raises(NeedsOperator, match="/usr/lib cannot be written"):
        Machine(root).place(Directory("/usr/lib", 0o755))


def test_a_program_that_a_service_cannot_see_is_refused(tmp_path: Path):
    assert "does not see" in unreachable(Path("/root/cdcd/bin/cdcd"))
    closed = tmp_path / "closed" / "bin" / "cdcd"
    closed.parent.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert "does not see" in unreachable(closed) or "closed to other accounts" in unreachable(closed)
    assert unreachable(Path("/usr/bin/env")) == ""

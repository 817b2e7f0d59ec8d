"""The unit files: accepted by systemd, as closed as they claim, and one of them the other's twin."""

import difflib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cdcd
from cdcd import errors
from cdcd.install import parts
from cdcd.install.parts import Account, Directory, Installation
from cdcd.install.program import shipped

FOLDER = Path(cdcd.__file__).parent.parent / "systemd"
UNITS = ("cdcd.service", "cdcd@.service")
EXPOSURE_MAX = 1.5

with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed: the unit files cannot be verified here",
)


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit with a program that exists on this machine."""
    text = (FOLDER / request.param).read_text()
    assert f"\nExecStart={parts.PROGRAM} run " in text
    copy = tmp_path / request.param
    copy.write_text(text.replace(parts.PROGRAM, sys.executable))
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@with_systemd
def test_systemd_accepts_every_line(unit: Path):
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@with_systemd
def test_the_sandbox_is_as_tight_as_promised(unit: Path):
    done = analyze("security", "--offline=true", str(unit))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= EXPOSURE_MAX


def test_a_restart_that_cannot_help_is_not_tried(unit: Path):
    codes = {errors.ConfigError.exit_code, errors.NeedsOperator.exit_code}
    line = re.search(r"^RestartPreventExitStatus=(.*)$", unit.read_text(), re.MULTILINE)
    assert line is not None
    assert {int(code) for code in line[1].split()} == codes


def test_an_instance_differs_from_the_one_daemon_only_in_where_its_things_are():
    one, several = (
        [line for line in (FOLDER / name).read_text().splitlines() if not line.startswith("#")] for name in UNITS
    )
    changed = [line[2:] for line in difflib.ndiff(one, several) if line[:2] in ("- ", "+ ")]
    assert changed[1::2] == [
        "Description=cdcd keeps an ERP and a storefront database in step (%i)",
        "ExecStart=/opt/cdcd/bin/cdcd run --config /etc/cdcd/%i.toml",
        "ExecReload=/opt/cdcd/bin/cdcd reload --config /etc/cdcd/%i.toml",
        "StateDirectory=cdcd-%i",
        "LoadCredential=cdcd:/etc/cdcd/credentials-%i",
    ]
    assert len(changed) == 10


def test_the_units_agree_with_what_install_makes():
    installation = Installation(parts.PROGRAM, shipped(), instance="acme")
    for name, value in (
        ("--config", installation.config),
        ("LoadCredential=cdcd:", installation.credentials),
        ("StateDirectory=", installation.state.removeprefix("/var/lib/")),
    ):
        text = (FOLDER / "cdcd@.service").read_text().replace("%i", "acme")
        assert re.search(rf"{re.escape(name)} ?{re.escape(value)}$", text, re.MULTILINE)


def test_sysusers_and_tmpfiles_say_the_same_as_install():
    own = Installation(parts.PROGRAM, shipped()).own()
    account = next(part for part in own if isinstance(part, Account))
    (user,) = lines("cdcd.sysusers")
    assert user == f'u {account.name} - "{account.comment}" {account.home} /usr/sbin/nologin'
    directories = [part for part in own if isinstance(part, Directory)]
    assert [line.split() for line in lines("cdcd.tmpfiles")] == [
        ["d", part.path, f"{part.mode:04o}", part.owner, part.group] for part in directories
    ]


def lines(name: str) -> list[str]:
    return [line for line in (FOLDER / name).read_text().splitlines() if line and not line.startswith("#")]

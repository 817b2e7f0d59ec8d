"""The unit file: accepted by systemd, and as closed as it claims."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cdcd
from cdcd import errors

UNIT = Path(cdcd.__file__).parent.parent / "systemd" / "cdcd.service"
EXPOSURE_MAX = 2.0

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed: the unit file cannot be verified here",
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists on this machine."""
    text = UNIT.read_text()
    assert "\nExecStart=/opt/cdcd/bin/cdcd run " in text
    copy = tmp_path / "cdcd.service"
    copy.write_text(text.replace("/opt/cdcd/bin/cdcd", sys.executable))
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_systemd_accepts_every_line(unit: Path):
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_sandbox_is_as_tight_as_promised(unit: Path):
    done = analyze("security", "--offline=true", str(unit))
    exposure = re.search(r"Overall exposure level for cdcd.service: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= EXPOSURE_MAX


def test_a_restart_that_cannot_help_is_not_tried():
    codes = {errors.ConfigError.exit_code, errors.NeedsOperator.exit_code}
    line = re.search(r"^RestartPreventExitStatus=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert line is not None
    assert {int(code) for code in line[1].split()} == codes

"""The Debian package: installed, started, upgraded, removed, purged."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from systemd.company import Company
from systemd.machine import Machine

ROOT = Path(__file__).parents[2]
UNIT = "cdcd.service"


@pytest.fixture(scope="module")
def package(machine: Machine) -> str:
    """Its path in the machine."""
    done = subprocess.run([ROOT / ".ci" / "deb", sys.prefix], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(ROOT / done.stdout.split()[-1], machine.root / "root" / "cdcd.deb")
    return "/root/cdcd.deb"


@pytest.fixture(scope="module")
def company(postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Company:
    return Company("packed", postgres, mariadb)


def test_a_package_is_installed_used_upgraded_removed_and_purged(machine: Machine, package: str, company: Company):
    """One story: each step stands on the one before."""
    installed(machine, package)
    started(machine, company)
    upgraded(machine, package, company)
    removed(machine, package, company)
    purged(machine)


def installed(machine: Machine, package: str) -> None:
    said = machine.run("dpkg", "--install", package)
    assert "systemctl enable --now cdcd" in said
    assert machine.run("stat", "--format", "%a %U:%G", "/etc/cdcd", "/etc/cdcd/credentials", "/var/lib/cdcd").split(
        "\n"
    )[:3] == ["750 root:cdcd", "700 root:root", "700 cdcd:cdcd"]
    assert machine.run("cdcd", "--version").startswith("cdcd ")
    assert "ExecStart=/usr/lib/cdcd/bin/cdcd run" in machine.run("systemctl", "cat", UNIT)
    assert machine.attempt("systemd-analyze", "verify", UNIT).stderr == ""
    assert machine.show(UNIT, "ActiveState") == "inactive"
    assert machine.show(UNIT, "UnitFileState") == "disabled"
    assert "/etc/cdcd/cdcd.toml.example" in machine.run("dpkg-query", "--show", "--showformat", "${Conffiles}", "cdcd")
    assert machine.run("dpkg", "--verify", "cdcd") == ""
    assert (machine.root / "usr/share/cdcd/config/cdcd.example.toml").exists()
    machine.run("cdcd", "install", "--instance", "acme")
    assert list((machine.root / "etc/systemd/system").glob("cdcd*")) == []
    assert (machine.root / "var/lib/cdcd-acme").is_dir()
    refused = machine.attempt("cdcd", "install", "--remove")
    assert (refused.returncode, "apt-get remove cdcd" in refused.stderr) == (3, True)


def started(machine: Machine, company: Company) -> None:
    company.settle(machine)
    company.add(1, 100)
    machine.run("systemctl", "enable", "--now", UNIT)
    company.wait_in_step()
    assert machine.run("cdcd", "status").strip()


def upgraded(machine: Machine, package: str, company: Company) -> None:
    example = machine.root / "etc/cdcd/cdcd.toml.example"
    example.write_text("# mine\n")
    before = machine.show(UNIT, "MainPID")
    machine.run("dpkg", "--install", package)
    assert machine.show(UNIT, "ActiveState") == "active"
    assert machine.show(UNIT, "MainPID") != before
    assert example.read_text() == "# mine\n"
    company.add(200, 300)
    company.wait_in_step()
    machine.run("systemctl", "stop", UNIT)
    machine.run("dpkg", "--install", package)
    assert machine.show(UNIT, "ActiveState") == "inactive"
    machine.run("systemctl", "start", UNIT)


def removed(machine: Machine, package: str, company: Company) -> None:
    machine.run("dpkg", "--remove", "cdcd")
    assert machine.show(UNIT, "LoadState") == "not-found"
    assert machine.attempt("pgrep", "-u", "cdcd").stdout == ""
    assert not (machine.root / "usr/lib/cdcd").exists()
    for kept in ("etc/cdcd/cdcd.toml", "etc/cdcd/credentials/erp-password", "var/lib/cdcd/journal.db"):
        assert (machine.root / kept).exists()
    company.add(400, 500)
    machine.run("dpkg", "--install", package)
    machine.run("systemctl", "start", UNIT)
    company.wait_in_step()


def purged(machine: Machine) -> None:
    done = machine.attempt("dpkg", "--purge", "cdcd")
    assert done.returncode == 0
    assert "pg_drop_replication_slot" in done.stderr
    assert not (machine.root / "etc/cdcd").exists()
    assert not (machine.root / "var/lib/cdcd").exists()
    assert machine.attempt("pgrep", "-u", "cdcd").stdout == ""
    assert machine.run("systemctl", "--failed", "--no-legend").strip() == ""

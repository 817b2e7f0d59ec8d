"""cdcd as a service of a real systemd: `cdcd install`, notify, watchdog, reload, stop, crash, instances, the sandbox."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from systemd.company import ERP_PASSWORD, SHOP_PASSWORD, Company
from systemd.machine import Machine, wait_until

CDCD = "/opt/cdcd/bin/cdcd"
UNIT = "cdcd.service"
EXPOSURE_MAX = 1.5
WATCHDOG_SECONDS = 6


@pytest.fixture(scope="module")
def installed(machine: Machine, wheels: Path) -> Machine:
    """As docs/service.md says, but for the wheels, which come from a folder."""
    shutil.copytree(wheels, machine.root / "root" / "wheels")
    machine.run("python3", "-m", "venv", "/opt/cdcd")
    packages = ("--no-index", "--find-links", "/root/wheels", "cdcd[postgres,mysql]")
    machine.run("/opt/cdcd/bin/pip", "install", "--quiet", *packages)
    machine.run(CDCD, "install")
    return machine


@pytest.fixture(scope="module")
def company(installed: Machine, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Company:
    made = Company("acme", postgres, mariadb)
    made.settle(installed)
    return made


@pytest.fixture
def service(installed: Machine, company: Company) -> Iterator[Machine]:
    """The service, running, with both sides in step."""
    installed.run("systemctl", "start", UNIT)
    company.wait_in_step()
    yield installed
    company.settle(installed)


def status_of(machine: Machine) -> str:
    return machine.show(UNIT, "StatusText")


def main_pid(machine: Machine) -> int:
    return int(machine.show(UNIT, "MainPID"))


def restarts(machine: Machine) -> int:
    return int(machine.show(UNIT, "NRestarts"))


def drop_in(machine: Machine, text: str) -> None:
    machine.write(f"/etc/systemd/system/{UNIT}.d/test.conf", text)
    machine.run("systemctl", "daemon-reload")


def facts(machine: Machine, path: str) -> str:
    return machine.run("stat", "--format", "%a %U:%G", path).strip()


# ---- installing -----------------------------------------------------------------------------------------------------


def test_install_makes_account_directories_and_units_and_says_what_comes_next(installed: Machine):
    assert facts(installed, "/etc/cdcd") == "750 root:cdcd"
    assert facts(installed, "/etc/cdcd/credentials") == "700 root:root"
    assert facts(installed, "/var/lib/cdcd") == "700 cdcd:cdcd"
    assert installed.run("getent", "passwd", "cdcd").strip().endswith(":/var/lib/cdcd:/usr/sbin/nologin")
    assert "ExecStart=/opt/cdcd/bin/cdcd run" in installed.run("systemctl", "cat", UNIT)
    again = installed.run(CDCD, "install")
    assert "parts are as they should be" in again
    assert "made" not in again
    assert "systemctl enable --now cdcd" in again
    assert "would be" not in installed.run(CDCD, "install", "--dry-run")


def test_without_sysusers_the_account_is_made_all_the_same(installed: Machine):
    installed.run("userdel", "cdcd")
    installed.run("mv", "/usr/bin/systemd-sysusers", "/usr/bin/put-aside")
    said = installed.run(CDCD, "install")
    installed.run("mv", "/usr/bin/put-aside", "/usr/bin/systemd-sysusers")
    assert "made     account cdcd" in said
    assert installed.run("getent", "passwd", "cdcd").strip().endswith(":/var/lib/cdcd:/usr/sbin/nologin")
    assert facts(installed, "/var/lib/cdcd") == "700 cdcd:cdcd"


def test_the_running_systemd_finds_nothing_wrong_with_the_units_and_little_exposed(installed: Machine):
    for unit in ("cdcd.service", "cdcd@acme.service"):
        done = installed.attempt("systemd-analyze", "verify", unit)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        exposure = re.search(r"level for \S+: ([\d.]+)", installed.run("systemd-analyze", "security", unit))
        assert exposure is not None
        assert float(exposure[1]) <= EXPOSURE_MAX


def test_check_as_root_finds_the_secrets_that_the_service_will_get(installed: Machine, company: Company):
    done = installed.attempt(CDCD, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 systems" in done.stdout


# ---- what needs a person is not restarted -------------------------------------------------------------------------


def test_a_wrong_configuration_ends_it_and_it_is_not_restarted(installed: Machine, company: Company):
    before = restarts(installed)
    installed.write("/etc/cdcd/cdcd.toml", "[daemon\n", 0o640, group="cdcd")
    assert installed.attempt("systemctl", "start", UNIT).returncode != 0
    assert installed.show(UNIT, "ActiveState") == "failed"
    assert installed.show(UNIT, "ExecMainStatus") == "2"
    assert restarts(installed) == before
    said = installed.journal(UNIT, "--priority", "err")
    assert "error [config-syntax] /etc/cdcd/cdcd.toml" in said
    assert "next: " in said
    company.settle(installed)


def test_what_a_server_lacks_ends_it_with_three_and_it_is_not_restarted(installed: Machine, company: Company):
    company.erp("ALTER TABLE item RENAME TO item_gone")
    assert installed.attempt("systemctl", "start", UNIT).returncode != 0
    company.erp("ALTER TABLE item_gone RENAME TO item")
    assert installed.show(UNIT, "ExecMainStatus") == "3"
    assert installed.show(UNIT, "NRestarts") == "0"
    assert "not started" in installed.journal(UNIT, "--priority", "err")
    assert "not started" in installed.run("systemctl", "status", UNIT, check=False)


def test_a_credential_that_is_missing_is_named(installed: Machine, company: Company):
    (installed.root / "etc/cdcd/credentials/shop-password").unlink()
    assert installed.attempt("systemctl", "start", UNIT).returncode != 0
    assert installed.show(UNIT, "ExecMainStatus") == "2"
    assert "credential 'shop-password' is not available" in installed.journal(UNIT)
    company.settle(installed)


# ---- starting ---------------------------------------------------------------------------------------------------------


def test_it_is_ready_when_everything_runs_and_says_until_then_what_it_waits_for(
    installed: Machine, company: Company, mariadb: MySqlFamilyServer
):
    company.add(1, 10)
    mariadb.stop()
    installed.run("systemctl", "start", "--no-block", UNIT)
    waits = "waits until everything runs: from erp 0 s, to erp 0 s, from shop retrying [unavailable]"
    installed.wait_for(UNIT, "StatusText", lambda text: text.startswith("waits until"))
    assert installed.wait_for(UNIT, "StatusText", lambda text: waits in text)
    assert installed.show(UNIT, "ActiveState") == "activating"
    mariadb.start()
    installed.wait_for(UNIT, "ActiveState", lambda state: state == "active")
    company.wait_in_step()
    installed.wait_for(UNIT, "StatusText", lambda text: re.fullmatch(r"from erp \d+ s, .*to shop \d+ s", text))


def test_secrets_reach_the_service_by_credential_alone(service: Machine):
    pid = main_pid(service)
    tasks = service.run("sh", "-c", "cat /sys/fs/cgroup/system.slice/cdcd.service/cgroup.procs || pgrep -u cdcd")
    assert str(pid) in tasks.split()
    for each in tasks.split():
        seen = service.run("sh", "-c", f"cat /proc/{each}/environ /proc/{each}/cmdline | tr '\\0' '\\n'")
        assert ERP_PASSWORD not in seen
        assert SHOP_PASSWORD not in seen
    everything = service.run("journalctl", "--no-pager") + service.run("systemctl", "show", UNIT)
    assert ERP_PASSWORD not in everything
    assert SHOP_PASSWORD not in everything


def test_the_sandbox_acts_and_does_not_break_it(service: Machine, company: Company):
    """MemoryDenyWriteExecute with drivers, encoders and SQLite in C among it: both sides write through all of them."""
    within = ("nsenter", "-t", str(main_pid(service)), "-m", "--")
    assert "Read-only file system" in service.attempt(*within, "touch", "/etc/cdcd/x").stderr
    assert service.attempt(*within, "touch", "/var/lib/cdcd/x").returncode == 0
    assert service.run(*within, "ls", "/root").split() == []
    assert service.show(UNIT, "MemoryDenyWriteExecute") == "yes"
    status = (Path("/proc") / str(outside_pid(main_pid(service))) / "status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    company.shop("UPDATE products SET body = 'from the shop' WHERE sku = 'SKU-1'")
    wait_until(lambda: company.erp("SELECT 1 FROM item WHERE web_text = 'from the shop'"), "told to the ERP")


def outside_pid(inside: int) -> int:
    """The pid out here of a process that has that pid in the machine."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            numbers = re.search(r"^NSpid:(.*)$", (entry / "status").read_text(), re.MULTILINE)
        except OSError:
            continue
        pids = numbers[1].split() if numbers else []
        if len(pids) > 1 and pids[-1] == str(inside) and b"cdcd" in (entry / "cmdline").read_bytes():
            return int(entry.name)
    raise AssertionError(f"no process {inside} in the machine")


def test_the_journal_knows_how_grave_each_line_is(service: Machine):
    lines = service.run("journalctl", "--unit", UNIT, "--output", "json", "--no-pager").splitlines()
    entries = [json.loads(line) for line in lines]
    ours = [entry for entry in entries if str(entry.get("MESSAGE", "")).startswith("level=")]
    assert {"6", "3"} <= {entry["PRIORITY"] for entry in ours}
    assert all((entry["PRIORITY"] == "6") == entry["MESSAGE"].startswith("level=info") for entry in ours)
    assert "level=info" not in service.journal(UNIT, "--priority", "warning")


# ---- the watchdog -----------------------------------------------------------------------------------------------------


def test_a_frozen_daemon_is_killed_and_started_again_and_catches_up(service: Machine, company: Company):
    drop_in(service, f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\n")
    service.run("systemctl", "restart", UNIT)
    before = restarts(service)
    os.kill(outside_pid(main_pid(service)), signal.SIGSTOP)
    company.add(100, 140)
    service.wait_for(UNIT, "NRestarts", lambda found: int(found) > before)
    company.wait_in_step()
    said = service.journal(UNIT, "--boot")
    assert "Watchdog timeout" in said
    assert "Fatal Python error: Aborted" in said  # with the line where it was


def test_a_frozen_worker_starves_the_watchdog_until_all_is_started_again(service: Machine, company: Company):
    """Whoever says nothing for a minute is stuck; then the watchdog's own time runs."""
    before = restarts(service)
    status = json.loads(service.run(CDCD, "status", "--json"))["result"]
    worker = status["systems"]["shop"]["deliver"]["worker"]["pid"]
    os.kill(outside_pid(worker), signal.SIGSTOP)
    company.add(200, 220)
    service.wait_for(UNIT, "StatusText", lambda text: text.startswith("stuck: deliver:shop"), 90)
    service.wait_for(UNIT, "NRestarts", lambda found: int(found) > before, 60)
    company.wait_in_step()
    assert "event=stuck worker=deliver:shop code=worker-silent" in service.journal(UNIT, "--priority", "err")


def test_a_server_that_is_away_and_idleness_feed_the_watchdog(
    service: Machine, company: Company, mariadb: MySqlFamilyServer
):
    service.run("systemctl", "restart", UNIT)
    company.wait_in_step()
    before = main_pid(service)
    mariadb.stop()
    company.add(300, 320)
    service.wait_for(UNIT, "StatusText", lambda text: "to shop retrying [unavailable]" in text)
    fed = service.show(UNIT, "WatchdogTimestampMonotonic")
    for _ in range(2 * WATCHDOG_SECONDS):  # for two of its intervals it is fed again and again
        last = fed
        fed = service.wait_for(UNIT, "WatchdogTimestampMonotonic", lambda found, last=last: found != last)
    mariadb.start()
    company.wait_in_step()
    assert main_pid(service) == before
    drop_in(service, "")


# ---- reloading, stopping, crashing --------------------------------------------------------------------------------------


def test_reload_takes_a_good_configuration_over(service: Machine, company: Company):
    before = main_pid(service)
    text = company.config().replace('max-size = "1GiB"', 'max-size = "2GiB"')
    service.write("/etc/cdcd/cdcd.toml", text, 0o640, group="cdcd")
    service.run("systemctl", "reload", UNIT)
    assert service.show(UNIT, "ActiveState") == "active"
    status = json.loads(service.run(CDCD, "status", "--json"))["result"]
    assert status["journal"]["max_bytes"] == 2 * 2**30
    assert main_pid(service) == before
    assert {worker["state"] for worker in workers(status)} == {"running"}


def workers(status: dict) -> list[dict]:
    parts = [part for system in status["systems"].values() for part in (system["capture"], system["deliver"]) if part]
    return [part["worker"] for part in parts]


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('key = ["sku"]', 'key = ["sku"', "[config-syntax]"),
        ('owner = "shop"', 'owner = "nobody"', "reload refused, going on as before"),
    ],
)
def test_reload_refuses_a_bad_configuration_and_the_daemon_goes_on(
    service: Machine, company: Company, right: str, wrong: str, said: str
):
    before = main_pid(service)
    service.write("/etc/cdcd/cdcd.toml", company.config().replace(right, wrong), 0o640, group="cdcd")
    failed = service.attempt("systemctl", "reload", UNIT)
    assert failed.returncode != 0
    assert "failed" in failed.stderr
    assert said in service.journal(UNIT, "--priority", "err")
    assert service.show(UNIT, "ActiveState") == "active"
    assert main_pid(service) == before
    company.erp("UPDATE item SET name = name || '.' WHERE code < 'SKU-2'")
    company.wait_in_step()


def test_a_stop_in_the_middle_of_writing_loses_nothing(service: Machine, company: Company):
    company.add(1_000, 60_000)
    wait_until(lambda: len(company.shop("SELECT 1 FROM products WHERE id % 100 = 0")) > 20, "some have arrived")
    service.run("systemctl", "stop", UNIT)
    assert service.show(UNIT, "Result") == "success"
    assert service.show(UNIT, "ExecMainStatus") == "0"
    stopped_seconds = (
        int(service.show(UNIT, "InactiveEnterTimestampMonotonic"))
        - int(service.show(UNIT, "ActiveExitTimestampMonotonic"))
    ) / 1e6
    assert stopped_seconds < 35
    assert "event=stopped" in service.journal(UNIT)
    company.erp("UPDATE item SET name = name || ' (while away)' WHERE id % 1000 = 0")
    service.run("systemctl", "start", UNIT)
    company.wait_in_step(120)


def test_a_killed_daemon_is_started_again_and_catches_up(service: Machine, company: Company):
    before = restarts(service)
    pids = {int(pid) for pid in service.run("pgrep", "-u", "cdcd").split()}
    service.run("kill", "-KILL", str(main_pid(service)))
    company.add(70_000, 70_500)
    service.wait_for(UNIT, "NRestarts", lambda found: int(found) == before + 1)
    service.wait_for(UNIT, "ActiveState", lambda state: state == "active")
    company.wait_in_step()
    assert not pids & {int(pid) for pid in service.run("pgrep", "-u", "cdcd").split()}


def test_a_standby_of_the_same_state_takes_over_from_a_frozen_service(service: Machine, company: Company):
    """Also from within the sandbox it sees whether the other one lives, and may end it."""
    unit = (service.root / "etc/systemd/system/cdcd.service").read_text()
    service.write("/etc/systemd/system/cdcd-standby.service", unit.replace(" run --config", " run --standby --config"))
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", "cdcd-standby")
    stands_by = f"standing by while pid {main_pid(service)} on "
    service.wait_for("cdcd-standby", "StatusText", lambda text: text.startswith(stands_by))
    os.kill(outside_pid(main_pid(service)), signal.SIGSTOP)
    company.add(600, 610)
    service.wait_for("cdcd-standby", "StatusText", lambda text: text.startswith("from erp 0 s"), 20)
    company.wait_in_step()
    service.wait_for(UNIT, "ActiveState", lambda state: state == "failed")  # another one runs: that needs a person
    assert service.show(UNIT, "ExecMainStatus") == "3"
    service.run("systemctl", "stop", "cdcd-standby")


# ---- several, and none ------------------------------------------------------------------------------------------------


def test_two_instances_run_beside_each_other(installed: Machine, postgres: PostgresServer, mariadb: MySqlFamilyServer):
    companies = {name: Company(name, postgres, mariadb) for name in ("east", "west")}
    for name, company in companies.items():
        installed.run(CDCD, "install", "--instance", name)
        company.settle(installed, name)
        company.add(1, 20)
        installed.run("systemctl", "enable", "--now", f"cdcd@{name}")
    for name, company in companies.items():
        company.wait_in_step()
        assert facts(installed, f"/var/lib/cdcd-{name}") == "700 cdcd:cdcd"
        assert installed.show(f"cdcd@{name}.service", "ActiveState") == "active"
    refused = installed.attempt(CDCD, "install", "--remove")
    assert refused.returncode == 3
    assert "cdcd@east.service" in refused.stderr
    installed.run(CDCD, "install", "--remove", "--instance", "east")
    assert installed.show("cdcd@east.service", "ActiveState") == "inactive"
    companies["west"].add(30, 40)
    companies["west"].wait_in_step()
    installed.run("systemctl", "disable", "--now", "cdcd@west")


def test_an_upgrade_goes_on_where_it_was(service: Machine, company: Company):
    service.run("systemctl", "stop", UNIT)
    packages = ("--no-index", "--find-links", "/root/wheels", "cdcd[postgres,mysql]")
    service.run("/opt/cdcd/bin/pip", "install", "--quiet", "--upgrade", "--force-reinstall", "--no-deps", *packages)
    service.run(CDCD, "install")
    company.add(75_000, 75_010)
    service.run("systemctl", "start", UNIT)
    company.wait_in_step()


def test_remove_takes_the_service_away_and_leaves_configuration_and_data(service: Machine, company: Company):
    said = service.run(CDCD, "install", "--remove")
    assert "pg_drop_replication_slot" in said
    assert service.show(UNIT, "LoadState") == "not-found"
    for kept in ("etc/cdcd/cdcd.toml", "etc/cdcd/credentials/erp-password", "var/lib/cdcd/journal.db"):
        assert (service.root / kept).exists()
    assert not (service.root / "usr/local/share/cdcd").exists()
    service.run(CDCD, "install")
    service.run("systemctl", "start", UNIT)
    company.add(80_000, 80_010)
    company.wait_in_step()

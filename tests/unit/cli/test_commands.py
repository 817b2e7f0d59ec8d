"""The command line without a daemon: help, moments, envelopes, the look of a status."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from cdcd import cli, health
from cdcd.adapter import Finding
from cdcd.blueprint import Blueprint
from cdcd.cli import check, status
from cdcd.cli.rewind import parse_moment
from cdcd.config import Config, Daemon
from cdcd.errors import ConfigError
from cdcd.preflight import Outcome
from cdcd.scheduling.deliveries import Standing
from cdcd.status import CopyStatus
from unit.statuses import NOW as NOW_US
from unit.statuses import SECOND, daemon, error, worker


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.cdcd, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def test_help_names_every_command_and_loads_none_of_them():
    program = (
        "import sys\nfrom cdcd.cli import main\nsys.argv = ['cdcd', '--help']\n"
        "try:\n    main()\nfinally:\n    loaded = set(sys.modules)\n"
        "    assert not {'rich', 'msgspec', 'prometheus_client', 'psycopg', 'pymysql', 'cel'} & loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in cli.COMMANDS)


WITHOUT_CONFIG = {"init", "install", "explain", "completion"}
"""One makes a configuration, the others need none."""


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in WITHOUT_CONFIG])
def test_every_command_explains_itself_and_takes_config_and_json(name: str):
    code, shown, _ = run(name, "--help")
    assert code == 0
    assert "--config" in shown
    assert "CDCD_CONFIG" in shown
    assert "--json" in shown


def test_the_version_is_the_packages():
    assert run("--version") == (0, "cdcd 0.1.0\n", "")


def test_an_error_in_the_journal_has_its_priority_on_every_line(monkeypatch: pytest.MonkeyPatch):
    """What a service's ExecReload= says is found by 'journalctl -p err'."""
    monkeypatch.setattr("cdcd.logs.is_for_journal", lambda: True)
    code, _, said = run("check", "--config", "/nowhere/at/all.toml")
    assert code == 2
    assert len(said.splitlines()) > 1
    assert all(line.startswith("<3>") for line in said.splitlines())


def test_a_mistyped_command_is_a_mistake_of_the_command_line():
    code, _, said = run("staus")
    assert code == 2
    assert "Did you mean 'status'?" in said


@pytest.mark.parametrize("arguments", [("reload",), ("status",)])
def test_what_only_a_running_daemon_can_do_says_so_in_both_forms(tmp_path: Path, arguments: tuple[str, ...]):
    config = tmp_path / "cdcd.toml"
    config.write_text(f'[daemon]\nname = "acme"\nstate-dir = "{tmp_path}/state"\n[systems]\n')
    code, shown, said = run(*arguments, "--config", str(config))
    assert (code, shown) == (1, "")
    assert said.startswith("error [not-running] the daemon is not running\n  cause: ")
    assert "systemctl start cdcd" in said
    code, shown, _ = run(*arguments, "--config", str(config), "--json")
    envelope = json.loads(shown)
    assert code == 1
    assert list(envelope) == ["command", "ok", "summary", "result", "error"]
    assert (envelope["command"], envelope["ok"], envelope["error"]["code"]) == (arguments[0], False, "not-running")


@pytest.mark.parametrize(
    "arguments",
    [("pause", "shop"), ("resume", "shop"), ("resync", "product"), ("rewind", "shop", "--to", "2h ago"), ("wait",)],
)
def test_a_verb_on_a_state_directory_that_was_never_used_says_so(tmp_path: Path, arguments: tuple[str, ...]):
    config = tmp_path / "cdcd.toml"
    config.write_text(f'[daemon]\nname = "acme"\nstate-dir = "{tmp_path}/state"\n[systems]\n')
    code, shown, said = run(*arguments, "--config", str(config))
    assert (code, shown) == (3, "")
    assert said.startswith("error [no-state] ")
    assert not (tmp_path / "state").exists()


def test_a_configuration_error_exits_with_two(tmp_path: Path):
    config = tmp_path / "cdcd.toml"
    config.write_text('[daemon]\nname = "acme"\nstate-dri = "/x"\n[systems]\n')
    for command in ("check", "status", "run"):
        code, _, said = run(command, "--config", str(config))
        assert code == 2
        assert "did you mean 'state-dir'?" in said


NOW = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("2h ago", timedelta(hours=2)),
        ("90m", timedelta(minutes=90)),
        (" 3d  ago ", timedelta(days=3)),
        ("2026-11-21T21:00:00Z", timedelta(hours=1)),
        ("2026-11-21 21:00:00+00:00", timedelta(hours=1)),
        ("2026-11-22T06:00+09:00", timedelta(hours=1)),
    ],
)
def test_a_moment_is_a_time_or_a_while_ago(text: str, ago: timedelta):
    assert parse_moment(text, NOW) == int((NOW - ago).timestamp() * 1e6)


def test_a_time_without_a_zone_is_local():
    local = NOW.astimezone().replace(tzinfo=None).isoformat()
    assert parse_moment(local, NOW) == int(NOW.timestamp() * 1e6)


@pytest.mark.parametrize("text", ["", "yesterday", "2h later", "5", "2026-13-01"])
def test_what_is_no_moment_is_refused(text: str):
    with pytest.raises(ConfigError, match="is no moment"):
        parse_moment(text, NOW)


def test_a_status_shows_every_worker_its_lag_and_its_last_error():
    shown = daemon(
        capture=worker("stopped", error=error()), copies=(CopyStatus("item", 1200, False),), backlog=7, paused=True
    )
    text = status._rendered(shown)
    for part in (
        "erp",
        "stopped",
        "paused",
        "7 writes",
        "7 bytes",
        "7 entries",
        "capture:erp: the slot is missing [not-ready], 5 s ago",
        "next:  SELECT pg_create_…",
        "copying erp: item, 1,200 rows so far",
        "not settled yet: order",
        "25% of its room",
    ):
        assert part in text, text
    assert "needs attention: capture:erp: the slot is missing [not-ready]" in status.summary(
        shown, health.health(shown)
    )


def test_a_status_shows_what_is_left_behind_and_the_way_on():
    text = status._rendered(daemon(suspended=("product",)))
    assert "suspended: product at entry 4, 5 entries behind [schema-changed]" in text
    assert "cause: somebody dropped it" in text


def test_a_status_shows_who_stands_by_and_what_may_have_been_forgotten():
    shown = msgspec.structs.replace(daemon(), standby="pid 4712 on atlas", remarks=("the file was changed",))
    text = status._rendered(shown)
    assert "standby: pid 4712 on atlas stands by to take over" in text
    assert "remark: the file was changed" in text


def test_a_status_shows_what_is_told_later_and_when():
    shown = daemon()
    owed = {
        "requested": False,
        "left": 0,
        "begun_us": 0,
        "open": False,
        "held": False,
        "behind": False,
        "since_us": NOW_US - 5 * SECOND,
    }
    later = (
        Standing("order", "0 2 * * *", 1200, next_run_us=0, **owed),
        Standing("product", "realtime", 3, next_run_us=None, **owed | {"held": True}),
        Standing("stock", "every 10m", 9, next_run_us=1, **owed | {"open": True, "left": 8}),
        Standing("price", "on-demand", 0, next_run_us=None, **owed),
    )
    shop = shown.systems["shop"]
    shown.systems["shop"] = msgspec.structs.replace(shop, deliver=msgspec.structs.replace(shop.deliver, later=later))
    text = " ".join(status._rendered(shown).split())
    assert "order to shop (0 2 * * *): 1,200 records owed, the first for 5 s, next at 1970-01-01" in text
    assert "product to shop (realtime): 3 records owed, the first for 5 s, paused" in text
    assert "stock to shop (every 10m): 9 records owed, the first for 5 s, being told now, 8 to go" in text
    assert "price to shop (on-demand): nothing is owed, told on demand" in text
    assert status.summary(shown, health.health(shown)) == "acme is running"


def test_an_error_that_is_over_says_so():
    assert "5 s ago, over" in status._rendered(daemon(deliver=worker(error=error())))


def test_an_offline_status_says_that_nothing_runs():
    assert "is not running" in status.summary(daemon(running=False), [])


def test_findings_are_listed_errors_first_with_their_remedies():
    blueprint = Blueprint("cdcd.toml", Config(Daemon("acme", "/state"), {}), {}, {}, {})
    findings = (
        Finding("warning", "cascade", "shop", "orders", "cascades", "ALTER TABLE …"),
        Finding(
            "error", "wal-level", "erp", "", "wal_level is replica", "ALTER SYSTEM SET wal_level = logical;\nrestart"
        ),
    )
    outcome = Outcome(blueprint, findings, {"shop": error("unavailable", "no answer")})
    lines = check.lines(outcome)
    assert lines[0] == "error        erp: wal_level is replica [wal-level]"
    assert lines[1:3] == ["    next:  ALTER SYSTEM SET wal_level = logical;", "           restart"]
    assert lines[3].startswith("warning      shop orders: cascades")
    assert check.summary(outcome) == "1 error, 1 warning, 1 not reachable (0 systems, 0 tables)"

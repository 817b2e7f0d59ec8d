"""`cdcd events` and `cdcd notify` without a daemon."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from cdcd import cli
from cdcd.cli.events import lines
from cdcd.notices.occurrences import Occurrence, moment
from cdcd.notices.store import Store

SECOND = 1_000_000
NOW = 1_795_300_000 * SECOND
AWAY = Occurrence(NOW, "warning", "target-unavailable", "shop", "shop does not answer", None, "cdcd check")
PROGRAM = [sys.executable, "-c", "from cdcd.cli import main; main()"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cdcd.toml"
    path.write_text(
        f'[daemon]\nname = "acme"\nstate-dir = "{tmp_path}/state"\n[systems]\n'
        f'[notify.script.command]\nrun = ["{tmp_path}/script"]\n'
    )
    (tmp_path / "state").mkdir(mode=0o700)
    return path


@pytest.fixture
def store(config: Path) -> Iterator[Store]:
    with closing(Store(config.with_name("state") / "notices.db")) as opened:
        yield opened


def run(config: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.cdcd, [*words, "--config", str(config)], env={"TZ": "UTC"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout


def test_what_lasts_says_what_to_do_and_what_is_over_how_long_it_lasted():
    begun, remedy = lines(AWAY)
    assert begun.endswith("  warning   shop does not answer [target-unavailable], lasts")
    assert remedy.strip() == "next: cdcd check"
    (ended,) = lines(Occurrence(NOW, "warning", "lag", "shop", "shop is behind", NOW + 60 * SECOND))
    assert ", until 20" in ended
    (short,) = lines(moment("reloaded", "daemon", "it was taken over", NOW))
    assert short.endswith("  info      it was taken over [reloaded]")


def test_events_are_listed_oldest_first_and_chosen(config: Path, store: Store):
    store.keep([(moment("started", "daemon", "cdcd started", NOW - SECOND), []), (AWAY, [])], {}, NOW)
    code, shown = run(config, "events")
    assert code == 0
    assert shown.index("cdcd started") < shown.index("shop does not answer") < shown.index("2 events, 1 of them last")
    assert "cdcd started" not in run(config, "events", "--open")[1]
    assert "cdcd started" not in run(config, "events", "-n", "1")[1]
    assert run(config, "events", "--since", "2100-01-01T00:00Z")[1].count("\n") == 3, "what lasts is among it"
    result = json.loads(run(config, "events", "--json")[1])["result"]
    assert [one["code"] for one in result] == ["started", "target-unavailable"]
    assert run(config, "events", "--quiet") == (0, "")


def test_what_is_followed_shows_beginnings_and_ends_as_they_come(config: Path, store: Store):
    store.keep([(AWAY, [])], {}, NOW)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        # A runner in the background of a shell ignores Ctrl-C, and so would what it starts.
        ["env", "--default-signal=INT", *PROGRAM, "events", "--follow", "--json", "--config", str(config)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["code"] == "target-unavailable"
        store.keep([(moment("reloaded", "daemon", "anew", NOW), [])], {AWAY.key: (NOW + SECOND, [])}, NOW)
        found = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert sorted((one["code"], one["ended_at_us"]) for one in found) == [
        ("reloaded", NOW),
        ("target-unavailable", NOW + SECOND),
    ]


def test_channels_are_listed_and_tried_by_the_command_itself(config: Path):
    code, shown = run(config, "notify")
    assert (code, "script           command  from warning on" in shown) == (0, True)
    code, shown = run(config, "notify", "--test")
    assert code == 1
    assert "cannot be started: No such file or directory" in shown
    script = config.with_name("script")
    script.write_text(f"#!/bin/sh\ncat > {config.with_name('told')}\n")
    script.chmod(0o755)
    code, shown = run(config, "notify", "--test", "script")
    assert (code, "1 of 1 test messages arrived" in shown) == (0, True)
    assert json.loads(config.with_name("told").read_text())["daemon"] == "acme"

"""`cdcd resync` and `cdcd reposition`: what is asked of the daemon, and what is said."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cdcd import cli
from cdcd.cli import daemon, progress
from cdcd.journal import Journal
from unit.cli.test_daemon import config  # noqa: F401 - a fixture


def run(config: Path, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.cdcd, [*arguments, "--config", str(config)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def journal(config: Path) -> Iterator[Journal]:
    opened = Journal(daemon.directory_of(config).journal)
    yield opened
    opened.close()


def test_a_dry_run_says_which_tables_and_does_nothing(config: Path, journal: Journal):
    code, said, _ = run(config, "resync", "item", "--dry-run")
    assert (code, said.splitlines()) == (0, ["  erp: item", "  shop: item", "nothing was done"])
    assert journal.last_seq() == 0


def test_a_resync_is_listed_paused_resumed_and_cancelled(config: Path):
    assert run(config, "resync", "item", "--system", "erp")[0] == 0
    assert "erp: item for item: reading, 0 rows" in run(config, "resync", "--list")[1]
    assert "stops after the chunk in work" in run(config, "resync", "item", "--pause")[1]
    assert "paused" in run(config, "resync", "item", "--list")[1]
    assert "goes on" in run(config, "resync", "item", "--resume")[1]
    assert run(config, "resync", "item", "--cancel")[0] == 0
    (copy,) = json.loads(run(config, "resync", "--list", "--json")[1])["result"]["copies"]
    assert (copy["state"], copy["system"], copy["rows"]) == ("cancelled", "erp", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing argument 'ENTITY'"),
        (("item", "--table", "x"), "--table says what --where is about"),
        (("item", "--key", "1", "--where", "x = 1"), "Either --key or --where"),
        (("item", "--where", "x = 1"), "add --system erp"),
        (("itme", "--key", "1"), "there is no entity 'itme'"),
        (("itme",), "did you mean 'item'?"),
        (("item", "--key", "1", "--system", "nix"), "it is in erp, shop"),
        (("item", "--where", "x = 1", "--system", "erp"), "no memory server erp"),
    ],
)
def test_what_is_not_understood_is_a_mistake_of_the_command_line(
    config: Path, journal: Journal, arguments: tuple[str, ...], said: str
):
    code, _, error = run(config, "resync", *arguments)
    assert code in (2, 3)
    assert said in error
    assert journal.last_seq() == 0


def test_a_new_position_is_explained_asked_for_and_taken(config: Path, journal: Journal):
    journal.append("erp", [], "p1")
    code, said, _ = run(config, "reposition", "erp", "--dry-run")
    assert code == 0
    assert "what came after that is given up" in said
    assert run(config, "reposition", "erp")[0] == 1
    assert journal.position("erp") == "p1"
    assert run(config, "reposition", "erp", "--yes")[0] == 0
    assert journal.position("erp") is None


def test_watching_ends_when_all_is_read_and_says_how():
    copy: dict[str, Any] = {"system": "erp", "table": "item", "rows": 5, "estimate": 9, "rows_per_second": 2.5}
    answers = [[{**copy, "state": "reading"}], [{**copy, "state": "done"}]]
    assert "5 rows" in progress.watch_resync(lambda: answers.pop(0), "item", 3)
    assert "ended early: cancelled" in progress.watch_resync(lambda: [{**copy, "state": "cancelled"}], "item", 3)


def test_ctrl_c_ends_only_the_watching():
    def interrupt() -> list[dict[str, Any]]:
        raise KeyboardInterrupt

    assert "goes on" in progress.watch_resync(interrupt, "item", 3)

"""`cdcd verify`: what is asked of the daemon, what is said, and how it exits."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cdcd import cli
from cdcd.cli import daemon
from unit.cli.test_daemon import config  # noqa: F401 - a fixture

DONE: dict[str, Any] = {
    "subject": "item", "system": "shop", "state": "done", "why": "", "rows": 9, "estimate": 9, "records": 9, "missing": 0,
    "different": 0, "surplus": 0, "known": {}, "moving": 0, "began_at_us": 1, "ended_at_us": 2, "rows_per_second": 9.0,
}  # fmt: skip
DIFFERENCE = {
    "entity": "item",
    "system": "shop",
    "kind": "different",
    "key": ["A", 1],
    "fields": ["name"],
    "cause": "c",
    "row_id_hex": "01",
}


class Asked:
    """A daemon that answers what a test says, and notes what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.comparison = DONE
        self.differences: list[dict[str, Any]] = []
        self.repair = {"run": 3, "told": [], "read": [], "left": 0}
        monkeypatch.setattr(daemon, "ask", self._answer)

    def _answer(self, _config: Path, verb: str, **arguments: Any) -> Any:
        self.said.append((verb, arguments))
        if verb == "verify":
            return {"run": 3, "parts": [["item", "shop"]]}
        if verb == "verify-repair":
            return self.repair
        if verb == "verify-change":
            return {"runs": [3], "change": arguments["change"]}
        drift = sum(self.comparison[kind] for kind in ("missing", "different", "surplus"))
        run = {"run": 3, "state": "done", "drift": drift, "scheduled": False, "asked_at_us": 1}
        standing = {**DONE, "last_run_at_us": 2, "last_success_at_us": 2}
        return {
            "runs": [{**run, "comparisons": [self.comparison]}],
            "standings": [standing],
            "differences": self.differences,
        }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def run(config: Path, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.cdcd, ["verify", *arguments, "--config", str(config)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_what_is_in_step_is_said_so(config: Path, asked: Asked):
    code, said, _ = run(config)
    assert (code, said.splitlines()) == (0, ["  item in shop: 9 records, in step", "everything is in step"])
    assert asked.said[0] == ("verify", {"entities": [], "systems": [], "where": None})


def test_drift_is_listed_and_is_the_exit_code(config: Path, asked: Asked):
    asked.comparison = {**DONE, "different": 1, "missing": 1_200, "known": {"owed": 3}, "moving": 2}
    asked.differences = [DIFFERENCE, {**DIFFERENCE, "kind": "surplus", "key": [], "fields": [], "cause": ""}]
    code, said, _ = run(config, "item", "--system", "shop")
    assert (code, said.splitlines()) == (
        1,
        [
            "  item in shop: 9 records, 1,200 missing, 1 different (beside: 3 owed, 2 moving)",
            "    different item A/1 in shop: name (c)",
            "    surplus   item a row without a key that cdcd can tell in shop",
            "1,201 records are not in step; 'cdcd verify --show 3 --repair' puts them right",
        ],
    )


def test_what_could_not_be_compared_is_not_in_step(config: Path, asked: Asked):
    asked.comparison = {**DONE, "state": "skipped", "why": "suspended"}
    code, said, _ = run(config)
    assert (code, said.splitlines()) == (1, ["  item in shop: skipped: suspended", "1 part could not be compared"])


def test_programs_get_one_object(config: Path, asked: Asked):
    asked.comparison = {**DONE, "surplus": 1}
    code, said, _ = run(config, "--json")
    answer = json.loads(said)
    assert (code, answer["ok"], answer["result"]["drift"]) == (1, False, 1)


def test_it_need_not_be_waited_for(config: Path, asked: Asked):
    code, said, _ = run(config, "--detach")
    assert (code, said) == (0, "verification 3 has begun; 'cdcd verify --list' shows it\n")
    assert [verb for verb, _ in asked.said] == ["verify"]


def test_runs_are_listed_and_changed(config: Path, asked: Asked):
    code, said, _ = run(config, "--list")
    assert (code, said.splitlines()[-1]) == (0, "0 verifications are under way")
    assert run(config, "--pause")[1] == "verification 3 stops after the rows in work\n"
    assert run(config, "--cancel", "item")[1] == "verification 3 has ended\n"
    assert asked.said[-1] == ("verify-change", {"change": "cancel", "entities": ["item"]})


def test_what_differs_is_put_right_when_a_person_says_so(config: Path, asked: Asked):
    assert run(config, "--repair")[1].endswith("there is nothing to put right\n")
    asked.repair = {
        "run": 3,
        "told": [{"system": "shop", "entity": "item", "records": 2}],
        "read": [{"system": "shop", "table": "item", "rows": 1}],
        "left": 5,
    }
    code, said, _ = run(config, "--show", "3", "--repair", "--dry-run")
    assert (code, said.splitlines()) == (
        0,
        [
            "  shop is told 2 records of item anew",
            "  1 rows of item in shop are read again: what shop owns counts",
            "  5 are left: 'cdcd resync ENTITY --system SYSTEM' reads all its tables, and mends all",
            "nothing was done",
        ],
    )
    code, _, error = run(config, "--show", "3", "--repair")
    assert (code, "what differs is to be put right" in error) == (1, True)
    assert run(config, "--show", "3", "--repair", "--yes")[0] == 0
    assert asked.said[-1] == ("verify-repair", {"run": 3, "dry_run": False})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("item", "--key", "1", "--where", "x"), "Either --key or --where"),
        (("--key", "1"), "--key names a record of one ENTITY"),
        (("--yes",), "belong to --repair"),
    ],
)
def test_what_means_nothing_is_refused(config: Path, asked: Asked, arguments: tuple[str, ...], said: str):
    code, _, error = run(config, *arguments)
    assert (code, said in error) == (2, True), error
    assert asked.said == []


def test_without_a_daemon_nothing_can_be_said(config: Path):
    code, _, error = run(config)
    assert (code, "not-running" in error) == (1, True)


def test_values_are_shown_on_demand(config: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch):
    from cdcd.verifying import showing  # noqa: PLC0415

    held = {"name": ("for\x1bged", "n"), "price": (1, 1)}
    monkeypatch.setattr(showing, "values", lambda _drawn, named: dict.fromkeys(named, held))
    asked.comparison = {**DONE, "different": 1}
    asked.differences = [dict(DIFFERENCE)]
    assert "        name: for?ged, should be n" in run(config, "--show", "3", "--values")[1].splitlines()
    assert "price" not in run(config, "--show", "3", "--values")[1]

"""The checks before a start: all findings at once, nothing written, a server that is down told apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdcd import plugins, preflight
from cdcd.adapter import Checkpoint, Finding, TableNeed
from cdcd.blueprint import Blueprint
from cdcd.config import Config, Daemon
from cdcd.errors import CdcdError, ConfigError, NotReady, Unavailable
from cdcd.preflight import Outcome
from cdcd.state import State

CONFIG = """
[daemon]
name = "acme"
state-dir = "{state}"
[systems.a]
adapter = "scripted"
[systems.b]
adapter = "scripted"
[[replicate]]
from = "a"
to = "b"
tables = ["item"]
"""


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """None."""


class ScriptedSystem:
    """Source and target in one: answers checks as the test says, and remembers what it was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, list[TableNeed]]] = []
        self.open = 0

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        self.asked.append(("check", list(tables)))
        answer = self.answers.get("check", [])
        if isinstance(answer, CdcdError):
            raise answer
        found: Sequence[Finding] = answer
        return found

    def describe(self, _tables: Sequence[str]) -> dict[str, Any]:
        return self.answers.get("describe", {})

    def checkpoint(self) -> Any:
        return self.answers.get("checkpoint")

    def close(self) -> None:
        self.open -= 1


class ScriptedAdapter:
    options = Options

    def __init__(self) -> None:
        self.systems = {"a": ScriptedSystem({}), "b": ScriptedSystem({})}

    def table_name(self, bare: str) -> str:
        return f"main.{bare}"

    def open_source(self, identity: Any, *_: object) -> ScriptedSystem:
        self.systems[identity.system].open += 1
        return self.systems[identity.system]

    def open_target(self, identity: Any, *_: object) -> ScriptedSystem:
        return self.open_source(identity)


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> ScriptedAdapter:
    made = ScriptedAdapter()
    monkeypatch.setattr(plugins, "find", lambda *_: plugins.Found(made, "scripted:adapter"))  # type: ignore[arg-type]
    monkeypatch.setattr(plugins, "load", lambda *_, **__: made)
    return made


def check(tmp_path: Path) -> Outcome:
    path = tmp_path / "cdcd.toml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    return preflight.check(path)


def finding(code: str, severity: str = "error") -> Finding:
    return Finding(severity, code, "a", "item", "something", "mend it")  # type: ignore[arg-type]


def test_each_side_is_asked_about_its_own_tables_and_closed(tmp_path: Path, adapter: ScriptedAdapter):
    outcome = check(tmp_path)
    assert (outcome.findings, outcome.unreachable) == ((), {})
    assert adapter.systems["a"].asked == [("check", [TableNeed("main.item")])]
    assert adapter.systems["b"].asked == [("check", [TableNeed("main.item", captured=False, written=True)])]
    assert [system.open for system in adapter.systems.values()] == [0, 0]
    assert not (tmp_path / "state").exists()


def test_findings_of_all_systems_come_together(tmp_path: Path, adapter: ScriptedAdapter):
    adapter.systems["a"].answers["check"] = [finding("wal-level"), finding("no-primary-key", "warning")]
    adapter.systems["b"].answers["check"] = NotReady("no rights", cause="none", remedy="GRANT …", code="privilege")
    outcome = check(tmp_path)
    assert [found.code for found in outcome.errors] == ["wal-level", "privilege"]
    assert outcome.errors[1] == Finding("error", "privilege", "b", "", "no rights: none", "GRANT …")
    assert len(outcome.findings) == 3


def test_a_target_that_knows_this_daemon_forbids_to_begin_anew(tmp_path: Path, adapter: ScriptedAdapter):
    adapter.systems["b"].answers["checkpoint"] = Checkpoint("lost", 3, 9)
    (found,) = check(tmp_path).errors
    assert (found.code, found.system) == ("other-lineage", "b")
    assert "cdcd recover" in found.remedy
    (tmp_path / "state").mkdir()
    State(tmp_path / "state" / "state.db").close()
    assert check(tmp_path).errors == []


def test_a_column_that_went_missing_later_forbids_no_start():
    finding = Finding("error", "column-missing", "erp", "item", "item has no column name", "add it")
    outcome = Outcome(Blueprint("f", Config(Daemon("a", "/s"), {}), {}, {}, {}), (finding,))
    assert outcome.forbidding(first_start=True) == [finding]
    assert outcome.forbidding(first_start=False) == []


def test_a_server_that_is_down_is_no_finding(tmp_path: Path, adapter: ScriptedAdapter):
    adapter.systems["b"].answers["check"] = Unavailable("no answer", cause="refused")
    outcome = check(tmp_path)
    assert outcome.errors == []
    assert outcome.unreachable["b"].what == "no answer"


def test_a_configuration_error_is_raised(tmp_path: Path, adapter: ScriptedAdapter):
    adapter.systems["a"].answers["check"] = ConfigError("secret file is open")
    with pytest.raises(ConfigError):
        check(tmp_path)
    assert adapter.systems["a"].open == 0


def test_a_state_directory_below_a_file_is_a_finding(tmp_path: Path, adapter: ScriptedAdapter):
    (tmp_path / "state").touch()
    (tmp_path / "state").chmod(0o600)
    outcome = check(tmp_path)
    assert [found.subject for found in outcome.errors] == ["daemon.state-dir"]


def test_apart_the_checks_raise_what_they_raise_here(tmp_path: Path):
    with pytest.raises(CdcdError, match="cannot be read") as caught:
        preflight.check_apart(tmp_path / "missing.toml")
    assert (caught.value.code, caught.value.exit_code) == ("config", 2)


def test_apart_a_crash_of_the_checks_is_an_error_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preflight.sys, "executable", "/bin/false")
    with pytest.raises(CdcdError, match="the checks crashed"):
        preflight.check_apart(tmp_path / "cdcd.toml")

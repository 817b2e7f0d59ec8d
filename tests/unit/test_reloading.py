"""What a reload changes, and what forbids it."""

from pathlib import Path

import msgspec
import pytest

from cdcd.adapter import Finding
from cdcd.blueprint import Blueprint, draw
from cdcd.config import Config
from cdcd.errors import ConfigError, NeedsOperator
from cdcd.preflight import Outcome
from cdcd.reloading import changes, file_stamp, refusal
from unit.small_line import load

TEXT = """
[entities.item]
key = ["id"]
create = ["erp"]
delete = ["erp"]
[entities.item.fields]
id = { type = "integer" }
name = { type = "text", owner = "erp" }
[entities.item.in.erp]
table = "item"
columns = { id = "id", name = "name" }
[entities.item.in.shop]
table = "item"
columns = { id = "id", name = "name" }
"""


def drawn(text: str = TEXT, **daemon: object) -> Blueprint:
    config: Config = load(text)
    systems = {name: {"adapter": "memory", "server": name} for name in config.systems}
    changed = msgspec.structs.replace(config.daemon, **daemon)
    return draw(msgspec.structs.replace(config, systems=systems, daemon=changed), "cdcd.toml")


def test_the_same_configuration_changes_nothing():
    found = changes(drawn(), drawn())
    assert not found.any
    assert found.lines() == []


def test_what_is_otherwise_is_listed_by_name():
    found = changes(drawn(), drawn(TEXT.replace('table = "item"', 'table = "article"', 1) + '[journal]\nkeep = "1d"\n'))
    assert found.added["tables"] == ["erp:article"]
    assert found.removed["tables"] == ["erp:item"]
    assert found.changed["entities"] == ["item"]
    assert found.other == ["journal"]
    assert found.lines() == [
        "added tables: erp:article",
        "removed tables: erp:item",
        "changed entities: item",
        "changed: journal",
    ]


@pytest.mark.parametrize("change", [{"name": "other"}, {"state_dir": "/elsewhere"}])
def test_what_names_the_daemon_is_not_reloaded(change: dict[str, object]):
    error = refusal(drawn(), Outcome(drawn(**change)))
    assert isinstance(error, ConfigError)
    assert error.code == "reload-fixed"


def test_another_adapter_of_a_known_system_is_not_reloaded():
    new = drawn()
    other = msgspec.structs.replace(new.systems["shop"], adapter="mysql")
    error = refusal(drawn(), Outcome(msgspec.structs.replace(new, systems={**new.systems, "shop": other})))
    assert error is not None
    assert "systems.shop.adapter is 'memory', the file says 'mysql'" in error.cause


def finding(code: str, subject: str = "item", severity: str = "error") -> Finding:
    return Finding(severity, code, "erp", subject, "it lacks something", "give it that")  # type: ignore[arg-type]


def test_an_error_forbids_a_reload_and_a_warning_does_not():
    assert refusal(drawn(), Outcome(drawn(), (finding("x", severity="warning"),))) is None
    error = refusal(drawn(), Outcome(drawn(), (finding("privilege"),)))
    assert isinstance(error, NeedsOperator)
    assert (error.cause, error.remedy) == ("erp item: it lacks something [privilege]", "give it that")


def test_what_the_running_daemon_already_suffers_from_does_not_forbid_a_reload():
    missing = (finding("column-missing"),)
    assert refusal(drawn(), Outcome(drawn(), missing)) is None
    assert refusal(drawn(TEXT.replace('name = "name"', 'name = "title"')), Outcome(drawn(), missing)) is not None


def test_a_files_stamp_changes_when_it_is_written(tmp_path: Path):
    path = tmp_path / "cdcd.toml"
    assert file_stamp(path) == (0, 0)
    path.write_text("a")
    before = file_stamp(path)
    assert before == file_stamp(path)
    path.write_text("ab")
    assert file_stamp(path) != before

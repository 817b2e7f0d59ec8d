"""Verbs on a state directory: carried out by the command itself, and never beside a daemon."""

from pathlib import Path

import pytest

from cdcd.cli import daemon
from cdcd.errors import CdcdError, NeedsOperator, Unavailable
from cdcd.journal import Journal
from cdcd.pause_switches import of_system
from cdcd.state import State
from cdcd.state_directory import Holder, Lock, StateDirectory

CONFIG = """
[daemon]
name = "acme"
state-dir = "{directory}/state"
[systems.erp]
adapter = "memory"
server = "erp"
[systems.shop]
adapter = "memory"
server = "shop"
[entities.item]
key = ["id"]
create = ["erp"]
delete = ["erp"]
[entities.item.fields]
id = {{ type = "integer" }}
name = {{ type = "text", owner = "erp" }}
[entities.item.in.erp]
table = "item"
columns = {{ id = "id", name = "name" }}
[entities.item.in.shop]
table = "item"
columns = {{ id = "id", name = "name" }}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose daemon has run before."""
    path = tmp_path / "cdcd.toml"
    path.write_text(CONFIG.format(directory=tmp_path))
    directory = daemon.directory_of(path)
    directory.prepare()
    State(directory.state).close()
    Journal(directory.journal).close()
    return path


def controls(directory: StateDirectory) -> dict[str, str]:
    journal = Journal(directory.journal)
    found = journal.controls()
    journal.close()
    return found


def test_a_verb_is_carried_out_where_no_daemon_runs(config: Path):
    assert not daemon.is_running(config)
    assert daemon.ask(config, "pause", name="shop")["paused"] is True
    directory = daemon.directory_of(config)
    assert of_system("shop") in controls(directory)
    assert not Lock(directory.lock("supervisor")).is_held()
    assert daemon.ask(config, "resume", name="shop")["was_paused"] is True
    assert controls(directory) == {}


def test_a_verb_leaves_the_note_of_the_last_daemon_as_it_is(config: Path):
    lock = Lock(daemon.directory_of(config).lock("supervisor"))
    assert lock.acquire(wait=False)
    lock.release(stopped=True)
    before = lock.holder()
    daemon.ask(config, "pause", name="shop")
    assert lock.holder() == before
    assert isinstance(before, Holder)
    assert before.stopped


def test_a_wrong_name_and_an_unknown_verb_are_refused_as_by_the_daemon(config: Path):
    with pytest.raises(CdcdError, match=r"unknown .*'shopp'") as caught:
        daemon.ask(config, "pause", name="shopp")
    assert caught.value.remedy == "did you mean 'shop'?"
    with pytest.raises(CdcdError, match="unknown command 'dance'"):
        daemon.ask(config, "dance")


def test_what_only_a_daemon_can_do_says_so(config: Path):
    with pytest.raises(Unavailable) as caught:
        daemon.ask(config, "wait")
    assert (caught.value.code, caught.value.cause) == ("not-running", "nothing can arrive without it")


def test_a_daemon_that_does_not_listen_is_waited_for_and_not_overtaken(config: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(daemon, "BUSY_SECONDS", 0.2)
    lock = Lock(daemon.directory_of(config).lock("supervisor"))
    assert lock.acquire(wait=False)
    assert daemon.is_running(config)
    with pytest.raises(Unavailable) as caught:
        daemon.ask(config, "pause", name="shop")
    lock.release()
    assert caught.value.code == "daemon-busy"
    assert controls(daemon.directory_of(config)) == {}


def test_a_directory_that_was_never_used_stays_untouched(tmp_path: Path):
    path = tmp_path / "cdcd.toml"
    path.write_text(CONFIG.format(directory=tmp_path))
    with pytest.raises(NeedsOperator) as caught:
        daemon.ask(path, "pause", name="shop")
    assert caught.value.code == "no-state"
    assert not (tmp_path / "state").exists()

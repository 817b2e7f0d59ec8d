"""Messages as the standard input of a program."""

import json
from pathlib import Path

import pytest

from cdcd.notices.channels import Program
from cdcd.notices.failures import NotTold
from cdcd.notices.messages import letter
from cdcd.notices.program import run
from cdcd.notices.store import Message
from integration.daemon_process import alive, wait_until
from unit.notices.sinks import NOW, STOPPED

LETTER = letter("acme", [Message(3, "begun", NOW, 0, STOPPED)])


def script(directory: Path, text: str) -> str:
    path = directory / "tell"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_reads_the_message_and_knows_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SHOP_PASSWORD", "s3cret")
    program = script(tmp_path, f'cat > {tmp_path}/body; env > {tmp_path}/env; echo "$1" > {tmp_path}/argument')
    run(Program([program, "a b; rm -rf $HOME"]), LETTER)
    assert json.loads((tmp_path / "body").read_bytes())["notices"][0]["code"] == "worker-stopped"
    environment = (tmp_path / "env").read_text()
    assert "s3cret" not in environment
    assert f"CDCD_ID={LETTER.id}" in environment
    assert (tmp_path / "argument").read_text() == "a b; rm -rf $HOME\n"


def test_a_program_that_fails_or_is_not_there_is_a_failure(tmp_path: Path):
    with pytest.raises(NotTold, match="ended with 3"):
        run(Program([script(tmp_path, "exit 3")]), LETTER)
    with pytest.raises(NotTold, match="No such file"):
        run(Program([str(tmp_path / "none")]), LETTER)


def test_a_program_that_reads_nothing_is_no_failure(tmp_path: Path):
    run(Program([script(tmp_path, "exec <&-; exit 0")]), LETTER)


def test_a_program_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path):
    program = script(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(NotTold, match="was killed"):
        run(Program([program], timeout="300ms"), LETTER)
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not alive(child), "what it started has ended")

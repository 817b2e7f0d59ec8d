"""How every command behaves: help with examples, one JSON shape, quiet, no colour where none is wanted, completion."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cdcd import cli
from cdcd.cli import completion
from cdcd.cli.examples import split

KEYS = ["command", "ok", "summary", "result", "error"]
PROGRAM = [sys.executable, "-c", "from cdcd.cli import main; main()"]
WITHOUT_CONFIG = {"init", "explain", "completion", "install"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands and groups of commands, by their words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))


ALL = dict(commands(cli.cdcd))
ENDS = {path: found for path, found in ALL.items() if not isinstance(found, click.Group)}
by_path = pytest.mark.parametrize("path", ALL, ids=" ".join)
by_end = pytest.mark.parametrize("path", ENDS, ids=" ".join)


def run(*words: str, **environment: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.cdcd, words, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def example_words(example: str) -> list[str]:
    """Of a shell's command line what is cdcd's."""
    words = shlex.split(example, comments=True)
    return words[1 : next((at for at, word in enumerate(words) if word in (">", "|")), len(words))]


# ---- help ------------------------------------------------------------------------------------------------------


@by_path
def test_every_command_says_what_it_does_in_a_line_and_shows_examples(path: tuple[str, ...]):
    code, shown, _ = run(*path, "--help")
    assert code == 0
    summary = (ALL[path].help or "").strip().splitlines()[0]
    assert 10 < len(summary) <= 130
    assert "\n  Examples:\n    " in shown


@by_path
def test_every_example_is_a_command_line_that_parses(path: tuple[str, ...]):
    examples = re.findall(r"^  (.+)$", (ALL[path].epilog or "").partition("Examples:")[2], re.MULTILINE)
    ours = [example for example in examples if example.startswith("cdcd ")]
    assert ours
    for example in ours:
        words = example_words(example)
        assert tuple(words[: len(path)]) == path, example
        context: click.Context | None = None
        command: click.Command = cli.cdcd
        while True:
            context = command.make_context(words[0] if context else "cdcd", words[1:] if context else words, context)
            if not isinstance(command, click.Group):
                break
            words = [*context._protected_args, *context.args]
            found = command.get_command(context, words[0])
            assert found is not None, example
            command = found


def test_examples_are_the_last_paragraph_of_a_docstring():
    text = """Do it.

    At once.

    Examples: cdcd do; cdcd do --key 'a;b'
        --more; other thing
    """
    assert split(text) == ("Do it.\n\nAt once.", ["cdcd do", "cdcd do --key 'a;b' --more", "other thing"])
    text = """Do it.

    Examples:
      cdcd do            at once
      cdcd do | tee log
    """
    assert split(text) == ("Do it.", ["cdcd do  # at once", "cdcd do | tee log"])
    assert split("Do it.") == ("Do it.", [])


# ---- answers ----------------------------------------------------------------------------------------------------


@by_end
def test_every_command_takes_json_and_quiet(path: tuple[str, ...]):
    options = {name for parameter in ENDS[path].params for name in parameter.opts}
    assert {"--json", "--quiet", "-q"} <= options
    assert "--config" in options or path[0] in WITHOUT_CONFIG


@by_end
def test_a_wrong_command_line_is_the_same_object_as_every_answer(path: tuple[str, ...]):
    code, shown, said = run(*path, "--no-such-option", "--json")
    envelope = json.loads(shown)
    assert code == 2
    assert list(envelope) == KEYS
    assert (envelope["command"], envelope["ok"], envelope["result"]) == (" ".join(path), False, None)
    assert set(envelope["error"]) == {"code", "what", "cause", "remedy", "exit_code"}
    assert (envelope["error"]["code"], envelope["error"]["exit_code"]) == ("usage", 2)
    assert said.startswith("error [usage] No such option")
    assert f"'cdcd {' '.join(path)} --help'" in said


@by_end
def test_a_configuration_that_is_not_there_is_an_error_in_the_same_shape(path: tuple[str, ...], tmp_path: Path):
    if path[0] in WITHOUT_CONFIG | {"support-bundle"}:
        pytest.skip("it needs no configuration, or works without")
    arguments = [words for p, words in _ARGUMENTS.items() if p == " ".join(path)]
    words = [*path, *(arguments[0] if arguments else []), "--config", str(tmp_path / "none.toml")]
    code, shown, said = run(*words, "--json")
    envelope = json.loads(shown)
    assert code == 2, shown
    assert list(envelope) == KEYS
    assert envelope["command"] == " ".join(path)
    assert envelope["error"]["code"] == "config"
    assert "next: " in said
    code, shown, said = run(*words, "--quiet")
    assert (code, shown) == (2, "")
    assert said.startswith("error [config] ")


_ARGUMENTS: dict[str, list[str]] = {
    "grants": ["erp"],
    "history": ["product", "AB-1"],
    "pause": ["shop"],
    "resume": ["shop"],
    "deliver": ["product"],
    "resync": ["product"],
    "reposition": ["erp"],
    "parked show": ["product", "AB-1"],
    "parked retry": ["product", "AB-1"],
    "parked discard": ["product", "AB-1"],
    "parked edit": ["product", "AB-1"],
    "conflicts show": ["product", "AB-1"],
    "conflicts accept": ["product", "AB-1"],
    "conflicts reject": ["product", "AB-1"],
    "rewind": ["shop", "--to", "2h ago"],
    "replay": ["shop"],
    "forget": ["product", "AB-1"],
    "journal export": ["-o", "/tmp/never-written.jsonl"],
    "journal prune": ["--keep", "3d"],
}


def test_a_command_that_is_not_there_is_an_error_in_the_same_shape():
    code, shown, said = run("staus", "--json")
    assert code == 2
    assert json.loads(shown)["error"]["what"] == "No such command 'staus'. Did you mean 'status'?"
    assert "next: 'cdcd --help'" in said
    assert run("staus")[1] == ""


def test_quiet_says_nothing_where_nothing_is_wrong():
    code, shown, said = run("explain", "no-state", "--quiet")
    assert (code, shown, said) == (0, "", "")
    assert run("explain", "no-state")[1] != ""


def test_a_defect_is_told_without_the_message_that_may_quote_a_value():
    program = (
        "from cdcd import cli\nfrom cdcd.cli import explain\n"
        "def broken(*_): raise ValueError('s3cret value')\n"
        "explain._explain = broken\ncli.main()"
    )
    command = [sys.executable, "-c", program, "explain", "no-state"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    envelope = json.loads(done.stdout)
    assert done.returncode == 1
    assert list(envelope) == KEYS
    assert (envelope["command"], envelope["error"]["code"]) == ("explain", "internal")
    assert "ValueError" in envelope["error"]["what"]
    assert "s3cret" not in done.stdout + done.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert "support-bundle" in done.stderr


def test_an_interrupt_ends_with_the_shells_number():
    program = "import sys\nfrom cdcd import cli\nfrom cdcd.cli import explain\n"
    program += "def stopped(*_): raise KeyboardInterrupt\nexplain._explain = stopped\ncli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "explain", "x", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert json.loads(done.stdout)["error"]["code"] == "interrupted"


def test_what_another_account_owns_is_an_error_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/var/lib/cdcd/state.db")

    monkeypatch.setattr("cdcd.cli.explain._explain", denied)
    code, _, said = run("explain", "no-state")
    assert code == 1
    assert said.startswith("error [denied] /var/lib/cdcd/state.db may not be opened")
    assert "sudo -u cdcd" in said


# ---- the terminal -----------------------------------------------------------------------------------------------


def on_a_terminal(*words: str, **environment: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    variables = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW, *words], stdout=theirs, stderr=theirs, env={**variables, **environment}
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            shown += part
        process.wait()
    os.close(ours)
    return shown.decode()


_SLOW = """
import sys, time
from cdcd import cli
from cdcd.cli import explain, output, progress
from rich.console import Console
progress.DELAY_SECONDS = 0.0
def slow(code):
    time.sleep(0.3)
    console = Console()
    with console.capture() as capture:
        console.print("[red]colour[/red]")
    return output.Verdict("done", None, [capture.get().rstrip()])
explain._explain = slow
explain.answer = lambda *a, **k: output.answer(*a, **k, doing="thinking hard")
cli.main()
"""


def test_a_terminal_gets_progress_and_colour_and_nothing_of_it_where_it_is_not_wanted():
    shown = on_a_terminal("explain", "x", TERM="xterm-256color")
    assert "thinking hard" in shown
    assert "\x1b[31mcolour" in shown
    assert "\x1b[31m" not in on_a_terminal("explain", "x", TERM="xterm-256color", NO_COLOR="1")
    assert on_a_terminal("explain", "x", TERM="dumb").split() == ["colour", "done"]
    assert on_a_terminal("explain", "x", "--quiet", TERM="xterm-256color") == ""
    assert json.loads(on_a_terminal("explain", "x", "--json", TERM="xterm-256color"))["ok"] is True


def test_what_is_no_terminal_gets_text_alone():
    done = subprocess.run([sys.executable, "-c", _SLOW, "explain", "x"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("colour\ndone\n", "")


# ---- completion --------------------------------------------------------------------------------------------------


def completed(tmp_path: Path, line: str) -> list[str]:
    """What a real bash offers for a line."""
    program = tmp_path / "cdcd"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from cdcd.cli import main; main()' \"$@\"\n")
    program.chmod(0o755)
    (tmp_path / "script").write_text(completion.script("bash"))
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    listed = " ".join(map(shlex.quote, words))
    text = f"""
        source {tmp_path}/script; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}
        _cdcd_completion cdcd; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CDCD_CONFIG": str(tmp_path / "cdcd.toml")}
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_the_names_of_the_configuration(tmp_path: Path):
    (tmp_path / "cdcd.toml").write_text(
        "[systems.erp]\n[systems.shop]\n[entities.product]\n[entities.order]\n[notify.ops]\n"
    )
    assert completed(tmp_path, "cdcd pa") == ["pause", "parked"]
    assert completed(tmp_path, "cdcd parked di") == ["discard"]
    assert completed(tmp_path, "cdcd pause s") == ["shop"]
    assert completed(tmp_path, "cdcd pause ") == ["erp", "shop", "product", "order"]
    assert completed(tmp_path, "cdcd history pr") == ["product"]
    assert completed(tmp_path, "cdcd pause product --system ") == ["erp", "shop"]
    assert completed(tmp_path, "cdcd notify --test o") == ["ops"]
    assert completed(tmp_path, "cdcd status --js") == ["--json"]
    assert "no-state" in completed(tmp_path, "cdcd explain no-")


def test_a_file_that_cannot_be_read_completes_nothing_and_says_nothing(tmp_path: Path):
    assert completed(tmp_path, "cdcd pause ") == []
    (tmp_path / "cdcd.toml").write_text("[systems.erp\n")
    assert completed(tmp_path, "cdcd pause ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(shell: str):
    code, shown, _ = run("completion", shell)
    assert code == 0
    assert completion.VARIABLE in shown
    assert shown.startswith(completion.script(shell))

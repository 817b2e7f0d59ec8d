"""Every `cdcd` command line in README and docs is one that the program takes, and every command stands there."""

import re
import shlex
from pathlib import Path

import click
import pytest

from cdcd import cli
from unit.cli.test_manners import ENDS

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "config").rglob("*.md")])
_SPAN = re.compile(r"`(cdcd [^`]+)`")
_BLOCK = re.compile(r"^(?:    |\$ )+(?:sudo )?(?:\S*/)?(cdcd [^\n]+)$", re.MULTILINE)
_END = {"|", ">", ">>", "&&", "||", "&", ";", "<"}


def command_lines(text: str) -> list[str]:
    """What a reader could type: in code spans, and at the beginning of a line of a code block."""
    text = re.sub(r"\\\n\s*", "", text)  # a line that goes on
    return [*_SPAN.findall(text), *_BLOCK.findall(text.replace("\\\n", ""))]


def words_of(line: str) -> list[str] | None:
    """None where the line leaves something out ("…", COMMAND)."""
    if "…" in line or "..." in line or "COMMAND" in line:
        return None
    words = shlex.split(line, comments=True)[1:]
    ends = (at for at, word in enumerate(words) if word in _END)
    return [word.strip("[]") for word in words[: next(ends, len(words))]]


def alternatives(words: list[str]) -> list[list[str]]:
    """`cdcd pause|resume SYSTEM` is two."""
    found: list[list[str]] = [[]]
    for at, word in enumerate(words):
        choices = word.split("|") if at < 2 and re.fullmatch(r"[a-z-]+(\|[a-z-]+)+", word) else [word]
        found = [[*before, choice] for before in found for choice in choices]
    return found


def parse(words: list[str]) -> None:
    """Raises click.ClickException. A command named alone, to speak of it, need not have its arguments."""
    command: click.Command = cli.cdcd
    context: click.Context | None = None
    while isinstance(command, click.Group):
        if not words:
            return
        context = command.make_context(command.name, words, context)
        words = [*context._protected_args, *context.args]
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no command {words[0]!r}")
        command, words = found, words[1:]
    if words:
        command.make_context(command.name, words, context)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_is_one_that_the_program_takes(path: Path):
    wrong = []
    for line in command_lines(path.read_text("utf-8")):
        for words in alternatives(words_of(line) or []):
            try:
                parse(words)
            except click.exceptions.Exit:
                continue  # --version, --help
            except click.ClickException as error:
                wrong.append(f"{line}: {error.format_message()}")
    assert wrong == []


def test_every_command_stands_in_the_docs():
    text = "\n".join(path.read_text("utf-8") for path in DOCUMENTS)
    assert [" ".join(path) for path in ENDS if f"cdcd {' '.join(path)}" not in text] == []

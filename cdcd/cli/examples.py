"""The examples of a command: the last paragraph of its docstring, shown one on a line.

Written as "Examples: cdcd …; cdcd …", or below "Examples:" one on a line, with two spaces before what is said about it.
"""

from __future__ import annotations

import inspect
import re
from typing import Final

import click

_PARAGRAPH: Final = re.compile(r"\n\s*Examples:[ ]*(.+)\Z", re.DOTALL)
_WRAPPING: Final = re.compile(r"\s*(\x08|\\b)?\s*\Z")
"""What click is told so that it does not wrap a paragraph."""
_BETWEEN: Final = re.compile(r";\s+(?=[a-z])")


def split(text: str) -> tuple[str, list[str]]:
    """The text without its examples, and these."""
    cleaned = inspect.cleandoc(text)
    found = _PARAGRAPH.search(cleaned)
    if found is None:
        return cleaned, []
    text = _WRAPPING.sub("", cleaned[: found.start()])
    if found[1].startswith("\n"):
        return text, [
            "  # ".join(re.split(r"\s{2,}", line.strip(), maxsplit=1)) for line in found[1].strip().splitlines()
        ]
    return text, [" ".join(one.split()) for one in _BETWEEN.split(found[1].strip())]


def shown(command: click.Command) -> click.Command:
    """The command, and all those below it, with its examples where help shows them. Safe to repeat."""
    text, listed = split(command.help or "")
    if listed:
        command.help = text
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in listed)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            shown(below)
    return command

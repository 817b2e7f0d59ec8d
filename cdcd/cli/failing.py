"""What is said when a command line is wrong, a person stops us, or we have a defect: the same shape as every other answer."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import click

    from cdcd.errors import CdcdError

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells have it: 128 and the number of SIGINT."""


def usage(error: click.ClickException, arguments: Sequence[str]) -> NoReturn:
    """The command line is wrong. Exits with 2."""
    from cdcd.errors import ConfigError  # noqa: PLC0415 - only where something is wrong

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "cdcd"
    text = error.format_message()
    refused = ConfigError(text, code="usage", remedy=f"'{path} --help' shows how it is called")
    _refuse(path, arguments, refused)


def interrupted(arguments: Sequence[str]) -> NoReturn:
    """A person pressed Ctrl-C, or ended the input where a question was asked."""
    from cdcd.cli.output import DeclinedError  # noqa: PLC0415

    ended = DeclinedError(
        "interrupted", code="interrupted", remedy="what was asked of the daemon before goes on: 'cdcd status'"
    )
    ended.exit_code = INTERRUPTED  # type: ignore[misc]  # the class has a default, this one its own
    _refuse("cdcd", arguments, ended)


def defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For `sys.excepthook`. An exception's message is left out: it might quote a column's value."""
    from cdcd.errors import CdcdError  # noqa: PLC0415

    frames = traceback.extract_tb(trace)
    at = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames[-8:]))
    found = CdcdError(
        f"a defect of cdcd: {kind.__qualname__}",
        cause=f"raised at {at}",
        remedy="please report it, with what 'cdcd support-bundle' puts together",
    )
    if isinstance(error, CdcdError):
        found = error
    try:
        _refuse("cdcd", sys.argv[1:], found)
    except SystemExit:
        return  # the interpreter ends with 1


def _refuse(path: str, arguments: Sequence[str], error: CdcdError) -> NoReturn:
    from cdcd.cli.output import refuse  # noqa: PLC0415

    options = list(arguments)
    before = options[: options.index("--")] if "--" in options else options
    command = path.partition(" ")[2] or next((word for word in before if not word.startswith("-")), "")
    refuse(command, "--json" in before, error)

"""How every command takes its common options and answers: a sentence for people, or one JSON object for programs."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
import msgspec

from cdcd.errors import CdcdError

DEFAULT_CONFIG: Final = "/etc/cdcd/cdcd.toml"
LOOK_FIRST: Final = "add --yes, or look first: --dry-run"
F = TypeVar("F", bound=Callable[..., Any])


class Verdict(msgspec.Struct, frozen=True):
    """What a command found or did. `lines` are for people, `result` is for programs."""

    summary: str
    result: Any = None
    lines: Sequence[str] = ()
    exit_code: int = 0


class DeclinedError(CdcdError):
    """The person said no, or could not be asked."""

    default_code = "declined"


def confirm(
    what: str,
    lines: Iterable[str],
    as_json: bool,
    *,
    question: str = "Go on?",
    remedy: str = LOOK_FIRST,
) -> None:
    """Ask before what is hard to undo, below `lines`, which are read only where somebody can be asked.

    Raises DeclinedError, with `what`, when nobody can be, or says no.
    """
    if as_json or not sys.stdin.isatty():
        raise DeclinedError(what, remedy=remedy, code="confirmation")
    for line in lines:
        click.echo(line)
    if not click.confirm(question):
        raise DeclinedError("nothing was done")


def common(function: F) -> F:
    """The options that every command has."""
    function = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")(function)
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="CDCD_CONFIG",
        default=DEFAULT_CONFIG,
        show_default=True,
        show_envvar=True,
        help="The configuration file.",
    )(function)


def answer(command: str, as_json: bool, action: Callable[[], Verdict]) -> NoReturn:
    """Do `action`, print what came of it, and exit with its code. Errors go to stderr, without a traceback."""
    try:
        verdict = _carried_out(action)
    except CdcdError as error:
        if as_json:
            _print_json(command, False, error.what, None, _as_object(error))
        click.echo(f"error {error}", err=True)
        sys.exit(error.exit_code)
    if as_json:
        _print_json(command, verdict.exit_code == 0, verdict.summary, verdict.result, None)
    else:
        for line in (*verdict.lines, verdict.summary):
            click.echo(line)
    sys.exit(verdict.exit_code)


def _carried_out(action: Callable[[], Verdict]) -> Verdict:
    try:
        return action()
    except sqlite3.DatabaseError as error:
        from cdcd.storage import translated  # noqa: PLC0415 - few commands end so

        raise translated(error) from error


def _as_object(error: CdcdError) -> dict[str, Any]:
    return {
        "code": error.code,
        "what": error.what,
        "cause": error.cause,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }


def _print_json(command: str, ok: bool, summary: str, result: Any, error: Any) -> None:
    envelope = {"command": command, "ok": ok, "summary": summary, "result": result, "error": error}
    click.echo(msgspec.json.format(msgspec.json.encode(envelope), indent=2).decode())

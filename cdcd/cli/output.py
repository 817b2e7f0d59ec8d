"""How every command takes its common options and answers: a sentence for people, or one JSON object for programs.

Results go to stdout, errors and progress to stderr. With --json there is nothing on stdout but the object, whatever happens;
with --quiet nothing at all but errors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
import msgspec

from cdcd.errors import CdcdError
from cdcd.sqlite_driver import sqlite

DEFAULT_CONFIG: Final = "/etc/cdcd/cdcd.toml"
_QUIET: Final = "cdcd.quiet"
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


def json_and_quiet(function: F) -> F:
    """The options about the answer's form."""
    function = click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=_be_quiet, help="Say nothing but errors."
    )(function)
    return click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")(function)


def common(function: F) -> F:
    """The options that every command has."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="CDCD_CONFIG",
        default=DEFAULT_CONFIG,
        show_default=True,
        show_envvar=True,
        help="The configuration file.",
    )(json_and_quiet(function))


def _be_quiet(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    context.meta[_QUIET] = wanted


def is_quiet() -> bool:
    """Whether --quiet was given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def is_watched() -> bool:
    """Whether a person sits at the terminal that stderr is, and wants to see how far we are."""
    context = click.get_current_context(silent=True)
    as_json = context is not None and bool(context.params.get("as_json"))
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not (as_json or is_quiet())


def answer(command: str, as_json: bool, action: Callable[[], Verdict], *, doing: str = "") -> NoReturn:
    """Do `action`, print what came of it, and exit with its code. Errors go to stderr, without a traceback.

    `doing` is what somebody who watches sees while it takes long; only for actions that neither ask nor print.
    """
    try:
        verdict = _carried_out(action, doing)
    except CdcdError as error:
        refuse(command, as_json, error)
    if as_json:
        _print_json(command, verdict.exit_code == 0, verdict.summary, verdict.result, None)
    elif not is_quiet():
        for line in (*verdict.lines, verdict.summary):
            click.echo(line)
    elif verdict.exit_code:
        click.echo(verdict.summary, err=True)
    sys.exit(verdict.exit_code)


def refuse(command: str, as_json: bool, error: CdcdError) -> NoReturn:
    """Say what went wrong, and exit with its code."""
    if as_json:
        _print_json(command, False, error.what, None, _as_object(error))
    from cdcd.logs import is_for_journal  # noqa: PLC0415 - only who fails needs it

    priority = "<3>" if is_for_journal() else ""  # as a service, or its ExecReload=: 'journalctl -p err' finds it
    click.echo("\n".join(f"{priority}{line}" for line in f"error {error}".splitlines()), err=True)
    sys.exit(error.exit_code)


def _carried_out(action: Callable[[], Verdict], doing: str) -> Verdict:
    try:
        if not doing or not is_watched():
            return action()
        from cdcd.cli.progress import working  # noqa: PLC0415 - loads rich

        with working(doing):
            return action()
    except sqlite.DatabaseError as error:
        from cdcd.storage import translated  # noqa: PLC0415 - few commands end so

        raise translated(error) from error
    except PermissionError as error:
        raise CdcdError(
            f"{error.filename} may not be opened",
            code="denied",
            cause="it belongs to another account",
            remedy="run this as the daemon's account (or root): sudo -u cdcd cdcd …",
        ) from error


def _as_object(error: CdcdError) -> dict[str, Any]:
    return {
        "code": error.code,
        "what": error.what,
        "cause": error.cause,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }


def _print_json(command: str, ok: bool, summary: str, result: Any, error: Any) -> None:
    click.echo(msgspec.json.format(envelope(command, ok, summary, result, error), indent=2).decode())


def envelope(command: str, ok: bool, summary: str, result: Any, error: Any) -> bytes:
    """The one shape in which programs are answered, as JSON; by the status page, too."""
    return msgspec.json.encode({"command": command, "ok": ok, "summary": summary, "result": result, "error": error})

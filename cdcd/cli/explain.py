"""`cdcd explain CODE`."""

from __future__ import annotations

import difflib

import click

from cdcd.cli import completing
from cdcd.cli.output import Verdict, answer, json_and_quiet
from cdcd.errors import ConfigError


@click.command("explain")
@click.argument("code", required=False, shell_complete=completing.error_codes)
@json_and_quiet
def command(code: str | None, as_json: bool) -> None:
    """Say what an error's code means, and what to do. Needs no daemon, no configuration and no network.

    CODE is what stands in brackets: error [no-state] … Without it, all codes of errors are listed. Codes of what 'cdcd
    check' finds are explained, too.

    Examples: cdcd explain no-state; cdcd explain wal-level; cdcd explain position-lost --json; cdcd explain
    """
    answer("explain", as_json, lambda: _list() if code is None else _explain(code.strip("[]")))


def _explain(code: str) -> Verdict:
    from cdcd.explained import entries, findings  # noqa: PLC0415 - the help does without it

    known = findings() | entries()
    if code not in known:
        near = difflib.get_close_matches(code, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "'cdcd explain' lists them all"
        raise ConfigError(f"there is no code {code!r}", code="explain-argument", remedy=hint)
    found = known[code]
    status = "" if found.exit_status == "-" else f"exit status: {found.exit_status}"
    return Verdict(f"next: {found.next}", found, [f"[{found.code}] {found.meaning}", *filter(None, [status])])


def _list() -> Verdict:
    from cdcd.explained import entries  # noqa: PLC0415

    known = entries()
    width = max(map(len, known))
    lines = [f"{code:<{width}}  {found.meaning}" for code, found in known.items()]
    return Verdict(f"{len(known)} codes; 'cdcd explain CODE' tells more of one", list(known.values()), lines)

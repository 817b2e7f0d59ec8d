"""`cdcd grants`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from cdcd.adapter import Grant
from cdcd.cli import completing
from cdcd.cli.output import Verdict, answer, common

DIFFERENT = 10
"""The exit code where `--diff` finds something."""


@click.command("grants")
@click.argument("system", shell_complete=completing.systems)
@click.option("--diff", "compared", is_flag=True, help="Compare with what the role may do now, and print what differs.")
@common
def command(system: str, compared: bool, config: Path, as_json: bool) -> None:
    r"""Print the SQL for a database role that can do its part in SYSTEM, and no more.

    For an administrator to read and run; nothing is connected to, nothing is changed, and no password is printed. It can be
    run again, also after the configuration has changed. Lines that begin with "--" are comments: what a statement is for,
    and what is optional.

    With --diff the configured role is asked what it may do: printed is only what is missing, and what is too much with
    the statement that takes it back. Exits with 10 when there is any of it.

    \b
    Examples:
      cdcd grants erp                  look at it first
      cdcd grants erp | psql -d erp    run it, as a superuser or the owner of the tables
      cdcd grants shop --diff          after a change of the configuration
    """
    answer(
        "grants",
        as_json,
        lambda: _difference(config, system) if compared else _grants(config, system),
        doing="asking the server",
    )


def _grants(config: Path, system: str) -> Verdict:
    from cdcd import granting  # noqa: PLC0415 - loads drivers

    found = granting.grants(config, system)
    needed = sum(not grant.optional for grant in found)
    summary = f"-- {needed} statements for {system}, and {len(found) - needed} optional ones; nothing was run"
    return Verdict(summary, {"system": system, "statements": found}, list(lines(found)))


def _difference(config: Path, system: str) -> Verdict:
    from cdcd import granting  # noqa: PLC0415 - loads drivers

    found = granting.difference(config, system)
    result = {"system": system, "missing": found.missing, "excess": found.excess}
    shown = [
        *(["-- missing"] if found.missing else []),
        *lines(found.missing),
        *(["-- too much"] if found.excess else []),
        *lines(found.excess),
    ]
    if not shown:
        return Verdict(f"-- the role in {system} may do its part, and no more", result)
    summary = f"-- {system}: {len(found.missing)} missing, {len(found.excess)} too much; nothing was run"
    return Verdict(summary, result, shown, DIFFERENT)


def lines(grants: Sequence[Grant]) -> Iterator[str]:
    """A script: every statement below what it is for; optional ones as comments. A name in a comment cannot end it."""
    for grant in grants:
        if grant.purpose:
            yield f"-- {'optional: ' if grant.optional else ''}{' '.join(grant.purpose.splitlines())}"
        if grant.sql:
            sql = f"{grant.sql};"
            yield "\n".join(f"-- {line}" for line in sql.splitlines()) if grant.optional else sql

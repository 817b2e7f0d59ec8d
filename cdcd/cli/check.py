"""`cdcd check`."""

from __future__ import annotations

from pathlib import Path

import click

from cdcd.adapter import Finding
from cdcd.cli.output import Verdict, answer, common
from cdcd.preflight import Outcome

_OF_GRANTS = frozenset({"privilege", "publication", "access"})


@click.command("check")
@common
def command(config: Path, as_json: bool) -> None:
    """Check the configuration and every server. Changes nothing.

    Every finding comes with the exact SQL or setting that mends it. Exits with 3 when something must be mended
    before 'cdcd run', or a server could not be asked.

    Examples: cdcd check; cdcd check --config new.toml --json
    """
    answer("check", as_json, lambda: _check(config), doing="asking the servers")


def _check(config: Path) -> Verdict:
    from cdcd import preflight  # noqa: PLC0415 - loads drivers

    outcome = preflight.check(config, only_looks=True)
    result = {"findings": outcome.findings, "unreachable": outcome.unreachable}
    bad = bool(outcome.errors or outcome.unreachable)
    return Verdict(summary(outcome), result, lines(outcome), 3 if bad else 0)


def summary(outcome: Outcome) -> str:
    """The verdict in one line."""
    warnings = len(outcome.findings) - len(outcome.errors)
    counts = [
        f"{count} {what}{'s' if count != 1 else ''}"
        for count, what in ((len(outcome.errors), "error"), (warnings, "warning"))
        if count
    ]
    counts += [f"{len(outcome.unreachable)} not reachable"] if outcome.unreachable else []
    tables = sum(len(system.tables) for system in outcome.blueprint.systems.values())
    return f"{', '.join(counts) or 'everything is ready'} ({len(outcome.blueprint.systems)} systems, {tables} tables)"


def lines(outcome: Outcome) -> list[str]:
    """All findings for people, errors first."""
    found = []
    for finding in sorted(outcome.findings, key=lambda finding: finding.severity != "error"):
        found += _finding_lines(finding)
    for name, error in outcome.unreachable.items():
        found.append(f"unreachable  {name}: {error.what} [{error.code}]")
        found += [f"    cause: {error.cause}"] if error.cause else []
        found += [f"    next:  {error.remedy}"] if error.remedy else []
    lacking = dict.fromkeys(f.system for f in outcome.errors if f.code in _OF_GRANTS and f.system)
    found += [f"all that the role in {name} needs: cdcd grants {name}" for name in lacking]
    return found


def _finding_lines(finding: Finding) -> list[str]:
    where = " ".join(part for part in (finding.system, finding.subject) if part)
    found = [f"{finding.severity:<11}  {where}: {finding.message} [{finding.code}]"]
    found += [
        f"    next:  {line}" if n == 0 else f"           {line}" for n, line in enumerate(finding.remedy.splitlines())
    ]
    return found

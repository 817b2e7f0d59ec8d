"""`cdcd plan`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cdcd.cli.output import Verdict, answer, common

if TYPE_CHECKING:
    from cdcd.rehearsal.findings import Change, Rehearsal

WOULD_CHANGE: Final = 10
"""The exit code where something would be written."""
_VALUE_CHARACTERS: Final = 40


@click.command("plan")
@click.option("--last", default=10_000, show_default=True, type=click.IntRange(0), help="Journalled changes to replay.")
@click.option(
    "--rows",
    "row_limit",
    default=10_000,
    show_default=True,
    type=click.IntRange(1),
    help="Rows to read of each table that would be copied anew.",
)
@click.option("--tmp", type=click.Path(path_type=Path, file_okay=False), help="Where the copies go for the while.")
@common
def command(last: int, row_limit: int, tmp: Path | None, config: Path, as_json: bool) -> None:
    """Say what the configuration would do, and do nothing.

    Replays the last journalled transactions through it on copies of the state, reads the live tables, and lists what would
    be created, updated and deleted, by entity and field. Works beside the running daemon. Exits with 0 when nothing
    would change, with 10 when something would.

    Examples: cdcd plan; cdcd plan --config new.toml --last 50000
    """
    answer("plan", as_json, lambda: _plan(config, last, row_limit, tmp), doing="rehearsing the configuration")


def _plan(file: Path, last: int, row_limit: int, tmp: Path | None) -> Verdict:
    from cdcd import config_rules  # noqa: PLC0415 - loads drivers
    from cdcd.rehearsal.rehearse import rehearse, to_builtins  # noqa: PLC0415

    config = config_rules.load(file)
    with tempfile.TemporaryDirectory(prefix="cdcd-plan-", dir=tmp or _beside(Path(config.daemon.state_dir))) as into:
        found = rehearse(config, str(file), Path(into), last=last, row_limit=row_limit)
    exit_code = WOULD_CHANGE if found.would_change else 0
    return Verdict(summary(found), to_builtins(found), list(lines(found)), exit_code)


def _beside(state_dir: Path) -> str | None:
    """Next to the state directory, where there should be room for it twice; else wherever temporary files go."""
    return str(state_dir.parent) if os.access(state_dir.parent, os.W_OK | os.X_OK) else None


def summary(found: Rehearsal) -> str:
    """The verdict in one line."""
    counts = [
        (sum(change.creates for change in found.changes), "created"),
        (sum(change.updates for change in found.changes), "updated"),
        (sum(change.deletes for change in found.changes), "deleted"),
        (sum(refusal.count for refusal in found.refusals), "parked"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"records would be: {told}; nothing was written" if told else "nothing would change; nothing was written"


def lines(found: Rehearsal) -> Iterator[str]:
    """The answer for people."""
    if found.is_new:
        yield "there is no state yet: everything would be copied for the first time"
    else:
        yield f"replayed {found.replayed} journalled entries (after seq {found.after}) on copies of the state"
    for subject, reasons in found.copied_anew.items():
        yield f"{subject} will be copied anew: {'; '.join(reasons)}"
    for read in found.read:
        yield f"  read {read.rows} rows of {read.system}: {read.table}{'' if read.complete else ', not all'}"
    for change in found.changes:
        yield from _change_lines(change)
    for refusal in found.refusals:
        yield f"{refusal.target}: {refusal.count} of {refusal.entity} would be parked [{refusal.code}]: {refusal.cause}"
        yield from _keys("  such as", refusal.samples)
    for what, tallies in (("conflict", found.conflicts), ("not read", found.unread), ("suspended", found.suspended)):
        for tally in tallies:
            yield f"{what}: {' '.join(part for part in (tally.system, tally.entity) if part)}: {tally.kind} ({tally.count})"
    for warning in found.warnings:
        yield f"{warning.severity}: {warning.system} {warning.subject}: {warning.message}"
    for limit in found.limits:
        yield f"note: {limit}"


def _change_lines(change: Change) -> Iterator[str]:
    yield f"{change.target}: {change.entity}: +{change.creates} ~{change.updates} -{change.deletes}"
    yield from _keys("  + ", change.created)
    yield from _keys("  - ", change.deleted)
    for name, field in sorted(change.fields.items()):
        yield f"  ~ {name} ({field.count})"
        for key, before, after in field.samples:
            yield f"      {_name(key)}: {_short(before)} -> {_short(after)}"


def _keys(head: str, keys: Sequence[Sequence[Any]]) -> Iterator[str]:
    if keys:
        yield f"{head} {', '.join(map(_name, keys))}"


def _name(key: Sequence[Any]) -> str:
    return "/".join(str(part) for part in key) or "(a row)"


def _short(value: Any) -> str:
    if value is None:
        return "NULL"
    text = str(value).replace("\n", "\\n")
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}…"

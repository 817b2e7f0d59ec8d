"""`cdcd rewind SYSTEM --to TIME`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cdcd import config as c
from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.errors import ConfigError


@click.command("rewind")
@click.argument("system", shell_complete=completing.systems)
@click.option(
    "--to",
    "moment",
    metavar="TIME|SEQ|POSITION",
    help="A time (2026-11-21T22:00, local unless it says otherwise; or '2h ago'), seq:N, or SOURCE:POSITION.",
)
@click.option("--undo", is_flag=True, help="Withdraw what the last rewind of SYSTEM has not sent yet.")
@click.option("--copies/--no-copies", default=True, show_default=True, help="Copy plain copies into SYSTEM anew, too.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def command(
    system: str, moment: str | None, undo: bool, copies: bool, dry_run: bool, yes: bool, config: Path, as_json: bool
) -> None:
    """Send SYSTEM the present value of every record that changed since a moment.

    For a target that was restored from a backup or edited by mistake. Old values never come back: what is sent is what is
    true when it is sent. It goes in portions, behind which other changes need not wait; --undo stops it.

    Examples: cdcd rewind shop --to '2h ago'; cdcd rewind shop --to seq:1500; cdcd rewind shop --undo
    """
    if undo:
        answer("rewind", as_json, lambda: _undo(config, system, dry_run))
    if moment is None:
        raise click.UsageError("Missing option '--to' (or '--undo').")
    since = moment
    answer("rewind", as_json, lambda: _rewind(config, system, since, copies, dry_run, yes, as_json))


def _rewind(config: Path, system: str, moment: str, copies: bool, dry_run: bool, yes: bool, as_json: bool) -> Verdict:
    from cdcd.cli.progress import working  # noqa: PLC0415 - loads rich

    with working("counting what has changed since"):
        since = {**_since(config, moment), "system": system, "copies": copies}
        plan = daemon.ask(config, "rewind-plan", **since)
        plan = {**plan, "records": _records(config, plan)}
    if dry_run:
        return Verdict("nothing was done", plan, _lines(plan))
    if not yes:
        confirm("a rewind wants a confirmation", _lines(plan), as_json)
    result = {**daemon.ask(config, "rewind", **since), "records": plan["records"]}
    told = sum(plan["records"].values())
    how = f"'cdcd status' shows what is still owed, 'cdcd rewind {system} --undo' stops it"
    return Verdict(f"rewind of {system} started: {told:,} records (journal entry {result['seq']}); {how}", result)


def _undo(config: Path, system: str, dry_run: bool) -> Verdict:
    result = daemon.ask(config, "rewind-undo", system=system, dry_run=dry_run)
    text = (
        f"the rewind of {system} made {result['records']:,} records owed, of which {result['owed_records']:,} are left"
    )
    return Verdict(f"{text}: {'they would be' if dry_run else 'they are'} withdrawn", result)


def _since(config: Path, text: str) -> dict[str, Any]:
    """What --to means: a moment, or the first journal entry."""
    kind, colon, rest = text.strip().partition(":")
    if colon and kind == "seq" and rest.strip().isdecimal():
        return {"since_seq": int(rest)}
    if colon and kind in c.read(config).systems:
        return {"since_seq": _seq_after(config, kind, rest.strip())}
    return {"since_us": parse_moment(text, datetime.now(UTC))}


def _seq_after(config: Path, source: str, position: str) -> int:
    from cdcd.journal import Journal  # noqa: PLC0415 - the help does without it

    journal = Journal(daemon.directory_of(config).journal, read_only=True)
    try:
        seq = journal.seq_of_position(source, position)
    finally:
        journal.close()
    if seq is None:
        raise ConfigError(
            f"no transaction of {source!r} at that position is kept",
            code="argument",
            cause="a position is where a transaction ends; those older than journal.keep are forgotten",
            remedy=f"look one up with 'cdcd journal tail --source {source}', or give a time",
        )
    return seq + 1


def _records(config: Path, plan: dict[str, Any]) -> dict[str, int]:
    """How many records of which entity the rewind is about, as of now."""
    from cdcd.rewound import count_records  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    state = State(daemon.directory_of(config).state, read_only=True)
    try:
        return count_records(state, plan["system"], c.read(config), plan["since_us"], plan["since_seq"])
    finally:
        state.close()


def _lines(plan: dict[str, Any]) -> list[str]:
    oldest = datetime.fromtimestamp(plan["oldest_us"] / 1e6, UTC).astimezone()
    lines = [f"  {entity:<24} {count:>10,} records" for entity, count in plan["records"].items() if count]
    lines += [f"  {copy:<24} {'anew':>10}, a plain copy: it is emptied and filled" for copy in plan["copies"]]
    lines += [
        f"  the journal holds {plan['transactions']:,} transactions from then on, and reaches back to {oldest:%F %T %z}"
    ]
    if plan["restored"]:
        lines.append(f"  {plan['system']} was put back to what it was earlier: it is told what it owns itself, too")
    return [f"{plan['system']} gets the present value of what changed since then:", *lines]


def parse_moment(text: str, now: datetime, option: str = "--to") -> int:
    """Microseconds since 1970 of an ISO 8601 time (local when it names no zone) or "2h ago". Raises ConfigError."""
    ago = re.fullmatch(r"(.+?)\s*(?:ago)?", text.strip())
    try:
        if ago is not None:
            return int((now.timestamp() - c.parse_duration(ago[1])) * 1e6)
    except ValueError:
        pass  # not a duration: then it must be a time
    try:
        return int(datetime.fromisoformat(text.strip()).astimezone(UTC).timestamp() * 1e6)
    except ValueError:
        raise ConfigError(
            f"{option}: {text!r} is no moment", code="argument", remedy="write 2026-11-21T22:00:00 or '2h ago'"
        ) from None

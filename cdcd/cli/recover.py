"""`cdcd recover`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.recovering import recovery

if TYPE_CHECKING:
    from cdcd.blueprint import Blueprint
    from cdcd.recovering.lost_state import FoundSource, FoundTarget, Survey
    from cdcd.state_directory import StateDirectory


@click.command("recover")
@click.option(
    "--like-first-copy",
    is_flag=True,
    help="Make records that only one system has in the others, where ownership allows that, instead of listing them.",
)
@click.option("--dry-run", is_flag=True, help="Say what was found and what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def command(like_first_copy: bool, dry_run: bool, yes: bool, config: Path, as_json: bool) -> None:
    """Take systems over whose state directory is lost, with a new one.

    Looks into every system, says what is known there of what was delivered and how far the logs reach back, asks, and
    begins the new state directory. 'cdcd run' then reads the logs from there, copies all tables once, and settles what
    differs by ownership. The old daemon, should it still live, is fenced. Nothing is ever done to a state directory that
    holds state.

    Examples: cdcd recover --dry-run; cdcd recover --yes
    """
    answer("recover", as_json, lambda: _recover(config, like_first_copy, dry_run, yes, as_json))


def _recover(config: Path, like_first_copy: bool, dry_run: bool, yes: bool, as_json: bool) -> Verdict:
    from cdcd import blueprint as b  # noqa: PLC0415 - loads drivers
    from cdcd import config_rules  # noqa: PLC0415
    from cdcd.cli.progress import working  # noqa: PLC0415
    from cdcd.recovering import lost_state  # noqa: PLC0415
    from cdcd.state_directory import StateDirectory, refuse_if_running  # noqa: PLC0415

    checked = config_rules.load(config)
    blueprint = b.draw(checked, str(config))
    directory = StateDirectory(Path(checked.daemon.state_dir))
    refuse_if_running(directory)
    lost_state.refuse_state(directory)
    with working("looking into every system"):
        found = lost_state.survey(blueprint)
    result, lines = msgspec.to_builtins(found), _lines(found, blueprint, directory, like_first_copy)
    if dry_run:
        return Verdict("nothing was done", result, lines)
    if not yes:
        confirm("to take systems over wants a confirmation", lines, as_json)
    with working("beginning the new state directory"):
        _take_over(found, directory, like_first_copy)
    return Verdict("taken over; now 'cdcd run'", result, [] if not yes else lines)


def _take_over(found: Survey, directory: StateDirectory, like_first_copy: bool) -> None:
    from cdcd.recovering import lost_state  # noqa: PLC0415
    from cdcd.state_directory import lock_for_supervisor  # noqa: PLC0415

    directory.prepare()
    lock = lock_for_supervisor(directory)
    try:
        lost_state.take_over(found, directory, in_step=not like_first_copy)
    finally:
        lock.release()


def _lines(found: Survey, blueprint: Blueprint, directory: StateDirectory, like_first_copy: bool) -> list[str]:
    lines = [f"What the systems know of daemon {found.daemon!r}:"]
    lines += [f"  {_of_target(target)}" for target in found.targets]
    if len(found.lineages) > 1:
        lines.append("  They were written under several state directories: is none of these still to be found?")
    lines.append("What their logs still show:")
    lines += [f"  {_of_source(source)}" for source in found.sources]
    lines += [
        "What will happen:",
        f"  {directory.path} is begun anew; the checkpoints become its own, and a daemon on the old one is fenced.",
        f"  'cdcd run' copies all tables of {', '.join(blueprint.entity_tables) or 'nothing'}, while changes flow.",
        "  Fields that differ are settled by ownership; what was deleted since, as far as a log shows it, stays deleted.",
    ]
    lines.append(
        "  Records that only one system has are made in the others, where ownership allows that."
        if like_first_copy
        else "  Records that only one system has, and whose making no log shows, are listed: 'cdcd conflicts list'."
    )
    lines.append("  What was parked, held or put aside, and the history of records, is lost with the old state.")
    return lines


def _of_target(target: FoundTarget) -> str:
    if not target.lineage:
        return f"{target.system}: nothing, it was never written to"
    at = f", written {recovery.moment(target.at_us)}" if target.at_us else ""
    return (
        f"{target.system}: has unit {target.unit}{at} (lineage {target.lineage[:8]}, taken over {target.epoch} times)"
    )


def _of_source(source: FoundSource) -> str:
    from cdcd.recovering.lost_state import REACHES  # noqa: PLC0415

    why = f" ({source.why})" if source.why else ""
    return f"{source.system}: {REACHES[source.reach]}{why}"
